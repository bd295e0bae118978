--- Replace a guest by a new one, which must answer before the old one goes
--
--     hostel run replace --old web1 --new web2 --recipe web2.lua --url http://10.0.0.12/healthz
--
-- The recipe makes the new guest beside the old one. When it answers, `--switch` is run (to point a proxy or a name at
-- it), the old guest is stopped, and, once the new one has answered again, destroyed. Until then everything is undone
-- when something fails.

local flow = require "hostel.flow"
local hostel = require "hostel"
local exec = require "hostel.exec"
local http = require "hostel.http"
local time = require "hostel.time"

--- Asks until there is an answer that is no error. The step's deadline ends it.
local function answers(url)
  while true do
    local answer = http.get(url, { timeout = "2s" })
    if answer and answer.ok then
      return answer.status
    end
    time.sleep(0.2)
  end
end

local function switch(command, to)
  local result = exec.run { command, to.name, timeout = "1m" }
  assert(result.ok, ("`%s %s` failed: %s"):format(command, to.name, result.stderr))
end

return flow.define "replace" {
  doc = "Replace a guest by a new one, which must answer before the old one goes",
  args = {
    old = { "guest", doc = "The guest that goes" },
    new = { "guest", doc = "The guest that the recipe makes" },
    recipe = { "path", doc = "The recipe of the new guest" },
    url = { "string", doc = "What the new guest must answer" },
    switch = {
      "path",
      required = false,
      doc = "A program that is run with the name of the guest that is to serve",
    },
    patience = { "duration", default = "1m", doc = "How long the new guest may take to answer" },
    keep = { "boolean", default = false, doc = "Leave the old guest stopped instead of destroying it" },
  },
  run = function(f, a)
    f:step "look" {
      run = function()
        assert(not hostel.guest(a.new.name), ("there is a guest `%s` already"):format(a.new.name))
        assert(hostel.guest(a.old.name), ("there is no guest `%s`"):format(a.old.name))
      end,
    }
    f:step "make" {
      run = function()
        hostel.apply(a.recipe)
        return assert(hostel.guest(a.new.name), ("the recipe makes no guest `%s`"):format(a.new.name))
      end,
      undo_half_done = true,
      undo = function()
        local made = hostel.guest(a.new.name)
        if made then
          assert(made:destroy { force = true })
        end
      end,
    }
    f:step "check" {
      deadline = a.patience,
      run = function()
        return answers(a.url)
      end,
    }
    f:step "switch" {
      when = a.switch ~= nil,
      run = function()
        switch(a.switch, a.new)
      end,
      undo = function()
        switch(a.switch, a.old)
      end,
    }
    f:step "stop the old" {
      run = function()
        assert(a.old:stop())
      end,
      undo = function()
        assert(a.old:start())
      end,
    }
    f:step "check again" {
      deadline = a.patience,
      run = function()
        return answers(a.url)
      end,
    }
    if not a.keep then
      f:commit(function()
        -- It may be gone already, when the run is resumed.
        local old = hostel.guest(a.old.name)
        if old then
          assert(old:destroy { force = true })
        end
      end)
    end
  end,
}

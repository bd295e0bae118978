--- Restart guests one after the other; each is healthy before the next
--
--     hostel run rolling-restart --match 'web*' --plan
--     hostel run rolling-restart --match 'web*'
--
-- A guest that does not come up healthy ends it: the guests after it are left alone, and no guest is left stopped.

local flow = require "hostel.flow"
local hostel = require "hostel"

--- `web*` as a Lua pattern.
local function pattern(text)
  return "^" .. text:gsub("[^%w*]", "%%%0"):gsub("%*", ".*") .. "$"
end

return flow.define "rolling-restart" {
  doc = "Restart guests one after the other; each is healthy before the next",
  args = {
    match = { "string", default = "*", doc = "Which guests: a name, where * stands for anything" },
    timeout = { "duration", default = "1m", doc = "How long a guest may take to become healthy" },
    retries = { "integer", default = 0, doc = "How often a guest is tried again" },
  },
  run = function(f, a)
    local wanted, found = pattern(a.match), 0
    for _, guest in ipairs(hostel.guests()) do
      if guest.name:match(wanted) then
        found = found + 1
        f:step("restart " .. guest.name, {
          -- One that was stopped on purpose stays so.
          when = function()
            return assert(guest:status()).state == "running"
          end,
          retries = a.retries,
          run = function()
            assert(guest:restart())
            guest:wait_healthy { timeout = a.timeout }
          end,
          undo = function()
            if assert(guest:status()).state == "stopped" then
              assert(guest:start())
            end
          end,
        })
      end
    end
    assert(found > 0, ("no guest is called `%s`"):format(a.match))
  end,
}

-- A new page for a guest's web server: kept aside, written, looked at. When it does not answer, the old page is back.
--
--   hostel run examples/09-workflow.lua --guest web1 --page new.html --url http://10.0.0.11/ --plan
--   hostel run examples/09-workflow.lua --guest web1 --page new.html --url http://10.0.0.11/
--   hostel flow resume ID       -- when it was killed; or `hostel flow undo ID`

local flow = require "hostel.flow"
local http = require "hostel.http"

return flow.define "new-page" {
  doc = "Put a page into a guest; the old one is back when the new one does not answer",
  args = {
    guest = { "guest", doc = "The guest that serves it" },
    page = { "path", doc = "The new page" },
    url = { "string", doc = "Where it is to be seen" },
    target = { "string", default = "/srv/index.html", doc = "Its path in the guest" },
  },
  run = function(f, a)
    local new = f:step "read the page" {
      run = function()
        local file = assert(io.open(a.page))
        local text = file:read "a"
        file:close()
        return text
      end,
    }
    local function write(text)
      -- Renamed into its place, so that who asks sees the old or the new page.
      local script = 'printf %s "$TEXT" > "$1.new" && mv "$1.new" "$1"'
      local env = { TEXT = text }
      local result =
        a.guest:exec { "sh", "-c", script, "sh", a.target, env = env, capture = true, timeout = "10s" }
      assert(result.code == 0, result.stderr)
    end
    -- A step of its own: the one that writes may run twice, and would keep the new page as the old one.
    f:step "keep the old page" {
      run = function()
        local old = a.guest:exec { "cat", a.target, capture = true, timeout = "10s" }
        assert(old.code == 0, old.stderr)
        return old.stdout
      end,
      undo = write,
    }
    f:step "write the page" {
      run = function()
        write(new)
      end,
    }
    f:step "look at it" {
      deadline = "10s",
      retries = 2,
      run = function()
        local answer = assert(http.get(a.url, { timeout = "2s" }))
        assert(answer.ok and answer.body == new, "the new page is not what is served")
      end,
    }
  end,
}

-- While a workflow is rehearsed, nothing that it does reaches the host: hostel's own calls are staged in Rust, and
-- Lua's own means of changing something are replaced here.

local host = require "hostel.test.host"

local M = {}

-- Of Lua's own, what changes something; `io.open` only where it would write.
M.PLAIN = {
  { "io", "open" },
  { "io", "output" },
  { "io", "popen" },
  { "os", "execute" },
  { "os", "exit" },
  { "os", "remove" },
  { "os", "rename" },
  { "os", "tmpname" },
}

-- From now on `asked(call, subject, ...)` answers for them, until what this gives is closed.
function M.closed(asked)
  local saved = {}
  for index, pair in ipairs(M.PLAIN) do
    local holder, key = _G[pair[1]], pair[2]
    local real = holder[key]
    saved[index] = real
    holder[key] = function(...)
      local mode = select(2, ...)
      if key == "open" and not (mode and tostring(mode):find "[wa+]") then
        return real(...)
      end
      return asked(pair[1] .. "." .. key, nil, ...)
    end
  end
  host.stage(asked)
  return setmetatable({}, {
    __close = function()
      host.stage(nil)
      for index, pair in ipairs(M.PLAIN) do
        _G[pair[1]][pair[2]] = saved[index]
      end
    end,
  })
end

return M

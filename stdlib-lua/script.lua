-- What changes in Lua's own words for a script.
--
-- `host.caught(problem)` turns hostel's errors into what a script sees of them, and raises the end by a signal again:
-- it unwinds the whole script, `<close>` values included, and no `pcall` holds it. `host.packed` is of unlined.lua.

local host = ...
local raw_pcall, raw_xpcall, raw_resume = pcall, xpcall, coroutine.resume
local pack, unpack = table.pack, table.unpack

-- Of Lua 5.2 and older, and unknown to editors.
for _, name in ipairs { "atan2", "cosh", "frexp", "ldexp", "log10", "pow", "sinh", "tanh" } do
  math[name] = nil
end

-- A workflow takes note of everything, signals and deadlines too.
host.pcall = raw_pcall

local unlined = host.packed
-- The same with its names: to call what is no function says what it is.
local function packed(pack_all, f, ...)
  return pack_all(f(...))
end

local function wrapper(f)
  return type(f) == "function" and unlined or packed
end

local function passed(ok, results)
  if ok then
    return true, unpack(results, 1, results.n)
  end
  return false, host.caught(results)
end

function pcall(f, ...)
  return passed(raw_pcall(wrapper(f), pack, f, ...))
end

local function resumed(ok, ...)
  if ok then
    return ok, ...
  end
  return false, host.caught((...))
end

function coroutine.resume(thread, ...)
  return resumed(raw_resume(thread, ...))
end

function xpcall(f, handler, ...)
  return passed(raw_xpcall(wrapper(f), function(problem)
    local ok, seen = raw_pcall(host.caught, problem)
    -- The handler must not run after a signal: only what is closed may.
    if ok then
      return handler(seen)
    end
    return problem
  end, pack, f, ...))
end

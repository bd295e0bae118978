-- What changes in Lua's own words for a script.
--
-- `host.caught(problem)` turns hostel's errors into what a script sees of them, and raises the end by a signal again:
-- it unwinds the whole script, `<close>` values included, and no `pcall` holds it.

local host = ...
local raw_pcall, raw_xpcall, raw_resume = pcall, xpcall, coroutine.resume

local function passed(ok, ...)
  if ok then
    return ok, ...
  end
  return false, host.caught((...))
end

function pcall(f, ...)
  return passed(raw_pcall(f, ...))
end

function coroutine.resume(thread, ...)
  return passed(raw_resume(thread, ...))
end

function xpcall(f, handler, ...)
  return passed(raw_xpcall(f, function(problem)
    local ok, seen = raw_pcall(host.caught, problem)
    -- The handler must not run after a signal: only what is closed may.
    return ok and handler(seen) or problem
  end, ...))
end

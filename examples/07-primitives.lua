-- The primitives that guests are made of, one by one.
--
--   hostel run examples/07-primitives.lua --plan    shows the steps; needs no root
--   hostel run examples/07-primitives.lua           runs a shell that is confined so

local hostel = require "hostel"

local c <close> = hostel.context { hostname = "bar", isolate = { "pid", "ipc", "uts", "mount", "user" } }
c:bind({ "127.9.0.1" }):limit { memory = "64M", pids = 64, nofile = 1024 }

if flags.plan then
  return print(c:plan { "/bin/sh", "-c", "id; hostname" })
end

local st = c:run { "/bin/sh", "-c", "id; hostname; echo my pid is $$", timeout = "10s" }
print(("code %s, signal %s, at most %s bytes of memory"):format(st.code, st.signal, st.memory_peak or "?"))

-- Each also works alone. `capture` returns what the command wrote.
local limited = hostel.limit { nofile = 99 }:run { "/bin/sh", "-c", "ulimit -n", capture = true }
print("open files: " .. limited.stdout:gsub("%s+$", ""))

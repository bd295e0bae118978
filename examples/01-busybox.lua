-- One guest from the host's static busybox: built in under a second.
--
--   hostel apply examples/01-busybox.lua
--   hostel enter hello

guest "hello" {
  image = "busybox",
  limits = { memory = "64M", pids = 64 },
  files = { ["/etc/motd"] = "hello from Lua\n" },
}

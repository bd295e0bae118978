-- Two guests that share a volume: one writes pages, the other serves them. The pages outlive both.
--
--   hostel apply examples/10-volumes.lua
--   curl http://127.10.0.12/
--   hostel volume snapshot pages
--
-- `hostel destroy --force writer server` leaves the volume; `hostel volume rm pages` removes it.

-- Linux before 6.12 cannot keep the host's abstract unix sockets from a guest in bind mode. There, pass
-- `--set shared_abstract_sockets=true` to accept that.
local shared = input("shared_abstract_sockets", false)

local on_pages = template "on-pages" {
  image = "busybox",
  volumes = { pages = { size = "64M" } },
  limits = { memory = "64M", pids = 64 },
}

guest "writer" {
  from = on_pages,
  mounts = { { source = "volume:pages", target = "/pages" } },
  -- User 33 of this guest is user 33 of the other.
  services = {
    writer = {
      exec = { "sh", "-c", "chown 33:33 /pages; echo hello >/pages/index.html; exec sleep 1000000" },
      restart = "always",
    },
  },
}

guest "server" {
  from = on_pages,
  depends = { "writer" },
  net = { mode = "bind", address = "127.10.0.12/8", ports = { 80 }, shared_abstract_sockets = shared },
  mounts = { { source = "volume:pages", target = "/srv", readonly = true } },
  services = { httpd = { exec = { "httpd", "-f", "-u", "33:33", "-h", "/srv" }, restart = "always" } },
  health = { http = { port = 80, path = "/index.html" }, interval = "200ms" },
}

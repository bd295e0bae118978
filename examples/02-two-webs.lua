-- Two Debian servers on this kernel, both listening on port 80 of the host's own network stack.
--
--   hostel apply examples/02-two-webs.lua
--   curl http://127.80.0.1/ http://127.80.0.2/

requires { hostel = ">=0.1", api = 1 }

local debian = template "debian-nginx" {
  image = "debian:bookworm",
  packages = { "nginx-light" },
  limits = { memory = "256M", cpus = 0.5, pids = 256 },
  net = { mode = "bind", ports = { 80 } },
  services = { nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" } },
  health = { http = "http://:80/", interval = "1s" },
}

for number, name in ipairs { "alpha", "beta" } do
  guest(name) {
    from = debian,
    xid = 800 + number,
    net = { address = ("127.80.0.%d"):format(number) },
    files = { ["/var/www/html/index.html"] = ("hello from %s\n"):format(name) },
  }
end

-- Two Debian servers, both with nginx on port 80 of the host's own network stack, each on its own address.
--
--   hostel apply examples/02-two-web-servers.lua
--   curl http://127.10.0.1/  http://127.10.0.2/

-- Linux before 6.12 cannot keep the host's abstract unix sockets from a guest in bind mode. There, pass
-- `--set shared_abstract_sockets=true` to accept that.
local shared = input("shared_abstract_sockets", false)

local web = template "web" {
  image = "debian:bookworm",
  packages = { "nginx-light", "iproute2", "procps" },
  limits = { memory = "128M", cpus = 0.5, pids = 64 },
  services = { nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" } },
  health = { tcp = 80, interval = "500ms", timeout = "2s" },
}

for number, name in ipairs { "alpha", "beta" } do
  guest(name) {
    from = web,
    xid = 100 + number,
    hostname = name .. ".example.net",
    net = {
      mode = "bind",
      address = { ("127.10.0.%d/8"):format(number) },
      ports = { 80 },
      shared_abstract_sockets = shared,
    },
    files = { ["/var/www/html/index.html"] = ("hello from %s\n"):format(name) },
  }
end

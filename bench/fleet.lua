local pool = require("hostel.net").pool("10.20.0.0/16", { reserve = 10 })
local base = template "base" {
  image = "debian:bookworm", packages = { "nginx-light" },
  limits = { memory = "256M", cpus = 0.5, pids = 256, nofile = 1024 },
  caps = { keep = { "net_raw" } }, env = { LANG = "C.UTF-8" },
  services = { nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" } },
  health = { tcp = 80, interval = "5s" },
}
local shop = template "shop" { from = base, net = { mode = "bind", device = "eth0", ports = { 80 } } }
for i = 1, COUNT do
  guest(("shop%05d"):format(i)) {
    from = shop, net = { address = pool:host(i) }, limits = { memory = "512M" },
    files = { ["/etc/motd"] = "shop " .. i .. "\n" },
  }
end

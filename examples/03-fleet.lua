-- A hundred guests from one loop: addresses from a pool, and the tenth of each row with more memory.

local pool = require("hostel.net").pool("10.20.0.0/16", { reserve = 10 })

local shop = template "shop" {
  image = "busybox",
  limits = { memory = "32M", pids = 32, nofile = 256 },
  net = { mode = "bind", device = "lo" },
  services = { httpd = { exec = { "httpd", "-f", "-h", "/srv" } } },
}

for i = 1, 100 do
  guest(("shop%03d"):format(i)) {
    from = shop,
    net = { address = pool:host(i) },
    limits = { memory = i % 10 == 0 and "64M" or nil },
    files = { ["/srv/index.html"] = ("shop %d\n"):format(i) },
  }
end

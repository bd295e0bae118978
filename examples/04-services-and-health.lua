-- Services in order, restarts, health checks, and a guest that waits for another to be healthy.

local small = template "small" {
  image = "busybox",
  limits = { memory = "64M", cpus = "50%", pids = 64 },
  net = { mode = "bind" },
  env = { LANG = "C.UTF-8" },
}

local store = guest "store" {
  from = small,
  net = { address = "127.81.0.1", ports = { 7000 } },
  services = {
    prepare = { exec = { "mkdir", "-p", "/run/store" }, restart = "never" },
    store = {
      exec = { "nc", "-ll", "-p", "7000", "-e", "cat" },
      after = { "prepare" },
      restart = "always",
      stop_signal = "SIGINT",
    },
  },
  health = { tcp = 7000, interval = "500ms", timeout = "1s", retries = 5 },
}

guest "front" {
  from = small,
  net = { address = { "127.81.0.2" }, ports = { 8080 } },
  depends = { store },
  env = { STORE = "127.81.0.1:7000" },
  services = { httpd = { exec = { "httpd", "-f", "-p", "8080", "-h", "/srv" }, user = "nobody" } },
  files = { ["/srv/index.html"] = { content = "ok\n", mode = "0644" } },
  health = { http = { port = 8080, path = "/index.html" } },
  stop = { timeout = "5s" },
  autostart = true,
}

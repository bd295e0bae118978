guest "d" {
  image = "busybox",
  net = { mode = "bind", address = "127.90.0.4" },
}

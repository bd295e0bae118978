guest "db" {
  image = "busybox",
  mounts = { { source = "volume:data", target = "/var/lib/db" } },
}

guest "db" {
  image = "busybox",
  volumes = { data = "1G" },
  mounts = { { source = "volume:data", target = "/var/lib/db" } },
}

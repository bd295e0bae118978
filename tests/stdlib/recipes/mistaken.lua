guest "web" {
  image = "busybox",
  limits = { memroy = "64M", memory = "512MM" },
}

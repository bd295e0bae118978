for i, name in ipairs { "a", "b", "c" } do
  guest(name) {
    image = "busybox",
    net = { mode = "bind", address = ("127.90.0.%d"):format(i) },
  }
end

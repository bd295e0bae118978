guest "web" { image = "busybox" }

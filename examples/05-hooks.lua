-- Functions that run on the host around a guest's start and stop. Their power is their argument.

guest "careful" {
  image = "busybox",
  limits = { memory = "64M" },
  services = { idle = { exec = { "sleep", "infinity" } } },
  hooks = {
    pre_start = function(h)
      h:require_free("/", "1M")
      h:log(("%s is about to start"):format(h.guest.name))
    end,
    post_start = {
      timeout = "10s",
      on_error = "stop",
      run = function(h)
        local result = h:exec { "uname", "-r" }
        h:log("started on Linux " .. result.stdout)
      end,
    },
    post_stop = function(h)
      h:log(h.guest.name .. " is gone")
    end,
  },
}

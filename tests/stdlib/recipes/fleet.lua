local domain = input("domain", "example.net")

local base = template "base" {
  image = "busybox",
  limits = { memory = input("memory", "256M"), cpus = 0.5 },
}

guest "db" {
  from = base,
  net = { mode = "bind", address = "127.81.0.1", shared_abstract_sockets = input("shared", false) },
  hooks = {
    pre_start = function(h)
      h:require_free("/srv", "1G")
      local volumes = h:exec { "lvs", "--noheadings" }
      h:log("volumes: " .. volumes.stdout:gsub("%s+$", ""))
      h:exec { "lvchange", "-ay", "vg0/db" }
    end,
    post_start = function(h)
      h.guest:wait_healthy { timeout = "20s" }
    end,
  },
}

for i = 1, 2 do
  guest("web" .. i) {
    from = base,
    hostname = ("web%d.%s"):format(i, domain),
    net = { mode = "bind", address = "127.81.1." .. i, shared_abstract_sockets = input("shared", false) },
    depends = { "db" },
  }
end

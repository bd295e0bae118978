-- As many small servers as are asked for; 08-ten-throwaway-servers.lua uses it.
--
--   hostel plan examples/06-throwaway.lua --set count=3

local count = input("count", 10)

local small = template "small" {
  image = "busybox",
  limits = { memory = "16M", pids = 16 },
  services = { idle = { exec = { "sleep", "infinity" } } },
}

for i = 1, count do
  guest(("throwaway%02d"):format(i)) { from = small, hostname = ("throwaway%02d"):format(i) }
end

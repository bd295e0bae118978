-- Ten servers for the length of a script: made, used at once, and gone however the script ends.
--
--   hostel run examples/08-ten-throwaway-servers.lua --plan
--   hostel run examples/08-ten-throwaway-servers.lua --count 10

local hostel = require "hostel"

local count = flags.count or "10"
local recipe = flags.recipe or "examples/06-throwaway.lua"

if flags.plan then
  return print(("apply %s with count=%s, run `uname -n` in each guest, destroy them"):format(recipe, count))
end

local mine = {}

-- Closed at the end, after an error, and after Ctrl-C.
local cleanup <close> = setmetatable({}, {
  __close = function()
    for _, name in ipairs(mine) do
      local guest = hostel.guest(name)
      if guest then
        guest:destroy { force = true }
      end
    end
  end,
})

for i = 1, tonumber(count) do
  mine[i] = ("throwaway%02d"):format(i)
end
local done = hostel.apply(recipe, { inputs = { count = count } })
print(("%d servers are up"):format(#done))

for _, name in ipairs(mine) do
  local guest = assert(hostel.guest(name))
  local result = assert(guest:exec { "hostname", capture = true, timeout = "10s" })
  print(name, result.stdout:gsub("%s+$", ""), assert(guest:status()).processes)
end

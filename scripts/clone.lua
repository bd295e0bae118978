--- Clone a guest, as often as wanted, and start the clones; each is healthy before the next
--
--     hostel run clone --guest web --name web2 --address 10.0.0.12/24 --plan
--     hostel run clone --guest base --name lab --count 10
--
-- When one fails, those that were made are taken away again.

local flow = require "hostel.flow"

return flow.define "clone" {
  doc = "Clone a guest, as often as wanted, and start the clones; each is healthy before the next",
  args = {
    guest = { "guest", doc = "The guest to be cloned; it may run" },
    name = { "string", doc = "The new guest; with --count the beginning of its name" },
    count = { "integer", default = 1, doc = "How many" },
    address = {
      "string",
      default = "",
      doc = "Their addresses, one each, with commas between, where the guest has any",
    },
    storage = { "string", default = "", doc = "How the files are kept: btrfs, reflink, overlay or dir" },
    timeout = { "duration", default = "1m", doc = "How long a clone may take to become healthy" },
  },
  run = function(f, a)
    local addresses = {}
    for address in a.address:gmatch "[^,%s]+" do
      addresses[#addresses + 1] = address
    end
    assert(
      #addresses == 0 or #addresses == a.count,
      ("%d addresses for %d clones"):format(#addresses, a.count)
    )
    for i = 1, a.count do
      local name = a.count == 1 and a.name or a.name .. i
      local clone = f:step("clone " .. name, {
        run = function()
          return assert(a.guest:clone(name, {
            address = addresses[i],
            storage = a.storage ~= "" and a.storage or nil,
          }))
        end,
        undo = function(clone)
          assert(clone:destroy { force = true })
        end,
      })
      f:step("start " .. name, {
        run = function()
          assert(clone:start())
          clone:wait_healthy { timeout = a.timeout }
        end,
        undo = function()
          clone:stop()
        end,
      })
    end
  end,
}

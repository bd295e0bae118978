local t = require "hostel.test"
local net = require "hostel.net"

t.describe("net.pool", function()
  t.it("gives each number an address of its own", function()
    local pool = net.pool("10.20.0.0/16", { reserve = 10 })
    t.expect(pool:host(1)):to_equal "10.20.0.11/16"
    local all = {}
    for i = 1, 300 do
      all[i] = pool:host(i)
    end
    t.expect(all):to_be_unique()
  end)

  t.it("refuses what is no network", function()
    for _, text in ipairs { "10.0.0.1/16", "10.0.0.0/33", "example.net", "" } do
      t.expect(function()
        net.pool(text)
      end):to_fail()
    end
  end)

  t.it("ends", function()
    local pool = net.pool "10.0.0.0/30"
    t.expect(pool:size()):to_equal(2)
    t.expect(function()
      pool:host(3)
    end):to_fail()
  end)
end)

local t = require "hostel.test"
local log = require "hostel.log"

-- What the lines look like is tested where standard error can be read: tests/lua/libraries.rs.
t.describe("log.configure", function()
  t.it("takes its levels and its form", function()
    for _, level in ipairs { "debug", "info", "warn", "error" } do
      t.expect(pcall(log.configure, { level = level, json = true })):to_equal(true)
    end
  end)

  t.it("refuses what it does not know", function()
    for _, bad in ipairs { { level = "loud" }, { colour = true } } do
      t.expect(function()
        log.configure(bad)
      end):to_fail()
    end
  end)
end)

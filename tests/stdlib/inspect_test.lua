local t = require "hostel.test"
local inspect = require "hostel.inspect"

t.describe("inspect", function()
  t.it("shows plain values as Lua writes them", function()
    t.expect(inspect(nil)):to_equal "nil"
    t.expect(inspect(3.5)):to_equal "3.5"
    t.expect(inspect 'a "b"\n\27'):to_equal [["a \"b\"\n\027"]]
    t.expect(inspect(print)):to_equal "<function>"
  end)

  t.it("sorts keys, and quotes those that are no words", function()
    t.expect(inspect { b = 1, a = 2, 3, [true] = 4, ["x y"] = 5, ["end"] = 6 })
      :to_equal '{ 3, a = 2, b = 1, ["end"] = 6, ["x y"] = 5, [true] = 4 }'
  end)

  t.it("breaks what is too wide", function()
    local wide = inspect({ first = ("x"):rep(30), second = ("y"):rep(30) }, { width = 40 })
    t.expect(wide):to_match "^{\n  first = "
  end)

  t.it("ends in circles and depths", function()
    local a = { 1 }
    a.own = a
    t.expect(inspect(a)):to_equal "{ 1, own = <circle> }"
    t.expect(inspect({ { {}, { 1 } } }, { depth = 2 })):to_equal "{ { {}, {...} } }"
    t.expect(inspect({ 1, 2, 3 }, { items = 1 })):to_equal "{ 1, ... 2 more }"
    local shared = { 1 }
    t.expect(inspect { shared, shared }):to_equal "{ { 1 }, { 1 } }"
  end)
end)

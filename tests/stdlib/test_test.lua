-- hostel.test by itself: what each matcher takes and refuses.

local t = require "hostel.test"

local function fails(message, f)
  t.expect(f):to_fail(message)
end

t.describe("expect", function()
  t.it("reads as words in any order", function()
    t.expect({}).to.be.empty()
    t.expect({}):to_be_empty()
    t.expect({}).empty()
    t.expect({ 1 }).to.never.be.empty()
    t.expect({ 1 }):never_to_be_empty()
    t.expect(1):to_equal(1):to_be_truthy()
  end)

  t.it("refuses words that it does not know", function()
    fails("nothing is expected by `to_eqaul`", function()
      t.expect(1):to_eqaul(1)
    end)
    fails("takes one value", function()
      t.expect(1, 2)
    end)
    t.expect():to_be_absent()
  end)

  t.it("compares tables by what they hold", function()
    t.expect({ a = { 1, 2 } }):to_equal { a = { 1, 2 } }
    t.expect({ a = { 1, 2 } }):never_to_equal { a = { 1, 3 } }
    t.expect(1):to_equal(1.0)
    local circle = {}
    circle.own = circle
    local other = {}
    other.own = other
    t.expect(circle):to_equal(other)
    t.expect(circle):never_to_be_same(other)
    fails("expected 1 to equal 2", function()
      t.expect(1):to_equal(2)
    end)
  end)

  t.it("knows nil, types and truth", function()
    t.expect(nil):to_be_absent()
    t.expect(false):to_be_present()
    t.expect(false):to_be_falsy()
    t.expect(0):to_be_truthy()
    t.expect(3):to_be_a_kind "integer"
    t.expect(3.5):to_be_a_kind "float"
    t.expect(t):to_be_a_kind "table"
    fails("expected nil not to be nil", function()
      t.expect(nil):to_be_present()
    end)
  end)

  t.it("measures", function()
    t.expect({ 1, 2 }):to_have_length(2)
    t.expect("abc"):to_have_length(3)
    t.expect(2):to_be_above(1)
    t.expect(2):to_be_below(3)
    t.expect(2):to_be_at_least(2)
    t.expect(2):to_be_at_most(2)
    t.expect("b"):to_be_above "a"
    t.expect(0.1 + 0.2):to_be_near(0.3)
    t.expect(10):to_be_near(12, 2)
    fails("to be above 3", function()
      t.expect(2):to_be_above(3)
    end)
  end)

  t.it("looks into lists, tables and texts", function()
    t.expect({ "a", "b" }):to_contain "b"
    t.expect({ { 1 } }):to_contain { 1 }
    t.expect({ name = "web", xid = 5 }):to_contain { xid = 5 }
    t.expect({ name = "web" }):never_to_contain { name = "db" }
    t.expect("hello"):to_contain "ell"
    t.expect({ name = 1 }):to_have_key "name"
    t.expect("v1.2"):to_match "^v%d"
    t.expect({ 1, 2, 3 }):to_be_unique()
    fails("no item twice", function()
      t.expect({ { 1 }, { 1 } }):to_be_unique()
    end)
  end)

  t.it("looks at a list to its end", function()
    local hole = { "a", nil, "c" }
    for message, look in pairs {
      ["contain: item 2 is nil, and others follow it"] = function()
        t.expect(hole):to_contain "c"
      end,
      ["unique: item 2 is nil, and others follow it"] = function()
        t.expect(hole):to_be_unique()
      end,
      ["length: item 2 is nil, and others follow it"] = function()
        t.expect(hole):to_have_length(1)
      end,
      ["unique: takes a list, not a table of names"] = function()
        t.expect({ a = 1, b = 1 }):to_be_unique()
      end,
    } do
      t.expect(look):to_fail(message)
    end
  end)

  t.it("catches errors by text and by kind", function()
    t.expect(function()
      error "no disk"
    end):to_fail "disk"
    t.expect(function() end):never_to_fail()
    fails("to raise an error", function()
      t.expect(function() end):to_fail()
    end)
  end)
end)

t.describe("spies", function()
  t.it("remember calls and give what is laid ready", function()
    local spy = t.spy():returns(1):returns(2, "two")
    t.expect(spy):never_to_have_been_called()
    t.expect(spy "a"):to_equal(1)
    local number, word = spy("b", nil)
    t.expect({ number, word }):to_equal { 2, "two" }
    t.expect((spy())):to_equal(2)
    t.expect(spy):to_have_been_called(3)
    t.expect(spy):to_have_been_called_with("b", nil)
    t.expect(spy):never_to_have_been_called_with "c"
  end)

  t.it("wrap a function, or fail", function()
    local spy = t.spy(function(n)
      return n + 1
    end)
    t.expect(spy(1)):to_equal(2)
    local broken = t.spy():fails "no route"
    t.expect(broken):to_fail "no route"
  end)

  local holder = { f = 1 }
  t.it("stand in for a value until the test ends", function()
    t.replace(holder, "f", 2)
    t.expect(holder.f):to_equal(2)
  end)
  t.it("are gone in the next one", function()
    t.expect(holder.f):to_equal(1)
  end)
end)

t.describe("order", function()
  local seen = {}
  t.before_each(function()
    seen[#seen + 1] = "outer"
  end)
  t.after_each(function()
    seen[#seen + 1] = "/outer"
  end)
  t.describe("inside", function()
    t.before_each(function()
      seen[#seen + 1] = "inner"
    end)
    t.after_each(function()
      seen[#seen + 1] = "/inner"
    end)
    t.it("is from the outside in", function()
      t.expect(seen):to_equal { "outer", "inner" }
    end)
    t.it("and back", function()
      t.expect(seen):to_equal { "outer", "inner", "/inner", "/outer", "outer", "inner" }
    end)
  end)
end)

t.describe("skipped", function()
  t.skip("without a body")
  t.skip("with one", function()
    error "not run"
  end)
  t.it("while it runs", function()
    t.skip "on this host"
    error "not reached"
  end)
end)

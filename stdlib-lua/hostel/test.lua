-- Tests of recipes and scripts: `hostel test` runs files named NAME_test.lua.
--
--   local t = require "hostel.test"
--   t.describe("fleet", function()
--     local fleet = t.eval "web.lua"
--     t.it("has an address each", function() t.expect(fleet:pluck "net.address").to.be.unique() end)
--   end)
--
-- Nothing is imitated: recipes are evaluated and planned by hostel itself, on facts that the test makes up.

local is_test, host = pcall(require, "hostel.test.host")
if not is_test then
  error("hostel.test: it is for files named NAME_test.lua, which `hostel test` runs", 0)
end
local expect = require "hostel.test.expect"
local spy = require "hostel.test.spy"

local t = {
  it = host.it,
  only = host.only,
  skip = host.skip,
  before_each = host.before_each,
  after_each = host.after_each,
  diagnostics = host.diagnostics,
  fake_host = host.fake_host,
  hook = host.hook,
  expect = expect,
  spy = spy.new,
  replace = spy.replace,
}

-- A workflow, run on a fake host. Loaded when it is wanted: most tests want recipes.
function t.flow(workflow, options)
  return require "hostel.test.flow"(workflow, options)
end

-- A group of tests. The body runs at once, and declares them.
function t.describe(name, body)
  local inside, above = host.begin(name, body)
  inside()
  host.close(above)
end

-- An `assert` looks at something, as an `expect` does.
local raw_assert = assert
function assert(...)
  host.looked()
  return raw_assert(...)
end

local Fleet = { __name = "fleet" }
Fleet.__index = Fleet

-- The guest of this name, or nil.
function Fleet:guest(name)
  for _, guest in ipairs(self) do
    if guest.name == name then
      return guest
    end
  end
  return nil
end

local function at(value, path)
  for part in path:gmatch("[^.]+") do
    if type(value) ~= "table" then
      return nil
    end
    value = value[math.tointeger(tonumber(part)) or part]
  end
  return value
end

-- What each guest has at a path, as one list: the items of lists one by one, guests without the field left out.
function Fleet:pluck(path)
  local found = {}
  for _, guest in ipairs(self) do
    local value = at(guest, path)
    if type(value) == "table" and #value > 0 then
      table.move(value, 1, #value, #found + 1, found)
    elseif value ~= nil and not (type(value) == "table" and next(value) == nil) then
      found[#found + 1] = value
    end
  end
  return found
end

-- The guests for which `is_wanted` holds, as a fleet.
function Fleet:filter(is_wanted)
  local found = setmetatable({}, Fleet)
  for _, guest in ipairs(self) do
    if is_wanted(guest) then
      found[#found + 1] = guest
    end
  end
  return found
end

-- The guests of a recipe, each a table as `hostel check --json` prints it. A recipe with mistakes fails the test.
function t.eval(recipe, options)
  local guests = host.eval(recipe, options)
  return setmetatable(table.move(guests, 1, #guests, 1, {}), Fleet)
end

local function change_text(change)
  local from = change.is_drift and "changed on the host" or change.from or "unset"
  return ("    %s %s -> %s (%s)"):format(change.path, from, change.to or "unset", change.effect)
end

local Plan = { __name = "plan", __inspect = true }
Plan.__index = Plan

function Plan.text(plan)
  local lines = {}
  for _, action in ipairs(plan) do
    lines[#lines + 1] = action.action .. " " .. action.guest
    for _, change in ipairs(action.changes or {}) do
      lines[#lines + 1] = change_text(change)
    end
  end
  return #lines == 0 and "no changes" or table.concat(lines, "\n")
end

-- What is planned for a guest: its action, or nil.
function Plan:guest(name)
  for _, action in ipairs(self) do
    if action.guest == name then
      return action
    end
  end
  return nil
end

-- What `hostel plan` would find to do on this host.
function t.plan(fleet, on, options)
  local actions, handle = host.plan(fleet, on, options)
  local meta = { __name = "plan", __index = Plan, __tostring = Plan.text, __inspect = true, handle = handle }
  return setmetatable(table.move(actions, 1, #actions, 1, {}), meta)
end

return t

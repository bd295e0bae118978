-- `t.expect(value)`: what has to hold of a value.
--
-- A matcher is reached by words that read well, whatever their order: `.to.be.empty()`, `:to_be_empty()` and
-- `:empty()` are one, and `never` turns it round: `.to.never.be.empty()`, `:never_empty()`.

local host = require "hostel.test.host"
local inspect = require "hostel.inspect"

local FILLERS = { to = true, be = true, been = true, have = true, a = true, an = true, the = true, is = true }
local MOST = 20

local function show(value)
  return inspect(value, { depth = 3, width = 60, items = 10 })
end

-- What differs, a line for each place. Two tables that hold themselves are compared once.
local function differences(found, wanted, path, notes, seen)
  if rawequal(found, wanted) or #notes > MOST then
    return
  end
  if type(found) ~= "table" or type(wanted) ~= "table" then
    if found ~= wanted then
      local where = path == "" and "" or path .. ": "
      notes[#notes + 1] = ("%sexpected %s, found %s"):format(where, show(wanted), show(found))
    end
    return
  end
  if seen[found] == wanted then
    return
  end
  seen[found] = wanted
  local keys = {}
  for key in pairs(found) do
    keys[key] = true
  end
  for key in pairs(wanted) do
    keys[key] = true
  end
  local order = {}
  for key in pairs(keys) do
    order[#order + 1] = key
  end
  table.sort(order, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
      return a < b
    end
    return type(a) .. tostring(a) < type(b) .. tostring(b)
  end)
  for _, key in ipairs(order) do
    local part = math.type(key) == "integer" and ("[%d]"):format(key)
      or type(key) == "string" and key:find("^[%a_][%w_]*$") and (path == "" and key or "." .. key)
      or "[" .. show(key) .. "]"
    differences(found[key], wanted[key], path .. part, notes, seen)
  end
end

local function compare(found, wanted)
  local notes = {}
  differences(found, wanted, "", notes, {})
  if #notes > MOST then
    notes[MOST + 1] = "and more"
  end
  return notes
end

local function is_equal(a, b)
  return #compare(a, b) == 0
end

local function length(value)
  if type(value) == "string" or type(value) == "table" or type(value) == "userdata" then
    local ok, count = pcall(function()
      return #value
    end)
    return ok and count or nil
  end
  return nil
end

local function needs(kind, name, value)
  if type(value) ~= kind then
    host.misuse(name, ("%s: takes a %s, not %s"):format(name, kind, show(value)))
  end
end

-- A list that is looked at to its end: behind a hole, nothing would be.
local function whole(name, value)
  local count = 0
  while rawget(value, count + 1) ~= nil do
    count = count + 1
  end
  for key in pairs(value) do
    if math.type(key) == "integer" and key > count then
      host.misuse(name, ("%s: item %d is nil, and others follow it"):format(name, count + 1))
    end
  end
  return count
end

-- A matcher gets the value and its arguments. It returns whether it holds, what was expected, and notes.
local matchers = {}

function matchers.equal(value, wanted)
  local notes = compare(value, wanted)
  if type(value) ~= "table" or type(wanted) ~= "table" then
    return #notes == 0, "to equal " .. show(wanted)
  end
  return #notes == 0, "to equal the other table", notes
end

-- The very same table or function.
function matchers.same(value, wanted)
  return rawequal(value, wanted), "to be the very same as " .. show(wanted)
end

function matchers.truthy(value)
  return not not value, "to be true or anything but nil and false"
end

function matchers.falsy(value)
  return not value, "to be nil or false"
end

function matchers.absent(value)
  return value == nil, "to be nil"
end

function matchers.present(value)
  return value ~= nil, "not to be nil"
end

-- Of a type of Lua's, or of math.type's.
function matchers.kind(value, kind)
  needs("string", "kind", kind)
  return type(value) == kind or math.type(value) == kind, "to be a " .. kind
end

function matchers.empty(value)
  if type(value) == "table" then
    local is_plan = getmetatable(value) and getmetatable(value).__name == "plan"
    return next(value) == nil, "to be empty", is_plan and { tostring(value) } or nil
  end
  return length(value) == 0, "to be empty"
end

function matchers.length(value, wanted)
  needs("number", "length", wanted)
  if type(value) == "table" then
    whole("length", value)
  end
  return length(value) == wanted, ("to have %d items, not %s"):format(wanted, tostring(length(value)))
end

function matchers.unique(value)
  needs("table", "unique", value)
  if whole("unique", value) == 0 and next(value) ~= nil then
    host.misuse("unique", "unique: takes a list, not a table of names")
  end
  local notes, first, tables = {}, {}, {}
  for index, item in ipairs(value) do
    local before = first[item]
    if type(item) == "table" then
      for _, other in ipairs(tables) do
        before = before or (is_equal(value[other], item) and other)
      end
      tables[#tables + 1] = index
    end
    first[item] = first[item] or index
    if before and #notes < MOST then
      notes[#notes + 1] = ("items %d and %d are both %s"):format(before, index, show(item))
    end
  end
  return #notes == 0, "to have no item twice", notes
end

-- An item of a list, a part of a text, or what every key of a table of names is.
function matchers.contain(value, wanted)
  if type(value) == "string" then
    needs("string", "contain", wanted)
    return value:find(wanted, 1, true) ~= nil, "to contain " .. show(wanted)
  end
  needs("table", "contain", value)
  whole("contain", value)
  for _, item in ipairs(value) do
    if is_equal(item, wanted) then
      return true, "to contain " .. show(wanted)
    end
  end
  if type(wanted) == "table" and #wanted == 0 then
    local notes = {}
    for key, part in pairs(wanted) do
      differences(value[key], part, tostring(key), notes, {})
    end
    return next(wanted) ~= nil and #notes == 0, "to contain " .. show(wanted), notes
  end
  return false, "to contain " .. show(wanted)
end

function matchers.key(value, key)
  needs("table", "key", value)
  return value[key] ~= nil, "to have " .. show(key)
end

-- A pattern of Lua's.
function matchers.match(value, pattern)
  needs("string", "match", pattern)
  return type(value) == "string" and value:find(pattern) ~= nil, "to match the pattern " .. show(pattern)
end

local function comparing(name, words, holds)
  matchers[name] = function(value, other)
    needs(type(value) == "string" and "string" or "number", name, other)
    local is_number = type(value) == type(other)
    return is_number and holds(value, other), words .. " " .. show(other)
  end
end

comparing("above", "to be above", function(a, b)
  return a > b
end)
comparing("below", "to be below", function(a, b)
  return a < b
end)
comparing("at_least", "to be at least", function(a, b)
  return a >= b
end)
comparing("at_most", "to be at most", function(a, b)
  return a <= b
end)

function matchers.near(value, other, by)
  needs("number", "near", other)
  by = by or 1e-9
  local is_near = type(value) == "number" and math.abs(value - other) <= by
  return is_near, ("to be within %s of %s"):format(by, other)
end

-- A function that raises; `part` stands in the message, or is the `kind` of hostel's error.
function matchers.fail(value, part)
  if type(value) ~= "function" and not (getmetatable(value) or {}).__call then
    host.misuse("fail", "fail: takes a function that is to raise, not " .. show(value))
  end
  local ok, problem = pcall(value)
  if ok then
    return false, "to raise an error"
  end
  local message = tostring(problem)
  if part == nil then
    return true, "to raise an error", { "it raised: " .. message }
  end
  local kind = type(problem) == "userdata" and problem.kind or nil
  local holds = kind == part or message:find(part, 1, true) ~= nil
  return holds, "to raise an error with " .. show(part), { "it raised: " .. message }
end

-- A list of `t.diagnostics` has a mistake of this code, and of this field, file, line.
function matchers.code(value, code, more)
  needs("table", "code", value)
  local notes = {}
  for _, mistake in ipairs(value) do
    local place = mistake.line and (" at %s:%d:%d"):format(mistake.file, mistake.line, mistake.column) or ""
    notes[#notes + 1] = ("%s: %s%s"):format(mistake.code, mistake.message, place)
    local holds = mistake.code == code
    for key, wanted in pairs(more or {}) do
      local found = mistake[key]
      holds = holds and (found == wanted or key == "message" and tostring(found):find(wanted, 1, true) ~= nil)
    end
    if holds then
      return true, "to have the mistake " .. code, notes
    end
  end
  if #notes == 0 then
    notes[1] = "there is no mistake"
  end
  return false, ("to have the mistake %s%s"):format(code, more and " with " .. show(more) or ""), notes
end

-- A fleet whose limits, all together, the host has: memory and processors.
function matchers.fit(value, on)
  local function sum(field)
    local all = 0
    for _, guest in ipairs(value) do
      local own = guest.limits and guest.limits[field]
      if own == nil then
        return nil, ("`%s` has no limits.%s"):format(guest.name, field)
      end
      all = all + host.amount(own)
    end
    return all
  end
  local notes = {}
  for _, field in ipairs({ "memory", "cpus" }) do
    local there = on[field]
    local needed, why = sum(field)
    if why then
      notes[#notes + 1] = why
    elseif there and needed > there then
      notes[#notes + 1] = ("limits.%s: %s together, the host has %s"):format(field, needed, there)
    end
  end
  return #notes == 0, "to fit on the host", notes
end

-- What it was when somebody last ran `hostel test --bless`: a text, or a value as `inspect` shows it.
function matchers.golden(value, name)
  needs("string", "golden", name)
  local meta = getmetatable(value)
  local is_text = type(value) == "string" or type(meta) == "table" and meta.__tostring
  local text = is_text and tostring(value) or inspect(value, { items = 100000, depth = 50, width = 100 })
  local holds, why, notes = host.golden(name, text)
  return holds, why or "to be as its golden file", notes, "E0405"
end

local function is_spy(value, name)
  if (getmetatable(value) or {}).__name ~= "spy" then
    host.misuse(name, ("%s: takes a spy of `t.spy`, not %s"):format(name, show(value)))
  end
end

local function calls_of(value)
  local notes = {}
  for index, call in ipairs(value.calls) do
    local parts = {}
    for n = 1, call.n do
      parts[n] = show(call[n])
    end
    notes[#notes + 1] = ("call %d: (%s)"):format(index, table.concat(parts, ", "))
  end
  return notes
end

-- A spy that was called, or called so often.
function matchers.called(value, times)
  is_spy(value, "called")
  local count = #value.calls
  if times == nil then
    return count > 0, "to have been called", calls_of(value)
  end
  return count == times, ("to have been called %d times, not %d"):format(times, count), calls_of(value)
end

function matchers.called_with(value, ...)
  is_spy(value, "called_with")
  local wanted = table.pack(...)
  for _, call in ipairs(value.calls) do
    if is_equal(call, wanted) then
      return true, "to have been called with that"
    end
  end
  return false, "to have been called with " .. show({ ... }), calls_of(value)
end

local known = {}
for name in pairs(matchers) do
  known[#known + 1] = name
end
table.sort(known)

-- The matcher that a name ends with, and whether it is turned round.
local function matcher_of(name)
  local is_never, rest = false, name
  while not matchers[rest] do
    local first, more = rest:match("^(%a+)_(.+)$")
    if first == "never" then
      is_never = not is_never
    elseif not FILLERS[first] then
      return nil
    end
    rest = more
  end
  return matchers[rest], is_never
end

local Expectation = { __name = "expectation" }

function Expectation.__index(self, name)
  local own = rawget(self, "__own")
  if FILLERS[name] then
    return self
  end
  if name == "never" then
    return setmetatable({ __own = { value = own.value, is_never = not own.is_never } }, Expectation)
  end
  local matcher, is_never = matcher_of(tostring(name))
  if not matcher then
    local near = host.nearest(tostring(name):gsub("^to_", ""), known)
    local help = near and ("did you mean `%s`?"):format(near) or "there are " .. table.concat(known, ", ")
    host.misuse(tostring(name), ("nothing is expected by `%s`"):format(name), help)
  end
  is_never = is_never ~= own.is_never
  return function(first, ...)
    -- As a method, the expectation itself comes first.
    local holds, what, notes, code
    host.looked()
    if rawequal(first, self) then
      holds, what, notes, code = matcher(own.value, ...)
    else
      holds, what, notes, code = matcher(own.value, first, ...)
    end
    if (not holds) ~= is_never then
      local negation = is_never and "not " or ""
      local shown = show(own.value)
      if notes and #notes > 0 and shown:find("\n", 1, true) then
        -- The notes tell more than the whole.
        shown = "the " .. type(own.value)
      end
      local message = ("expected %s %s%s"):format(shown, negation, what)
      if code == "E0405" and not is_never then
        message = what
      end
      host.fail(name, message, notes, code)
    end
    return self
  end
end

return function(...)
  local count = select("#", ...)
  if count > 1 then
    local help = "parentheses take the first: `t.expect((f()))`"
    host.misuse("expect", ("expect: takes one value, not %d"):format(count), help)
  end
  return setmetatable({ __own = { value = (...), is_never = false } }, Expectation)
end

-- The environment of a recipe: what Lua's own words become so that the same recipe always means the same.
--
-- `raw` holds Lua's globals, `host` what is made in Rust: `exhausted()` says whether the budget is used up,
-- `unknown(name, is_set)` raises an unknown word, `sorted(keys)` gives keys in their order, `nan` is the one
-- that is shown, `packed` is of unlined.lua.

local raw, host = ...
local next, type, select, error = raw.next, raw.type, raw.select, raw.error
local rawget, getmetatable = raw.rawget, raw.getmetatable
local raw_pcall, raw_xpcall = raw.pcall, raw.xpcall
local string, table, math, utf8 = raw.string, raw.table, raw.math, raw.utf8
-- What is replaced below, by its own name: Lua puts the name by which a function is called into its messages.
local lua = {
  concat = table.concat,
  format = string.format,
  insert = table.insert,
  move = table.move,
  pack = string.pack,
  remove = table.remove,
  rep = string.rep,
  setmetatable = raw.setmetatable,
  tostring = raw.tostring,
  unpack = table.unpack,
}
local find, gsub, sub, ult, unpack = string.find, string.gsub, string.sub, math.ult, table.unpack
local ipairs, sorted, NAN = raw.ipairs, host.sorted, host.nan

-- Lua's C functions do not count instructions: what loops in one of them has to be bounded before.
local MOST = 1000000

local ORDERED = { number = true, string = true, boolean = true }
local UNORDERED = { "function", "table", "thread", "userdata" }

-- In the order of keys: the order of a hash differs from run to run. So nothing may stop early in here, and no
-- comparison is made in Lua: how many instructions have run must not depend on it either.
local function sorted_pairs(t)
  local meta = getmetatable(t)
  if type(meta) == "table" and meta.__pairs then
    return meta.__pairs(t)
  end
  if type(t) ~= "table" then
    error(lua.format("bad argument #1 to 'pairs' (table expected, got %s)", type(t)), 2)
  end
  local keys, count, odd = {}, 0, {}
  for key in next, t do
    local kind = type(key)
    odd[kind] = not ORDERED[kind]
    count = count + 1
    keys[count] = key
  end
  for _, kind in ipairs(UNORDERED) do
    if odd[kind] then
      error(lua.format("pairs: a %s as key has no order", kind), 2)
    end
  end
  if count > 1 then
    keys = sorted(keys)
  end
  local index = 0
  return function()
    while index < count do
      index = index + 1
      local key = keys[index]
      local value = rawget(t, key)
      if value ~= nil then
        return key, value
      end
    end
  end,
    t,
    nil
end

-- Whether the processor makes `0/0` with a sign depends on its kind.
local function is_nan(value)
  return value ~= value and type(value) == "number"
end

-- Without addresses, which differ from run to run.
local function show(value)
  local kind = type(value)
  if is_nan(value) then
    return "nan"
  end
  if kind == "table" then
    local meta = getmetatable(value)
    if type(meta) == "table" and meta.__tostring then
      return lua.tostring(value)
    end
    return "table"
  end
  if kind == "function" or kind == "thread" then
    return kind
  end
  local text = lua.tostring(value)
  if kind == "userdata" then
    -- A mistake of one of hostel's words brings the list of calls with it.
    local calls = find(text, "\nstack traceback:\n", 1, true)
    return calls and sub(text, 1, calls - 1) or text
  end
  return text
end

function string.format(format, ...)
  if type(format) == "string" and find((gsub(format, "%%%%", "")), "%%[%-0-9]*p") then
    error("string.format: `%p` shows an address, which differs from run to run", 2)
  end
  local given, count = { ... }, select("#", ...)
  for index = 1, count do
    local kind = type(given[index])
    if kind == "table" or kind == "function" or kind == "userdata" then
      given[index] = show(given[index])
    elseif is_nan(given[index]) then
      given[index] = NAN
    end
  end
  return lua.format(format, unpack(given, 1, count))
end

function string.pack(format, ...)
  local given, count = { ... }, select("#", ...)
  for index = 1, count do
    if is_nan(given[index]) then
      given[index] = NAN
    end
  end
  return lua.pack(format, unpack(given, 1, count))
end

function string.rep(text, count, separator)
  if (text == "" or text == nil) and (separator == "" or separator == nil) then
    return ""
  end
  return lua.rep(text, count, separator)
end
string.dump = nil

local function plain(t, name)
  if type(t) ~= "table" then
    error(lua.format("bad argument #1 to '%s' (table expected, got %s)", name, type(t)), 3)
  end
  if getmetatable(t) ~= nil then
    error(lua.format("table.%s: a table with a metatable", name), 3)
  end
end

function table.concat(t, ...)
  plain(t, "concat")
  return lua.concat(t, ...)
end

function table.insert(t, ...)
  plain(t, "insert")
  return lua.insert(t, ...)
end

function table.remove(t, ...)
  plain(t, "remove")
  return lua.remove(t, ...)
end

function table.unpack(t, ...)
  plain(t, "unpack")
  return lua.unpack(t, ...)
end

function table.move(from, first, last, to, into)
  plain(from, "move")
  if into ~= nil then
    plain(into, "move")
  end
  if type(first) == "number" and type(last) == "number" and last >= first then
    if not ult(last - first, MOST) then
      error("table.move: more than a million items", 2)
    end
  end
  return lua.move(from, first, last, to, into or from)
end

local function less(a, b)
  return a < b
end

-- A stable merge sort: Lua's own picks its pivots by the clock, so that equal items come out in any order.
function table.sort(t, compare)
  plain(t, "sort")
  compare = compare or less
  local count = #t
  local from, into = t, {}
  local width = 1
  while width < count do
    local start = 1
    while start <= count do
      local middle, stop = start + width, start + 2 * width
      if middle > count + 1 then
        middle = count + 1
      end
      if stop > count + 1 then
        stop = count + 1
      end
      local left, right = start, middle
      for index = start, stop - 1 do
        if left < middle and (right >= stop or not compare(from[right], from[left])) then
          into[index] = from[left]
          left = left + 1
        else
          into[index] = from[right]
          right = right + 1
        end
      end
      start = stop
    end
    from, into = into, from
    width = width * 2
  end
  if from ~= t then
    lua.move(from, 1, count, 1, t)
  end
end

math.random, math.randomseed = nil, nil
-- Of Lua 5.2 and older, and unknown to editors.
for _, name in ipairs({ "atan2", "cosh", "frexp", "ldexp", "log10", "pow", "sinh", "tanh" }) do
  math[name] = nil
end

local pack, unlined = table.pack, host.packed
-- The same with its names: to call what is no function says what it is.
local function packed(pack_all, f, ...)
  return pack_all(f(...))
end

local function wrapper(f)
  return type(f) == "function" and unlined or packed
end

-- What uses up the budget must not be caught, or `while true do pcall(loop) end` would run for ever. Nor must what
-- uses up the memory: how much there is at one moment is no part of what a recipe says.
local function passed(ok, results)
  if ok then
    return true, unpack(results, 1, results.n)
  end
  if host.exhausted() or results == "not enough memory" then
    error(results, 0)
  end
  return false, results
end

local words = {
  assert = raw.assert,
  error = raw.error,
  getmetatable = raw.getmetatable,
  ipairs = ipairs,
  math = math,
  rawequal = raw.rawequal,
  rawget = raw.rawget,
  rawlen = raw.rawlen,
  select = raw.select,
  string = string,
  table = table,
  tonumber = raw.tonumber,
  tostring = show,
  type = raw.type,
  utf8 = utf8,
  pairs = sorted_pairs,
  pcall = function(f, ...)
    return passed(raw_pcall(wrapper(f), pack, f, ...))
  end,
  -- A handler runs before the stack is unwound: after the budget's own error, with nothing counted any more.
  xpcall = function(f, handler, ...)
    return passed(raw_xpcall(wrapper(f), function(problem)
      if host.exhausted() then
        return problem
      end
      return handler(problem)
    end, pack, f, ...))
  end,
  -- Finalizers and weak tables would let a recipe see when memory is collected.
  setmetatable = function(t, meta)
    if type(meta) == "table" and (rawget(meta, "__gc") ~= nil or rawget(meta, "__mode") ~= nil) then
      error("setmetatable: `__gc` and `__mode` depend on when memory is collected", 2)
    end
    return lua.setmetatable(t, meta)
  end,
}

getmetatable("").__metatable = false

lua.setmetatable(words, {
  __index = function(_, name)
    host.unknown(name, false)
  end,
})

local environment = lua.setmetatable({}, {
  __index = words,
  __newindex = function(_, name)
    host.unknown(name, true)
  end,
  __metatable = false,
})

return environment, words

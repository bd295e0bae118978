-- Functions that remember how they were called.

local host = require "hostel.test.host"

local Spy = {}
Spy.__index = Spy
Spy.__name = "spy"

-- From now on: these results, one list of values a call, the last for ever.
function Spy:returns(...)
  self.results[#self.results + 1] = table.pack(...)
  return self
end

-- From now on every call raises this.
function Spy:fails(problem)
  self.problem = problem
  return self
end

function Spy:__call(...)
  self.calls[#self.calls + 1] = table.pack(...)
  if self.problem ~= nil then
    error(self.problem, 2)
  end
  if self.inner then
    return self.inner(...)
  end
  local results = #self.results > 1 and table.remove(self.results, 1) or self.results[1]
  if results then
    return table.unpack(results, 1, results.n)
  end
end

local spy = {}

-- A function that does nothing, or what `inner` does; `spy.calls[1]` are the arguments of its first call.
function spy.new(inner)
  if inner ~= nil and type(inner) ~= "function" then
    host.misuse("spy", "takes a function or nothing, not a " .. type(inner))
  end
  return setmetatable({ calls = {}, results = {}, inner = inner }, Spy)
end

-- `holder[key] = value` until the test ends.
function spy.replace(holder, key, value)
  if type(holder) ~= "table" then
    host.misuse("replace", "takes a table and a key of it, not a " .. type(holder))
  end
  local before = rawget(holder, key)
  host.at_end("replace", function()
    rawset(holder, key, before)
  end)
  rawset(holder, key, value)
  return value
end

return spy

--- Addresses for many guests.
--
--     local pool = require("hostel.net").pool("10.20.0.0/16", { reserve = 10 })
--     pool:host(1)   --> "10.20.0.11/16"
--
-- since 0.1

local M = {}

local function fail(message)
  error(message, 3)
end

--- The 16-bit groups of an address, most significant first: two for IPv4, eight for IPv6.
local function parse(text)
  local a, b, c, d = text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a then
    local bytes = { tonumber(a), tonumber(b), tonumber(c), tonumber(d) }
    for _, byte in ipairs(bytes) do
      if byte > 255 then
        return nil
      end
    end
    return { bytes[1] << 8 | bytes[2], bytes[3] << 8 | bytes[4] }
  end
  local head, tail = text, nil
  local at = text:find("::", 1, true)
  if at then
    head, tail = text:sub(1, at - 1), text:sub(at + 2)
  end
  local function groups(part)
    local found = {}
    for group in (part .. ":"):gmatch("([^:]*):") do
      if group ~= "" or part ~= "" then
        if not group:match("^%x%x?%x?%x?$") then
          return nil
        end
        found[#found + 1] = tonumber(group, 16)
      end
    end
    return found
  end
  local first, last = groups(head), groups(tail or "")
  if not first or not last then
    return nil
  end
  local missing = 8 - #first - #last
  if (tail and missing < 1) or (not tail and missing ~= 0) then
    return nil
  end
  for _ = 1, missing do
    first[#first + 1] = 0
  end
  for _, group in ipairs(last) do
    first[#first + 1] = group
  end
  return first
end

--- Groups as text. IPv6 with its longest run of zeros as `::` (RFC 5952).
local function show(groups)
  if #groups == 2 then
    return ("%d.%d.%d.%d"):format(groups[1] >> 8, groups[1] & 255, groups[2] >> 8, groups[2] & 255)
  end
  local best, length, start = 0, 1, nil
  for index = 1, 9 do
    if groups[index] == 0 then
      start = start or index
    else
      if start and index - start > length then
        best, length = start, index - start
      end
      start = nil
    end
  end
  local parts = {}
  local index = 1
  while index <= 8 do
    if index == best then
      if length == 8 then
        return "::"
      end
      parts[#parts + 1] = (index == 1 or index + length > 8) and ":" or ""
      index = index + length
    else
      parts[#parts + 1] = ("%x"):format(groups[index])
      index = index + 1
    end
  end
  return table.concat(parts, ":")
end

local Pool = {}
Pool.__index = Pool

--- The address of the host with this number, from 1, with the pool's prefix length. Errors when the pool is full.
function Pool:host(number)
  if math.type(number) ~= "integer" or number < 1 then
    fail("pool:host takes a whole number from 1, not " .. tostring(number))
  end
  local offset = number + self.reserve
  if offset > self.last then
    fail(("the pool %s has no host %d: the last is %d"):format(self.text, number, self.last - self.reserve))
  end
  local groups = {}
  for index = #self.base, 1, -1 do
    local sum = self.base[index] + (offset & 0xffff)
    groups[index] = sum & 0xffff
    offset = (offset >> 16) + (sum >> 16)
  end
  return show(groups) .. "/" .. self.prefix
end

--- How many hosts it has.
function Pool:size()
  return self.last - self.reserve
end

--- The addresses of a network. `reserve`: how many at its beginning are left to others.
function M.pool(text, options)
  if type(text) ~= "string" then
    fail('pool takes a network such as "10.20.0.0/16", not a ' .. type(text))
  end
  for key in pairs(options or {}) do
    if key ~= "reserve" then
      fail(("pool does not know the option `%s`; it knows `reserve`"):format(tostring(key)))
    end
  end
  local address, prefix = text:match("^(.-)/(%d+)$")
  local groups = address and parse(address)
  local bits = groups and #groups * 16
  prefix = tonumber(prefix)
  if not groups or prefix > bits then
    fail(("`%s` is not a network; write it as 10.20.0.0/16 or fd00::/64"):format(text))
  end
  for index, group in ipairs(groups) do
    local kept = math.max(0, math.min(16, prefix - (index - 1) * 16))
    if group & (0xffff >> kept) ~= 0 then
      fail(("`%s` has bits behind its prefix length; the network's own address has none"):format(text))
    end
  end
  local reserve = options and options.reserve or 0
  if math.type(reserve) ~= "integer" or reserve < 0 then
    fail("`reserve` is a whole number from 0")
  end
  -- Numbers past 2^48 are of no use, and would not fit.
  local free = math.min(bits - prefix, 48)
  local last = (1 << free) - 1
  if bits == 32 and free > 1 then
    last = last - 1 -- the broadcast address
  end
  return setmetatable({ text = text, base = groups, prefix = prefix, reserve = reserve, last = last }, Pool)
end

return M

-- Values as text that a person reads, and mostly Lua reads again: `inspect(value, { depth = 4, width = 80 })`.
--
-- Keys are sorted, so that the same value is always the same text. A table that holds itself is shown as
-- `<circle>`, one below `depth` as `{...}`, a list longer than `items` is cut.

local RANK = { number = 1, string = 2, boolean = 3 }
local WORD = "^[%a_][%w_]*$"
local KEYWORDS = {}
for word in
  ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch("%a+")
do
  KEYWORDS[word] = true
end

local function before(a, b)
  local kind_a, kind_b = type(a), type(b)
  if kind_a ~= kind_b then
    return (RANK[kind_a] or 9) < (RANK[kind_b] or 9)
  end
  if RANK[kind_a] and kind_a ~= "boolean" then
    return a < b
  end
  return tostring(a) < tostring(b)
end

local ESCAPES = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ['"'] = '\\"', ["\\"] = "\\\\" }

-- A text in quotes. What could steer a terminal is a number.
local function quoted(text)
  return '"'
    .. text:gsub('[%c"\\\127]', function(c)
      return ESCAPES[c] or ("\\%03d"):format(c:byte())
    end)
    .. '"'
end

local function plain(value)
  if type(value) == "string" then
    return quoted(value)
  end
  if type(value) == "function" then
    return "<function>"
  end
  return tostring(value)
end

local function has_tostring(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__tostring ~= nil and meta.__inspect ~= true
end

local function key_text(key)
  if type(key) == "string" and key:find(WORD) and not KEYWORDS[key] then
    return key
  end
  return "[" .. plain(key) .. "]"
end

local function render(value, state, depth, indent)
  if type(value) ~= "table" or has_tostring(value) then
    return plain(value)
  end
  if state.above[value] then
    return "<circle>"
  end
  local count, keys = #value, {}
  for key in pairs(value) do
    if not (math.type(key) == "integer" and key >= 1 and key <= count) then
      keys[#keys + 1] = key
    end
  end
  if count == 0 and #keys == 0 then
    return "{}"
  end
  if depth <= 0 then
    return "{...}"
  end
  table.sort(keys, before)
  state.above[value] = true
  local parts, inner = {}, indent .. "  "
  for index = 1, math.min(count, state.items) do
    parts[#parts + 1] = render(value[index], state, depth - 1, inner)
  end
  if count > state.items then
    parts[#parts + 1] = ("... %d more"):format(count - state.items)
  end
  for index, key in ipairs(keys) do
    if index > state.items then
      parts[#parts + 1] = ("... %d more"):format(#keys - state.items)
      break
    end
    parts[#parts + 1] = key_text(key) .. " = " .. render(value[key], state, depth - 1, inner)
  end
  state.above[value] = nil
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #line + #indent <= state.width and not line:find("\n", 1, true) then
    return line
  end
  return "{\n" .. inner .. table.concat(parts, ",\n" .. inner) .. ",\n" .. indent .. "}"
end

return function(value, options)
  options = options or {}
  local state = { width = options.width or 80, items = options.items or 200, above = {} }
  return render(value, state, options.depth or 8, "")
end

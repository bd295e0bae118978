--- Text from a template.
--
--     local template = require "hostel.template"
--     template.render("server_name {{ host.name }};\n{% for p in ports %}listen {{ p }};\n{% end %}", values)
--
-- `{{ a.b }}` is a value: a text, a number or a boolean. `{% if a.b %} .. {% else %} .. {% end %}` (also `if not`),
-- `{% for x in list %} .. {% end %}`, `{# a comment #}`. There are no expressions: compute in Lua, and give the result.
-- A name that the values do not have is an error. `{{ "{{" }}` is `{{`.
--
-- since 0.1

local M = {}

local function place(text, at)
  local before = text:sub(1, at - 1)
  local _, lines = before:gsub("\n", "")
  local column = utf8.len(before:match "[^\n]*$") or #before:match "[^\n]*$"
  return ("%d:%d"):format(lines + 1, column + 1)
end

local function fail(state, at, message, ...)
  error(("%s at %s of the template"):format(message:format(...), place(state.text, at)), 0)
end

--- Splits the text into nodes: texts, values, conditions, loops.
local function parse(state, open)
  local nodes = {}
  while true do
    local start, _, kind = state.text:find("{([{%%#])", state.at)
    if not start then
      if open then
        fail(state, open.at, "`%s` has no `end`", open.word)
      end
      nodes[#nodes + 1] = { text = state.text:sub(state.at) }
      state.at = #state.text + 1
      return nodes
    end
    nodes[#nodes + 1] = { text = state.text:sub(state.at, start - 1) }
    local close = kind == "{" and "}}" or kind == "%" and "%}" or "#}"
    local literal, literal_end = state.text:match('^{{%s*"([^"]*)"%s*}}()', start)
    local stop, after = state.text:find(close, start + 2, true)
    if literal then
      nodes[#nodes + 1] = { text = literal }
      state.at = literal_end
    elseif not stop then
      fail(state, start, "`{%s` has no `%s`", kind, close)
    else
      local inside = state.text:sub(start + 2, stop - 1):match "^%s*(.-)%s*$"
      state.at = after + 1
      if kind == "{" then
        if not inside:match "^[%a_][%w_]*[%w_%.]*$" then
          fail(state, start, "`%s` is not a name", inside)
        end
        nodes[#nodes + 1] = { path = inside, at = start }
      elseif kind == "%" then
        local item, list = inside:match "^for%s+([%a_][%w_]*)%s+in%s+([%a_][%w_%.]*)$"
        local negated, condition = inside:match "^if%s+(not%s+)([%a_][%w_%.]*)$"
        if not condition then
          condition = inside:match "^if%s+([%a_][%w_%.]*)$"
        end
        if inside == "end" or inside == "else" then
          if not open or (inside == "else" and open.word ~= "if") then
            fail(state, start, "`%s` without an `if`", inside)
          end
          return nodes, inside
        elseif item then
          nodes[#nodes + 1] =
            { item = item, path = list, at = start, body = (parse(state, { word = "for", at = start })) }
        elseif condition then
          local node = { condition = true, negated = negated ~= nil, path = condition, at = start }
          local ended
          node.body, ended = parse(state, { word = "if", at = start })
          if ended == "else" then
            node.otherwise = parse(state, { word = "else", at = start })
          end
          nodes[#nodes + 1] = node
        else
          fail(state, start, "`%s` is not `if NAME`, `for NAME in NAME`, `else` or `end`", inside)
        end
      end
    end
  end
end

local function look_up(state, scope, node)
  local value
  local seen
  for part in node.path:gmatch "[^.]+" do
    if not seen then
      value = scope[part]
      seen = part
    else
      if type(value) ~= "table" then
        fail(state, node.at, "`%s` is %s and has no `%s`", seen, type(value), part)
      end
      value = value[part]
      seen = seen .. "." .. part
    end
    if value == nil then
      fail(state, node.at, "unknown name `%s`", seen)
    end
  end
  return value
end

--- The items of what a `for` runs over: a list, all of it.
local function items(state, node, value)
  if type(value) ~= "table" then
    fail(state, node.at, "`%s` is %s, not a list", node.path, type(value))
  end
  local list = {}
  for index, item in ipairs(value) do
    list[index] = item
  end
  for key in pairs(value) do
    if math.type(key) ~= "integer" then
      fail(state, node.at, "`%s` has names, such as `%s`, and is no list", node.path, tostring(key))
    elseif list[key] == nil then
      fail(state, node.at, "item %d of `%s` is nil, and others follow it", #list + 1, node.path)
    end
  end
  return list
end

local function write(state, nodes, scope, out)
  for _, node in ipairs(nodes) do
    if node.text then
      out[#out + 1] = node.text
    else
      local value = look_up(state, scope, node)
      if node.item then
        for _, item in ipairs(items(state, node, value)) do
          write(state, node.body, setmetatable({ [node.item] = item }, { __index = scope }), out)
        end
      elseif node.condition then
        local wanted = value ~= false and value ~= "" and not (type(value) == "table" and #value == 0)
        write(state, (wanted ~= node.negated) and node.body or node.otherwise or {}, scope, out)
      elseif type(value) == "table" or type(value) == "function" then
        fail(state, node.at, "`%s` is a %s, not a text", node.path, type(value))
      else
        out[#out + 1] = tostring(value)
      end
    end
  end
end

--- The text of a template with these values. Errors name the line and column of the template.
function M.render(text, values)
  if type(text) ~= "string" or type(values) ~= "table" then
    error("render takes a text and a table of values", 2)
  end
  local state = { text = text, at = 1 }
  local out = {}
  write(state, parse(state), values, out)
  return table.concat(out)
end

return M

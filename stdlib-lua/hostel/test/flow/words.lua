-- How a test that uses `t.flow` wrongly is told of it: what is wrong, and the nearest thing that would be right.

local host = require "hostel.test.host"

local M = {}

-- The keys of a set, as texts.
function M.sorted(set)
  local names = {}
  for name in pairs(set) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  return names
end

function M.misuse(message, help)
  host.misuse("flow", "flow: " .. message, help)
end

function M.near(name, known)
  local found = host.nearest(name, known)
  return found and ("did you mean `%s`?"):format(found) or ("there are " .. table.concat(known, ", "))
end

-- Options that there are, each of its type.
function M.check_options(options, known)
  for key, value in pairs(options) do
    if not known[key] then
      M.misuse(("there is no option `%s`"):format(tostring(key)), M.near(tostring(key), M.sorted(known)))
    elseif known[key] ~= "any" and type(value) ~= known[key] then
      M.misuse(("`%s` is a %s, not a %s"):format(key, known[key], type(value)))
    end
  end
end

return M

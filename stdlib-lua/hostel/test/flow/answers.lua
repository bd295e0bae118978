-- What the calls of a rehearsed workflow give: what the test answers, or what they would give if all went well.

local host = require "hostel.test.host"
local closed = require "hostel.test.flow.closed"
local words = require "hostel.test.flow.words"

local misuse, near, sorted = words.misuse, words.near, words.sorted

local M = {}

-- What a command gives.
local COMMAND = { code = 0, stdout = "", stderr = "", timed_out = false }
-- What a call does that the test does not answer, besides those of guests.
local DEFAULTS = {
  ["context:run"] = COMMAND,
  ["exec.run"] = { ok = true, code = 0, stdout = "", stderr = "", timed_out = false, truncated = false },
  ["files:copy"] = true,
  ["files:mkdir"] = true,
  ["files:remove"] = true,
  ["files:write"] = true,
}

-- Every call that a workflow can make.
local CALLS = {}
for _, name in ipairs(host.calls) do
  CALLS[name] = true
end
for _, pair in ipairs(closed.PLAIN) do
  CALLS[pair[1] .. "." .. pair[2]] = true
end

-- Answers: a value, a list of them, a function; `{ error = "..." }` raises, `{ err = "..." }` gives nil and why.

function M.check(answers)
  for name in pairs(answers) do
    if not CALLS[name] then
      misuse(("a workflow cannot call `%s`"):format(tostring(name)), near(tostring(name), sorted(CALLS)))
    end
  end
end

-- A list of answers, not an answer that is a list: that one is given by a function.
function M.is_list(answer)
  return type(answer) == "table" and getmetatable(answer) == nil and answer[1] ~= nil
end

local function is_callable(value)
  local meta = getmetatable(value)
  return type(value) == "function"
    or (type(value) == "table" and type(meta) == "table" and meta.__call ~= nil)
end

-- What is left out of an answer is what it would be if all went well.
function M.completed(call, answer)
  if type(answer) ~= "table" then
    return answer
  end
  local full = {}
  for key, value in pairs(answer) do
    full[key] = value
  end
  if call:find "^http%." then
    full.status = full.status or 200
    full.ok = full.status >= 200 and full.status < 300
    full.headers = full.headers or {}
    full.body = full.body or ""
  elseif call == "exec.run" or call == "guest:exec" or call == "context:run" then
    for key, value in pairs(DEFAULTS["exec.run"]) do
      if full[key] == nil then
        full[key] = value
      end
    end
    full.ok = full.code == 0
  end
  return full
end

-- One answer, to a call with these arguments.
function M.answered(call, answer, ...)
  if M.is_list(answer) then
    answer = #answer > 1 and table.remove(answer, 1) or answer[1]
  end
  if is_callable(answer) then
    local results = table.pack(answer(...))
    results[1] = M.completed(call, results[1])
    return table.unpack(results, 1, results.n)
  end
  if type(answer) == "table" and answer.error then
    host.raise(call, ("%s: %s"):format(call:match "%a+$", answer.error), answer.kind or "external")
  elseif type(answer) == "table" and answer.err then
    return nil, host.failure(answer.err, answer.kind or "external")
  end
  return M.completed(call, answer)
end

M.COMMAND, M.DEFAULTS, M.CALLS = COMMAND, DEFAULTS, CALLS

return M

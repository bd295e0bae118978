-- What goes wrong in a rehearsal because the test wants it: steps that fail, come too late or are interrupted, and
-- moments at which the run is killed.

local host = require "hostel.test.host"
local words = require "hostel.test.flow.words"

local misuse, near, sorted = words.misuse, words.near, words.sorted

local M = {}

-- Faults: `"copy"`, `2`, `{ copy = "no space", [3] = { message = "late", late = true, times = 2 } }`.

local FAULT =
  { message = "string", after = "boolean", times = "number", late = "boolean", interrupt = "boolean" }

local function fault_of(step, given)
  if given == true then
    given = {}
  elseif type(given) == "string" then
    given = { message = given }
  elseif type(given) ~= "table" then
    misuse(("how step `%s` fails is a text or a table, not a %s"):format(step, type(given)))
  end
  local fault = { left = given.times or math.huge }
  for key, value in pairs(given) do
    if not FAULT[key] then
      misuse(("a failure has no `%s`"):format(tostring(key)), near(tostring(key), sorted(FAULT)))
    elseif type(value) ~= FAULT[key] then
      misuse(("`%s` of a failure is a %s, not a %s"):format(key, FAULT[key], type(value)))
    end
    fault[key] = value
  end
  return fault
end

-- `fail` and `fail_undo` by step; each is used up or the test is wrong.
function M.of(word, given)
  local faults = {}
  if type(given) == "string" or type(given) == "number" then
    faults[given] = fault_of(given, true)
  elseif type(given) == "table" then
    for step, how in pairs(given) do
      faults[step] = fault_of(step, how)
    end
  elseif given ~= nil then
    misuse(("`%s` names steps, and is not a %s"):format(word, type(given)))
  end
  return faults
end

local KILL = { before = true, inside = true, after = true, undo = true }

-- `kill`: the moments, each with its step.
function M.kill_of(given)
  if type(given) == "string" or type(given) == "number" then
    return { inside = given }
  elseif type(given) ~= "table" then
    return {}
  end
  for key in pairs(given) do
    if not KILL[key] then
      misuse(
        ("there is no moment `%s` to be killed at"):format(tostring(key)),
        near(tostring(key), sorted(KILL))
      )
    end
  end
  return given
end

-- Whether a test that wants this step, by its name or number, means the one of this name.
function M.has_step(self, wanted, name)
  if wanted == name then
    return true
  end
  local step = math.type(wanted) == "integer" and self._record.steps[wanted]
  return step and step.name == name or false
end

-- The fault that is still to happen in a step.
function M.of_step(self, faults, name)
  for step, fault in pairs(faults) do
    if M.has_step(self, step, name) and fault.left > 0 then
      return fault
    end
  end
end

-- Makes it happen.
function M.inject(self, fault, name)
  fault.left, fault.is_used = fault.left - 1, true
  if fault.late then
    -- The step takes longer than it may.
    self._clock = self._over or self._clock
    host.raise(name, fault.message or "the deadline is over", "deadline")
  elseif fault.interrupt then
    host.raise(name, fault.message or "interrupted by SIGINT", "interrupted")
  end
  host.raise(name, fault.message or ("step `%s` fails, as the test wants it"):format(name), "external")
end

-- What was to go wrong and did not: a test that passes without it shows nothing.
function M.check_used(self)
  if self._unanswered then
    local call = self._unanswered
    misuse(
      ("the workflow calls `%s`, and the test gives no answer"):format(call),
      ('`answers = { ["%s"] = ... }`: a value, a list of them, or a function'):format(call)
    )
  end
  local function unused(word, step)
    local names = {}
    for _, entry in ipairs(self._record.steps) do
      names[#names + 1] = entry.name
    end
    misuse(
      ("`%s`: the run never came to step `%s`"):format(word, tostring(step)),
      type(step) == "string" and near(step, names) or ("it had the steps " .. table.concat(names, ", "))
    )
  end
  for word, faults in pairs { fail = self._fail, fail_undo = self._fail_undo } do
    for step, fault in pairs(faults) do
      if not fault.is_used then
        unused(word, step)
      end
    end
  end
  for moment, step in pairs(self._kill) do
    unused("kill." .. moment, step)
  end
end

return M

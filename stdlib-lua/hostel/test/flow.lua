-- Workflows that are rehearsed: the real engine runs them, on a fake host and a clock that only moves when somebody
-- waits, and breaks off, fails or is too late where the test wants it.

local host = require "hostel.test.host"

-- What a run was, and what can be done with it afterwards.
local Rehearsal = { __name = "rehearsal", __inspect = true }
Rehearsal.__index = Rehearsal

-- Raised where a run is killed. The engine's protected calls let it through, and from then on nothing that the dead run
-- still does, in a `<close>` or behind a `pcall` of its own, is heard of by the host or the journal.
local KILLED = {}

-- What a call does that the test does not answer, besides those of guests.
local COMMAND = { code = 0, stdout = "", stderr = "", timed_out = false }
local DEFAULTS = {
  ["context:run"] = COMMAND,
  ["exec.run"] = { ok = true, code = 0, stdout = "", stderr = "", timed_out = false, truncated = false },
  ["files:copy"] = true,
  ["files:mkdir"] = true,
  ["files:remove"] = true,
  ["files:write"] = true,
}

-- Of Lua's own, what changes something; `io.open` only where it would write.
local PLAIN = {
  { "io", "open" },
  { "io", "output" },
  { "io", "popen" },
  { "os", "execute" },
  { "os", "exit" },
  { "os", "remove" },
  { "os", "rename" },
  { "os", "tmpname" },
}

local CALLS = {}
for _, name in ipairs(host.calls) do
  CALLS[name] = true
end
for _, pair in ipairs(PLAIN) do
  CALLS[pair[1] .. "." .. pair[2]] = true
end

local function sorted(set)
  local names = {}
  for name in pairs(set) do
    names[#names + 1] = tostring(name)
  end
  table.sort(names)
  return names
end

local function misuse(message, help)
  host.misuse("flow", "flow: " .. message, help)
end

local function near(name, known)
  local found = host.nearest(name, known)
  return found and ("did you mean `%s`?"):format(found) or ("there are " .. table.concat(known, ", "))
end

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

-- By step; each is used up or the test is wrong.
local function faults_of(word, given)
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

local function kill_of(given)
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

-- Answers: a value, a list of them, a function; `{ error = "..." }` raises, `{ err = "..." }` gives nil and why.

local function check_answers(answers)
  for name in pairs(answers) do
    if not CALLS[name] then
      misuse(("a workflow cannot call `%s`"):format(tostring(name)), near(tostring(name), sorted(CALLS)))
    end
  end
end

-- A list of answers, not an answer that is a list: that one is given by a function.
local function is_list(answer)
  return type(answer) == "table" and getmetatable(answer) == nil and answer[1] ~= nil
end

local function is_callable(value)
  local meta = getmetatable(value)
  return type(value) == "function"
    or (type(value) == "table" and type(meta) == "table" and meta.__call ~= nil)
end

-- What is left out of an answer is what it would be if all went well.
local function completed(call, answer)
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

local function answered(call, answer, ...)
  if is_list(answer) then
    answer = #answer > 1 and table.remove(answer, 1) or answer[1]
  end
  if is_callable(answer) then
    local results = table.pack(answer(...))
    results[1] = completed(call, results[1])
    return table.unpack(results, 1, results.n)
  end
  if type(answer) == "table" and answer.error then
    host.raise(call, ("%s: %s"):format(call:match "%a+$", answer.error), answer.kind or "external")
  elseif type(answer) == "table" and answer.err then
    return nil, host.failure(answer.err, answer.kind or "external")
  end
  return completed(call, answer)
end

local function guest_of(on, name)
  local found, why = host.on_guest(on, "find", name)
  if not found then
    return nil, why
  end
  return require("hostel.flow.core").thawed_guest { name = name, xid = on:xid(name) }
end

local function die(self, moment)
  self._kill[moment] = nil
  self._is_dead = true
  error(KILLED, 0)
end

local function stop_if_dead(self)
  if self._is_dead then
    error(KILLED, 0)
  end
end

-- Every call that would change something or reach somebody comes here.
function Rehearsal:_asked(call, subject, ...)
  stop_if_dead(self)
  local verb = call:match "^guest:(.+)$"
  if call == "time.now" or call == "time.monotonic" then
    return self._clock
  elseif call ~= "hostel.guest" and call ~= "hostel.guests" and call ~= "guest:status" then
    self.calls[#self.calls + 1] =
      { name = call, subject = subject, args = { ... }, step = self._step, undo = self._is_undo }
  end
  local answer = self._answers[call]
  if answer ~= nil then
    if subject then
      return answered(call, answer, subject, ...)
    end
    return answered(call, answer, ...)
  elseif call == "time.sleep" then
    return self:_sleep(...)
  elseif call == "guest:exec" then
    local runs, why = host.on_guest(self.host, "exec", subject)
    return runs and completed(call, COMMAND), why
  elseif verb then
    return host.on_guest(self.host, verb, subject, ...)
  elseif call == "hostel.guest" then
    return guest_of(self.host, ...)
  elseif call == "hostel.guests" then
    local guests = {}
    for index, name in ipairs(host.on_host(self.host, "guests")) do
      guests[index] = guest_of(self.host, name)
    end
    return guests
  elseif call == "hostel.apply" then
    return host.on_host(self.host, "apply", ...)
  elseif DEFAULTS[call] ~= nil then
    return completed(call, DEFAULTS[call])
  end
  self._unanswered = self._unanswered or call
  host.raise(call, ("%s: the test gives no answer"):format(call), "unsupported")
end

-- Waiting costs nothing, and a step's deadline can be over.
function Rehearsal:_sleep(seconds)
  if self._over and self._clock + seconds >= self._over then
    self._clock = self._over
    self._is_late = true
    host.raise("sleep", "the deadline is over", "deadline")
  end
  self._clock = self._clock + seconds
end

local function has_step(self, wanted, name)
  if wanted == name then
    return true
  end
  local step = math.type(wanted) == "integer" and self._record.steps[wanted]
  return step and step.name == name or false
end

local function fault_for(self, faults, name)
  for step, fault in pairs(faults) do
    if has_step(self, step, name) and fault.left > 0 then
      return fault
    end
  end
end

local function inject(self, fault, name)
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

function Rehearsal:_call(kind, name, f, ...)
  stop_if_dead(self)
  local is_undo = kind == "undo"
  self._step, self._is_undo, self._is_late = name, is_undo, false
  self._seen[name] = true
  if not is_undo and has_step(self, self._kill.before, name) then
    die(self, "before")
  end
  local list = is_undo and self.undone or self.ran
  list[#list + 1] = name
  self.order[#self.order + 1] = (is_undo and "undo " or "") .. name
  local fault = fault_for(self, is_undo and self._fail_undo or self._fail, name)
  if fault and not fault.after then
    inject(self, fault, name)
  end
  local results = table.pack(f(...))
  if self._is_late then
    -- Whoever caught it has not made it undone.
    host.raise(name, "the deadline is over", "deadline")
  end
  local moment = is_undo and "undo" or "inside"
  if has_step(self, self._kill[moment], name) then
    die(self, moment)
  end
  if fault then
    inject(self, fault, name)
  end
  self._step, self._is_undo = nil, nil
  return table.unpack(results, 1, results.n)
end

function Rehearsal:_save(record)
  stop_if_dead(self)
  self._kept = host.kept(record)
  for _, step in ipairs(record.steps) do
    if step.state == "done" and has_step(self, self._kill.after, step.name) and self._seen[step.name] then
      die(self, "after")
    end
  end
end

function Rehearsal:_effects()
  local effects = require("hostel.flow").effects()
  function effects.save(record)
    self:_save(record)
  end
  function effects.now()
    return self._clock
  end
  function effects.wall()
    return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(self._clock)) --[[@as string]]
  end
  function effects.sleep(seconds)
    self:_sleep(seconds)
  end
  function effects.arm(left)
    self._over = left and left < math.huge and self._clock + left or nil
  end
  local raw_pcall = effects.pcall
  function effects.pcall(...)
    local results = table.pack(raw_pcall(...))
    stop_if_dead(self)
    return table.unpack(results, 1, results.n)
  end
  function effects.tell(line)
    self.said[#self.said + 1] = line
  end
  function effects.call(kind, name, f, ...)
    return self:_call(kind, name, f, ...)
  end
  return effects
end

-- While it runs, Lua's own means of changing something are the test's too.
local function closed(self)
  local saved = {}
  for index, pair in ipairs(PLAIN) do
    local holder, key = _G[pair[1]], pair[2]
    local real = holder[key]
    saved[index] = real
    holder[key] = function(...)
      local mode = select(2, ...)
      if key == "open" and not (mode and tostring(mode):find "[wa+]") then
        return real(...)
      end
      return self:_asked(pair[1] .. "." .. key, nil, ...)
    end
  end
  host.stage(function(...)
    return self:_asked(...)
  end)
  return setmetatable({}, {
    __close = function()
      host.stage(nil)
      for index, pair in ipairs(PLAIN) do
        _G[pair[1]][pair[2]] = saved[index]
      end
    end,
  })
end

local function loaded(given)
  if type(given) ~= "string" then
    return given
  end
  local workflow = host.flow_load(given)()
  if not host.is_workflow(workflow) then
    misuse(("`%s` returns no workflow"):format(given), 'it ends with `return flow.define "name" { ... }`')
  end
  return workflow
end

-- What was to go wrong and did not: a test that passes without it shows nothing.
local function check_used(self)
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

local OPTIONS = {
  args = "table",
  host = "userdata",
  answers = "table",
  fail = "any",
  fail_undo = "any",
  kill = "any",
  force = "boolean",
}

local function check_options(options, known)
  for key, value in pairs(options) do
    if not known[key] then
      misuse(("there is no option `%s`"):format(tostring(key)), near(tostring(key), sorted(known)))
    elseif known[key] ~= "any" and type(value) ~= known[key] then
      misuse(("`%s` is a %s, not a %s"):format(key, known[key], type(value)))
    end
  end
end

local function execute(from, mode, options)
  local self = setmetatable({
    ran = {},
    undone = {},
    order = {},
    calls = {},
    said = {},
    steps = {},
    _mode = mode,
    _source = from.source,
    _given = from.given,
    host = from.host,
    _clock = from.clock or 0,
    _record = from.record,
    _fail = faults_of("fail", options.fail),
    _fail_undo = faults_of("fail_undo", options.fail_undo),
    _kill = kill_of(options.kill),
    _answers = {},
    _seen = {},
  }, Rehearsal)
  for name, answer in pairs(options.answers or from.answers or {}) do
    -- A list is used up.
    self._answers[name] = is_list(answer) and table.move(answer, 1, #answer, 1, {}) or answer
  end
  check_answers(self._answers)
  do
    local _ <close> = closed(self)
    -- What a file does outside of its workflow is kept from the host too.
    local workflow = loaded(self._source)
    local args = host.flow_args(workflow.args, self._given)
    if not self.host then
      local named = {}
      for name, kind in pairs(workflow.args) do
        kind = type(kind) == "table" and (kind[1] or kind.kind) or kind
        if kind == "guest" and args[name] then
          named[#named + 1] = args[name].name
        end
      end
      self.host = host.host_with(named)
    end
    self._record.flow = workflow.name
    local request =
      { mode = mode, record = self._record, effects = self:_effects(), force = options.force or false }
    local flow = require "hostel.flow"
    local ok, problem, result = flow.effects().pcall(flow.execute, workflow, args, request)
    if ok then
      self.error = result ~= nil and require("hostel.flow.core").failure(result).message or nil
    elseif self._is_dead then
      self.state = "killed"
    else
      error(problem, 0)
    end
  end
  self.steps = self._kept.steps
  self.state = self.state or self._kept.state
  self.seconds = self._clock - (from.clock or 0)
  self._answered = options.answers or from.answers
  check_used(self)
  return self
end

-- The entry of a step in the journal.
function Rehearsal:step(name)
  local names = {}
  for index, step in ipairs(self.steps) do
    if step.name == name or index == name then
      return step
    end
    names[index] = step.name
  end
  return misuse(
    ("the run never came to step `%s`"):format(tostring(name)),
    type(name) == "string" and near(name, names) or nil
  )
end

-- The calls of this name, in their order.
function Rehearsal:called(name)
  if not CALLS[name] then
    misuse(("a workflow cannot call `%s`"):format(tostring(name)), near(tostring(name), sorted(CALLS)))
  end
  local found = {}
  for _, call in ipairs(self.calls) do
    if call.name == name then
      found[#found + 1] = call
    end
  end
  return found
end

local AGAIN = { answers = "table", fail = "any", fail_undo = "any", kill = "any", force = "boolean" }

local function again(self, mode, options)
  options = options or {}
  check_options(options, AGAIN)
  local state = self._kept.state
  if state == "done" or state == "undone" then
    misuse(("the run is %s: there is nothing to %s"):format(state, mode))
  elseif mode == "resume" and (state == "undoing" or state == "undo_failed") then
    misuse("the run is being undone, and cannot go on", "`run:undo()`")
  elseif mode == "undo" and self._kept.committed then
    misuse("the run is behind its point of no return", "`run:resume()`")
  end
  return execute({
    source = self._source,
    given = self._given,
    host = self.host,
    clock = self._clock,
    answers = self._answered,
    -- From its file, as another process finds it.
    record = host.kept(self._kept),
  }, mode, options)
end

-- What `hostel flow resume` does with a run that was killed, or failed behind its commit.
function Rehearsal:resume(options)
  return again(self, "resume", options)
end

-- What `hostel flow undo` does with it.
function Rehearsal:undo(options)
  return again(self, "undo", options)
end

function Rehearsal:__tostring()
  local lines = { ("%s: %s"):format(self.state, table.concat(self.order, ", ")) }
  lines[2] = self.error
  return table.concat(lines, "\n")
end

-- Runs a workflow: a file, or what `flow.define` gives.
return function(workflow, options)
  options = options or {}
  if type(options) ~= "table" then
    misuse("takes a table of options, not a " .. type(options))
  end
  check_options(options, OPTIONS)
  if type(workflow) ~= "string" and not host.is_workflow(workflow) then
    misuse("takes the path of a workflow, or a workflow, not a " .. type(workflow))
  end
  host.looked()
  return execute({
    source = workflow,
    given = options.args or {},
    host = options.host,
    record = { id = "rehearsal", steps = {}, state = "running" },
  }, "run", options)
end

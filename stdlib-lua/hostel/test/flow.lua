-- Workflows that are rehearsed: the real engine runs them, on a fake host and a clock that only moves when somebody
-- waits, and breaks off, fails or is too late where the test wants it.

local host = require "hostel.test.host"

local answers = require "hostel.test.flow.answers"
local closed = require("hostel.test.flow.closed").closed
local faults = require "hostel.test.flow.faults"
local words = require "hostel.test.flow.words"

local answered, completed, CALLS = answers.answered, answers.completed, answers.CALLS
local misuse, near, sorted = words.misuse, words.near, words.sorted

-- What a run was, and what can be done with it afterwards.
local Rehearsal = { __name = "rehearsal", __inspect = true }
Rehearsal.__index = Rehearsal

-- Raised where a run is killed. The engine's protected calls let it through, and from then on nothing that the dead run
-- still does, in a `<close>` or behind a `pcall` of its own, is heard of by the host or the journal.
local KILLED = {}

-- What only looks is not among the calls of a run.
local LOOKS = {
  ["guest:status"] = true,
  ["hostel.guest"] = true,
  ["hostel.guests"] = true,
  ["hostel.volume"] = true,
  ["hostel.volumes"] = true,
  ["volume:status"] = true,
}

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
  local on_volume = call:match "^volume:(.+)$" or call:match "^hostel%.([a-z_]*volumes?)$"
  if call == "time.now" or call == "time.monotonic" then
    return self._clock
  elseif not LOOKS[call] then
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
    return runs and completed(call, answers.COMMAND), why
  elseif on_volume then
    return host.on_volume(self.host, on_volume, subject, ...)
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
  elseif answers.DEFAULTS[call] ~= nil then
    return completed(call, answers.DEFAULTS[call])
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

function Rehearsal:_call(kind, name, f, ...)
  stop_if_dead(self)
  local is_undo = kind == "undo"
  self._step, self._is_undo, self._is_late = name, is_undo, false
  self._seen[name] = true
  if not is_undo and faults.has_step(self, self._kill.before, name) then
    die(self, "before")
  end
  local list = is_undo and self.undone or self.ran
  list[#list + 1] = name
  self.order[#self.order + 1] = (is_undo and "undo " or "") .. name
  local fault = faults.of_step(self, is_undo and self._fail_undo or self._fail, name)
  if fault and not fault.after then
    faults.inject(self, fault, name)
  end
  local results = table.pack(f(...))
  if self._is_late then
    -- Whoever caught it has not made it undone.
    host.raise(name, "the deadline is over", "deadline")
  end
  local moment = is_undo and "undo" or "inside"
  if faults.has_step(self, self._kill[moment], name) then
    die(self, moment)
  end
  if fault then
    faults.inject(self, fault, name)
  end
  self._step, self._is_undo = nil, nil
  return table.unpack(results, 1, results.n)
end

function Rehearsal:_save(record)
  stop_if_dead(self)
  self._kept = host.kept(record)
  for _, step in ipairs(record.steps) do
    if
      step.state == "done"
      and faults.has_step(self, self._kill.after, step.name)
      and self._seen[step.name]
    then
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

local OPTIONS = {
  args = "table",
  host = "userdata",
  answers = "table",
  fail = "any",
  fail_undo = "any",
  kill = "any",
  force = "boolean",
}

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
    _fail = faults.of("fail", options.fail),
    _fail_undo = faults.of("fail_undo", options.fail_undo),
    _kill = faults.kill_of(options.kill),
    _answers = {},
    _seen = {},
  }, Rehearsal)
  for name, answer in pairs(options.answers or from.answers or {}) do
    -- A list is used up.
    self._answers[name] = answers.is_list(answer) and table.move(answer, 1, #answer, 1, {}) or answer
  end
  answers.check(self._answers)
  do
    local _ <close> = closed(function(...)
      return self:_asked(...)
    end)
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
  faults.check_used(self)
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
  words.check_options(options, AGAIN)
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
  words.check_options(options, OPTIONS)
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

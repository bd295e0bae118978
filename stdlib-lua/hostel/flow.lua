--- Workflows: steps that know how to undo themselves, with a journal that outlives a crash.
--
--     local flow = require "hostel.flow"
--     return flow.define "restart" {
--       args = { guest = "guest" },
--       run = function(f, a)
--         f:step "stop"  { run = function() a.guest:stop() end, undo = function() a.guest:start() end }
--         f:step "start" { run = function() assert(a.guest:start()) end }
--       end,
--     }
--
-- A step that fails, is late or is interrupted ends the workflow: the steps are undone, the last one first.
-- What has happened is in the journal before and after each step, so that `hostel flow resume ID` goes on where a run
-- was killed, and `hostel flow undo ID` takes it back.
-- To resume, the workflow runs again from its beginning, and a step that is done gives its recorded value. So what
-- stands between the steps must be without effect.
--
-- since 0.1

local core = require "hostel.flow.core"

local M = {}

--- Raised to leave a workflow whose last recorded step has been reached, when it is only to be undone.
local STOP = {}

local STEP = {
  run = "function",
  undo = "function",
  undo_half_done = "boolean",
  undo_deadline = "span",
  deadline = "span",
  timeout = "span",
  retries = "number",
  backoff = "span",
  idempotent = "boolean",
  when = "any",
}

local WORKFLOW = { args = "table", run = "function", doc = "string" }

--- An undo may take longer than what it undoes; but not for ever.
local UNDO_DEADLINE = 600

--- The longest pause between two tries.
local LONGEST_BACKOFF = 60

local function checked(what, spec, fields)
  if type(spec) ~= "table" then
    core.fail(("%s takes a table, not %s"):format(what, core.describe(spec)))
  end
  local read = {}
  for key, value in pairs(spec) do
    local kind = fields[key]
    if not kind then
      core.fail(("%s does not know `%s`"):format(what, tostring(key)), core.nearest(tostring(key), fields))
    elseif kind == "span" then
      read[key] = core.span(what .. ": `" .. key .. "`", value)
    elseif kind ~= "any" and type(value) ~= kind then
      core.fail(("%s: `%s` is a %s, not %s"):format(what, key, kind, core.describe(value)))
    else
      read[key] = value
    end
  end
  return read
end

-- What a step returns is kept as data. A guest is kept by its name, another machine by its address.

local function freeze(value, depth)
  depth = (depth or 0) + 1
  if depth > 100 then
    core.fail("a value that is nested too deeply, or in a circle, cannot be kept")
  end
  local guest = core.frozen_guest(value)
  if guest then
    return { ["$guest"] = guest }
  end
  if type(value) == "table" then
    if value ~= core.null and getmetatable(value) and rawget(getmetatable(value), "__freeze") then
      return getmetatable(value).__freeze(value)
    end
    local frozen = core.like(value)
    for key, item in pairs(value) do
      frozen[key] = freeze(item, depth)
    end
    return frozen
  end
  return value
end

local function thaw(value)
  if type(value) ~= "table" then
    return value
  end
  if value["$guest"] then
    return core.thawed_guest(value["$guest"])
  end
  if value["$host"] then
    return require("hostel.ssh").host(value["$host"])
  end
  local thawed = core.like(value)
  for key, item in pairs(value) do
    thawed[key] = thaw(item)
  end
  return thawed
end

-- The run

local Flow = {}
Flow.__index = Flow

local function save(self)
  self.effects.save(self.record)
end

local function tell(self, ...)
  self.effects.tell((...):format(select(2, ...)))
end

--- Calls a function that must be over in time; `left` is in seconds.
local function guarded(self, left, f, ...)
  self.effects.arm(left)
  local ok, value = self.effects.pcall(f, ...)
  self.effects.arm(nil)
  return ok, value
end

--- The run is not resumed, and stays as it is: nothing is undone.
local function refuse_run(self, message, help)
  self.over, self.refused = true, true
  core.fail(message, help)
end

--- The place of a step in the journal: its old entry when the run is resumed, else a new one.
local function entry(self, name, kind)
  self.at = self.at + 1
  local known = self.record.steps[self.at]
  if known then
    if known.name ~= name then
      refuse_run(
        self,
        ("the run had the step `%s` here, and now it is `%s`"):format(known.name, name),
        "what a workflow does may depend on its arguments and its steps' values only; `hostel flow undo` takes it back"
      )
    end
    return known
  end
  if self.mode == "undo" then
    error(STOP, 0)
  end
  local step = { name = name, state = "pending", tries = 0, is_commit = kind == "commit" }
  self.record.steps[self.at] = step
  return step
end

local function begin(self, name)
  if self.over then
    core.fail(
      ("step `%s`: the workflow has ended: a step before it failed"):format(name),
      "a failure cannot be caught around a step; use `retries`, or catch it inside"
    )
  end
  if self.inside then
    core.fail(("step `%s` stands inside of step `%s`"):format(name, self.inside), "steps follow each other")
  end
  if self.open then
    core.fail(
      ("step `%s` has no body"):format(self.open),
      'write `f:step "name" { run = function() ... end }`'
    )
  end
  if type(name) ~= "string" or name == "" or #name > 200 then
    core.fail("a step's name is a text, not " .. core.describe(name))
  end
  if self.names[name] then
    core.fail(
      ("there are two steps `%s`"):format(name),
      "the journal finds a step by its name; put the guest's into it"
    )
  end
  self.names[name] = true
end

local function undo_one(self, undo)
  local step = undo.step
  if step.state == "undone" then
    return true
  end
  step.state, step.error = "undoing", nil
  save(self)
  local ok, err = guarded(self, undo.deadline, self.effects.call, "undo", step.name, undo.run, undo.value)
  if ok then
    step.state = "undone"
    tell(self, "%s: undone", step.name)
  else
    step.state, step.error = "undo_failed", core.failure(err).message
    tell(self, "%s: undo failed: %s", step.name, step.error)
  end
  save(self)
  return ok
end

--- Takes back what was done, the last first. One that fails does not keep the others from their turn.
local function unwind(self, message)
  if self.over then
    return
  end
  self.over = true
  self.record.error = self.record.error or message
  if not self.record.committed then
    self.record.state = "undoing"
  end
  save(self)
  local all = true
  for index = #self.undos, 1, -1 do
    all = undo_one(self, self.undos[index]) and all
  end
  if self.record.committed then
    self.record.state = "failed"
  else
    self.record.state = all and "undone" or "undo_failed"
  end
  save(self)
end

local function push_undo(self, step, spec, value)
  if spec.undo then
    self.undos[#self.undos + 1] =
      { step = step, run = spec.undo, value = value, deadline = spec.undo_deadline or UNDO_DEADLINE }
  end
end

--- Whether the undo of a step that has no value yet can run.
local function undoes_half(spec)
  if spec.undo_half_done ~= nil then
    return spec.undo_half_done
  end
  return spec.undo ~= nil and core.parameters(spec.undo) == 0
end

--- One try after the other.
local function try(self, step, spec, kind)
  local effects = self.effects
  local over = spec.deadline and effects.now() + spec.deadline
  local most = step.tries + 1 + (spec.retries or 0)
  while true do
    step.state, step.tries, step.error, step.half = "running", step.tries + 1, nil, true
    save(self)
    local left = over and over - effects.now()
    if spec.timeout then
      left = math.min(left or math.huge, spec.timeout)
    end
    local ok, value = guarded(self, left, effects.call, kind, step.name, spec.run, step.tries)
    if ok then
      return true, value
    end
    local failure = core.failure(value)
    step.error = failure.message
    left = over and over - effects.now()
    if failure.kind == "interrupted" or step.tries >= most or (left and left <= 0) then
      return false, value
    end
    local pause = math.min((spec.backoff or 1) * 2 ^ (step.tries - 1), LONGEST_BACKOFF, left or math.huge)
    tell(self, "%s: failed, again in %gs: %s", step.name, pause, failure.message)
    local slept, why = guarded(self, nil, effects.sleep, pause)
    if not slept then
      return false, why
    end
  end
end

local function perform(self, step, spec, kind)
  local begun = self.effects.now()
  step.started = step.started or self.effects.wall()
  step.has_undo, step.idempotent = spec.undo ~= nil, spec.idempotent ~= false
  self.inside = step.name
  local ok, value = try(self, step, spec, kind)
  local frozen
  if ok then
    -- A value that cannot be kept is the step's mistake: what it did is undone with the value that there is.
    ok, frozen = self.effects.pcall(function()
      local kept = freeze(value)
      core.keepable(step.name, kept)
      return kept
    end)
    if not ok then
      step.error = core.failure(frozen).message
      push_undo(self, step, spec, value)
    end
  end
  self.inside = nil
  step.seconds = self.effects.now() - begun
  if ok then
    step.state, step.value, step.half = "done", frozen, false
    if kind ~= "commit" then
      push_undo(self, step, spec, value)
    end
    save(self)
    tell(self, "%s: done in %.1fs", step.name, step.seconds)
    return value
  end
  local problem = frozen or value
  step.state = "failed"
  tell(self, "%s: failed: %s", step.name, step.error)
  if not frozen and undoes_half(spec) then
    push_undo(self, step, spec, nil)
  end
  unwind(self, step.error)
  self.problem = problem
  error(problem, 0)
end

--- What is in the journal already: `true` and the value when there is nothing to run.
local function replay(self, step, spec)
  if step.state == "skipped" then
    return true, nil
  end
  if self.mode == "undo" then
    local value = thaw(step.value)
    if not step.half or undoes_half(spec) then
      push_undo(self, step, spec, value)
    end
    if step.half then
      error(STOP, 0)
    end
    return true, value
  end
  if step.state == "done" then
    local value = thaw(step.value)
    if not step.is_commit then
      push_undo(self, step, spec, value)
    end
    return true, value
  end
  if step.tries > 0 then
    if (spec.idempotent == false or not step.idempotent) and not self.force then
      refuse_run(
        self,
        ("step `%s` was cut off, and may not run twice"):format(step.name),
        ("`hostel flow undo %s` takes the run back; `hostel flow resume --force %s` runs it again"):format(
          self.id,
          self.id
        )
      )
    end
    step.tries = 0
  end
  return false
end

local function run_step(self, name, spec)
  spec = checked(("step `%s`"):format(name), spec, STEP)
  if not spec.run then
    core.fail(("step `%s` has no `run`"):format(name), 'write `f:step "name" { run = function() ... end }`')
  end
  if spec.retries and (math.type(spec.retries) ~= "integer" or spec.retries < 0) then
    core.fail(("step `%s`: `retries` is a whole number from 0"):format(name))
  end
  if self.planned then
    return self.planned:step(name, spec)
  end
  local step = entry(self, name, "step")
  local is_known, value = replay(self, step, spec)
  if is_known then
    return value
  end
  -- Asked once: a step that was cut off half-way has changed what `when` looks at.
  local wanted = spec.when
  if step.started == nil and type(wanted) == "function" then
    wanted = wanted()
  end
  if step.started == nil and spec.when ~= nil and not wanted then
    step.state = "skipped"
    save(self)
    tell(self, "%s: skipped", name)
    return nil
  end
  return perform(self, step, spec, "run")
end

--- A step: `f:step "name" { run = ..., undo = ... }`. Returns what `run` returned.
function Flow:step(name, ...)
  begin(self, name)
  if select("#", ...) > 0 then
    return run_step(self, name, ...)
  end
  self.open = name
  return function(spec)
    self.open = nil
    return run_step(self, name, spec)
  end
end

--- The point of no return: behind it nothing before it is undone. Runs like a step, without an undo.
function Flow:commit(f)
  self.commits = self.commits + 1
  local name = self.commits == 1 and "commit" or "commit " .. self.commits
  begin(self, name)
  if type(f) ~= "function" then
    core.fail("commit takes a function, not " .. core.describe(f))
  end
  if self.planned then
    return self.planned:commit(name)
  end
  local step = entry(self, name, "commit")
  self.record.committed = true
  self.undos = {}
  local is_known, value = replay(self, step, { run = f })
  if is_known then
    return value
  end
  return perform(self, step, { run = f }, "commit")
end

-- Plans

local Unknown = {}
local unknowns = setmetatable({}, { __mode = "k" })

local function unknown(name)
  local made = setmetatable({}, Unknown)
  unknowns[made] = name
  return made
end

local function refuse(what)
  return function(a, b)
    local name = unknowns[a] or unknowns[b]
    core.fail(
      ("%s `%s` is not possible in a plan: its value is known after apply"):format(what, name),
      "do it inside of a step"
    )
  end
end

function Unknown:__index(key)
  return unknown(("%s.%s"):format(unknowns[self], tostring(key)))
end
function Unknown:__call()
  return unknown(unknowns[self] .. "()")
end
function Unknown.__concat(a, b)
  return unknown(tostring(a) .. tostring(b))
end
function Unknown.__tostring()
  return "<known after apply>"
end
for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv" } do
  Unknown["__" .. event] = function(a, b)
    return unknown((unknowns[a] or tostring(a)) .. " " .. event .. " " .. (unknowns[b] or tostring(b)))
  end
end
Unknown.__lt, Unknown.__le, Unknown.__eq = refuse "comparing", refuse "comparing", refuse "comparing"
Unknown.__len, Unknown.__pairs = refuse "the length of", refuse "going through"
Unknown.__newindex, Unknown.__close = refuse "a change of", function() end
Unknown.__name = "unknown"

local Plan = {}
Plan.__index = Plan

function Plan:step(name, spec)
  self.steps[#self.steps + 1] = {
    name = name,
    undo = spec.undo ~= nil,
    conditional = type(spec.when) == "function" or unknowns[spec.when] ~= nil,
    skipped = spec.when == false,
    deadline = spec.deadline,
    timeout = spec.timeout,
    retries = spec.retries,
    idempotent = spec.idempotent ~= false,
    commit = false,
  }
  if spec.when == false then
    return nil
  end
  return unknown(name)
end

function Plan:commit(name)
  self.steps[#self.steps + 1] =
    { name = name, undo = false, commit = true, conditional = false, skipped = false, idempotent = true }
  return unknown(name)
end

-- Workflows

local Workflow = { __name = "hostel.workflow" }
Workflow.__index = Workflow

--- Declares a workflow: `return flow.define "name" { args = { ... }, run = function(f, a) ... end }`.
function M.define(name)
  if type(name) ~= "string" or not name:match "^[%w_-]+$" then
    core.fail("define takes a name of letters, digits, `-` and `_`, not " .. core.describe(name))
  end
  return function(spec)
    spec = checked(("workflow `%s`"):format(name), spec, WORKFLOW)
    if not spec.run then
      core.fail(("workflow `%s` has no `run`"):format(name))
    end
    core.check_args(spec.args or {})
    return setmetatable({ name = name, doc = spec.doc, args = spec.args or {}, _run = spec.run }, Workflow)
  end
end

--- What a run takes from outside. A test gives others: `call` is how a step's function is called, `save` is given the
--- journal's record, `now` counts seconds, `wall` is the date, `sleep` and `arm` take seconds, `tell` a line.
function M.effects()
  local effects = core.effects()
  function effects.call(_, _, f, ...)
    return f(...)
  end
  return effects
end

local function new(workflow, request)
  local self = setmetatable({
    effects = request.effects,
    record = request.record,
    id = request.record and request.record.id,
    mode = request.mode,
    force = request.force,
    names = {},
    undos = {},
    commits = 0,
    at = 0,
    plan = request.mode == "plan",
  }, Flow)
  self.workflow = workflow
  return self
end

--- The steps that a run would take: a list of tables with `name`, `undo`, `deadline`, `timeout`, `retries`,
--- `conditional`, `skipped`, `idempotent`, `commit`.
function M.plan(workflow, args)
  local self = new(workflow, { mode = "plan" })
  self.planned = setmetatable({ steps = core.like({}, true) }, Plan)
  core.planning(true)
  local ok, err = core.effects().pcall(workflow._run, self, args)
  core.planning(false)
  if not ok then
    error(err, 0)
  end
  return self.planned.steps
end

--- Runs a workflow. `request` has `mode` ("run", "resume" or "undo"), `record` (`steps` at least), `effects`, `force`.
--- Returns the record, and the error that ended it if one did.
function M.execute(workflow, args, request)
  local self = new(workflow, request)
  local record = self.record
  local before, why = record.state, record.error
  if self.mode ~= "undo" then
    record.state, record.error = "running", nil
  end
  save(self)
  local ok, err = self.effects.pcall(workflow._run, self, args)
  if ok and self.open then
    ok, err = self.effects.pcall(core.fail, ("step `%s` has no body"):format(self.open))
  end
  if self.refused then
    record.state, record.error = before, why
    save(self)
    return record, err
  end
  if self.mode == "undo" then
    if not ok and err ~= STOP then
      return record, err
    end
    if self.at < #record.steps then
      local missing = record.steps[self.at + 1].name
      return record,
        select(
          2,
          self.effects.pcall(core.fail, ("the run had a step `%s` that is not there now"):format(missing))
        )
    end
    unwind(self, record.error or "undone on request")
    return record, nil
  end
  if not ok then
    -- A mistake between the steps; what a step failed with has been undone there, while its `<close>` values were open.
    local failure = core.failure(err)
    unwind(self, failure.message)
    return record, err
  end
  if not self.over then
    record.state, record.error = "done", nil
    save(self)
  end
  return record, self.problem
end

return M

local t = require "hostel.test"
local flow = require "hostel.flow"

--- A workflow of three steps that says in `said` what was done, and fails in the step `at`.
local function three(said, at)
  return flow.define "three" {
    run = function(f)
      for _, name in ipairs { "a", "b", "c" } do
        f:step(name) {
          run = function()
            said[#said + 1] = name
            if name == at then
              error("no " .. name, 0)
            end
            return name
          end,
          undo = function(value)
            said[#said + 1] = "undo " .. tostring(value)
          end,
        }
      end
    end,
  }
end

--- Runs it without a journal on disk.
local function run(workflow)
  local effects = flow.effects()
  effects.save = function() end
  effects.tell = function() end
  local record = { id = "t", flow = "three", steps = {} }
  return flow.execute(workflow, {}, { mode = "run", record = record, effects = effects })
end

t.describe("flow", function()
  t.it("runs its steps in order", function()
    local said = {}
    local record = run(three(said))
    t.expect(record.state):to_equal "done"
    t.expect(said):to_equal { "a", "b", "c" }
  end)

  t.it("undoes what was done, the last one first", function()
    local said = {}
    local record = run(three(said, "c"))
    t.expect(record.state):to_equal "undone"
    t.expect(said):to_equal { "a", "b", "c", "undo b", "undo a" }
  end)

  t.it("plans without doing", function()
    local said = {}
    local names = {}
    for _, step in ipairs(flow.plan(three(said), {})) do
      names[#names + 1] = step.name
    end
    t.expect(names):to_equal { "a", "b", "c" }
    t.expect(said):to_equal {}
  end)

  t.it("takes the lists of its arguments whole or not at all", function()
    for message, declared in pairs {
      ["`values` is a list, and has a hole at place 2"] = { "enum", values = { "a", nil, "c" } },
      ['`values` is a list, and has the text "x" as a key'] = { "enum", values = { "a", x = "b" } },
      ["`values` has texts; item 2 is"] = { "enum", values = { "a", {} } },
      ["`default` is a list, and has a hole at place 1"] = { "list", default = { nil, "b" } },
      ["has a hole at place 2"] = { "enum", nil, "c" },
    } do
      t.expect(function()
        flow.define "x" { args = { colour = declared }, run = function() end }
      end):to_fail(message)
    end
  end)
end)

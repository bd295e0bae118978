-- What 09-workflow.lua does when something goes wrong, found out without a guest and without root:
--
--   hostel test examples

local t = require "hostel.test"

t.describe("new-page", function()
  -- Any file will do for a page.
  local args = { guest = "web1", page = "09-workflow.lua", url = "http://10.0.0.11/" }

  local file = assert(io.open "09-workflow.lua" or io.open "examples/09-workflow.lua")
  local page = file:read "a"
  file:close()

  --- A server that gives this page, and a guest that holds the old one.
  local function answers(served)
    return { ["guest:exec"] = { stdout = "the old page" }, ["http.get"] = { body = served } }
  end

  t.it("writes the page and looks at it", function()
    local run = t.flow("09-workflow.lua", { args = args, answers = answers(page) })
    t.expect(run.state):to_equal "done"
    t.expect(run.undone):to_equal {}
    t.expect(#run:called "guest:exec"):to_equal(2)
  end)

  t.it("puts the old page back when another one is served", function()
    local run = t.flow("09-workflow.lua", { args = args, answers = answers "something else" })
    t.expect(run.state):to_equal "undone"
    t.expect(run.undone):to_equal { "keep the old page" }
    t.expect(run:step("look at it").tries):to_equal(3)
    local calls = run:called "guest:exec"
    t.expect(calls[#calls].args[1].env.TEXT):to_equal "the old page"
  end)

  t.it("puts it back when writing fails", function()
    local run = t.flow("09-workflow.lua", {
      args = args,
      answers = answers(page),
      fail = { ["write the page"] = "no space left" },
    })
    t.expect(run.error):to_match "no space left"
    t.expect(run.undone):to_equal { "keep the old page" }
  end)

  t.it("never takes the new page for the old one, wherever it is killed", function()
    for _, step in ipairs { "keep the old page", "write the page", "look at it" } do
      local run = t.flow("09-workflow.lua", { args = args, answers = answers(page), kill = step })
      t.expect(run.state):to_equal "killed"
      t.expect(run:resume().state):to_equal "done"
      for _, call in ipairs(run:undo():called "guest:exec") do
        t.expect(call.args[1].env.TEXT):to_equal "the old page"
      end
    end
  end)
end)

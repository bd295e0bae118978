local t = require "hostel.test"
local flow = require "hostel.flow"
local hostel = require "hostel"
local exec = require "hostel.exec"
local http = require "hostel.http"
local tcp = require "hostel.tcp"
local time = require "hostel.time"

--- Stops a guest, copies it, waits for the copy, and lets the old one go.
local move = flow.define "move" {
  args = { guest = "guest", patience = { "duration", default = "10s" } },
  run = function(f, a)
    f:step "stop" {
      run = function()
        assert(a.guest:stop())
      end,
      undo = function()
        assert(a.guest:start())
      end,
    }
    f:step "copy" {
      retries = 1,
      run = function()
        assert(exec.run({ "cp", "-a", "/srv/web", "/srv/copy" }).ok, "cp failed")
        return { path = "/srv/copy" }
      end,
      undo = function(copy)
        exec.run { "rm", "-rf", copy.path }
      end,
    }
    f:step "check" {
      deadline = a.patience,
      run = function()
        while not (http.get "http://copy/" or {}).ok do
          time.sleep "1s"
        end
      end,
    }
    f:commit(function()
      assert(a.guest:destroy())
    end)
  end,
}

local function rehearse(options)
  options.args = options.args or { guest = "web" }
  options.answers = options.answers or { ["http.get"] = {} }
  return t.flow(move, options)
end

--- The message of what is raised.
local function mistake(options)
  local ok, problem = pcall(rehearse, options)
  t.expect(ok):to_equal(false)
  return problem.message
end

t.describe("a run", function()
  t.it("does to the fake host what the workflow does to a guest", function()
    local run = rehearse {}
    t.expect(run.state):to_equal "done"
    t.expect(run.error).to.be.absent()
    t.expect(run.ran):to_equal { "stop", "copy", "check", "commit" }
    t.expect(run.host:names()):to_equal {}
    t.expect(tostring(run)):to_equal "done: stop, copy, check, commit"
  end)

  t.it("waits without waiting", function()
    local run =
      rehearse { answers = { ["http.get"] = { { status = 503 }, { err = "no route" }, { body = "here" } } } }
    t.expect(run.seconds):to_equal(2)
    t.expect(#run:called "http.get"):to_equal(3)
  end)

  t.it("tells what was called, by which step", function()
    local run = rehearse { fail = "check" }
    local calls = run:called "exec.run"
    t.expect(calls[1].args[1][1]):to_equal "cp"
    t.expect(calls[1].step):to_equal "copy"
    t.expect(calls[2].args[1]):to_equal { "rm", "-rf", "/srv/copy" }
    t.expect(calls[2].undo):to_equal(true)
    t.expect(run:called("guest:stop")[1].subject):to_equal "web"
  end)

  t.it("takes spies for answers", function()
    local get = t.spy():returns { status = 200 }
    rehearse { answers = { ["http.get"] = get } }
    t.expect(get).to.be.called_with("http://copy/")
  end)

  t.it("takes a host, and refuses on it what a real one refuses", function()
    local run = rehearse { host = t.fake_host(), args = { guest = "web" } }
    t.expect(run.error):to_match "no guest `web`"
    t.expect(run.ran):to_equal { "stop" }
  end)

  t.it("takes the lists of its arguments whole", function()
    local told = flow.define "tell" { args = { names = { "list" } }, run = function() end }
    t.expect(function()
      t.flow(told, { args = { names = { "a", nil, "c" } } })
    end):to_fail "the argument `names` has a hole at place 2"
  end)

  t.it("gives back the world when it is over", function()
    rehearse {}
    local file = assert(io.open(os.tmpname(), "w"))
    t.expect(file:close()):to_equal(true)
    t.expect(exec.run({ "echo", "real" }).stdout):to_equal "real\n"
  end)
end)

t.describe("a failure", function()
  t.it("comes by the step's name, and everything before it is undone", function()
    local run = rehearse { fail = { check = "no route" } }
    t.expect(run.state):to_equal "undone"
    t.expect(run.error):to_match "no route"
    t.expect(run.order):to_equal { "stop", "copy", "check", "undo copy", "undo stop" }
    t.expect(run.host:is_running "web"):to_equal(true)
  end)

  t.it("comes by the step's number", function()
    t.expect(rehearse({ fail = 2 }).order):to_equal { "stop", "copy", "copy", "undo stop" }
  end)

  t.it("may pass when it is tried again", function()
    local run = rehearse { fail = { copy = { message = "busy", times = 1 } } }
    t.expect(run.state):to_equal "done"
    t.expect(run:step("copy").tries):to_equal(2)
  end)

  t.it("may come when the work is done", function()
    local run = rehearse { fail = { copy = { after = true } } }
    t.expect(#run:called "exec.run"):to_equal(2)
    t.expect(run.undone):to_equal { "stop" }
  end)

  t.it("may be a deadline, which no retry survives", function()
    local run = rehearse { fail = { check = { late = true } } }
    t.expect(run.error):to_match "deadline"
    t.expect(run.seconds):to_equal(10)
    t.expect(run.undone):to_equal { "copy", "stop" }
  end)

  t.it("may be the deadline that waiting itself comes to", function()
    local run =
      rehearse { answers = { ["http.get"] = { status = 503 } }, args = { guest = "web", patience = "3s" } }
    t.expect(run.error):to_match "deadline"
    t.expect(run.seconds):to_equal(3)
  end)

  t.it("may be Ctrl-C, after which nothing is tried again", function()
    local run = rehearse { fail = { copy = { interrupt = true } } }
    t.expect(run.ran):to_equal { "stop", "copy" }
    t.expect(run.undone):to_equal { "stop" }
  end)

  t.it("of an undo leaves the others their turn", function()
    local run = rehearse { fail = "check", fail_undo = { copy = "read-only" } }
    t.expect(run.state):to_equal "undo_failed"
    t.expect(run.undone):to_equal { "copy", "stop" }
    t.expect(run:step("copy").error):to_match "read%-only"
    local back = run:undo()
    t.expect(back.state):to_equal "undone"
    t.expect(back.undone):to_equal { "copy" }
  end)

  t.it("behind the commit undoes nothing, and can be resumed", function()
    local run = rehearse { fail = "commit" }
    t.expect(run.state):to_equal "failed"
    t.expect(run.undone):to_equal {}
    local again = run:resume()
    t.expect(again.state):to_equal "done"
    t.expect(again.ran):to_equal { "commit" }
  end)
end)

t.describe("a kill", function()
  t.it("inside of a step makes it run twice", function()
    local run = rehearse { kill = "copy" }
    t.expect(run.state):to_equal "killed"
    t.expect(run.undone):to_equal {}
    t.expect(run.host:is_running "web"):to_equal(false)
    t.expect(run:resume().ran):to_equal { "copy", "check", "commit" }
    t.expect(run:step("copy").state):to_equal "running"
  end)

  t.it("after a step does not", function()
    t.expect(rehearse({ kill = { after = "copy" } }):resume().ran):to_equal { "check", "commit" }
  end)

  t.it("before its work leaves it to the resumed run", function()
    local run = rehearse { kill = { before = "copy" } }
    t.expect(#run:called "exec.run"):to_equal(0)
    t.expect(run:resume().state):to_equal "done"
  end)

  t.it("in an undo is undone again", function()
    local run = rehearse { fail = "check", kill = { undo = "copy" } }
    t.expect(run.state):to_equal "killed"
    local back = run:undo()
    t.expect(back.undone):to_equal { "copy", "stop" }
    t.expect(back.host:is_running "web"):to_equal(true)
  end)

  t.it("is the end, whatever is closed or caught around it", function()
    local after = {}
    local run = t.flow(
      flow.define "stubborn" {
        run = function(f)
          local handle <close> = setmetatable({}, {
            __close = function()
              exec.run { "umount", "/mnt" }
              after[#after + 1] = "closed"
            end,
          })
          pcall(function()
            f:step "a" { run = function() end }
          end)
          f:step "b" {
            run = function()
              after[#after + 1] = tostring(handle)
            end,
          }
        end,
      },
      { kill = "a" }
    )
    t.expect(run.state):to_equal "killed"
    t.expect(after):to_equal {}
    t.expect(run.calls):to_equal {}
  end)

  t.it("is refused for a run that is over", function()
    local ok, problem = pcall(function()
      return rehearse({}):resume()
    end)
    t.expect(ok):to_equal(false)
    t.expect(problem.message):to_match "nothing to resume"
  end)
end)

t.describe("a mistake of the test", function()
  t.it("is a failure that never came", function()
    t.expect(mistake { fail = "cpy" }):to_match "never came to step `cpy`"
    t.expect(mistake { kill = { after = 9 } }):to_match "never came to step `9`"
    t.expect(mistake { fail_undo = "copy" }):to_match "never came to step `copy`"
  end)

  t.it("is a step that is not in the journal", function()
    local ok, problem = pcall(function()
      return rehearse({}):step "cpy"
    end)
    t.expect(ok):to_equal(false)
    t.expect(problem.message):to_match "never came to step `cpy`"
  end)

  t.it("is a call that nothing answers", function()
    t.expect(mistake { answers = {} }):to_match "calls `http.get`, and the test gives no answer"
  end)

  t.it("is a word that there is not", function()
    t.expect(mistake { fial = "copy" }):to_match "no option `fial`"
    t.expect(mistake { kill = { at = "copy" } }):to_match "no moment `at`"
    t.expect(mistake { fail = { copy = { text = "x" } } }):to_match "no `text`"
    t.expect(mistake { answers = { ["http.got"] = {} } }):to_match "cannot call `http.got`"
    t.expect(mistake { args = { gust = "web" } }):to_match "no argument `gust`"
    t.expect(mistake { args = { guest = "web", patience = "long" } }):to_match "patience"
  end)
end)

t.describe("nothing real happens", function()
  local calls = {
    ["io.open"] = function()
      io.open("/tmp/hostel-never", "w")
    end,
    ["io.popen"] = function()
      io.popen "true"
    end,
    ["os.execute"] = function()
      os.execute "true"
    end,
    ["os.exit"] = function()
      os.exit(1)
    end,
    ["os.remove"] = function()
      os.remove "/tmp/hostel-never"
    end,
    ["os.rename"] = function()
      os.rename("/tmp/hostel-never", "/tmp/hostel-never-either")
    end,
    ["tcp.connect"] = function()
      tcp.connect("127.0.0.1", 1)
    end,
    ["tcp.wait_open"] = function()
      tcp.wait_open("127.0.0.1", 1)
    end,
  }
  for name, call in pairs(calls) do
    t.it("by " .. name, function()
      local ok, problem = pcall(
        t.flow,
        flow.define "w" {
          run = function(f)
            f:step "a" { run = call }
          end,
        }
      )
      t.expect(ok):to_equal(false)
      t.expect(problem.message):to_match("calls `" .. name:gsub("%.", "%%.") .. "`")
    end)
  end

  t.it("by a context", function()
    local run = t.flow(flow.define "w" {
      run = function(f)
        f:step "a" {
          run = function()
            return hostel.bind({ "127.9.0.1" }):run({ "/bin/false" }).code
          end,
        }
      end,
    })
    t.expect(run:step("a").value):to_equal(0)
  end)
end)

t.describe("a fake guest", function()
  local function on_web(act, options)
    options = options or {}
    options.args = { guest = "web" }
    return t.flow(
      flow.define "w" {
        args = { guest = "guest" },
        run = function(f, a)
          f:step "act" {
            run = function()
              return act(a.guest)
            end,
          }
        end,
      },
      options
    )
  end

  t.it("is paused, resumed and killed as a real one", function()
    local run = on_web(function(guest)
      local seen = {}
      assert(guest:pause())
      seen[1] = guest:status().state
      local again, why = guest:pause()
      seen[2] = again == nil and why.kind
      assert(guest:resume())
      assert(guest:kill "TERM")
      seen[3] = guest:status().state
      assert(guest:kill())
      seen[4] = guest:status().state
      seen[5] = guest:stop()
      return seen
    end)
    t.expect(run:step("act").value):to_equal { "paused", "state", "running", "stopped", "did_not_run" }
  end)

  t.it("is cloned, and its files are converted when it stands", function()
    local run = on_web(function(guest)
      local copy = guest:clone("web2", { xid = 4711 })
      local runs = guest:convert "dir"
      assert(guest:stop())
      return { copy, copy.xid, copy:status().state, runs == nil, guest:convert "dir", guest:convert "dir" }
    end)
    t.expect(run.host:names()):to_equal { "web", "web2" }
    local value = run:step("act").value
    t.expect(value[2]):to_equal(4711)
    t.expect({ table.unpack(value, 3) }):to_equal { "stopped", true, true, false }
  end)

  t.it("has its limits changed, and no others than a host can keep", function()
    local run = on_web(function(guest)
      assert(guest:limit { memory = "1G" })
    end)
    t.expect(run.host:left().cpus).to.be.absent()
    t.expect(run:called("guest:limit")[1].args[1].memory):to_equal "1G"
    local refused = on_web(function(guest)
      guest:limit { io_weight = 50 }
    end, { host = t.fake_host { guests = t.eval "recipes/one.lua", io_weight = false } })
    t.expect(refused.error):to_match "io"
  end)
end)

t.describe("a volume", function()
  local function on_data(body, options)
    options = options or {}
    options.host = options.host or t.fake_host { guests = t.eval "recipes/volume.lua", volumes = { "spare" } }
    local work = flow.define "volumes" {
      run = function(f)
        f:step "work" { run = body }
      end,
    }
    return t.flow(work, options), options.host
  end

  t.it("is made by the recipe, changed, copied and removed", function()
    local run = on_data(function()
      local data = assert(hostel.volume "data")
      t.expect(#hostel.volumes()):to_equal(2)
      t.expect(data:status().size):to_equal(1 << 30)
      assert(data:set { size = "2G", inodes = "max" })
      t.expect(data:status().size):to_equal(2 << 30)
      t.expect(data:snapshot { name = "one" }):to_equal "one"
      t.expect(data:snapshots()[1].label):to_equal "one"
      t.expect(data:clone("copy").name):to_equal "copy"
      t.expect(data:export "data.tar"):to_equal(0)
      t.expect(hostel.import_volume("data.tar", { name = "third" }).name):to_equal "third"
      assert(data:remove_snapshot "one")
      local ok, problem = pcall(hostel.create_volume, "copy")
      t.expect(ok):to_equal(false)
      t.expect(problem.kind):to_equal "exists"
      assert(hostel.volume("copy"):remove())
      local none, why = hostel.volume "copy"
      t.expect(none).to.be.absent()
      t.expect(why.kind):to_equal "not_found"
    end)
    t.expect(run.error).to.be.absent()
    t.expect(#run:called "volume:snapshot"):to_equal(1)
  end)

  t.it("is neither removed nor rolled back while a guest has it", function()
    local run = on_data(function()
      local data = assert(hostel.volume "data")
      data:snapshot { name = "one" }
      local _, why = data:rollback "one"
      t.expect(why.kind):to_equal "state"
      t.expect(select(2, data:remove()).kind):to_equal "state"
      assert(assert(hostel.guest "db"):stop())
      assert(data:rollback "one")
      t.expect(select(2, data:rollback "two").kind):to_equal "not_found"
      assert(hostel.guest("db"):destroy())
      assert(data:remove())
    end)
    t.expect(run.error).to.be.absent()
  end)

  t.it("that nobody made lets no guest start", function()
    local ok, problem = pcall(t.fake_host, { guests = t.eval "recipes/no_volume.lua" })
    t.expect(ok):to_equal(false)
    t.expect(problem.message):to_match "there is no volume `data`"
    t.fake_host { guests = t.eval "recipes/no_volume.lua", volumes = { "data" } }
  end)
end)

t.describe("hostel's own workflows", function()
  t.it("restart nothing behind a guest that does not come up", function()
    local host = t.fake_host { guests = t.eval "recipes/three.lua" }
    local run = t.flow("../../scripts/rolling-restart.lua", {
      host = host,
      answers = {
        ["guest:wait_healthy"] = function(name)
          if name == "b" then
            error("not healthy", 0)
          end
        end,
      },
    })
    t.expect(run.state):to_equal "undone"
    t.expect(run.ran):to_equal { "restart a", "restart b" }
    for _, name in ipairs { "a", "b", "c" } do
      t.expect(host:is_running(name)):to_equal(true)
    end
  end)

  t.it("leave the old guest as it was when the new one does not answer", function()
    local host = t.fake_host { guests = t.eval "recipes/three.lua" }
    local run = t.flow("../../scripts/replace.lua", {
      host = host,
      args = { old = "a", new = "d", recipe = "recipes/fourth.lua", url = "http://10.0.0.4/" },
      answers = { ["http.get"] = { err = "no route" } },
    })
    t.expect(run.error):to_match "deadline"
    t.expect(run.order):to_equal { "look", "make", "check", "undo make" }
    t.expect(host:names()):to_equal { "a", "b", "c" }
    t.expect(host:is_running "a"):to_equal(true)
  end)

  t.it("destroy the old guest when the new one does", function()
    local host = t.fake_host { guests = t.eval "recipes/three.lua" }
    local run = t.flow("../../scripts/replace.lua", {
      host = host,
      args = { old = "a", new = "d", recipe = "recipes/fourth.lua", url = "http://10.0.0.4/" },
      answers = { ["http.get"] = { body = "here" } },
      kill = { after = "stop the old" },
    })
    t.expect(host:is_running "a"):to_equal(false)
    t.expect(run:resume().state):to_equal "done"
    t.expect(host:names()):to_equal { "b", "c", "d" }
  end)
end)

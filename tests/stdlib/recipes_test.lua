-- Recipes under test: evaluation, plans on fake hosts, hooks.

local t = require "hostel.test"
local fleet = t.eval "recipes/fleet.lua"

t.describe("a fleet", function()
  t.it("is a list of guests", function()
    t.expect(fleet):to_have_length(3)
    t.expect(fleet:guest("web1").hostname):to_equal "web1.example.net"
    t.expect(fleet:guest "nobody"):to_be_absent()
    t.expect(fleet:pluck "name"):to_equal { "db", "web1", "web2" }
    t.expect(fleet:pluck "net.address").to.be.unique()
    t.expect(fleet:pluck "depends"):to_equal { "db", "db" }
    t.expect(fleet:filter(function(guest)
      return guest.depends ~= nil
    end)):to_have_length(2)
  end)

  t.it("takes inputs", function()
    local other = t.eval("recipes/fleet.lua", { inputs = { domain = "example.org" } })
    t.expect(other:guest("web2").hostname):to_equal "web2.example.org"
  end)

  t.it("tells mistakes as data", function()
    local found = t.diagnostics "recipes/mistaken.lua"
    t.expect(found):to_have_length(2)
    t.expect(found):to_have_code("E0102", { line = 3, help = "did you mean `memory`?" })
    t.expect(found):to_have_code("E0104", { message = "512MM" })
    t.expect(found):never_to_have_code "E0103"
    t.expect(t.diagnostics "recipes/fleet.lua"):to_be_empty()
  end)

  t.it("with a mistake fails the test", function()
    t.expect(function()
      t.eval "recipes/mistaken.lua"
    end):to_fail "has mistakes"
  end)
end)

t.describe("a plan", function()
  local host
  t.before_each(function()
    host = t.fake_host { memory = "4G", cpus = 2 }
  end)

  t.it("creates what is new, in the order of dependencies, and then has nothing to do", function()
    local plan = t.plan(fleet, host)
    t.expect(plan):to_be_golden "create"
    host:apply(plan)
    t.expect(host:names()):to_equal { "db", "web1", "web2" }
    t.expect(host:xid "db"):to_equal(1000)
    t.expect(t.plan(fleet, host)).to.be.empty()
  end)

  t.it("starts, changes and repairs", function()
    host:apply(t.plan(fleet, host))
    host:stop "web1"
    t.expect(host:is_running "web1"):to_equal(false)
    host:start "web1"
    t.expect(host:is_running "web1"):to_equal(true)
    host:stop "web1"
    host:drift("db", "memory")
    local changed = t.eval("recipes/fleet.lua", { inputs = { memory = "512M" } })
    t.expect(t.plan(changed, host)):to_be_golden "change"
    host:apply(t.plan(changed, host))
    t.expect(host:is_running "web1"):to_equal(true)
    t.expect(t.plan(changed, host)):to_be_empty()
  end)

  t.it("follows changes of the guests' own tables", function()
    host:apply(t.plan(fleet, host))
    local changed = t.eval "recipes/fleet.lua"
    changed:guest("db").image = "debian:bookworm"
    t.expect(t.plan(changed, host):guest("db").action):to_equal "rebuild"
  end)

  t.it("takes away only where that is asked for", function()
    host:apply(t.plan(fleet, host))
    t.expect(t.plan({}, host)):to_be_empty()
    local plan = t.plan({}, host, { prune = true })
    t.expect(plan):to_have_length(3)
    host:apply(plan)
    t.expect(host:names()):to_be_empty()
  end)

  t.it("is measured by what the host has", function()
    t.expect(fleet):to_fit(host)
    t.expect(function()
      t.expect(fleet):to_fit(t.fake_host { memory = "512M", cpus = 2 })
    end):to_fail "to fit on the host"
    host:apply(t.plan(fleet, host))
    t.expect(host:left()):to_equal { memory = (4096 - 768) << 20, cpus = 0.5 }
  end)
end)

t.describe("a host that cannot", function()
  t.it("confine sockets refuses the start and keeps what it has", function()
    local host = t.fake_host { kernel = "6.1" }
    t.expect(function()
      host:apply(t.plan(fleet, host))
    end):to_fail "Landlock"
    t.expect(host:names()):to_be_empty()
    t.expect(host:apply(t.plan(t.eval("recipes/fleet.lua", { inputs = { shared = true } }), host)))
      :to_be_absent()
    t.expect(host:names()):to_have_length(3)
  end)

  t.it("enforce a limit names it", function()
    local host = t.fake_host { controllers = { "cpu", "pids" } }
    t.expect(function()
      host:apply(t.plan(fleet, host))
    end):to_fail "memory"
    t.expect(function()
      t.fake_host { cgroup = "v1", guests = fleet }
    end):to_fail "no cgroup2"
  end)

  t.it("is described only by what there is", function()
    t.expect(function()
      t.fake_host { memroy = "1G" }
    end):to_fail "memroy"
    t.expect(function()
      t.fake_host { kernel = "new" }
    end):to_fail "kernel"
    t.expect(function()
      t.fake_host { controllers = { "cpu", nil, "pids" } }
    end):to_fail "`controllers` has a hole at place 2"
  end)
end)

t.describe("a hook", function()
  t.it("is run with a handle that records", function()
    local ran = t.hook("recipes/fleet.lua", "db", "pre_start", {
      answers = { exec = { { stdout = "vg0\n" }, { code = 5, stderr = "no such volume\n" } } },
    })
    t.expect(ran.log):to_equal { "volumes: vg0" }
    t.expect(ran.calls[1]):to_equal { name = "require_free", args = { "/srv", "1G" } }
    t.expect(ran.calls):to_contain { name = "exec", args = { { "lvs", "--noheadings" } } }
    t.expect(ran.error.message):to_equal "`lvchange` failed (exit status: 5): no such volume"
    t.expect(ran.error.line):to_be_above(1)
  end)

  t.it("waits for its guest where it says so", function()
    local ran = t.hook("recipes/fleet.lua", "db", "post_start")
    t.expect(ran.error):to_be_absent()
    t.expect(ran.calls):to_equal { { name = "wait_healthy", args = { { timeout = "20s" } } } }
    ran =
      t.hook("recipes/fleet.lua", "db", "post_start", { answers = { wait_healthy = { error = "too late" } } })
    t.expect(ran.error.message):to_equal "too late"
  end)

  t.it("that is not there is a mistake", function()
    t.expect(function()
      t.hook("recipes/fleet.lua", "web1", "pre_start")
    end):to_fail "no hook"
    t.expect(function()
      t.hook("recipes/fleet.lua", "db", "before")
    end):to_fail "no moment"
  end)
end)

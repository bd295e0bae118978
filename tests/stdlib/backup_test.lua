local t = require "hostel.test"
local exec = require "hostel.exec"

-- The directory of backups is real, for it is only read; what would change it is answered.
local dir = os.tmpname()
os.remove(dir)

local function place(names)
  assert(exec.run({ "rm", "-rf", dir }).ok)
  assert(exec.run({ "mkdir", "-p", dir .. "/web" }).ok)
  for _, name in ipairs(names or {}) do
    local file = assert(io.open(dir .. "/web/" .. name, "w"))
    file:close()
  end
end

local function snapshots(...)
  local labels = { ... }
  return function()
    local all = {}
    for i, label in ipairs(labels) do
      all[i] = { label = "backup-" .. label, created = "x", storage = "dir", size = 0 }
    end
    return all
  end
end

local function run(more, options)
  options = options or {}
  local args = { guest = "web", to = dir }
  for key, value in pairs(more or {}) do
    args[key] = value
  end
  local answers = { ["os.remove"] = true }
  for key, value in pairs(options.answers or {}) do
    answers[key] = value
  end
  options.args, options.answers = args, answers
  return t.flow("../../scripts/backup.lua", options)
end

local function removed(calls)
  local names = {}
  for i, call in ipairs(calls) do
    names[i] = call.args[1]:match "[^/]+$"
  end
  return names
end

local A, B, C, D =
  "20261101-000000-aaaaaa", "20261102-000000-bbbbbb", "20261103-000000-cccccc", "20261104-000000-dddddd"

t.describe("a backup", function()
  t.it("is whole when there is none before it", function()
    place()
    local done = run()
    t.expect(done.state):to_equal "done"
    t.expect(done.ran):to_equal { "look", "snapshot", "write", "commit" }
    local call = done:called("guest:export")[1]
    t.expect(call.args[1]):to_match "/web/%d+%-%d+%-%w+%.full%.tar%.zst$"
    t.expect(call.args[2].since).to.be.absent()
    t.expect(call.args[2].snapshot):to_match "^backup%-"
  end)

  t.it("is made against the last one whose snapshot is there", function()
    place { A .. ".full.tar.zst", B .. ".since-" .. A .. ".tar.zst" }
    local done = run({}, { answers = { ["guest:snapshots"] = snapshots(A) } })
    local call = done:called("guest:export")[1]
    t.expect(call.args[1]):to_match("%.since%-" .. A:gsub("%-", "%%-") .. "%.tar%.zst$")
    t.expect(call.args[2].since):to_equal("backup-" .. A)
  end)

  t.it("is whole again after as many as are wanted", function()
    place { A .. ".full.tar.zst", B .. ".since-" .. A .. ".tar.zst" }
    local done = run({ full_every = 2 }, { answers = { ["guest:snapshots"] = snapshots(B) } })
    t.expect(done:called("guest:export")[1].args[2].since).to.be.absent()
  end)

  t.it("leaves neither snapshot nor file when it fails", function()
    place()
    local done = run({}, { fail = { write = "no space left" } })
    t.expect(done.state):to_equal "undone"
    t.expect(done.undone):to_equal { "write", "snapshot" }
    t.expect(#done:called "guest:remove_snapshot"):to_equal(1)
    -- Nothing had been written.
    t.expect(#done:called "os.remove"):to_equal(0)
  end)

  t.it("has one name, wherever it is killed", function()
    for _, step in ipairs { "look", "snapshot", "write", "commit" } do
      place()
      local done = run({}, { kill = step })
      t.expect(done.state):to_equal "killed"
      local again = done:resume()
      t.expect(again.state):to_equal "done"
      local names = {}
      for _, call in ipairs(done:called "guest:export") do
        names[call.args[1]] = true
      end
      for _, call in ipairs(again:called "guest:export") do
        names[call.args[1]] = true
      end
      local count = 0
      for _ in pairs(names) do
        count = count + 1
      end
      t.expect(count):to_equal(1)
    end
  end)
end)

t.describe("what is kept", function()
  t.it("is the newest, and all that they are made against", function()
    place {
      A .. ".full.tar.zst",
      B .. ".full.tar.zst",
      C .. ".since-" .. B .. ".tar.zst",
      D .. ".since-" .. C .. ".tar.zst",
      "notes.txt",
    }
    local done = run({ keep_last = 1 }, { answers = { ["guest:snapshots"] = snapshots(A, D) } })
    t.expect(removed(done:called "os.remove")):to_equal { A .. ".full.tar.zst" }
    local gone = done:called "guest:remove_snapshot"
    t.expect(#gone):to_equal(1)
    t.expect(gone[1].args[1]):to_equal("backup-" .. A)
  end)

  t.it("is the newest of each day, week and month", function()
    local names = {}
    for _, day in ipairs { "20260901", "20261101", "20261102", "20261103" } do
      for hour = 1, 2 do
        names[#names + 1] = ("%s-0%d0000-aaaaaa.full.tar.zst"):format(day, hour)
      end
    end
    place(names)
    local done = run { keep_last = 1, keep_daily = 2, keep_monthly = 2 }
    t.expect(removed(done:called "os.remove")):to_equal {
      "20261103-010000-aaaaaa.full.tar.zst",
      "20261102-010000-aaaaaa.full.tar.zst",
      "20261101-020000-aaaaaa.full.tar.zst",
      "20261101-010000-aaaaaa.full.tar.zst",
      "20260901-010000-aaaaaa.full.tar.zst",
    }
  end)
end)

t.describe("a verified backup", function()
  t.it("is refused when what it is made against is missing", function()
    place { B .. ".since-" .. A .. ".tar.zst" }
    t.expect(run({ verify = true }).error):to_match "is made against is missing"
    place()
    t.expect(run({ verify = true }).error):to_match "there is no backup"
  end)
end)

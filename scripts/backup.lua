--- Back guests up, and prove that what was backed up starts
--
--     hostel run backup --guest web --to /srv/backup
--     hostel run backup --verify --guest web --to /srv/backup
--     hostel run backup --restore web-again --guest web --to /srv/backup
--
-- A backup is an archive of `hostel export` in TO/GUEST: whole (ID.full.tar.zst), or what has changed since another
-- one (ID.since-OTHER.tar.zst). The guest may run: it stands still while a snapshot is taken, with its hooks
-- pre_snapshot and post_snapshot around that. The snapshot of the last backup stays, for the next one is made against
-- it.
--
-- Two runs at once do no harm: each has a snapshot and a file of its own, a snapshot that is read cannot be removed,
-- and only what is whole is ever counted, kept or removed. A run that was killed goes on with `hostel flow resume`.

local flow = require "hostel.flow"
local hostel = require "hostel"
local fs = require "hostel.fs"
local time = require "hostel.time"

local M = {}

--- The backups of a guest, the oldest first: what their names say.
---@return any all
---@return any by_id
function M.catalogue(names)
  local all, by_id = {}, {}
  for _, name in ipairs(names) do
    local id, kind = name:match "^(%d%d%d%d%d%d%d%d%-%d%d%d%d%d%d%-%w+)%.(.+)%.tar%.%w+$"
    local base = kind and kind:match "^since%-(%d%d%d%d%d%d%d%d%-%d%d%d%d%d%d%-%w+)$"
    if id and (kind == "full" or base) then
      local backup = { id = id, name = name, base = base }
      all[#all + 1] = backup
      by_id[id] = backup
    end
  end
  table.sort(all, function(a, b)
    return a.id < b.id
  end)
  return all, by_id
end

--- The backups that one is made of, the whole one first; nil when one is missing.
---@return any
function M.chain(backup, by_id)
  local chain, seen = {}, {}
  while backup and not seen[backup.id] do
    seen[backup.id] = true
    table.insert(chain, 1, backup)
    if not backup.base then
      return chain
    end
    backup = by_id[backup.base]
  end
  return nil
end

--- The beginnings of the spans of time in which the newest backup is kept.
local SPANS = {
  hourly = function(id)
    return id:sub(1, 11)
  end,
  daily = function(id)
    return id:sub(1, 8)
  end,
  weekly = function(id)
    local at = time.parse(("%s-%s-%sT00:00:00Z"):format(id:sub(1, 4), id:sub(5, 6), id:sub(7, 8)))
    -- Weeks begin on Monday, and 1970 began on a Thursday.
    return at and math.floor((at // 86400 + 3) / 7)
  end,
  monthly = function(id)
    return id:sub(1, 6)
  end,
}

--- The backups that may go: none of the newest `keep.last`, none that is the newest of one of the last `keep.hourly`
--- hours that have one (days, weeks, months), not `keep.id`, and none that another one is made against.
function M.expired(all, by_id, keep)
  local kept = {}
  local function take(backup)
    for _, part in ipairs(M.chain(backup, by_id) or { backup }) do
      kept[part.id] = true
    end
  end
  for i = math.max(1, #all - keep.last + 1), #all do
    take(all[i])
  end
  if by_id[keep.id] then
    take(by_id[keep.id])
  end
  for word, span in pairs(SPANS) do
    local seen, last = 0, nil
    for i = #all, 1, -1 do
      if seen >= (keep[word] or 0) then
        break
      end
      local at = span(all[i].id)
      if at ~= last then
        take(all[i])
        seen, last = seen + 1, at
      end
    end
  end
  local expired = {}
  for _, backup in ipairs(all) do
    if not kept[backup.id] then
      expired[#expired + 1] = backup
    end
  end
  return expired
end

local function label(id)
  return "backup-" .. id
end

--- The last backup whose snapshot the guest still has, if a further one may be made against it.
local function base_of(guest, all, by_id, most)
  ---@type table<string, boolean>
  local has = {}
  for _, snapshot in ipairs(assert(guest:snapshots())) do
    has[snapshot.label] = true
  end
  for i = #all, 1, -1 do
    local chain = has[label(all[i].id)] and M.chain(all[i], by_id)
    if chain then
      return #chain < most and all[i].id or nil
    end
  end
  return nil
end

--- What is given, or an error with its reason.
local function must(given, why)
  if given == nil then
    error(why, 2)
  end
  return given
end

local function files(place)
  return must(must(fs.root(place)):list ".")
end

local function create(f, a, place)
  local guest = a.guest
  local id = f:step "look" {
    run = function()
      must(must(fs.root(a.to)):mkdir(guest.name, { mode = "0700" }))
      local now = time.now()
      local stamp = time.format(now // 1):gsub("[-:]", ""):gsub("T", "-"):sub(1, 15)
      -- In the order of time within a second too, and of this run alone whenever another one begins.
      return ("%s-%06d%s"):format(stamp, math.floor(now % 1 * 1e6), f.id:match "%w+$")
    end,
  }
  local taken = f:step "snapshot" {
    run = function()
      -- The name is this run's: one that is there is its own, from before it was killed.
      for _, snapshot in ipairs(assert(guest:snapshots())) do
        if snapshot.label == label(id) then
          return snapshot.label
        end
      end
      return assert(guest:snapshot { name = label(id) })
    end,
    undo = function(taken)
      assert(guest:remove_snapshot(taken))
    end,
  }
  f:step "write" {
    run = function()
      -- Chosen here: a run that goes on later goes on with what is there then.
      local all, by_id = M.catalogue(files(place))
      if by_id[id] then
        return by_id[id].name
      end
      local base = base_of(guest, all, by_id, a.full_every)
      local kind = base and "since-" .. base or "full"
      local name = id .. "." .. kind .. (a.compress == "gzip" and ".tar.gz" or ".tar.zst")
      assert(guest:export(place .. "/" .. name, {
        snapshot = taken,
        since = base and label(base),
      }))
      return name
    end,
    undo_half_done = true,
    undo = function()
      local _, by_id = M.catalogue(files(place))
      if by_id[id] then
        os.remove(place .. "/" .. by_id[id].name)
      end
    end,
  }
  f:commit(function()
    local all, by_id = M.catalogue(files(place))
    local snapshots, newest = {}, nil
    for _, snapshot in ipairs(assert(guest:snapshots())) do
      snapshots[snapshot.label] = true
    end
    for _, backup in ipairs(all) do
      newest = snapshots[label(backup.id)] and backup.id or newest
    end
    local expired = M.expired(all, by_id, {
      last = math.max(1, a.keep_last),
      hourly = a.keep_hourly,
      daily = a.keep_daily,
      weekly = a.keep_weekly,
      monthly = a.keep_monthly,
      id = newest,
    })
    -- The next one is made against the newest. A snapshot without a file is of a run that is not over.
    for name in pairs(snapshots) do
      local of = name:match "^backup%-(.+)$"
      if of and of ~= newest and (by_id[of] or of == id) then
        guest:remove_snapshot(name)
      end
    end
    -- What nothing is made against goes first: wherever this is cut off, what is left can be restored.
    for i = #expired, 1, -1 do
      os.remove(place .. "/" .. expired[i].name)
    end
  end)
end

--- Makes a guest of a backup.
local function remove(name)
  local guest = hostel.guest(name)
  if guest then
    assert(guest:destroy { force = true })
  end
end

local function restore(f, a, place, name, address)
  local chain = f:step "look" {
    run = function()
      local all, by_id = M.catalogue(files(place))
      local wanted = all[#all]
      if a.id then
        wanted = assert(by_id[a.id], ("there is no backup `%s` in %s"):format(a.id, place))
      end
      assert(wanted, "there is no backup in " .. place)
      local chain = assert(M.chain(wanted, by_id), ("what `%s` is made against is missing"):format(wanted.id))
      assert(not hostel.guest(name), ("there is a guest `%s` already"):format(name))
      local paths = {}
      for i, backup in ipairs(chain) do
        paths[i] = place .. "/" .. backup.name
      end
      return paths
    end,
  }
  return f:step "restore" {
    run = function()
      -- One that this run had begun before it was killed.
      remove(name)
      local guest = assert(hostel.import(chain[1], { name = name, trust = a.trust, address = address }))
      for i = 2, #chain do
        assert(hostel.import(chain[i], { onto = name }))
      end
      return guest
    end,
    undo_half_done = true,
    undo = function()
      remove(name)
    end,
  }
end

local function verify(f, a, place)
  local name = "verify-" .. a.guest.name
  local guest = restore(f, { id = a.id, trust = false }, place, name, a.address)
  f:step "start" {
    deadline = a.patience,
    run = function()
      local state = assert(guest:status()).state
      if state == "stopped" then
        assert(guest:start())
      end
      guest:wait_healthy { timeout = a.patience }
    end,
    undo = function()
      guest:stop { kill = true }
    end,
  }
  f:step "remove" {
    run = function()
      remove(name)
    end,
  }
end

M.workflow = flow.define "backup" {
  doc = "Back a guest up, verify a backup, or restore one",
  args = {
    guest = { "guest", doc = "The guest" },
    to = { "path", doc = "The directory of all backups, an absolute path" },
    verify = {
      "boolean",
      default = false,
      doc = "Restore a backup to a scratch guest, start it, wait until it is healthy, remove it",
    },
    restore = { "string", required = false, doc = "Make a guest of this name of a backup" },
    id = { "string", required = false, doc = "Which backup; the newest without" },
    trust = {
      "boolean",
      default = false,
      doc = "Restore what the backup says of the host too: network, mounts, capabilities",
    },
    address = {
      "address",
      default = "198.18.0.2/30",
      doc = "The address of the scratch guest, in a private network of its own",
    },
    patience = { "duration", default = "2m", doc = "How long the scratch guest may take to become healthy" },
    full_every = { "integer", default = 7, doc = "How many backups in a row are made against the one before" },
    compress = { "enum", values = { "zstd", "gzip" }, default = "zstd", doc = "How a backup is compressed" },
    keep_last = { "integer", default = 7, doc = "How many of the newest are kept" },
    keep_hourly = { "integer", default = 0, doc = "Of how many hours the newest is kept" },
    keep_daily = { "integer", default = 0, doc = "Of how many days" },
    keep_weekly = { "integer", default = 0, doc = "Of how many weeks" },
    keep_monthly = { "integer", default = 0, doc = "Of how many months" },
  },
  run = function(f, a)
    local place = a.to .. "/" .. a.guest.name
    if a.verify then
      verify(f, a, place)
    elseif a.restore then
      restore(f, a, place, a.restore)
    else
      create(f, a, place)
    end
  end,
}

return M.workflow

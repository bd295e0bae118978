--- Other machines, by the system's ssh and rsync.
--
--     local ssh = require "hostel.ssh"
--     local beta = ssh.host { name = "beta", user = "root", key = "/root/.ssh/hostel" }
--     local result = beta:exec { "systemctl", "is-active", "nginx", timeout = "10s" }
--     beta:push("/srv/web/", "/srv/web/")
--
-- Nothing is ever asked: a key that is missing or a host that is not known is an error. What is given to `exec` reaches
-- the program as it is: it is quoted for the other side's shell.
--
-- since 0.1

local exec = require "hostel.exec"

local M = {}

local FIELDS = {
  name = "string",
  user = "string",
  port = "number",
  key = "string",
  known_hosts = "string",
  config = "string",
}

local Host = { __name = "hostel.Host" }
Host.__index = Host

local function quote(word)
  word = tostring(word)
  if word:find "\0" then
    error("an argument has a NUL byte", 3)
  end
  if word:match "^[%w_/%.%-:=@%%+,]+$" then
    return word
  end
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

--- A machine: its name, or a table with `name` and `user`, `port`, `key`, `known_hosts` (a file), `config` (a file).
function M.host(given)
  if type(given) == "string" then
    local user, name = given:match "^([^@]+)@(.+)$"
    given = { name = name or given, user = user }
  end
  if type(given) ~= "table" then
    error("host takes a name or a table, not a " .. type(given), 2)
  end
  local self = {}
  for key, value in pairs(given) do
    if not FIELDS[key] then
      error(
        ("host does not know `%s`; it knows name, user, port, key, known_hosts, config"):format(tostring(key)),
        2
      )
    elseif type(value) ~= FIELDS[key] then
      error(("host: `%s` is a %s, not a %s"):format(key, FIELDS[key], type(value)), 2)
    end
    self[key] = value
  end
  -- What begins with a dash would be an option of ssh.
  if not self.name or not self.name:match "^[%w_%[][%w_%.%-:%[%]%%]*$" then
    error(("`%s` is not the name or address of a machine"):format(tostring(self.name)), 2)
  end
  if self.user and not self.user:match "^[%w_][%w_%.%-]*$" then
    error(("`%s` is not a user"):format(self.user), 2)
  end
  if self.port and (math.type(self.port) ~= "integer" or self.port < 1 or self.port > 65535) then
    error(("`%s` is not a port"):format(self.port), 2)
  end
  return setmetatable(self, Host)
end

function Host:__tostring()
  return 'host "' .. self.name .. '"'
end

--- A workflow's journal keeps how the machine is reached.
function Host.__freeze(self)
  local kept = {}
  for key in pairs(FIELDS) do
    kept[key] = self[key]
  end
  return { ["$host"] = kept }
end

--- ssh with all that makes it ask nothing and trust nobody new.
local function client(self)
  local words = { "ssh" }
  local function add(...)
    for _, word in ipairs { ... } do
      words[#words + 1] = word
    end
  end
  if self.config then
    add("-F", self.config)
  end
  add("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=yes")
  add("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "ClearAllForwardings=yes")
  if self.known_hosts then
    add("-o", "UserKnownHostsFile=" .. self.known_hosts)
  end
  if self.key then
    add("-i", self.key, "-o", "IdentitiesOnly=yes")
  end
  if self.port then
    add("-p", tostring(self.port))
  end
  if self.user then
    add("-l", self.user)
  end
  return words
end

--- ssh itself exits with 255 when it could not reach the machine.
local function reached(self, result, what)
  -- A client that was ended because the time was over says 255 too.
  if result.code == 255 and not result.timed_out then
    error(("%s on %s: %s"):format(what, self.name, (result.stderr:gsub("%s+$", ""))), 3)
  end
  return result
end

local OPTIONS = { dir = true, env = true, limit = true, stdin = true, timeout = true }

--- The words of a command, all of them: a hole would end them without a word.
local function words_of(command)
  local words = {}
  while command[#words + 1] ~= nil do
    local word = command[#words + 1]
    if type(word) ~= "string" and type(word) ~= "number" then
      error(("exec: argument %d is a text, not a %s"):format(#words + 1, type(word)), 3)
    end
    words[#words + 1] = word
  end
  for key in pairs(command) do
    if math.type(key) == "integer" and key > #words then
      error(("exec: argument %d is nil, and others follow it"):format(#words + 1), 3)
    elseif math.type(key) == "integer" and key < 1 then
      error(("exec: there is no argument %d: the first one is 1"):format(key), 3)
    elseif not math.type(key) and not OPTIONS[key] then
      error(("exec does not know `%s`; it knows dir, env, limit, stdin, timeout"):format(tostring(key)), 3)
    end
  end
  return words
end

--- Runs a command there: `{ "id", "-u", timeout = "10s", stdin = "", dir = "/", env = {} }`. Returns what `exec.run`
--- does. A machine that cannot be reached is an error.
function Host:exec(command)
  if type(command) ~= "table" or command[1] == nil then
    error('exec takes a table such as { "id", "-u" }', 2)
  end
  local asked = words_of(command)
  local remote = {}
  if command.dir then
    remote[#remote + 1] = "cd " .. quote(command.dir) .. " &&"
  end
  local names = {}
  for name in pairs(command.env or {}) do
    if not tostring(name):match "^[%a_][%w_]*$" then
      error(("`%s` is not the name of a variable"):format(tostring(name)), 2)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  if #names > 0 then
    remote[#remote + 1] = "env"
  end
  for _, name in ipairs(names) do
    remote[#remote + 1] = name .. "=" .. quote(command.env[name])
  end
  for _, word in ipairs(asked) do
    remote[#remote + 1] = quote(word)
  end
  local words = client(self)
  words[#words + 1] = "--"
  words[#words + 1] = self.name
  words[#words + 1] = table.concat(remote, " ")
  words.timeout, words.stdin, words.limit = command.timeout, command.stdin, command.limit
  return reached(self, exec.run(words), "ssh")
end

local function rsync(self, from, to, options)
  options = options or {}
  local words = { "rsync", "-aHAX", "--numeric-ids", "--protect-args" }
  if options.delete then
    words[#words + 1] = "--delete"
  end
  local shell = {}
  for _, word in ipairs(client(self)) do
    shell[#shell + 1] = quote(word)
  end
  words[#words + 1] = "--rsh=" .. table.concat(shell, " ")
  words[#words + 1] = "--"
  words[#words + 1] = from
  words[#words + 1] = to
  words.timeout = options.timeout or "1h"
  local result = reached(self, exec.run(words), "rsync")
  if not result.ok then
    error(("rsync with %s: %s"):format(self.name, (result.stderr:gsub("%s+$", ""))), 3)
  end
  return true
end

local function remote(self, path)
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
    error("a path on another machine begins with `/`", 3)
  end
  local name = self.name:find ":" and not self.name:find "%[" and "[" .. self.name .. "]" or self.name
  return name .. ":" .. path
end

--- Copies files there, as rsync means the paths:
--- `host:push("/srv/web/", "/srv/web/", { delete = true, timeout = "1h" })`.
function Host:push(from, to, options)
  return rsync(self, from, remote(self, to), options)
end

--- Copies files from there.
function Host:pull(from, to, options)
  return rsync(self, remote(self, from), to, options)
end

return M

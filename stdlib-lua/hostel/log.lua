--- Lines for whoever watches, on standard error.
--
--     local log = require "hostel.log"
--     log.info("copied", { guest = "web", bytes = 4096 })    --> info: copied guest=web bytes=4096
--     log.configure { level = "debug", json = true }
--
-- `hostel run NAME --verbose` shows debug lines, `--quiet` only warnings and errors.
--
-- since 0.1

local json = require "hostel.json"
local time = require "hostel.time"

local M = {}

local LEVELS = { debug = 1, info = 2, warn = 3, error = 4 }

local lowest = LEVELS.info
local as_json = false

if flags and flags.verbose then
  lowest = LEVELS.debug
elseif flags and flags.quiet then
  lowest = LEVELS.warn
end

--- What is shown, and how: `level` ("debug", "info", "warn", "error") and `json` (a line is an object).
function M.configure(options)
  for key, value in pairs(options) do
    if key == "level" then
      lowest = LEVELS[value]
        or error(("`%s` is no level: debug, info, warn, error"):format(tostring(value)), 2)
    elseif key == "json" then
      as_json = value and true or false
    else
      error(("configure does not know `%s`; it knows `level` and `json`"):format(tostring(key)), 2)
    end
  end
end

--- Nothing in a line may steer a terminal or begin another line.
local function clean(text)
  return (tostring(text):gsub("[%c\127]", function(c)
    return ("\\x%02x"):format(c:byte())
  end))
end

local function shown(value)
  local text = clean(value)
  return text:find '[%s"=]' and ("%q"):format(text) or text
end

local function write(level, message, fields)
  if LEVELS[level] < lowest then
    return
  end
  if as_json then
    local line = { time = time.format(), level = level, message = tostring(message) }
    for key, value in pairs(fields or {}) do
      local kind = type(value)
      line[tostring(key)] = (kind == "number" or kind == "boolean" or kind == "table") and value
        or tostring(value)
    end
    io.stderr:write(json.encode(line), "\n")
    return
  end
  local names = {}
  for key in pairs(fields or {}) do
    names[#names + 1] = tostring(key)
  end
  table.sort(names)
  local parts = { level .. ": " .. clean(message) }
  for _, name in ipairs(names) do
    parts[#parts + 1] = clean(name) .. "=" .. shown(fields[name])
  end
  io.stderr:write(table.concat(parts, " "), "\n")
end

--- What only helps to find a mistake.
function M.debug(message, fields)
  write("debug", message, fields)
end

--- What happens.
function M.info(message, fields)
  write("info", message, fields)
end

--- What somebody should look at.
function M.warn(message, fields)
  write("warn", message, fields)
end

--- What went wrong.
function M.error(message, fields)
  write("error", message, fields)
end

return M

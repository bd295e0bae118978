-- What calls the functions of others. It is shipped without its lines and names: `pcall(error, "x")` names no line, and
-- no trace has one of these in it.
--
-- Through a protected call goes one result at most, a table of all: mlua's `pcall` makes no room for what it adds to
-- many.

local function packed(pack, f, ...)
  return pack(f(...))
end

local function forgotten(f, ...)
  f(...)
end

local function kept(keep, f, ...)
  keep(f(...))
end

return packed, forgotten, kept

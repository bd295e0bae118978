std = "lua54"
max_line_length = 120

-- The words of a recipe.
local recipe = { "append", "guest", "input", "inputs", "requires", "secret", "template", "unset" }

-- What a script knows besides.
local script = { "append", "args", "flags", "guest", "input", "inputs", "requires", "secret", "template", "unset" }

files["examples"] = { read_globals = script }
files["tests/stdlib/recipes"] = { read_globals = recipe }
files["stdlib-lua"] = { read_globals = recipe }
-- What the evaluation of a recipe stands on defines those words.
files["stdlib-lua/sandbox.lua"] = { globals = recipe }
-- A script's protected calls let an interrupt through.
files["stdlib-lua/script.lua"] = { globals = { "coroutine", "math", "pcall", "xpcall" } }

-- A script's log looks at its flags.
files["stdlib-lua/hostel/log.lua"] = { read_globals = script }

-- A test that asserts looks at something.
files["stdlib-lua/hostel/test.lua"] = { globals = { "assert" } }

-- A variable that is closed is used by that.
ignore = { "211/cleanup" }

std = "lua54"
max_line_length = 120

-- The words of a recipe.
local recipe = { "append", "guest", "input", "inputs", "requires", "secret", "template", "unset" }

files["examples"] = { read_globals = recipe }
files["stdlib-lua"] = { read_globals = recipe }
-- What the evaluation of a recipe stands on defines those words.
files["stdlib-lua/sandbox.lua"] = { globals = recipe }

//! What there is of Lua's own library (reference manual, 6), in recipes and in scripts.

use super::{Module, Places, function, param, value};

/// Lua's own words.
pub(super) static BASE: Module = Module {
    name: "lua",
    local: "",
    is_global: true,
    doc: "Lua's own words.",
    places: Places::ALL,
    entries: &[
    function("assert", &[param("value", "any", "Anything."), param("message", "any", "What to raise otherwise.").or("\"assertion failed!\"")], "any", "Raises `message` when the value is false or nil; otherwise returns its arguments.", "assert(1 + 1 == 2, \"counting\")").gives("true"),
    function("error", &[param("message", "any", "What is raised; a text gets the place before it."), param("level", "integer", "Whose line: 1 is where `error` is called, 2 who called that function, 0 none.").or("1")], "", "Ends the run, or the `pcall` around it.", "pcall(error, \"no volume\", 0)"),
    function("getmetatable", &[param("value", "any", "Anything.")], "table?", "The metatable of a value, or what its `__metatable` says.", "getmetatable({})").gives("nil"),
    function("setmetatable", &[param("t", "table", "The table."), param("meta", "table?", "The metatable; nil removes it.")], "table", "Sets the metatable of a table, and returns the table. In a recipe without `__gc` and `__mode`: they depend on when memory is collected.", "setmetatable({}, { __index = { a = 1 } }).a").gives("1"),
    function("ipairs", &[param("t", "table", "The table.")], "function, table, integer", "Iterates over a list: `1, t[1]`, `2, t[2]` and so on up to the first nil.", "for i, name in ipairs { \"alpha\", \"beta\" } do print(i, name) end"),
    function("pairs", &[param("t", "table", "The table.")], "function, table, nil", "Iterates over all keys and values. In a recipe by the keys' order: numbers, texts, truth values.", "for name, size in pairs { b = 2, a = 1 } do print(name, size) end"),
    function("pcall", &[param("f", "function", "What is called."), param("...", "any", "Its arguments.").or("none")], "boolean, any", "Calls a function and catches what it raises: true and its results, or false and the error. What uses up a recipe's budget, and a signal that ends a script, are not caught.", "select(1, pcall(error, \"x\"))").gives("false"),
    function("xpcall", &[param("f", "function", "What is called."), param("handler", "fun(problem: any): any", "Is given the error; what it returns takes its place."), param("...", "any", "Arguments of `f`.").or("none")], "boolean, any", "As `pcall`, with a handler that runs where the error was raised.", "select(2, xpcall(error, function(e) return \"seen \" .. e end, \"x\"))").gives("\"seen x\""),
    function("print", &[param("...", "any", "What is written, with tabs between.").or("none")], "", "Writes a line. A recipe's lines go to standard error, at most 1000 of them; a script's to standard output.", "print(\"guests\", 3)"),
    function("rawequal", &[param("a", "any", "One."), param("b", "any", "The other.")], "boolean", "Whether two values are the same one, whatever their metatables say.", "rawequal(1, 1)").gives("true"),
    function("rawget", &[param("t", "table", "The table."), param("key", "any", "The key.")], "any", "What a table holds, whatever its metatable says.", "rawget({ a = 1 }, \"a\")").gives("1"),
    function("rawlen", &[param("t", "table|string", "A table or text.")], "integer", "The length, whatever a metatable says.", "rawlen { 1, 2 }").gives("2"),
    function("rawset", &[param("t", "table", "The table."), param("key", "any", "The key."), param("value", "any", "The value.")], "table", "Sets a field, whatever the table's metatable says.", "rawset({}, \"a\", 1).a").gives("1").only(Places::PROGRAMS),
    function("select", &[param("n", "integer|\"#\"", "Which to begin with; `\"#\"` counts them."), param("...", "any", "Values.").or("none")], "any", "The arguments from the one with this number on, or how many there are.", "select(\"#\", 1, nil, 3)").gives("3"),
    function("tonumber", &[param("value", "any", "Anything."), param("base", "integer", "The base of a text, 2 to 36.").or("10")], "number?", "A number from a text; nil when it is none.", "tonumber(\"0x10\")").gives("16"),
    function("tostring", &[param("value", "any", "Anything.")], "string", "A value as text. In a recipe without addresses, which differ from run to run.", "tostring(12)").gives("\"12\""),
    function("type", &[param("value", "any", "Anything.")], "string", "The name of a value's type: `nil`, `boolean`, `number`, `string`, `table`, `function`, `thread` or `userdata`.", "type({})").gives("\"table\""),
    function("require", &[param("name", "string", "The module, `.` between folders.")], "any", "Reads a module once and returns what it returned: a file beside the recipe or in its `lib` folder (for a script in /etc/hostel/lua too), or `hostel.NAME`, one of hostel's own.", "local net = require \"hostel.net\"").errors("E0114 when there is none, or when it is outside of the folder."),
    function("next", &[param("t", "table", "The table."), param("key", "any", "The key before it.").or("nil")], "any, any", "The next key and value of a table, in no order.", "next({ a = 1 })").gives("\"a\"").only(Places::PROGRAMS),
    function("load", &[param("chunk", "string|function", "The source."), param("name", "string", "What messages call it.").or("\"=(load)\""), param("mode", "string", "`t` for texts, `b` for what is compiled.").or("\"bt\""), param("env", "table", "Its globals.").or("_G")], "function?, string?", "Makes a function of a source text.", "load(\"return 1 + 1\")()").gives("2").only(Places::PROGRAMS).errors("`nil, message` when it is not valid Lua."),
    function("loadfile", &[param("file", "string", "The file.").or("standard input"), param("mode", "string", "As for `load`.").or("\"bt\""), param("env", "table", "Its globals.").or("_G")], "function?, string?", "Makes a function of a file.", "loadfile(\"lib/web.lua\")").only(Places::PROGRAMS).errors("`nil, message` when it cannot be read, or is not valid Lua."),
    function("dofile", &[param("file", "string", "The file.").or("standard input")], "any", "Runs a file and returns what it returns.", "dofile(\"lib/web.lua\")").only(Places::PROGRAMS),
    function("collectgarbage", &[param("what", "string", "`collect`, `count` and so on.").or("\"collect\""), param("...", "any", "What goes with it.").or("none")], "any", "Collects garbage, or tells of it.", "collectgarbage(\"count\") > 0").gives("true").only(Places::PROGRAMS),
    function("warn", &[param("...", "string", "The parts of the message.")], "", "Writes a warning to standard error, once `warn(\"@on\")` was called.", "warn(\"a volume is nearly full\")").only(Places::PROGRAMS),
    value("_G", "table", "The table of all globals.", "_G.print == print").gives("true").only(Places::PROGRAMS),
    value("_VERSION", "string", "The version of Lua.", "_VERSION").gives("\"Lua 5.4\"").only(Places::PROGRAMS),
    ],
    classes: &[],
    records: &[],
};

/// Texts.
pub(super) static STRING: Module = Module {
    name: "string",
    local: "string",
    is_global: true,
    doc: "Texts. Each is a method of every text too: `(\"web%d\"):format(1)`.",
    places: Places::ALL,
    entries: &[
        function(
            "string.byte",
            &[
                param("text", "string", "The text."),
                param("first", "integer", "From.").or("1"),
                param("last", "integer", "To.").or("first"),
            ],
            "integer ...",
            "The bytes of a part of the text, as numbers.",
            "string.byte(\"A\")",
        )
        .gives("65"),
        function(
            "string.char",
            &[param("...", "integer", "Bytes.")],
            "string",
            "A text of these bytes.",
            "string.char(72, 105)",
        )
        .gives("\"Hi\""),
        function(
            "string.dump",
            &[
                param("f", "function", "A function of Lua's."),
                param("strip", "boolean", "Without names and lines.").or("false"),
            ],
            "string",
            "A function as bytes, for `load`.",
            "type(string.dump(function() end))",
        )
        .gives("\"string\"")
        .only(Places::PROGRAMS),
        function(
            "string.find",
            &[
                param("text", "string", "The text."),
                param(
                    "pattern",
                    "string",
                    "A pattern of Lua's (reference manual, 6.4.1).",
                ),
                param("init", "integer", "Where to begin; negative counts from the end.").or("1"),
                param("plain", "boolean", "Whether the pattern is a plain text.").or("false"),
            ],
            "integer?, integer?, string ...",
            "The first place of a pattern, and what it captures; nil when there is none.",
            "string.find(\"web01\", \"%d+\")",
        )
        .gives("4"),
        function(
            "string.format",
            &[
                param("format", "string", "As for C's printf, and `%q`."),
                param("...", "any", "The values.").or("none"),
            ],
            "string",
            "A text from a format.",
            "(\"shop%03d\"):format(7)",
        )
        .gives("\"shop007\""),
        function(
            "string.gmatch",
            &[
                param("text", "string", "The text."),
                param(
                    "pattern",
                    "string",
                    "A pattern of Lua's (reference manual, 6.4.1).",
                ),
                param("init", "integer", "Where to begin; negative counts from the end.").or("1"),
            ],
            "function",
            "Iterates over the matches of a pattern.",
            "for word in (\"a b\"):gmatch \"%a+\" do print(word) end",
        ),
        function(
            "string.gsub",
            &[
                param("text", "string", "The text."),
                param(
                    "pattern",
                    "string",
                    "A pattern of Lua's (reference manual, 6.4.1).",
                ),
                param(
                    "replacement",
                    "string|table|function",
                    "A text (`%1` is a capture), a table or function from capture to text.",
                ),
                param("most", "integer", "How many are replaced.").or("all"),
            ],
            "string, integer",
            "The text with its matches replaced, and how many there were.",
            "(string.gsub(\"a.b\", \"%.\", \"-\"))",
        )
        .gives("\"a-b\""),
        function(
            "string.len",
            &[param("text", "string", "The text.")],
            "integer",
            "How many bytes.",
            "(\"abc\"):len()",
        )
        .gives("3"),
        function(
            "string.lower",
            &[param("text", "string", "The text.")],
            "string",
            "Capital letters (A to Z) become small ones.",
            "(\"WEB\"):lower()",
        )
        .gives("\"web\""),
        function(
            "string.match",
            &[
                param("text", "string", "The text."),
                param(
                    "pattern",
                    "string",
                    "A pattern of Lua's (reference manual, 6.4.1).",
                ),
                param("init", "integer", "Where to begin; negative counts from the end.").or("1"),
            ],
            "string? ...",
            "What the first match captures; nil when there is none.",
            "(\"web01\"):match \"^(%a+)\"",
        )
        .gives("\"web\""),
        function(
            "string.pack",
            &[
                param("format", "string", "The layout (reference manual, 6.4.2)."),
                param("...", "any", "The values.").or("none"),
            ],
            "string",
            "Values as bytes.",
            "string.pack(\">I2\", 258)",
        )
        .gives("\"\\1\\2\""),
        function(
            "string.packsize",
            &[param("format", "string", "The layout.")],
            "integer",
            "How many bytes `string.pack` makes.",
            "string.packsize(\"<I4\")",
        )
        .gives("4"),
        function(
            "string.rep",
            &[
                param("text", "string", "The text."),
                param("count", "integer", "How often."),
                param("separator", "string", "Between.").or("\"\""),
            ],
            "string",
            "The text again and again.",
            "(\"ab\"):rep(3, \"-\")",
        )
        .gives("\"ab-ab-ab\""),
        function(
            "string.reverse",
            &[param("text", "string", "The text.")],
            "string",
            "The bytes backwards.",
            "(\"abc\"):reverse()",
        )
        .gives("\"cba\""),
        function(
            "string.sub",
            &[
                param("text", "string", "The text."),
                param("first", "integer", "From; negative counts from the end."),
                param("last", "integer", "To.").or("-1"),
            ],
            "string",
            "A part of the text.",
            "(\"web01\"):sub(-2)",
        )
        .gives("\"01\""),
        function(
            "string.unpack",
            &[
                param("format", "string", "The layout."),
                param("text", "string", "The text."),
                param("init", "integer", "Where to begin; negative counts from the end.").or("1"),
            ],
            "any ...",
            "Values from bytes, and where the next begins.",
            "string.unpack(\">I2\", \"\\1\\2\")",
        )
        .gives("258"),
        function(
            "string.upper",
            &[param("text", "string", "The text.")],
            "string",
            "Small letters (a to z) become capitals.",
            "(\"web\"):upper()",
        )
        .gives("\"WEB\""),
    ],
    classes: &[],
    records: &[],
};

/// Lists.
pub(super) static TABLE: Module = Module {
    name: "table",
    local: "table",
    is_global: true,
    doc: "Lists.",
    places: Places::ALL,
    entries: &[
        function(
            "table.concat",
            &[
                param("list", "table", "Texts and numbers."),
                param("separator", "string", "Between.").or("\"\""),
                param("first", "integer", "From.").or("1"),
                param("last", "integer", "To.").or("#list"),
            ],
            "string",
            "The items as one text.",
            "table.concat({ 1, 2, 3 }, \",\")",
        )
        .gives("\"1,2,3\""),
        function(
            "table.insert",
            &[
                param("list", "table", "The list."),
                param(
                    "place_or_item",
                    "any",
                    "The place, or the item when it is the last argument.",
                ),
                param("item", "any", "The item.").or("the second argument, at the end"),
            ],
            "",
            "Adds an item, at the end or before a place.",
            "local list = { 1 } table.insert(list, 2)",
        ),
        function(
            "table.move",
            &[
                param("from", "table", "The list."),
                param("first", "integer", "From."),
                param("last", "integer", "To."),
                param("to", "integer", "The place of the first one."),
                param("into", "table", "Another list.").or("from"),
            ],
            "table",
            "Copies items; at most a million in a recipe.",
            "#table.move({ 1, 2 }, 1, 2, 3)",
        )
        .gives("4"),
        function(
            "table.pack",
            &[param("...", "any", "Values.").or("none")],
            "table",
            "A list of the arguments, with how many in `n`.",
            "table.pack(1, nil, 3).n",
        )
        .gives("3"),
        function(
            "table.remove",
            &[
                param("list", "table", "The list."),
                param("place", "integer", "Which.").or("the last"),
            ],
            "any",
            "Takes an item out and returns it.",
            "table.remove { \"a\", \"b\" }",
        )
        .gives("\"b\""),
        function(
            "table.sort",
            &[
                param("list", "table", "The list."),
                param(
                    "before",
                    "fun(a: any, b: any): boolean",
                    "Whether `a` comes before `b`.",
                )
                .or("`<`"),
            ],
            "",
            "Sorts a list in its place. In a recipe equal items keep their order.",
            "local names = { \"b\", \"a\" } table.sort(names)",
        ),
        function(
            "table.unpack",
            &[
                param("list", "table", "The list."),
                param("first", "integer", "From.").or("1"),
                param("last", "integer", "To.").or("#list"),
            ],
            "any ...",
            "The items as so many results.",
            "select(\"#\", table.unpack { 1, 2 })",
        )
        .gives("2"),
    ],
    classes: &[],
    records: &[],
};

/// Numbers.
pub(super) static MATH: Module = Module {
    name: "math",
    local: "math",
    is_global: true,
    doc: "Numbers.",
    places: Places::ALL,
    entries: &[
        function(
            "math.abs",
            &[param("x", "number", "A number.")],
            "number",
            "The absolute value.",
            "math.abs(-3)",
        )
        .gives("3"),
        function(
            "math.acos",
            &[param("x", "number", "A number.")],
            "number",
            "The arc cosine, in radians.",
            "math.acos(1)",
        )
        .gives("0.0"),
        function(
            "math.asin",
            &[param("x", "number", "A number.")],
            "number",
            "The arc sine, in radians.",
            "math.asin(0)",
        )
        .gives("0.0"),
        function(
            "math.atan",
            &[
                param("y", "number", "A number."),
                param("x", "number", "Whose sign tells the quadrant.").or("1"),
            ],
            "number",
            "The arc tangent of y/x, in radians.",
            "math.atan(0)",
        )
        .gives("0.0"),
        function(
            "math.ceil",
            &[param("x", "number", "A number.")],
            "integer",
            "The smallest whole number that is not less.",
            "math.ceil(2.1)",
        )
        .gives("3"),
        function(
            "math.cos",
            &[param("x", "number", "A number.")],
            "number",
            "The cosine, of radians.",
            "math.cos(0)",
        )
        .gives("1.0"),
        function(
            "math.deg",
            &[param("x", "number", "A number.")],
            "number",
            "Radians as degrees.",
            "math.deg(0)",
        )
        .gives("0.0"),
        function(
            "math.exp",
            &[param("x", "number", "A number.")],
            "number",
            "e to the power of x.",
            "math.exp(0)",
        )
        .gives("1.0"),
        function(
            "math.floor",
            &[param("x", "number", "A number.")],
            "integer",
            "The largest whole number that is not more.",
            "math.floor(2.9)",
        )
        .gives("2"),
        function(
            "math.fmod",
            &[
                param("x", "number", "A number."),
                param("y", "number", "The divisor."),
            ],
            "number",
            "What remains of x / y, rounded towards zero.",
            "math.fmod(7, 3)",
        )
        .gives("1"),
        value("math.huge", "number", "Infinity.", "math.huge > 1").gives("true"),
        function(
            "math.log",
            &[
                param("x", "number", "A number."),
                param("base", "number", "The base.").or("e"),
            ],
            "number",
            "The logarithm.",
            "math.log(8, 2)",
        )
        .gives("3.0"),
        function(
            "math.max",
            &[param("...", "number", "Numbers, one at least.")],
            "number",
            "The largest.",
            "math.max(1, 3, 2)",
        )
        .gives("3"),
        value(
            "math.maxinteger",
            "integer",
            "The largest integer.",
            "math.maxinteger",
        )
        .gives("0x7fffffffffffffff"),
        function(
            "math.min",
            &[param("...", "number", "Numbers, one at least.")],
            "number",
            "The smallest.",
            "math.min(1, 3, 2)",
        )
        .gives("1"),
        value(
            "math.mininteger",
            "integer",
            "The smallest integer.",
            "math.mininteger < 0",
        )
        .gives("true"),
        function(
            "math.modf",
            &[param("x", "number", "A number.")],
            "number, number",
            "The whole part and the fraction.",
            "math.modf(2.5)",
        )
        .gives("2.0"),
        value("math.pi", "number", "The circle's number.", "math.floor(math.pi)").gives("3"),
        function(
            "math.rad",
            &[param("x", "number", "A number.")],
            "number",
            "Degrees as radians.",
            "math.rad(0)",
        )
        .gives("0.0"),
        function(
            "math.random",
            &[
                param("first", "integer", "From; alone, to.").or("a number from 0 to 1"),
                param("last", "integer", "To.").or("first, from 1"),
            ],
            "number",
            "A number by chance.",
            "math.random(1, 1)",
        )
        .gives("1")
        .only(Places::PROGRAMS),
        function(
            "math.randomseed",
            &[param("seed", "integer", "Where chance begins.").or("by chance")],
            "",
            "Begins chance anew.",
            "math.randomseed(1)",
        )
        .only(Places::PROGRAMS),
        function(
            "math.sin",
            &[param("x", "number", "A number.")],
            "number",
            "The sine, of radians.",
            "math.sin(0)",
        )
        .gives("0.0"),
        function(
            "math.sqrt",
            &[param("x", "number", "A number.")],
            "number",
            "The square root.",
            "math.sqrt(9)",
        )
        .gives("3.0"),
        function(
            "math.tan",
            &[param("x", "number", "A number.")],
            "number",
            "The tangent, of radians.",
            "math.tan(0)",
        )
        .gives("0.0"),
        function(
            "math.tointeger",
            &[param("value", "any", "Anything.")],
            "integer?",
            "The same number as an integer; nil when it has a fraction.",
            "math.tointeger(3.0)",
        )
        .gives("3"),
        function(
            "math.type",
            &[param("value", "any", "Anything.")],
            "string?",
            "`integer` or `float`; nil for what is no number.",
            "math.type(3.0)",
        )
        .gives("\"float\""),
        function(
            "math.ult",
            &[param("a", "integer", "One."), param("b", "integer", "The other.")],
            "boolean",
            "Whether a is below b, both without sign.",
            "math.ult(1, -1)",
        )
        .gives("true"),
    ],
    classes: &[],
    records: &[],
};

/// Texts as characters.
pub(super) static UTF8: Module = Module {
    name: "utf8",
    local: "utf8",
    is_global: true,
    doc: "Texts as characters.",
    places: Places::ALL,
    entries: &[
        function(
            "utf8.char",
            &[param("...", "integer", "Code points.")],
            "string",
            "A text of these characters.",
            "utf8.char(228)",
        )
        .gives("\"ä\""),
        value(
            "utf8.charpattern",
            "string",
            "The pattern of one character.",
            "type(utf8.charpattern)",
        )
        .gives("\"string\""),
        function(
            "utf8.codepoint",
            &[
                param("text", "string", "The text."),
                param("first", "integer", "From, in bytes.").or("1"),
                param("last", "integer", "To, in bytes.").or("first"),
                param("lax", "boolean", "Whether any number passes.").or("false"),
            ],
            "integer ...",
            "The code points of a part of the text.",
            "utf8.codepoint(\"ä\")",
        )
        .gives("228"),
        function(
            "utf8.codes",
            &[
                param("text", "string", "The text."),
                param("lax", "boolean", "Whether any number passes.").or("false"),
            ],
            "function, string, integer",
            "Iterates over a text: the byte where a character begins, and its code point.",
            "for place, code in utf8.codes(\"äb\") do print(place, code) end",
        ),
        function(
            "utf8.len",
            &[
                param("text", "string", "The text."),
                param("first", "integer", "From, in bytes.").or("1"),
                param("last", "integer", "To, in bytes.").or("-1"),
                param("lax", "boolean", "Whether any number passes.").or("false"),
            ],
            "integer?, integer?",
            "How many characters; nil and the place of the first byte that is not valid UTF-8.",
            "utf8.len(\"äb\")",
        )
        .gives("2"),
        function(
            "utf8.offset",
            &[
                param("text", "string", "The text."),
                param("n", "integer", "Which character, counted from `first`."),
                param("first", "integer", "From, in bytes.").or("1, or the end for a negative `n`"),
            ],
            "integer?",
            "The byte where a character begins.",
            "utf8.offset(\"äb\", 2)",
        )
        .gives("3"),
    ],
    classes: &[],
    records: &[],
};

//! What scripts have of Lua's own library (reference manual, 6) and recipes have not: it would let the same recipe
//! mean two things.

use super::{Class, Module, Places, function, param, value};

/// Coroutines.
pub(super) static COROUTINE: Module = Module {
    name: "coroutine",
    local: "coroutine",
    is_global: true,
    doc: "Coroutines.",
    places: Places::PROGRAMS,
    entries: &[
        function(
            "coroutine.close",
            &[param("thread", "thread", "The coroutine.")],
            "boolean, any",
            "Ends a coroutine that is not running; its `<close>` values are closed.",
            "coroutine.close(coroutine.create(function() end))",
        )
        .gives("true"),
        function(
            "coroutine.create",
            &[param("f", "function", "Its body.")],
            "thread",
            "A new coroutine.",
            "type(coroutine.create(function() end))",
        )
        .gives("\"thread\""),
        function(
            "coroutine.isyieldable",
            &[param("thread", "thread", "The coroutine.").or("the one that runs")],
            "boolean",
            "Whether it can yield.",
            "type(coroutine.isyieldable())",
        )
        .gives("\"boolean\""),
        function(
            "coroutine.resume",
            &[
                param("thread", "thread", "The coroutine."),
                param("...", "any", "What `yield` returns in it.").or("none"),
            ],
            "boolean, any ...",
            "Lets a coroutine go on until it yields or ends.",
            "coroutine.resume(coroutine.create(function() return 1 end))",
        )
        .gives("true"),
        function(
            "coroutine.running",
            &[],
            "thread, boolean",
            "The coroutine that runs, and whether it is the main one.",
            "type(coroutine.running())",
        )
        .gives("\"thread\""),
        function(
            "coroutine.status",
            &[param("thread", "thread", "The coroutine.")],
            "string",
            "`running`, `suspended`, `normal` or `dead`.",
            "coroutine.status(coroutine.create(function() end))",
        )
        .gives("\"suspended\""),
        function(
            "coroutine.wrap",
            &[param("f", "function", "Its body.")],
            "function",
            "A function that resumes a new coroutine each time it is called.",
            "coroutine.wrap(function() return 3 end)()",
        )
        .gives("3"),
        function(
            "coroutine.yield",
            &[param("...", "any", "What `resume` returns.").or("none")],
            "any ...",
            "Hands over to who resumed it.",
            "coroutine.wrap(function() coroutine.yield(4) end)()",
        )
        .gives("4"),
    ],
    classes: &[],
    records: &[],
};

/// Files.
pub(super) static IO: Module = Module {
    name: "io",
    local: "io",
    is_global: true,
    doc: "Files.",
    places: Places::PROGRAMS,
    entries: &[
        function(
            "io.close",
            &[param("file", "hostel.File", "The file.").or("the default output")],
            "boolean?",
            "Closes a file.",
            "io.close(io.open(\"/dev/null\"))",
        )
        .gives("true"),
        function(
            "io.flush",
            &[],
            "boolean?",
            "Writes out what the default output holds.",
            "io.flush()",
        ),
        function(
            "io.input",
            &[param("file", "string|hostel.File", "Another one.").or("the one that is")],
            "hostel.File",
            "The default input.",
            "io.type(io.input())",
        )
        .gives("\"file\""),
        function(
            "io.lines",
            &[
                param("file", "string", "The file.").or("the default input"),
                param("...", "string|integer", "What each step reads, as for `io.read`.").or("\"l\""),
            ],
            "function",
            "Iterates over the lines of a file.",
            "for line in io.lines(\"/etc/hostname\") do print(line) end",
        ),
        function(
            "io.open",
            &[
                param("file", "string", "The path."),
                param("mode", "string", "`r`, `w`, `a`, `r+`, `w+` or `a+`.").or("\"r\""),
            ],
            "hostel.File?, string?, integer?",
            "Opens a file. `local f <close> = ...` closes it.",
            "io.open(\"/nonexistent\")",
        )
        .gives("nil"),
        function(
            "io.output",
            &[param("file", "string|hostel.File", "Another one.").or("the one that is")],
            "hostel.File",
            "The default output.",
            "io.type(io.output())",
        )
        .gives("\"file\""),
        function(
            "io.popen",
            &[
                param("command", "string", "A line for the shell."),
                param("mode", "string", "`r` or `w`.").or("\"r\""),
            ],
            "hostel.File?, string?",
            "Runs a line in the shell. `hostel.context {}:run` needs none, and has a timeout.",
            "io.popen(\"true\"):close()",
        )
        .gives("true"),
        function(
            "io.read",
            &[param(
                "...",
                "string|integer",
                "`l` a line, `L` with its end, `n` a number, `a` all, or how many bytes.",
            )
            .or("\"l\"")],
            "any ...",
            "Reads from the default input.",
            "local line = io.read()",
        ),
        value(
            "io.stderr",
            "hostel.File",
            "Standard error.",
            "io.type(io.stderr)",
        )
        .gives("\"file\""),
        value("io.stdin", "hostel.File", "Standard input.", "io.type(io.stdin)").gives("\"file\""),
        value(
            "io.stdout",
            "hostel.File",
            "Standard output.",
            "io.type(io.stdout)",
        )
        .gives("\"file\""),
        function(
            "io.tmpfile",
            &[],
            "hostel.File",
            "A file without a name, gone when it is closed.",
            "io.type(io.tmpfile())",
        )
        .gives("\"file\""),
        function(
            "io.type",
            &[param("value", "any", "Anything.")],
            "string?",
            "`file`, `closed file`, or nil.",
            "io.type(5)",
        )
        .gives("nil"),
        function(
            "io.write",
            &[param("...", "string|number", "What is written.")],
            "hostel.File?, string?",
            "Writes to the default output.",
            "io.write(\"done\\n\")",
        ),
        function(
            "file:close",
            &[],
            "boolean?",
            "Closes it.",
            "io.tmpfile():close()",
        )
        .gives("true"),
        function(
            "file:flush",
            &[],
            "boolean?",
            "Writes out what it holds.",
            "io.tmpfile():flush()",
        )
        .gives("true"),
        function(
            "file:lines",
            &[param("...", "string|integer", "What each step reads.").or("\"l\"")],
            "function",
            "Iterates over its lines.",
            "type(io.tmpfile():lines())",
        )
        .gives("\"function\""),
        function(
            "file:read",
            &[param("...", "string|integer", "As for `io.read`.").or("\"l\"")],
            "any ...",
            "Reads from it; nil at its end.",
            "io.tmpfile():read \"l\"",
        )
        .gives("nil"),
        function(
            "file:seek",
            &[
                param("whence", "\"set\"|\"cur\"|\"end\"", "From where.").or("\"cur\""),
                param("offset", "integer", "How far, in bytes.").or("0"),
            ],
            "integer?, string?",
            "Goes to a place and tells it, in bytes.",
            "io.tmpfile():seek \"end\"",
        )
        .gives("0"),
        function(
            "file:setvbuf",
            &[
                param("mode", "\"no\"|\"full\"|\"line\"", "How."),
                param("size", "integer", "In bytes.").or("what suits"),
            ],
            "boolean",
            "How writes are gathered.",
            "io.tmpfile():setvbuf \"line\"",
        )
        .gives("true"),
        function(
            "file:write",
            &[param("...", "string|number", "What is written.")],
            "hostel.File?, string?",
            "Writes to it.",
            "io.type(io.tmpfile():write(\"x\"))",
        )
        .gives("\"file\""),
    ],
    classes: &[Class {
        name: "File",
        word: "file",
        doc: "An open file.",
        fields: &[],
        sample: Some("io.tmpfile()"),
    }],
    records: &[],
};

/// The operating system.
pub(super) static OS: Module = Module {
    name: "os",
    local: "os",
    is_global: true,
    doc: "The operating system.",
    places: Places::PROGRAMS,
    entries: &[
        function(
            "os.clock",
            &[],
            "number",
            "Processor time used by the script, in seconds.",
            "os.clock() >= 0",
        )
        .gives("true"),
        function(
            "os.date",
            &[
                param(
                    "format",
                    "string",
                    "As for strftime(3); `*t` gives a table, a leading `!` means UTC.",
                )
                .or("\"%c\""),
                param("time", "integer", "Seconds since 1970.").or("now"),
            ],
            "string|table",
            "A time as text.",
            "os.date(\"!%Y\", 0)",
        )
        .gives("\"1970\""),
        function(
            "os.difftime",
            &[
                param("later", "integer", "Seconds."),
                param("earlier", "integer", "Seconds."),
            ],
            "number",
            "The seconds between two times.",
            "os.difftime(5, 3)",
        )
        .gives("2.0"),
        function(
            "os.execute",
            &[param("command", "string", "A line for the shell.").or("whether there is a shell")],
            "boolean?, string?, integer?",
            "Runs a line in the shell. `hostel.context {}:run` needs none, and has a timeout.",
            "os.execute(\"true\")",
        )
        .gives("true"),
        function(
            "os.exit",
            &[
                param("code", "boolean|integer", "The status.").or("true"),
                param("close", "boolean", "Whether the state is closed first.").or("false"),
            ],
            "",
            "Ends the program at once. Nothing is undone and no `<close>` value is closed: raise an error instead.",
            "local quit = os.exit",
        ),
        function(
            "os.getenv",
            &[param("name", "string", "The variable.")],
            "string?",
            "A variable of the environment.",
            "os.getenv(\"A_VARIABLE_THAT_IS_NOT_SET\")",
        )
        .gives("nil"),
        function(
            "os.remove",
            &[param("path", "string", "A file, or an empty directory.")],
            "boolean?, string?, integer?",
            "Removes a file.",
            "os.remove(\"/nonexistent/file\")",
        )
        .gives("nil"),
        function(
            "os.rename",
            &[
                param("from", "string", "Its path."),
                param("to", "string", "Its new path."),
            ],
            "boolean?, string?, integer?",
            "Renames a file.",
            "os.rename(\"/nonexistent/a\", \"/nonexistent/b\")",
        )
        .gives("nil"),
        function(
            "os.setlocale",
            &[
                param("locale", "string?", "Its name.").or("the one that is"),
                param("category", "string", "What of it.").or("\"all\""),
            ],
            "string?",
            "The locale of the program.",
            "os.setlocale()",
        )
        .gives("\"C\""),
        function(
            "os.time",
            &[param("t", "table", "`year`, `month`, `day`, `hour`, `min`, `sec`.").or("now")],
            "integer",
            "Seconds since 1970.",
            "os.time() > 0",
        )
        .gives("true"),
        function(
            "os.tmpname",
            &[],
            "string",
            "A name for a file that does not exist yet. `io.tmpfile` is safer.",
            "local name = os.tmpname() os.remove(name)",
        ),
    ],
    classes: &[],
    records: &[],
};

/// How modules are found.
pub(super) static PACKAGE: Module = Module {
    name: "package",
    local: "package",
    is_global: true,
    doc: "How modules are found. There are no C modules.",
    places: Places::PROGRAMS,
    entries: &[
        value(
            "package.config",
            "string",
            "The separators of paths and patterns.",
            "package.config:sub(1, 1)",
        )
        .gives("\"/\""),
        value(
            "package.cpath",
            "string",
            "Where C modules would be looked for: nowhere.",
            "package.cpath",
        )
        .gives("\"\""),
        value(
            "package.loaded",
            "table",
            "The modules that were required, by name.",
            "package.loaded.string == string",
        )
        .gives("true"),
        value(
            "package.path",
            "string",
            "Unused: hostel looks beside the script, in its `lib` and in /etc/hostel/lua.",
            "package.path",
        )
        .gives("\"\""),
        value(
            "package.preload",
            "table",
            "Functions that make modules, by name.",
            "type(package.preload)",
        )
        .gives("\"table\""),
        value(
            "package.searchers",
            "function[]",
            "What `require` asks, one after the other.",
            "type(package.searchers)",
        )
        .gives("\"table\""),
        function(
            "package.searchpath",
            &[
                param("name", "string", "A module."),
                param("path", "string", "Templates with `?`, `;` between them."),
            ],
            "string?, string?",
            "The first file of a path's templates that exists.",
            "package.searchpath(\"x\", \"/nonexistent/?.lua\")",
        )
        .gives("nil"),
    ],
    classes: &[],
    records: &[],
};

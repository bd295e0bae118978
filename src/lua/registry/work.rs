//! The modules for workflows: `hostel.flow` and what its steps work with.

use super::{Class, Entry, Module, Param, Places, function, member, param, table, value};
use crate::guest::schema::{Record, Type, field, scalars as s};
use crate::lua::api::{EXEC_OPTIONS, HTTP_OPTIONS};

const fn module(
    name: &'static str,
    local: &'static str,
    doc: &'static str,
    entries: &'static [Entry],
    classes: &'static [Class],
) -> Module {
    Module {
        name,
        local,
        is_global: false,
        doc,
        places: Places::SCRIPTS,
        entries,
        classes,
        records: &[],
    }
}

const TIMEOUT: Param = param("timeout", "string|number", "A span of time, or seconds.").or("\"10s\"");
const EXTERNAL: &str =
    "`nil, err` when the other side does not answer (`err.kind` is `timeout`, `not_found` or `external`).";
const ABSENT: &str = "`nil, err` when it is not there (`err.kind` is `not_found`) or cannot be used. Raised for a path with `..`.";

static WORKFLOW: Record = Record {
    name: "workflow",
    doc: "A workflow.",
    one_of: &[],
    fields: &[
        field(
            "doc",
            Type::Scalar(&s::TEXT),
            "What it does, for `--help`.",
            "\"Restart guests\"",
        ),
        field(
            "args",
            Type::Lua("table<string, string|table>"),
            "Its arguments: `name = \"guest\"`, or `name = { \"duration\", default = \"5s\", doc = \"...\" }`. Kinds: address, boolean, duration, enum, guest, host, integer, list, number, path, size, string. A table has `default`, `required`, `doc`, `values` (of an enum), `of` (of a list).",
            "{ guest = \"guest\" }",
        ),
        field(
            "run",
            Type::Lua("fun(f: hostel.Run, a: table)"),
            "Called with the run and the values of the arguments.",
            "function(f, a) end",
        ),
    ],
};

static STEP: Record = Record {
    name: "step",
    doc: "A step of a workflow.",
    one_of: &[],
    fields: &[
        field(
            "run",
            Type::Lua("fun(try: integer): any"),
            "What it does; it is given the number of the try. What it returns is kept in the journal: plain data, guests and machines.",
            "function() end",
        ),
        field(
            "undo",
            Type::Lua("fun(value: any)"),
            "Takes it back; it is given what `run` returned.",
            "function(value) end",
        ),
        field(
            "undo_half_done",
            Type::Bool,
            "Whether `undo` also runs when the step failed or was cut off half-way, without a value.",
            "true",
        )
        .default("whether `undo` has no parameter"),
        field(
            "undo_deadline",
            Type::Scalar(&s::SPAN),
            "How long `undo` may take.",
            "\"1m\"",
        )
        .default("\"10m\""),
        field(
            "deadline",
            Type::Scalar(&s::SPAN),
            "How long all tries may take. What blocks is interrupted.",
            "\"5m\"",
        ),
        field(
            "timeout",
            Type::Scalar(&s::SPAN),
            "How long one try may take.",
            "\"30s\"",
        ),
        field(
            "retries",
            Type::Scalar(&s::TIMES),
            "How often it is tried again.",
            "3",
        )
        .default("0"),
        field(
            "backoff",
            Type::Scalar(&s::SPAN),
            "The pause before the second try; each later one is twice as long, at most a minute.",
            "\"1s\"",
        )
        .default("\"1s\""),
        field(
            "idempotent",
            Type::Bool,
            "Whether it may run twice: a run that was killed in it is otherwise only resumed with `--force`.",
            "false",
        )
        .default("true"),
        field(
            "when",
            Type::Lua("any"),
            "Whether it runs: a truth value, or a function that gives one.",
            "false",
        )
        .default("true"),
    ],
};

pub(super) static FLOW: Module = Module {
    records: &[&WORKFLOW, &STEP],
    ..module(
        "hostel.flow",
        "flow",
        "Workflows: steps that know how to undo themselves, with a journal that outlives a crash. `hostel run` runs what a script returns, `hostel flow` resumes or undoes it.",
        &[
            function("flow.define", &[param("name", "string", "Its name.")], "fun(body: hostel.workflow): hostel.Workflow", "Declares a workflow; a script returns it.", "flow.define \"restart\" { args = { guest = \"guest\" }, run = function(f, a) end }")
                .errors("Raised for an unknown field or kind of argument."),
            function("flow.plan", &[param("workflow", "hostel.Workflow", "What `define` gave."), param("args", "table", "Values of its arguments.")], "table[]", "The steps that a run would take, without taking them. Their values are `<known after apply>`: they can be indexed, called and joined to a text; comparing one is an error, and as a condition it is true.", "#flow.plan(flow.define \"w\" { run = function(f) f:step(\"x\", { run = print }) end }, {})")
                .gives("1"),
            function("flow.effects", &[], "table", "What a run takes from outside: `save`, `now`, `wall`, `sleep`, `arm`, `tell`, `pcall`, `call`. A test puts others in their place.", "type(flow.effects().call)").gives("\"function\""),
            function("flow.execute", &[param("workflow", "hostel.Workflow", "What `define` gave."), param("args", "table", "Values of its arguments."), param("request", "table", "`mode` (\"run\", \"resume\", \"undo\"), `record`, `effects`, `force`.")], "table, any", "Runs a workflow. Returns the record of the run, and what it failed with.", "flow.execute(flow.define \"w\" { run = function() end }, {}, { mode = \"run\", record = { steps = {} }, effects = flow.effects() })"),
            function("run:step", &[param("name", "string", "Unlike every other step's."), table("body", &STEP, "The step.").or("given by a second call: `f:step \"name\" { ... }`")], "any", "A step. Returns what its `run` returned.", "f:step(\"stop\", { run = function() end, undo = function() end })")
                .errors("What `run` raised, when all tries failed. It ends the workflow, and the steps before it are undone; it cannot be caught around the step."),
            function("run:commit", &[param("f", "fun(): any", "What cannot be undone.")], "any", "The point of no return: nothing before it is undone from here on.", "f:commit(function() end)"),
        ],
        &[
            Class { name: "Run", word: "run", doc: "A run of a workflow, the first parameter of its `run`.", fields: &[member("id", "string", "Its id, for `hostel flow`."), member("plan", "boolean", "Whether it is only a plan.")], sample: Some("(function() local run require(\"hostel.flow\").plan(require(\"hostel.flow\").define \"w\" { run = function(f) run = f end }, {}) return run end)()") },
            Class { name: "Workflow", word: "workflow", doc: "A workflow.", fields: &[member("name", "string", "Its name.")], sample: Some("require(\"hostel.flow\").define \"w\" { run = function() end }") },
        ],
    )
};

pub(super) static JSON: Module = Module {
    places: Places::ALL,
    ..module(
        "hostel.json",
        "json",
        "JSON. Objects are sorted; a list is a table with places, an empty table is an object unless `array` marks it.",
        &[
            function("json.encode", &[param("value", "any", "Plain data, at most 127 tables deep."), param("options", "{ pretty: boolean? }", "`pretty`: with lines and indentation.").or("{}")], "string", "A value as JSON.", "json.encode { b = { 1, 2 }, a = json.null }").gives(r#"'{"a":null,"b":[1,2]}'"#).errors("Raised for functions, texts that are not UTF-8, NaN, circles, and tables that are both list and names; the message says where."),
            function("json.decode", &[param("text", "string", "JSON.")], "any, hostel.Failure?", "A value from JSON. `null` is `json.null`, so that a list keeps its holes.", "json.decode(\"[1, 2]\")[2]").gives("2").errors("`nil, err` with line and column when it is not JSON."),
            function("json.array", &[param("list", "table", "A list.")], "table", "The same list, which is `[]` even when it is empty.", "json.encode(json.array {})").gives("\"[]\""),
            value("json.null", "lightuserdata", "JSON's `null`.", "json.encode { json.null }").gives("\"[null]\""),
        ],
        &[],
    )
};

pub(super) static TOML: Module = Module {
    places: Places::ALL,
    ..module(
        "hostel.toml",
        "toml",
        "TOML; a date is a text.",
        &[
            function(
                "toml.encode",
                &[param("value", "table", "A table of names.")],
                "string",
                "A table as TOML.",
                "toml.encode { port = 80 }",
            )
            .gives("\"port = 80\\n\"")
            .errors("Raised for what TOML cannot say, such as `null`."),
            function(
                "toml.decode",
                &[param("text", "string", "TOML.")],
                "table, hostel.Failure?",
                "A table from TOML.",
                "toml.decode(\"port = 80\").port",
            )
            .gives("80")
            .errors("`nil, err` with line and column when it is not TOML."),
        ],
        &[],
    )
};

pub(super) static TEMPLATE: Module = Module {
    places: Places::ALL,
    ..module(
        "hostel.template",
        "template",
        "Texts with places: `{{ a.b }}`, `{% if a %} {% else %} {% end %}`, `{% for x in list %} {% end %}`, `{# comment #}`.",
        &[function("template.render", &[param("text", "string", "The template."), param("values", "table", "Its values, by name.")], "string", "The text with the values in it.", "template.render(\"{% for p in ports %}listen {{ p }};{% end %}\", { ports = { 80, 443 } })").gives("\"listen 80;listen 443;\"").errors("Raised for a name that the values have not, and for a template that makes no sense, with line and column.")],
        &[],
    )
};

pub(super) static TIME: Module = module(
    "hostel.time",
    "time",
    "The date, a clock that only goes forwards, spans of time, and waiting.",
    &[
        function(
            "time.now",
            &[],
            "number",
            "Seconds since 1970, UTC.",
            "math.type(time.now())",
        )
        .gives("\"float\""),
        function(
            "time.monotonic",
            &[],
            "number",
            "Seconds of a clock that only goes forwards.",
            "time.monotonic() >= 0",
        )
        .gives("true"),
        function(
            "time.format",
            &[param("seconds", "number", "Since 1970.").or("now")],
            "string",
            "A date as RFC 3339, UTC.",
            "time.format(0)",
        )
        .gives("\"1970-01-01T00:00:00Z\""),
        function(
            "time.parse",
            &[param("text", "string", "RFC 3339, with any offset.")],
            "number, hostel.Failure?",
            "Seconds since 1970.",
            "time.parse(\"1970-01-01T01:00:00+01:00\")",
        )
        .gives("0.0")
        .errors("`nil, err` when it is no date."),
        function(
            "time.seconds",
            &[param("span", "string|number", "A span of time.")],
            "number",
            "A span of time in seconds.",
            "time.seconds(\"1.5m\")",
        )
        .gives("90.0")
        .errors("Raised when it is no span of time."),
        function(
            "time.span",
            &[param("seconds", "string|number", "A span of time.")],
            "string",
            "A span of time as people write it.",
            "time.span(90)",
        )
        .gives("\"90s\""),
        function(
            "time.sleep",
            &[param("span", "string|number", "How long.")],
            "",
            "Waits. A signal or the step's deadline ends it.",
            "time.sleep(0.001)",
        ),
    ],
    &[],
);

pub(super) static LOG: Module = module(
    "hostel.log",
    "log",
    "Lines for whoever watches, on standard error, with named values.",
    &[
        function(
            "log.debug",
            &[
                param("message", "string", "The line."),
                param("fields", "table", "Named values.").or("{}"),
            ],
            "",
            "What only helps to find a mistake; shown with `--verbose`.",
            "log.debug(\"asked\", { url = \"/\" })",
        ),
        function(
            "log.info",
            &[
                param("message", "string", "The line."),
                param("fields", "table", "Named values.").or("{}"),
            ],
            "",
            "What happens.",
            "log.info(\"copied\", { guest = \"web\" })",
        ),
        function(
            "log.warn",
            &[
                param("message", "string", "The line."),
                param("fields", "table", "Named values.").or("{}"),
            ],
            "",
            "What somebody should look at.",
            "log.warn(\"slow\", { seconds = 9 })",
        ),
        function(
            "log.error",
            &[
                param("message", "string", "The line."),
                param("fields", "table", "Named values.").or("{}"),
            ],
            "",
            "What went wrong.",
            "log.error(\"no answer\")",
        ),
        function(
            "log.configure",
            &[param(
                "options",
                "{ level: string?, json: boolean? }",
                "The lowest level, and whether a line is JSON.",
            )],
            "",
            "What is shown, and how.",
            "log.configure { level = \"warn\" }",
        )
        .errors("Raised for an unknown level."),
    ],
    &[],
);

pub(super) static EXEC: Module = Module {
    records: &[&EXEC_OPTIONS],
    ..module(
        "hostel.exec",
        "exec",
        "Commands of the host, never through a shell.",
        &[function("exec.run", &[table("command", &EXEC_OPTIONS, "The command and how it is run.")], "{ ok: boolean, code: integer?, signal: integer?, timed_out: boolean, truncated: boolean, stdout: string, stderr: string }", "Runs a command and waits.", "exec.run({ \"echo\", \"hi\" }).stdout").gives("\"hi\\n\"").errors("Raised when it cannot be started. How it ended is in the result.")],
        &[],
    )
};

pub(super) static FS: Module = module(
    "hostel.fs",
    "fs",
    "Files below a directory that the script names, and nowhere else: links that lead out end there.",
    &[
        function("fs.root", &[param("path", "string", "An absolute path of a directory.")], "hostel.Files, hostel.Failure?", "A directory.", "tostring(fs.root(\"/usr\"))").gives("\"files below /usr\"").errors(ABSENT),
        function("files:read", &[param("path", "string", "Below the directory.")], "string, hostel.Failure?", "A file's content, at most 64 MiB.", "files:read(\"hostname\")").errors(ABSENT),
        function("files:write", &[param("path", "string", "Below the directory."), param("content", "string", "All of it."), param("options", "{ mode: string? }", "Permission bits.").or("{ mode = \"0644\" }")], "true, hostel.Failure?", "Writes a file; who reads it sees the old or the new one.", "files:write(\"web/index.html\", \"hello\\n\")").errors(ABSENT),
        function("files:copy", &[param("from", "string", "Below the directory."), param("to", "string", "Below the directory.")], "true, hostel.Failure?", "Copies a file and its permission bits.", "files:copy(\"a\", \"b\")").errors(ABSENT),
        function("files:list", &[param("path", "string", "A directory.").or("\"/\"")], "string[], hostel.Failure?", "The names in a directory, sorted.", "files:list(\"web\")").errors(ABSENT),
        function("files:mkdir", &[param("path", "string", "Below the directory."), param("options", "{ mode: string? }", "Permission bits.").or("{ mode = \"0755\" }")], "true, hostel.Failure?", "Makes a directory and those above it.", "files:mkdir(\"web/css\")").errors(ABSENT),
        function("files:remove", &[param("path", "string", "Below the directory.")], "boolean, hostel.Failure?", "Removes a file or an empty directory; false when it was not there.", "files:remove(\"web/old.html\")").errors(ABSENT),
        function("files:exists", &[param("path", "string", "Below the directory.")], "boolean, hostel.Failure?", "Whether it is there.", "files:exists(\"web\")").errors(ABSENT),
        function("files:stat", &[param("path", "string", "Below the directory.")], "{ kind: string, size: integer, mode: string, uid: integer, gid: integer, modified: integer }, hostel.Failure?", "What it is: `kind` is file, directory, link or other.", "files:stat(\"web\").kind").errors(ABSENT),
    ],
    &[Class { name: "Files", word: "files", doc: "A directory and what is below it.", fields: &[], sample: Some("require(\"hostel.fs\").root(\"/usr\")") }],
);

pub(super) static TCP: Module = module(
    "hostel.tcp",
    "tcp",
    "Whether a port answers, and a few lines over a connection.",
    &[
        function(
            "tcp.connect",
            &[
                param("host", "string", "A name or address."),
                param("port", "integer", "The port."),
                TIMEOUT,
            ],
            "hostel.Connection, hostel.Failure?",
            "A connection.",
            "tcp.connect(\"127.0.0.1\", 1, \"1s\")",
        )
        .errors(EXTERNAL),
        function(
            "tcp.wait_open",
            &[
                param("host", "string", "A name or address."),
                param("port", "integer", "The port."),
                TIMEOUT,
            ],
            "true, hostel.Failure?",
            "Waits until a port answers.",
            "tcp.wait_open(\"127.0.0.1\", 1, \"10ms\")",
        )
        .errors(EXTERNAL),
        function(
            "connection:write",
            &[param("bytes", "string", "What is sent."), TIMEOUT],
            "true, hostel.Failure?",
            "Sends all of it.",
            "connection:write(\"PING\\r\\n\")",
        )
        .errors(EXTERNAL),
        function(
            "connection:read",
            &[
                param("most", "integer", "Bytes.").or("up to the end, at most 16 MiB"),
                TIMEOUT,
            ],
            "string, hostel.Failure?",
            "What has come, at least a byte; empty at the end.",
            "connection:read(1024)",
        )
        .errors(EXTERNAL),
        function(
            "connection:close",
            &[],
            "",
            "Ends it; `local c <close>` does so by itself.",
            "connection:close()",
        ),
    ],
    &[Class {
        name: "Connection",
        word: "connection",
        doc: "A connection.",
        fields: &[],
        sample: None,
    }],
);

const URL: Param = param("url", "string", "http:// or https://.");
const REQUEST: Param = table(
    "options",
    &HTTP_OPTIONS,
    "The request. `json = VALUE` sends JSON.",
)
.or("{}");
const ANSWER: &str =
    "{ ok: boolean, status: integer, headers: table<string, string>, body: string }?, hostel.Failure?";
const ANSWERED: &str = "`nil, err` when there is no answer (`err.kind` is `timeout`, `not_found` or `external`). A status is no error: `ok` is whether it is 200 to 299.";

pub(super) static HTTP: Module = Module {
    records: &[&HTTP_OPTIONS],
    ..module(
        "hostel.http",
        "http",
        "An HTTP client. Certificates are checked against those that the system trusts.",
        &[
            function(
                "http.get",
                &[URL, REQUEST],
                ANSWER,
                "GET.",
                "http.get(\"http://127.0.0.1:1/\", { timeout = \"1s\" })",
            )
            .errors(ANSWERED),
            function(
                "http.head",
                &[URL, REQUEST],
                ANSWER,
                "HEAD.",
                "http.head(\"http://127.0.0.1:1/\")",
            )
            .errors(ANSWERED),
            function(
                "http.post",
                &[URL, REQUEST],
                ANSWER,
                "POST.",
                "http.post(\"http://127.0.0.1:1/\", { json = { a = 1 } })",
            )
            .errors(ANSWERED),
            function(
                "http.put",
                &[URL, REQUEST],
                ANSWER,
                "PUT.",
                "http.put(\"http://127.0.0.1:1/\", { body = \"x\" })",
            )
            .errors(ANSWERED),
            function(
                "http.patch",
                &[URL, REQUEST],
                ANSWER,
                "PATCH.",
                "http.patch(\"http://127.0.0.1:1/\", { body = \"x\" })",
            )
            .errors(ANSWERED),
            function(
                "http.delete",
                &[URL, REQUEST],
                ANSWER,
                "DELETE.",
                "http.delete(\"http://127.0.0.1:1/\")",
            )
            .errors(ANSWERED),
        ],
        &[],
    )
};

pub(super) static SSH: Module = module(
    "hostel.ssh",
    "ssh",
    "Other machines, by the system's ssh and rsync. Nothing is asked: a missing key or an unknown machine is an error.",
    &[
        function("ssh.host", &[param("machine", "string|table", "Its name, or `name`, `user`, `port`, `key`, `known_hosts`, `config`.")], "hostel.Host", "A machine.", "tostring(ssh.host(\"root@beta\"))").gives("'host \"beta\"'").errors("Raised for a name that cannot be one."),
        function("host:exec", &[param("command", "table", "Words, and `timeout`, `stdin`, `limit`, `dir`, `env`.")], "{ ok: boolean, code: integer?, signal: integer?, timed_out: boolean, truncated: boolean, stdout: string, stderr: string }", "Runs a command there. Its words reach it as they are.", "host:exec { \"id\", \"-u\", timeout = \"10s\" }").errors("Raised when the machine cannot be reached."),
        function("host:push", &[param("from", "string", "A path here."), param("to", "string", "An absolute path there."), param("options", "{ delete: boolean?, timeout: string? }", "How.").or("{}")], "true", "Copies files there, by rsync.", "host:push(\"/srv/web/\", \"/srv/web/\")").errors("Raised when rsync fails."),
        function("host:pull", &[param("from", "string", "An absolute path there."), param("to", "string", "A path here."), param("options", "{ delete: boolean?, timeout: string? }", "How.").or("{}")], "true", "Copies files from there, by rsync.", "host:pull(\"/srv/web/\", \"/srv/web/\")").errors("Raised when rsync fails."),
    ],
    &[Class { name: "Host", word: "host", doc: "Another machine.", fields: &[member("name", "string", "Its name or address.")], sample: Some("require(\"hostel.ssh\").host(\"beta\")") }],
);

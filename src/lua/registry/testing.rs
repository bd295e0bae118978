//! `require "hostel.test"`.

use super::{Class, Entry, Module, Places, function, member, param};

/// The words of tests.
pub(super) static MODULE: Module = Module {
    name: "hostel.test",
    local: "t",
    is_global: false,
    doc: "Tests of recipes and scripts, in files named `NAME_test.lua` that `hostel test` runs: `local t = require \"hostel.test\"`. Paths are relative to the test file.",
    places: Places::TESTS,
    entries: ENTRIES,
    classes: CLASSES,
    records: &[],
};

static ENTRIES: &[Entry] = &[
    function(
        "t.describe",
        &[
            param("name", "string", "What the tests are about."),
            param("body", "fun()", "Declares them. It runs at once."),
        ],
        "",
        "A group of tests. Groups may stand in groups.",
        "t.describe(\"fleet\", function() end)",
    ),
    function(
        "t.it",
        &[
            param("name", "string", "What holds."),
            param("body", "fun()", "The test. It must look at something."),
        ],
        "",
        "A test.",
        "t.it(\"has an address\", function() t.expect(1):to_equal(1) end)",
    )
    .errors("E0402 when it looks at nothing, E0406 when the group has a test of this name."),
    function(
        "t.only",
        &[
            param("name", "string", "What holds."),
            param("body", "fun()", "The test."),
        ],
        "",
        "A test that leaves out all others of the file that are not `only`. They are counted.",
        "t.only(\"has an address\", function() t.expect(1):to_equal(1) end)",
    ),
    function(
        "t.skip",
        &[
            param("name", "string", "The test that is not run, or, inside a test, why it gives up."),
            param("body", "fun()", "The test.").or("nil"),
        ],
        "",
        "A test that is listed and not run. With a reason alone, inside of a test, it ends that test.",
        "t.skip \"needs a network\"",
    ),
    function(
        "t.before_each",
        &[param("body", "fun()", "What runs.")],
        "",
        "Runs before each test of the group, those of outer groups first.",
        "t.before_each(function() end)",
    ),
    function(
        "t.after_each",
        &[param("body", "fun()", "What runs.")],
        "",
        "Runs after each test of the group, also after one that failed; those of inner groups first.",
        "t.after_each(function() end)",
    ),
    function(
        "t.expect",
        &[param("value", "any", "What is looked at.")],
        "hostel.Expectation",
        "What has to hold: `t.expect(x):to_equal(y)`, or `t.expect(x).to.equal(y)`; `never` turns it round. There are above, absent, at_least, at_most, below, called, called_with, code, contain, empty, equal, fail, falsy, fit, golden, key, kind, length, match, near, present, same, truthy, unique.",
        "t.expect({ 1, 2 }):to_contain(2)",
    )
    .errors("E0401 when it does not hold, E0405 for golden files, E0406 for a word that is unknown."),
    function(
        "t.eval",
        &[
            param("recipe", "string", "The recipe's path."),
            param("options", "{ inputs: table? }", "The values of its inputs.").or("{}"),
        ],
        "hostel.Fleet",
        "The guests of a recipe, each a table as `hostel check --json` prints it.",
        "t.eval(\"web.lua\", { inputs = { region = \"eu\" } })",
    )
    .errors("The recipe's first code when it has mistakes; all of them are in the notes."),
    function(
        "t.diagnostics",
        &[
            param("recipe", "string", "The recipe's path."),
            param("options", "{ inputs: table? }", "The values of its inputs.").or("{}"),
        ],
        "hostel.Mistake[]",
        "The mistakes of a recipe; empty when there is none.",
        "t.expect(t.diagnostics \"bad.lua\"):to_have_code(\"E0102\", { line = 3 })",
    ),
    function(
        "t.fake_host",
        &[param(
            "options",
            "{ memory: string?, cpus: integer?, kernel: string?, cgroup: string?, controllers: string[]?, swap: boolean?, io_weight: (string|false)?, guests: hostel.Fleet?, volumes: string[]? }",
            "What it has. `cgroup` is v2, hybrid or v1; `volumes` are there besides those that its guests declare.",
        )
        .or("{ kernel = \"6.12\", cgroup = \"v2\", cpus = 4 }")],
        "hostel.FakeHost",
        "A host in memory. It refuses what a host of that kernel and those cgroups refuses, and nothing else.",
        "t.fake_host { memory = \"64G\", kernel = \"6.1\" }",
    )
    .errors("E0406 for what a host does not have."),
    function(
        "t.plan",
        &[
            param("guests", "hostel.Fleet", "What is to be."),
            param("host", "hostel.FakeHost", "What is."),
            param("options", "{ prune: boolean? }", "Whether guests that are no longer named go.").or("{}"),
        ],
        "hostel.TestPlan",
        "What `hostel plan` would find to do.",
        "t.plan(fleet, host)",
    ),
    function(
        "t.hook",
        &[
            param("recipe", "string", "The recipe's path."),
            param("guest", "string", "The guest."),
            param("moment", "string", "pre_start, post_start, pre_stop, post_stop, pre_snapshot or post_snapshot."),
            param(
                "options",
                "{ inputs: table?, answers: table? }",
                "What each call is answered, by its name: one answer, or a list of them.",
            )
            .or("{}"),
        ],
        "{ calls: table[], log: string[], error: hostel.Mistake? }",
        "Runs a hook with a handle that records what is called and does nothing.",
        "t.hook(\"web.lua\", \"web\", \"pre_start\", { answers = { exec = { stdout = \"vg0\" } } })",
    ),
    function(
        "t.flow",
        &[
            param("workflow", "string|hostel.Workflow", "Its path, or what `flow.define` gives."),
            param(
                "options",
                "{ args: table?, host: hostel.FakeHost?, answers: table<string, any>?, fail: (string|integer|table)?, fail_undo: (string|integer|table)?, kill: (string|integer|hostel.KillMoment)?, force: boolean? }",
                "`args` as on a command line. `host`: without it, one on which the guests among the arguments run. `answers`: what each call is answered, by its name as it is documented, such as `guest:exec` or `http.get`: a table, a list of them (one a call, the last for ever), or a function such as a spy; `{ error = \"...\" }` raises, `{ err = \"...\", kind = \"timeout\" }` gives nil and why. `fail`: the step that fails, by name or number, or a table by step: a message, or `{ message, times, after, late, interrupt }` (`times` tries, after its work is done, by its deadline, by Ctrl-C); `fail_undo` is the same for undos. `kill`: the step in which hostel is killed, its work done and not yet in the journal; or the moment: before its work, inside, after it is in the journal, in its undo.",
            )
            .or("{}"),
        ],
        "hostel.Rehearsal",
        "Runs a workflow by the real engine on a fake host, and with a clock that only moves when it waits. Nothing of the host is changed and nobody is reached: commands succeed and say nothing, files are left as they are, and what has no answer that could be guessed, such as `http.get`, fails the test.",
        "t.flow(\"migrate.lua\", { args = { guest = \"web\" }, fail = { copy = \"no space\" } })",
    )
    .errors("E0406 for a step that the run never came to, and for a call without an answer."),
    function(
        "t.spy",
        &[param("inner", "function", "What a call does.").or("nil")],
        "hostel.Spy",
        "A function that remembers its calls.",
        "t.spy():returns(1)",
    ),
    function(
        "t.replace",
        &[
            param("holder", "table", "Where it is."),
            param("key", "any", "Its key."),
            param("value", "any", "What stands there until the test ends."),
        ],
        "any",
        "Puts a value in the place of another until the test ends. Gives it.",
        "t.replace(hostel, \"guest\", t.spy())",
    ),
    function(
        "fleet:guest",
        &[param("name", "string", "Its name.")],
        "table?",
        "The guest of this name.",
        "fleet:guest \"web\"",
    ),
    function(
        "fleet:pluck",
        &[param("path", "string", "A field, such as `net.address`.")],
        "any[]",
        "What each guest has there, as one list: the items of lists one by one, guests without it left out.",
        "fleet:pluck \"net.address\"",
    ),
    function(
        "fleet:filter",
        &[param("is_wanted", "fun(guest: table): boolean", "Whether a guest stays.")],
        "hostel.Fleet",
        "The guests for which it holds.",
        "fleet:filter(function(guest) return guest.autostart end)",
    ),
    function(
        "host:apply",
        &[param("plan", "hostel.TestPlan", "A plan of `t.plan`.")],
        "",
        "Makes the host what the plan says, or, when one guest cannot start there, leaves it as it was.",
        "host:apply(t.plan(fleet, host))",
    )
    .errors("Raised with `kind` \"unsupported\" for what the host cannot enforce."),
    function("host:names", &[], "string[]", "The names of its guests, sorted.", "host:names()"),
    function(
        "host:is_running",
        &[param("name", "string", "A guest.")],
        "boolean",
        "Whether that guest runs.",
        "host:is_running \"web\"",
    ),
    function(
        "host:xid",
        &[param("name", "string", "A guest.")],
        "integer",
        "Its context id: the wanted one, or the lowest free from 1000.",
        "host:xid \"web\"",
    ),
    function("host:stop", &[param("name", "string", "A guest.")], "", "Stops it.", "host:stop \"web\""),
    function(
        "host:start",
        &[param("name", "string", "A guest.")],
        "",
        "Starts it with what was applied.",
        "host:start \"web\"",
    ),
    function(
        "host:drift",
        &[
            param("name", "string", "A guest."),
            param("limit", "string", "A limit, such as memory."),
        ],
        "",
        "Somebody changed this limit behind the recipe's back.",
        "host:drift(\"web\", \"memory\")",
    ),
    function(
        "host:left",
        &[],
        "{ memory: integer?, cpus: number? }",
        "What the limits of the running guests leave, in bytes and processors; nil where that is not known.",
        "host:left()",
    ),
    function(
        "rehearsal:step",
        &[param("step", "string|integer", "Its name, or its number from 1.")],
        "{ name: string, state: string, tries: integer, value: any, error: string? }",
        "A step as the journal has it.",
        "run:step(\"copy\").state",
    )
    .errors("E0406 for a step that the run never came to."),
    function(
        "rehearsal:called",
        &[param("call", "string", "The name of a call, as it is documented.")],
        "{ name: string, subject: string?, args: any[], step: string?, undo: boolean? }[]",
        "The calls of this name in their order: of which guest, with what, by which step.",
        "run:called(\"guest:stop\")[1].subject",
    )
    .errors("E0406 for what no workflow can call."),
    function(
        "rehearsal:resume",
        &[param(
            "options",
            "{ answers: table?, fail: any, fail_undo: any, kill: any, force: boolean? }",
            "As those of `t.flow`. Without `answers`, those it had.",
        )
        .or("{}")],
        "hostel.Rehearsal",
        "What `hostel flow resume` makes of it, on the same host: a run of its own.",
        "run:resume().state",
    )
    .errors("E0406 for a run that cannot go on."),
    function(
        "rehearsal:undo",
        &[param(
            "options",
            "{ answers: table?, fail_undo: any, kill: any, force: boolean? }",
            "As those of `t.flow`. Without `answers`, those it had.",
        )
        .or("{}")],
        "hostel.Rehearsal",
        "What `hostel flow undo` makes of it, on the same host: a run of its own.",
        "run:undo().undone",
    )
    .errors("E0406 for a run that cannot be undone."),
    function(
        "plan:guest",
        &[param("name", "string", "A guest.")],
        "table?",
        "What is planned for it: `action` and `changes`.",
        "plan:guest(\"web\").action",
    ),
    function(
        "spy:returns",
        &[param("...", "any", "The results of a call.")],
        "hostel.Spy",
        "What the next call gives; called again, what the one after it gives. The last holds for ever.",
        "t.spy():returns(1):returns(2)",
    ),
    function(
        "spy:fails",
        &[param("problem", "any", "What each call raises.")],
        "hostel.Spy",
        "Every call raises this.",
        "t.spy():fails \"no route\"",
    ),
];

static CLASSES: &[Class] = &[
    Class {
        name: "Expectation",
        word: "expectation",
        doc: "A value that something is expected of.",
        fields: &[
            member(
                "to",
                "hostel.Expectation",
                "Reads well. So do be, been, have, a, an, the, is.",
            ),
            member("never", "hostel.Expectation", "Turns round what follows."),
            member(
                "[string]",
                "any",
                "A word, or several joined by `_`: `to_equal`, `never_empty`.",
            ),
        ],
        sample: None,
    },
    Class {
        name: "Fleet",
        word: "fleet",
        doc: "A list of guests, each a table as `hostel check --json` prints it.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "TestPlan",
        word: "plan",
        doc: "A list of actions, each with `guest`, `action`, `changes` and `after`. As text it is a line an action.",
        fields: &[],
        sample: None,
    },
    Class {
        name: "FakeHost",
        word: "host",
        doc: "A host in memory.",
        fields: &[
            member("memory", "integer?", "How much it has, in bytes."),
            member("cpus", "integer", "How many processors."),
        ],
        sample: None,
    },
    Class {
        name: "KillMoment",
        word: "kill",
        doc: "When hostel is killed in a rehearsal, each a step by name or number.",
        fields: &[
            member("before", "(string|integer)?", "Before its work."),
            member(
                "inside",
                "(string|integer)?",
                "Its work is done, and the journal does not know.",
            ),
            member(
                "after",
                "(string|integer)?",
                "Its work is done and in the journal.",
            ),
            member("undo", "(string|integer)?", "In its undo."),
        ],
        sample: None,
    },
    Class {
        name: "Rehearsal",
        word: "rehearsal",
        doc: "A workflow that was run in a test. As text: how it ended, and what ran.",
        fields: &[
            member(
                "state",
                "string",
                "How it ended: done, undone, undo_failed, failed (behind its commit), killed.",
            ),
            member("error", "string?", "What it failed with."),
            member(
                "ran",
                "string[]",
                "The steps that ran, in order; one that was tried twice is there twice.",
            ),
            member("undone", "string[]", "The steps whose undo ran, in order."),
            member("order", "string[]", "Both, in one order: `copy`, `undo copy`."),
            member(
                "steps",
                "table[]",
                "The journal, as it is when the run has ended.",
            ),
            member(
                "calls",
                "table[]",
                "What it called, as `rehearsal:called` has it.",
            ),
            member("said", "string[]", "What it told the operator, a line each."),
            member("seconds", "number", "How long it waited, in seconds."),
            member("host", "hostel.FakeHost", "The host as it is now."),
        ],
        sample: None,
    },
    Class {
        name: "Mistake",
        word: "mistake",
        doc: "A mistake of a recipe.",
        fields: &[
            member("code", "string", "Its code, such as E0102."),
            member("message", "string", "What is wrong."),
            member("help", "string?", "What would be right."),
            member("file", "string?", "The file's name."),
            member("line", "integer?", "From 1."),
            member("column", "integer?", "From 1."),
        ],
        sample: None,
    },
    Class {
        name: "Spy",
        word: "spy",
        doc: "A function that remembers its calls.",
        fields: &[member(
            "calls",
            "table[]",
            "The arguments of each call; `n` says how many.",
        )],
        sample: None,
    },
];

//! The stable codes of diagnostics, with what `hostel explain E0102` says of each.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($id:ident = $code:literal, $title:literal, $text:literal;)+) => {
        /// What a diagnostic is about. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $code)] $id,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$id),+];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$id => $code,)+ }
            }

            /// What it is about, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$id => $title,)+ }
            }

            /// What `hostel explain` tells of it.
            pub fn text(self) -> &'static str {
                match self { $(Code::$id => $text,)+ }
            }
        }
    };
}

codes! {
    Syntax = "E0001", "the recipe is not valid Lua",
        "Lua could not parse the file. The place is where it gave up; the cause is often a missing comma or\nbracket just before.\n\n    guest \"web\" {\n      image = \"busybox\"      -- a comma is missing here\n      autostart = true,\n    }";
    Runtime = "E0002", "the recipe failed while it ran",
        "An `error`, or an operation that makes no sense, such as indexing a nil value. The notes name the lines that\nled there, the recipe's own first. Guests that were declared before are checked all the same.";
    Read = "E0003", "a file could not be read",
        "The recipe, or a file that it requires, is missing or cannot be read.";
    UnknownWord = "E0101", "unknown word",
        "A name that is neither a local nor one of the recipe's words. Recipes are hermetic: string, table, math, utf8\nand hostel's words are there; io, os, debug, coroutine, load and the like are not. Globals cannot be made:\nwrite `local`.";
    UnknownField = "E0102", "unknown field",
        "The table has a key that means nothing there. `hostel doc guest` lists the fields.\n\n    limits = { pidz = 256 }   -- did you mean `pids`?";
    WrongType = "E0103", "wrong type",
        "The field takes a value of another type. `hostel doc guest.FIELD` says which.\n\n    packages = \"nginx\"        -- a list: { \"nginx\" }";
    BadValue = "E0104", "bad value",
        "The type is right, but the value means nothing: an unknown unit, no address, a number out of range.\n\n    memory = \"512MM\"          -- 512M";
    Mixed = "E0105", "neither a list nor a table of names",
        "A Lua table can be both a list and a table of names; a recipe's cannot, because one half would be lost.\n\n    packages = { \"nginx\", version = 2 }";
    Hole = "E0106", "hole in a list",
        "A list has a nil in its middle: mostly an undefined name, or a function that returned nothing.\n\n    depends = { \"db\", cache, \"queue\" }    -- cache is nil";
    Float = "E0107", "a whole number is needed",
        "In Lua `3.0` and `6 / 2` are floats even when nothing follows the point. Write `3`, or divide with `//`.";
    Missing = "E0108", "missing field",
        "The guest is incomplete: neither it nor a template that it inherits from sets the field.";
    Append = "E0109", "append or unset out of place",
        "`append { ... }` adds to an inherited list and stands where the list would. `unset` removes an inherited\nvalue. Neither can be an item of a list.";
    Conflict = "E0110", "fields that contradict each other",
        "Each field is valid, but together they make no sense: services with an init of the guest's own, a device\nwithout an address, two kinds of health check.";
    Secret = "E0111", "a secret that cannot be used",
        "`secret \"web/db\"` is read from the file secrets/web/db in hostel's state directory, or from the environment\nvariable HOSTEL_SECRET_WEB_DB, or is what the program secrets/.command prints when it is called with the name. The\nfile must not be readable by group and others, nor the program changeable by them. A secret can be a value of\n`env` and the content of a file, and is shown nowhere.";
    Input = "E0112", "input",
        "`input \"name\"` declares a value from outside, given as `--set name=value`, or in a JSON file with\n`--inputs FILE`. One without a default must be given, and only declared ones can be. A number's or truth value's\ndefault decides how the text is read.\n\n    local count = input(\"count\", { type = \"integer\", default = 3, description = \"how many shops\" })";
    Requires = "E0113", "this hostel is not the one that the recipe requires",
        "`requires { hostel = \">=0.1\", api = 1 }` names the oldest hostel and the version of the recipe language.";
    Require = "E0114", "a module that cannot be required",
        "`require \"name\"` reads name.lua from the recipe's folder or its lib folder, `require \"hostel.name\"` a module\nof hostel's own. Nothing outside of the folder can be read, not through a link either.";
    Hook = "E0115", "a hook that failed",
        "A hook's function raised an error, one of its commands failed, or the recipe is not the one that the guest\nwas applied from. `on_error` of the hook says what follows.";
    DuplicateName = "E0201", "two guests of one name",
        "A guest's name is unique on the host.";
    DuplicateXid = "E0202", "two guests of one context id",
        "User ids, cgroup and loopback address follow from the context id: two guests cannot share it. A template that\nsets `xid` gives it to every guest that inherits from it.";
    DuplicateAddress = "E0203", "two guests of one address",
        "In bind mode a guest owns its addresses: what arrives there is its own.";
    UnknownGuest = "E0204", "an unknown guest or service",
        "`depends` names guests of the same run, `after` services of the same guest.";
    Circle = "E0205", "a circle",
        "Guests or services wait for each other: none could be started first.";
    NoBody = "E0206", "a guest or template without a body",
        "`guest \"web\"` alone declares nothing: the table with its fields has to follow.";
    Budget = "E0301", "the recipe runs too long",
        "A recipe gets a budget of instructions; an endless loop uses it up. A recipe is meant to describe, not to\ncompute.";
    Memory = "E0302", "the recipe uses too much memory",
        "A recipe's Lua state may use so much memory and not more.";
    CpuTime = "E0303", "the recipe uses too much processor time",
        "Evaluation runs in a process of its own with a limit on its processor time. A pattern with many repetitions\nthat backtrack reaches it.";
    Child = "E0304", "evaluation ended without a result",
        "The process that evaluates the recipe was killed, or hostel is wrong.";
    Expectation = "E0401", "an expectation that does not hold",
        "`t.expect(value):to_...` of a test found something else. The notes say what differs.";
    NoExpectation = "E0402", "a test that expects nothing",
        "The test ran without a failure, but it looked at nothing: no `expect`, no `assert`, no recipe that was\nevaluated. It would pass whatever the recipe says.";
    NoTests = "E0403", "a test file without tests",
        "`hostel test` runs the tests that a file declares with `t.it`. A file that declares none passes always, and is\nmostly one whose tests are in a function that nobody calls.";
    TestTime = "E0404", "a test file that takes too long",
        "Each test file has a time limit; `--timeout` changes it. Named is the test that ran when it was over.";
    Golden = "E0405", "a golden file that differs",
        "What a test compares with a file beside it is no longer what the file says. If the new is right,\n`hostel test --bless` writes it; the difference is then reviewed with the change that made it.";
    TestMisuse = "E0406", "a word of hostel.test that is used wrongly",
        "`hostel doc hostel.test` tells what each word of a test takes.";
    Interrupted = "E0305", "a signal ended the script",
        "A script that gets SIGINT, SIGTERM or SIGHUP ends: what is to be closed is closed, `pcall` does not hold it.";
    Deadline = "E0501", "a deadline is over",
        "The step's `deadline` or `timeout` is over. What it was waiting for is interrupted, `pcall` inside of the step does\nnot hold it, and the workflow is undone.";
    Flow = "E0502", "a workflow that cannot go on",
        "A step that is declared wrongly, a value that the journal cannot keep, or a run that is not resumed as it was\nbegun. `hostel flow show ID` tells what is done.";
}

impl Code {
    /// The code of this name.
    pub fn parse(text: &str) -> Option<Code> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str().eq_ignore_ascii_case(text))
    }

    /// What `hostel explain` says.
    pub fn explain(self) -> String {
        format!("{}: {}\n\n{}\n", self.as_str(), self.title(), self.text())
    }
}

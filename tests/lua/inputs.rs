//! Inputs: what a recipe declares, and what is said of values that do not fit.

use std::collections::BTreeMap;

use hostel::lua::EvalOptions;

use crate::support::{eval_with, plain};

fn with(inputs: &[(&str, &str)]) -> EvalOptions {
    EvalOptions {
        inputs: inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..plain()
    }
}

const DECLARED: &str = r#"local n = input("count", { type = "integer", default = 2, description = "how many shops" })
local zone = input("zone", { one_of = { "a", "b" }, default = "a" })
local ratio = input("ratio", { type = "number", default = 1 })
assert(math.type(ratio) == "float")
for i = 1, n do guest(("g%d-%s"):format(i, zone)) { image = "busybox" } end
"#;

#[test]
fn a_declared_input_has_its_type_and_default() {
    assert_eq!(eval_with(DECLARED, &with(&[])).unwrap().specs.len(), 2);
    let evaluated = eval_with(DECLARED, &with(&[("count", "3"), ("zone", "b")])).unwrap();
    assert_eq!(evaluated.specs[2].name.as_str(), "g3-b");
    let count = &evaluated.inputs["count"];
    assert_eq!(
        (count.kind.as_str(), count.default.as_deref()),
        ("integer", Some("2"))
    );
    assert_eq!(count.description.as_deref(), Some("how many shops"));
    assert_eq!(count.place.as_ref().map(|place| place.line), Some(1));
}

#[test]
fn what_does_not_fit_is_said_where_it_is_declared() {
    for (inputs, text, expected, line) in [
        (
            &[("count", "many")][..],
            DECLARED,
            "the input `count` is a whole number, not `many`",
            1,
        ),
        (
            &[("zone", "c")],
            DECLARED,
            "the input `zone` is one of a, b, not `c`",
            2,
        ),
        (
            &[("ratio", "nan")],
            DECLARED,
            "the input `ratio` is a number, not `nan`",
            3,
        ),
        (
            &[],
            "\nlocal x = input 'name'",
            "the input `name` is not given",
            2,
        ),
        (
            &[],
            "input('x', { typ = 'text' })",
            "unknown field `typ` of the input `x`",
            1,
        ),
        (
            &[],
            "input('x', { type = 'list' })",
            "the input `x` cannot have the text \"list\" as its type",
            1,
        ),
        (
            &[],
            "input('x', { type = 'integer', default = 'a' })",
            "the input `x` is a whole number, and its default is `a`",
            1,
        ),
        (
            &[],
            "input('x', 1)\ninput('x', 2)",
            "the input `x` is declared twice, differently",
            2,
        ),
        (
            &[],
            "input('x', print)",
            "the input `x` cannot have a function as default",
            1,
        ),
    ] {
        let said = eval_with(text, &with(inputs)).unwrap_err();
        assert_eq!(said.0[0].code.as_str(), "E0112");
        assert_eq!(said.0[0].message, expected);
        assert_eq!(
            said.0[0].place.as_ref().map(|place| place.line),
            Some(line),
            "{expected}"
        );
    }
}

#[test]
fn what_is_not_declared_is_said_with_what_is() {
    let said = eval_with(DECLARED, &with(&[("cuont", "3")])).unwrap_err();
    assert_eq!(said.0[0].message, "the recipe has no input `cuont`");
    assert_eq!(said.0[0].help.as_deref(), Some("did you mean `count`?"));
    let said = eval_with("local x = input 'name'", &with(&[("nmae", "x")])).unwrap_err();
    assert_eq!(
        said.0[0].help.as_deref(),
        Some("`nmae` is given: did you mean `name`?")
    );
}

#[test]
fn a_json_file_has_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inputs.json");
    std::fs::write(&path, "{\n  \"count\": 3,\n  \"zoen\": \"b\"\n}\n").unwrap();
    let (inputs, input_places) = hostel::lua::inputs_file(&path).unwrap();
    let options = EvalOptions {
        inputs,
        input_places,
        ..plain()
    };
    let said = eval_with(DECLARED, &options).unwrap_err();
    assert_eq!(said.0[0].message, "the recipe has no input `zoen`");
    let place = said.0[0].place.as_ref().unwrap();
    assert!(
        place.file.ends_with("inputs.json") && place.line == 3,
        "{place:?}"
    );
    for (text, expected) in [
        ("{", "no JSON object of values"),
        ("[]", "no JSON object"),
        ("{\"a\": []}", "the input `a` must be"),
    ] {
        std::fs::write(&path, text).unwrap();
        let said = hostel::lua::inputs_file(&path).unwrap_err();
        assert!(said.0[0].message.starts_with(expected), "{}", said.0[0].message);
    }
}

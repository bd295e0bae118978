//! What is said of mistakes: the exact text, the place, and all of them in one run.

use crate::support::{eval, printed};

macro_rules! mistakes {
    ($($name:ident: $text:expr;)+) => {$(
        #[test]
        fn $name() {
            insta::assert_snapshot!(printed($text));
        }
    )+};
}

mistakes! {
    limit_for_limits: "guest \"web\" {\n  image = \"busybox\",\n  limit = { memory = \"64M\" },\n}\n";
    word_without_quotes: "guest \"web\" { image = busybox }\n";
    size_without_a_unit: "guest \"web\" { image = \"busybox\", limits = { memory = 64 } }\n";
    unit_without_quotes: "guest \"web\" { image = \"busybox\", limits = { memory = 64M } }\n";
    name_without_quotes: "guest web { image = \"busybox\" }\n";
    name_and_fields_in_one_call: "guest(\"web\", { image = \"busybox\" })\n";
    equals_after_the_name: "guest \"web\" = { image = \"busybox\" }\n";
    brace_that_is_not_closed: "guest \"web\" { image = \"busybox\"\n";
    quote_that_is_not_closed: "guest \"web\" { image = \"busybox }\n";
    number_for_a_text: "guest \"web\" { image = \"busybox\", env = { PORT = 80 } }\n";
    type_of_an_input: "input(\"size\", { type = \"int\", default = 3 })\n";
    unknown_suite: "guest \"web\" {\n  image = \"debian:bookwrom\",\n}\nguest \"db\" { image = \"debian:jammy\" }\nguest \"old\" { image = \"ubuntu:hardy\" }\n";
    hole_among_templates: "local a, c, b = template \"a\" {}, nil, template \"b\" { image = \"busybox\" }\nguest \"web\" { from = { a, c, b } }\n";
    text_for_a_table: "guest \"web\" {\n  image = \"busybox\",\n  net = \"10.0.0.1\",\n  services = { exec = \"httpd -f\" },\n}\n";
    table_for_a_template: "local base = { image = \"busybox\" }\nguest \"web\" { from = base }\n";
    names_and_items_mixed_up: "guest \"web\" {\n  image = \"busybox\",\n  files = { \"/etc/motd\" },\n  mounts = { [\"/srv\"] = \"/srv\" },\n  services = { httpd = { \"httpd\", \"-f\" } },\n}\n";
    missing_end: "for i = 1, 3 do\n  guest(\"web\" .. i) { image = \"busybox\" }\n";
    assignment_for_comparison: "local n = 1\nif n = 1 then\n  guest \"web\" { image = \"busybox\" }\nend\n";
    guest_without_a_name: "guest {\n  image = \"busybox\",\n}\n";
    module_that_is_not_there: "local shop = require \"shpo\"\n";
    nil_concat: "local suffix\nguest(\"web\" .. suffix) { image = \"busybox\" }\n";
    text_for_a_number: "guest \"web\" { image = \"busybox\", xid = \"101\", limits = { pids = \"many\" } }\n";
    hook_that_is_called: "guest \"web\" {\n  image = \"busybox\",\n  hooks = { pre_start = print(\"up\") , post_start = \"echo up\" },\n}\n";
    unknown_field: "guest \"web\" {\n  image = \"busybox\",\n  limits = { pidz = 256 },\n}\n";
    unknown_field_at_the_top: "guest \"web\" {\n  imgae = \"busybox\",\n}\n";
    field_of_another_table: "guest \"web\" { image = \"busybox\", memory = \"1G\" }\n";
    field_of_the_guest: "guest \"web\" { image = \"busybox\", net = { mode = \"none\", hostname = \"x\" } }\n";
    wrong_type: "guest \"web\" {\n  image = \"busybox\",\n  autostart = \"yes\",\n  limits = 5,\n}\n";
    text_for_a_list: "guest \"web\" {\n  image = \"debian:bookworm\",\n  packages = \"nginx\",\n  services = { nginx = { exec = \"nginx -g daemon\" } },\n}\n";
    bad_unit: "guest \"web\" {\n  image = \"busybox\",\n  limits = { memory = \"512MM\", cpus = \"lots\" },\n  stop = { timeout = \"5 s\" },\n}\n";
    bad_address: "guest \"web\" {\n  image = \"busybox\",\n  net = { mode = \"bind\", address = { \"10.0.0.1/24\", \"10.0.0.256/24\", \"10.0.0.0/24\" } },\n}\n";
    mixed_list: "guest \"web\" {\n  image = \"debian:bookworm\",\n  packages = { \"nginx\", version = 2 },\n}\n";
    item_in_a_record: "guest \"web\" {\n  image = \"busybox\",\n  limits = { \"256M\" },\n}\n";
    hole_in_a_list: "local cache\nguest \"web\" {\n  image = \"busybox\",\n  depends = { \"web\", cache, \"web\" },\n}\n";
    float_for_a_whole_number: "guest \"web\" {\n  image = \"busybox\",\n  limits = { pids = 512 / 2, nofile = 10.5 },\n  health = { tcp = 80.0 },\n}\n";
    decimal_mode: "guest \"web\" {\n  image = \"busybox\",\n  files = { [\"/etc/x\"] = { content = \"\", mode = 644 }, [\"etc/y\"] = \"\" },\n}\n";
    missing_image: "local base = template \"base\" { limits = { memory = \"1G\" } }\nfor i = 1, 3 do\n  guest(\"web\" .. i) { from = base }\nend\n";
    missing_in_a_list: "guest \"web\" {\n  image = \"busybox\",\n  mounts = { { source = \"/srv\" } },\n}\n";
    enum_word: "guest \"web\" { image = \"busybox\", net = { mode = \"bnid\" } }\n";
    capability: "guest \"web\" { image = \"busybox\", caps = { keep = { \"net_bind\", \"sys_amdin\" } } }\n";
    two_checks: "guest \"web\" { image = \"busybox\", health = { tcp = 80, exec = { \"true\" } } }\n";
    unknown_word: "local x = 1\ngeust \"web\" { image = \"busybox\" }\n";
    missing_library: "local home = os.getenv \"HOME\"\n";
    global: "count = 5\n";
    syntax: "guest \"web\" {\n  image = \"busybox\"\n  autostart = true,\n}\n";
    unclosed: "guest \"web\" {\n  image = \"busybox\",\n";
    nil_index: "local function disk(t)\n  return t.limits.disk\nend\n\nguest \"web\" { image = \"busybox\", limits = { disk = disk {} } }\n";
    raised: "local function check(n)\n  error(\"too many: \" .. n)\nend\ncheck(5)\n";
    duplicate_guest: "guest \"web\" { image = \"busybox\" }\nguest \"db\" { image = \"busybox\" }\nguest \"web\" { image = \"busybox\" }\n";
    duplicate_xid: "local base = template \"base\" { image = \"busybox\", xid = 101 }\nguest \"a\" { from = base }\nguest \"b\" { from = base }\n";
    duplicate_address: "guest \"a\" { image = \"busybox\", net = { mode = \"bind\", address = \"127.9.0.1\" } }\nguest \"b\" {\n  image = \"busybox\",\n  net = { mode = \"bind\", address = { \"127.9.0.2\", \"127.9.0.1\" } },\n}\n";
    unknown_dependency: "guest \"web\" { image = \"busybox\", depends = { \"dbb\" } }\nguest \"db\" { image = \"busybox\" }\n";
    circle: "guest \"a\" { image = \"busybox\", depends = { \"b\" } }\nguest \"b\" {\n  image = \"busybox\",\n  depends = { \"a\" },\n}\n";
    service_circle: "guest \"a\" {\n  image = \"busybox\",\n  services = {\n    x = { exec = { \"x\" }, after = { \"y\" } },\n    y = { exec = { \"y\" }, after = { \"x\", \"zz\" } },\n  },\n}\n";
    contradictions: "guest \"a\" {\n  image = \"busybox\",\n  packages = { \"nginx\" },\n  init = \"/sbin/init\",\n  services = { x = { exec = { \"x\" } } },\n  net = { mode = \"private\", device = \"eth0\", ports = { 80 } },\n  health = { tcp = 81 },\n}\n";
    no_body: "guest \"web\"\nlocal t = template \"x\"\n";
    template_by_name: "template \"base\" { image = \"busybox\" }\nguest \"web\" { from = \"base\" }\n";
    bad_name: "guest \"../web\" { image = \"busybox\" }\n";
    secret_elsewhere: "guest \"web\" { image = \"busybox\", hostname = secret \"x\" }\n";
    variable_table: "local limits = {\n  memory = \"1G\",\n  pidz = 5,\n}\nguest \"web\" {\n  image = \"busybox\",\n  limits = limits,\n}\n";
    variable_body: "local body = { image = \"busybox\" }\nbody.limitz = {}\nguest(\"web\")(body)\n";
    append_out_of_place: "guest \"web\" { image = append { \"busybox\" }, depends = { append { \"x\" } } }\n";
    requires_newer: "requires { hostel = \">=99.0\" }\n";
    secret_in_a_text: "guest \"web\" {\n  image = \"busybox\",\n  env = { URL = \"pw=\" .. secret \"web/db\" },\n}\n";
    key_without_brackets: "guest \"web\" {\n  image = \"busybox\",\n  files = { /etc/motd = \"hello\" },\n}\n";
    for_without_do: "for i = 1, 2\n  guest(\"web\" .. i) { image = \"busybox\" }\nend\n";
    plus_between_texts: "guest(\"web\" + 1) { image = \"busybox\" }\n";
    global_over_several_lines: "base = template \"base\" {\n  image = \"busybox\",\n}\n";
    wrong_argument: "guest \"web\" {\n  image = \"busybox\",\n  hostname = (\"x\"):rep \"y\",\n}\n";
    services_in_a_list: "guest \"web\" {\n  image = \"busybox\",\n  services = { { exec = { \"httpd\" } } },\n}\n";
    dependency_of_a_template: "local base = template \"base\" { image = \"busybox\", depends = { \"dbb\" } }\nfor i = 1, 3 do\n  guest(\"web\" .. i) { from = base }\nend\nguest \"db\" { image = \"busybox\" }\n";
    control_characters: "guest \"web\" { image = \"busy\\27[2Jbox\" }\n";
}

/// 500 lines, one typo: the right line and column.
#[test]
fn a_typo_in_500_lines() {
    let guest = |i: usize| {
        let field = if i == 73 { "pidz" } else { "pids" };
        format!(
            "guest \"g{i}\" {{\n  image = \"busybox\", -- pidz\n  limits = {{ memory = \"64M\", {field} = 64 }},\n  env = {{ A = \"pidz = 1\" }},\n}}\n"
        )
    };
    let text: String = (0..100).map(guest).collect::<Vec<_>>().concat();
    assert_eq!(text.lines().count(), 500);
    let found = eval(&text).unwrap_err();
    assert_eq!(found.len(), 1);
    let place = found.0[0].place.as_ref().unwrap();
    assert_eq!((place.line, place.column, place.width), (73 * 5 + 3, 30, 4));
    assert_eq!(found.0[0].help.as_deref(), Some("did you mean `pids`?"));
}

/// Ten mistakes: ten reports, in the order of the source, each at its place.
#[test]
fn ten_mistakes_are_ten_reports() {
    let text = "guest \"a\" {\n  imag = \"busybox\",\n  xid = 1,\n  hostname = \"-x\",\n  packages = { \"B A D\" },\n  limits = { memory = \"1X\", pids = 0 },\n  mounts = { { source = \"srv\", target = \"/x\" } },\n  autostart = 1,\n  stop = { timeout = 5 },\n  depends = \"b\",\n}\n";
    let found = eval(text).unwrap_err();
    let places: Vec<usize> = found.0.iter().map(|d| d.place.as_ref().unwrap().line).collect();
    assert_eq!(places, [2, 3, 4, 5, 6, 6, 7, 8, 9, 10], "{found}");
    insta::assert_snapshot!(printed(text));
}

#[test]
fn a_mistake_in_a_required_file_is_shown_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lib")).unwrap();
    std::fs::write(
        dir.path().join("lib/shop.lua"),
        "local M = {}\nfunction M.shop(name)\n  return guest(name) {\n    image = \"busybox\",\n    limitz = {},\n  }\nend\nreturn M\n",
    )
    .unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(
        &path,
        "local shop = require \"shop\"\nfor i = 1, 5 do shop.shop(\"s\" .. i) end\n",
    )
    .unwrap();
    let text = hostel::lua::evaluate(&path, &crate::support::plain())
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(text.replace(&format!("{}/", dir.path().display()), ""));
}

/// One address in the recipe and one in a file that it requires: both places, each with its file.
#[test]
fn duplicates_across_files_show_both_places() {
    let dir = tempfile::tempdir().unwrap();
    let body = |name: &str| {
        format!(
            "guest \"{name}\" {{\n  image = \"busybox\",\n  net = {{ mode = \"bind\", address = \"127.9.0.1\" }},\n}}\n"
        )
    };
    std::fs::write(dir.path().join("db.lua"), format!("{}return {{}}\n", body("db"))).unwrap();
    let path = dir.path().join("web.lua");
    std::fs::write(
        &path,
        format!(
            "require \"db\"\n{}guest \"db\" {{ image = \"busybox\" }}\n",
            body("web")
        ),
    )
    .unwrap();
    let found = hostel::lua::evaluate(&path, &crate::support::plain()).unwrap_err();
    let text = found.to_string();
    insta::assert_snapshot!(text.replace(&format!("{}/", dir.path().display()), ""));
}

/// 5,000 mistakes in a file of 20,000 lines: the file is read into tokens once, not for each.
#[test]
fn many_mistakes_in_a_large_file_are_many_reports() {
    let text: String = (0..5000)
        .map(|i| format!("guest \"g{i}\" {{\n  image = \"busybox\",\n  limits = {{ pidz = {i} }},\n}}\n"))
        .collect::<Vec<_>>()
        .concat();
    let found = eval(&text).unwrap_err();
    assert_eq!(found.len(), 200);
    for (index, diagnostic) in found.0.iter().enumerate() {
        assert_eq!(
            diagnostic.place.as_ref().map(|p| (p.line, p.column)),
            Some((4 * index + 3, 14))
        );
    }
    assert!(
        found.0[199].notes[0].ends_with("more mistakes are not shown"),
        "{:?}",
        found.0[199]
    );
}

#[test]
fn diagnostics_are_json_too() {
    let found = eval("guest 'web' { limitz = {} }").unwrap_err();
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json[0]["code"], "E0102");
    assert_eq!(json[0]["place"]["column"], 15);
    assert!(found.render(true).contains("\x1b[1;31m"));
}

//! Templates, `append`, `unset`, and where a field comes from.

use hostel::guest::Check;
use hostel::lua::EvalOptions;

use crate::support::{eval, eval_with, plain};

const BASE: &str = r#"
local small = template "small" {
  image = "busybox",
  packages = nil,
  limits = { memory = "64M", cpus = 0.5, nofile = 1024 },
  env = { A = "1", B = "2" },
  depends = { "x" },
  health = { tcp = 80, interval = "1s" },
}
local net = template "net" { from = small, net = { mode = "bind", address = "127.9.0.1" }, env = { A = unset, C = "3" } }
guest "x" { image = "busybox" }
"#;

fn spec(body: &str) -> hostel::guest::Spec {
    let mut evaluated = eval(&format!("{BASE}guest \"web\" {body}")).unwrap_or_else(|d| panic!("{d}"));
    evaluated.specs.swap_remove(1)
}

#[test]
fn maps_merge_and_lists_replace() {
    let spec = spec("{ from = net, limits = { memory = '1G', nproc = 5 }, depends = {} }");
    assert_eq!(spec.limits.memory.unwrap().to_string(), "1G");
    assert_eq!(spec.limits.cpus.unwrap().to_string(), "0.5");
    assert_eq!(spec.limits.rlimits.len(), 2);
    assert!(spec.depends.is_empty());
    assert_eq!(spec.env.keys().collect::<Vec<_>>(), ["B", "C"]);
    assert_eq!(spec.net.address[0].to_string(), "127.9.0.1/32");
}

#[test]
fn append_adds_and_unset_removes() {
    let spec =
        spec("{ from = net, net = { address = append { 'fd00::1/64' } }, limits = unset, health = unset }");
    assert_eq!(spec.net.address.len(), 2);
    assert_eq!(spec.limits, hostel::guest::Limits::default());
    assert!(spec.health.is_none());
}

#[test]
fn another_check_replaces_the_inherited_one() {
    let spec = spec("{ from = net, health = { http = ':81/up' } }");
    let health = spec.health.unwrap();
    assert!(matches!(health.check, Check::Http(probe) if probe.port == 81 && probe.path == "/up"));
    assert_eq!(health.interval.millis(), 1000);
}

#[test]
fn later_templates_win() {
    let spec = spec(
        "{ from = { net, template 'big' { limits = { memory = '2G' }, hooks = { pre_start = { timeout = '3s', run = function() end } } } } }",
    );
    assert_eq!(spec.limits.memory.unwrap().to_string(), "2G");
    assert_eq!(spec.hooks.values().next().unwrap().timeout.millis(), 3000);
}

#[test]
fn provenance_names_each_layer() {
    let options = EvalOptions {
        provenance: hostel::lua::Wanted::Of(["web".to_owned()].into()),
        ..plain()
    };
    let text = format!("{BASE}guest \"web\" {{\n  from = net,\n  limits = {{ memory = '1G' }},\n}}");
    let evaluated = eval_with(&text, &options).unwrap();
    let origins = &evaluated.provenance["web"]["limits.memory"];
    let shown: Vec<(String, usize)> = origins
        .iter()
        .filter_map(|o| Some((o.layer.clone(), o.place.as_ref()?.line)))
        .collect();
    assert_eq!(
        shown,
        [
            ("template \"small\"".to_owned(), 5),
            ("guest \"web\"".to_owned(), 14)
        ]
    );
    assert_eq!(
        evaluated.provenance["web"]["limits.rlimits.nofile"][0]
            .place
            .as_ref()
            .map(|p| p.line),
        Some(5)
    );
}

#[test]
fn inputs_are_declared_and_typed() {
    let text = "local n = input('count', 2)\nfor i = 1, n do guest('g' .. i) { image = 'busybox' } end";
    assert_eq!(eval(text).unwrap().specs.len(), 2);
    let mut options = plain();
    options.inputs.insert("count".to_owned(), "5".to_owned());
    assert_eq!(eval_with(text, &options).unwrap().specs.len(), 5);
    options.inputs.insert("count".to_owned(), "many".to_owned());
    assert_eq!(eval_with(text, &options).unwrap_err().0[0].code.as_str(), "E0112");
}

#[test]
fn a_secret_is_opaque_and_found_in_a_private_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = tempfile::tempdir().unwrap();
    let text = "local s = secret 'web/db'\nprint(s, tostring(s))\nguest 'a' { image = 'busybox', env = { P = s }, files = { ['/k'] = s } }";
    let mut options = plain();
    assert!(eval_with(text, &options).unwrap().specs[0].env["P"].starts_with("<secret"));
    options.secrets = Some(root.path().to_owned());
    let missing = eval_with(text, &options).unwrap_err();
    assert_eq!(missing.0[0].code.as_str(), "E0111");
    let path = root.path().join("secrets/web");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("db"), "hunter2\n").unwrap();
    std::fs::set_permissions(path.join("db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = eval_with(text, &options).unwrap_err().to_string();
    assert!(
        open.contains("can be read by others") && !open.contains("hunter2"),
        "{open}"
    );
    std::fs::set_permissions(path.join("db"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let evaluated = eval_with(text, &options).unwrap();
    assert_eq!(evaluated.specs[0].env["P"], "hunter2");
    assert_eq!(evaluated.specs[0].secret_env, ["P"]);
    assert!(evaluated.specs[0].files.values().next().unwrap().secret);
    assert_eq!(evaluated.output, ["secret \"web/db\"\tsecret \"web/db\""]);
}

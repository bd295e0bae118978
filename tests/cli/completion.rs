//! `hostel completion`, and what the shells ask for afterwards.

use crate::support::{Place, hostel};

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish"] {
        let run = hostel(&["completion", shell]);
        assert!(run.prints().contains("COMPLETE"), "{}", run.stdout);
    }
    hostel(&["completion", "tcsh"]).fails(
        2,
        "error: `tcsh` is not a value of `<SHELL>`\nhint: did you mean `zsh`?\n",
    );
}

/// What bash is offered for the last of `words`.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let mut args = vec!["--", "hostel"];
    args.extend(words);
    let output = place
        .command(&args)
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn commands_options_and_topics_are_offered() {
    let place = Place::new();
    assert_eq!(offered(&place, &["vers"]), ["version"]);
    assert_eq!(offered(&place, &["version", "--js"]), ["--json"]);
    assert_eq!(offered(&place, &["help", "env"]), ["environment"]);
    assert_eq!(offered(&place, &["completion", "z"]), ["zsh"]);
}

#[test]
fn topics_and_fields_are_offered_a_step_at_a_time() {
    let place = Place::new();
    let first = |found: Vec<String>| found.into_iter().next().unwrap_or_default();
    assert!(first(offered(&place, &["doc", "guest.li"])).starts_with("guest.limits"));
    assert!(first(offered(&place, &["explain", "web.limits.memo"])).starts_with("web.limits.memory"));
    assert!(first(offered(&place, &["explain", "E0102"])).starts_with("E0102"));
    assert_eq!(offered(&place, &["set", "web", "memo"]), ["memory="]);
}

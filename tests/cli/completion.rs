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

//! `hostel help`

use crate::support::hostel;

#[test]
fn lists_commands_and_topics() {
    let all = hostel(&["help"]);
    for wanted in [
        "Usage: hostel [--color WHEN] COMMAND [ARGUMENTS]\n",
        "\nAbout hostel:\n  help        Show the commands, or tell about one of them or a topic\n",
        "\nTopics:\n  environment Environment variables\n",
    ] {
        assert!(all.prints().contains(wanted), "{}", all.stdout);
    }
    assert_eq!(hostel(&["--help"]).prints(), all.stdout);
    assert_eq!(hostel(&["-h"]).prints(), all.stdout);
}

#[test]
fn of_a_command_is_the_same_either_way() {
    let help = hostel(&["help", "version"]);
    assert_eq!(
        help.prints(),
        "Show the version of hostel\n\
         \n\
         Usage: hostel version [OPTIONS]\n\
         \n\
         Options:\n\
         \u{20}     --json          Print JSON: `version`, `lua` and `kernel`\n\
         \u{20} -h, --help          Print help\n\
         \u{20}     --color <WHEN>  Colour the output: auto (on a terminal, without NO_COLOR), always or never\n\
         \n\
         Examples:\n\
         \u{20} hostel version\n\
         \u{20}     print the version\n\
         \u{20} hostel version --json\n\
         \u{20}     with the version of Lua and of the running kernel\n"
    );
    assert_eq!(hostel(&["version", "--help"]).prints(), help.stdout);
}

#[test]
fn of_a_topic() {
    let help = hostel(&["help", "exit"]);
    assert!(help.prints().starts_with("Exit codes\n\n0    it worked; "));
}

#[test]
fn of_nothing_known() {
    hostel(&["help", "exti"]).fails(
        2,
        "error: `exti` is no command and no topic\nhint: did you mean `exit`?\n",
    );
}

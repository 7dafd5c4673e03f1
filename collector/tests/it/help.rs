//! What `--help` says, word for word.

use crate::support::{agent, collector, command, run};

#[test]
fn help_is_as_it_was_read_last() {
    let agent_commands = [
        "",
        "run",
        "daemon",
        "spool",
        "spool list",
        "spool flush",
        "spool quarantine",
        "enroll",
        "hardware",
    ];
    let collector_commands = [
        "",
        "local",
        "init",
        "serve",
        "report",
        "advise",
        "profiles",
        "profiles diff",
        "hosts",
        "export",
        "prune",
        "token",
        "token create",
        "token list",
        "token revoke",
        "agent",
        "agent list",
        "agent revoke",
        "audit",
    ];
    let commands = agent_commands.iter().map(|name| ("agent", agent(), *name));
    let commands =
        commands.chain(collector_commands.iter().map(|name| ("collector", collector(), *name)));
    for (binary, path, name) in commands {
        let words = name.split_whitespace().chain(["--help"]);
        let done = run(command(&path).args(words));
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        let name = format!("{binary} {name}").trim_end().replace(' ', "-");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, done.stdout);
        });
    }
    for path in [agent(), collector()] {
        let version = run(command(&path).arg("--version")).stdout;
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
        let short = run(command(&path).arg("-h")).stdout;
        assert!(!short.contains("measure  "), "the measuring child's command is hidden: {short}");
    }
}

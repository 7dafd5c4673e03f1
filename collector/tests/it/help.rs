//! What `--help` says, word for word.

use crate::support::{agent, collector, command, run};

/// The agent's commands.
pub(crate) const AGENT: [&str; 14] = [
    "",
    "run",
    "daemon",
    "spool",
    "spool list",
    "spool flush",
    "spool quarantine",
    "enroll",
    "hardware",
    "config",
    "config check",
    "config show",
    "completions",
    "man",
];

/// The collector's.
pub(crate) const COLLECTOR: [&str; 33] = [
    "",
    "local",
    "init",
    "serve",
    "report",
    "advise",
    "compare",
    "profiles",
    "profiles diff",
    "hosts",
    "hosts forget",
    "host",
    "outliers",
    "history",
    "export",
    "prune",
    "migrate",
    "store",
    "store check",
    "simulate",
    "token",
    "token create",
    "token list",
    "token revoke",
    "agent",
    "agent list",
    "agent revoke",
    "audit",
    "config",
    "config check",
    "config show",
    "completions",
    "man",
];

#[test]
fn help_is_as_it_was_read_last() {
    let commands = AGENT.iter().map(|name| ("agent", agent(), *name));
    let commands = commands.chain(COLLECTOR.iter().map(|name| ("collector", collector(), *name)));
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

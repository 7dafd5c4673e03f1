//! What both binaries tell of themselves: settings, completions that complete, man pages that can be read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    help,
    support::{Done, agent, collector, command, has, run, skip},
};

/// Both binaries with their names.
fn binaries() -> [(&'static str, PathBuf); 2] {
    [("fleetmark-agent", agent()), ("fleetmark-collector", collector())]
}

/// The completions of both for a shell, in files of these names.
fn completions(shell: &str, folder: &Path, file: impl Fn(&str) -> String) {
    for (name, program) in binaries() {
        let path = folder.join(file(name));
        let words = ["completions", shell, "--output"];
        let done = run(command(&program).args(words).arg(&path));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
        let printed = run(command(&program).args(["completions", shell]));
        assert_eq!(printed.stdout, fs::read_to_string(path).unwrap());
    }
}

/// Words that are typed up to where they are to be completed, with one that must be offered then.
const TYPED: [(&[&str], &str); 6] = [
    (&["fleetmark-agent", "hard"], "hardware"),
    (&["fleetmark-agent", "run", "--neigh"], "--neighbours"),
    (&["fleetmark-agent", "run", "--spawner", "ra"], "rayon"),
    (&["fleetmark-agent", "spool", "quar"], "quarantine"),
    (&["fleetmark-collector", "report", "--include"], "--include-suspect"),
    (&["fleetmark-collector", "token", "create", "--rol"], "--role"),
];

#[test]
fn bash_completes() {
    if !has("bash") {
        return skip("bash", true);
    }
    let folder = tempfile::tempdir().unwrap();
    completions("bash", folder.path(), str::to_owned);
    for (typed, offers) in TYPED {
        // As bash itself does it: it asks the function that the program is registered with, which answers in COMPREPLY.
        let script = r#"
            source "$1"; shift
            registered=$(complete -p "$1") || exit 1
            asked=${registered#* -F }; asked=${asked%% *}
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            "$asked" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = command("bash".as_ref());
        bash.args(["--norc", "-c", script, "bash"]).arg(folder.path().join(typed[0])).args(typed);
        let done = run(&mut bash);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{typed:?}: {done:?}");
        assert!(done.stdout.lines().any(|line| line == offers), "{typed:?}: {done:?}");
    }
}

#[test]
fn zsh_completes() {
    if !has("zsh") {
        return skip("zsh", true);
    }
    let folder = tempfile::tempdir().unwrap();
    completions("zsh", folder.path(), |name| format!("_{name}"));
    for (typed, offers) in TYPED {
        // zsh completes on a terminal alone, so it gets one. It types what is left where only one word is possible.
        let script = r#"
            zmodload zsh/zpty
            zpty shell zsh -f -i
            zpty -w shell "stty -echo; PS1=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; print RE''ADY"
            zpty -r -m shell out '*READY*'
            zpty -n -w shell "$2"$'\t'
            zpty -r -m shell out "*$3*"
            print -r -- "$out"
            zpty -d shell
        "#;
        let mut zsh = command("timeout".as_ref());
        zsh.args(["60", "zsh", "-f", "-c", script, "zsh"]).arg(folder.path());
        zsh.env("HOME", folder.path()).env("TERM", "xterm");
        let done = run(zsh.args([&typed.join(" "), offers]));
        assert_eq!(done.code, 0, "{typed:?}: {done:?}");
        assert!(done.stdout.contains(offers), "{typed:?}: {done:?}");
    }
}

#[test]
fn fish_completes() {
    if !has("fish") {
        return skip("fish", true);
    }
    let folder = tempfile::tempdir().unwrap();
    completions("fish", folder.path(), str::to_owned);
    for (typed, offers) in TYPED {
        let script = "source $argv[1]; complete -C $argv[2]";
        let mut fish = command("fish".as_ref());
        fish.env("HOME", folder.path()).args(["--no-config", "-c", script]);
        let done = run(fish.arg(folder.path().join(typed[0])).arg(typed.join(" ")));
        assert_eq!(done.code, 0, "{typed:?}: {done:?}");
        let words = done.stdout.lines().map(|line| line.split('\t').next().unwrap());
        assert!(words.into_iter().any(|word| word == offers), "{typed:?}: {done:?}");
    }
}

#[test]
fn each_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("share/man/man1");
    for (_, program) in binaries() {
        let done = run(command(&program).args(["man", "--output"]).arg(&pages));
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
    }
    let file = |binary: &str, command: &str| {
        let words: Vec<&str> = [binary].into_iter().chain(command.split_whitespace()).collect();
        format!("{}.1", words.join("-"))
    };
    let of_agent = help::AGENT.map(|name| file("fleetmark-agent", name));
    let of_collector = help::COLLECTOR.map(|name| file("fleetmark-collector", name));
    let expected: BTreeSet<String> = of_agent.into_iter().chain(of_collector).collect();
    let paths: Vec<PathBuf> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
    let found = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    assert_eq!(found.collect::<BTreeSet<_>>(), expected);
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            let heading = format!("\n.SH {part}\n").replace("EXIT STATUS", "\"EXIT STATUS\"");
            assert!(text.contains(&heading), "{}: {part}", path.display());
        }
        assert_eq!(text.matches("\n.TH ").count(), 1, "{}", path.display());
    }
    if !has("mandoc") {
        return skip("mandoc", true);
    }
    let lint = run(command("mandoc".as_ref()).args(["-T", "lint", "-W", "error"]).args(&paths));
    assert_eq!((lint.code, lint.stdout.as_str()), (0, ""), "{lint:?}");
    let page = pages.join("fleetmark-collector-export.1");
    let read = run(command("mandoc".as_ref()).args(["-T", "ascii"]).arg(page)).stdout;
    let read: String = read.split('\u{8}').map(|part| part.trim_end_matches('_')).collect();
    let line = read.lines().find(|line| line.contains("host.cpu.vendor.id"));
    assert!(line.is_some_and(|line| line.ends_with("the CPU's vendor")), "{read}");
}

/// The agent in a folder of its own, with a settings file.
struct Set {
    folder: tempfile::TempDir,
}

impl Set {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fleetmark.toml"), text).unwrap();
        Self { folder }
    }

    fn file(&self) -> String {
        self.folder.path().join("fleetmark.toml").display().to_string()
    }

    fn asks(&self, program: &Path, words: &[&str], variables: &[(&str, &str)]) -> Done {
        let mut command = command(program);
        command.envs(variables.iter().copied()).env("HOME", self.folder.path());
        run(command.args(words).arg("--state-dir").arg(self.folder.path()))
    }
}

#[test]
fn what_is_wrong_with_settings_is_told_by_line() {
    let set = Set::new("[agent]\nronds = 3\nrounds = \"many\"\n[collector]\nstore = \"file:x\"\n");
    let check = set.asks(&agent(), &["config", "check"], &[]);
    let file = set.file();
    let expected = format!(
        "{file}:2: no flag of fleetmark-agent is called ronds; the nearest is rounds\n\
         {file}:3: invalid value 'many' for '--rounds <N>': invalid digit found in string\n"
    );
    assert_eq!((check.code, check.stdout, check.stderr), (2, expected, String::new()));
    let check = set.asks(&collector(), &["config", "check", "-f", "json"], &[]);
    assert_eq!(check.code, 2, "{check:?}");
    let told: Value = serde_json::from_str(&check.stdout).unwrap();
    let problem = "invalid value 'file:x' for '--store <URL>': must be sqlite:FILE";
    assert_eq!(told["schema"], "fleetmark.config-check/1");
    assert_eq!(told["problems"], json!([{ "line": 5, "key": "store", "problem": problem }]));

    // Another file can be named, and none is no mistake.
    let good = set.folder.path().join("good.toml");
    fs::write(&good, "[agent]\nrounds = 3\n").unwrap();
    let good = good.to_str().unwrap();
    let check = set.asks(&agent(), &["config", "check", good], &[]);
    assert_eq!(
        (check.code, check.stdout),
        (0, format!("{good}: nothing is wrong with what it says to fleetmark-agent\n"))
    );
    let missing = set.asks(&agent(), &["config", "check", "/nonexistent/x.toml"], &[]);
    assert_eq!((missing.code, missing.stderr.lines().count()), (2, 1), "{missing:?}");

    // What does not go by settings works in spite of them, and all else says what is wrong.
    assert_eq!(set.asks(&agent(), &["completions", "bash"], &[]).code, 0);
    let show = set.asks(&agent(), &["config", "show"], &[]);
    assert_eq!((show.code, show.stderr.lines().count()), (2, 1), "{show:?}");
    assert!(show.stderr.contains("is called ronds; see `config check`"), "{show:?}");
    assert_eq!(set.asks(&agent(), &["spool", "list"], &[]).code, 2);
}

#[test]
fn every_setting_is_told_with_its_source() {
    let set = Set::new("[agent]\nrounds = 22\nlabel = [\"rack=7\"]\n");
    let variables = [("FLEETMARK_AGENT_COLLECTOR", "https://a,https://b:1")];
    let told = set.asks(&agent(), &["config", "show", "-f", "json"], &variables).json();
    assert_eq!(told["schema"], "fleetmark.config/1");
    assert_eq!(told["file"], set.file());
    let settings = told["settings"].as_array().unwrap();
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    let said = |key: &str| json!([of(key)["value"], of(key)["source"], of(key)["line"]]);
    assert_eq!(said("rounds"), json!(["22", "file", 2]));
    assert_eq!(said("label"), json!([["rack=7"], "file", 3]));
    assert_eq!(said("collector"), json!([["https://a", "https://b:1"], "variable", null]));
    assert_eq!(said("deadline"), json!(["30s", "default", null]));
    assert_eq!(said("seed"), json!([null, "default", null]));
    assert_eq!(said("strict"), json!(["false", "default", null]));
    assert_eq!(said("state-dir")[1], "flag");
    assert_eq!(of("rounds")["commands"], json!(["run", "daemon"]));
    assert_eq!(of("rounds")["variable"], "FLEETMARK_AGENT_ROUNDS");

    let table = set.asks(&agent(), &["config", "show"], &variables).stdout;
    assert!(table.starts_with("settings of fleetmark-agent; settings file: "), "{table}");
    let row = |key: &str| table.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
    let words: Vec<&str> = row("rounds ").split_whitespace().collect();
    assert_eq!(words, ["rounds", "22", "file,", "line", "2"], "{table}");
    let of_collector = set.asks(&collector(), &["config", "show", "-f", "csv"], &[]).stdout;
    assert!(of_collector.contains("\nstore,sqlite:fleetmark.db,default,"), "{of_collector}");
}

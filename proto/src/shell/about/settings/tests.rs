use std::path::PathBuf;

use clap::Parser;

use super::*;
use crate::shell::about::AboutCommand;

#[derive(Debug, Parser)]
#[command(name = "fleetmark-agent")]
struct Cli {
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[arg(long, global = true, default_value = "/state")]
    state_dir: PathBuf,
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    Run {
        #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
        #[arg(long)]
        strict: bool,
        #[arg(long)]
        label: Vec<String>,
        #[arg(long, value_delimiter = ',')]
        collector: Vec<String>,
        #[arg(long, default_value = "10m", requires = "rounds")]
        max_time: String,
    },
    Enroll {
        #[arg(long, default_value = "30s")]
        max_time: String,
    },
    #[command(flatten)]
    About(AboutCommand),
}

fn cli() -> Command {
    config::command::<Cli>("agent")
}

fn wrong(text: &str) -> Vec<(usize, String)> {
    let problems = problems(&cli(), "agent", text);
    problems.into_iter().map(|found| (found.line, found.problem)).collect()
}

#[test]
fn all_that_is_wrong_is_told_with_its_line() {
    let text = "\
rounds = 3
[agnet]
[agent]
ronds = 22
rounds = 0
strict = \"perhaps\"
label = [\"a\", {}]
max-time = [\"1m\"]
config = \"x\"
colour = 1
[collector]
anything = 1
";
    let says = [
        (1, "rounds must stand in the table [agent]"),
        (2, "[agnet] is not a table of fleetmark's; the nearest is agent"),
        (4, "no flag of fleetmark-agent is called ronds; the nearest is rounds"),
        (5, "invalid value '0' for '--rounds <ROUNDS>': 0 is not in 1.."),
        (6, "invalid value 'perhaps' for '--strict"),
        (7, "label must be a string, a number, true or false"),
        (8, "max-time has one value, and cannot be a list"),
        (9, "config is how this file is found"),
        (10, "no flag of fleetmark-agent is called colour"),
    ];
    let found = wrong(text);
    assert_eq!(found.len(), says.len(), "{found:#?}");
    for ((line, found), (expected, says)) in found.iter().zip(says) {
        assert_eq!(*line, expected, "{found}");
        assert!(found.starts_with(says) && !found.contains('\n'), "{found:?} is not {says:?}");
    }
    assert_eq!(found[8].1, "no flag of fleetmark-agent is called colour", "nothing is like it");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let found = wrong("[agent]\nrounds = 1\nrounds = 2\n");
    assert!(found.len() == 1 && found[0].0 == 3 && found[0].1.contains("duplicate"), "{found:?}");
    let found = wrong("[agent]\nrounds = \n");
    assert!(found.len() == 1 && found[0].0 == 2, "{found:?}");
    assert_eq!(
        wrong("agent = 3\ncollector = 4"),
        [(1, "agent must be a table".to_owned()), (2, "collector must be a table".to_owned()),]
    );
}

#[test]
fn nothing_is_wrong_with_what_runs() {
    let text =
        "[agent]\nrounds = 22\nstrict = true\nlabel = [\"a=1\", \"b=2\"]\nmax-time = \"1m\"\n";
    assert_eq!(wrong(text), []);
    assert_eq!(wrong("agent.rounds = 22"), []);
    assert_eq!(wrong(""), []);
}

/// What is set, by whom, on which line, and for which commands.
type Found = (Option<Set>, Source, Option<usize>, Vec<String>);

/// The settings with this key.
fn found(settings: &[Setting], key: &str) -> Vec<Found> {
    let of_key = settings.iter().filter(|setting| setting.key == key);
    of_key.map(|it| (it.value.clone(), it.source, it.line, it.commands.clone())).collect()
}

fn one(text: &str) -> Option<Set> {
    Some(Set::One(text.to_owned()))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_setting_is_told_with_who_set_it() {
    let text = "[agent]\n\nrounds = 22\nlabel = [\"a=1\", \"b=2\"]\nstrict = true\n";
    let variable = |name: &str| match name {
        "FLEETMARK_AGENT_ROUNDS" => Some("5".to_owned()),
        "FLEETMARK_AGENT_COLLECTOR" => Some("https://a,https://u:secret@b/".to_owned()),
        "FLEETMARK_AGENT_STATE_DIR" => Some("/var/x".to_owned()),
        _ => None,
    };
    let entries = entries(text, "agent");
    let typed = [("config", Some("/etc/f.toml".to_owned())), ("state-dir", Some("/var/x".into()))];
    let told = settings(&cli(), &entries, &typed, &variable);
    let keys: Vec<&str> = told.iter().map(|setting| setting.key.as_str()).collect();
    let all = ["collector", "config", "label", "max-time", "max-time", "rounds", "state-dir"];
    assert_eq!(keys, [&all[..], &["strict"]].concat());

    let run = names(&["run"]);
    let many = |texts: &[&str]| Some(Set::Many(names(texts)));
    let by = |key: &str| found(&told, key);
    let masked = many(&["https://a", "https://u:…@b/"]);
    assert_eq!(by("collector"), [(masked, Source::Variable, None, run.clone())]);
    assert_eq!(by("config"), [(one("/etc/f.toml"), Source::Flag, None, vec![])]);
    assert_eq!(by("label"), [(many(&["a=1", "b=2"]), Source::File, Some(4), run.clone())]);
    assert_eq!(by("rounds"), [(one("5"), Source::Variable, None, run.clone())]);
    assert_eq!(by("state-dir"), [(one("/var/x"), Source::Variable, None, vec![])]);
    assert_eq!(by("strict"), [(one("true"), Source::File, Some(5), run.clone())]);
    let both = [
        (one("10m"), Source::Default, None, run),
        (one("30s"), Source::Default, None, names(&["enroll"])),
    ];
    assert_eq!(by("max-time"), both);

    let typed = [("config", None), ("state-dir", Some("/state".to_owned()))];
    let told = settings(&cli(), &BTreeMap::new(), &typed, &|_| None);
    assert_eq!(found(&told, "state-dir"), [(one("/state"), Source::Default, None, vec![])]);
    assert_eq!(found(&told, "config"), [(None, Source::Default, None, vec![])]);
    assert_eq!(found(&told, "strict")[0].0, one("false"));
    assert_eq!(found(&told, "collector")[0].0, None);
}

#[test]
fn what_lets_somebody_in_is_not_shown() {
    let shown = |text: &str| masked(Set::One(text.to_owned()));
    for (text, says) in [
        ("fmb1_abc", "fmb1_…"),
        ("postgres://ann:p:w@db:5432/x", "postgres://ann:…@db:5432/x"),
        ("postgres://ann@db/x?a=b:c@d", "postgres://ann@db/x?a=b:c@d"),
        ("https://collector:7600", "https://collector:7600"),
        ("rack=7", "rack=7"),
    ] {
        assert_eq!(shown(text), Set::One(says.to_owned()));
    }
}

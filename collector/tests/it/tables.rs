//! Tables fit where they are read, and have colours where they are seen.

use crate::{
    simulated::Simulated,
    support::{collector, command, has, run, skip},
};

const KERNELS: [&str; 3] = ["compare", "kernel=6.1.0-40-amd64", "kernel=6.12.41-cloud-amd64"];

fn longest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

#[test]
fn tables_fit_eighty_columns_and_grow() {
    let simulated = Simulated::new();
    let commands: [&[&str]; 9] = [
        &["report"],
        &["report", "--by", "kernel,label.role"],
        &KERNELS,
        &["outliers"],
        &["history"],
        &["history", "--host", "web-07", "--scenario", "waiting", "--spawner", "thread"],
        &["host", "web-07"],
        &["profiles"],
        &["hosts"],
    ];
    for words in commands {
        let narrow = simulated.asks(words);
        assert!((1..=80).contains(&longest(&narrow.stdout)), "{words:?}: {}", narrow.stdout);
        let wide = run(command(&collector())
            .args(words)
            .args(["--store", &simulated.store])
            .env("COLUMNS", "200"));
        assert!(longest(&wide.stdout) <= 200, "{words:?}: {}", wide.stdout);
        assert!(wide.stdout.lines().count() <= narrow.stdout.lines().count(), "{words:?}");
    }
    let columns = |width: &str| {
        let done = run(command(&collector())
            .args(["report", "--store", &simulated.store])
            .env("COLUMNS", width));
        done.stdout.lines().find(|line| line.starts_with("spawner ")).unwrap().to_owned()
    };
    assert!(!columns("80").contains("confidence"), "a detail");
    assert!(columns("120").contains("confidence") && columns("120").contains("samples"));
}

#[test]
fn numbers_of_a_column_are_in_one_unit() {
    let simulated = Simulated::new();
    let report = simulated.asks(&["report", "--label", "role=web", "--scenario", "spawn-overhead"]);
    let cells: Vec<Vec<&str>> = report
        .stdout
        .lines()
        .skip_while(|line| !line.starts_with("spawner "))
        .skip(1)
        .take(4)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(cells.len(), 4, "{report:?}");
    for cell in &cells {
        assert_eq!(cell[2], "ms", "{cell:?}");
        assert_eq!(cell[1].rsplit_once('.').unwrap().1.len(), 3, "{cell:?}");
    }
    let value = |row: usize| cells[row][1].parse::<f64>().unwrap();
    assert!(value(0) > 100.0 * value(1), "{cells:?}");
}

#[test]
fn colours_are_for_who_asks() {
    let simulated = Simulated::new();
    let said = |words: &[&str]| simulated.asks(&[&KERNELS[..], words].concat()).stdout;
    let plain = said(&[]);
    assert!(!plain.contains('\u{1b}'), "a pipe: {plain}");
    let colored = said(&["--color", "always"]);
    assert!(colored.contains("\u{1b}[31m12% slower\u{1b}[0m"), "{colored}");
    let mut without = String::new();
    let mut parts = colored.split('\u{1b}');
    without.push_str(parts.next().unwrap());
    parts.for_each(|part| without.push_str(part.split_once('m').unwrap().1));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&without), words(&plain), "colours say nothing that words do not");
    let wrong = simulated.asks(&["report", "--color", "pink"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""), "{wrong:?}");
    for format in ["json", "csv", "markdown", "html"] {
        let told = said(&["--color", "always", "-f", format]);
        assert!(!told.contains('\u{1b}'), "{format} is for no terminal");
    }
}

/// What a command prints on a real terminal of this many columns.
fn on_terminal(store: &str, columns: u32, variables: &[(&str, &str)]) -> String {
    let words = KERNELS.join(" ");
    let line =
        format!("stty cols {columns} rows 40; {} {words} --store {store}", collector().display());
    let mut script = command("script".as_ref());
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    // Logs of CI show colours that its terminals do not know.
    script.env_remove("CI");
    let done = run(script.envs(variables.iter().copied()));
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout
}

#[test]
fn a_terminal_has_colours_and_its_own_width() {
    if !has("script") || !has("stty") {
        return skip("script or stty", true);
    }
    let simulated = Simulated::new();
    let seen = on_terminal(&simulated.store, 100, &[]);
    assert!(seen.contains("\u{1b}[31m12% slower"), "{seen}");
    for variables in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let seen = on_terminal(&simulated.store, 100, &variables);
        assert!(!seen.contains('\u{1b}'), "{variables:?}: {seen}");
        assert!((81..=100).contains(&longest(&seen)), "it is wider: {seen}");
    }
    let narrow = on_terminal(&simulated.store, 60, &[("NO_COLOR", "1")]);
    assert!(!narrow.contains("│"), "bars go first: {narrow}");
}

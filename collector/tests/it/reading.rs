//! Reading commands say the same beside the store and over the wire, and say what to do where they cannot.

use std::{fs, net::TcpListener};

use crate::support::{Done, Serving, TINY, agent, collector, command, run};

#[test]
fn commands_say_the_same_over_the_wire() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start(&store);
    for host in ["host-a", "host-b"] {
        let mut agent = command(&agent());
        agent.arg("run").args(TINY).args(["--host-id", host, "--collector", &serving.url]);
        agent.arg("--state-dir").arg(folder.path().join(host));
        assert_eq!(run(&mut agent).code, 0);
    }
    let asked = |words: &str, format: &str, place: [&str; 2]| {
        let words = words.split_whitespace();
        run(command(&collector()).args(words).args(place).args(["--format", format]))
    };
    let profile = asked("profiles", "json", ["--store", &store]).json()[0]["id"].clone();
    let profile = profile.as_str().unwrap();
    let commands = [
        ("report --include-suspect", vec!["table", "csv", "markdown"]),
        ("report --since 2030-01-01T00:00:00Z", vec!["table"]),
        ("report --since 1960-01-01T00:00:00Z --profile none", vec!["table"]),
        ("compare host=host-a host=host-b --include-suspect", vec!["table", "csv", "markdown"]),
        ("compare host=host-a host=none --include-suspect", vec!["table"]),
        ("advise --include-suspect", vec!["table", "csv", "markdown"]),
        ("advise --since 2030-01-01T00:00:00Z", vec!["table"]),
        ("profiles", vec!["table", "json"]),
        (&format!("profiles diff {profile} {profile}"), vec!["table", "json"]),
        ("profiles diff none none", vec!["table"]),
        ("hosts", vec!["table", "json", "csv"]),
        ("host host-a", vec!["table", "csv", "markdown"]),
        ("host none", vec!["table"]),
        ("outliers --include-suspect", vec!["table", "csv", "markdown"]),
        ("outliers --host none", vec!["table"]),
        ("history --include-suspect", vec!["table", "csv", "markdown"]),
        ("history --host host-a", vec!["table", "csv"]),
        ("history --host none", vec!["table"]),
        ("export", vec!["json", "csv", "table"]),
        ("export --reports", vec!["json", "csv"]),
        ("export --spawner tokio --host host-a", vec!["json", "csv"]),
        ("export --label rack=9", vec!["json", "csv"]),
    ];
    for (words, formats) in commands {
        for format in formats {
            let here = asked(words, format, ["--store", &store]);
            let there = asked(words, format, ["--server", &serving.url]);
            assert!(!here.stdout.is_empty() || here.code != 0, "{words}: {here:?}");
            let said = |done: Done| (done.code, done.stdout, done.stderr);
            assert_eq!(said(there), said(here), "{words} as {format}");
        }
    }
    let mut views = [["--store", &store], ["--server", &serving.url]]
        .map(|place| asked("report --include-suspect", "json", place).json());
    for view in &mut views {
        view["generated_at"].take();
        view["filter"]["since"].take();
    }
    assert_eq!(views[0], views[1]);
}

/// What a command says that cannot be done: its code and its line.
fn refused(words: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let done = run(command(&collector()).args(words).envs(variables.iter().copied()));
    assert_eq!(done.stdout, "");
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    (done.code, done.stderr)
}

#[test]
fn what_cannot_be_asked_is_told_in_a_line() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--server", &nobody], 1, "no collector answers at http://127.0.0.1:"),
        (&["--server", "unix:/nonexistent/collector.sock"], 1, "no collector answers at unix:"),
        (&["--server", "http://collector.example:7600"], 2, "plaintext needs --insecure"),
        (&["--server", "https://127.0.0.1:7600"], 2, "--tls-ca"),
        (&["--server", &nobody, "--tls-ca", "/nonexistent/ca.pem"], 2, "cannot read /nonexistent"),
        (&["--server", &nobody, "--tls-cert", "/nonexistent/cert.pem"], 2, "--tls-key"),
        (&["--server", &nobody, "--store", "sqlite:x.db"], 2, "cannot be used with"),
    ];
    for (words, code, says) in cases {
        let (found, line) = refused(&[&["hosts"], words].concat(), &[]);
        assert!(found == code && line.contains(says), "{words:?}: {found} {line}");
    }
}

#[test]
fn what_was_said_closer_at_hand_counts() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{free}");
    let store = ("FLEETMARK_COLLECTOR_STORE", "sqlite:/nonexistent/store.db");
    let server = ("FLEETMARK_COLLECTOR_SERVER", nobody.as_str());
    let (_, line) = refused(&["hosts", "--server", &nobody], &[store]);
    assert!(line.contains("no collector answers"), "{line}");
    let (_, line) = refused(&["hosts", "--store", store.1], &[server]);
    assert!(line.contains("there is no store"), "{line}");
    let (_, line) = refused(&["hosts"], &[server]);
    assert!(line.contains("no collector answers"), "{line}");
}

/// A collector that was set up, and the folder of its state.
fn set_up() -> (tempfile::TempDir, Serving) {
    let folder = tempfile::tempdir().unwrap();
    let state = ["--state-dir", folder.path().to_str().unwrap()];
    let init = run(command(&collector()).args(["init", "--name", "localhost"]).args(state));
    assert_eq!(init.code, 0, "{init:?}");
    let mut program = command(&collector());
    program.args(state);
    let store = format!("sqlite:{}", folder.path().join("fleet.db").display());
    let serving = Serving::start_as(program, &store);
    (folder, serving)
}

fn port(serving: &Serving) -> String {
    let rest = serving.url.rsplit(':').next().unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn operators_and_readers_ask_a_collector_that_was_set_up() {
    let (folder, serving) = set_up();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let socket = format!("unix:{}", path("collector/collector.sock"));
    let ask = |words: &[&str]| run(command(&collector()).args(words));
    let near = |words: &[&str]| ask(&[words, &["--server", &socket]].concat());

    let made = near(&["token", "create", "--note", "for hosts"]);
    assert_eq!((made.code, made.stdout.starts_with("fmj1_")), (0, true), "{made:?}");
    let reader = near(&["token", "create", "--role", "reader", "-f", "json"]).json();
    let operator = near(&["token", "create", "--role", "operator", "-f", "json"]).json();
    for (token, name) in [(&reader, "reader"), (&operator, "operator")] {
        fs::write(path(name), token["token"].as_str().unwrap()).unwrap();
    }
    let port = port(&serving);
    let url = format!("https://localhost:{port}");
    let authority = path("collector/authority/ca.pem");
    let far = |words: &[&str], role: &str| {
        let access = ["--server", &url, "--tls-ca", &authority, "--bearer-token-file", &path(role)];
        ask(&[words, &access].concat())
    };

    let listed = far(&["token", "list", "-f", "json"], "operator").json();
    assert_eq!(listed, near(&["token", "list", "-f", "json"]).json());
    assert_eq!(listed.as_array().unwrap().len(), 3);
    assert_eq!(far(&["hosts"], "reader").code, 5, "nobody has reported");
    let denied = far(&["token", "list"], "reader");
    assert_eq!(denied.code, 1);
    assert!(denied.stderr.contains("does not allow this: Control/Tokens is for the role operator"));
    let nobody = ask(&["hosts", "--server", &url, "--tls-ca", &authority]);
    assert_eq!((nobody.code, nobody.stderr.lines().count()), (1, 1), "{nobody:?}");
    assert!(nobody.stderr.contains("--bearer-token-file"), "{nobody:?}");

    let store = format!("sqlite:{}", path("fleet.db"));
    let simulate = ask(&["simulate", "--hosts", "1", "--weeks", "1", "--store", &store]);
    assert_eq!(simulate.code, 0, "{simulate:?}");
    let denied = far(&["hosts", "forget", "web-00", "--yes"], "reader");
    assert!(denied.stderr.contains("Control/ForgetHost is for the role operator"), "{denied:?}");
    let forgotten = far(&["hosts", "forget", "web-00", "--yes"], "operator");
    let says = "host web-00 is forgotten: 2 runs were removed\n";
    assert_eq!((forgotten.code, forgotten.stdout.as_str()), (0, says), "{forgotten:?}");
    let unknown = far(&["hosts", "forget", "web-00", "--yes"], "operator");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (5, ""), "{unknown:?}");
    assert!(unknown.stderr.contains("the nearest: "), "{unknown:?}");

    let id = reader["id"].as_str().unwrap();
    let revoked = far(&["token", "revoke", id, "-f", "json"], "operator").json();
    assert_eq!(revoked["changed"], true);
    let again = near(&["token", "revoke", id, "-f", "json"]).json();
    assert_eq!(again["changed"], false);
    let refused = far(&["hosts"], "reader");
    assert!(refused.stderr.contains("was revoked"), "{refused:?}");
    let unknown = far(&["token", "revoke", "0123456789ab"], "operator");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (5, ""), "{unknown:?}");
    assert!(unknown.stderr.starts_with("there is no "), "{unknown:?}");
    let others = far(&["agent", "revoke", "web-1"], "operator");
    assert_eq!((others.code, others.stderr.as_str()), (0, ""), "{others:?}");
    assert!(others.stdout.contains("web-1 was never enrolled here"), "{others:?}");
    let undone = far(&["agent", "revoke", "web-1", "--undo"], "operator");
    assert_eq!((undone.code, undone.stdout.as_str()), (0, "host web-1 is let in again\n"));
    let readers = far(&["agent", "revoke", "ann", "--role", "reader"], "operator");
    assert_eq!((readers.code, readers.stdout.as_str()), (0, "reader ann is revoked\n"));
    let trail = near(&["audit", "-f", "csv"]).stdout;
    let id = operator["id"].as_str().unwrap();
    assert!(trail.contains(&format!("operator {id}")), "{trail}");
}

#[test]
fn a_collector_that_cannot_be_believed_is_told_in_a_line() {
    let (_folder, serving) = set_up();
    let (other, _) = set_up();
    let port = port(&serving);
    let url = format!("https://localhost:{port}");
    let authority = other.path().join("collector/authority/ca.pem").display().to_string();
    let (code, line) = refused(&["hosts", "--server", &url, "--tls-ca", &authority], &[]);
    assert!(code == 1 && line.contains("no authority signed"), "{line}");
    let plain = format!("http://localhost:{port}");
    let (code, line) = refused(&["hosts", "--server", &plain], &[]);
    assert!(code == 1 && line.contains("https:"), "{line}");
}

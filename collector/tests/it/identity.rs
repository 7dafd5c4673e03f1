//! From nothing to a collector that asks who calls, as an operator does it; and what those hear who are not known.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Done, Serving, TINY, agent, collector, command, run};

/// A folder for the collector's state and one for an agent's.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn collector(&self, words: &[&str]) -> Done {
        run(command(&collector()).args(words).arg("--state-dir").arg(self.state()))
    }

    fn agent(&self, words: &[&str]) -> Done {
        run(command(&agent()).args(words).arg("--state-dir").arg(self.0.path().join("agent")))
    }

    fn state(&self) -> std::path::PathBuf {
        self.0.path().join("state")
    }

    fn init(&self) -> Done {
        self.collector(&["init", "--name", "localhost"])
    }

    /// Serves on a free port, with a store in the state folder.
    fn serve(&self) -> Serving {
        let mut program = command(&collector());
        program.env("FLEETMARK_COLLECTOR_STATE_DIR", self.state());
        Serving::start_as(program, &self.store())
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.state().join("collector/fleetmark.db").display())
    }

    /// A token to join with at this collector.
    fn token(&self, serving: &Serving) -> String {
        let endpoint = endpoint(serving);
        let done = self.collector(&["token", "create", "--endpoint", &endpoint]);
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout.trim().to_owned()
    }
}

fn endpoint(serving: &Serving) -> String {
    serving.url.replace("http://127.0.0.1", "https://localhost")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_what_serve_and_token_read_and_overwrites_nothing() {
    let place = Place::new();
    let done = place.init();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for says in [
        "a certificate for localhost",
        "reach this collector at https://localhost:7600",
        "fleetmark-collector serve --state-dir",
        "fleetmark-collector token create --state-dir",
        "fleetmark-agent enroll --token-file FILE",
    ] {
        assert!(done.stdout.contains(says), "{says}: {done:?}");
    }
    let settings = fs::read_to_string(place.state().join("fleetmark.toml")).unwrap();
    assert_eq!(
        settings,
        format!(
            "[collector]\nlisten = [\"0.0.0.0:7600\"]\nendpoint = \"https://localhost:7600\"\nstore = \"{}\"\n",
            place.store()
        )
    );
    let authority = place.state().join("collector").join("authority");
    assert_eq!(mode(&authority), 0o700);
    assert_eq!(
        (mode(&authority.join("ca.key")), mode(&authority.join("server.key"))),
        (0o600, 0o600)
    );

    let key = fs::read(authority.join("ca.key")).unwrap();
    let again = place.init();
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("is there already; it is not overwritten"), "{again:?}");
    assert_eq!(fs::read(authority.join("ca.key")).unwrap(), key);
}

#[test]
fn tokens_can_be_made_and_reports_read_before_anything_is_served() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let token = place.collector(&["token", "create"]);
    assert_eq!(token.code, 0, "{token:?}");
    let report = place.collector(&["report"]);
    assert_eq!(
        (report.code, report.stderr.as_str()),
        (5, "nothing matches; the store holds no runs yet\n"),
        "{report:?}"
    );
    let store = place.state().join("collector").join("fleetmark.db");
    let serving = place.serve();
    let enrolled = place.agent(&["enroll", &place.token(&serving), "--host-id", "web-1"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    for file in ["fleetmark.db", "fleetmark.db-wal", "fleetmark.db-shm"] {
        assert_eq!(mode(&store.with_file_name(file)), 0o600, "{file}");
    }
}

#[test]
fn a_collector_whose_authority_is_gone_does_not_trust_everybody() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let authority = place.state().join("collector").join("authority");
    let aside = authority.with_extension("aside");
    fs::rename(&authority, &aside).unwrap();
    for words in [&["serve"][..], &["serve", "--listen", "127.0.0.1:0"], &["serve", "--insecure"]] {
        let done = place.collector(words);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains("put that folder back, or make a new one"), "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    fs::rename(&aside, &authority).unwrap();
    place.serve().stop(Signal::TERM);
    fs::remove_dir_all(&authority).unwrap();
    assert_eq!(place.init().code, 0, "its settings are the same");
    place.serve().stop(Signal::TERM);
}

#[test]
fn init_says_what_was_in_use_and_leaves_modes_as_they_are() {
    let place = Place::new();
    fs::create_dir_all(place.state().join("collector")).unwrap();
    let settings = place.state().join("fleetmark.toml");
    fs::write(&settings, "[agent]\nrounds = 22\n").unwrap();
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(place.state().join("collector"), fs::Permissions::from_mode(0o755))
        .unwrap();
    let old = place.0.path().join("fleetmark.db");
    let serving = Serving::start(&format!("sqlite:{}", old.display()));
    let address = serving.url.strip_prefix("http://").unwrap();
    let mut init = command(&collector());
    init.args(["init", "--name", "localhost", "--listen", address, "--state-dir"]);
    let done = run(init.arg(place.state()).current_dir(place.0.path()));
    assert_eq!(done.code, 0, "{done:?}");
    let restart = format!("Somebody listens at {address} already");
    assert!(done.stdout.contains(&restart), "{done:?}");
    let left = format!("What was stored before stays in {}", old.display());
    assert!(done.stdout.contains(&left), "{done:?}");
    assert_eq!(mode(&settings), 0o600);
    assert_eq!(mode(&place.state().join("collector")), 0o700);
}

#[test]
fn what_cannot_be_set_up_is_told_in_a_line() {
    for (words, settings, says) in [
        (&["init", "--name", "a b"][..], "", "must be a host's name or address"),
        (&["init", "--name", "a", "--endpoint", "https://b"], "", "no certificate would be for b"),
        (&["init", "--name", "a", "--endpoint", "http://a"], "", "must be an https URL"),
        (
            &["init", "--name", "a"],
            "[collector]\nendpoint = \"https://b:1\"\n",
            "give it as --name too",
        ),
        (
            &["init", "--name", "a"],
            "[collector]\nlisten = \"127.0.0.1:1\"\nendpoint = \"https://a:2\"\n",
            "",
        ),
        (
            &["init", "--name", "a", "--listen", "0.0.0.0:2"],
            "[collector]\nlisten = \"127.0.0.1:1\"\n",
            "has listen = \"127.0.0.1:1\" already; init does not overwrite it",
        ),
        (&["serve", "--tls-ca", "x"], "", "there is no certificate to show"),
        (&["serve", "--tls-cert", "x"], "", "--tls-key"),
    ] {
        let place = Place::new();
        if !settings.is_empty() {
            fs::create_dir_all(place.state()).unwrap();
            fs::write(place.state().join("fleetmark.toml"), settings).unwrap();
        }
        let done = place.collector(words);
        let authority = place.state().join("collector").join("authority");
        if says.is_empty() {
            assert_eq!(done.code, 0, "{words:?}: {done:?}");
            continue;
        }
        assert_eq!(done.code, 2, "{words:?}: {done:?}");
        assert!(done.stderr.contains(says), "{words:?}: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        assert!(!authority.exists(), "nothing is half done");
    }
}

#[test]
fn from_nothing_to_a_report_in_six_commands() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let serving = place.serve();
    let limits = format!("/proc/{}/limits", serving.pid().as_raw_nonzero());
    let limits = fs::read_to_string(limits).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().next(), Some("0"), "its memory is in no core dump");
    let token = place.token(&serving);
    let enrolled = place.agent(&["enroll", &token, "--host-id", "web-1"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    let ran = place.agent(&[&["run"], &TINY[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let hosts = place.collector(&["hosts", "-f", "json"]).json();
    assert_eq!(hosts[0]["id"], "web-1", "{hosts}");
    // Beside the collector, its socket is enough.
    let socket = place.state().join("collector").join("collector.sock");
    assert_eq!(mode(&socket), 0o600);
    let server = format!("unix:{}", socket.display());
    let near = place.collector(&["hosts", "-f", "json", "--server", &server]).json();
    assert_eq!(near, hosts);
    let (status, log) = serving.stop(Signal::TERM);
    assert!(status.success());
    let log = log.join("\n");
    assert!(log.contains("agent web-1 joined from 127.0.0.1"), "{log}");
    assert!(!log.contains(&token), "{log}");
    assert!(!socket.exists());
}

#[test]
fn who_is_not_known_is_told_and_who_speaks_plaintext_gets_nothing() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let serving = place.serve();
    let words = [&["run", "--collector", &serving.url], &TINY[..]].concat();
    let plain = place.agent(&words);
    assert!(plain.stderr.contains("not delivered"), "{plain:?}");
    for words in
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    {
        let mut socket = TcpStream::connect(serving.url.strip_prefix("http://").unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.write_all(words).unwrap();
        let mut said = Vec::new();
        // It ends within that time, without a byte.
        assert_eq!(socket.read_to_end(&mut said).unwrap(), 0, "{said:?}");
    }
    let ca = place.state().join("collector/authority/ca.pem");
    let ca = ca.to_str().unwrap();
    let unknown = place.collector(&["hosts", "--server", &endpoint(&serving), "--tls-ca", ca]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stderr.contains("this call needs a certificate"), "{unknown:?}");
    let (_, log) = serving.stop(Signal::TERM);
    let log = log.join("\n");
    assert!(log.contains("it speaks plaintext, and this address takes TLS only"), "{log}");
    assert!(log.contains("refused somebody at 127.0.0.1: Query/Runs: this call needs"), "{log}");
    assert!(log.contains("calls without leave: 1"), "{log}");
}

#[test]
fn an_agent_behind_a_proxy_that_ends_tls_reports_by_a_token_for_its_host_alone() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let mut program = command(&collector());
    program.env("FLEETMARK_COLLECTOR_STATE_DIR", place.state());
    program.env("FLEETMARK_COLLECTOR_INSECURE", "true");
    // What the proxy speaks to; the proxy itself changes nothing that either side sees.
    let serving = Serving::start_as(program, &place.store());
    let file = place.0.path().join("token");
    let path = file.to_str().unwrap();
    let made = place.collector(&["token", "create", "--host", "web-1", "--output", path]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(mode(&file), 0o600);
    let run = |host: &str, token: &[&str]| {
        let words = ["run", "--collector", &serving.url, "--host-id", host];
        place.agent(&[&words, &TINY[..], token].concat())
    };
    let token = ["--bearer-token-file", path];
    let ran = run("web-1", &token);
    assert!(ran.stderr.contains(": stored by the collector at http://"), "{ran:?}");
    let other = run("web-2", &token);
    assert!(other.stderr.contains("host.id is not web-1, the host of this token"), "{other:?}");
    let without = run("web-1", &[]);
    assert!(without.stderr.contains("answers: this call needs a certificate"), "{without:?}");
    let hosts = place.collector(&["hosts", "-f", "json"]).json();
    assert_eq!((hosts.as_array().unwrap().len(), &hosts[0]["id"]), (1, &"web-1".into()));
    let read = ["hosts", "--server", &serving.url];
    let refused = place.collector(&[&read[..], &token].concat());
    assert_eq!(refused.code, 1, "it is no reader's: {refused:?}");

    assert_eq!(place.collector(&["agent", "revoke", "web-1"]).code, 0);
    let server = format!("unix:{}", place.state().join("collector/collector.sock").display());
    let told = place.collector(&["agent", "revoke", "web-1", "--server", &server]);
    assert_eq!((told.code, told.stdout.as_str()), (0, "host web-1 was revoked before\n"));
    let revoked = run("web-1", &token);
    assert!(revoked.stderr.contains("unknown here, or was revoked"), "{revoked:?}");
}

#[test]
fn local_needs_no_credentials_on_a_host_that_was_set_up() {
    let place = Place::new();
    assert_eq!(place.init().code, 0);
    let done = place.collector(&[&["local", "-f", "json", "--host-id", "me"], &TINY[..]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.json()["profiles"][0]["hosts"], 1);
}

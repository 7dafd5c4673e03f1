//! What operators type: tokens, hosts that joined, and the audit trail; each in every form, with every ending.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use fleetmark_collector::{
    authority::Authority,
    identity::Address,
    registry::{AuditEntry, Event, Joining, KnownAgent, Refused, Registry},
    store::{self, Mode, StoreUrl},
};
use fleetmark_proto::{
    id::Digest,
    token::{BearerToken, JoinToken},
};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{Done, Serving, collector, command, run};

const ENDPOINT: &str = "https://collector.example:7600";

/// A collector's folder with an authority and an empty store, as `init` and `serve` leave them.
struct Place {
    folder: TempDir,
    runtime: Runtime,
    registry: Arc<dyn Registry>,
    pin: Digest,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::make(&[], Timestamp::now()).unwrap();
    authority.save(&folder.path().join("collector").join("authority")).unwrap();
    let settings = format!("[collector]\nendpoint = \"{ENDPOINT}\"\n");
    fs::write(folder.path().join("fleetmark.toml"), settings).unwrap();
    let runtime = Runtime::new().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("fleetmark.db"));
    let (_, registry) = runtime.block_on(store::open_both(&url, Mode::Write)).unwrap();
    Place { folder, runtime, registry, pin: authority.pin() }
}

/// Runs the collector with these words, in this folder.
fn run_in(folder: &Path, words: &[&str]) -> Done {
    run(command(&collector()).args(words).arg("--state-dir").arg(folder).current_dir(folder))
}

impl Place {
    fn run(&self, words: &[&str]) -> Done {
        run_in(self.folder.path(), words)
    }

    /// Makes a token with these flags, as it is typed.
    fn token(&self, flags: &[&str]) -> String {
        let done = self.run(&[&["token", "create"], flags].concat());
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    }

    /// Lets a host join with a token.
    fn join(&self, token: &str, host_id: &str) {
        self.joining(token, host_id).unwrap();
    }

    /// Has a host ask whether it may join with a token.
    fn joining(&self, token: &str, host_id: &str) -> Result<KnownAgent, Refused> {
        let token: JoinToken = token.parse().unwrap();
        let now = Timestamp::now();
        let joining = Joining {
            token: token.secret.digest(),
            host_id: host_id.parse().unwrap(),
            host_name: format!("{host_id}.example"),
            key: Digest::of(host_id.as_bytes()),
            address: Address::Ip("192.0.2.7".parse().unwrap()),
            now,
            ends_at: now + Duration::from_secs(86_400),
        };
        self.runtime.block_on(self.registry.join(joining)).unwrap()
    }

    fn events(&self) -> Vec<String> {
        let lines = self.run(&["audit", "-f", "json"]).json();
        let lines = lines.as_array().unwrap();
        lines.iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_token_is_one_line_that_leads_to_the_collector() {
    let place = place();
    let done = place.run(&["token", "create"]);
    assert_eq!((done.code, done.stdout.lines().count()), (0, 1), "{done:?}");
    assert!(done.stderr.contains("fleetmark-agent enroll --token-file -"), "{done:?}");
    let token: JoinToken = done.stdout.parse().unwrap();
    assert_eq!(
        (token.endpoint.as_str(), token.pin),
        ("https://collector.example:7600/", place.pin)
    );
    let elsewhere = place.token(&["--endpoint", "https://other.example"]);
    let elsewhere: JoinToken = elsewhere.parse().unwrap();
    assert_eq!(elsewhere.endpoint.as_str(), "https://other.example:7600/");

    let bearer = place.run(&["token", "create", "--role", "reader", "-f", "json"]).json();
    let token: BearerToken = bearer["token"].as_str().unwrap().parse().unwrap();
    assert_eq!((&bearer["role"], &bearer["uses"]), (&"reader".into(), &0.into()));
    let time = |field: &str| bearer[field].as_str().unwrap().parse::<Timestamp>().unwrap();
    let lives = time("ends_at").duration_since(time("created_at"));
    assert_eq!(lives.as_secs(), 90 * 86_400);
    let standing = place.runtime.block_on(place.registry.standing()).unwrap();
    assert!(standing.bearers.contains_key(&token.secret.digest()));
    let file = place.folder.path().join("token");
    fs::write(&file, "readable to all").unwrap();
    assert_eq!(place.token(&["--output", file.to_str().unwrap()]), "");
    assert!(fs::read_to_string(&file).unwrap().starts_with("fmj1_"));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a file with a secret is for its owner alone");
    let csv = place.token(&["-f", "csv"]);
    assert!(csv.starts_with("token,id,role,ends_at\nfmj1_"), "{csv}");
    assert!(place.token(&["-f", "markdown"]).starts_with("| token "));
    assert_eq!(place.events(), ["token-created"; 6]);
}

#[test]
fn a_token_is_kept_as_it_was_asked_for_and_its_secret_is_not() {
    let place = place();
    let words = "--uses 1 --ttl 30d --label rack=7 --label env=prod --replace-host web-1 \
                 --network 10.2.0.0/16 --note autoscaling";
    let token = place.token(&words.split_whitespace().collect::<Vec<_>>());
    let list = place.run(&["token", "list", "-f", "json"]).json();
    let [kept] = &list.as_array().unwrap()[..] else { panic!("one token: {list}") };
    for (field, value) in [
        ("role", Value::from("agent")),
        ("state", "open".into()),
        ("uses", 1.into()),
        ("used", 0.into()),
        ("labels", serde_json::json!({ "rack": "7", "env": "prod" })),
        ("replace_host", "web-1".into()),
        ("network", "10.2.0.0/16".into()),
        ("note", "autoscaling".into()),
        ("revoked_at", Value::Null),
    ] {
        assert_eq!(kept[field], value, "{field}");
    }
    let token: JoinToken = token.parse().unwrap();
    let secret = token.secret.expose();
    for name in ["fleetmark.db", "fleetmark.db-wal"] {
        let bytes = fs::read(place.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(32).any(|window| window == secret), "{name} holds the secret");
    }
    for (words, starts) in [
        (&["token", "list"][..], "id"),
        (&["token", "list", "-f", "csv"], "id,role,state,used,uses,created_at,ends_at,"),
        (&["token", "list", "-f", "markdown"], "| id"),
    ] {
        let done = place.run(words);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.stdout.trim_start().starts_with(starts), "{words:?}: {done:?}");
        assert!(done.stdout.contains("autoscaling"), "{words:?}: {done:?}");
    }
}

#[test]
fn hosts_that_joined_are_listed_and_revoked() {
    let place = place();
    place.join(&place.token(&["--label", "rack=7"]), "web-1");
    let list = place.run(&["agent", "list", "-f", "json"]).json();
    assert_eq!((&list[0]["host_id"], &list[0]["state"]), (&"web-1".into(), &"valid".into()));
    assert_eq!(
        (&list[0]["address"], &list[0]["labels"]["rack"]),
        (&"192.0.2.7".into(), &"7".into())
    );
    assert_eq!(list[0].get("key"), None);
    for (words, starts) in [
        (&["agent", "list"][..], "host_id"),
        (&["agent", "list", "-f", "csv"], "host_id,host_name,state,enrolled_at,address,token_id,"),
        (&["agent", "list", "-f", "markdown"], "| host_id"),
    ] {
        let done = place.run(words);
        assert!(done.stdout.trim_start().starts_with(starts), "{words:?}: {done:?}");
        assert!(done.stdout.contains("web-1.example"), "{words:?}: {done:?}");
    }

    let done = place.run(&["agent", "revoke", "web-1"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "host web-1 is revoked\n"), "{done:?}");
    let done = place.run(&["agent", "revoke", "web-1"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "host web-1 was revoked before\n"));
    let again = place.run(&["agent", "revoke", "web-1", "-f", "json"]).json();
    let told =
        serde_json::json!({ "what": "host", "id": "web-1", "changed": false, "state": "revoked" });
    assert_eq!(again, told);
    let csv = place.run(&["agent", "revoke", "web-1", "-f", "csv"]).stdout;
    assert_eq!(csv, "what,id,changed,state\nhost,web-1,false,revoked\n");
    assert!(place.run(&["agent", "revoke", "web-1", "-f", "markdown"]).stdout.contains("| what"));
    let list = place.run(&["agent", "list", "-f", "json"]).json();
    assert_eq!(list[0]["state"], "revoked");
    assert_eq!(list.as_array().unwrap().len(), 1, "a host has one row");
    let done = place.run(&["agent", "revoke", "web-1", "--undo"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "host web-1 is let in again\n"));
    assert_eq!(place.run(&["agent", "list", "-f", "json"]).json()[0]["state"], "valid");
    let events = ["token-created", "enrolled", "agent-revoked", "agent-restored"];
    assert_eq!(place.events(), events);
}

#[test]
fn whom_another_authority_names_is_revoked_listed_and_let_in_again() {
    let place = place();
    for (words, says) in [
        (
            &["web-9"][..],
            "host web-9 was never enrolled here; its certificates of other authorities are refused from now on",
        ),
        (&["web-9"], "host web-9 was revoked before"),
        (&["ann", "--role", "reader"], "reader ann is revoked"),
        (&["ann", "--role", "operator", "--undo"], "operator ann is not revoked"),
    ] {
        let done = place.run(&[&["agent", "revoke"], words].concat());
        assert_eq!((done.code, done.stdout), (0, format!("{says}\n")), "{words:?}");
        let is_warned =
            done.warnings.contains("no host web-9 is known here; `fleetmark-collector agent list`");
        assert_eq!(is_warned, says.contains("never enrolled"), "{}", done.warnings);
    }
    let of_a_token = place.run(&["agent", "revoke", "0123456789ab", "--role", "reader"]);
    assert!(
        of_a_token.warnings.contains("`fleetmark-collector token revoke 0123456789ab`"),
        "{of_a_token:?}"
    );
    assert_eq!(
        place.run(&["agent", "revoke", "0123456789ab", "--role", "reader", "--undo"]).code,
        0
    );
    let csv = place.run(&["agent", "list", "-f", "csv"]).stdout;
    let rows: Vec<_> = csv.lines().skip(1).collect();
    assert_eq!(rows, ["web-9,,revoked,,,,,,,agent,others", "ann,,revoked,,,,,,,reader,others"]);
    let list = place.run(&["agent", "list", "-f", "json"]).json();
    assert_eq!((&list[1]["role"], &list[1]["enrolled_at"]), (&"reader".into(), &Value::Null));
    assert!(list[1]["revoked_at"].is_string(), "{list}");

    let token = place.token(&["--uses", "9"]);
    let refused = place.joining(&token, "web-9").unwrap_err();
    assert!(refused.to_string().contains("host web-9 was revoked"), "{refused}");
    let json = place.run(&["agent", "revoke", "web-9", "--undo", "-f", "json"]).json();
    assert_eq!((&json["state"], &json["changed"]), (&"restored".into(), &true.into()));
    place.join(&token, "web-9");
    let events = [
        "agent-revoked",
        "agent-revoked",
        "agent-revoked",
        "agent-restored",
        "token-created",
        "agent-restored",
        "enrolled",
    ];
    assert_eq!(place.events(), events);
}

#[test]
fn a_token_for_an_agent_behind_a_proxy_names_its_host() {
    let place = place();
    let done = place.run(&["token", "create", "--role", "agent", "--host", "web-1"]);
    assert_eq!(done.code, 0, "{done:?}");
    done.stdout.parse::<BearerToken>().unwrap();
    let says = "on the host: give it as --bearer-token-file, with --host-id web-1";
    assert!(done.stderr.contains(says), "{done:?}");
    let list = place.run(&["token", "list", "-f", "json"]).json();
    assert_eq!(
        (&list[0]["role"], &list[0]["host"], &list[0]["state"]),
        (&"agent".into(), &"web-1".into(), &"open".into())
    );
    assert!(place.run(&["token", "list", "-f", "csv"]).stdout.ends_with(",web-1\n"));
    assert_eq!(place.run(&["agent", "revoke", "web-1"]).stdout, "host web-1 is revoked\n");
    assert_eq!(place.run(&["token", "list", "-f", "json"]).json()[0]["state"], "revoked");
}

#[test]
fn tokens_are_revoked_by_their_ids() {
    let place = place();
    place.token(&[]);
    let list = place.run(&["token", "list", "-f", "json"]).json();
    let id = list[0]["id"].as_str().unwrap();
    let done = place.run(&["token", "revoke", id]);
    assert_eq!((done.code, done.stdout), (0, format!("token {id} is revoked\n")));
    let done = place.run(&["token", "revoke", id]);
    assert_eq!((done.code, done.stdout), (0, format!("token {id} was revoked before\n")));
    let done = place.run(&["token", "revoke", "0123456789ab"]);
    assert_eq!((done.code, done.stderr.as_str()), (5, "there is no token 0123456789ab\n"));
    assert_eq!(place.run(&["token", "list", "-f", "json"]).json()[0]["state"], "revoked");
    assert_eq!(place.events(), ["token-created", "token-revoked"]);
}

#[test]
fn the_audit_trail_is_printed_and_old_lines_of_it_are_pruned() {
    let place = place();
    let old = AuditEntry {
        at: Timestamp::now() - Duration::from_secs(100 * 86_400),
        event: Event::Refused,
        who: "agent web-9".into(),
        address: "203.0.113.9".into(),
        detail: "this token was revoked".into(),
    };
    place.runtime.block_on(place.registry.record(old)).unwrap();
    place.token(&[]);
    let me = format!("user {}", rustix::process::geteuid().as_raw());
    let lines = place.run(&["audit", "-f", "json"]).json();
    assert_eq!(lines[0]["who"], "agent web-9");
    assert_eq!((&lines[1]["who"], &lines[1]["address"]), (&me.into(), &"here".into()));
    for (words, starts) in [
        (&["audit"][..], "at"),
        (&["audit", "-f", "csv"], "at,event,who,address,detail\n"),
        (&["audit", "-f", "markdown"], "| at"),
    ] {
        let done = place.run(words);
        assert!(done.stdout.trim_start().starts_with(starts), "{words:?}: {done:?}");
        assert!(done.stdout.contains("203.0.113.9"), "{words:?}: {done:?}");
    }
    let help = place.run(&["audit", "--help"]).stdout;
    for event in Event::ALL {
        assert!(help.contains(event.as_str()), "{event}");
    }
    let newer = place.run(&["audit", "--since", "1h", "-f", "json"]).json();
    assert_eq!(newer.as_array().unwrap().len(), 1);
    let none = place.run(&["audit", "--since", "2999-01-01T00:00:00Z"]);
    assert_eq!((none.code, none.stderr.as_str()), (5, "nothing matches\n"));

    let told = place.run(&["prune", "--keep", "90d", "--dry-run", "-f", "json"]).json();
    assert_eq!((&told["removed"]["audit"], place.events().len()), (&1.into(), 2));
    let told = place.run(&["prune", "--keep", "90d", "-f", "json"]).json();
    assert_eq!(told["removed"]["audit"], 1);
    assert_eq!(place.events(), ["token-created", "pruned"], "that lines went is told itself");
    place.run(&["prune", "--keep", "90d"]);
    assert_eq!(place.events().len(), 2, "nothing went");
    assert_eq!(place.run(&["token", "list", "-f", "json"]).json().as_array().unwrap().len(), 1);
}

#[test]
fn operators_are_refused_what_cannot_be() {
    let place = place();
    for (words, code, says) in [
        (&["token", "create", "--uses", "0"][..], 2, "--uses: must be 1 to 100000"),
        (&["token", "create", "--role", "reader", "--uses", "2"], 2, "--uses: is only for tokens"),
        (&["token", "create", "--role", "reader", "--label", "a=b"], 2, "--label: is only for"),
        (
            &["token", "create", "--role", "operator", "--replace-host", "web-1"],
            2,
            "--replace-host: is only for tokens that hosts join with",
        ),
        (
            &["token", "create", "--replace-host", "web-1", "--uses", "2"],
            2,
            "--uses: must be 1 for a token that replaces one host",
        ),
        (&["token", "create", "--label", "a=b", "--label", "a=c"], 2, "--label: a is there twice"),
        (
            &["token", "create", "--role", "reader", "--host", "a"],
            2,
            "--host: is only for tokens of",
        ),
        (&["token", "create", "--host", "a", "--uses", "1"], 2, "--uses: is only for tokens that"),
        (&["token", "create", "--role", "root"], 2, "invalid value 'root'"),
        (&["token", "create", "--ttl", "10ms"], 2, "--ttl: must be 1s to 10 years"),
        (&["token", "create", "--network", "10.2/16"], 2, "such as 10.2.0.0/16"),
        (&["token", "create", "--replace-host", "a b"], 2, "must be 1 to 128 letters"),
        (&["token", "create", "--endpoint", "http://x"], 2, "it must be a short https URL"),
        (&["token", "create", "--note", "two\nlines"], 2, "--note: has control characters"),
        (&["token", "revoke", "web-1"], 2, "must be 12 hexadecimal digits"),
        (&["token", "revoke"], 2, "<ID>"),
        (&["token"], 2, "requires a subcommand"),
        (&["agent"], 2, "requires a subcommand"),
        (&["agent", "revoke", "a b"], 2, "must be 1 to 128 letters"),
        (&["audit", "--since", "yesterday"], 2, "must be a duration such as 30d"),
    ] {
        let done = place.run(words);
        assert_eq!(done.code, code, "{words:?} {done:?}");
        assert!(done.stderr.contains(says), "{words:?}: expected {says:?}: {done:?}");
        assert_eq!((done.stderr.lines().count(), done.stdout.as_str()), (1, ""), "{done:?}");
    }
    assert_eq!(place.run(&["token", "list"]).code, 5);
    assert_eq!(place.run(&["agent", "list"]).code, 5);
    assert_eq!(place.run(&["audit"]).code, 5, "nothing was done");
    let empty = place.run(&["token", "list", "-f", "json"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (5, "[]\n"));
}

#[test]
fn what_is_not_there_is_not_made_by_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = ["--endpoint", ENDPOINT];
    let create = |flags: &[&str]| run_in(folder.path(), &[&["token", "create"], flags].concat());
    let done = create(&endpoint);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("fleetmark-collector init"), "{done:?}");
    let authority = Authority::make(&[], Timestamp::now()).unwrap();
    authority.save(&folder.path().join("collector").join("authority")).unwrap();
    for words in [
        &["token", "create", "--endpoint", ENDPOINT][..],
        &["token", "create", "--role", "reader"],
        &["token", "list"],
        &["token", "revoke", "0123456789ab"],
        &["agent", "list"],
        &["agent", "revoke", "web-1"],
        &["audit"],
    ] {
        let done = run_in(folder.path(), words);
        assert_eq!(done.code, 1, "{words:?} {done:?}");
        assert!(done.stderr.contains("there is no store at"), "{words:?} {done:?}");
    }
    assert!(!folder.path().join("fleetmark.db").exists());
    let store = StoreUrl::Sqlite(folder.path().join("fleetmark.db"));
    let runtime = Runtime::new().unwrap();
    drop(runtime.block_on(store::open_both(&store, Mode::Write)).unwrap());
    let done = create(&[]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.stderr.contains("give it as --endpoint"), "{done:?}");
    assert_eq!(create(&["--role", "reader"]).code, 0, "readers need no endpoint");
}

#[test]
fn lists_say_the_same_over_the_wire_to_an_operator_and_nothing_to_others() {
    let place = place();
    for host in ["web-1", "web-2"] {
        place.join(&place.token(&["--label", "rack=7", "--note", "for two"]), host);
    }
    assert_eq!(place.run(&["agent", "revoke", "web-2"]).code, 0);
    place.token(&["--host", "web-3"]);
    assert_eq!(place.run(&["agent", "revoke", "ann", "--role", "reader"]).code, 0);
    let socket = place.folder.path().join("socket");
    let mut program = command(&collector());
    program.env("FLEETMARK_COLLECTOR_SOCKET", &socket);
    program.arg("--state-dir").arg(place.folder.path().join("elsewhere"));
    let store = format!("sqlite:{}", place.folder.path().join("fleetmark.db").display());
    let serving = Serving::start_as(program, &store);
    let server = format!("unix:{}", socket.display());
    let lists =
        [&["token", "list"][..], &["agent", "list"], &["audit"], &["audit", "--since", "1h"]];
    for words in lists {
        for format in ["table", "json", "csv", "markdown"] {
            let ask = |place_words: [&str; 2]| {
                let done = place.run(&[words, &place_words, &["-f", format]].concat());
                (done.code, done.stdout, done.stderr)
            };
            let here = ask(["--store", &store]);
            assert_eq!((here.0, here.1.is_empty()), (0, false), "{words:?}: {here:?}");
            assert_eq!(ask(["--server", &server]), here, "{words:?} as {format}");
        }
    }
    // Who is refused is in the audit trail too, a moment later; so this comes last.
    for words in lists {
        let done = place.run(&[words, &["--server", &serving.url]].concat());
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "loopback is no operator");
        assert!(done.stderr.contains("does not allow this"), "{done:?}");
    }
}

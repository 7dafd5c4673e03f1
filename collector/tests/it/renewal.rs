//! A certificate that has to be renewed while its host measures: the run knows nothing of it, and its report is delivered under
//! the next one.

use std::{
    fs,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use fleetmark_agent::credentials::{Credentials, Folder};
use fleetmark_proto::role::{Role, Subject};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    SanType,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    daemon::{Daemon, measuring_child},
    joining::{Fleet, program},
    support::{agent, command},
};

/// One unit that sleeps for a second, so a run takes a second a round, however busy this host is.
const SECONDS: [&str; 8] =
    ["--scenario", "waiting", "--spawner", "thread", "--wait-units", "1", "--wait", "1s"];

fn kept(fleet: &Fleet, host: &str) -> Credentials {
    Folder::of(&fleet.state(host)).read().unwrap().unwrap()
}

/// A host that has joined, whose certificate began so long ago and ends so soon.
fn joined(host: &str, ago: SignedDuration, left: SignedDuration) -> Fleet {
    let fleet = Fleet::new();
    let joined = fleet.enroll(host, &fleet.token(&[]), &["--host-id", host]);
    assert_eq!(joined.code, 0, "{joined:?}");
    let mut credentials = kept(&fleet, host);
    let authority = fleet.folder.path().join("home/collector/authority");
    let read = |file| fs::read_to_string(authority.join(file)).unwrap();
    let key = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let request = credentials.key.request().unwrap();
    let mut request = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
    let subject = Subject { role: Role::Agent, name: host.parse().unwrap() };
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::URI(subject.uri().try_into().unwrap())];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = u64::try_from(Timestamp::now().as_second()).unwrap();
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    parameters.not_before = now - ago.unsigned_abs();
    parameters.not_after = now + left.unsigned_abs();
    request.params = parameters;
    credentials.certificate = request.signed_by(&issuer).unwrap().into();
    Folder::of(&fleet.state(host)).write(&credentials).unwrap();
    fleet
}

/// When this host renewed, by the audit trail, if it did so once.
fn renewed_at(fleet: &Fleet, host: &str) -> Timestamp {
    let audit = fleet.collector(&["audit", "--format", "json"]).json();
    let lines = audit.as_array().unwrap().iter().filter(|line| line["event"] == "renewed");
    let [line] = &lines.collect::<Vec<_>>()[..] else { panic!("renewed once: {audit}") };
    assert_eq!(line["who"], format!("agent {host}"));
    line["at"].as_str().unwrap().parse().unwrap()
}

/// When the one run ended that is stored, which is whole and has so many rounds.
fn one_whole_run(fleet: &Fleet, rounds: usize) -> Timestamp {
    let runs = fleet.collector(&["export", "--format", "json"]).json();
    let [run] = &runs.as_array().unwrap()[..] else { panic!("one run: {runs}") };
    assert_eq!(run["partial"], Value::Null, "{run}");
    assert_eq!(run["cells"][0]["samples_ns"].as_array().unwrap().len(), rounds, "{run}");
    assert_eq!(run["cells"][0]["failure"], Value::Null, "{run}");
    run["ended_at"].as_str().unwrap().parse().unwrap()
}

/// A process of ours that is ended with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_goes_on_while_another_process_renews_and_delivers_under_the_new_certificate() {
    let fleet = joined("web-1", SignedDuration::from_hours(23), SignedDuration::from_secs(8));
    let old = kept(&fleet, "web-1");
    let mut run = program(&agent(), &fleet.state("web-1"));
    run.args(["run", "--format", "json", "--rounds", "19"]).args(SECONDS);
    let mut run = Background(run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    measuring_child(run.0.id());

    let flushed = fleet.agent("web-1", &["spool", "flush"]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert_ne!(kept(&fleet, "web-1").certificate, old.certificate, "{flushed:?}");
    renewed_at(&fleet, "web-1");
    assert_eq!(run.0.try_wait().unwrap(), None, "the run goes on");

    while run.0.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(50));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(run.0.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert!(said.contains(": stored by the collector at https://"), "{said}");
    let ended_at = one_whole_run(&fleet, 19);
    assert!(ended_at > old.life().ends_at, "the certificate that it began with had ended");
    assert!(renewed_at(&fleet, "web-1") < ended_at, "the run did not renew once more");
}

#[test]
fn a_certificate_that_becomes_due_during_a_run_is_renewed_after_it_and_before_its_report() {
    // It is due at half of a minute's life, give or take a tenth, so 17 to 23 seconds from now.
    let fleet = joined("web-1", SignedDuration::from_secs(10), SignedDuration::from_secs(50));
    let old = kept(&fleet, "web-1");
    let rounds = ["--rounds", "26"];
    let words = [&SECONDS[..], &rounds].concat();
    let url = fleet.serving.url.clone();
    let mut daemon = Daemon::start(command(&agent()), &fleet.state("web-1"), &url, &words);
    daemon.says("measuring: ");
    assert!(Timestamp::now() < old.renew_at(), "it is not due yet");
    let measured = daemon.says("measured report ");
    assert!(!measured.contains("partial"), "{measured}");
    assert!(Timestamp::now() > old.renew_at(), "it is due");
    daemon.says("this host has a new certificate");
    daemon.says(": stored by the collector at https://");
    assert!(daemon.end().0.success());
    assert_ne!(kept(&fleet, "web-1").certificate, old.certificate);
    let ended_at = one_whole_run(&fleet, 26);
    assert!(renewed_at(&fleet, "web-1") > ended_at, "nothing is sent while a run goes on");
    let (_, log) = fleet.serving.stop(Signal::TERM);
    assert!(log.join("\n").contains("agent web-1 has a new certificate"), "{log:?}");
}

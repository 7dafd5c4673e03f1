//! Hosts whose clocks are two days off join, report and are set right, and none of their reports is set aside.

use fleetmark_agent::{
    args::AccessArgs,
    credentials::{Folder, Key},
    delivery::{Courier, DeliveryError, Joined, Joining, Keyring, Pace},
    spool::{Bounds as Room, Spool},
};
use fleetmark_proto::{
    control::NewToken,
    host::{Host, HostIdSource},
    role::Role,
    token::JoinToken,
};
use jiff::SignedDuration;

use super::{handshakes::Log, known::*, *};
use crate::simulate::Fleet;

const TWO_DAYS: SignedDuration = SignedDuration::from_hours(48);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What a host has whose clock is so far ahead.
struct Agent {
    _state: TempDir,
    spool: Spool,
    courier: Courier,
}

fn clock(collector: &Known, ahead: SignedDuration) -> Clock {
    let shown = collector.clock();
    Clock::new(move || shown() + ahead)
}

/// Has a host with such a clock join a collector that was made a moment ago.
async fn join(
    collector: &Known,
    name: &str,
    ahead: SignedDuration,
) -> Result<Joined, DeliveryError> {
    let asked = NewToken { uses: 1, ..token(Role::Agent, Duration::from_secs(600)) };
    let created = collector.desk().create_token(asked, &collector.by()).await.unwrap();
    let endpoint = format!("https://localhost:{}", collector.address.port()).parse().unwrap();
    let token = JoinToken { endpoint, ..created.token.parse().unwrap() };
    let host = Host {
        id: name.parse().unwrap(),
        name: name.to_owned(),
        id_source: HostIdSource::Flag,
        boot_id_hash: None,
    };
    let (key, clock) = (Key::new().unwrap(), clock(collector, ahead));
    let (host, key, clock, within) = (&host, &key, &clock, Duration::from_secs(60));
    let joining = Joining { token: &token, host, key, believed: None, clock, within };
    joining.join(|_| {}).await
}

async fn joined(collector: &Known, name: &str, ahead: SignedDuration) -> Agent {
    let joined = join(collector, name, ahead).await.unwrap();
    let Joined { credentials, ahead: collector_ahead } = joined;
    assert_eq!(collector_ahead, -ahead);
    let state = tempfile::tempdir().unwrap();
    let folder = Folder::of(state.path());
    folder.write(&credentials).unwrap();
    let spool = Spool::open(&state.path().join("agent").join("spool"), Room::default()).unwrap();
    let urls = vec![credentials.endpoint.clone()];
    let kept = Some((folder, credentials));
    let keyring = Keyring::new(AccessArgs::default(), kept, clock(collector, ahead));
    let pace = Pace { first_wait: Duration::from_millis(50), ..Pace::default() };
    let courier = Courier::new(urls, spool.clone(), pace, |_| {}).with(keyring);
    Agent { _state: state, spool, courier }
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_is_told_on_both_sides() {
    let log = Log::begin();
    let collector = start_known(Asked::default()).await;
    let error = join(&collector, "web-1", -5 * TWO_DAYS).await.unwrap_err().to_string();
    assert!(error.contains("3 days after what this host's clock says"), "{error}");
    let line = log.says("it does not trust this collector's certificate: by its clock").await;
    assert!(line.contains("or does not count yet; one of the clocks is wrong"), "{line}");
    assert!(collector.registry.agents().await.unwrap().is_empty());
}

async fn reports_are_set_right(name: &str, ahead: SignedDuration) {
    let collector = start_known(Asked::default()).await;
    let Agent { _state, spool, mut courier } = joined(&collector, name, ahead).await;
    // One of now, and one that has waited in the spool; both by the host's clock.
    let mut fleet = Fleet::new(name, 1, 7).unwrap();
    let mut ended = Vec::new();
    for age in [SignedDuration::ZERO, HOUR] {
        let at = collector.now() - age;
        let mut report = fleet.report(at + ahead);
        report.host.id = name.parse().unwrap();
        spool.reserve().unwrap().commit(&Encoded::new(&report)).unwrap();
        ended.push((report.id, at.as_microsecond()));
    }
    for _ in 0..2 {
        let flushed = courier.flush(None, Duration::from_secs(60)).await;
        assert_eq!((flushed.quarantined, flushed.left), (0, Some(0)), "{flushed:?}");
    }
    assert!(spool.quarantined().unwrap().is_empty());
    let runs = collector.store.runs(None).await.unwrap();
    let mut times: Vec<_> =
        runs.iter().map(|run| (run.report.id, run.time().as_microsecond())).collect();
    times.sort_unstable();
    ended.sort_unstable();
    assert_eq!(times, ended, "each once, at its time by the collector's clock");
    for run in runs {
        assert_eq!(run.clock_skew().unwrap().behind, -ahead);
    }
}

#[tokio::test]
async fn a_clock_two_days_ahead_costs_no_report() {
    reports_are_set_right("early", TWO_DAYS).await;
}

#[tokio::test]
async fn a_clock_two_days_behind_costs_no_report() {
    reports_are_set_right("late", -TWO_DAYS).await;
}

/// What a report is answered that was made and ended then, if the agent says that it is `sent_at`.
async fn answered(near: &Channel, made: Timestamp, sent_at: Option<Timestamp>) -> Option<String> {
    let report = Fleet::new("web", 1, 7).unwrap().report(made);
    let mut batch = convert::submit_request(vec![Encoded::new(&report)], made);
    batch.sent_at = sent_at.and_then(|time| convert::submit_request(vec![], time).sent_at);
    let answer = IngestClient::new(near.clone()).submit(batch).await.unwrap().into_inner();
    match answer.answers.into_iter().next().unwrap().outcome.unwrap() {
        Wire::Stored(_) => None,
        Wire::Rejected(rejected) => Some(format!("{}: {}", rejected.field, rejected.reason)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn times_are_judged_by_the_collectors_clock_and_a_key_is_never_outlived() {
    let collector = start_known(Asked::default()).await;
    let near = collector.near().await;
    let now = collector.now();
    let days = |days: i64| now + SignedDuration::from_hours(24 * days);
    let told =
        async |made: i64, sent: Option<i64>| answered(&near, days(made), sent.map(days)).await;
    let future = Some("report_id: lies in the future by more than a day".to_owned());
    let old = Some("report_id: is too old: older than 180 days".to_owned());
    let forgotten =
        Some("report_id: is too old by its host's clock: older than 180 days".to_owned());
    assert_eq!(told(2, None).await, future, "whoever does not tell its clock is taken at its word");
    assert_eq!(told(2, Some(0)).await, future, "the clock was set right after it was measured");
    assert_eq!(told(2, Some(2)).await, None);
    assert_eq!(told(900, Some(900)).await, None);
    assert_eq!(told(900, Some(800)).await, future, "even so");
    assert_eq!(told(-100, Some(-2)).await, None);
    assert_eq!(told(-170, Some(20)).await, old, "it is 190 days old, whatever it says");
    assert_eq!(told(-190, Some(0)).await, old);
    assert_eq!(told(-190, Some(-190)).await, forgotten, "it may have come 182 days ago");
}

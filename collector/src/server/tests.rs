//! The server over a real socket: what it answers to good, bad and mangled reports; in rooms below, whom it lets in, whom it
//! cuts off, and how it stops.

use fleetmark_proto::{
    convert::{self, Encoded},
    id::{Digest, ReportId},
    report::Report,
    v1::{Answer, Envelope, SubmitRequest, answer::Outcome as Wire, ingest_client::IngestClient},
};
use jiff::{Timestamp, ToSpan as _};
use prost::Message as _;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

mod admission;
mod connections;
mod draining;
mod handshakes;
mod known;
mod leaving;
mod matrix;
mod ownership;
mod raw;
mod reading;
mod skewed;
mod visits;
mod weekend;

use super::*;
use crate::{
    store::{self, Mode, StoreUrl},
    testing,
};

struct Running {
    _folder: TempDir,
    store: Arc<dyn Store>,
    address: SocketAddr,
    channel: Channel,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<Served, ServeError>>,
}

async fn start() -> Running {
    start_within(Bounds::default()).await
}

/// A server over an empty store, with a channel to it.
async fn start_within(bounds: Bounds) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let store = store::open(&url, Mode::Write).await.unwrap();
    start_over(store, folder, bounds).await
}

async fn start_over(store: Arc<dyn Store>, folder: TempDir, bounds: Bounds) -> Running {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(serve_within(bounds, listener, Arc::clone(&store), shutdown));
    let channel = connect(address).await;
    Running { _folder: folder, store, address, channel, stop, ended }
}

/// A connection of its own.
async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Delivers over this connection.
async fn submit(channel: &Channel, reports: Vec<Envelope>) -> Result<Vec<Answer>, tonic::Status> {
    let mut client = IngestClient::new(channel.clone());
    Ok(client.submit(SubmitRequest { reports, sent_at: None }).await?.into_inner().answers)
}

impl Running {
    async fn submit(&self, reports: Vec<Envelope>) -> Result<Vec<Answer>, tonic::Status> {
        submit(&self.channel, reports).await
    }

    /// The field and reason with which one report is rejected.
    async fn rejection(&self, envelope: Envelope) -> String {
        let answers = self.submit(vec![envelope]).await.unwrap();
        match &answers[..] {
            [Answer { outcome: Some(Wire::Rejected(rejected)), .. }] => {
                format!("{}: {}", rejected.field, rejected.reason)
            }
            other => panic!("not rejected: {other:?}"),
        }
    }

    async fn stored(&self) -> usize {
        self.store.runs(None).await.unwrap().len()
    }
}

fn envelope(report: &Report) -> Envelope {
    Encoded::new(report).into_envelope()
}

/// A report with something changed on the wire, and a digest that fits.
fn mangled(change: impl FnOnce(&mut v1::Report)) -> Envelope {
    let encoded = Encoded::new(&testing::pair("a", 0.5));
    let mut message = v1::Report::decode(encoded.bytes.as_slice()).unwrap();
    change(&mut message);
    let bytes = message.encode_to_vec();
    Encoded { id: encoded.id, digest: Digest::of(&bytes), bytes }.into_envelope()
}

#[tokio::test]
async fn each_report_has_its_own_answer() {
    let server = start().await;
    let report = testing::pair("a", 0.5);
    let mut conflicting = report.clone();
    conflicting.seed += 1;
    let batch = vec![
        envelope(&report),
        mangled(|report| report.host = None),
        envelope(&report),
        envelope(&conflicting),
        envelope(&testing::pair("b", 0.5)),
    ];
    let ids: Vec<_> = batch.iter().map(|envelope| envelope.report_id.clone()).collect();
    let answers = server.submit(batch).await.unwrap();
    assert_eq!(ids, answers.iter().map(|answer| answer.report_id.clone()).collect::<Vec<_>>());
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| match answer.outcome.as_ref().unwrap() {
            Wire::Stored(_) => "stored",
            Wire::Duplicate(_) => "duplicate",
            Wire::Conflict(conflict) => {
                let kept = Encoded::new(&report).digest;
                assert_eq!(conflict.stored_sha256, kept.as_bytes());
                "conflict"
            }
            Wire::Rejected(_) => "rejected",
        })
        .collect();
    assert_eq!(kinds, ["stored", "rejected", "duplicate", "conflict", "stored"]);
    assert_eq!(server.stored().await, 2);
}

#[tokio::test]
async fn mangled_reports_are_rejected_with_field_and_reason() {
    let server = start().await;
    type Change = fn(&mut v1::Report);
    let cases: Vec<(Change, &str)> = vec![
        (|r| r.host = None, "host: is missing"),
        (|r| r.facets = None, "facets: is missing"),
        (|r| r.build.as_mut().unwrap().tokio.clear(), "build.tokio: is missing"),
        (|r| r.started_at = None, "started_at: is missing"),
        (|r| r.started_at.as_mut().unwrap().seconds = -1, "started_at: is no time"),
        (|r| r.started_at.as_mut().unwrap().nanos = -1, "started_at: is no time"),
        (|r| r.started_at.as_mut().unwrap().seconds += 9, "ended_at: lies before started_at"),
        (|r| r.cells.clear(), "cells: must not be empty"),
        (|r| r.cells[1] = r.cells[0].clone(), "cells[1]: spawn-overhead thread is there twice"),
        (|r| r.cells[0].scenario = 99, "cells[0].scenario: 99 is unknown"),
        (|r| r.cells[0].spawner = -7, "cells[0].spawner: -7 is unknown"),
        (|r| r.cells[0].spawner = 0, "cells[0].spawner: is missing"),
        (|r| r.cells[0].samples_ns[0] = u64::MAX, "cells[0].samples_ns: 18446744073709551615"),
        (|r| r.cells[0].cold_ns = Some(u64::MAX), "cells[0].cold_ns: 18446744073709551615"),
        (|r| r.cells[0].median_ns = Some(1), "cells[0].median_ns: is not the median"),
        (|r| r.cells[0].median_ns = None, "cells[0].median_ns: is not the median"),
        (
            |r| {
                r.cells[0].samples_ns.pop();
            },
            "cells[0].samples_ns: must have one a round",
        ),
        (|r| r.cells[0].units = 0, "cells[0].units: 0 is not within"),
        (|r| r.cells[0].units = 7, "cells[0].units: is not what the workload gives"),
        (|r| r.cells[0].workload = None, "cells[0].workload: is missing"),
        (|r| r.cells[0].workload.as_mut().unwrap().wait_ns = Some(1), "cells[0].workload.wait_ns"),
        (
            |r| r.evidence.as_mut().unwrap().steal_fraction = Some(f64::NAN),
            "evidence.steal_fraction",
        ),
        (|r| r.evidence.as_mut().unwrap().steal_fraction = Some(-0.1), "evidence.steal_fraction"),
        (|r| r.quality.as_mut().unwrap().verdict = 2, "quality.reasons: must be empty exactly"),
        (|r| r.facets.as_mut().unwrap().usable_cpus = 0, "facets.usable_cpus: 0 is not within"),
        (|r| r.facets.as_mut().unwrap().limit = 3, "facets.quota_millicpus: must be set"),
        (|r| r.workers.as_mut().unwrap().count = u32::MAX, "workers.count: 4294967295"),
        (|r| r.plan.as_mut().unwrap().rounds = 0, "plan.rounds: 0 is not within"),
        (|r| r.host.as_mut().unwrap().id = "a b".into(), "host.id: must be 1 to 128"),
        (|r| r.host.as_mut().unwrap().name = "x".repeat(2000), "host.name: has 2000 bytes"),
        (
            |r| r.host.as_mut().unwrap().name = "\u{1b}[31m".into(),
            "host.name: has control characters",
        ),
        (
            |r| {
                r.labels.insert("a b".into(), String::new());
            },
            "labels: a key must be",
        ),
        (|r| r.report_id = vec![1], "report_id: must have 16 bytes, has 1"),
        (|r| r.report_id = ReportId::now().as_bytes().to_vec(), "report_id: is not the id of"),
    ];
    for (change, expected) in cases {
        let said = server.rejection(mangled(change)).await;
        assert!(said.starts_with(expected), "expected {expected:?}, got {said:?}");
    }
    assert_eq!(server.stored().await, 0);
}

#[tokio::test]
async fn envelopes_must_fit_their_reports() {
    let server = start().await;
    let good = envelope(&testing::pair("a", 0.5));
    let wrong_digest = Envelope { sha256: vec![7; 32], ..good.clone() };
    assert!(server.rejection(wrong_digest).await.starts_with("sha256: is not the digest"));
    let short = Envelope { sha256: vec![7; 31], ..good.clone() };
    assert!(server.rejection(short).await.starts_with("sha256: must have 32 bytes"));
    let version_4 = Envelope { report_id: vec![0x40; 16], ..good.clone() };
    assert!(
        server.rejection(version_4).await.starts_with("report_id: must be a UUID of version 7")
    );
    let garbage = Encoded { id: ReportId::now(), digest: Digest::of(b"\xff"), bytes: vec![0xff] };
    assert!(server.rejection(garbage.into_envelope()).await.starts_with("report: "));
    let big = vec![0; limits::REPORT_BYTES + 1];
    let big = Encoded { id: ReportId::now(), digest: Digest::of(&big), bytes: big };
    assert!(server.rejection(big.into_envelope()).await.starts_with("report: has 1048577 bytes"));
}

#[tokio::test]
async fn reports_of_another_time_are_rejected() {
    let server = start().await;
    let mut old = testing::pair("a", 0.5);
    old.started_at -= (181 * 24).hours();
    old.ended_at = old.started_at;
    assert!(server.rejection(envelope(&old)).await.starts_with("ended_at: is too old"));
    let mut early = testing::pair("a", 0.5);
    early.ended_at += 25.hours();
    assert!(server.rejection(envelope(&early)).await.starts_with("ended_at: lies in the future"));
}

#[tokio::test]
async fn calls_over_the_limits_fail_as_a_whole() {
    let server = start().await;
    let code = async |reports| server.submit(reports).await.unwrap_err().code();
    assert_eq!(code(vec![]).await, Code::InvalidArgument);
    let good = envelope(&testing::pair("a", 0.5));
    let many = vec![good.clone(); limits::BATCH_REPORTS + 1];
    assert_eq!(code(many).await, Code::InvalidArgument);
    let long = mangled(|report| report.host.as_mut().unwrap().name = "x".repeat(10_000_000));
    assert_eq!(code(vec![long]).await, Code::OutOfRange);
    assert_eq!(server.stored().await, 0);
    assert_eq!(server.submit(vec![good]).await.unwrap().len(), 1, "and the server lives on");
}

#[tokio::test]
async fn the_agents_clock_is_kept_beside_the_collectors() {
    let server = start().await;
    let now = Timestamp::now();
    for host in ["behind", "broken"] {
        let encoded = Encoded::new(&testing::pair(host, 0.5));
        let mut request = convert::submit_request([encoded], now - 3.hours());
        if host == "broken" {
            request.sent_at.as_mut().unwrap().nanos = -1;
        }
        let mut client = IngestClient::new(server.channel.clone());
        let answers = client.submit(request).await.unwrap().into_inner().answers;
        assert!(matches!(answers[0].outcome, Some(Wire::Stored(_))), "{answers:?}");
    }
    for run in server.store.runs(None).await.unwrap() {
        if run.report.host.id.as_str() == "behind" {
            assert_eq!(run.sent_at.unwrap().as_second(), (now - 3.hours()).as_second());
            assert!(run.clock_skew().unwrap().to_string().ends_with("behind"));
        } else {
            assert_eq!(run.sent_at, None, "what is no time counts as not told");
        }
    }
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let server = start().await;
    for service in ["", INGEST] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut health = HealthClient::new(server.channel.clone());
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "SERVING");
    }
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&INGEST), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test]
async fn shutting_down_finishes_and_tells() {
    let server = start().await;
    server.submit(vec![envelope(&testing::pair("a", 0.5))]).await.unwrap();
    server.stop.send(()).unwrap();
    let served = server.ended.await.unwrap().unwrap();
    assert_eq!(served.cut_off, 0);
    assert_eq!(served.tally.words(), "1 stored, 0 duplicate, 0 in conflict, 0 rejected");
}

#[tokio::test]
async fn listening_is_checked() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(check_listen(address("127.0.0.1:1"), false).is_ok());
    assert!(check_listen(address("[::1]:1"), false).is_ok());
    let refused = check_listen(address("0.0.0.0:1"), false).unwrap_err();
    assert!(refused.to_string().contains("--insecure"), "{refused}");
    assert!(check_listen(address("0.0.0.0:1"), true).is_ok());
    let taken = bind(address("127.0.0.1:0")).unwrap();
    let again = bind(taken.local_addr().unwrap()).unwrap_err();
    assert!(again.to_string().contains("is in use"), "{again}");
}

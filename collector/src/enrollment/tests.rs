//! The service over a real socket: who joins and renews, who does not, and what each is told.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fleetmark_proto::{
    control::{KnownToken, NewToken, Revoking},
    id::HostId,
    secret::Secret,
    v1::enrollment_client::EnrollmentClient,
};
use jiff::{Span, ToSpan as _};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::{
    control::{By, Desk, Issuing},
    identity::{Address, Who},
    store::{self, Mode, StoreUrl},
    testing::call::{Called, from, refusal, serve},
};

struct Collector {
    _folder: TempDir,
    registry: Arc<dyn Registry>,
    authority: Arc<Authority>,
    time: Arc<Mutex<Timestamp>>,
    called: Called,
}

async fn start() -> Collector {
    start_saying(Some(Who::Nobody)).await
}

async fn start_saying(who: Option<Who>) -> Collector {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let (_, registry) = store::open_both(&url, Mode::Write).await.unwrap();
    let time: Arc<Mutex<Timestamp>> = Arc::new(Mutex::new("2026-11-25T09:00:00Z".parse().unwrap()));
    let shown = Arc::clone(&time);
    let clock = Clock::new(move || *shown.lock().unwrap_or_else(PoisonError::into_inner));
    let authority = Arc::new(Authority::make(&[], clock.now()).unwrap());
    let trail = Arc::new(Trail::begin(Arc::clone(&registry)));
    let service =
        EnrollmentService::new(Arc::clone(&authority), Arc::clone(&registry), clock, trail);
    let called = serve(service.into_server(), who).await;
    Collector { _folder: folder, registry, authority, time, called }
}

/// A host with its key.
struct Applicant {
    host_id: HostId,
    key: KeyPair,
}

fn applicant(host_id: &str) -> Applicant {
    Applicant { host_id: host_id.parse().unwrap(), key: KeyPair::generate().unwrap() }
}

impl Applicant {
    /// A certificate signing request that asks for more than anybody may have.
    fn request(&self) -> Vec<u8> {
        let params = CertificateParams::new(vec!["operator.example".to_owned()]).unwrap();
        params.serialize_request(&self.key).unwrap().der().to_vec()
    }

    fn join(&self, secret: &Secret) -> EnrollRequest {
        Join {
            secret: secret.clone(),
            host_id: self.host_id.clone(),
            host_name: format!("{}.example", self.host_id),
            request: self.request(),
        }
        .into_wire()
    }

    fn renewal(&self, issued: &Issued) -> RenewRequest {
        Renewal { certificate: issued.certificate.clone(), request: self.request() }.into_wire()
    }
}

impl Collector {
    fn now(&self) -> Timestamp {
        *self.time.lock().unwrap()
    }

    fn pass(&self, span: Span) {
        let mut time = self.time.lock().unwrap();
        *time += span;
    }

    fn by(&self) -> By {
        By { who: "operator ann".into(), address: Address::Here, at: self.now() }
    }

    fn desk(&self) -> Desk {
        Desk::new(Arc::clone(&self.registry), Issuing::default())
    }

    async fn token(&self, change: impl FnOnce(&mut NewToken)) -> (Secret, KnownToken) {
        let mut asked = NewToken {
            role: Role::Agent,
            host: None,
            uses: 1,
            ttl: Duration::from_secs(600),
            labels: [("rack".to_owned(), "7".to_owned())].into(),
            replace_host: None,
            network: None,
            note: String::new(),
        };
        change(&mut asked);
        let secret = Secret::new().unwrap();
        let token = asked.made(&secret, self.now());
        let by = self.line(Event::TokenCreated, "made");
        self.registry.create_token(token.clone(), secret.digest(), by).await.unwrap();
        (secret, token)
    }

    fn line(&self, event: Event, detail: &str) -> AuditEntry {
        let (who, address) = ("operator ann".to_owned(), "here".to_owned());
        AuditEntry { at: self.now(), event, who, address, detail: detail.to_owned() }
    }

    async fn enroll(&self, request: impl tonic::IntoRequest<EnrollRequest>) -> Answer {
        read(EnrollmentClient::new(self.called.channel.clone()).enroll(request).await)
    }

    async fn renew(&self, request: impl tonic::IntoRequest<RenewRequest>) -> Answer {
        read(EnrollmentClient::new(self.called.channel.clone()).renew(request).await)
    }

    /// A host that joined.
    async fn joined(&self, host_id: &str) -> (Applicant, Issued) {
        let applicant = applicant(host_id);
        let (secret, _) = self.token(|_| {}).await;
        let issued = self.enroll(applicant.join(&secret)).await.unwrap();
        (applicant, issued)
    }

    async fn audit(&self) -> Vec<AuditEntry> {
        self.registry.audit(None).await.unwrap()
    }

    /// Waits until the newest line is this one. Lines of the refused are written while nobody waits.
    async fn hear_of(&self, line: &AuditEntry) {
        for _ in 0..1_000 {
            if self.audit().await.last() == Some(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(self.audit().await.last(), Some(line));
    }
}

type Answer = Result<Issued, Status>;

fn read(answer: Result<Response<WireIssued>, Status>) -> Answer {
    answer.map(|issued| Issued::from_wire(issued.into_inner()).unwrap())
}

/// Whoever is refused is told so, and a line of the audit trail says it soon: as whom, if his key proves it, and otherwise what
/// he claims.
async fn assert_denied(collector: &Collector, answer: Answer, who: Seen<'_>, refused: Refused) {
    assert_eq!(refusal(answer), (Code::PermissionDenied, refused.to_string()));
    let (who, detail) = match who {
        Seen::Proven(who) => (who, refused.to_string()),
        Seen::Claimed(who) => ("", format!("claims to be {who}: {refused}")),
        Seen::Nobody => ("", refused.to_string()),
    };
    let expected = AuditEntry {
        who: who.to_owned(),
        address: "192.0.2.7".to_owned(),
        ..collector.line(Event::Refused, &detail)
    };
    collector.hear_of(&expected).await;
}

/// As whom the trail sees somebody.
enum Seen<'a> {
    Proven(&'a str),
    Claimed(&'a str),
    Nobody,
}

#[tokio::test]
async fn a_host_joins_and_renews_and_is_what_it_joined_as() {
    let collector = start().await;
    let (secret, token) = collector.token(|_| {}).await;
    let applicant = applicant("web-1");
    let issued = collector.enroll(applicant.join(&secret)).await.unwrap();
    assert_eq!(issued.now, collector.now());
    assert_eq!(issued.ends_at, collector.now() + 24.hours());
    assert_eq!(issued.authority, collector.authority.certificate_der());
    assert_eq!(issued.labels, token.labels);
    let (subject, certificate) = collector.authority.read_own(&issued.certificate).unwrap();
    assert_eq!(subject.uri(), "fleetmark://agent/web-1", "whatever the request asked for");
    let key = Digest::of(&applicant.key.subject_public_key_info());
    assert_eq!((certificate.key, certificate.ends_at), (key, issued.ends_at));
    let standing = collector.registry.standing().await.unwrap();
    assert_eq!(standing.agents[&applicant.host_id].key, key);

    collector.pass(12.hours());
    let next = collector.renew(applicant.renewal(&issued)).await.unwrap();
    assert_eq!((next.now, next.ends_at), (collector.now(), collector.now() + 24.hours()));
    assert_eq!(next.labels, token.labels);
    let events: Vec<_> =
        collector.audit().await.into_iter().map(|line| (line.event, line.who)).collect();
    let by_it = |event| (event, "agent web-1".to_owned());
    let made = (Event::TokenCreated, "operator ann".to_owned());
    assert_eq!(events, [made, by_it(Event::Enrolled), by_it(Event::Renewed)]);
}

#[tokio::test]
async fn who_may_not_join_is_told_why() {
    let collector = start().await;
    let host = applicant("web-1");
    let denied = |secret: Secret, refused| {
        let (collector, host) = (&collector, &host);
        async move {
            let answer = collector.enroll(host.join(&secret)).await;
            assert_denied(collector, answer, Seen::Claimed("agent web-1"), refused).await;
        }
    };
    denied(Secret::new().unwrap(), Refused::UnknownToken).await;
    let network = "198.51.100.0/24".parse().ok();
    let (foreign, _) = collector.token(|token| token.network = network).await;
    denied(foreign.clone(), Refused::OtherNetwork("192.0.2.7".into())).await;
    let (revoked, token) = collector.token(|_| {}).await;
    collector.desk().revoke_token(token.id, &collector.by()).await.unwrap();
    denied(revoked, Refused::RevokedToken).await;
    let (ended, token) = collector.token(|_| {}).await;
    collector.pass(10.minutes());
    denied(ended, Refused::Ended(token.ends_at)).await;
    let (once, _) = collector.token(|_| {}).await;
    collector.enroll(applicant("web-2").join(&once)).await.unwrap();
    denied(once, Refused::UsedUp(1)).await;
    let (fresh, _) = collector.token(|_| {}).await;
    let answer = collector.enroll(applicant("web-2").join(&fresh)).await;
    let known = Refused::KnownHost("web-2".parse().unwrap());
    assert_denied(&collector, answer, Seen::Claimed("agent web-2"), known).await;
    let (near, _) = collector.token(|token| token.network = network).await;
    collector.enroll(from("198.51.100.9", host.join(&near))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_race_for_the_last_use_one_joins() {
    let collector = start().await;
    for round in 0..6 {
        let (secret, _) = collector.token(|_| {}).await;
        let racers = [applicant(&format!("a{round}")), applicant(&format!("b{round}"))];
        let racing: Vec<_> = racers
            .iter()
            .map(|racer| {
                let mut client = EnrollmentClient::new(collector.called.channel.clone());
                let request = racer.join(&secret);
                tokio::spawn(async move { read(client.enroll(request).await) })
            })
            .collect();
        let mut answers = Vec::new();
        for racer in racing {
            answers.push(racer.await.unwrap());
        }
        let (joined, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Answer::is_ok);
        assert_eq!((joined.len(), refused.len()), (1, 1));
        let told = (Code::PermissionDenied, Refused::UsedUp(1).to_string());
        assert_eq!(refused.into_iter().map(refusal).collect::<Vec<_>>(), [told]);
    }
}

#[tokio::test]
async fn requests_that_are_none_are_refused_and_use_nothing_up() {
    let collector = start().await;
    let (secret, _) = collector.token(|_| {}).await;
    let host = applicant("web-1");
    let with = |request: Vec<u8>| EnrollRequest { request, ..host.join(&secret) };
    let mut forged = host.request();
    let last = forged.last_mut().unwrap();
    *last ^= 1;
    let other_curve = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let ed25519 = CertificateParams::default().serialize_request(&other_curve).unwrap();
    for (request, says) in [
        (b"garbage".to_vec(), "request: cannot be read"),
        (vec![], "request: is missing"),
        (vec![0x30; 20_000], "request: has 20000 bytes, more than 16384"),
        (forged, "request: was not signed with its own key"),
        (ed25519.der().to_vec(), "request: must have a key on the curve P-256"),
    ] {
        let told = refusal(collector.enroll(with(request)).await);
        assert_eq!(told, (Code::InvalidArgument, says.to_owned()));
    }
    let without_proof = EnrollRequest { proof: None, ..host.join(&secret) };
    assert_eq!(refusal(collector.enroll(without_proof).await).0, Code::InvalidArgument);
    let huge = EnrollRequest { host_name: "x".repeat(1 << 20), ..host.join(&secret) };
    assert_eq!(refusal(collector.enroll(huge).await).0, Code::OutOfRange);
    collector.enroll(host.join(&secret)).await.unwrap();
}

#[tokio::test]
async fn certificates_renew_for_90_days_after_they_ended() {
    let collector = start().await;
    let (host, issued) = collector.joined("web-1").await;
    collector.pass((24 * (1 + 89)).hours());
    let issued = collector.renew(host.renewal(&issued)).await.unwrap();
    collector.pass((24 * (1 + 91)).hours());
    let answer = collector.renew(host.renewal(&issued)).await;
    let refused = Refused::LongEnded(issued.ends_at);
    assert_denied(&collector, answer, Seen::Proven("agent web-1"), refused).await;
}

#[tokio::test]
async fn an_old_certificate_is_no_way_around_the_90_days() {
    let collector = start().await;
    let (host, old) = collector.joined("web-1").await;
    collector.pass((24 * 50).hours());
    let newer = collector.renew(host.renewal(&old)).await.unwrap();
    collector.pass((24 * 50).hours());
    let answer = collector.renew(host.renewal(&old)).await;
    let refused = Refused::LongEnded(old.ends_at);
    assert_denied(&collector, answer, Seen::Proven("agent web-1"), refused).await;
    collector.renew(host.renewal(&newer)).await.unwrap();
}

#[tokio::test]
async fn the_revoked_and_the_replaced_renew_no_more() {
    let collector = start().await;
    let (revoked, issued) = collector.joined("web-1").await;
    let subject = Subject { role: Role::Agent, name: revoked.host_id.clone() };
    let revoking = Revoking { subject, undo: false };
    collector.desk().revoke(revoking, &collector.by()).await.unwrap();
    let answer = collector.renew(revoked.renewal(&issued)).await;
    let refused = Refused::RevokedHost(revoked.host_id.clone());
    assert_denied(&collector, answer, Seen::Proven("agent web-1"), refused).await;

    let (replaced, issued) = collector.joined("web-2").await;
    let leave = replaced.host_id.clone();
    let (secret, _) = collector.token(|token| token.replace_host = Some(leave)).await;
    let newcomer = applicant("web-2");
    let newest = collector.enroll(newcomer.join(&secret)).await.unwrap();
    let answer = collector.renew(replaced.renewal(&issued)).await;
    let refused = Refused::Replaced(replaced.host_id.clone());
    assert_denied(&collector, answer, Seen::Proven("agent web-2"), refused).await;
    while refusal(collector.renew(replaced.renewal(&issued)).await).0 != Code::Unavailable {}
    collector.renew(newcomer.renewal(&newest)).await.expect("it has its own number of calls");
}

#[tokio::test]
async fn certificates_of_others_renew_nothing() {
    let collector = start().await;
    let (host, issued) = collector.joined("web-1").await;
    let other = Authority::make(&[], collector.now()).unwrap();
    let agent = |name: &str| Subject { role: Role::Agent, name: name.parse().unwrap() };
    let signed = |authority: &Authority, subject: &Subject| {
        authority.sign(&host.request(), subject, collector.now()).unwrap().certificate
    };
    let with = |certificate: Vec<u8>| RenewRequest { certificate, ..host.renewal(&issued) };

    let answer = collector.renew(with(signed(&other, &agent("web-1")))).await;
    assert_denied(&collector, answer, Seen::Nobody, Refused::ForeignCertificate).await;
    let own = CertificateParams::default().self_signed(&host.key).unwrap();
    let answer = collector.renew(with(own.der().to_vec())).await;
    assert_denied(&collector, answer, Seen::Nobody, Refused::ForeignCertificate).await;
    let operator = Subject { role: Role::Operator, name: "ann".parse().unwrap() };
    let answer = collector.renew(with(signed(&collector.authority, &operator))).await;
    let ann = Seen::Proven("operator ann");
    assert_denied(&collector, answer, ann, Refused::ForeignCertificate).await;
    let never_joined = signed(&collector.authority, &agent("web-9"));
    let answer = collector.renew(with(never_joined)).await;
    let refused = Refused::UnknownHost("web-9".parse().unwrap());
    assert_denied(&collector, answer, Seen::Proven("agent web-9"), refused).await;

    let thief = applicant("web-1");
    let answer = collector.renew(thief.renewal(&issued)).await;
    let thief = Seen::Claimed("agent web-1");
    assert_denied(&collector, answer, thief, Refused::OtherKey).await;
    for certificate in [b"garbage".to_vec(), collector.authority.certificate_der().to_vec()] {
        let told = refusal(collector.renew(with(certificate)).await);
        assert_eq!(told.0, Code::InvalidArgument, "{told:?}");
        assert!(told.1.starts_with("certificate: "), "{told:?}");
    }
    collector.renew(host.renewal(&issued)).await.unwrap();
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait_and_others_are_not() {
    let collector = start().await;
    let unknown = Secret::new().unwrap();
    let request = applicant("web-1").join(&unknown);
    let mut refused = 0;
    let status = loop {
        match collector.enroll(request.clone()).await.unwrap_err() {
            status if status.code() == Code::PermissionDenied => refused += 1,
            status => break status,
        }
    };
    assert!(refused >= limits::ENROLLMENTS, "{refused}");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    let elsewhere = collector.enroll(from("198.51.100.9", request)).await;
    assert_eq!(refusal(elsewhere).0, Code::PermissionDenied);
    let detail = format!("claims to be agent web-1: {}", Refused::UnknownToken);
    let line = collector.line(Event::Refused, &detail);
    let address = "198.51.100.9".to_owned();
    collector.hear_of(&AuditEntry { who: String::new(), address, ..line }).await;
    let lines = collector.audit().await;
    let here = lines.iter().filter(|line| line.address == "192.0.2.7").count();
    assert_eq!(here, 6, "a few tell of as many as there were");
}

#[tokio::test]
async fn who_proves_its_key_is_bounded_by_itself() {
    let collector = start().await;
    let (host, issued) = collector.joined("web-1").await;
    let (neighbour, issued_to_it) = collector.joined("web-2").await;
    let unknown = Secret::new().unwrap();
    while collector.enroll(host.join(&unknown)).await.unwrap_err().code() != Code::Unavailable {}
    for _ in 0..limits::RENEWALS {
        collector.renew(host.renewal(&issued)).await.expect("its address does not matter");
    }
    let lines = collector.audit().await.len();
    let status = collector.renew(host.renewal(&issued)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert_eq!(collector.audit().await.len(), lines, "nor does it make lines without end");
    collector.renew(neighbour.renewal(&issued_to_it)).await.unwrap();
    // Where the disk is slow, its address may have some calls again by now, and soon has none.
    let garbage = RenewRequest { request: vec![1], ..host.renewal(&issued) };
    let mut told = Vec::new();
    for _ in 0..=limits::ENROLLMENTS {
        told.push(collector.renew(garbage.clone()).await.unwrap_err().code());
    }
    assert!(told.contains(&Code::Unavailable), "a proof is what its address need not wait for");
}

#[tokio::test]
async fn nobody_is_served_where_the_server_does_not_say_who_calls() {
    let collector = start_saying(None).await;
    let (secret, _) = collector.token(|_| {}).await;
    let told = refusal(collector.enroll(applicant("web-1").join(&secret)).await);
    assert_eq!(told, (Code::Internal, "the collector does not know who calls".to_owned()));
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_neither_logged_nor_kept_nor_told() {
    let log = Log::default();
    let writer = log.clone();
    // Where there is one subscriber alone, other tests' threads, which have none, may switch lines off for all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let collector = start().await;
    let (secret, _) = collector.token(|_| {}).await;
    let host = applicant("web-1");
    collector.enroll(host.join(&secret)).await.unwrap();
    let status = collector.enroll(applicant("web-2").join(&secret)).await.unwrap_err();
    drop(logging);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("agent web-1 joined from 192.0.2.7"), "{log}");
    assert!(log.contains("agent web-2 may not join"), "{log}");
    let said = format!("{log} {status:?} {:?}", collector.audit().await);
    let bytes = secret.expose();
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{bytes:?}");
    for form in [hexadecimal, decimal.trim_matches(['[', ']']).to_owned()] {
        assert!(!said.contains(&form[..16]), "{said}");
    }
}

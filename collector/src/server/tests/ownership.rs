//! What is whose: nothing that one agent sends, in whatever order, touches what is another's.

use std::collections::HashMap;

use fleetmark_proto::{
    control::NewToken,
    enrollment::{Issued, Join, Renewal},
    role::Role,
    token::JoinToken,
    v1::{
        AgentsRequest, AuditRequest, ForgetHostRequest, RevokeAgentRequest, RevokeTokenRequest,
        TokensRequest, control_client::ControlClient, enrollment_client::EnrollmentClient,
        query_client::QueryClient,
    },
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tonic::Status;

use super::{handshakes::Log, known::*, raw::eventually, *};
use crate::registry::{AuditEntry, Event};

const HOSTS: [&str; 2] = ["a", "b"];
/// Long enough for any test.
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// One thing that an agent does, or tries to.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Which agent does it.
    by: usize,
    /// What.
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// It submits a report that says it is of this host, with this id, which may come again with other content.
    Submit { claims: usize, report: usize, content: u64 },
    /// It shows the certificate of this host, and asks for the next one.
    Renew { of: usize },
    /// It wants to join as this host with a new key and a token for any host, or one that replaces itself.
    Join { claims: usize, has_leave: bool },
    /// It makes a call that is for readers or operators, about this host.
    Ask { which: usize, about: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let host = || 0..HOSTS.len();
    let what = prop_oneof![
        4 => (host(), 0..3_usize, 0..2_u64)
            .prop_map(|(claims, report, content)| What::Submit { claims, report, content }),
        2 => host().prop_map(|of| What::Renew { of }),
        3 => (host(), any::<bool>())
            .prop_map(|(claims, has_leave)| What::Join { claims, has_leave }),
        1 => (0..CALLS, host()).prop_map(|(which, about)| What::Ask { which, about }),
    ];
    vec((host(), what).prop_map(|(by, what)| Step { by, what }), 1..14)
}

#[test]
fn no_sequence_of_calls_touches_what_is_anothers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: 32, ..ProptestConfig::default() });
    runner
        .run(&steps(), |steps| {
            runtime.block_on(async { World::start().await.play(&steps).await });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn who_claims_to_be_another_host_stands_in_the_log_and_the_audit_trail() {
    let log = Log::begin();
    let world = World::start().await;
    let report = |host: &str| Encoded::new(&testing::pair(host, 0.5)).into_envelope();
    let batch = vec![report("b"), report("a"), report("b")];
    submit(&world.agents[0].channel, batch).await.unwrap();
    let line = log.says("rejected report").await;
    assert!(line.contains(" of agent a at 127.0.0.1: \"host.id: "), "{line}");
    let entry = eventually(async || {
        let entries = world.collector.registry.audit(None).await.unwrap();
        entries.into_iter().find(|entry| entry.detail.contains("report of host"))
    });
    let AuditEntry { event, who, address, detail, .. } = entry.await;
    let told = (event, who.as_str(), address.as_str(), detail.as_str());
    let says = "Ingest/Submit: report of host b rejected, and 1 more of others in the same batch";
    assert_eq!(told, (Event::Refused, "agent a", "127.0.0.1", says));
}

/// A collector with two agents, and what must be so there.
struct World {
    collector: Known,
    agents: Vec<Member>,
    ids: Vec<ReportId>,
    /// Which agent stored a report first, and what it was.
    stored: HashMap<ReportId, (usize, Digest)>,
}

/// An agent that has joined.
struct Member {
    card: Card,
    channel: Channel,
}

impl World {
    async fn start() -> Self {
        let collector = start_known(Asked::default()).await;
        let mut agents = Vec::new();
        for host in HOSTS {
            let card = collector.agent(host).await;
            let channel = collector.dial(Some(&card)).await;
            eventually(async || submit(&channel, vec![]).await.err().filter(is_known)).await;
            agents.push(Member { card, channel });
        }
        let ids = (0..3).map(|_| ReportId::now()).collect();
        Self { collector, agents, ids, stored: HashMap::new() }
    }

    async fn play(mut self, steps: &[Step]) {
        for step in steps {
            let Step { by, what } = *step;
            match what {
                What::Submit { claims, report, content } => {
                    self.submit(by, claims, report, content).await;
                }
                What::Renew { of } => self.renew(by, of).await,
                What::Join { claims, has_leave } => self.join(by, claims, has_leave).await,
                What::Ask { which, about } => self.ask(by, which, about).await,
            }
            self.check_who_is_who().await;
        }
        self.check_what_is_stored().await;
        self.collector.stop().await;
    }

    async fn submit(&mut self, by: usize, claims: usize, report: usize, content: u64) {
        let mut made = testing::pair(HOSTS[claims], 0.5);
        made.id = self.ids[report];
        made.seed = content;
        let at = self.ids[report].made_at();
        (made.started_at, made.ended_at) = (at, at);
        let encoded = Encoded::new(&made);
        let digest = encoded.digest;
        let batch = vec![encoded.into_envelope()];
        let answers = submit(&self.agents[by].channel, batch).await.unwrap();
        let said = answers[0].outcome.as_ref().unwrap();
        if by != claims {
            let Wire::Rejected(rejected) = said else { panic!("{said:?}") };
            assert_eq!(rejected.field, "host.id");
            assert_eq!(rejected.reason, "is not the host of this certificate");
            return;
        }
        match self.stored.get(&made.id) {
            None => {
                assert!(matches!(said, Wire::Stored(_)), "{said:?}");
                self.stored.insert(made.id, (by, digest));
            }
            Some((_, before)) if *before == digest => {
                assert!(matches!(said, Wire::Duplicate(_)), "{said:?}");
            }
            Some(_) => assert!(matches!(said, Wire::Conflict(_)), "{said:?}"),
        }
    }

    async fn renew(&mut self, by: usize, of: usize) {
        let certificate = self.agents[of].card.certificate.to_vec();
        let request = request(&self.agents[by].card.key);
        let renewal = Renewal { certificate, request }.into_wire();
        let mut client = EnrollmentClient::new(self.agents[by].channel.clone());
        match client.renew(renewal).await {
            Ok(issued) => {
                assert_eq!(by, of, "for another's certificate there is none");
                self.take(by, issued.into_inner(), None).await;
            }
            Err(status) if by == of => panic!("{status:?}"),
            Err(status) => assert_eq!(status.code(), Code::PermissionDenied, "{status:?}"),
        }
    }

    async fn join(&mut self, by: usize, claims: usize, has_leave: bool) {
        let replace_host = has_leave.then(|| HOSTS[by].parse().unwrap());
        let asked = NewToken { uses: 1, replace_host, ..token(Role::Agent, AN_HOUR) };
        let created = self.collector.desk().create_token(asked, &self.collector.by()).await;
        let token: JoinToken = created.unwrap().token.parse().unwrap();
        let key = KeyPair::generate().unwrap();
        let join = Join {
            secret: token.secret,
            host_id: HOSTS[claims].parse().unwrap(),
            host_name: "whoever".to_owned(),
            request: request(&key),
        };
        let mut client = EnrollmentClient::new(self.agents[by].channel.clone());
        match client.enroll(join.into_wire()).await {
            Ok(issued) => {
                assert!(has_leave && by == claims, "nobody gave it leave for that");
                let before = self.agents[by].channel.clone();
                self.take(by, issued.into_inner(), Some(key)).await;
                let status = submit(&before, vec![]).await.unwrap_err();
                assert_eq!(status.code(), Code::Unauthenticated, "the old key has ended");
            }
            Err(status) => {
                assert!(!(has_leave && by == claims), "{status:?}");
                assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
            }
        }
    }

    /// An agent goes on with what it was issued.
    async fn take(&mut self, by: usize, issued: v1::Issued, key: Option<KeyPair>) {
        let Issued { certificate, .. } = Issued::from_wire(issued).unwrap();
        let (subject, _) = self.collector.authority.read_own(&certificate).unwrap();
        assert_eq!((subject.role, subject.name.as_str()), (Role::Agent, HOSTS[by]));
        let member = self.agents.remove(by);
        let card = Card { certificate: certificate.into(), key: key.unwrap_or(member.card.key) };
        let channel = self.collector.dial(Some(&card)).await;
        self.agents.insert(by, Member { card, channel });
    }

    async fn ask(&self, by: usize, which: usize, about: usize) {
        let status = ask(&self.agents[by].channel, which, HOSTS[about]).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }

    /// Each host is known by the key of its own agent, and none is revoked.
    async fn check_who_is_who(&self) {
        let standing = self.collector.registry.standing().await.unwrap();
        for (name, member) in HOSTS.iter().zip(&self.agents) {
            let agent = standing.agents[&name.parse().unwrap()];
            let key = Digest::of(&member.card.key.subject_public_key_info());
            assert_eq!((agent.key, agent.is_revoked), (key, false), "{name}");
        }
        assert_eq!(standing.agents.len(), HOSTS.len());
        assert!(standing.bearers.is_empty());
    }

    async fn check_what_is_stored(&self) {
        let runs = self.collector.store.runs(None).await.unwrap();
        assert_eq!(runs.len(), self.stored.len());
        for run in runs {
            let (by, digest) = self.stored[&run.report.id];
            assert_eq!(run.report.host.id.as_str(), HOSTS[by]);
            assert_eq!(Encoded::new(&run.report).digest, digest);
        }
    }
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

const CALLS: usize = 8;

/// One of the calls that no agent may make.
async fn ask(channel: &Channel, which: usize, host: &str) -> Result<(), Status> {
    let mut control = ControlClient::new(channel.clone());
    match which {
        0 => {
            let mut query = QueryClient::new(channel.clone());
            query.runs(convert::runs_request(None)).await.map(drop)
        }
        1 => {
            let replace_host = Some(host.parse().unwrap());
            let asked = NewToken { uses: 1, replace_host, ..token(Role::Agent, AN_HOUR) };
            control.create_token(asked.into_wire()).await.map(drop)
        }
        2 => control.tokens(TokensRequest {}).await.map(drop),
        3 => {
            let id = "0123456789ab".to_owned();
            control.revoke_token(RevokeTokenRequest { id }).await.map(drop)
        }
        4 => control.agents(AgentsRequest {}).await.map(drop),
        5 => {
            let host_id = host.to_owned();
            control
                .revoke_agent(RevokeAgentRequest { host_id, ..RevokeAgentRequest::default() })
                .await
                .map(drop)
        }
        6 => {
            let host_id = host.to_owned();
            control.forget_host(ForgetHostRequest { host_id }).await.map(drop)
        }
        _ => control.audit(AuditRequest::default()).await.map(drop),
    }
}

/// Whether an empty batch was refused for being empty, and not for who sent it.
fn is_known(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

#[tokio::test]
async fn what_a_token_says_of_a_host_stands_over_what_the_host_says() {
    let collector = start_known(Asked::default()).await;
    let near = collector.near().await;
    let labels = [("rack".to_owned(), "9".to_owned()), ("env".to_owned(), "prod".to_owned())];
    let asked = NewToken { labels: labels.into(), uses: 1, ..token(Role::Agent, AN_HOUR) };
    let card = collector.agent_with("a", asked).await;
    let channel = collector.dial(Some(&card)).await;
    let mut report = testing::pair("a", 0.5);
    let own = [("rack".to_owned(), "7".to_owned()), ("note".to_owned(), "mine".to_owned())];
    report.labels = own.into();
    let encoded = Encoded::new(&report);
    let sent = encoded.bytes.clone();
    let batch = vec![encoded.into_envelope()];
    let answers = eventually(async || submit(&channel, batch.clone()).await.ok()).await;
    assert!(matches!(answers[0].outcome, Some(Wire::Stored(_))), "{answers:?}");

    let expected = [("env", "prod"), ("note", "mine"), ("rack", "9")];
    let is_so = |report: &Report| {
        let labels = report.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        assert_eq!(labels.collect::<Vec<_>>(), expected);
    };
    is_so(&collector.store.runs(None).await.unwrap()[0].report);
    let mut runs =
        QueryClient::new(near).runs(convert::runs_request(None)).await.unwrap().into_inner();
    let kept = runs.message().await.unwrap().unwrap();
    assert_eq!(kept.report, sent, "the bytes stay what they were");
    is_so(&convert::read_run(kept).unwrap().report);
}

#[tokio::test]
async fn who_is_trusted_for_its_place_submits_for_any_host() {
    let collector = start_known(Asked::default()).await;
    let near = collector.near().await;
    let batch = HOSTS.map(|host| envelope(&testing::pair(host, 0.5)));
    for answer in submit(&near, batch.to_vec()).await.unwrap() {
        assert!(matches!(answer.outcome, Some(Wire::Stored(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn of_a_batch_only_what_is_anothers_is_rejected() {
    let collector = start_known(Asked::default()).await;
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    let batch = ["a", "b", "a"].map(|host| envelope(&testing::pair(host, 0.5))).to_vec();
    let answers = eventually(async || submit(&channel, batch.clone()).await.ok()).await;
    let kinds = answers.iter().map(|answer| matches!(answer.outcome, Some(Wire::Stored(_))));
    assert_eq!(kinds.collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_token_speaks_for_its_own_host_alone() {
    let collector = start_known(Asked { is_tls: false, ..Asked::default() }).await;
    let token = collector.agents_bearer("a", Duration::from_secs(600)).await;
    let bearer = fleetmark_agent::delivery::Bearer::new(&token);
    let mut client = IngestClient::with_interceptor(connect(collector.address).await, bearer);
    let reports = ["a", "b", "a"].map(|host| envelope(&testing::pair(host, 0.5))).to_vec();
    let batch = SubmitRequest { reports, sent_at: None };
    let answers = eventually(async || client.submit(batch.clone()).await.ok()).await;
    let answers = answers.into_inner().answers;
    let [Some(Wire::Stored(_)), Some(Wire::Rejected(rejected)), Some(Wire::Stored(_))] =
        &answers.iter().map(|answer| answer.outcome.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(rejected.field, "host.id");
    assert_eq!(rejected.reason, "is not a, the host of this token");
    let runs = collector.store.runs(None).await.unwrap();
    assert!(runs.iter().all(|run| run.report.host.id.as_str() == "a") && runs.len() == 2);
}

//! The operators' service over a real socket, and what it makes.

use std::time::Duration;

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    control::{KnownAgent, KnownToken},
    convert,
    role::Subject,
    v1::{
        AgentsRequest, AgentsResponse, RevokeAgentRequest, RevokeTokenRequest, TokensRequest,
        control_client::ControlClient, control_server::ControlServer,
    },
};
use tempfile::TempDir;
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Channel};

use super::*;
use crate::{
    identity::{Credential, Who},
    registry::Joining,
    store::{self, Mode, StoreUrl},
    testing::call::{Called, refusal, serve},
};

fn now() -> Timestamp {
    "2026-11-25T09:00:00Z".parse().unwrap()
}

fn asked(role: Role) -> NewToken {
    NewToken {
        role,
        host: None,
        uses: u32::from(role == Role::Agent),
        ttl: Duration::from_secs(600),
        labels: [].into(),
        replace_host: None,
        network: None,
        note: "for a test".into(),
    }
}

fn issuing() -> Issuing {
    let endpoint = Some("https://collector.example:7600".parse().unwrap());
    Issuing { endpoint, pin: Some(Digest::of(b"the authority's key")) }
}

struct Collector {
    _folder: TempDir,
    registry: Arc<dyn Registry>,
    called: Called,
}

async fn start_with(issuing: Issuing) -> Collector {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let (_, registry) = store::open_both(&url, Mode::Write).await.unwrap();
    let service = ControlService::new(Arc::clone(&registry), issuing, Clock::new(now));
    let ann = Subject { role: Role::Operator, name: "ann".parse().unwrap() };
    let who = Who::Known(ann, Credential::Token("0123456789ab".parse().unwrap()));
    let called = serve(ControlServer::new(service), Some(who)).await;
    Collector { _folder: folder, registry, called }
}

impl Collector {
    fn client(&self) -> ControlClient<Channel> {
        ControlClient::new(self.called.channel.clone())
    }

    async fn create(&self, asked: NewToken) -> Created {
        let created = self.client().create_token(asked.into_wire()).await.unwrap();
        Created::from_wire(created.into_inner()).unwrap()
    }

    async fn audit(&self, since: Option<Timestamp>) -> Vec<AuditEntry> {
        let mut stream =
            self.client().audit(convert::audit_request(since)).await.unwrap().into_inner();
        let mut entries = Vec::new();
        while let Some(entry) = stream.next().await {
            entries.push(AuditEntry::from_wire(entry.unwrap()).unwrap());
        }
        entries
    }
}

fn by_ann(event: Event, detail: String) -> AuditEntry {
    let (who, address) = ("operator ann".to_owned(), "192.0.2.7".to_owned());
    AuditEntry { at: now(), event, who, address, detail }
}

#[tokio::test]
async fn a_token_leads_to_the_collector_and_its_digest_alone_is_kept() {
    let collector = start_with(issuing()).await;
    let Created { token, known } = collector.create(asked(Role::Agent)).await;
    let token: JoinToken = token.parse().unwrap();
    assert_eq!(Some(token.endpoint), issuing().endpoint);
    assert_eq!(Some(token.pin), issuing().pin);
    assert_eq!(known, asked(Role::Agent).made(&token.secret, now()));
    assert_eq!(collector.registry.tokens().await.unwrap(), [known]);
    let joining = Joining {
        token: token.secret.digest(),
        host_id: "web-1".parse().unwrap(),
        host_name: String::new(),
        key: Digest::of(b"key"),
        address: Address::Here,
        now: now(),
        ends_at: now(),
    };
    collector.registry.join(joining).await.unwrap().unwrap();

    let Created { token, known } = collector.create(asked(Role::Reader)).await;
    let token: BearerToken = token.parse().unwrap();
    let standing = collector.registry.standing().await.unwrap();
    assert_eq!(standing.bearers[&token.secret.digest()].id, known.id);
    let made = format!("token {}: reader, until 2026-11-25T09:10:00Z", known.id);
    let line = by_ann(Event::TokenCreated, made);
    assert_eq!(collector.audit(None).await.last(), Some(&line));
}

#[tokio::test]
async fn the_audit_trail_tells_what_a_token_lets_its_bearer_do() {
    let collector = start_with(issuing()).await;
    let labels = [("env", "prod"), ("rack", "7")].map(|(key, value)| (key.into(), value.into()));
    let network = Some("10.2.0.0/16".parse().unwrap());
    let many = NewToken { uses: 200, network, labels: labels.into(), ..asked(Role::Agent) };
    let replacing =
        NewToken { uses: 1, replace_host: Some("web-1".parse().unwrap()), ..asked(Role::Agent) };
    for (token, says) in [
        (many, "for 200 hosts, from 10.2.0.0/16, labels env=prod rack=7"),
        (replacing, "for 1 host, replaces host web-1"),
    ] {
        let Created { known, .. } = collector.create(token).await;
        let made = format!("token {}: agent, until 2026-11-25T09:10:00Z, {says}", known.id);
        let line = by_ann(Event::TokenCreated, made);
        assert_eq!(collector.audit(None).await.last(), Some(&line));
    }
}

#[tokio::test]
async fn tokens_and_hosts_are_listed_and_revoked() {
    let collector = start_with(issuing()).await;
    let Created { token, known } = collector.create(asked(Role::Agent)).await;
    let token: JoinToken = token.parse().unwrap();
    let joining = Joining {
        token: token.secret.digest(),
        host_id: "web-1".parse().unwrap(),
        host_name: "web-1.example".into(),
        key: Digest::of(b"key"),
        address: Address::Unix,
        now: now(),
        ends_at: now(),
    };
    let agent = collector.registry.join(joining).await.unwrap().unwrap();
    let mut client = collector.client();
    let tokens = client.tokens(TokensRequest {}).await.unwrap().into_inner().tokens;
    let tokens: Vec<_> =
        tokens.into_iter().map(|one| KnownToken::from_wire(one).unwrap()).collect();
    assert_eq!(tokens, [KnownToken { used: 1, ..known.clone() }]);
    let agents = client.agents(AgentsRequest {}).await.unwrap().into_inner().agents;
    let agents: Vec<_> =
        agents.into_iter().map(|one| KnownAgent::from_wire(one).unwrap()).collect();
    assert_eq!(agents, [agent]);

    for changed in [true, false] {
        let token = RevokeTokenRequest { id: known.id.to_string() };
        assert_eq!(client.revoke_token(token).await.unwrap().into_inner().changed, changed);
        let agent = RevokeAgentRequest { host_id: "web-1".into(), ..Default::default() };
        assert_eq!(client.revoke_agent(agent).await.unwrap().into_inner().changed, changed);
    }
    let lines = collector.audit(Some(now())).await;
    let revoked = [
        by_ann(Event::TokenRevoked, format!("token {}", known.id)),
        by_ann(Event::AgentRevoked, "host web-1".to_owned()),
    ];
    assert_eq!(lines[lines.len() - 2..], revoked);
    assert_eq!(collector.audit(Some(now() + Duration::from_secs(1))).await, []);
}

#[tokio::test]
async fn whom_others_know_is_revoked_and_let_in_again() {
    let collector = start_with(issuing()).await;
    let mut client = collector.client();
    let about = |uri: &str, undo| Revoking { subject: uri.parse().unwrap(), undo };
    for (uri, undo, changed) in [
        ("fleetmark://reader/ann", false, true),
        ("fleetmark://reader/ann", false, false),
        ("fleetmark://agent/web-9", false, true),
        ("fleetmark://agent/web-9", true, true),
        ("fleetmark://operator/ann", true, false),
    ] {
        let request = about(uri, undo).into_wire();
        let answer = client.revoke_agent(request).await.unwrap().into_inner();
        assert_eq!((answer.changed, answer.only_others), (changed, true), "{uri}");
    }
    let AgentsResponse { agents, revoked } =
        client.agents(AgentsRequest {}).await.unwrap().into_inner();
    assert_eq!(agents, []);
    let revoked: Vec<_> = revoked.into_iter().map(|one| one.subject).collect();
    assert_eq!(revoked, ["fleetmark://reader/ann"]);
    let lines = [
        (Event::AgentRevoked, "reader ann"),
        (Event::AgentRevoked, "host web-9"),
        (Event::AgentRestored, "host web-9"),
    ]
    .map(|(event, whom)| by_ann(event, whom.to_owned()));
    assert_eq!(collector.audit(None).await, lines);
}

#[tokio::test]
async fn a_token_speaks_for_the_host_that_it_was_made_for() {
    let collector = start_with(Issuing::default()).await;
    let host = Some("web-1".parse().unwrap());
    let asked = NewToken { host: host.clone(), uses: 0, ..asked(Role::Agent) };
    let Created { token, known } = collector.create(asked).await;
    let token: BearerToken = token.parse().unwrap();
    assert_eq!(known.host, host);
    let standing = collector.registry.standing().await.unwrap();
    assert_eq!(standing.bearers[&token.secret.digest()].host, host);
    let made = format!("token {}: agent web-1, until 2026-11-25T09:10:00Z", known.id);
    assert_eq!(collector.audit(None).await, [by_ann(Event::TokenCreated, made)]);
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_the_reason() {
    let collector = start_with(issuing()).await;
    let mut client = collector.client();
    let unknown = RevokeTokenRequest { id: "0123456789ab".into() };
    let told = refusal(client.revoke_token(unknown).await);
    assert_eq!(told, (Code::NotFound, "there is no token 0123456789ab".to_owned()));
    for (host_id, subject, field) in
        [("", None, "host_id: "), ("", Some("web-9"), "subject: "), ("a", Some("a"), "host_id: ")]
    {
        let (host_id, subject) = (host_id.to_owned(), subject.map(str::to_owned));
        let wrong = RevokeAgentRequest { host_id, subject, undo: false };
        let (code, told) = refusal(client.revoke_agent(wrong).await);
        assert_eq!((code, told.starts_with(field)), (Code::InvalidArgument, true), "{told}");
    }
    let wrong = RevokeTokenRequest { id: "x".into() };
    assert_eq!(refusal(client.revoke_token(wrong).await).0, Code::InvalidArgument);
    let wrong = NewToken { uses: 0, ..asked(Role::Agent) }.into_wire();
    let told = client.create_token(wrong).await.map(|_| ());
    assert_eq!(refusal(told), (Code::InvalidArgument, "uses: must be 1 to 100000".to_owned()));
    assert_eq!(collector.audit(None).await, [], "nothing was done");

    let collector = start_with(Issuing::default()).await;
    let told = collector.client().create_token(asked(Role::Agent).into_wire()).await.map(|_| ());
    assert_eq!(refusal(told).0, Code::FailedPrecondition);
    collector.create(asked(Role::Operator)).await;
}

#[test]
fn tokens_that_lead_nowhere_are_not_made() {
    let issue = |issuing: Issuing| issuing.issue(asked(Role::Agent), now()).unwrap_err();
    assert!(matches!(issue(Issuing { pin: None, ..issuing() }), IssueError::NoAuthority));
    assert!(matches!(issue(Issuing { endpoint: None, ..issuing() }), IssueError::NoEndpoint));
    let long = format!("https://{}.example", ["x".repeat(60).as_str(); 8].join("."));
    for endpoint in ["http://collector.example:7600", "unix:/run/fleetmark.sock", &long] {
        let endpoint = Some(endpoint.parse().unwrap());
        let error = issue(Issuing { endpoint, ..issuing() });
        assert!(matches!(error, IssueError::WrongEndpoint(_)), "{error}");
    }
}

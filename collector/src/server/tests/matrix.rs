//! Who may call what: every role, every call, and credentials that are missing, wrong, ended, revoked and right.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use bytes::Bytes;
use fleetmark_proto::{
    control::Event, role::Role, token::BearerToken, v1::control_client::ControlClient,
};
use http_body_util::Full;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tower::Service as _;

use super::{known::*, raw::eventually, *};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A call, and whether nobody, agents, readers and operators may make it.
type Row = (String, [bool; 4]);

/// The table of ARCHITECTURE.md, as people read it there.
static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("## Who may call what\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    section.lines().filter(|line| line.starts_with("| `")).flat_map(rows).collect()
});

/// A line of the table: a service with its methods, and what it says of each role.
fn rows(line: &str) -> Vec<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [calls, roles @ ..] = &cells[..] else { panic!("no calls: {line}") };
    let allowed: Vec<bool> = roles.iter().map(|cell| *cell != "no").collect();
    let allowed: [bool; 4] = allowed.try_into().expect("four roles");
    let mut names = calls.split('`').skip(1).step_by(2);
    let service = names.next().unwrap();
    names.map(|method| (format!("/{service}/{method}"), allowed)).collect()
}

/// What a guard says to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    Passed,
    Unknown,
    NotAllowed,
}

/// Makes a call with an empty message.
async fn call(
    channel: &Channel,
    path: &str,
    bearer: Option<&str>,
) -> Result<(Said, String), tonic::transport::Error> {
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    let empty = Bytes::from_static(&[0; 5]);
    let request = request.body(Body::new(Full::new(empty))).unwrap();
    let mut channel = channel.clone();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let answer = channel.call(request).await?;
    let status = tonic::Status::from_header_map(answer.headers());
    let message = status.as_ref().map(|status| status.message().to_owned()).unwrap_or_default();
    let said = match status.map(|status| status.code()) {
        Some(Code::Unauthenticated) => Said::Unknown,
        Some(Code::PermissionDenied) => Said::NotAllowed,
        _ => Said::Passed,
    };
    Ok((said, message))
}

/// Every call is answered as the table says for this column.
async fn may(channel: &Channel, bearer: Option<&str>, column: usize) {
    for (path, allowed) in TABLE.iter() {
        let expected = match (allowed[column], column) {
            (true, _) => Said::Passed,
            (false, 0) => Said::Unknown,
            (false, _) => Said::NotAllowed,
        };
        let (said, message) = call(channel, path, bearer).await.unwrap();
        assert_eq!(said, expected, "{path} as {column}: {message}");
    }
}

/// Whoever comes like this is nobody, and told so in these words.
async fn is_nobody(channel: &Channel, bearer: Option<&str>, says: &str) {
    may(channel, bearer, 0).await;
    let (_, message) = call(channel, "/fleetmark.v1.Query/Runs", bearer).await.unwrap();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
}

/// Whoever comes like this is known, may make none but everybody's calls, and is told so in these words.
async fn is_revoked(channel: &Channel, bearer: Option<&str>, says: &str) {
    for (path, allowed) in TABLE.iter() {
        let expected = if allowed[NOBODY] { Said::Passed } else { Said::NotAllowed };
        let (said, message) = call(channel, path, bearer).await.unwrap();
        assert_eq!(said, expected, "{path}: {message}");
        let is_told = allowed[NOBODY] || message.contains(says);
        assert!(is_told, "{path}: {message:?} does not say {says:?}");
    }
}

/// Waits until the collector knows of what was changed beside it.
async fn becomes(channel: &Channel, bearer: Option<&str>, path: &str, said: Said) {
    eventually(async || (call(channel, path, bearer).await.unwrap().0 == said).then_some(())).await;
}

fn header(token: &BearerToken) -> String {
    format!("Bearer {}", *token.expose())
}

const NOBODY: usize = 0;
const AGENT: usize = 1;
const READER: usize = 2;
const OPERATOR: usize = 3;
const ROLES: [&str; 4] = ["nobody", "agent", "reader", "operator"];

#[test]
fn the_table_has_every_call() {
    use prost::Message as _;
    let mut calls = BTreeSet::new();
    for bytes in [
        v1::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        for file in FileDescriptorSet::decode(bytes).unwrap().file {
            for service in &file.service {
                let methods = service.method.iter().map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                });
                calls.extend(methods);
            }
        }
    }
    let table: BTreeSet<String> = TABLE.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(table, calls);
}

#[tokio::test]
async fn without_credentials_nobody_is_known() {
    let collector = start_known(Asked::default()).await;
    let channel = collector.dial(None).await;
    is_nobody(&channel, None, "this call needs a certificate").await;
    let (said, _) = call(&channel, "/fleetmark.v1.Ingest/Unheard", None).await.unwrap();
    assert_eq!(said, Said::Unknown, "a call that is not in the table");
}

#[tokio::test]
async fn agents_have_certificates() {
    let collector = start_known(Asked::default()).await;
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::Passed).await;
    may(&channel, None, AGENT).await;

    let stranger = collector.stranger("b");
    let channel_b = collector.dial(Some(&stranger)).await;
    is_nobody(&channel_b, None, "host b is not enrolled here").await;

    collector.agent("a").await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::Unknown).await;
    is_nobody(&channel, None, "host a was enrolled again with another key").await;
}

#[tokio::test]
async fn an_agent_that_is_revoked_is_refused_on_open_connections_too() {
    let collector = start_known(Asked::default()).await;
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::Passed).await;
    collector.revoke_agent("a").await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::NotAllowed).await;
    is_revoked(&channel, None, "host a was revoked").await;
    is_revoked(&collector.dial(Some(&card)).await, None, "host a was revoked").await;
}

#[tokio::test]
async fn an_agent_whose_certificate_ends_is_nobody_on_open_connections_too() {
    let collector = start_known(Asked::default()).await;
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::Passed).await;
    collector.pass(25.hours());
    is_nobody(&channel, None, "the certificate ended at ").await;
    let again = collector.dial(Some(&card)).await;
    assert!(call(&again, &TABLE[0].0, None).await.is_err(), "the handshake refuses it");
    let without = collector.dial(None).await;
    is_nobody(&without, None, "this call needs a certificate").await;
}

#[tokio::test]
async fn readers_and_operators_have_tokens() {
    let collector = start_known(Asked::default()).await;
    for (role, column) in [(Role::Reader, READER), (Role::Operator, OPERATOR)] {
        let channel = collector.dial(None).await;
        let token = collector.bearer(role, 48 * HOUR).await;
        let bearer = header(&token);
        becomes(&channel, Some(&bearer), "/fleetmark.v1.Query/Runs", Said::Passed).await;
        may(&channel, Some(&bearer), column).await;
        let lower = bearer.replacen("Bearer", "bearer", 1);
        may(&channel, Some(&lower), column).await;

        collector.revoke_bearer(&token).await;
        becomes(&channel, Some(&bearer), "/fleetmark.v1.Query/Runs", Said::Unknown).await;
        is_nobody(&channel, Some(&bearer), "was revoked").await;

        let token = collector.bearer(role, HOUR).await;
        let bearer = header(&token);
        becomes(&channel, Some(&bearer), "/fleetmark.v1.Query/Runs", Said::Passed).await;
        collector.pass(2.hours());
        becomes(&channel, Some(&bearer), "/fleetmark.v1.Query/Runs", Said::Unknown).await;
        may(&channel, Some(&bearer), NOBODY).await;
    }
}

#[tokio::test]
async fn what_is_no_token_of_this_collectors_is_told() {
    let collector = start_known(Asked::default()).await;
    let channel = collector.dial(None).await;
    let unknown = BearerToken { secret: fleetmark_proto::secret::Secret::new().unwrap() };
    is_nobody(&channel, Some(&header(&unknown)), "is unknown here").await;
    let token = header(&unknown);
    for (wrong, says) in [
        (&token[..token.len() - 1], "mistyped or cut off"),
        ("Basic YTpi", "it has another scheme"),
        ("x", "it has no scheme"),
        ("Bearer fmj1_AAAA", "it is for a host to join with"),
    ] {
        is_nobody(&channel, Some(wrong), "is not `Bearer` with a token").await;
        let (_, said) = call(&channel, "/fleetmark.v1.Query/Runs", Some(wrong)).await.unwrap();
        assert!(said.contains(says) || wrong.contains("fmj1"), "{said}");
        assert!(!said.contains(wrong), "what came is not repeated: {said}");
    }
    // A token that counts for nothing does not fall back on a certificate that counts.
    let card = collector.agent("a").await;
    let agent = collector.dial(Some(&card)).await;
    becomes(&agent, None, "/fleetmark.v1.Ingest/Submit", Said::Passed).await;
    is_nobody(&agent, Some(&header(&unknown)), "is unknown here").await;
    let reader = header(&collector.bearer(Role::Reader, HOUR).await);
    becomes(&agent, Some(&reader), "/fleetmark.v1.Query/Runs", Said::Passed).await;
    may(&agent, Some(&reader), READER).await;
}

#[tokio::test]
async fn others_authorities_name_agents_readers_and_operators() {
    let collector = start_known(Asked::default()).await;
    let tomorrow = collector.now() + 24.hours();
    for (uri, column) in [
        ("fleetmark://agent/x", AGENT),
        ("fleetmark://reader/x", READER),
        ("fleetmark://operator/x", OPERATOR),
    ] {
        let card = collector.others.card(uri, tomorrow);
        may(&collector.dial(Some(&card)).await, None, column).await;
        let foreign = Other::new().card(uri, tomorrow);
        gets_no_answer(&collector, &foreign).await;
        let ended = collector.others.card(uri, collector.now() - 1.hours());
        gets_no_answer(&collector, &ended).await;
    }
    let nobody = collector.others.card("https://example.com/x", tomorrow);
    is_nobody(&collector.dial(Some(&nobody)).await, None, "must name one subject").await;
    // Here, hosts that were revoked are so whoever else speaks for them.
    collector.agent("x").await;
    let card = collector.others.card("fleetmark://agent/x", tomorrow);
    let channel = collector.dial(Some(&card)).await;
    may(&channel, None, AGENT).await;
    collector.revoke_agent("x").await;
    becomes(&channel, None, "/fleetmark.v1.Ingest/Submit", Said::NotAllowed).await;
    is_revoked(&channel, None, "agent x was revoked").await;
    // Joining again lets in who joins, and no other that speaks for it.
    let own = collector.dial(Some(&collector.agent("x").await)).await;
    becomes(&own, None, "/fleetmark.v1.Ingest/Submit", Said::Passed).await;
    may(&own, None, AGENT).await;
    is_revoked(&channel, None, "agent x was revoked").await;
}

/// Each call of the table fails with the handshake, over a connection of its own.
async fn gets_no_answer(collector: &Known, card: &Card) {
    for (path, _) in TABLE.iter() {
        let refused = collector.dial(Some(card)).await;
        assert!(call(&refused, path, None).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn whom_others_authorities_name_is_revoked_on_open_connections_too_and_let_in_again() {
    let collector = start_known(Asked::default()).await;
    let tomorrow = collector.now() + 24.hours();
    for (uri, column, path) in [
        ("fleetmark://agent/x", AGENT, "/fleetmark.v1.Ingest/Submit"),
        ("fleetmark://reader/x", READER, "/fleetmark.v1.Query/Runs"),
        ("fleetmark://operator/x", OPERATOR, "/fleetmark.v1.Query/Runs"),
    ] {
        let open = collector.dial(Some(&collector.others.card(uri, tomorrow))).await;
        let other = uri.replace("/x", "/y");
        let other = collector.dial(Some(&collector.others.card(&other, tomorrow))).await;
        may(&open, None, column).await;
        collector.revoke(uri, false).await;
        becomes(&open, None, path, Said::NotAllowed).await;
        let renewed = collector.dial(Some(&collector.others.card(uri, tomorrow))).await;
        for channel in [&open, &renewed] {
            is_revoked(channel, None, &format!("agent revoke x --role {} --undo`", ROLES[column]))
                .await;
        }
        may(&other, None, column).await;
        collector.revoke(uri, true).await;
        becomes(&open, None, path, Said::Passed).await;
        for channel in [&open, &renewed] {
            may(channel, None, column).await;
        }
    }
}

#[tokio::test]
async fn whom_others_authorities_name_is_nobody_once_the_certificate_ends() {
    let collector = start_known(Asked::default()).await;
    let soon = collector.now() + 1.hours();
    let cards = ["agent", "reader", "operator"]
        .map(|role| collector.others.card(&format!("fleetmark://{role}/x"), soon));
    let mut open = Vec::new();
    for card in &cards {
        let channel = collector.dial(Some(card)).await;
        call(&channel, &TABLE[0].0, None).await.unwrap();
        open.push(channel);
    }
    collector.pass(2.hours());
    for (card, channel) in cards.iter().zip(&open) {
        let says = "; the authority that issued it must issue another";
        is_nobody(channel, None, says).await;
        gets_no_answer(&collector, card).await;
    }
}

#[tokio::test]
async fn agents_have_tokens_where_a_proxy_ends_tls() {
    let asked = Asked { is_tls: false, ..Asked::default() };
    let collector = start_known(asked).await;
    let channel = connect(collector.address).await;
    let submit = "/fleetmark.v1.Ingest/Submit";
    let token = collector.agents_bearer("a", HOUR).await;
    let bearer = header(&token);
    becomes(&channel, Some(&bearer), submit, Said::Passed).await;
    may(&channel, Some(&bearer), AGENT).await;

    collector.revoke_bearer(&token).await;
    becomes(&channel, Some(&bearer), submit, Said::Unknown).await;
    is_nobody(&channel, Some(&bearer), "was revoked").await;

    let bearer = header(&collector.agents_bearer("a", HOUR).await);
    becomes(&channel, Some(&bearer), submit, Said::Passed).await;
    collector.revoke_agent("a").await;
    becomes(&channel, Some(&bearer), submit, Said::Unknown).await;
    is_nobody(&channel, Some(&bearer), "was revoked").await;

    let bearer = header(&collector.agents_bearer("a", HOUR).await);
    becomes(&channel, Some(&bearer), submit, Said::Passed).await;
    collector.pass(2.hours());
    becomes(&channel, Some(&bearer), submit, Said::Unknown).await;
    is_nobody(&channel, Some(&bearer), "this bearer token ended at ").await;
}

#[tokio::test]
async fn a_place_can_be_enough() {
    let collector = start_known(Asked::default()).await;
    let near = collector.near().await;
    for (path, _) in TABLE.iter() {
        assert_eq!(call(&near, path, None).await.unwrap().0, Said::Passed, "{path}");
    }
    let trust = |loopback, network| Asked {
        trust: Trust { loopback, network },
        is_tls: false,
        ..Asked::default()
    };
    for (asked, is_enough) in
        [(trust(true, false), true), (trust(false, true), true), (trust(false, false), false)]
    {
        let collector = start_known(asked).await;
        let channel = connect(collector.address).await;
        for &(ref path, [nobody, agent, reader, _]) in TABLE.iter() {
            let is_allowed = nobody || is_enough && (agent || reader);
            let expected = if is_allowed { Said::Passed } else { Said::Unknown };
            assert_eq!(call(&channel, path, None).await.unwrap().0, expected, "{path}");
        }
        let operator = header(&collector.bearer(Role::Operator, HOUR).await);
        becomes(&channel, Some(&operator), "/fleetmark.v1.Control/Agents", Said::Passed).await;
        may(&channel, Some(&operator), OPERATOR).await;
    }
}

#[tokio::test]
async fn a_token_may_be_for_a_network() {
    let collector = start_known(Asked::default()).await;
    let mut headers = Vec::new();
    for network in ["127.0.0.0/8", "10.0.0.0/8"] {
        let asked = fleetmark_proto::control::NewToken {
            network: Some(network.parse().unwrap()),
            ..token(Role::Reader, HOUR)
        };
        let by = crate::control::By {
            who: String::new(),
            address: crate::identity::Address::Here,
            at: collector.now(),
        };
        let created = collector.desk().create_token(asked, &by).await.unwrap();
        headers.push(format!("Bearer {}", *created.token));
    }
    let channel = collector.dial(None).await;
    becomes(&channel, Some(&headers[0]), "/fleetmark.v1.Query/Runs", Said::Passed).await;
    is_nobody(&channel, Some(&headers[1]), "may not be used from 127.0.0.1").await;
    is_nobody(&collector.near().await, Some(&headers[1]), "may not be used from unix").await;
}

#[tokio::test]
async fn who_joins_is_known_at_once() {
    let far_away = Bounds { refresh: 100 * HOUR, ..Bounds::default() };
    let collector = start_known(Asked { bounds: far_away, ..Asked::default() }).await;
    let channel = collector.dial(None).await;
    let created = {
        let request = v1::CreateTokenRequest { role: 1, uses: 1, ttl_s: 600, ..Default::default() };
        let answer = ControlClient::new(collector.near().await).create_token(request).await;
        answer.unwrap().into_inner().token
    };
    let secret = created.parse::<fleetmark_proto::token::JoinToken>().unwrap().secret;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let enroll = v1::EnrollRequest {
        host_id: "a".to_owned(),
        host_name: "a".to_owned(),
        request: request.der().to_vec(),
        proof: Some(v1::enroll_request::Proof::Token(secret.expose().to_vec())),
    };
    let mut client = v1::enrollment_client::EnrollmentClient::new(channel);
    let issued = client.enroll(enroll).await.unwrap().into_inner();
    let card = Card { certificate: issued.certificate.into(), key };
    let agent = collector.dial(Some(&card)).await;
    may(&agent, None, AGENT).await;
    let revoke = v1::RevokeAgentRequest { host_id: "a".to_owned(), ..Default::default() };
    let near = collector.near().await;
    let mut control = ControlClient::new(near);
    assert!(control.revoke_agent(revoke).await.unwrap().into_inner().changed);
    is_revoked(&agent, None, "host a was revoked").await;
}

#[tokio::test]
async fn refused_calls_are_counted_and_some_of_them_in_the_trail() {
    let collector = start_known(Asked::default()).await;
    let channel = collector.dial(None).await;
    for _ in 0..20 {
        call(&channel, "/fleetmark.v1.Control/Agents", None).await.unwrap();
    }
    let near = collector.near().await;
    // Another address has its own share of the trail.
    let request = v1::CreateTokenRequest { role: 2, ttl_s: 600, ..Default::default() };
    let created = ControlClient::new(near.clone()).create_token(request).await.unwrap();
    let bearer = format!("Bearer {}", created.into_inner().token);
    call(&near, "/fleetmark.v1.Control/Agents", Some(&bearer)).await.unwrap();
    let trail = eventually(async || {
        let all = collector.registry.audit(None).await.unwrap();
        let refused: Vec<_> =
            all.into_iter().filter(|entry| entry.event == Event::Refused).collect();
        refused.iter().any(|entry| entry.address == "unix").then_some(refused)
    })
    .await;
    let (unix, others): (Vec<_>, Vec<_>) = trail.iter().partition(|entry| entry.address == "unix");
    assert_eq!(others.len(), 6, "{others:?}");
    assert_eq!((others[0].who.as_str(), others[0].address.as_str()), ("", "127.0.0.1"));
    assert!(others[0].detail.starts_with("Control/Agents: this call needs a certificate"));
    let denied = unix.iter().find(|entry| entry.detail.contains("is for the role")).unwrap();
    assert!(denied.who.starts_with("reader "), "{denied:?}");
    assert!(denied.detail.contains("Control/Agents is for the role operator, not for reader"));
    let served = collector.stop().await;
    assert!(served.tally.calls_denied() >= 21);
}

#[tokio::test]
async fn what_was_made_beside_the_store_is_known_at_its_first_use() {
    let bounds = Bounds { refresh: HOUR, refresh_for_strangers: LOOK, ..Bounds::default() };
    let collector = start_known(Asked { bounds, ..Asked::default() }).await;
    let channel = collector.dial(None).await;
    let unknown = BearerToken { secret: fleetmark_proto::secret::Secret::new().unwrap() };
    is_nobody(&channel, Some(&header(&unknown)), "this bearer token is unknown here").await;
    let token = collector.bearer(Role::Reader, HOUR).await;
    let (said, message) =
        call(&channel, "/fleetmark.v1.Query/Runs", Some(&header(&token))).await.unwrap();
    assert_eq!(said, Said::Passed, "{message}");
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    let (said, message) = call(&channel, "/fleetmark.v1.Ingest/Submit", None).await.unwrap();
    assert_eq!(said, Said::Passed, "{message}");
}

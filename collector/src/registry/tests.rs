//! The suite that every registry passes. A backend adds itself to [`registries`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleetmark_proto::{control::NewToken, convert::Encoded, secret::Secret};
use jiff::ToSpan as _;
use tempfile::TempDir;

use super::*;
use crate::{
    store::{self, Clocks, Mode, NewRun, StoreUrl},
    testing,
};

mod leave;

/// An empty registry of every backend, with what keeps it there and how it is opened again.
async fn registries() -> Vec<(TempDir, StoreUrl, Arc<dyn Registry>)> {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("store.db"));
    let (_, registry) = store::open_both(&url, Mode::Write).await.unwrap();
    vec![(folder, url, registry)]
}

fn now() -> Timestamp {
    "2026-11-25T09:00:00Z".parse().unwrap()
}

fn days(days: i64) -> jiff::Span {
    (24 * days).hours()
}

fn home() -> Address {
    Address::Ip("10.2.0.7".parse().unwrap())
}

fn key(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

fn host(id: &str) -> HostId {
    id.parse().unwrap()
}

/// What an operator says at the collector's own command line.
fn by(event: Event, detail: &str) -> AuditEntry {
    AuditEntry {
        at: now(),
        event,
        who: "operator ann".into(),
        address: Address::Here.to_string(),
        detail: detail.into(),
    }
}

fn asked(uses: u32) -> NewToken {
    NewToken {
        role: Role::Agent,
        host: None,
        uses,
        ttl: Duration::from_secs(600),
        labels: BTreeMap::new(),
        replace_host: None,
        network: None,
        note: String::new(),
    }
}

/// Makes a token; returns the digest of its secret, and what is known of it.
async fn create(registry: &dyn Registry, asked: NewToken) -> (Digest, KnownToken) {
    let secret = Secret::new().unwrap();
    let token = asked.made(&secret, now());
    let made = by(Event::TokenCreated, token.id.as_str());
    registry.create_token(token.clone(), secret.digest(), made).await.unwrap();
    (secret.digest(), token)
}

/// A host that wants to join from home, with a key of its own.
fn joining(token: Digest, host_id: &str) -> Joining {
    Joining {
        token,
        host_id: host(host_id),
        host_name: format!("{host_id}.example"),
        key: key(host_id),
        address: home(),
        now: now() + 1.minute(),
        ends_at: now() + 1.minute() + 24.hours(),
    }
}

async fn join(registry: &dyn Registry, joining: Joining) -> Result<KnownAgent, Refused> {
    registry.join(joining).await.unwrap()
}

async fn renew(
    registry: &dyn Registry,
    host_id: &str,
    key: Digest,
    at: Timestamp,
) -> Result<KnownAgent, Refused> {
    registry.renew(host(host_id), key, home(), at, at + 24.hours()).await.unwrap()
}

async fn revoke_as(registry: &dyn Registry, uri: &str, undo: bool) -> Revoked {
    let revoking = Revoking { subject: uri.parse().unwrap(), undo };
    registry.revoke(revoking, by(Event::AgentRevoked, uri)).await.unwrap()
}

async fn revoke(registry: &dyn Registry, host_id: &str) -> Revoked {
    revoke_as(registry, &format!("fleetmark://agent/{host_id}"), false).await
}

/// The newest line of the audit trail.
async fn last(registry: &dyn Registry) -> AuditEntry {
    registry.audit(None).await.unwrap().pop().unwrap()
}

async fn used(registry: &dyn Registry, id: &TokenId) -> u32 {
    let tokens = registry.tokens().await.unwrap();
    tokens.into_iter().find(|token| token.id == *id).unwrap().used
}

#[tokio::test]
async fn tokens_come_back_as_they_were_made_newest_first() {
    for (_folder, url, registry) in registries().await {
        let full = NewToken {
            labels: [("rack".to_owned(), "7 \"b\"".to_owned())].into(),
            replace_host: Some(host("web-1")),
            network: Some("2001:db8::/32".parse().unwrap()),
            note: "for a person".into(),
            ..asked(1)
        };
        let (_, first) = create(&*registry, full).await;
        let bearer = NewToken { role: Role::Operator, ..asked(0) };
        let secret = Secret::new().unwrap();
        let second = bearer.made(&secret, now() + 1.second());
        let made = by(Event::TokenCreated, second.id.as_str());
        registry.create_token(second.clone(), secret.digest(), made).await.unwrap();
        assert_eq!(registry.tokens().await.unwrap(), [second.clone(), first.clone()]);
        let (_, again) = store::open_both(&url, Mode::Read).await.unwrap();
        assert_eq!(again.tokens().await.unwrap(), [second, first], "after a restart");
    }
}

#[tokio::test]
async fn a_host_joins_with_the_labels_of_its_token() {
    for (_folder, url, registry) in registries().await {
        let labels: BTreeMap<_, _> = [("rack".to_owned(), "7".to_owned())].into();
        let (token, known) =
            create(&*registry, NewToken { labels: labels.clone(), ..asked(1) }).await;
        let agent = join(&*registry, joining(token, "web-1")).await.unwrap();
        let expected = KnownAgent {
            host_id: host("web-1"),
            host_name: "web-1.example".into(),
            enrolled_at: now() + 1.minute(),
            address: "10.2.0.7".into(),
            token_id: known.id.clone(),
            renewed_at: now() + 1.minute(),
            ends_at: now() + 1.minute() + 24.hours(),
            revoked_at: None,
            labels,
        };
        assert_eq!(agent, expected);
        assert_eq!(registry.agents().await.unwrap(), [expected]);
        assert_eq!(used(&*registry, &known.id).await, 1);
        let (_, again) = store::open_both(&url, Mode::Read).await.unwrap();
        assert_eq!(again.agents().await.unwrap(), [agent], "after a restart");
        let entry = AuditEntry {
            at: now() + 1.minute(),
            event: Event::Enrolled,
            who: "agent web-1".into(),
            address: "10.2.0.7".into(),
            detail: format!("token {}", known.id),
        };
        assert_eq!(last(&*registry).await, entry);
    }
}

#[tokio::test]
async fn who_may_not_join_is_told_why_and_changes_nothing() {
    for (_folder, _, registry) in registries().await {
        let (fine, _) = create(&*registry, asked(9)).await;
        let (once, _) = create(&*registry, asked(1)).await;
        join(&*registry, joining(once, "first")).await.unwrap();
        let (revoked, known) = create(&*registry, asked(9)).await;
        let revocation = by(Event::TokenRevoked, known.id.as_str());
        registry.revoke_token(known.id, revocation).await.unwrap();
        let (bearer, _) = create(&*registry, NewToken { role: Role::Reader, ..asked(0) }).await;
        let other = NewToken { replace_host: Some(host("web-2")), ..asked(1) };
        let (other, _) = create(&*registry, other).await;
        let agents = NewToken { host: Some(host("web-1")), ..asked(0) };
        let (agents, _) = create(&*registry, agents).await;
        revoke(&*registry, "never").await;
        let network = Some("10.3.0.0/16".parse().unwrap());
        let (foreign, _) = create(&*registry, NewToken { network, ..asked(9) }).await;
        let late = |joining: Joining| Joining { now: now() + 10.minutes(), ..joining };
        let unix = |joining: Joining| Joining { address: Address::Unix, ..joining };
        let cases = [
            (joining(Digest::of(b"never made"), "web-1"), Refused::UnknownToken),
            (joining(once, "web-1"), Refused::UsedUp(1)),
            (joining(revoked, "web-1"), Refused::RevokedToken),
            (joining(bearer, "web-1"), Refused::NotToJoin),
            (joining(other, "web-1"), Refused::OtherHost(host("web-2"))),
            (joining(other, "first"), Refused::OtherHost(host("web-2"))),
            (joining(agents, "web-1"), Refused::NotToJoin),
            (joining(fine, "never"), Refused::RevokedHost(host("never"))),
            (joining(foreign, "web-1"), Refused::OtherNetwork("10.2.0.7".into())),
            (unix(joining(foreign, "web-1")), Refused::OtherNetwork("unix".into())),
            (late(joining(fine, "web-1")), Refused::Ended(now() + 10.minutes())),
            (joining(fine, "first"), Refused::KnownHost(host("first"))),
        ];
        let before = registry.audit(None).await.unwrap();
        for (joining, refused) in cases {
            assert_eq!(join(&*registry, joining).await, Err(refused));
        }
        assert_eq!(registry.audit(None).await.unwrap(), before, "lines are the asker's to write");
        let ids: Vec<_> =
            registry.agents().await.unwrap().into_iter().map(|agent| agent.host_id).collect();
        assert_eq!(ids, [host("first")], "nobody else has joined");
    }
}

#[tokio::test]
async fn of_two_that_race_for_the_last_use_one_is_refused() {
    for (_folder, url, registry) in registries().await {
        for round in 0..8 {
            let (token, known) = create(&*registry, asked(3)).await;
            // Each over a connection of its own, as two collectors would.
            let mut racing = Vec::new();
            for racer in 0..6 {
                let (_, registry) = store::open_both(&url, Mode::Write).await.unwrap();
                let joining = joining(token, &format!("r{round}-{racer}"));
                racing.push(tokio::spawn(async move { registry.join(joining).await.unwrap() }));
            }
            let mut joined = 0;
            for racer in racing {
                match racer.await.unwrap() {
                    Ok(_) => joined += 1,
                    Err(refused) => assert_eq!(refused, Refused::UsedUp(3)),
                }
            }
            assert_eq!((joined, used(&*registry, &known.id).await), (3, 3));
        }
    }
}

#[tokio::test]
async fn of_two_that_race_for_one_host_id_one_is_refused() {
    for (_folder, _, registry) in registries().await {
        let (token, known) = create(&*registry, asked(2)).await;
        let other = Joining { key: key("another"), ..joining(token, "web-1") };
        let (one, other) =
            tokio::join!(registry.join(joining(token, "web-1")), registry.join(other));
        let answers = [one.unwrap(), other.unwrap()];
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(refused, [&Refused::KnownHost(host("web-1"))]);
        assert_eq!(used(&*registry, &known.id).await, 1);
    }
}

#[tokio::test]
async fn a_host_that_lost_the_answer_gets_it_again_and_nobody_else_does() {
    for (_folder, _, registry) in registries().await {
        let long = NewToken { ttl: Duration::from_secs(86_400), ..asked(1) };
        let (token, known) = create(&*registry, long).await;
        let first = join(&*registry, joining(token, "web-1")).await.unwrap();
        let lines = registry.audit(None).await.unwrap();
        let at = |at: Timestamp| Joining {
            now: at,
            ends_at: at + 24.hours(),
            ..joining(token, "web-1")
        };
        let soon = now() + 2.minutes();
        for _ in 0..3 {
            assert_eq!(join(&*registry, at(soon)).await, Ok(first.clone()));
        }
        assert_eq!(registry.audit(None).await.unwrap(), lines, "it is the same joining");
        let later = now() + 12.minutes();
        let agent = join(&*registry, at(later)).await.unwrap();
        assert_eq!((agent.enrolled_at, agent.renewed_at), (now() + 1.minute(), later));
        assert_eq!(last(&*registry).await.event, Event::Renewed);
        assert_eq!(used(&*registry, &known.id).await, 1);
        let thief = Joining { key: key("thief"), ..at(later) };
        assert_eq!(join(&*registry, thief).await, Err(Refused::UsedUp(1)));
        let neighbour = Joining { host_id: host("web-2"), ..at(later) };
        assert_eq!(join(&*registry, neighbour).await, Err(Refused::UsedUp(1)), "as another");
        revoke(&*registry, "web-1").await;
        assert_eq!(join(&*registry, at(later)).await, Err(Refused::UsedUp(1)));
    }
}

#[tokio::test]
async fn a_known_host_is_replaced_only_with_leave() {
    for (_folder, _, registry) in registries().await {
        let (token, _) = create(&*registry, asked(9)).await;
        join(&*registry, joining(token, "web-1")).await.unwrap();
        join(&*registry, joining(token, "web-2")).await.unwrap();
        let leave = NewToken { replace_host: Some(host("web-1")), ..asked(1) };
        let (leave, known) = create(&*registry, leave).await;
        let other = |host_id| Joining { key: key("new"), ..joining(leave, host_id) };
        for stranger in ["web-2", "web-3"] {
            let refused = join(&*registry, other(stranger)).await;
            assert_eq!(refused, Err(Refused::OtherHost(host("web-1"))), "leave is for one host");
        }
        let agent = join(&*registry, other("web-1")).await.unwrap();
        assert_eq!(agent.token_id, known.id);
        let entry = last(&*registry).await;
        assert_eq!((entry.event, entry.who.as_str()), (Event::Replaced, "agent web-1"));

        let at = now() + 1.hour();
        let old = renew(&*registry, "web-1", key("web-1"), at).await;
        assert_eq!(old, Err(Refused::Replaced(host("web-1"))));
        renew(&*registry, "web-1", key("new"), at).await.unwrap();
    }
}

#[tokio::test]
async fn certificates_are_renewed_until_90_days_after_they_ended() {
    for (_folder, _, registry) in registries().await {
        let (token, _) = create(&*registry, asked(9)).await;
        let agent = join(&*registry, joining(token, "web-1")).await.unwrap();
        let at = agent.renewed_at + 12.hours();
        let renewed = renew(&*registry, "web-1", key("web-1"), at).await.unwrap();
        let expected = KnownAgent { renewed_at: at, ends_at: at + 24.hours(), ..agent };
        assert_eq!(renewed, expected);
        assert_eq!(registry.agents().await.unwrap(), [expected]);
        let entry = last(&*registry).await;
        assert_eq!((entry.event, entry.who.as_str()), (Event::Renewed, "agent web-1"));

        let at = renewed.ends_at + days(89);
        let renewed = renew(&*registry, "web-1", key("web-1"), at).await.unwrap();
        let at = renewed.ends_at + days(90);
        let renewed = renew(&*registry, "web-1", key("web-1"), at).await.unwrap();
        let at = renewed.ends_at + days(91);
        let refused = renew(&*registry, "web-1", key("web-1"), at).await;
        assert_eq!(refused, Err(Refused::LongEnded(renewed.ends_at)));
        assert_eq!(registry.agents().await.unwrap(), [renewed], "it stays as it was");

        let stranger = renew(&*registry, "web-9", key("web-9"), now()).await;
        assert_eq!(stranger, Err(Refused::UnknownHost(host("web-9"))));
        let thief = renew(&*registry, "web-1", key("thief"), now()).await;
        assert_eq!(thief, Err(Refused::Replaced(host("web-1"))));
    }
}

#[tokio::test]
async fn standing_is_what_decides_of_calls() {
    for (_folder, url, registry) in registries().await {
        let standing = registry.standing().await.unwrap();
        assert!(standing.agents.is_empty() && standing.bearers.is_empty());
        let (token, _) = create(&*registry, asked(9)).await;
        for id in ["web-1", "web-2"] {
            join(&*registry, joining(token, id)).await.unwrap();
        }
        let network = Some("10.2.0.0/16".parse().unwrap());
        let reader = NewToken { role: Role::Reader, network, ..asked(0) };
        let (reader, known) = create(&*registry, reader).await;
        let (gone, gone_known) =
            create(&*registry, NewToken { role: Role::Operator, ..asked(0) }).await;
        let agents = NewToken { host: Some(host("web-3")), ..asked(0) };
        let (agents, agents_known) = create(&*registry, agents).await;
        let revoke_token = |id: TokenId| registry.revoke_token(id, by(Event::TokenRevoked, "gone"));
        assert!(registry.standing().await.unwrap().bearers.contains_key(&gone));
        assert_eq!(revoke_token("0123456789ab".parse().unwrap()).await.unwrap(), None);
        assert_eq!(revoke_token(gone_known.id.clone()).await.unwrap(), Some(true));
        assert_eq!(revoke_token(gone_known.id.clone()).await.unwrap(), Some(false));
        revoke(&*registry, "web-2").await;
        revoke_as(&*registry, "fleetmark://reader/ann", false).await;

        let (_, reading) = store::open_both(&url, Mode::Read).await.unwrap();
        let standing = reading.standing().await.unwrap();
        let expected = |id: &str, is_revoked| AgentStanding { key: key(id), is_revoked };
        assert_eq!(standing.agents.len(), 2);
        assert_eq!(standing.agents[&host("web-1")], expected("web-1", false));
        assert_eq!(standing.agents[&host("web-2")], expected("web-2", true));
        let bearer = |id, role, host, network| BearerStanding {
            id,
            role,
            host,
            ends_at: known.ends_at,
            network,
            is_revoked: false,
        };
        let reads = bearer(known.id, Role::Reader, None, network);
        let speaks = bearer(agents_known.id, Role::Agent, Some(host("web-3")), None);
        // Whoever still uses one that was revoked is told of by name.
        let is_over = bearer(gone_known.id, Role::Operator, None, None);
        let is_over = BearerStanding { is_revoked: true, ..is_over };
        let expected = [(reader, reads), (agents, speaks), (gone, is_over)];
        assert_eq!(standing.bearers, HashMap::from(expected));
        let revoked = ["fleetmark://agent/web-2", "fleetmark://reader/ann"];
        let revoked = revoked.map(|uri| uri.parse::<Subject>().unwrap());
        assert_eq!(standing.revoked, HashSet::from(revoked.clone()));
        let revoked = revoked.map(|subject| RevokedSubject { subject, revoked_at: now() });
        assert_eq!(reading.revoked().await.unwrap(), revoked);
    }
}

#[tokio::test]
async fn the_audit_trail_tells_in_order_what_happened_from_then_on() {
    for (_folder, _, registry) in registries().await {
        let at = |minutes: i64| AuditEntry {
            at: now() + minutes.minutes(),
            ..by(Event::Refused, &minutes.to_string())
        };
        for minutes in [0, 1, 2] {
            registry.record(at(minutes)).await.unwrap();
        }
        assert_eq!(registry.audit(None).await.unwrap(), [at(0), at(1), at(2)]);
        let since = Some(now() + 1.minute());
        assert_eq!(registry.audit(since).await.unwrap(), [at(1), at(2)]);
        assert_eq!(registry.audit(Some(now() + 1.hour())).await.unwrap(), []);
    }
}

#[tokio::test]
async fn what_was_changed_is_not_there_without_its_line_of_the_audit_trail() {
    for (_folder, _, registry) in registries().await {
        let (_, token) = create(&*registry, asked(1)).await;
        assert_eq!(last(&*registry).await, by(Event::TokenCreated, token.id.as_str()));
        let again = by(Event::TokenCreated, "again");
        let twice = registry.create_token(token, Digest::of(b"other"), again).await;
        assert!(twice.is_err(), "an id is there once");
        assert_eq!(registry.audit(None).await.unwrap().len(), 1);
    }
}

//! A weekend without a network: certificates have ended and spools are full, and nobody comes to help.

use fleetmark_agent::{
    args::AccessArgs,
    credentials::{Credentials, Folder, Key, Membership},
    delivery::{Courier, Flushed, Keyring, Pace},
    spool::{Bounds as Room, Spool, SpoolError},
};
use fleetmark_proto::{
    control::NewToken,
    role::{Role, Subject},
    token::JoinToken,
};
use jiff::ToSpan as _;
use tempfile::TempDir;
use tokio::task::JoinSet;
use url::Url;

use super::{known::*, *};
use crate::{identity::Address, registry::Joining, simulate::Fleet};

const AGENTS: u32 = 200;
/// Reports that a spool has room for.
const ROOM: u64 = 3;
/// From Friday evening to Monday morning.
const HOURS: i64 = 64;

/// A host that has joined, with its state folder.
struct Agent {
    state: TempDir,
    spool: Spool,
    keyring: Keyring,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_agents_come_back_by_themselves() {
    let collector = start_known(Asked::default()).await;
    let url: Url = format!("https://localhost:{}", collector.address.port()).parse().unwrap();
    let secret = token_for_all(&collector).await;
    let mut fleet = Fleet::new("web", AGENTS, 7).unwrap();
    let mut agents = Vec::new();
    let mut spooled = Vec::new();
    for number in 0..AGENTS {
        let agent = joined(&collector, &format!("web-{number}"), &secret, &url).await;
        agents.push(agent);
    }
    for _ in 0..ROOM {
        for agent in &agents {
            let report = Encoded::new(&fleet.report(Timestamp::now()));
            agent.spool.reserve().unwrap().commit(&report).unwrap();
            spooled.push(report.id);
        }
    }
    for agent in &agents {
        assert!(matches!(agent.spool.reserve(), Err(SpoolError::Full { .. })), "it is full");
    }

    collector.pass(HOURS.hours());
    let expired = collector.registry.agents().await.unwrap();
    assert!(expired.iter().all(|agent| agent.ends_at < collector.now()), "none counts any more");
    let mut coming = JoinSet::new();
    let mut states = Vec::new();
    for Agent { state, spool, keyring } in agents {
        states.push(state);
        let pace = Pace { first_wait: Duration::from_millis(50), ..Pace::default() };
        let mut courier = Courier::new(vec![url.clone()], spool, pace, |_| {}).with(keyring);
        coming.spawn(async move { courier.flush(None, Duration::from_secs(120)).await });
    }
    let flushed: Vec<Flushed> = coming.join_all().await;
    for one in &flushed {
        assert_eq!((one.stored, one.left), (ROOM, Some(0)), "{one:?}");
    }
    let mut stored: Vec<ReportId> = Vec::new();
    for run in collector.store.runs(None).await.unwrap() {
        stored.push(run.report.id);
    }
    stored.sort_unstable();
    spooled.sort_unstable();
    assert_eq!(stored, spooled, "each once, and no other");
    let renewed = collector.registry.agents().await.unwrap();
    assert!(renewed.iter().all(|agent| agent.ends_at > collector.now()));
}

/// The secret of a token that lets all of them join.
async fn token_for_all(collector: &Known) -> JoinToken {
    let asked = NewToken { uses: AGENTS, ..token(Role::Agent, Duration::from_secs(600)) };
    let by = crate::control::By { who: String::new(), address: Address::Here, at: collector.now() };
    collector.desk().create_token(asked, &by).await.unwrap().token.parse().unwrap()
}

/// A host that joins, without its calls: an address may make only a few of them at once.
async fn joined(collector: &Known, host: &str, token: &JoinToken, url: &Url) -> Agent {
    let state = tempfile::tempdir().unwrap();
    let key = Key::new().unwrap();
    let subject = Subject { role: Role::Agent, name: host.parse().unwrap() };
    let request = key.request().unwrap();
    let signed = collector.authority.sign(&request, &subject, collector.now()).unwrap();
    let joining = Joining {
        token: token.secret.digest(),
        host_id: subject.name.clone(),
        host_name: host.to_owned(),
        key: signed.key,
        address: Address::Here,
        now: collector.now(),
        ends_at: signed.ends_at,
    };
    collector.registry.join(joining).await.unwrap().unwrap();
    let authority = collector.authority.certificate_der().to_vec();
    let credentials = Credentials {
        membership: Membership {
            host: subject.name,
            id_source: fleetmark_proto::host::HostIdSource::Flag,
            labels: std::collections::BTreeMap::new(),
        },
        endpoint: url.clone(),
        key,
        certificate: signed.certificate.into(),
        authority: authority.clone().into(),
        believed: vec![authority.into()],
    };
    let folder = Folder::of(state.path());
    folder.prepare().unwrap();
    folder.write(&credentials).unwrap();
    let room = Room { files: ROOM, ..Room::default() };
    let spool = Spool::open(&state.path().join("agent").join("spool"), room).unwrap();
    let clock = Clock::new(collector.clock());
    let keyring = Keyring::new(AccessArgs::default(), Some((folder, credentials)), clock);
    Agent { state, spool, keyring }
}

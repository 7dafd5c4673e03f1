//! Couriers that show who they are, against a collector that believes nobody else.

use std::{path::Path, sync::Arc, time::Duration};

use fleetmark_proto::{
    convert::Encoded,
    id::{Digest, HostId, ReportId},
};
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::{sync::Notify, time};
use tonic::Status;

use super::{MINUTE, SHORT};
use crate::{
    args::AccessArgs,
    clock::Clock,
    credentials::{Credentials, Folder},
    delivery::{
        Courier, Fate, Keyring, Pace,
        event::Event,
        line::Dialer,
        testing::secured::{DAY, Secured, begin, clock},
    },
    spool::{Bounds, Spool},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A host with a spool that has joined a collector.
struct Host {
    spool: Spool,
    folder: Folder,
    courier: Courier,
    told: Arc<std::sync::Mutex<Vec<String>>>,
    _state: TempDir,
}

impl Host {
    fn new(collector: &Secured, name: &str) -> Self {
        Self::with(collector, &collector.credentials(name), clock(SignedDuration::ZERO))
    }

    fn with(collector: &Secured, credentials: &Credentials, clock: Clock) -> Self {
        let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
        let state =
            tempfile::tempdir_in(memory.map_or_else(std::env::temp_dir, Path::to_owned)).unwrap();
        let spool = Spool::open(&state.path().join("spool"), Bounds::default()).unwrap();
        let folder = Folder::of(state.path());
        folder.write(credentials).unwrap();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let outlet = move |event: Event| {
            if !matches!(event, Event::Answered { .. }) {
                heard.lock().unwrap().push(event.to_string());
            }
        };
        let kept = Some((folder.clone(), credentials.clone()));
        let keyring = Keyring::new(AccessArgs::default(), kept, clock);
        let urls = vec![credentials.endpoint.clone()];
        let courier = Courier::new(urls, spool.clone(), Pace::default(), outlet)
            .dialing(Dialer::new(collector.reach()))
            .with(keyring);
        Self { spool, folder, courier, told, _state: state }
    }

    fn put(&self) -> ReportId {
        let (id, bytes) = (ReportId::at(begin()), vec![7; 10]);
        let encoded = Encoded { id, digest: Digest::of(&bytes), bytes };
        self.spool.reserve().unwrap().commit(&encoded).unwrap();
        id
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    fn waiting(&self) -> usize {
        self.spool.list().unwrap().len()
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.folder.read().unwrap().unwrap().certificate
    }

    async fn stay(&mut self, how_long: Duration) {
        self.courier.stay(&Notify::new(), time::sleep(how_long)).await;
    }
}

fn host_id(name: &str) -> HostId {
    name.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn reports_are_delivered_under_the_hosts_certificate() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::new(&collector, "web-1");
    let id = host.put();
    let flushed = host.courier.flush(Some(id), SHORT).await;
    assert!(matches!(flushed.first, Some(Fate::Answered { .. })), "{flushed:?}");
    let state = collector.state();
    assert_eq!(state.taken[0].0, host_id("web-1"));
    assert_eq!((state.dials, state.renewed.len()), (1, 0));
    assert_eq!(host.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_host_renews_at_half_of_its_certificates_life_and_keeps_its_key() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::new(&collector, "web-1");
    let before = host.folder.read().unwrap().unwrap();
    host.stay(72 * HOUR).await;
    let times: Vec<_> = {
        let state = collector.state();
        state.renewed.iter().map(|(_, time)| time.duration_since(begin())).collect()
    };
    assert!((5..=6).contains(&times.len()), "{times:?}");
    for (before, after) in std::iter::once(&SignedDuration::ZERO).chain(&times).zip(&times) {
        let life = after.as_secs_f64() - before.as_secs_f64();
        assert!((0.45..0.551).contains(&(life / DAY.as_secs_f64())), "{times:?}");
    }
    let after = host.folder.read().unwrap().unwrap();
    assert_eq!(after.key.digest(), before.key.digest());
    assert_ne!(after.certificate, before.certificate);
    assert_eq!(after.membership.labels["rack"], "7", "labels are those of the collector now");
    host.put();
    host.courier.flush(None, SHORT).await;
    assert_eq!(host.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn hosts_that_joined_together_renew_apart() {
    let collector = Secured::start(&["collector"]);
    let times: std::collections::HashSet<_> = (0..20)
        .map(|number| collector.credentials(&format!("web-{number}")).renew_at().as_second() / 60)
        .collect();
    assert!(times.len() > 10, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_a_weekend_hosts_come_back_by_themselves() {
    let collector = Secured::start(&["collector"]);
    collector.state().down = true;
    let mut hosts: Vec<_> =
        (0..200).map(|number| Host::new(&collector, &format!("web-{number}"))).collect();
    for host in &hosts {
        host.put();
    }
    // Of the weekend, the end is looked at: each host tries about once in half a minute.
    time::advance(64 * HOUR).await;
    let mut staying: Vec<_> = Vec::new();
    for mut host in hosts.drain(..) {
        staying.push(tokio::spawn(async move {
            host.stay(15 * MINUTE).await;
            host
        }));
    }
    time::sleep(10 * MINUTE).await;
    assert!(collector.state().taken.is_empty());
    assert!(collector.state().dials >= 200);
    collector.state().down = false;
    for staying in staying {
        let host = staying.await.unwrap();
        assert_eq!(host.waiting(), 0, "{:?}", host.told());
    }
    let state = collector.state();
    assert_eq!((state.renewed.len(), state.taken.len()), (200, 200));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_revoked_keeps_its_reports_and_says_so_once() {
    for silent in [false, true] {
        let collector = Secured::start(&["collector"]);
        let mut host = Host::new(&collector, "web-1");
        collector.state().revoked.insert(host_id("web-1"));
        collector.state().silent = silent;
        host.put();
        host.stay(Duration::from_secs(3_590)).await;
        assert_eq!(host.waiting(), 1);
        assert!(host.courier.turned_away().is_so());
        let told = host.told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("answers: this host was revoked"), "{told:?}");
        assert!(told[0].ends_with("next try in 10m"), "{told:?}");
        let dials = collector.state().dials;
        assert!(dials <= 3 * 6, "{dials} connections in an hour");
        collector.state().revoked.clear();
        host.stay(Duration::from_secs(20 * 60)).await;
        assert_eq!(host.waiting(), 0, "it asks now and then");
        assert!(!host.courier.turned_away().is_so());
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_with_nothing_to_send_hears_that_it_was_revoked_when_it_renews() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::new(&collector, "web-1");
    collector.state().down = true;
    host.stay(13 * HOUR).await;
    assert!(!host.courier.turned_away().is_so(), "nobody said anything");
    collector.state().down = false;
    collector.state().revoked.insert(host_id("web-1"));
    host.stay(3 * HOUR).await;
    assert!(host.courier.turned_away().is_so(), "{:?}", host.told());
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_behind_renews_when_it_is_refused_and_is_told() {
    let collector = Secured::start(&["collector"]);
    let credentials = collector.credentials("web-1");
    time::advance(Duration::from_secs(2 * 86_400)).await;
    // It takes its certificate for good, and the collector does not.
    let mut host = Host::with(&collector, &credentials, clock(SignedDuration::ZERO));
    host.put();
    let flushed = host.courier.flush(None, SHORT).await;
    assert_eq!(flushed.left, Some(0), "{flushed:?}");
    assert_eq!(collector.state().renewed.len(), 1);
    let told = host.told();
    assert!(told.iter().any(|line| line.contains("2 days behind the collector's")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_ahead_renews_once_and_goes_by_the_collectors_clock() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::with(&collector, &collector.credentials("web-1"), clock(2 * DAY));
    for _ in 0..3 {
        host.put();
        let flushed = host.courier.flush(None, SHORT).await;
        assert_eq!(flushed.left, Some(0), "{flushed:?}");
    }
    assert_eq!(collector.state().renewed.len(), 1);
    let told = host.told();
    let off = told.iter().filter(|line| line.contains("2 days ahead of the collector's")).count();
    assert_eq!(off, 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_behind_its_certificate_renews_once_and_is_told() {
    // The collector's own certificate has begun even so: it is made to count a week before.
    let year = SignedDuration::from_hours(365 * 24);
    let collector = Secured::with(&["collector"], begin() - 7 * DAY, year);
    let mut host = Host::with(&collector, &collector.credentials("web-1"), clock(-2 * DAY));
    for _ in 0..3 {
        host.put();
        let flushed = host.courier.flush(None, SHORT).await;
        assert_eq!(flushed.left, Some(0), "{flushed:?}");
    }
    assert_eq!(collector.state().renewed.len(), 1);
    let told = host.told();
    let off = told.iter().filter(|line| line.contains("2 days behind the collector's")).count();
    assert_eq!(off, 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_told_once_and_costs_no_report() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::new(&collector, "web-1");
    time::advance(15 * HOUR).await;
    collector.state().refusals.extend((0..3).map(|_| Status::unavailable("later")));
    host.put();
    let flushed = host.courier.flush(None, SHORT).await;
    assert_eq!(flushed.left, Some(0), "{flushed:?}");
    host.stay(8 * HOUR).await;
    assert_eq!(collector.state().renewed.len(), 1);
    let told = host.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("cannot be renewed"), "{told:?}");
    assert!(told[0].contains("the present one counts until 2026-11-28T18:00:00Z"), "{told:?}");
    assert!(told[1].starts_with("this host has a new certificate"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_does_not_undo_that_a_host_has_joined_anew() {
    let collector = Secured::start(&["collector"]);
    let mut host = Host::new(&collector, "web-1");
    time::advance(15 * HOUR).await;
    let anew = collector.credentials("web-1");
    host.folder.write(&anew).unwrap();
    host.put();
    host.courier.flush(None, SHORT).await;
    assert_eq!(host.waiting(), 0);
    assert_eq!(host.certificate(), anew.certificate);
    assert_eq!(collector.state().renewed, [], "another has seen to it");
    // As somebody else, it must not report what was measured as this one.
    time::advance(15 * HOUR).await;
    host.folder.write(&collector.credentials("web-2")).unwrap();
    host.put();
    let flushed = host.courier.flush(None, SHORT).await;
    assert_eq!(flushed.left, Some(0), "its certificate still counts");
    assert!(host.told().iter().any(|line| line.contains("joined anew")), "{:?}", host.told());
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_cannot_be_believed_gets_no_report() {
    let year = SignedDuration::from_hours(365 * 24);
    let other = Secured::start(&["collector"]);
    let cases = [
        (Secured::start(&["collector"]), "collector", "no authority signed"),
        (Secured::self_signed(&["collector"]), "collector", "no authority signed"),
        (Secured::with(&["collector"], begin() - 2 * year, year), "collector", "ended at"),
        (Secured::with(&["collector"], begin() + 2 * DAY, year), "collector", "2 days after"),
        (Secured::start(&["other-name", "127.0.0.2"]), "", "for other names (other-name"),
    ];
    for (number, (collector, own, says)) in cases.into_iter().enumerate() {
        let mut credentials = collector.credentials("web-1");
        if number == 0 {
            credentials.believed = vec![other.authority()];
        }
        if own.is_empty() {
            credentials.endpoint = "https://127.0.0.2:7600".parse().unwrap();
        }
        let mut host = Host::with(&collector, &credentials, clock(SignedDuration::ZERO));
        host.put();
        let flushed = host.courier.flush(None, SHORT).await;
        assert_eq!(flushed.left, Some(1));
        assert!(flushed.why().contains(says), "{}", flushed.why());
        assert!(collector.state().taken.is_empty());
    }
}

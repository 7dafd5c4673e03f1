//! Hosts that want to join.

use std::time::Duration;

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::Digest,
    secret::Secret,
    token::JoinToken,
};
use jiff::SignedDuration;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    credentials::Key,
    delivery::{
        DeliveryError, Joined, Joining,
        line::Dialer,
        testing::secured::{DAY, Secured, begin, clock},
    },
};

const PATIENCE: Duration = Duration::from_secs(30);

fn host() -> Host {
    Host {
        id: "web-1".parse().unwrap(),
        name: "web-1.example".to_owned(),
        id_source: HostIdSource::MachineId,
        boot_id_hash: None,
    }
}

fn token(collector: &Secured) -> JoinToken {
    JoinToken {
        endpoint: "https://collector:7600".parse().unwrap(),
        pin: collector.pin(),
        secret: Secret::new().unwrap(),
    }
}

async fn join(
    collector: &Secured,
    token: &JoinToken,
    ahead: SignedDuration,
) -> (Result<Joined, DeliveryError>, Vec<String>) {
    let mut told = Vec::new();
    let (host, key, clock) = (host(), Key::new().unwrap(), clock(ahead));
    let within = PATIENCE;
    let joining = Joining { token, host: &host, key: &key, believed: None, clock: &clock, within };
    let dialer = Dialer::new(collector.reach());
    let joined = joining.join_by(&dialer, |error| told.push(error.to_string())).await;
    (joined, told)
}

#[tokio::test(start_paused = true)]
async fn a_token_becomes_a_certificate_for_a_key_made_here() {
    let collector = Secured::start(&["collector"]);
    let (joined, told) = join(&collector, &token(&collector), SignedDuration::ZERO).await;
    let Joined { credentials, ahead } = joined.unwrap();
    assert_eq!((told, ahead.as_secs()), (vec![], 0));
    assert_eq!(credentials.membership.host, host().id);
    assert_eq!(credentials.membership.id_source, HostIdSource::MachineId);
    assert_eq!(credentials.membership.labels["rack"], "7");
    assert_eq!(credentials.believed, [collector.authority()]);
    assert_eq!(credentials.life().begins_at, begin());
    assert_eq!(collector.state().joined, [host().id]);
}

#[tokio::test(start_paused = true)]
async fn a_collector_without_the_pinned_authority_never_sees_the_token() {
    let collector = Secured::start(&["collector"]);
    let wrong = JoinToken { pin: Digest::of(b"another"), ..token(&collector) };
    let (joined, _) = join(&collector, &wrong, SignedDuration::ZERO).await;
    let says = joined.unwrap_err().to_string();
    assert!(says.contains("does not show the authority that the token names"), "{says}");
    assert_eq!(collector.state().joined, []);
    assert_eq!(collector.state().dials, 1, "that cannot pass by itself");
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_shown_and_has_not_signed_is_not_believed() {
    let collector = Secured::start(&["collector"]);
    // It shows the authority that is pinned, which anybody can, beside a certificate of its own.
    let impostor = Secured::posing(&["collector"], &collector);
    let (joined, _) = join(&impostor, &token(&collector), SignedDuration::ZERO).await;
    let says = joined.unwrap_err().to_string();
    assert!(says.contains("no authority signed"), "{says}");
    assert_eq!(impostor.state().joined, []);
}

#[tokio::test(start_paused = true)]
async fn a_collector_of_another_name_is_told_with_its_own() {
    let collector = Secured::start(&["collector", "elsewhere"]);
    let endpoint = "https://127.0.0.1:7600".parse().unwrap();
    let known = JoinToken { endpoint, ..token(&collector) };
    // Nobody is there by this name.
    let (joined, told) = join(&collector, &known, SignedDuration::ZERO).await;
    assert!(matches!(joined, Err(DeliveryError::Unreachable { .. })), "{joined:?}");
    assert_eq!(told.len(), 1, "{told:?}");
    let collector = Secured::start(&["elsewhere", "10.0.0.1"]);
    let endpoint = "https://10.0.0.1:7600".parse().unwrap();
    let other = JoinToken { endpoint, ..token(&collector) };
    let says = join(&collector, &other, SignedDuration::ZERO).await.0.unwrap_err().to_string();
    assert!(says.contains("for other names (elsewhere"), "{says}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_often_comes_again_when_it_was_told() {
    let collector = Secured::start(&["collector"]);
    let later = ErrorDetails::with_retry_info(Some(Duration::from_secs(4)));
    let status = Status::with_error_details(Code::Unavailable, "too many", later);
    collector.state().refusals.push_back(status);
    let begun = Instant::now();
    let (joined, told) = join(&collector, &token(&collector), SignedDuration::ZERO).await;
    assert!(joined.is_ok(), "{joined:?}");
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_refused_at_once() {
    let collector = Secured::start(&["collector"]);
    collector.state().refusals.push_back(Status::permission_denied("the token is used up"));
    let (joined, told) = join(&collector, &token(&collector), SignedDuration::ZERO).await;
    let says = joined.unwrap_err().to_string();
    assert_eq!(says, "the collector at https://collector:7600/ answers: the token is used up");
    assert_eq!((told.len(), collector.state().dials), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_off_are_told_by_how_much() {
    let collector = Secured::start(&["collector"]);
    let (joined, _) = join(&collector, &token(&collector), 2 * DAY).await;
    assert_eq!(joined.unwrap().ahead, -2 * DAY);
    // Two days ago this collector was not there yet.
    let (joined, _) = join(&collector, &token(&collector), -3 * DAY).await;
    let says = joined.unwrap_err().to_string();
    assert!(says.contains("2 days after what this host's clock says"), "{says}");
}

#[tokio::test(start_paused = true)]
async fn nothing_secret_is_shown() {
    let collector = Secured::start(&["collector"]);
    let token = token(&collector);
    let joined = join(&collector, &token, SignedDuration::ZERO).await.0.unwrap();
    let shown = format!("{joined:?} {:?}", joined.credentials.key);
    let secret = format!("{:?}", &token.secret.expose()[..4]);
    let key = format!("{:?}", &joined.credentials.key.expose()[..40]);
    for bytes in [secret.trim_matches(['[', ']']), key.trim_matches(['[', ']'])] {
        assert!(!shown.contains(bytes), "{shown}");
    }
}

//! Whatever a collector answers, nothing leaves the spool but at its word.

use fleetmark_proto::{
    convert::Outcome,
    id::{Digest, ReportId},
    invalid::Invalid,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::Notify, time};
use tonic::{Code, Status};

use super::MINUTE;
use crate::delivery::testing::{Reply, World};

fn random_answer(random: &mut ChaCha8Rng) -> Option<Outcome> {
    match random.random_range(0..10) {
        0..3 => Some(Outcome::Stored),
        3 => Some(Outcome::Duplicate),
        4 => Some(Outcome::Rejected(Invalid::new("cells", "are odd"))),
        5 => Some(Outcome::Conflict(Digest::of(b"other"))),
        _ => None,
    }
}

fn random_reply(mut random: ChaCha8Rng) -> Reply {
    match random.random_range(0..10) {
        0..3 => Reply::Fail(Status::new(Code::from_i32(random.random_range(0..17)), "no")),
        3 => Reply::Hang,
        _ => Reply::each(move |_| random_answer(&mut random)),
    }
}

async fn nothing_is_lost(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new();
    world.start("b");
    let mut put = world.fill::<12>().to_vec();
    let mut courier = world.courier(&["a", "dead", "b"]);
    for _ in 0..random.random_range(1..8) {
        let stream = ChaCha8Rng::from_rng(&mut random);
        world.reply([random_reply(stream)]);
        // It is stopped at any moment, in the middle of calls too.
        let moment = time::Duration::from_millis(random.random_range(0..90_000));
        if random.random_range(0..3) == 0 {
            let _ =
                time::timeout(moment, courier.stay(&Notify::new(), std::future::pending())).await;
        } else {
            courier.stay(&Notify::new(), time::sleep(moment)).await;
        }
        put.extend(world.fill::<2>());
        put.sort();
        check(&world, &put, seed);
    }
    // In the end all that is answered for at all is gone.
    world.reply([]);
    courier.stay(&Notify::new(), time::sleep(200 * MINUTE)).await;
    assert_eq!(world.waiting(), [], "seed {seed}");
}

#[track_caller]
fn check(world: &World, put: &[ReportId], seed: u64) {
    let (waiting, aside) = (world.waiting(), world.quarantined());
    for id in put {
        let heard = world.said(*id);
        let is_waiting = waiting.contains(id);
        let is_aside = aside.iter().any(|(aside, _)| aside == id);
        let delivered = |outcome: &Outcome| matches!(outcome, Outcome::Stored | Outcome::Duplicate);
        match (is_waiting, is_aside) {
            (true, false) => {}
            (false, true) => {
                assert!(heard.iter().any(|said| !delivered(said)), "seed {seed}: {id}")
            }
            (false, false) => assert!(heard.iter().any(delivered), "seed {seed}: {id} is lost"),
            (true, true) => panic!("seed {seed}: {id} is there twice"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_the_spool_but_at_a_collectors_word() {
    for seed in 0..60 {
        nothing_is_lost(seed).await;
    }
}

//! What a fleet does to a collector that comes back: ten thousand agents, each with a report in its spool and a backoff that
//! has grown while nobody answered, and all of them on connections of their own.
//!
//! `cargo bench -p fleetmark-collector --bench herd`
//!
//! The outage itself is not waited for: each agent's backoff, the one that real agents have, is asked for waits until their sum
//! is past the end of the outage. From there on all is real, the collector and its store, the connections and the time.

#[path = "support/collector.rs"]
mod collector;

use std::{
    error::Error,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use collector::{Collector, Split, approximate, conclude, cpu_of, judge, say};
use fleetmark_agent::backoff::Backoff;
use fleetmark_collector::{
    load::{Answer, Batch, Link},
    server::raise_open_files,
    simulate::Fleet,
};
use fleetmark_proto::unit::{Nanos, grouped};
use tokio::task::JoinSet;
use url::Url;

const AGENTS: u32 = 10_000;
/// The last is judged, the others are shown.
const OUTAGES: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(10 * 60)];
/// How much busier the busiest second may be than the mean.
const PEAK: f64 = 2.5;
/// Memory that the collector may take.
const MEMORY_MIB: u64 = 256;
/// When all must be delivered.
const DELIVERED: Duration = Duration::from_secs(5 * 60);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    conclude(benchmark())
}

fn benchmark() -> Outcome<bool> {
    raise_open_files();
    let split = Split::of_this_machine();
    split.keep_to(&split.clients)?;
    say(format_args!("{AGENTS} agents; {}\n", split.words()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut met = true;
    for (index, outage) in OUTAGES.into_iter().enumerate() {
        let is_judged = index + 1 == OUTAGES.len();
        met &= runtime.block_on(herd(&split, outage))? || !is_judged;
    }
    Ok(met)
}

/// What all agents do, by when they do it.
#[derive(Debug, Default)]
struct Seen {
    /// Connections begun, since the collector came back.
    connections: Vec<Duration>,
    refused: u64,
    failed: u64,
    stored: u64,
    last: Duration,
}

/// Has all agents come back after an outage; whether they did so as they should.
async fn herd(split: &Split, outage: Duration) -> Outcome<bool> {
    let collector = Collector::start(split)?;
    let mut fleet = Fleet::new("herd", AGENTS, 5)?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut agents = JoinSet::new();
    let back_at = Instant::now();
    for seed in 0..AGENTS {
        let mut backoff = Backoff::new(u64::from(seed));
        let mut waited = Duration::ZERO;
        // A refused connection takes no time to speak of.
        while waited < outage {
            waited += backoff.wait(None);
        }
        let batch = Batch::of(&mut fleet, 1);
        let agent =
            Agent { url: collector.url.clone(), batch, backoff, back_at, seen: Arc::clone(&seen) };
        agents.spawn(agent.deliver(waited - outage));
    }
    while let Some(ended) = agents.join_next().await {
        ended?;
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let memory_kib = collector.peak_memory_kib()?;
    let cpu = collector.cpu()?;
    collector.stop()?;
    let clients = cpu_of("self")?;
    say(format_args!(
        "the collector's CPU time {} s, and the agents' so far {} s\n",
        cpu.as_secs(),
        clients.as_secs()
    ))?;
    tell(outage, &seen, memory_kib / 1024)
}

/// One agent with one report.
struct Agent {
    url: Url,
    batch: Batch,
    backoff: Backoff,
    back_at: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Agent {
    /// Comes back after this wait, and again until its report is stored.
    async fn deliver(mut self, mut wait: Duration) {
        let mut link: Option<Link> = None;
        loop {
            tokio::time::sleep_until((self.back_at + wait).into()).await;
            let answer = self.attempt(&mut link).await;
            let now = self.back_at.elapsed();
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = match answer {
                Some(Answer::Answered { stored: 1, .. }) => {
                    seen.stored += 1;
                    seen.last = seen.last.max(now);
                    return;
                }
                Some(Answer::Refused(asked)) => {
                    seen.refused += 1;
                    asked
                }
                _ => {
                    seen.failed += 1;
                    link = None;
                    None
                }
            };
            wait = now + self.backoff.wait(asked);
        }
    }

    async fn attempt(&self, link: &mut Option<Link>) -> Option<Answer> {
        let open = match link {
            Some(link) => link,
            none => {
                let now = self.back_at.elapsed();
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).connections.push(now);
                none.insert(Link::open(&self.url).await.ok()?)
            }
        };
        Some(open.submit(&self.batch).await)
    }
}

/// Prints what was seen, and whether it is as it should be.
fn tell(outage: Duration, seen: &Seen, memory_mib: u64) -> Outcome<bool> {
    let mut bins: Vec<u64> = Vec::new();
    for begun in &seen.connections {
        let second = usize::try_from(begun.as_secs())?;
        bins.resize(bins.len().max(second + 1), 0);
        if let Some(bin) = bins.get_mut(second) {
            *bin += 1;
        }
    }
    let all: u64 = bins.iter().sum();
    let mean = approximate(all) / approximate(bins.len());
    let peak = bins.iter().max().copied().unwrap_or(0);
    let times = approximate(peak) / mean;
    say(format_args!(
        "after {} s: {} connections in {} s, {mean:.0} a second and {peak} at most; {} stored, {} refused, {} failed\n",
        outage.as_secs(),
        grouped(all),
        bins.len(),
        grouped(seen.stored),
        grouped(seen.refused),
        grouped(seen.failed),
    ))?;
    let even =
        judge("busiest second", format!("{times:.2} × the mean, at most {PEAK}"), times <= PEAK);
    let whole = judge(
        "all delivered",
        format!("in {}, at most {}", Nanos::from(seen.last), Nanos::from(DELIVERED)),
        seen.stored == u64::from(AGENTS) && seen.last <= DELIVERED,
    );
    let small = judge(
        "collector's memory",
        format!("{memory_mib} MiB at most, of {MEMORY_MIB}"),
        memory_mib <= MEMORY_MIB,
    );
    say(format_args!("{}{}{}", even.0, whole.0, small.0))?;
    Ok(even.1 && whole.1 && small.1)
}

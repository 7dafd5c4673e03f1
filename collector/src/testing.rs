//! Reports for tests, made by hand, and a store that does as it is told.

pub(crate) mod call;
mod store;

pub(crate) use store::ToldStore;

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::ReportId,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{Build, Cell, Evidence, Quality, Report, System, Workers},
    unit::Nanos,
};

use crate::stats::GroupKey;

/// A clean run with one cell, `spawn-overhead` in `thread`, that took these samples.
pub(crate) fn report(host: &str, samples: &[u64]) -> Report {
    let now = jiff::Timestamp::now();
    Report {
        id: ReportId::now(),
        host: Host {
            id: host.parse().unwrap(),
            name: format!("{host}.example"),
            id_source: HostIdSource::Flag,
            boot_id_hash: Some("b007".into()),
        },
        labels: [("rack".to_owned(), "7".to_owned())].into(),
        profile: Profile::new(facets(), None),
        system: System::default(),
        build: Build {
            meter: 1,
            tokio: "1.54.1".into(),
            rustc: "1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
            optimisation: "opt-level 3".into(),
            allocator: "system".into(),
            agent_version: "0.1.0".into(),
        },
        workers: Workers { count: 2, reason: "2 CPUs online, no limit".into() },
        seed: 42,
        rounds: u32::try_from(samples.len()).unwrap(),
        against: Spawner::Thread,
        evidence: Evidence::default(),
        quality: Quality::from_reasons(vec![]),
        started_at: now,
        ended_at: now,
        partial: None,
        cells: vec![cell(Spawner::Thread, samples)],
        precision: None,
        series: vec![],
    }
}

/// A clean run of eleven rounds in which `tokio` takes this many times as long as `thread`.
pub(crate) fn pair(host: &str, ratio: f64) -> Report {
    let thread: Vec<u64> = (0..11).map(|round| 1_000_000 + round * 100).collect();
    let tokio: Vec<u64> = thread
        .iter()
        .map(|sample| fleetmark_proto::unit::rounded(Nanos(*sample).to_f64() * ratio))
        .collect();
    let mut report = report(host, &thread);
    report.cells.push(cell(Spawner::Tokio, &tokio));
    report
}

/// The group of a report's first cell.
pub(crate) fn group_key(report: &Report) -> GroupKey {
    GroupKey::of(report, None, &report.cells[0])
}

pub(crate) fn cell(spawner: Spawner, samples: &[u64]) -> Cell {
    Cell {
        key: CellKey { scenario: Scenario::SpawnOverhead, spawner },
        workload: Workload {
            amount: Amount::Units(1_000),
            wait_ns: None,
            kernel_rounds: None,
            workers: None,
        },
        units: 1_000,
        samples_ns: samples.iter().copied().map(Nanos).collect(),
        cold_ns: Some(Nanos(5_000_000)),
        failure: None,
        threads_reached: Some(2),
        usage: None,
    }
}

fn facets() -> Facets {
    Facets {
        arch: "x86_64".into(),
        cpu_vendor: Some("AuthenticAMD".into()),
        cpu_model: Some("AMD EPYC".into()),
        cpu_family: Some("25".into()),
        cpu_model_number: Some("17".into()),
        l3_bytes: Some(32 << 20),
        sockets: Some(1),
        physical_cores: Some(2),
        threads_per_core: Some(1),
        core_kinds: vec![CoreKind { name: "core".into(), cores: 2 }],
        usable_cpus: 2,
        limit: Limit::None,
        quota_millicpus: None,
        memory_class_mib: Some(24 * 1024),
        machine: Some(Machine::Virtual),
        hypervisor: None,
        container: Some("none".into()),
    }
}

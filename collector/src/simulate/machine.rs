//! Kinds of machines, and what they would measure.

use std::{collections::BTreeMap, time::Duration};

use fleetmark_proto::{
    host::Host,
    id::ReportId,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{Build, CANARY_ROUNDS, Cell, Evidence, Quality, Report, System, Usage, Workers},
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::{Nanos, approximate, rounded},
};
use jiff::Timestamp;

use super::random::Random;

/// Measured rounds of each run, as agents make them unless told otherwise.
const ROUNDS: u32 = 11;
/// How long a run with the default workloads takes.
const RUN: Duration = Duration::from_secs(8);
/// Rounds of the kernel in a unit of the CPU-bound scenario.
const KERNEL_ROUNDS: u64 = 20_000_000;
/// Time of a round of the kernel on the first kind.
const KERNEL_ROUND_NS: f64 = 1.81;
/// Lengths of units in the pass that finds the cost of one, in rounds of the kernel.
const GRAINS: [u64; 10] = [0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 500_000];
/// Units of each length.
const GRAIN_UNITS: u64 = 1_000;

/// A kind of machine.
pub(super) struct Kind {
    arch: &'static str,
    vendor: &'static str,
    model: &'static str,
    family: &'static str,
    model_number: &'static str,
    pub(super) cpus: u32,
    memory_mib: u64,
    machine: Machine,
    instance_type: Option<&'static str>,
    /// How long spawning, waking and computing take, compared with the first kind.
    spawning: f64,
    waking: f64,
    computing: f64,
}

pub(super) const KINDS: [Kind; 4] = [
    Kind {
        arch: "x86_64",
        vendor: "AuthenticAMD",
        model: "AMD EPYC 7B13",
        family: "25",
        model_number: "1",
        cpus: 2,
        memory_mib: 8 * 1024,
        machine: Machine::Virtual,
        instance_type: None,
        spawning: 1.0,
        waking: 1.0,
        computing: 1.0,
    },
    Kind {
        arch: "x86_64",
        vendor: "GenuineIntel",
        model: "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz",
        family: "6",
        model_number: "106",
        cpus: 32,
        memory_mib: 256 * 1024,
        machine: Machine::BareMetal,
        instance_type: None,
        spawning: 0.7,
        waking: 0.9,
        computing: 1.3,
    },
    Kind {
        arch: "aarch64",
        vendor: "ARM",
        model: "Neoverse-N1",
        family: "0x41",
        model_number: "0xd0c",
        cpus: 4,
        memory_mib: 16 * 1024,
        machine: Machine::Virtual,
        instance_type: Some("m6g.xlarge"),
        spawning: 0.8,
        waking: 1.0,
        computing: 1.1,
    },
    Kind {
        arch: "x86_64",
        vendor: "AuthenticAMD",
        model: "AMD EPYC 9654 96-Core Processor",
        family: "25",
        model_number: "17",
        cpus: 16,
        memory_mib: 64 * 1024,
        machine: Machine::Virtual,
        instance_type: None,
        spawning: 0.6,
        waking: 0.8,
        computing: 0.8,
    },
];

impl Kind {
    fn facets(&self) -> Facets {
        Facets {
            arch: self.arch.to_owned(),
            cpu_vendor: Some(self.vendor.to_owned()),
            cpu_model: Some(self.model.to_owned()),
            cpu_family: Some(self.family.to_owned()),
            cpu_model_number: Some(self.model_number.to_owned()),
            l3_bytes: Some(32 << 20),
            sockets: Some(1),
            physical_cores: Some(self.cpus),
            threads_per_core: Some(1),
            core_kinds: vec![CoreKind { name: "core".to_owned(), cores: self.cpus }],
            usable_cpus: self.cpus,
            limit: Limit::None,
            quota_millicpus: None,
            memory_class_mib: Some(self.memory_mib),
            machine: Some(self.machine),
            hypervisor: (self.machine == Machine::Virtual).then(|| "kvm".to_owned()),
            container: Some("none".to_owned()),
        }
    }

    fn system(&self) -> System {
        let mitigations = [
            "itlb_multihit: Not affected",
            "l1tf: Not affected",
            "mds: Not affected",
            "meltdown: Not affected",
            "retbleed: Mitigation: untrained return thunk; SMT disabled",
            "spec_store_bypass: Mitigation: Speculative Store Bypass disabled via prctl",
            "spectre_v1: Mitigation: usercopy/swapgs barriers and __user pointer sanitization",
            "spectre_v2: Mitigation: Retpolines, IBPB: conditional, STIBP: disabled",
        ];
        System {
            kernel: Some("6.12.41-cloud-amd64".to_owned()),
            os: Some("Debian GNU/Linux 13 (trixie)".to_owned()),
            libc: Some("glibc 2.41".to_owned()),
            microcode: Some("0xa0011d5".to_owned()),
            mitigations: Some(mitigations.join("\n")),
            instance_type: self.instance_type.map(str::to_owned),
            memory_bytes: Some(self.memory_mib << 20),
        }
    }

    /// How long a unit costs to start, in nanoseconds.
    fn spawn_ns(&self, spawner: Spawner) -> f64 {
        self.spawning
            * match spawner {
                Spawner::Thread => 71_100.0,
                Spawner::Tokio => 583.0,
                Spawner::SpawnBlocking => 12_300.0,
                Spawner::Rayon => 243.0,
            }
    }

    /// How long a cell takes in nanoseconds.
    fn cell_ns(&self, key: CellKey) -> f64 {
        match (key.scenario, key.spawner) {
            (Scenario::SpawnOverhead, spawner) => 1_000.0 * self.spawn_ns(spawner),
            (Scenario::Waiting, Spawner::Thread) => 10e6 + 74.3e6 * self.spawning,
            (Scenario::Waiting, Spawner::Tokio | Spawner::Rayon) => 10e6 + 2.3e6 * self.waking,
            (Scenario::Waiting, Spawner::SpawnBlocking) => 10e6 + 16.3e6 * self.spawning,
            (Scenario::CpuBound, _) => 2.0 * approximate(KERNEL_ROUNDS) * self.round_ns(),
        }
    }

    fn round_ns(&self) -> f64 {
        KERNEL_ROUND_NS * self.computing
    }
}

/// What is measured on a machine, and how much longer each cell takes there than on others of its kind.
pub(super) struct Measured<'a> {
    pub(super) kind: &'a Kind,
    pub(super) pace: &'a dyn Fn(CellKey) -> f64,
}

impl Measured<'_> {
    /// The report of a clean run of the eleven cells that this host ended then.
    pub(super) fn report(
        &self,
        id: ReportId,
        host: Host,
        ended_at: Timestamp,
        random: &mut Random,
    ) -> Report {
        let kind = self.kind;
        Report {
            id,
            host,
            labels: BTreeMap::new(),
            profile: Profile::new(kind.facets(), kind.instance_type),
            system: kind.system(),
            build: Build {
                meter: 1,
                tokio: "1.54.1".to_owned(),
                rustc: "1.95.0".to_owned(),
                target: format!("{}-unknown-linux-gnu", kind.arch),
                optimisation: "opt-level 3".to_owned(),
                allocator: "system".to_owned(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            workers: Workers {
                count: kind.cpus,
                reason: format!("{} CPUs online, no limit", kind.cpus),
            },
            seed: random.next(),
            rounds: ROUNDS,
            against: Spawner::Thread,
            precision: None,
            evidence: self.evidence(random),
            quality: Quality::from_reasons(vec![]),
            started_at: ended_at - RUN,
            ended_at,
            partial: None,
            cells: CellKey::all().map(|key| self.cell(key, random)).collect(),
            series: vec![],
        }
    }

    /// What the passes `grain` and `neighbours` would measure there.
    pub(super) fn passes(&self, random: &mut Random) -> Vec<Series> {
        let spawners = [Spawner::Thread, Spawner::Tokio, Spawner::SpawnBlocking, Spawner::Rayon];
        let series = |pass, metric, cell| {
            let key = SeriesKey { pass, variant: Variant::Plain, metric };
            Series { key, cell }
        };
        let mut all = Vec::new();
        for (rounds, spawner) in
            GRAINS.iter().flat_map(|rounds| spawners.map(|spawner| (*rounds, spawner)))
        {
            all.push(series(Pass::Grain, Metric::Elapsed, self.grain(rounds, spawner, random)));
        }
        for spawner in spawners {
            let key = CellKey { scenario: Scenario::CpuBound, spawner };
            let late_ns = match spawner {
                Spawner::Thread => 8e6,
                Spawner::Tokio => 1.8 * self.kind.cell_ns(key),
                Spawner::SpawnBlocking => 6e6,
                Spawner::Rayon => 4e6,
            };
            let mut metric = |metric, typical_ns| {
                all.push(series(Pass::Neighbours, metric, self.sampled(key, typical_ns, random)));
            };
            metric(Metric::Elapsed, 1.02 * self.kind.cell_ns(key));
            metric(Metric::LatenessP99, late_ns);
            metric(Metric::LatenessWorst, 1.3 * late_ns);
        }
        all
    }

    fn cell(&self, key: CellKey, random: &mut Random) -> Cell {
        self.sampled(key, self.kind.cell_ns(key), random)
    }

    /// Units of some length that are started by one thread and done by all.
    fn grain(&self, rounds: u64, spawner: Spawner, random: &mut Random) -> Cell {
        let kind = self.kind;
        let (work, units) = (approximate(rounds) * kind.round_ns(), approximate(GRAIN_UNITS));
        let each = kind.spawn_ns(spawner).max(work / f64::from(kind.cpus)) + 0.02 * work;
        let key = CellKey { scenario: Scenario::CpuBound, spawner };
        let workload = Workload {
            amount: Amount::Units(GRAIN_UNITS),
            wait_ns: None,
            kernel_rounds: Some(rounds),
            workers: None,
        };
        Cell { workload, units: GRAIN_UNITS, ..self.sampled(key, units * each, random) }
    }

    fn sampled(&self, key: CellKey, typical_ns: f64, random: &mut Random) -> Cell {
        let (amount, wait_ns, kernel_rounds) = match key.scenario {
            Scenario::SpawnOverhead => (Amount::Units(1_000), None, None),
            Scenario::Waiting => (Amount::Units(1_000), Some(Nanos(10_000_000)), None),
            Scenario::CpuBound => (Amount::UnitsPerWorker(2), None, Some(KERNEL_ROUNDS)),
        };
        let typical_ns = typical_ns * (self.pace)(key);
        let mut sample = || Nanos(rounded(typical_ns * (0.98 + 0.04 * random.share())));
        Cell {
            key,
            workload: Workload { amount, wait_ns, kernel_rounds, workers: None },
            units: amount.units(self.kind.cpus),
            cold_ns: Some(sample()),
            samples_ns: (0..ROUNDS).map(|_| sample()).collect(),
            failure: None,
            threads_reached: Some(u64::from(self.kind.cpus)),
            usage: Some(Usage::default()),
        }
    }

    fn evidence(&self, random: &mut Random) -> Evidence {
        let canary_ns = approximate(CANARY_ROUNDS) * self.kind.round_ns();
        let mut canary = || Nanos(rounded(canary_ns * (1.0 + 0.01 * random.share())));
        Evidence {
            canary_before_ns: Some(canary()),
            canary_after_ns: Some(canary()),
            steal_fraction: Some(0.0),
            others_cpus: Some(0.02),
            procs_running_before: Some(1),
            procs_running_after: Some(1),
            cpu_pressure_before: Some(0.001),
            cpu_pressure_during: Some(0.4),
            governor: Some("performance".to_owned()),
            turbo: Some(true),
            usage: Some(Usage::default()),
            peak_memory_bytes: Some(21 << 20),
            peak_threads: Some(1_003),
            ..Evidence::default()
        }
    }
}

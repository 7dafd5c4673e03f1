//! Hosts that do not exist, and the reports that they would make.

use std::time::Duration;

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::{HostId, ReportId},
    invalid::Invalid,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{Build, Cell, Evidence, Quality, Report, System, Usage, Workers},
    unit::{Nanos, rounded},
};
use jiff::Timestamp;

/// Measured rounds of each run, as agents make them unless told otherwise.
const ROUNDS: u32 = 11;
/// How long a run with the default workloads takes.
const RUN: Duration = Duration::from_secs(8);

/// Machines of several kinds, each with its host id, that report in turn. The same seed gives the same samples.
#[derive(Clone, Debug)]
pub struct Fleet {
    hosts: Vec<HostId>,
    next: usize,
    random: Random,
}

impl Fleet {
    /// A fleet of this many hosts, called `NAME-0`, `NAME-1` and so on.
    ///
    /// # Errors
    ///
    /// If the name does not fit into a host id, or there are no hosts.
    pub fn new(name: &str, hosts: u32, seed: u64) -> Result<Self, Invalid> {
        if hosts == 0 {
            return Err(Invalid::new("hosts", "must be at least one"));
        }
        let hosts = (0..hosts).map(|number| format!("{name}-{number}").parse());
        Ok(Self { hosts: hosts.collect::<Result<_, _>>()?, next: 0, random: Random(seed) })
    }

    /// The report of a run that the next host ended at `ended_at`, with an id of its own.
    pub fn report(&mut self, ended_at: Timestamp) -> Report {
        let place = self.next % self.hosts.len().max(1);
        self.next = place + 1;
        let kind = &KINDS[place % KINDS.len()];
        let host = self.hosts[place].clone();
        let random = &mut self.random;
        let cells = CellKey::all().map(|key| cell(key, kind, random)).collect();
        Report {
            id: ReportId::at(ended_at),
            host: Host {
                name: format!("{host}.example"),
                id: host,
                id_source: HostIdSource::Cloud,
                boot_id_hash: Some(format!("{place:032x}")),
            },
            labels: [
                ("rack".to_owned(), (place / 40).to_string()),
                ("env".to_owned(), "simulated".to_owned()),
            ]
            .into(),
            profile: Profile::new(kind.facets(), None),
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
            evidence: evidence(kind, random),
            quality: Quality::from_reasons(vec![]),
            started_at: ended_at - RUN,
            ended_at,
            partial: None,
            cells,
            series: vec![],
        }
    }
}

/// A kind of machine.
struct Kind {
    arch: &'static str,
    vendor: &'static str,
    model: &'static str,
    family: &'static str,
    model_number: &'static str,
    cpus: u32,
    memory_mib: u64,
    machine: Machine,
    /// How long it takes compared with the first kind.
    pace: f64,
}

const KINDS: [Kind; 4] = [
    Kind {
        arch: "x86_64",
        vendor: "AuthenticAMD",
        model: "AMD EPYC 7B13",
        family: "25",
        model_number: "1",
        cpus: 2,
        memory_mib: 8 * 1024,
        machine: Machine::Virtual,
        pace: 1.0,
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
        pace: 1.3,
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
        pace: 1.1,
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
        pace: 0.8,
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
            instance_type: None,
            memory_bytes: Some(self.memory_mib << 20),
        }
    }
}

fn cell(key: CellKey, kind: &Kind, random: &mut Random) -> Cell {
    let workload = match key.scenario {
        Scenario::SpawnOverhead => Workload {
            amount: Amount::Units(1_000),
            wait_ns: None,
            kernel_rounds: None,
            workers: None,
        },
        Scenario::Waiting => Workload {
            amount: Amount::Units(1_000),
            wait_ns: Some(Nanos(10_000_000)),
            kernel_rounds: None,
            workers: None,
        },
        Scenario::CpuBound => Workload {
            amount: Amount::UnitsPerWorker(2),
            wait_ns: None,
            kernel_rounds: Some(20_000_000),
            workers: None,
        },
    };
    let typical_ns = kind.pace
        * match (key.scenario, key.spawner) {
            (Scenario::SpawnOverhead, Spawner::Thread) => 71.1e6,
            (Scenario::SpawnOverhead, Spawner::Tokio) => 0.583e6,
            (Scenario::SpawnOverhead, Spawner::SpawnBlocking) => 12.3e6,
            (Scenario::SpawnOverhead, Spawner::Rayon) => 0.243e6,
            (Scenario::Waiting, Spawner::Thread) => 84.3e6,
            (Scenario::Waiting, Spawner::Tokio | Spawner::Rayon) => 12.3e6,
            (Scenario::Waiting, Spawner::SpawnBlocking) => 26.3e6,
            (Scenario::CpuBound, _) => 72.5e6,
        };
    let mut sample = || Nanos(rounded(typical_ns * (0.97 + 0.08 * random.share())));
    Cell {
        key,
        workload,
        units: workload.amount.units(kind.cpus),
        cold_ns: Some(sample()),
        samples_ns: (0..ROUNDS).map(|_| sample()).collect(),
        failure: None,
        threads_reached: Some(u64::from(kind.cpus)),
        usage: Some(Usage::default()),
    }
}

fn evidence(kind: &Kind, random: &mut Random) -> Evidence {
    let mut canary = || Nanos(rounded(362_000.0 * kind.pace * (1.0 + 0.01 * random.share())));
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

/// `SplitMix64`: enough for noise.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        Nanos(self.next() >> 11).to_f64() / Nanos(1 << 53).to_f64()
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::convert::{self, Encoded};

    use super::*;

    #[test]
    fn reports_are_valid_realistic_and_all_different() {
        let mut fleet = Fleet::new("sim", 5, 1).unwrap();
        let now = Timestamp::now();
        let reports: Vec<Report> = (0..10).map(|_| fleet.report(now)).collect();
        for report in &reports {
            let encoded = Encoded::new(report);
            assert_eq!(&convert::decode(&encoded.bytes).unwrap(), report);
            assert!((1_500..6_000).contains(&encoded.bytes.len()), "{}", encoded.bytes.len());
            assert_eq!(report.cells.len(), 11);
            assert!(report.counts(false));
        }
        let ids: std::collections::BTreeSet<_> = reports.iter().map(|report| report.id).collect();
        assert_eq!(ids.len(), 10);
        let hosts: Vec<&str> = reports.iter().map(|report| report.host.id.as_str()).collect();
        assert_eq!(hosts[..6], ["sim-0", "sim-1", "sim-2", "sim-3", "sim-4", "sim-0"]);
        let again = Fleet::new("sim", 5, 1).unwrap().report(now);
        assert_eq!(again.cells, reports[0].cells, "by the same seed");
    }

    #[test]
    fn a_fleet_has_hosts_with_proper_names() {
        assert!(Fleet::new("sim", 0, 1).is_err());
        assert!(Fleet::new("two words", 1, 1).is_err());
    }
}

//! Whatever a valid report says, it says the same after it went over the wire; whatever the bytes are, nothing panics.

use std::collections::BTreeMap;

use fleetmark_proto::{
    convert::{self, Encoded, Outcome},
    host::{Host, HostIdSource},
    id::{Digest, ReportId},
    invalid::Invalid,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{
        Build, Cell, Evidence, Failure, FailureKind, Quality, Report, System, Throttling, Usage,
        Workers,
    },
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::Nanos,
};
use jiff::Timestamp;
use proptest::{collection::vec, option, prelude::*, sample::select};

fn text() -> impl Strategy<Value = String> {
    "[ -~äπ]{1,40}"
}

fn nanos() -> impl Strategy<Value = Nanos> {
    (0..86_400_000_000_000u64).prop_map(Nanos)
}

fn facets() -> impl Strategy<Value = Facets> {
    let cpu =
        (text(), option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let layout = (
        option::of(1..1u64 << 40),
        option::of(1..1_000u32),
        option::of(1..1_000u32),
        option::of(1..9u32),
        vec((text(), 1..999u32).prop_map(|(name, cores)| CoreKind { name, cores }), 0..4),
    );
    let limits = (1..999u32, select(vec![Limit::None, Limit::Affinity, Limit::Quota]), 1..9_999u64);
    let place = (
        option::of(1..1u64 << 30),
        option::of(select(vec![Machine::BareMetal, Machine::Virtual])),
        option::of(text()),
        option::of(text()),
    );
    (cpu, layout, limits, place).prop_map(|(cpu, layout, limits, place)| Facets {
        arch: cpu.0,
        cpu_vendor: cpu.1,
        cpu_model: cpu.2,
        cpu_family: cpu.3,
        cpu_model_number: cpu.4,
        l3_bytes: layout.0,
        sockets: layout.1,
        physical_cores: layout.2,
        threads_per_core: layout.3,
        core_kinds: layout.4,
        usable_cpus: limits.0,
        limit: limits.1,
        quota_millicpus: (limits.1 == Limit::Quota).then_some(limits.2),
        memory_class_mib: place.0,
        machine: place.1,
        hypervisor: place.2,
        container: place.3,
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let kinds = vec![
        FailureKind::Deadline,
        FailureKind::LimitedThreads,
        FailureKind::WrongChecksum,
        FailureKind::Panic,
        FailureKind::ChildDied,
    ];
    (select(kinds), text()).prop_map(|(kind, message)| Failure { kind, message })
}

/// A cell of a run with these rounds and workers.
fn cell(key: CellKey, rounds: usize, workers: u32) -> BoxedStrategy<Cell> {
    let amount = prop_oneof![
        (1..1_000u64).prop_map(Amount::Units),
        (1..100u64).prop_map(Amount::UnitsPerWorker)
    ];
    let asked = (amount, nanos(), 1..1_000_000u64, any::<bool>());
    let came = (
        vec(nanos(), rounds),
        option::of(nanos()),
        option::of(failure()),
        option::of(0..999u64),
        option::of(usage()),
    );
    (asked, came)
        .prop_map(move |((amount, wait, kernel_rounds, overridden), came)| Cell {
            key,
            workload: Workload {
                amount,
                wait_ns: (key.scenario == Scenario::Waiting).then_some(wait),
                kernel_rounds: (key.scenario == Scenario::CpuBound).then_some(kernel_rounds),
                workers: overridden.then_some(workers),
            },
            units: amount.units(workers),
            samples_ns: came.0,
            cold_ns: came.1,
            failure: came.2,
            threads_reached: came.3,
            usage: came.4,
        })
        .boxed()
}

fn usage() -> impl Strategy<Value = Usage> {
    (nanos(), nanos(), any::<u64>(), any::<u64>()).prop_map(
        |(user_ns, system_ns, voluntary_switches, involuntary_switches)| Usage {
            user_ns,
            system_ns,
            voluntary_switches,
            involuntary_switches,
        },
    )
}

/// Every kind of series at most once, each with as many samples as its pass has rounds.
fn series(workers: u32) -> BoxedStrategy<Vec<Series>> {
    let passes = [Pass::Article, Pass::Grain, Pass::Neighbours, Pass::Diagnose];
    let variants = [
        Variant::Plain,
        Variant::FromWorker,
        Variant::Vector,
        Variant::ColdPool,
        Variant::Single,
        Variant::Split,
    ];
    let metrics = [
        Metric::Elapsed,
        Metric::LatenessP99,
        Metric::LatenessWorst,
        Metric::Spawn,
        Metric::Run,
        Metric::Join,
        Metric::Overshoot,
    ];
    let keys: Vec<SeriesKey> = passes
        .into_iter()
        .flat_map(|pass| variants.map(|variant| (pass, variant)))
        .flat_map(|(pass, variant)| metrics.map(|metric| SeriesKey { pass, variant, metric }))
        .collect();
    proptest::sample::subsequence(keys, 0..9)
        .prop_flat_map(move |keys| {
            keys.into_iter()
                .map(|key| {
                    let cells: Vec<CellKey> = CellKey::all().collect();
                    let cell = (select(cells), 1..9usize)
                        .prop_flat_map(move |(of, rounds)| cell(of, rounds, workers));
                    cell.prop_map(move |cell| Series { key, cell })
                })
                .collect::<Vec<_>>()
        })
        .boxed()
}

fn cells(rounds: usize, workers: u32) -> impl Strategy<Value = Vec<Cell>> {
    let keys: Vec<CellKey> = CellKey::all().collect();
    proptest::sample::subsequence(keys.clone(), 1..=keys.len()).prop_flat_map(move |keys| {
        keys.into_iter().map(|key| cell(key, rounds, workers)).collect::<Vec<_>>()
    })
}

fn evidence() -> BoxedStrategy<Evidence> {
    let throttling =
        (0..99u64, 0..99u64, nanos()).prop_map(|(more, throttled_periods, throttled_ns)| {
            Throttling { periods: throttled_periods + more, throttled_periods, throttled_ns }
        });
    let seen =
        (option::of(nanos()), option::of(nanos()), option::of(0.0..=1.0), option::of(throttling));
    let busy = (
        option::of(0.0..999.0),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(0.0..=1.0),
        option::of(0.0..=1.0),
    );
    let clock = (
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(text()),
        option::of(text()),
        option::of(any::<bool>()),
    );
    let used = (option::of(usage()), option::of(0..1u64 << 50), option::of(0..9_999u64));
    (seen, busy, clock, used, any::<[bool; 2]>())
        .prop_map(|(seen, busy, clock, used, [blocking_pool_ended, other_run])| Evidence {
            canary_before_ns: seen.0,
            canary_after_ns: seen.1,
            steal_fraction: seen.2,
            throttling: seen.3,
            blocking_pool_ended,
            others_cpus: busy.0,
            procs_running_before: busy.1,
            procs_running_after: busy.2,
            cpu_pressure_before: busy.3,
            cpu_pressure_during: busy.4,
            thermal_throttles: clock.0,
            frequency_before_khz: clock.1,
            frequency_after_khz: clock.2,
            governor: clock.3,
            frequency_driver: clock.4,
            turbo: clock.5,
            usage: used.0,
            peak_memory_bytes: used.1,
            peak_threads: used.2,
            other_run,
        })
        .boxed()
}

fn system() -> impl Strategy<Value = System> {
    let texts = || option::of(text());
    (texts(), texts(), texts(), texts(), texts(), texts(), option::of(1..1u64 << 50)).prop_map(
        |(kernel, os, libc, microcode, mitigations, instance_type, memory_bytes)| System {
            kernel,
            os,
            libc,
            microcode,
            mitigations,
            instance_type,
            memory_bytes,
        },
    )
}

fn host() -> impl Strategy<Value = Host> {
    let sources =
        vec![HostIdSource::Flag, HostIdSource::Cloud, HostIdSource::MachineId, HostIdSource::State];
    ("[a-zA-Z0-9._:-]{1,128}", text(), select(sources), option::of("[0-9a-f]{32}")).prop_map(
        |(id, name, id_source, boot_id_hash)| Host {
            id: id.parse().unwrap(),
            name,
            id_source,
            boot_id_hash,
        },
    )
}

fn build() -> impl Strategy<Value = Build> {
    (1..u32::MAX, [text(), text(), text()], [text(), text(), text()]).prop_map(
        |(meter, one, two)| {
            let [tokio, rustc, target] = one;
            let [optimisation, allocator, agent_version] = two;
            Build { meter, tokio, rustc, target, optimisation, allocator, agent_version }
        },
    )
}

prop_compose! {
    fn report()(rounds in 1..8u32, workers in 1..64u32)(
        host in host(),
        labels in proptest::collection::btree_map("[a-z./_-]{1,20}", text(), 0..4),
        facets in facets(),
        system in system(),
        build in build(),
        reason in text(),
        seed in any::<u64>(),
        against in select(Spawner::ALL.to_vec()),
        evidence in evidence(),
        reasons in vec(text(), 0..4),
        started_ns in 0..4_000_000_000_000_000_000i128,
        took_ns in 0..86_400_000_000_000i128,
        cells in cells(usize::try_from(rounds).unwrap(), workers),
        series in series(workers),
        precision in option::of(0.0..=1.0),
        partial in option::of(text()),
        rounds in Just(rounds),
        workers in Just(workers),
    ) -> Report {
        let labels: BTreeMap<String, String> = labels;
        Report {
            id: ReportId::now(),
            host,
            labels,
            profile: Profile::new(facets, system.instance_type.as_deref()),
            system,
            build,
            workers: Workers { count: workers, reason },
            seed,
            rounds,
            against,
            evidence,
            quality: Quality::from_reasons(reasons),
            started_at: Timestamp::from_nanosecond(started_ns).unwrap(),
            ended_at: Timestamp::from_nanosecond(started_ns + took_ns).unwrap(),
            partial,
            cells,
            precision,
            series,
        }
    }
}

proptest! {
    #[test]
    fn a_report_means_the_same_after_the_wire(report in report()) {
        let encoded = Encoded::new(&report);
        let arrived = Encoded::from_envelope(encoded.clone().into_envelope()).unwrap();
        prop_assert_eq!(&arrived, &encoded);
        prop_assert_eq!(arrived.decode().unwrap(), report);
    }

    #[test]
    fn bytes_that_are_not_a_report_are_invalid_and_nothing_worse(
        report in report(),
        place in any::<prop::sample::Index>(),
        bits in 1..=255u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Encoded::new(&report).bytes;
        let place = place.index(bytes.len());
        bytes[place] ^= bits;
        let _ = convert::decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = convert::decode(&bytes);
    }

    #[test]
    fn noise_is_invalid(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(convert::decode(&bytes).is_err());
    }

    #[test]
    fn answers_mean_the_same_after_the_wire(bytes in any::<[u8; 32]>(), field in text(), reason in text()) {
        let id = ReportId::now();
        let digest = Digest::from_bytes(&bytes).unwrap();
        let rejected = Outcome::Rejected(Invalid { field, reason });
        for outcome in [Outcome::Stored, Outcome::Duplicate, Outcome::Conflict(digest), rejected] {
            let answer = outcome.clone().into_answer(id.as_bytes().to_vec());
            prop_assert_eq!(Outcome::from_answer(answer.clone(), id).unwrap(), outcome);
            prop_assert!(Outcome::from_answer(answer, ReportId::now()).is_err());
        }
    }
}

#[test]
fn an_answer_that_this_version_does_not_know_is_none() {
    let id = ReportId::now();
    let answer = fleetmark_proto::v1::Answer { report_id: id.as_bytes().to_vec(), outcome: None };
    assert!(Outcome::from_answer(answer, id).is_err());
}

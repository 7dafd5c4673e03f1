//! From the domain to the wire.

use jiff::Timestamp;

use crate::{
    host::{Host, HostIdSource},
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine},
    report::{
        Build, Cell, Evidence, Failure, FailureKind, Quality, QualityVerdict, Report, System,
        Throttling, Usage, Workers,
    },
    series::{Metric, Pass, Series, SeriesKey, Variant},
    unit::Nanos,
    v1,
};

pub(super) fn report(report: &Report) -> v1::Report {
    let Report {
        id,
        host: whose,
        labels,
        profile,
        system: beside,
        build: with,
        workers: sized,
        seed,
        rounds,
        against,
        evidence: seen,
        quality: trust,
        started_at,
        ended_at,
        partial,
        cells,
        precision,
        series: beside_cells,
    } = report;
    v1::Report {
        report_id: id.as_bytes().to_vec(),
        host: Some(host(whose)),
        labels: labels.clone().into_iter().collect(),
        facets: Some(facets(&profile.facets)),
        system: Some(system(beside)),
        build: Some(build(with)),
        workers: Some(workers(sized)),
        plan: Some(v1::Plan {
            seed: *seed,
            rounds: *rounds,
            against: spawner(*against).into(),
            precision: *precision,
        }),
        evidence: Some(evidence(seen)),
        quality: Some(quality(trust)),
        started_at: Some(timestamp(*started_at)),
        ended_at: Some(timestamp(*ended_at)),
        cells: cells.iter().map(cell).collect(),
        series: beside_cells.iter().map(series).collect(),
        partial: partial.clone(),
    }
}

fn host(host: &Host) -> v1::Host {
    let Host { id, name, id_source, boot_id_hash } = host;
    let source = match id_source {
        HostIdSource::Flag => v1::HostIdSource::Flag,
        HostIdSource::Cloud => v1::HostIdSource::Cloud,
        HostIdSource::MachineId => v1::HostIdSource::MachineId,
        HostIdSource::State => v1::HostIdSource::State,
    };
    v1::Host {
        id: id.to_string(),
        name: name.clone(),
        id_source: source.into(),
        boot_id_hash: boot_id_hash.clone(),
    }
}

fn facets(facets: &Facets) -> v1::Facets {
    let facets = facets.clone();
    let limit = match facets.limit {
        Limit::None => v1::Limit::None,
        Limit::Affinity => v1::Limit::Affinity,
        Limit::Quota => v1::Limit::Quota,
    };
    let machine = match facets.machine {
        None => v1::Machine::Unspecified,
        Some(Machine::BareMetal) => v1::Machine::BareMetal,
        Some(Machine::Virtual) => v1::Machine::Virtual,
    };
    let core_kind = |CoreKind { name, cores }| v1::CoreKind { name, cores };
    v1::Facets {
        arch: facets.arch,
        cpu_vendor: facets.cpu_vendor,
        cpu_model: facets.cpu_model,
        cpu_family: facets.cpu_family,
        cpu_model_number: facets.cpu_model_number,
        l3_bytes: facets.l3_bytes,
        sockets: facets.sockets,
        physical_cores: facets.physical_cores,
        threads_per_core: facets.threads_per_core,
        core_kinds: facets.core_kinds.into_iter().map(core_kind).collect(),
        usable_cpus: facets.usable_cpus,
        limit: limit.into(),
        quota_millicpus: facets.quota_millicpus,
        memory_class_mib: facets.memory_class_mib,
        machine: machine.into(),
        hypervisor: facets.hypervisor,
        container: facets.container,
    }
}

fn system(system: &System) -> v1::System {
    let System { kernel, os, libc, microcode, mitigations, instance_type, memory_bytes } =
        system.clone();
    v1::System { kernel, os, libc, microcode, mitigations, instance_type, memory_bytes }
}

fn build(build: &Build) -> v1::Build {
    let Build { meter, tokio, rustc, target, optimisation, allocator, agent_version } =
        build.clone();
    v1::Build { meter, tokio, rustc, target, optimisation, allocator, agent_version }
}

fn workers(workers: &Workers) -> v1::Workers {
    let Workers { count, reason } = workers.clone();
    v1::Workers { count, reason }
}

fn evidence(evidence: &Evidence) -> v1::Evidence {
    let Evidence {
        canary_before_ns,
        canary_after_ns,
        steal_fraction,
        throttling,
        blocking_pool_ended,
        others_cpus,
        procs_running_before,
        procs_running_after,
        cpu_pressure_before,
        cpu_pressure_during,
        thermal_throttles,
        frequency_before_khz,
        frequency_after_khz,
        governor,
        frequency_driver,
        turbo,
        usage: used,
        peak_memory_bytes,
        peak_threads,
        other_run,
    } = evidence;
    let throttled = |Throttling { periods, throttled_periods, throttled_ns }| v1::Throttling {
        periods,
        throttled_periods,
        throttled_ns: throttled_ns.0,
    };
    v1::Evidence {
        canary_before_ns: nanos(*canary_before_ns),
        canary_after_ns: nanos(*canary_after_ns),
        steal_fraction: *steal_fraction,
        throttling: throttling.map(throttled),
        blocking_pool_ended: *blocking_pool_ended,
        others_cpus: *others_cpus,
        procs_running_before: *procs_running_before,
        procs_running_after: *procs_running_after,
        cpu_pressure_before: *cpu_pressure_before,
        cpu_pressure_during: *cpu_pressure_during,
        thermal_throttles: *thermal_throttles,
        frequency_before_khz: *frequency_before_khz,
        frequency_after_khz: *frequency_after_khz,
        governor: governor.clone(),
        frequency_driver: frequency_driver.clone(),
        turbo: *turbo,
        usage: used.map(usage),
        peak_memory_bytes: *peak_memory_bytes,
        peak_threads: *peak_threads,
        other_run: *other_run,
    }
}

fn usage(usage: Usage) -> v1::Usage {
    let Usage { user_ns, system_ns, voluntary_switches, involuntary_switches } = usage;
    v1::Usage {
        user_ns: user_ns.0,
        system_ns: system_ns.0,
        voluntary_switches,
        involuntary_switches,
    }
}

fn quality(quality: &Quality) -> v1::Quality {
    let Quality { verdict, reasons } = quality;
    let verdict = match verdict {
        QualityVerdict::Clean => v1::quality::Verdict::Clean,
        QualityVerdict::Suspect => v1::quality::Verdict::Suspect,
    };
    v1::Quality { verdict: verdict.into(), reasons: reasons.clone() }
}

fn cell(cell: &Cell) -> v1::Cell {
    let Cell {
        key: CellKey { scenario: of, spawner: with },
        workload: asked,
        units,
        samples_ns,
        cold_ns,
        failure: wrong,
        threads_reached,
        usage: used,
    } = cell;
    v1::Cell {
        scenario: scenario(*of).into(),
        spawner: spawner(*with).into(),
        workload: Some(workload(asked)),
        units: *units,
        samples_ns: samples_ns.iter().map(|sample| sample.0).collect(),
        cold_ns: nanos(*cold_ns),
        median_ns: nanos(cell.median()),
        failure: wrong.as_ref().map(failure),
        threads_reached: *threads_reached,
        usage: used.map(usage),
    }
}

fn series(series: &Series) -> v1::Series {
    let Series { key: SeriesKey { pass, variant, metric }, cell: of } = series;
    let pass = match pass {
        Pass::Article => v1::Pass::Article,
        Pass::Grain => v1::Pass::Grain,
        Pass::Neighbours => v1::Pass::Neighbours,
        Pass::Diagnose => v1::Pass::Diagnose,
    };
    let variant = match variant {
        Variant::Plain => v1::Variant::Plain,
        Variant::FromWorker => v1::Variant::FromWorker,
        Variant::Vector => v1::Variant::Vector,
        Variant::ColdPool => v1::Variant::ColdPool,
        Variant::Single => v1::Variant::Single,
        Variant::Split => v1::Variant::Split,
    };
    let metric = match metric {
        Metric::Elapsed => v1::Metric::Elapsed,
        Metric::LatenessP99 => v1::Metric::LatenessP99,
        Metric::LatenessWorst => v1::Metric::LatenessWorst,
        Metric::Spawn => v1::Metric::Spawn,
        Metric::Run => v1::Metric::Run,
        Metric::Join => v1::Metric::Join,
        Metric::Overshoot => v1::Metric::Overshoot,
    };
    v1::Series {
        pass: pass.into(),
        variant: variant.into(),
        metric: metric.into(),
        cell: Some(cell(of)),
    }
}

fn workload(workload: &Workload) -> v1::Workload {
    use v1::workload::Amount as Wire;
    let Workload { amount, wait_ns, kernel_rounds, workers } = workload;
    let amount = match amount {
        Amount::Units(units) => Wire::Units(*units),
        Amount::UnitsPerWorker(units) => Wire::UnitsPerWorker(*units),
    };
    v1::Workload {
        amount: Some(amount),
        wait_ns: nanos(*wait_ns),
        kernel_rounds: *kernel_rounds,
        workers: *workers,
    }
}

fn failure(failure: &Failure) -> v1::Failure {
    let Failure { kind, message } = failure;
    let kind = match kind {
        FailureKind::Deadline => v1::FailureKind::Deadline,
        FailureKind::LimitedThreads => v1::FailureKind::LimitedThreads,
        FailureKind::WrongChecksum => v1::FailureKind::WrongChecksum,
        FailureKind::Panic => v1::FailureKind::Panic,
        FailureKind::ChildDied => v1::FailureKind::ChildDied,
    };
    v1::Failure { kind: kind.into(), message: message.clone() }
}

fn scenario(scenario: Scenario) -> v1::Scenario {
    match scenario {
        Scenario::SpawnOverhead => v1::Scenario::SpawnOverhead,
        Scenario::Waiting => v1::Scenario::Waiting,
        Scenario::CpuBound => v1::Scenario::CpuBound,
    }
}

fn spawner(spawner: Spawner) -> v1::Spawner {
    match spawner {
        Spawner::Thread => v1::Spawner::Thread,
        Spawner::Tokio => v1::Spawner::Tokio,
        Spawner::SpawnBlocking => v1::Spawner::SpawnBlocking,
        Spawner::Rayon => v1::Spawner::Rayon,
    }
}

fn nanos(value: Option<Nanos>) -> Option<u64> {
    value.map(|Nanos(nanos)| nanos)
}

/// The wire wants nanoseconds that count forward from a second that may lie before 1970.
pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0),
    }
}

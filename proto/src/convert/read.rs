//! From the wire to the domain. Every field is checked here; nothing invalid comes out.

use std::{collections::BTreeMap, ops::RangeInclusive};

use jiff::Timestamp;

use crate::{
    host::{Host, HostIdSource},
    id::ReportId,
    invalid::Invalid,
    limits,
    plan::{Amount, CellKey, Scenario, Spawner, Workload},
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{
        Build, Cell, Evidence, Failure, FailureKind, Quality, QualityVerdict, Report, System,
        Throttling, Workers,
    },
    unit::Nanos,
    v1,
};

type Checked<T> = Result<T, Invalid>;

pub(super) fn report(message: v1::Report) -> Checked<Report> {
    let v1::Report {
        report_id,
        host: whose,
        labels: named,
        facets: hardware,
        system: beside,
        build: with,
        workers: sized,
        plan,
        evidence: seen,
        quality: trust,
        started_at,
        ended_at,
        cells,
    } = message;
    let system = within("system", present(beside).and_then(system))?;
    let facets = within("facets", present(hardware).and_then(facets))?;
    let v1::Plan { seed, rounds, against } = within("plan", present(plan))?;
    let report = Report {
        id: ReportId::from_bytes(&report_id)?,
        host: within("host", present(whose).and_then(host))?,
        labels: labels(named)?,
        profile: Profile::new(facets, system.instance_type.as_deref()),
        system,
        build: within("build", present(with).and_then(build))?,
        workers: within("workers", present(sized).and_then(workers))?,
        seed,
        rounds: in_range("plan.rounds", rounds, 1..=limits::ROUNDS)?,
        against: within("plan.against", spawner(against))?,
        evidence: within("evidence", present(seen).and_then(evidence))?,
        quality: within("quality", present(trust).and_then(quality))?,
        started_at: within("started_at", present(started_at).and_then(timestamp))?,
        ended_at: within("ended_at", present(ended_at).and_then(timestamp))?,
        cells: cells
            .into_iter()
            .enumerate()
            .map(|(index, wire)| within(&format!("cells[{index}]"), cell(wire, rounds)))
            .collect::<Checked<_>>()?,
    };
    coherent(&report)?;
    Ok(report)
}

/// What no single field can show.
fn coherent(report: &Report) -> Checked<()> {
    let took = report.ended_at.duration_since(report.started_at);
    if took.is_negative() {
        return Err(Invalid::new("ended_at", "lies before started_at"));
    }
    if took.unsigned_abs() > limits::RUN_DURATION {
        return Err(Invalid::new("ended_at", "lies more than 7 days after started_at"));
    }
    if report.cells.is_empty() {
        return Err(Invalid::new("cells", "must not be empty"));
    }
    for (index, cell) in report.cells.iter().enumerate() {
        let path = |field: &str| format!("cells[{index}]{field}");
        if report.cells.iter().take(index).any(|earlier| earlier.key == cell.key) {
            return Err(Invalid::new(path(""), format!("{} is there twice", cell.key)));
        }
        if cell.units != cell.workload.amount.units(report.workers.count) {
            return Err(Invalid::new(path(".units"), "is not what the workload gives"));
        }
        let overridden = cell.workload.workers;
        if overridden.is_some_and(|workers| workers != report.workers.count) {
            return Err(Invalid::new(path(".workload.workers"), "is not workers.count"));
        }
    }
    Ok(())
}

fn host(wire: v1::Host) -> Checked<Host> {
    let v1::Host { id, name, id_source, boot_id_hash } = wire;
    let source = match known("id_source", id_source)? {
        v1::HostIdSource::Unspecified => return Err(unspecified("id_source")),
        v1::HostIdSource::Flag => HostIdSource::Flag,
        v1::HostIdSource::Cloud => HostIdSource::Cloud,
        v1::HostIdSource::MachineId => HostIdSource::MachineId,
        v1::HostIdSource::State => HostIdSource::State,
    };
    Ok(Host {
        id: id.parse().map_err(|invalid: Invalid| Invalid::new("id", invalid.reason))?,
        name: text("name", name)?,
        id_source: source,
        boot_id_hash: optional_text("boot_id_hash", boot_id_hash)?,
    })
}

fn labels(wire: std::collections::HashMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if wire.len() > limits::LABELS {
        return Err(Invalid::new("labels", format!("has more than {}", limits::LABELS)));
    }
    let mut labels = BTreeMap::new();
    for (key, value) in wire {
        check_label(&key, &value)?;
        labels.insert(key, value);
    }
    Ok(labels)
}

/// Checks one label, as an agent does before it measures and a collector before it stores.
pub(crate) fn check_label(key: &str, value: &str) -> Checked<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if key.is_empty() || key.len() > limits::LABEL_KEY_BYTES || !key.chars().all(allowed) {
        return Err(Invalid::new(
            "labels",
            "a key must be 1 to 64 letters, digits, '.', '_', '-' or '/'",
        ));
    }
    if value.len() > limits::LABEL_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(Invalid::new(
            format!("labels[{key}]"),
            "must be at most 256 bytes without control characters",
        ));
    }
    Ok(())
}

fn facets(wire: v1::Facets) -> Checked<Facets> {
    let v1::Facets {
        arch,
        cpu_vendor,
        cpu_model,
        cpu_family,
        cpu_model_number,
        l3_bytes,
        sockets,
        physical_cores,
        threads_per_core,
        core_kinds,
        usable_cpus,
        limit,
        quota_millicpus,
        memory_class_mib,
        machine,
        hypervisor,
        container,
    } = wire;
    let limit = match known("limit", limit)? {
        v1::Limit::Unspecified => return Err(unspecified("limit")),
        v1::Limit::None => Limit::None,
        v1::Limit::Affinity => Limit::Affinity,
        v1::Limit::Quota => Limit::Quota,
    };
    if (limit == Limit::Quota) != quota_millicpus.is_some() {
        return Err(Invalid::new("quota_millicpus", "must be set exactly if limit is a quota"));
    }
    if core_kinds.len() > limits::CORE_KINDS {
        return Err(Invalid::new("core_kinds", "has too many entries"));
    }
    let cpus = 1..=limits::CPUS;
    Ok(Facets {
        arch: required_text("arch", arch)?,
        cpu_vendor: optional_text("cpu_vendor", cpu_vendor)?,
        cpu_model: optional_text("cpu_model", cpu_model)?,
        cpu_family: optional_text("cpu_family", cpu_family)?,
        cpu_model_number: optional_text("cpu_model_number", cpu_model_number)?,
        l3_bytes: optional_in_range("l3_bytes", l3_bytes, 1..=limits::MEMORY_BYTES)?,
        sockets: optional_in_range("sockets", sockets, cpus.clone())?,
        physical_cores: optional_in_range("physical_cores", physical_cores, cpus.clone())?,
        threads_per_core: optional_in_range("threads_per_core", threads_per_core, cpus.clone())?,
        core_kinds: core_kinds.into_iter().map(core_kind).collect::<Checked<_>>()?,
        usable_cpus: in_range("usable_cpus", usable_cpus, cpus.clone())?,
        limit,
        quota_millicpus: optional_in_range(
            "quota_millicpus",
            quota_millicpus,
            1..=u64::from(limits::CPUS) * 1000,
        )?,
        memory_class_mib: optional_in_range(
            "memory_class_mib",
            memory_class_mib,
            1..=limits::MEMORY_BYTES,
        )?,
        machine: match known("machine", machine)? {
            v1::Machine::Unspecified => None,
            v1::Machine::BareMetal => Some(Machine::BareMetal),
            v1::Machine::Virtual => Some(Machine::Virtual),
        },
        hypervisor: optional_text("hypervisor", hypervisor)?,
        container: optional_text("container", container)?,
    })
}

fn core_kind(wire: v1::CoreKind) -> Checked<CoreKind> {
    let v1::CoreKind { name, cores } = wire;
    Ok(CoreKind {
        name: required_text("core_kinds.name", name)?,
        cores: in_range("core_kinds.cores", cores, 1..=limits::CPUS)?,
    })
}

fn system(wire: v1::System) -> Checked<System> {
    let v1::System { kernel, os, libc, microcode, mitigations, instance_type, memory_bytes } = wire;
    Ok(System {
        kernel: optional_text("kernel", kernel)?,
        os: optional_text("os", os)?,
        libc: optional_text("libc", libc)?,
        microcode: optional_text("microcode", microcode)?,
        mitigations: mitigations
            .map(|text| at_most("mitigations", text, limits::LONG_TEXT_BYTES))
            .transpose()?,
        instance_type: optional_text("instance_type", instance_type)?,
        memory_bytes: optional_in_range("memory_bytes", memory_bytes, 1..=limits::MEMORY_BYTES)?,
    })
}

fn build(wire: v1::Build) -> Checked<Build> {
    let v1::Build { meter, tokio, rustc, target, optimisation, allocator, agent_version } = wire;
    Ok(Build {
        meter: in_range("meter", meter, 1..=u32::MAX)?,
        tokio: required_text("tokio", tokio)?,
        rustc: required_text("rustc", rustc)?,
        target: required_text("target", target)?,
        optimisation: required_text("optimisation", optimisation)?,
        allocator: required_text("allocator", allocator)?,
        agent_version: required_text("agent_version", agent_version)?,
    })
}

fn workers(wire: v1::Workers) -> Checked<Workers> {
    let v1::Workers { count, reason } = wire;
    Ok(Workers {
        count: in_range("count", count, 1..=limits::CPUS)?,
        reason: text("reason", reason)?,
    })
}

fn evidence(wire: v1::Evidence) -> Checked<Evidence> {
    let v1::Evidence {
        canary_before_ns,
        canary_after_ns,
        steal_fraction,
        throttling,
        blocking_pool_ended,
    } = wire;
    if let Some(steal) = steal_fraction
        && !(0.0..=1.0).contains(&steal)
    {
        return Err(Invalid::new("steal_fraction", "must be a number from 0 to 1"));
    }
    let throttled = |wire: v1::Throttling| {
        let v1::Throttling { periods, throttled_periods, throttled_ns } = wire;
        if throttled_periods > periods {
            return Err(Invalid::new("throttling.throttled_periods", "is over throttling.periods"));
        }
        Ok(Throttling { periods, throttled_periods, throttled_ns: Nanos(throttled_ns) })
    };
    Ok(Evidence {
        canary_before_ns: optional_duration("canary_before_ns", canary_before_ns)?,
        canary_after_ns: optional_duration("canary_after_ns", canary_after_ns)?,
        steal_fraction,
        throttling: throttling.map(throttled).transpose()?,
        blocking_pool_ended,
    })
}

fn quality(wire: v1::Quality) -> Checked<Quality> {
    let v1::Quality { verdict, reasons } = wire;
    let verdict = match known("verdict", verdict)? {
        v1::quality::Verdict::Unspecified => return Err(unspecified("verdict")),
        v1::quality::Verdict::Clean => QualityVerdict::Clean,
        v1::quality::Verdict::Suspect => QualityVerdict::Suspect,
    };
    if reasons.len() > limits::REASONS {
        return Err(Invalid::new("reasons", format!("has more than {}", limits::REASONS)));
    }
    if (verdict == QualityVerdict::Clean) != reasons.is_empty() {
        return Err(Invalid::new("reasons", "must be empty exactly if the run is clean"));
    }
    let reasons =
        reasons.into_iter().map(|reason| text("reasons", reason)).collect::<Checked<_>>()?;
    Ok(Quality { verdict, reasons })
}

fn cell(wire: v1::Cell, rounds: u32) -> Checked<Cell> {
    let v1::Cell {
        scenario: of,
        spawner: with,
        workload: asked,
        units,
        samples_ns,
        cold_ns,
        median_ns,
        failure: wrong,
        threads_reached,
    } = wire;
    let key = CellKey {
        scenario: within("scenario", scenario(of))?,
        spawner: within("spawner", spawner(with))?,
    };
    if !key.exists() {
        return Err(Invalid::new("spawner", format!("there is no cell {key}")));
    }
    let failure = wrong.map(|wire| within("failure", failure(wire))).transpose()?;
    let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
    match failure {
        None if samples_ns.len() != rounds => {
            return Err(Invalid::new("samples_ns", "must have one a round"));
        }
        Some(_) if samples_ns.len() > rounds => {
            return Err(Invalid::new("samples_ns", "has more than one a round"));
        }
        _ => {}
    }
    let samples_ns = samples_ns
        .into_iter()
        .map(|sample| duration("samples_ns", sample))
        .collect::<Checked<_>>()?;
    let cell = Cell {
        key,
        workload: within("workload", present(asked).and_then(|wire| workload(wire, key.scenario)))?,
        units: in_range("units", units, 1..=limits::UNITS)?,
        samples_ns,
        cold_ns: optional_duration("cold_ns", cold_ns)?,
        failure,
        threads_reached: optional_in_range("threads_reached", threads_reached, 0..=limits::UNITS)?,
    };
    if cell.failure.is_none() && cell.median().is_none() {
        return Err(Invalid::new("samples_ns", "must not be empty"));
    }
    if median_ns.map(Nanos) != cell.median() {
        return Err(Invalid::new("median_ns", "is not the median of samples_ns"));
    }
    Ok(cell)
}

fn workload(wire: v1::Workload, scenario: Scenario) -> Checked<Workload> {
    use v1::workload::Amount as Wire;
    let v1::Workload { amount, wait_ns, kernel_rounds, workers } = wire;
    let units = |units| in_range("units", units, 1..=limits::UNITS);
    if wait_ns.is_some() != (scenario == Scenario::Waiting) {
        return Err(Invalid::new("wait_ns", "must be set exactly for waiting cells"));
    }
    if kernel_rounds.is_some() != (scenario == Scenario::CpuBound) {
        return Err(Invalid::new("kernel_rounds", "must be set exactly for cpu-bound cells"));
    }
    Ok(Workload {
        amount: match amount {
            None => return Err(Invalid::new("units", "must be set, or units_per_worker")),
            Some(Wire::Units(amount)) => Amount::Units(units(amount)?),
            Some(Wire::UnitsPerWorker(amount)) => Amount::UnitsPerWorker(units(amount)?),
        },
        wait_ns: optional_duration("wait_ns", wait_ns)?,
        kernel_rounds: optional_in_range(
            "kernel_rounds",
            kernel_rounds,
            1..=limits::KERNEL_ROUNDS,
        )?,
        workers: optional_in_range("workers", workers, 1..=limits::CPUS)?,
    })
}

fn failure(wire: v1::Failure) -> Checked<Failure> {
    let v1::Failure { kind, message } = wire;
    let kind = match known("kind", kind)? {
        v1::FailureKind::Unspecified => return Err(unspecified("kind")),
        v1::FailureKind::Deadline => FailureKind::Deadline,
        v1::FailureKind::LimitedThreads => FailureKind::LimitedThreads,
        v1::FailureKind::WrongChecksum => FailureKind::WrongChecksum,
        v1::FailureKind::Panic => FailureKind::Panic,
        v1::FailureKind::ChildDied => FailureKind::ChildDied,
    };
    Ok(Failure { kind, message: at_most("message", message, limits::LONG_TEXT_BYTES)? })
}

fn scenario(wire: i32) -> Checked<Scenario> {
    match known("", wire)? {
        v1::Scenario::Unspecified => Err(unspecified("")),
        v1::Scenario::SpawnOverhead => Ok(Scenario::SpawnOverhead),
        v1::Scenario::Waiting => Ok(Scenario::Waiting),
        v1::Scenario::CpuBound => Ok(Scenario::CpuBound),
    }
}

fn spawner(wire: i32) -> Checked<Spawner> {
    match known("", wire)? {
        v1::Spawner::Unspecified => Err(unspecified("")),
        v1::Spawner::Thread => Ok(Spawner::Thread),
        v1::Spawner::Tokio => Ok(Spawner::Tokio),
        v1::Spawner::SpawnBlocking => Ok(Spawner::SpawnBlocking),
        v1::Spawner::Rayon => Ok(Spawner::Rayon),
    }
}

fn timestamp(wire: prost_types::Timestamp) -> Checked<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = wire;
    if !(0..1_000_000_000).contains(&nanos) || seconds < 0 {
        return Err(Invalid::new("", "is no time since 1970"));
    }
    Timestamp::new(seconds, nanos).map_err(|_| Invalid::new("", "is no time that exists"))
}

fn within<T>(outer: &str, result: Checked<T>) -> Checked<T> {
    result.map_err(|invalid| invalid.within(outer))
}

fn present<T>(message: Option<T>) -> Checked<T> {
    message.ok_or_else(|| Invalid::new("", "is missing"))
}

fn known<E: TryFrom<i32>>(field: &str, value: i32) -> Checked<E> {
    E::try_from(value).map_err(|_| Invalid::new(field, format!("{value} is unknown")))
}

fn unspecified(field: &str) -> Invalid {
    Invalid::new(field, "is missing")
}

fn at_most(field: &str, text: String, bytes: usize) -> Checked<String> {
    if text.len() > bytes {
        return Err(Invalid::new(field, format!("has {} bytes, more than {bytes}", text.len())));
    }
    Ok(text)
}

/// Text on one line, so that it can stand in a table.
fn text(field: &str, text: String) -> Checked<String> {
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "has control characters"));
    }
    at_most(field, text, limits::TEXT_BYTES)
}

fn required_text(field: &str, value: String) -> Checked<String> {
    if value.is_empty() {
        return Err(Invalid::new(field, "is missing"));
    }
    text(field, value)
}

fn optional_text(field: &str, value: Option<String>) -> Checked<Option<String>> {
    value.map(|value| required_text(field, value)).transpose()
}

fn in_range<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Checked<T> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = range.into_inner();
    Err(Invalid::new(field, format!("{value} is not within {low} to {high}")))
}

fn optional_in_range<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Checked<Option<T>> {
    value.map(|value| in_range(field, value, range)).transpose()
}

fn duration(field: &str, nanos: u64) -> Checked<Nanos> {
    in_range(field, nanos, 0..=Nanos::from(limits::DURATION).0).map(Nanos)
}

fn optional_duration(field: &str, nanos: Option<u64>) -> Checked<Option<Nanos>> {
    nanos.map(|nanos| duration(field, nanos)).transpose()
}

//! From the wire to the domain. Every field is checked here; nothing invalid comes out.

mod cell;
mod evidence;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::check::{
    Checked, at_most, in_range, known, optional_in_range, optional_number, optional_text, present,
    required_text, text, unspecified, within,
};
use crate::{
    host::{Host, HostIdSource},
    id::{HostId, ReportId},
    invalid::Invalid,
    limits,
    profile::{CoreKind, Facets, Limit, Machine, Profile},
    report::{Build, Cell, Quality, QualityVerdict, Report, System, Workers},
    v1,
};

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
        series,
        partial,
    } = message;
    let system = within("system", present(beside).and_then(system))?;
    let facets = within("facets", present(hardware).and_then(facets))?;
    let v1::Plan { seed, rounds, against, precision } = within("plan", present(plan))?;
    let extent = if partial.is_some() { cell::Extent::Partial } else { cell::Extent::Whole };
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
        against: within("plan.against", cell::spawner(against))?,
        precision: optional_number("plan.precision", precision, 1.0)?,
        evidence: within("evidence", present(seen).and_then(evidence::evidence))?,
        quality: within("quality", present(trust).and_then(quality))?,
        started_at: within("started_at", present(started_at).and_then(timestamp))?,
        ended_at: within("ended_at", present(ended_at).and_then(timestamp))?,
        partial: optional_text("partial", partial)?,
        cells: cells
            .into_iter()
            .enumerate()
            .map(|(index, wire)| {
                within(&format!("cells[{index}]"), cell::cell(wire, rounds, extent))
            })
            .collect::<Checked<_>>()?,
        series: series
            .into_iter()
            .enumerate()
            .map(|(index, wire)| within(&format!("series[{index}]"), cell::series(wire, extent)))
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
    if report.cells.is_empty() && report.series.is_empty() {
        return Err(Invalid::new("cells", "must not be empty where there are no series"));
    }
    if report.series.len() > limits::SERIES {
        return Err(Invalid::new("series", format!("has more than {}", limits::SERIES)));
    }
    for (index, cell) in report.cells.iter().enumerate() {
        let path = format!("cells[{index}]");
        if report.cells.iter().take(index).any(|earlier| earlier.key == cell.key) {
            return Err(Invalid::new(path, format!("{} is there twice", cell.key)));
        }
        within(&path, sized(cell, report.workers.count))?;
    }
    let mut seen = BTreeSet::new();
    for (index, series) in report.series.iter().enumerate() {
        let path = format!("series[{index}]");
        if !seen.insert((series.key, series.cell.key, series.cell.workload)) {
            return Err(Invalid::new(path, format!("{} is there twice", series.cell.key)));
        }
        within(&path, within("cell", sized(&series.cell, report.workers.count)))?;
    }
    Ok(())
}

/// Units and workers must be what the workload gives.
fn sized(cell: &Cell, workers: u32) -> Checked<()> {
    if cell.units != cell.workload.amount.units(workers) {
        return Err(Invalid::new("units", "is not what the workload gives"));
    }
    if cell.workload.workers.is_some_and(|overridden| overridden != workers) {
        return Err(Invalid::new("workload.workers", "is not workers.count"));
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
        id: host_id("id", &id)?,
        name: text("name", name)?,
        id_source: source,
        boot_id_hash: optional_text("boot_id_hash", boot_id_hash)?,
    })
}

pub(super) fn host_id(field: &str, text: &str) -> Checked<HostId> {
    text.parse().map_err(|invalid: Invalid| Invalid::new(field, invalid.reason))
}

pub(super) fn labels(
    wire: std::collections::HashMap<String, String>,
) -> Checked<BTreeMap<String, String>> {
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

pub(super) fn timestamp(wire: prost_types::Timestamp) -> Checked<Timestamp> {
    let prost_types::Timestamp { seconds, nanos } = wire;
    if !(0..1_000_000_000).contains(&nanos) || seconds < 0 {
        return Err(Invalid::new("", "is no time since 1970"));
    }
    Timestamp::new(seconds, nanos).map_err(|_| Invalid::new("", "is no time that exists"))
}

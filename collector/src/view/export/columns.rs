//! The columns of exported samples. What OpenTelemetry names among the attributes of hosts and their systems has that name
//! (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/>), all else its name in a report.

use fleetmark_proto::{
    plan::{Amount, Workload},
    profile::Limit,
    report::Build,
    unit::Nanos,
};
use serde_json::Value;

use super::Measured;
use crate::store::StoredRun;

/// A column with what it says, and how its value is found.
pub(super) struct Column<F> {
    pub(super) name: &'static str,
    about: &'static str,
    pub(super) value: F,
}

type OfRun = fn(&StoredRun) -> Value;
type OfCell = fn(&Measured<'_>) -> Value;

const fn run(name: &'static str, about: &'static str, value: OfRun) -> Column<OfRun> {
    Column { name, about, value }
}

const fn cell(name: &'static str, about: &'static str, value: OfCell) -> Column<OfCell> {
    Column { name, about, value }
}

/// Columns that are the same in all lines of a run; labels come behind them.
pub(super) const OF_RUN: [Column<OfRun>; 45] = [
    run("report_id", "the run; a UUID of version 7", |it| it.report.id.to_string().into()),
    run("received_at", "when the collector took it", |it| it.received_at.to_string().into()),
    run("sent_at", "when the agent sent it, by its clock", |it| {
        it.sent_at.map(|time| time.to_string()).into()
    }),
    run("started_at", "when it began, by the agent's clock", |it| {
        it.report.started_at.to_string().into()
    }),
    run("ended_at", "when it ended, by the agent's clock", |it| {
        it.report.ended_at.to_string().into()
    }),
    run("host.id", "what the host is known by", |it| it.report.host.id.to_string().into()),
    run("host.name", "its host name", |it| it.report.host.name.clone().into()),
    run("host.type", "the cloud's name for the kind of machine", |it| {
        it.report.system.instance_type.clone().into()
    }),
    run("host.arch", "amd64, arm64, … as OpenTelemetry names it", |it| {
        architecture(&it.report.profile.facets.arch).into()
    }),
    run("host.cpu.vendor.id", "the CPU's vendor", |it| {
        it.report.profile.facets.cpu_vendor.clone().into()
    }),
    run("host.cpu.family", "its family; ARM: the implementer's code", |it| {
        it.report.profile.facets.cpu_family.clone().into()
    }),
    run("host.cpu.model.id", "its model number; ARM: the part's code", |it| {
        it.report.profile.facets.cpu_model_number.clone().into()
    }),
    run("host.cpu.model.name", "its name", |it| it.report.profile.facets.cpu_model.clone().into()),
    run("os.description", "name and version of the system", |it| {
        it.report.system.os.clone().into()
    }),
    run("container.runtime.name", "docker, …; none: it is no container", |it| {
        it.report.profile.facets.container.clone().into()
    }),
    run("host_id_source", "where host.id is from", |it| {
        serde_json::to_value(it.report.host.id_source).unwrap_or_default()
    }),
    run("boot_id_hash", "parts boots, and machines of one id", |it| {
        it.report.host.boot_id_hash.clone().into()
    }),
    run("profile_id", "the hardware profile", |it| it.report.profile.id.to_string().into()),
    run("profile_name", "its name", |it| it.report.profile.name.clone().into()),
    run("l3_bytes", "bytes of one level 3 cache", |it| it.report.profile.facets.l3_bytes.into()),
    run("sockets", "physical packages", |it| it.report.profile.facets.sockets.into()),
    run("physical_cores", "physical cores", |it| it.report.profile.facets.physical_cores.into()),
    run("threads_per_core", "hardware threads of a core", |it| {
        it.report.profile.facets.threads_per_core.into()
    }),
    run("core_kinds", "such as 4×performance+4×efficiency", |it| {
        let kinds = &it.report.profile.facets.core_kinds;
        let kinds: Vec<String> =
            kinds.iter().map(|kind| format!("{}×{}", kind.cores, kind.name)).collect();
        Some(kinds.join("+")).filter(|kinds| !kinds.is_empty()).into()
    }),
    run("usable_cpus", "CPUs that the agent might use", |it| {
        it.report.profile.facets.usable_cpus.into()
    }),
    run("limit", "what bounds these: none, affinity or quota", |it| {
        match it.report.profile.facets.limit {
            Limit::None => "none".into(),
            Limit::Affinity => "affinity".into(),
            Limit::Quota => "quota".into(),
        }
    }),
    run("quota_millicpus", "the quota in thousandths of a CPU", |it| {
        it.report.profile.facets.quota_millicpus.into()
    }),
    run("memory_class_mib", "the size that memory is sold as", |it| {
        it.report.profile.facets.memory_class_mib.into()
    }),
    run("memory_bytes", "memory that the kernel manages", |it| {
        it.report.system.memory_bytes.into()
    }),
    run("machine", "bare-metal or virtual", |it| {
        serde_json::to_value(it.report.profile.facets.machine).unwrap_or_default()
    }),
    run("hypervisor", "kvm, …", |it| it.report.profile.facets.hypervisor.clone().into()),
    run("kernel", "the kernel's release", |it| it.report.system.kernel.clone().into()),
    run("libc", "the C library", |it| it.report.system.libc.clone().into()),
    run("microcode", "the revision of the CPU's microcode", |it| {
        it.report.system.microcode.clone().into()
    }),
    run("mitigations", "what is done about the CPU's vulnerabilities", |it| {
        it.report.system.mitigations.as_ref().map(|lines| lines.replace('\n', "; ")).into()
    }),
    run("build", "what was measured with; medians of two never mix", |it| {
        it.report.build.key().into()
    }),
    run("tokio", "the version of Tokio in it", |it| it.report.build.tokio.clone().into()),
    run("rustc", "that of rustc", |it| it.report.build.rustc.clone().into()),
    run("target", "the target that it was built for", |it| {
        let Build { target, .. } = &it.report.build;
        target.clone().into()
    }),
    run("agent_version", "the agent's version", |it| it.report.build.agent_version.clone().into()),
    run("workers", "worker threads of Tokio and rayon", |it| it.report.workers.count.into()),
    run("rounds", "measured rounds, the cold one not counted", |it| it.report.rounds.into()),
    run("quality", "clean, or suspect: in no median by default", |it| {
        it.report.quality.verdict.name().into()
    }),
    run("quality_reasons", "why it is suspect", |it| {
        let reasons = it.report.quality.reasons.join("; ");
        Some(reasons).filter(|reasons| !reasons.is_empty()).into()
    }),
    run("partial", "why it ended early; then it is in no median", |it| {
        it.report.partial.clone().into()
    }),
];

/// Columns that are the same in all lines of a cell.
pub(super) const OF_CELL: [Column<OfCell>; 13] = [
    cell("pass", "empty for the eleven cells, else grain, …", |it| {
        it.key.map(|key| key.pass.name()).into()
    }),
    cell("variant", "of the pass: how units were started", |it| {
        it.key.map(|key| key.variant.name()).into()
    }),
    cell("metric", "what a sample is: elapsed, lateness-p99, …", |it| {
        it.key.map_or("elapsed", |key| key.metric.name()).into()
    }),
    cell("scenario", "spawn-overhead, waiting or cpu-bound", |it| {
        it.cell.key.scenario.name().into()
    }),
    cell("spawner", "thread, tokio, spawn-blocking or rayon", |it| {
        it.cell.key.spawner.name().into()
    }),
    cell("workload", "what was asked; medians of two never mix", |it| {
        it.cell.workload.to_string().into()
    }),
    cell("asked_units", "units that were asked for", |it| match it.cell.workload.amount {
        Amount::Units(units) => units.into(),
        Amount::UnitsPerWorker(_) => Value::Null,
    }),
    cell("asked_units_per_worker", "or so many a worker", |it| match it.cell.workload.amount {
        Amount::Units(_) => Value::Null,
        Amount::UnitsPerWorker(units) => units.into(),
    }),
    cell("wait_ns", "for how long each unit sleeps", |it| {
        let Workload { wait_ns, .. } = it.cell.workload;
        wait_ns.map(|Nanos(nanos)| nanos).into()
    }),
    cell("kernel_rounds", "rounds of the kernel that each unit runs", |it| {
        it.cell.workload.kernel_rounds.into()
    }),
    cell("asked_workers", "workers, where the owner set them", |it| {
        it.cell.workload.workers.into()
    }),
    cell("units", "the units that came of it", |it| it.cell.units.into()),
    cell("failure", "why the cell failed; then it is in no median", |it| {
        it.cell.failure.as_ref().map(|failure| failure.message.clone()).into()
    }),
];

/// Columns that differ by line, with what they say.
pub(super) const OF_SAMPLE: [(&str, &str); 2] =
    [("round", "from 1 on; 0 is the cold one, in no median"), ("sample_ns", "the sample")];

/// What OpenTelemetry calls an architecture, where it has a name for it.
fn architecture(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc" => "ppc32",
        "powerpc64" | "powerpc64le" => "ppc64",
        other => other,
    }
}

/// Every column with what it says, for `export --help`.
#[must_use]
pub fn help() -> String {
    let line = |(name, about): (&str, &str)| format!("\n  {name:22}  {about}");
    let of_run = OF_RUN.iter().map(|column| (column.name, column.about));
    let of_cell = OF_CELL.iter().map(|column| (column.name, column.about));
    let columns = of_run
        .chain([("label.KEY", "a label; one column for each key that a host has")])
        .chain(of_cell)
        .chain(OF_SAMPLE)
        .map(line);
    format!(
        "Print raw samples with all that is known of their runs, a line each, as CSV or JSON

JSON is a list of objects with a field a column, so that pandas and DuckDB read both as they are. Suspect and partial \
         runs are in it, and say so. What a host does not show is empty, in JSON null. Durations are whole nanoseconds, \
         times RFC 3339 in UTC. A column that OpenTelemetry has a name for has that name. A profile's id may look like a \
         number: have it read as text.

Columns:{}",
        columns.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_told_on_a_line() {
        let help = help();
        let (_, columns) = help.split_once("Columns:\n").unwrap();
        let told: Vec<&str> = columns.lines().collect();
        assert_eq!(told.len(), OF_RUN.len() + 1 + OF_CELL.len() + OF_SAMPLE.len());
        for line in &told {
            let (name, about) = line.trim_start().split_once("  ").unwrap();
            assert!(!name.contains(' ') && !about.trim().is_empty(), "{line}");
            assert!(line.chars().count() <= 80, "{line}");
        }
        let names: std::collections::BTreeSet<&str> =
            told.iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names.len(), told.len(), "each name is there once");
    }
}

//! What is typed: the agent's command line, and what it means.

use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
    value_parser,
};
use fleetmark_proto::{
    id::HostId,
    limits,
    plan::{Amount, Scenario, Spawner},
    series::Pass,
    shell::{self, output::OutputArgs, value},
};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    guard::{Budget, Rules, Window},
    plan::{Asked, Precision, Preset},
    spool::Bounds,
};

/// Measure how this host runs concurrent Rust work, and report it to a collector
#[derive(Debug, Parser)]
#[command(name = "fleetmark-agent", version, max_term_width = 100)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command of both binaries.
#[derive(Args, Clone, Debug)]
pub struct GlobalArgs {
    /// Settings file [default: fleetmark.toml in the state folder, else in /etc/fleetmark]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder where state is kept
    #[arg(long, global = true, value_name = "DIR", hide_default_value = true,
          default_value_os_t = shell::default_state_dir(rustix::process::geteuid().is_root()))]
    pub state_dir: PathBuf,
}

/// The agent's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure once, print the table, and deliver the report if a collector is given
    Run(Box<RunArgs>),
    /// Stay: measure this host once and when something changed, and deliver what is in the spool
    Daemon(Box<DaemonArgs>),
    /// Look after reports that are not delivered yet
    Spool(SpoolArgs),
    /// Join a collector: exchange a token for a certificate, so that all else needs no more flags
    Enroll(EnrollArgs),
    /// Print what was detected, and the profile that it gives
    Hardware(HardwareArgs),
}

/// Flags of `enroll`.
#[derive(Args, Clone, Debug)]
pub struct EnrollArgs {
    /// The token that `fleetmark-collector token create` printed. Everybody on this host can see in the list of processes what is
    /// typed here, and a shell keeps it: better use --token-file
    #[arg(conflicts_with = "token_file",
          value_parser = OsStringValueParser::new().map(Typed::from))]
    pub token: Option<Typed>,
    /// Read the token from FILE, or from standard input if it is -
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(value::token_file))]
    pub token_file: Option<PathBuf>,
    /// What the host is known by from now on [default: the cloud's instance id, else derived from the machine id, else made once]
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host_id: Option<HostId>,
    /// Join again, in place of what this host has
    #[arg(long)]
    pub force: bool,
    /// Believe a collector whose certificate is signed by an authority in FILE (PEM) [default: the one that the token names]
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Try for this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value::duration)]
    pub max_time: Duration,
}

/// A secret that was typed. It is not shown, and overwritten when it is dropped.
#[derive(Clone)]
pub struct Typed(Zeroizing<String>);

impl Typed {
    /// What was typed.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        self.0.clone()
    }
}

impl From<OsString> for Typed {
    fn from(text: OsString) -> Self {
        Self(Zeroizing::new(text.to_string_lossy().into_owned()))
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(…)")
    }
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// What to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where to deliver the report.
    #[command(flatten)]
    pub collectors: CollectorArgs,
    /// What the spool may hold.
    #[command(flatten)]
    pub bounds: SpoolBoundsArgs,
    /// Refuse to measure if something would spoil the run; exit with 3 if it is suspect, with 4 if it is not delivered yet
    #[arg(long)]
    pub strict: bool,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where reports go.
#[derive(Args, Clone, Debug)]
pub struct CollectorArgs {
    /// Deliver to the collector at this URL; to the next one of several where that fails [default: the one that was joined]
    #[arg(long, value_name = "URL[,URL…]", value_delimiter = ',', value_parser = value::collector_url)]
    pub collector: Vec<Url>,
    /// What it is believed by, and what it is shown.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// What a collector is believed by, and what it is shown; flags of every command of both binaries that calls one.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// Believe a collector whose certificate is signed by an authority in FILE (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Show the collector the certificate in FILE (PEM, followed by those between it and its authority)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Send the token in FILE with each call, such as where a proxy ends TLS
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(value::token_file))]
    pub bearer_token_file: Option<PathBuf>,
    /// Speak plaintext to a collector that is not on this host
    #[arg(long)]
    pub insecure: bool,
}

/// What the spool may hold, its quarantine included.
#[derive(Args, Clone, Copy, Debug)]
pub struct SpoolBoundsArgs {
    /// Bytes that the spool may hold, its quarantine included
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = value::bytes)]
    pub spool_bytes: u64,
    /// Reports that the spool may hold, its quarantine included
    #[arg(long, value_name = "N", default_value_t = limits::SPOOL_FILES, value_parser = value_parser!(u64).range(1..))]
    pub spool_files: u64,
}

impl From<SpoolBoundsArgs> for Bounds {
    fn from(arguments: SpoolBoundsArgs) -> Self {
        let SpoolBoundsArgs { spool_bytes: bytes, spool_files: files } = arguments;
        Self { bytes, files }
    }
}

/// Flags of `daemon`.
#[derive(Args, Clone, Debug)]
pub struct DaemonArgs {
    /// What to measure.
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Where to deliver reports.
    #[command(flatten)]
    pub collectors: CollectorArgs,
    /// What the spool may hold.
    #[command(flatten)]
    pub bounds: SpoolBoundsArgs,
    /// Measure again this long after a run, whether anything changed or not
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub every: Option<Duration>,
    /// Put each such run off by up to this long, at random, so that a fleet does not measure all at once
    #[arg(long, value_name = "DURATION", requires = "every", value_parser = value::duration)]
    pub jitter: Option<Duration>,
    /// Measure only at these times of day in UTC, such as 22:00-06:00 or 'sat-sun 00:00-24:00' (repeatable) [default: always]
    #[arg(long, value_name = "[DAYS ]HH:MM-HH:MM")]
    pub window: Vec<Window>,
    /// Begin no run, and end one, while others keep the CPUs busier than this share
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = whole_share)]
    pub max_pressure: f64,
    /// CPU time that all runs of a day (in UTC) may use. A run with the default workloads takes about 10 s of CPU time with 2
    /// CPUs, and about 230 s with 64
    #[arg(long, value_name = "TIME[/cpu]", default_value = "60s/cpu")]
    pub budget: Budget,
}

impl DaemonArgs {
    /// What binds every run.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { windows: self.window.clone(), max_pressure: self.max_pressure, budget: self.budget }
    }
}

/// Flags of `spool`.
#[derive(Args, Clone, Debug)]
pub struct SpoolArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SpoolCommand,
}

/// What can be done with a spool.
#[derive(Clone, Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the reports that wait to be delivered, oldest first
    List(SpoolListArgs),
    /// Deliver them now
    Flush(FlushArgs),
    /// List the reports that no collector takes, with the reasons, or act on them
    Quarantine(QuarantineArgs),
}

/// Flags of `spool list`.
#[derive(Args, Clone, Debug)]
pub struct SpoolListArgs {
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `spool flush`.
#[derive(Args, Clone, Debug)]
pub struct FlushArgs {
    /// Where to deliver.
    #[command(flatten)]
    pub collectors: CollectorArgs,
    /// Try for this long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value::duration)]
    pub max_time: Duration,
}

/// Flags of `spool quarantine`.
#[derive(Args, Clone, Debug)]
pub struct QuarantineArgs {
    /// Put this report back to be delivered again, such as after an upgrade of the collector; or `all` (repeatable)
    #[arg(long, value_name = "ID", conflicts_with = "discard")]
    pub requeue: Vec<String>,
    /// Remove this report for good, by its name in the list; or `all` (repeatable)
    #[arg(long, value_name = "NAME")]
    pub discard: Vec<String>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `hardware`.
#[derive(Args, Clone, Debug)]
pub struct HardwareArgs {
    /// Show every fact, unknown ones too, with where it was read and whether it is in the profile's key
    #[arg(long)]
    pub explain: bool,
    /// Save what was read into FILE, without names and serials, to send along with a question
    #[arg(long, value_name = "FILE")]
    pub capture: Option<PathBuf>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What to measure and in whose name; flags of every command that measures.
#[derive(Args, Clone, Debug)]
pub struct MeasureArgs {
    /// Measured rounds; one cold round comes before them and is not counted
    #[arg(long, value_name = "N", default_value_t = fleetmark_proto::verdict::ROUNDS,
          value_parser = value_parser!(u32).range(1..=i64::from(limits::ROUNDS)))]
    pub rounds: u32,
    /// Measure this scenario only (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    pub scenario: Vec<Scenario>,
    /// Measure this spawner only (repeatable)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SPAWNER")]
    pub spawner: Vec<Spawner>,
    /// Units in spawn-overhead: a number, or such a number a worker
    #[arg(long, value_name = "N[/worker]", default_value = "1000", value_parser = value::amount)]
    pub spawn_units: Amount,
    /// Units in waiting
    #[arg(long, value_name = "N[/worker]", default_value = "1000", value_parser = value::amount)]
    pub wait_units: Amount,
    /// How long each unit in waiting sleeps
    #[arg(long, value_name = "DURATION", default_value = "10ms", value_parser = value::short_duration)]
    pub wait: Duration,
    /// Units in cpu-bound
    #[arg(long, value_name = "N[/worker]", default_value = "2/worker", value_parser = value::amount)]
    pub cpu_units: Amount,
    /// Rounds of the kernel that each unit in cpu-bound runs
    #[arg(long, value_name = "N", default_value_t = 20_000_000,
          value_parser = value_parser!(u64).range(1..=limits::KERNEL_ROUNDS))]
    pub cpu_rounds: u64,
    /// Worker threads of Tokio and of rayon [default: the CPUs that this process may use]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(limits::CPUS)))]
    pub workers: Option<u32>,
    /// Seed of the order of cells within rounds [default: a new one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Go on with rounds until half of each interval is at most this share of its median, such as 0.01
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub precision: Option<f64>,
    /// Begin no further rounds for the sake of --precision after this long
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = value::duration)]
    pub max_time: Duration,
    /// Measure this in place of the eleven cells
    #[arg(long, value_enum, value_name = "PRESET")]
    pub preset: Option<Preset>,
    /// Also measure how late a task becomes that ticks every millisecond beside CPU-bound work
    #[arg(long)]
    pub neighbours: bool,
    /// Also measure other ways of spawning, and the parts of a sample
    #[arg(long)]
    pub diagnose: bool,
    /// How long one sample may take before its cell fails
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = value::short_duration)]
    pub deadline: Duration,
    /// Compare the other spawners with this one
    #[arg(long, value_enum, default_value_t = Spawner::Thread, value_name = "SPAWNER")]
    pub against: Spawner,
    /// Say this of the host, to filter and group by (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::label)]
    pub label: Vec<(String, String)>,
    /// What the host is known by [default: the cloud's instance id, else derived from the machine id, else made once]
    #[arg(long, value_name = "ID", value_parser = host_id)]
    pub host_id: Option<HostId>,
}

fn host_id(text: &str) -> Result<HostId, String> {
    text.parse().map_err(|invalid: fleetmark_proto::invalid::Invalid| invalid.reason)
}

impl MeasureArgs {
    /// What is asked for, with a seed where none was given.
    #[must_use]
    pub fn asked(&self) -> Asked {
        Asked {
            rounds: self.rounds,
            scenarios: self.scenario.clone(),
            spawners: self.spawner.clone(),
            spawn_amount: self.spawn_units,
            wait_amount: self.wait_units,
            wait: self.wait,
            cpu_amount: self.cpu_units,
            cpu_rounds: self.cpu_rounds,
            workers: self.workers,
            seed: self.seed.unwrap_or_else(new_seed),
            deadline: self.deadline,
            against: self.against,
            precision: self.precision.map(|target| Precision { target, max_time: self.max_time }),
            preset: self.preset,
            beside: [(self.neighbours, Pass::Neighbours), (self.diagnose, Pass::Diagnose)]
                .into_iter()
                .filter_map(|(asked, pass)| asked.then_some(pass))
                .collect(),
        }
    }
}

/// A share over 0 and below 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("must be a number over 0 and below 1, such as 0.01".to_owned()),
    }
}

/// A share over 0, and at most 1.
fn whole_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("must be a number over 0 and at most 1, such as 0.1".to_owned()),
    }
}

/// Any number will do; a short one is easier to type again.
fn new_seed() -> u64 {
    let [.., high, low] = *uuid::Uuid::new_v4().as_bytes();
    u64::from(u16::from_be_bytes([high, low]))
}

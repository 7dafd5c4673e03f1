//! What `report` costs over a great fleet, compared with the medians alone, and with a history ten times as long.
//!
//! `cargo bench -p fleetmark-collector --bench report`
//!
//! The hosts' values are also written to a Parquet file, over which DuckDB makes the same medians, where Python has it:
//! `python3 -m venv target/ci-tools && target/ci-tools/bin/pip install duckdb`. All are whole processes, in turns, with the files in
//! the page cache. Reports are stripped to five rounds, and to what a report goes by, so that a million of them fit.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use fleetmark_collector::{
    simulate::Fleet,
    store::{self, Clocks, Mode, NewRun, Store, StoreUrl},
};
use fleetmark_proto::{
    convert::Encoded,
    report::{Evidence, Report},
    unit::{Nanos, approximate, grouped},
};
use jiff::Timestamp;

/// Hosts of the fleet.
const HOSTS: u32 = 100_000;
/// Runs of each host in the longer history; both lie in the window of 30 days.
const LONGER: u32 = 10;
/// Measured rounds of each run.
const ROUNDS: u32 = 5;
/// How many runs share a commit.
const BATCH: u32 = 5_000;
/// How often each process is run.
const TIMES: usize = 9;
/// At most so many times as long as DuckDB takes.
const DUCKDB: f64 = 5.0;
/// At most so many times as long as with one run a host.
const HISTORY: f64 = 1.1;
/// Of the hosts' values the medians, as DuckDB makes them; and the CSV of them as Parquet.
const MEDIANS: &str = "
import duckdb, sys
for row in duckdb.sql(f\"\"\"
    SELECT profile, scenario, spawner, build, floor(median(value_ns))::BIGINT, count(*)
    FROM read_parquet('{sys.argv[1]}') GROUP BY ALL
\"\"\").fetchall():
    print(*row, sep='|')
";
const PARQUET: &str = "
import duckdb, sys
duckdb.sql(f\"COPY (FROM read_csv('{sys.argv[1]}')) TO '{sys.argv[2]}' (FORMAT parquet)\")
";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match benchmark() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything came out as it should.
fn benchmark() -> Outcome<bool> {
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (short, long) = (folder.path().join("short.db"), folder.path().join("long.db"));
    let values = folder.path().join("values.csv");
    let now = Timestamp::now();
    for (path, runs) in [(&short, 1), (&long, LONGER)] {
        let begin = Instant::now();
        runtime.block_on(fill(path, runs, now, &values))?;
        let (stored, took) = (u64::from(HOSTS) * u64::from(runs), begin.elapsed());
        say(format_args!(
            "{} hosts × 11 cells × {runs} runs: {} runs/s made and stored in batches of {BATCH}, {} MiB\n",
            grouped(u64::from(HOSTS)),
            grouped(fleetmark_proto::unit::rounded(approximate(stored) / took.as_secs_f64())),
            path.metadata()?.len() >> 20
        ))?;
    }
    let report = |store: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetmark-collector"));
        command.args(["report", "--format", "json", "--store"]);
        command.arg(format!("sqlite:{}", store.display()));
        command
    };
    let parquet = folder.path().join("values.parquet");
    let python = python();
    if let Some(python) = &python {
        run(Command::new(python).args(["-c", PARQUET]).arg(&values).arg(&parquet))?;
        let expected = medians_of_duckdb(&run(duckdb(python, &parquet).stdout(Stdio::piped()))?);
        let found = medians_of(&run(&mut report(&short))?)?;
        let same = !found.is_empty() && found == expected;
        say(format_args!("{} medians, the same as DuckDB's: {}\n", found.len(), met(same)))?;
        if !same {
            return Ok(false);
        }
    }

    let (mut ours, mut longer, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        ours.push(timed(&mut report(&short))?);
        longer.push(timed(&mut report(&long))?);
        if let Some(python) = &python {
            theirs.push(timed(&mut duckdb(python, &parquet))?);
        }
    }
    let (ours, longer) = (middle(ours), middle(longer));
    say(format_args!("report, one run a host: {}\n", Nanos::from(ours)))?;
    say(format_args!("report, {LONGER} runs a host: {}\n", Nanos::from(longer)))?;
    let mut all_met = judge("a history ten times as long", longer, ours, HISTORY)?;
    match python {
        Some(_) => {
            let theirs = middle(theirs);
            say(format_args!("DuckDB, over Parquet: {}\n", Nanos::from(theirs)))?;
            all_met &= judge("report beside DuckDB", ours, theirs, DUCKDB)?;
        }
        None => say(format_args!("DuckDB is not installed here, and not compared with\n"))?,
    }
    Ok(all_met)
}

/// Fills a store with so many runs of each host, the oldest first, all within the window; and a file with the values of the newest.
async fn fill(path: &Path, runs: u32, now: Timestamp, values: &Path) -> Outcome<()> {
    let store = store::open(&StoreUrl::Sqlite(path.to_owned()), Mode::Write).await?;
    let mut csv = BufWriter::new(File::create(values)?);
    csv.write_all(b"profile,scenario,spawner,build,host,value_ns\n")?;
    for age in (0..runs).rev() {
        let mut fleet = Fleet::new("sim", HOSTS, u64::from(age))?;
        for first in (0..HOSTS).step_by(usize::try_from(BATCH)?) {
            let mut batch = Vec::new();
            for host in first..(first + BATCH).min(HOSTS) {
                // Spread over the part of the window that is this run's.
                let share = (f64::from(age) + f64::from(host) / f64::from(HOSTS)) / f64::from(runs);
                let ago = Duration::from_secs_f64(29.9 * 86_400.0 * share);
                let report = stripped(fleet.report(now - ago));
                if age == 0 {
                    csv.write_all(lines(&report)?.as_bytes())?;
                }
                let clocks = Clocks::new(report.ended_at, Some(report.ended_at));
                batch.push(Arc::new(NewRun::new(Encoded::new(&report), &report, clocks)));
            }
            put(&*store, batch).await?;
        }
    }
    Ok(csv.flush()?)
}

async fn put(store: &dyn Store, batch: Vec<Arc<NewRun>>) -> Outcome<()> {
    store.put(batch).await?;
    Ok(())
}

/// Without what no report of medians goes by.
fn stripped(mut report: Report) -> Report {
    report.labels.clear();
    report.rounds = ROUNDS;
    report.evidence =
        Evidence { canary_before_ns: report.evidence.canary_before_ns, ..Evidence::default() };
    for cell in &mut report.cells {
        cell.samples_ns.truncate(usize::try_from(ROUNDS).unwrap_or_default());
        (cell.usage, cell.threads_reached, cell.cold_ns) = (None, None, None);
    }
    report
}

/// The host's values, a line each.
fn lines(report: &Report) -> Outcome<String> {
    let mut lines = String::new();
    for cell in &report.cells {
        let Nanos(value) = cell.median().ok_or("a cell failed")?;
        let (profile, build, host) = (&report.profile.id, report.build.key(), &report.host.id);
        let (scenario, spawner) = (cell.key.scenario, cell.key.spawner);
        writeln!(lines, "{profile},{scenario},{spawner},{build},{host},{value}")?;
    }
    Ok(lines)
}

/// Medians with their hosts, by profile, scenario, spawner and build.
type Medians = BTreeMap<[String; 4], (String, String)>;

fn medians_of_duckdb(text: &str) -> Medians {
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<String> = line.split('|').map(str::to_owned).collect();
        let [profile, scenario, spawner, build, median, hosts] =
            <[String; 6]>::try_from(fields).ok()?;
        Some(([profile, scenario, spawner, build], (median, hosts)))
    });
    rows.collect()
}

fn medians_of(text: &str) -> Outcome<Medians> {
    let view: serde_json::Value = serde_json::from_str(text)?;
    let mut medians = Medians::new();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    for profile in list(&view["profiles"]) {
        for cell in list(&profile["cells"]) {
            let text = |value: &serde_json::Value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            };
            let key = [&profile["id"], &cell["scenario"], &cell["spawner"], &cell["build"]];
            medians.insert(key.map(text), (text(&cell["median_ns"]), text(&cell["hosts"])));
        }
    }
    Ok(medians)
}

/// A Python that has DuckDB.
fn python() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci-tools/bin/python");
    [tools, PathBuf::from("python3")].into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import duckdb"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

fn duckdb(python: &Path, parquet: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-c", MEDIANS]).arg(parquet);
    command
}

/// What a process says.
fn run(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// How long a process takes, from its start to its end.
fn timed(command: &mut Command) -> Outcome<Duration> {
    let begin = Instant::now();
    run(command)?;
    Ok(begin.elapsed())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Tells how many times as long one takes as the other, and whether that is within the bound.
fn judge(name: &str, one: Duration, other: Duration, most: f64) -> io::Result<bool> {
    let times = one.as_secs_f64() / other.as_secs_f64();
    let is_met = times <= most;
    say(format_args!("{name}: {times:.2} ×, at most {most}: {}\n", met(is_met)))?;
    Ok(is_met)
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

fn say(text: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.to_string().as_bytes())?;
    out.flush()
}

//! `bench`: the component side by side with a native server, the sqlite3 shell and a bare scan.
//!
//! The machine does other work too, so a single time says little. Every subject has its turn in each round, the
//! median of the rounds counts, and only ratios within one run are compared.
//!
//! - `subject` names what is measured and starts servers, each as a process of its own
//! - [`baseline`] is the native server that the component is measured against
//! - `fixture` makes the databases and keeps them, `client` sends requests
//! - `rounds` measures in rounds, `scaling` how cost grows, `loading` the loader
//! - `results` keeps the values and computes medians, `report` and `chart` show them

pub mod baseline;
mod chart;
mod client;
mod fixture;
mod loading;
mod report;
mod results;
mod rounds;
mod scaling;
mod subject;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use fixture::Fixture;
use report::Machine;
use rounds::Round;
use subject::{Host, Launcher, Subject, version_of};

pub use report::Report;

/// What to measure and how thoroughly.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    /// Flows in the table
    #[arg(long, value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub rows: u64,
    /// Rounds that count, after one that does not
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: u64,
    /// Measure only these
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,
    /// Also measure whether the size of the table matters, up to 20 million rows (2 GB on disk)
    #[arg(long)]
    pub scale: bool,
    /// Also measure 200 clients that read one byte a second
    #[arg(long)]
    pub slow_clients: bool,
    /// Draw the chart here as well
    #[arg(long, value_name = "PATH")]
    pub chart: Option<PathBuf>,
    /// Databases, logs and results
    #[arg(long, value_name = "PATH", default_value = "target/bench")]
    pub folder: PathBuf,
    /// The manifest of the component of WASI 0.3
    #[arg(long, value_name = "PATH", default_value = "spin-wasip3.toml")]
    pub from: PathBuf,
    /// The manifest of the component of WASI 0.2
    #[arg(long, value_name = "PATH", default_value = "spin.toml")]
    pub from_wasip2: PathBuf,
}

impl Bench {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// A part of a run, for `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// One answer with all flows, in each format; processor time
    Full,
    /// Time to the first byte
    FirstByte,
    /// One-second windows on eight connections
    Windows,
    /// Eight answers with all flows at once
    Together,
    /// Peak memory
    Memory,
    /// The loader
    Load,
}

impl Part {
    /// The parts that are measured in rounds.
    const IN_ROUNDS: [Self; 4] = [Self::Full, Self::FirstByte, Self::Windows, Self::Together];

    fn describe(self) -> &'static str {
        match self {
            Self::Full => "all flows in each format",
            Self::FirstByte => "first bytes",
            Self::Windows => "one-second windows",
            Self::Together => "eight full answers at once",
            Self::Memory => "peak memory",
            Self::Load => "loading",
        }
    }
}

/// Measures, and writes the results and the chart.
///
/// # Errors
/// A server cannot be started or breaks off an answer, the servers' bodies differ, or a file cannot be
/// written.
pub fn bench(request: &Bench) -> Result<Report> {
    fs::create_dir_all(&request.folder)
        .with_context(|| format!("cannot create {}", request.folder.display()))?;
    let progress = Progress::new();
    let report = Run::new(request, &progress)?.measure();
    progress.finish();
    let mut report = report?;
    let results = request.folder.join("results.json");
    fs::write(&results, report.to_json()?)
        .with_context(|| format!("cannot write {}", results.display()))?;
    // A run without full answers must not overwrite an earlier chart by one without bars.
    if request.wants(Part::Full) {
        let charts = [
            Some(request.folder.join("bench.svg")),
            request.chart.clone(),
        ];
        for path in charts.into_iter().flatten() {
            chart::draw(&report, &path)?;
            report.files.push(path);
        }
    }
    report.files.insert(0, results);
    Ok(report)
}

/// A run in progress.
struct Run<'a> {
    request: &'a Bench,
    launcher: Launcher<'a>,
    report: Report,
    progress: &'a Progress,
}

impl<'a> Run<'a> {
    fn new(request: &'a Bench, progress: &'a Progress) -> Result<Self> {
        let host = Host::find()?;
        let report = Report {
            machine: Machine::detect(),
            rows: request.rows,
            rounds: request.rounds,
            host: host.name().to_owned(),
            sqlite: rusqlite::version().to_owned(),
            shell: version_of("sqlite3").map(|line| first_word(&line)),
            results: Default::default(),
            notes: Vec::new(),
            files: Vec::new(),
        };
        Ok(Self {
            request,
            launcher: Launcher {
                host,
                manifest: &request.from,
                wasip2: &request.from_wasip2,
                folder: &request.folder,
            },
            report,
            progress,
        })
    }

    fn measure(mut self) -> Result<Report> {
        let Self {
            request, progress, ..
        } = self;
        let fixture = Fixture::of(request.rows, &request.folder, progress)?;
        self.measure_rounds(&fixture)?;
        let results = &mut self.report.results;
        if request.wants(Part::Memory) {
            progress.say(Part::Memory.describe());
            scaling::peak_memory(&self.launcher, &fixture, results, progress)?;
        }
        if request.slow_clients {
            scaling::slow_clients(&self.launcher, &fixture, results, progress)?;
        }
        if request.scale {
            scaling::table_size(&self.launcher, request.rounds, results, progress)?;
        }
        self.measure_loading()?;
        Ok(self.report)
    }

    /// Measures the parts in rounds and discards the first round, a warm-up.
    fn measure_rounds(&mut self, fixture: &Fixture) -> Result<()> {
        let parts = Part::IN_ROUNDS
            .into_iter()
            .filter(|part| self.request.wants(*part));
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            return Ok(());
        }
        let rounds = self.request.rounds;
        self.progress.expect(parts.len() as u64 * (rounds + 1));
        self.progress.say("starting the servers");
        let mut servers = Vec::new();
        for server in Subject::SERVERS {
            servers.push((server, self.launcher.start(server, fixture)?));
        }
        rounds::check_equal_bodies(&servers, fixture)?;
        let start = |subject, part| match parts.contains(&part) {
            true => self.launcher.start(subject, fixture).map(Some),
            false => Ok(None),
        };
        let empty = start(Subject::Empty, Part::Windows)?;
        let by_id = start(Subject::BaselineById, Part::Full)?;
        let shell = self.report.shell.is_some();
        if !shell {
            self.note("sqlite3 is not installed: nothing is measured of it");
        }
        for number in 0..=rounds {
            let round = Round {
                fixture,
                servers: &servers,
                empty: empty.as_ref(),
                by_id: by_id.as_ref(),
                shell,
                number,
            };
            for part in &parts {
                self.progress.say(part.describe());
                let results = &mut self.report.results;
                match part {
                    Part::Full => round.full_answers(results)?,
                    Part::FirstByte => round.first_bytes(results)?,
                    Part::Windows => round.windows(results)?,
                    Part::Together => round.together(results)?,
                    Part::Memory | Part::Load => {}
                }
                self.progress.step();
            }
            if number == 0 {
                self.report.results = Default::default();
            }
        }
        Ok(())
    }

    fn measure_loading(&mut self) -> Result<()> {
        if !self.request.wants(Part::Load) {
            return Ok(());
        }
        if !loading::is_possible() {
            self.note("loading is not measured: it needs sqlite3, awk and gzip");
            return Ok(());
        }
        let Bench { rows, rounds, .. } = *self.request;
        self.progress.expect(rounds * Subject::LOADERS.len() as u64);
        self.progress.say(Part::Load.describe());
        let results = &mut self.report.results;
        loading::measure(rows, rounds, &self.request.folder, results, self.progress)
    }

    fn note(&mut self, note: &str) {
        self.report.notes.push(note.to_owned());
    }
}

/// `3.40.1` of `3.40.1 2022-12-28 14:03:47 …`.
fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or(line).to_owned()
}

/// Interval of redraws during a step.
const TICK: Duration = Duration::from_millis(200);

/// The progress bar over the steps of a run, on standard error; hidden if standard error is no terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let template = "{wide_bar} {pos}/{len}, {elapsed} {msg:40!}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Adds steps to the length of the bar.
    pub(crate) fn expect(&self, steps: u64) {
        self.0.inc_length(steps);
    }

    /// Shows the current step.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Counts a finished step.
    pub(crate) fn step(&self) {
        self.0.inc(1);
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

//! `bench`: the component side by side with a native server, the sqlite3 shell and a bare scan.
//!
//! Single times say little on a machine that does other things as well. So every contestant has its turn
//! in each round, the median of the rounds counts, and what is compared are ratios within one run.
//!
//! - `contestant` says who they are and starts them, each as a `process` of its own
//! - `fixture` makes the databases and keeps them, `equality` refuses servers whose bodies differ
//! - `rounds` has the measurements in rounds, with `client` and its `framing` at the reading end
//! - `memory`, `loading`, `scale` and `slow_clients` are measurements with a course of their own
//! - [`peer`] is the native server
//! - `results` keeps the values, `statistics` condenses them, `report` and `chart` show them, with the
//!   `machine`; `progress` shows how far a run is

mod chart;
mod client;
mod contestant;
mod equality;
mod fixture;
mod framing;
mod loading;
mod machine;
mod memory;
pub mod peer;
mod process;
mod progress;
mod report;
mod results;
mod rounds;
mod scale;
mod slow_clients;
mod statistics;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

use contestant::{Contestant, Host, Starter, version_of};
use fixture::Fixture;
use machine::Machine;
use progress::Progress;
use rounds::Ring;

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
    /// The component's manifest
    #[arg(long, value_name = "PATH", default_value = "spin.toml")]
    pub from: PathBuf,
}

impl Bench {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// A part of a run that can be asked for.
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
    /// Those that are measured in rounds.
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
/// A contestant cannot be started or breaks off an answer, the servers' bodies differ, or a file cannot
/// be written.
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
    // A chart of an earlier run is not replaced by one without bars.
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

/// A run under way.
struct Run<'a> {
    request: &'a Bench,
    starter: Starter<'a>,
    report: Report,
    progress: &'a Progress,
}

impl<'a> Run<'a> {
    fn new(request: &'a Bench, progress: &'a Progress) -> Result<Self> {
        let host = Host::find()?;
        let report = Report {
            machine: Machine::look(),
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
            starter: Starter {
                host,
                manifest: &request.from,
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
            progress.expect(memory::STEPS);
            progress.say(Part::Memory.describe());
            memory::measure(&self.starter, &fixture, results, progress)?;
        }
        if request.slow_clients {
            progress.expect(slow_clients::STEPS);
            slow_clients::measure(&self.starter, &fixture, results, progress)?;
        }
        if request.scale {
            progress.expect(scale::steps(request.rounds));
            scale::measure(&self.starter, request.rounds, results, progress)?;
        }
        self.measure_loading()?;
        Ok(self.report)
    }

    /// The parts that are measured in rounds, the first of which is thrown away.
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
        for server in Contestant::SERVERS {
            servers.push((server, self.starter.start(server, fixture)?));
        }
        equality::check(&servers, fixture)?;
        let shell = self.report.shell.is_some();
        if !shell {
            self.note("sqlite3 is not installed: nothing is measured of it");
        }
        for round in 0..=rounds {
            let ring = Ring {
                fixture,
                servers: &servers,
                shell,
                round,
            };
            for part in &parts {
                self.progress.say(part.describe());
                let results = &mut self.report.results;
                match part {
                    Part::Full => ring.full_answers(results)?,
                    Part::FirstByte => ring.first_bytes(results)?,
                    Part::Windows => ring.windows(results)?,
                    Part::Together => ring.together(results)?,
                    Part::Memory | Part::Load => {}
                }
                self.progress.step();
            }
            if round == 0 {
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
        self.progress
            .expect(rounds * Contestant::LOADERS.len() as u64);
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

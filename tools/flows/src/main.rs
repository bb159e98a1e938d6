//! The command line of `flows`: parses, calls one function of the library, maps the result.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};
use flows::generate::generate;
use flows::load::{self, Load};
use flows::pull::{self, Failure, Pull, Pulled};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load flows into the database of the service, every line exactly once
    Load(Load),
    /// Store what the service has, and later whatever is new, in files: each flow once
    #[command(
        after_help = "Exit codes: 0 pulled; 1 the service, the network or the disk; 2 usage; 3 flows were edited \
        or replaced; 4 the command of --then failed"
    )]
    Pull(Box<Pull>),
    /// Write lines in LANL's format with the published shape to standard output
    Generate {
        /// How many lines
        #[arg(long, value_name = "N")]
        rows: u64,
        /// The same seed gives the same lines
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let (error, code) = match Cli::parse().command {
        Command::Pull(request) => match run_pull(&request) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => (format!("{:#}", failure.error()), failure.code()),
        },
        command => match run(command) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (format!("{error:#}"), 1),
        },
    };
    eprintln!("flows: {error}");
    ExitCode::from(code)
}

/// Pulls until it is done, or behind the current file once a signal asks to end.
fn run_pull(request: &Pull) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&stop);
    ctrlc::set_handler(move || signal.store(true, Ordering::Relaxed))
        .context("cannot listen to signals")?;
    pull::pull(request, &stop, |pulled| print(request, pulled))
}

fn print(request: &Pull, pulled: &Pulled) -> anyhow::Result<()> {
    let line = match request.json {
        true => serde_json::to_string(pulled)?,
        false => pulled.to_string(),
    };
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = match command {
        Command::Pull(_) => Ok(()),
        Command::Load(request) => writeln!(out, "{}", load::load(&request)?),
        Command::Generate { rows, seed } => generate(rows, seed, &mut out),
    };
    match written {
        // Whoever read the output has what they wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

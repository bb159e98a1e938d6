//! The command line of `flows`: parses, calls one function of the library, maps the result.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use flows::generate::generate;
use flows::load::{self, Load};

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
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flows: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = match command {
        Command::Load(request) => writeln!(out, "{}", load::load(&request)?),
        Command::Generate { rows, seed } => generate(rows, seed, &mut out),
    };
    match written {
        // Whoever read the output has what they wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

//! The command line of `bench`: parses, calls one function of the library, maps the result.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use bench::{Bench, baseline, bench};
use clap::{Parser, Subcommand};
use flows::load::{Load, load};

#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    request: Bench,
    #[command(subcommand)]
    subject: Option<Subject>,
}

/// What a run starts as a process of its own from this binary.
#[derive(Subcommand)]
enum Subject {
    /// `flows load`, of the same build
    #[command(hide = true)]
    Load(Load),
    /// Serve windows natively
    #[command(hide = true)]
    Baseline(baseline::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = match cli.subject {
        None => writeln!(out, "{}", bench(&cli.request)?),
        Some(Subject::Load(request)) => writeln!(out, "{}", load(&request)?),
        // Prints the server's address from this thread, which holds the lock of standard output.
        Some(Subject::Baseline(options)) => return baseline::serve(&options),
    };
    match written {
        // The reader of the output has what it wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

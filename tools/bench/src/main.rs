//! The command line of the measurements: parses, calls one function of the library, maps the result.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use bench::peer::{self, Peer};
use bench::{Bench, bench};
use clap::{Parser, Subcommand};
use flows::load::{Load, load};

#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    request: Bench,
    #[command(subcommand)]
    contestant: Option<Contestant>,
}

/// What a run starts of this binary, as processes of their own.
#[derive(Subcommand)]
enum Contestant {
    /// `flows load`, of the same build
    #[command(hide = true)]
    Load(Load),
    /// Serve windows natively
    #[command(hide = true)]
    Peer(Peer),
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
    let written = match cli.contestant {
        None => writeln!(out, "{}", bench(&cli.request)?),
        Some(Contestant::Load(request)) => writeln!(out, "{}", load(&request)?),
        // Its own threads do not write; the line that it announces itself by comes from this one.
        Some(Contestant::Peer(request)) => return peer::serve(&request),
    };
    match written {
        // Whoever read the output has what they wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

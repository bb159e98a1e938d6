//! `flows pull`: everything that the service has, and later whatever is new, as files in a folder.
//!
//! Flows are fetched in the order of arrival, a file at a time. A file gets its name when it is whole and on the disk;
//! then the state file moves on. So a pull may be killed anywhere, and the next one goes on: each flow is in one file.
//!
//! - `state` remembers how far a folder has come, and keeps two pulls apart
//! - `portion` asks the service for the flows of a file, again and again if need be
//! - `part` writes them, and checks that they are all there; `parquet` writes that format
//! - `hook` hands files over to a command, `progress` draws the line of progress

mod hook;
mod parquet;
mod part;
mod portion;
mod progress;
mod state;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};
use clap::{Args as _, FromArgMatches as _};
use reqwest::Url;
use serde::Serialize;

use portion::{Portion, Service, Trouble};
use progress::Progress;
use state::{Folder, StoredFile};

/// How often a wait looks whether it has to end.
const TICK: Duration = Duration::from_millis(100);

/// The variable of the environment that has the access token.
const TOKEN: &str = "FLOWS_TOKEN";

/// What to pull, where to, and what becomes of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Pull {
    /// The service, by http or https: what `/api/v1` is under
    pub url: Url,
    /// The folder of the files and of the state
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// How flows are written
    #[arg(long, value_enum, default_value_t)]
    pub format: FileFormat,
    /// Compress the files
    #[arg(long)]
    pub gzip: bool,
    /// Flows in a file, at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rows: u64,
    /// Run this for each file, by `sh -c`; `{}` is its path, also in FLOWS_FILE. A file is handed over again, before any other, until this succeeds
    #[arg(long, value_name = "COMMAND")]
    pub then: Option<String>,
    /// What to do where flows have been edited or replaced, so that new ids do not tell all
    #[arg(long, value_enum, default_value_t)]
    pub on_replace: OnReplace,
    /// How long to try again without getting further
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    pub retry_for: Duration,
    /// How long to wait for a connection, and for the next bytes of a response. The service lets a byte go every five seconds where the format has room for it
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = humantime::parse_duration)]
    pub read_timeout: Duration,
    /// Pull again and again, with this pause
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub every: Option<Duration>,
    /// A file that holds the access token; without it the variable FLOWS_TOKEN is looked at
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print what was pulled as JSON
    #[arg(long)]
    pub json: bool,
    /// Which flows
    #[command(flatten)]
    pub selection: Selection,
}

impl Pull {
    /// The request that these arguments of `flows pull` make.
    ///
    /// # Errors
    /// What clap says of them.
    pub fn from_arguments<A: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("pull").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }
}

/// Which flows are pulled; all without any of these. They belong to the folder.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Only flows with `time` greater than this
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub scanned_after: Option<i64>,
    /// Only flows with `time` up to and including this
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub scanned_before: Option<i64>,
    /// Only flows from this computer; repeat for any of several, as with the other filters
    #[arg(long, value_name = "NAME")]
    pub src_comp: Vec<String>,
    /// Only flows from this port
    #[arg(long, value_name = "NAME")]
    pub src_port: Vec<String>,
    /// Only flows to this computer
    #[arg(long, value_name = "NAME")]
    pub dst_comp: Vec<String>,
    /// Only flows to this port
    #[arg(long, value_name = "NAME")]
    pub dst_port: Vec<String>,
    /// Only flows of this protocol
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub protocol: Vec<i64>,
}

impl Selection {
    /// The names and values that a request has.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let number = |value: &i64| value.to_string();
        let mut parameters = Vec::new();
        parameters.extend(
            self.scanned_after
                .iter()
                .map(|time| ("scanned_after", number(time))),
        );
        parameters.extend(
            self.scanned_before
                .iter()
                .map(|time| ("scanned_before", number(time))),
        );
        for (name, values) in [
            ("src_comp", &self.src_comp),
            ("src_port", &self.src_port),
            ("dst_comp", &self.dst_comp),
            ("dst_port", &self.dst_port),
        ] {
            parameters.extend(values.iter().map(|value| (name, value.clone())));
        }
        parameters.extend(
            self.protocol
                .iter()
                .map(|value| ("protocol", number(value))),
        );
        parameters
    }
}

/// How the flows of a file are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// A JSON object on each line
    #[default]
    Ndjson,
    /// RFC 4180, with a header line in each file
    Csv,
    /// Apache Parquet, compressed by Snappy
    Parquet,
}

impl FileFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The name of the format that the service is asked for.
    fn of_response(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Parquet => "ndjson",
            Self::Csv => "csv",
        }
    }
}

/// What to do where another lineage of flows has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnReplace {
    /// Say so, change nothing and exit with 3
    #[default]
    Stop,
    /// Begin another set of files, whose names have the new lineage
    Restart,
}

/// What a pull has brought.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pulled {
    /// Flows.
    pub flows: u64,
    /// New files, by name.
    pub files: Vec<String>,
    /// The id up to which the folder has everything; `None` before the first flow.
    pub watermark: Option<i64>,
    /// The lineage that these ids belong to.
    pub lineage: Option<String>,
}

impl fmt::Display for Pulled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} flows in {} files", self.flows, self.files.len())?;
        match self.watermark {
            Some(id) => write!(f, ", complete up to id {id}"),
            None => Ok(()),
        }
    }
}

/// Why a pull has failed.
#[derive(Debug)]
pub enum Failure {
    /// The service, the network or the disk. Exit code 1.
    Pull(Error),
    /// Flows were edited or replaced. Exit code 3.
    Replaced(Error),
    /// The command that files are handed over to. Exit code 4.
    Command(Error),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Pull(_) => 1,
            Self::Replaced(_) => 3,
            Self::Command(_) => 4,
        }
    }

    /// What has happened.
    pub fn error(&self) -> &Error {
        match self {
            Self::Pull(error) | Self::Replaced(error) | Self::Command(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Pull(error)
    }
}

/// Pulls, once or every so often, and hands each summary to `report`. Ends behind the current file once `stop` is set.
///
/// # Errors
/// See [`Failure`]. What was complete before it stays.
pub fn pull(
    request: &Pull,
    stop: &AtomicBool,
    mut report: impl FnMut(&Pulled) -> Result<()>,
) -> Result<(), Failure> {
    if request.gzip && request.format == FileFormat::Parquet {
        return Err(anyhow!("Parquet is compressed as it is: leave --gzip out").into());
    }
    let service = Service::new(request)?;
    let mut folder = Folder::open(request)?;
    loop {
        let pulled = pull_once(request, &service, &mut folder, stop)?;
        report(&pulled)?;
        match request.every {
            Some(pause) if wait(pause, stop) => {}
            _ => return Ok(()),
        }
    }
}

/// Waits; returns false when it has to end.
fn wait(pause: Duration, stop: &AtomicBool) -> bool {
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let left = pause.saturating_sub(started.elapsed());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(TICK));
    }
    false
}

fn pull_once(
    request: &Pull,
    service: &Service,
    folder: &mut Folder,
    stop: &AtomicBool,
) -> Result<Pulled, Failure> {
    let mut progress = Progress::new();
    let mut pulled = Pulled::default();
    hand_over(request, folder, stop)?;
    while !stop.load(Ordering::Relaxed) {
        let fetched = service.fetch(folder, stop, &mut progress);
        let Portion {
            file,
            watermark,
            lineage,
            more,
        } = match fetched {
            Ok(portion) => portion,
            Err(Trouble::Stopped) => break,
            Err(Trouble::Gone(_)) if request.on_replace == OnReplace::Restart => {
                folder.restart();
                continue;
            }
            Err(Trouble::Gone(error)) => {
                return Err(Failure::Replaced(error.context(
                    "what was pulled is no longer what the service has; --on-replace restart begins again",
                )));
            }
            Err(Trouble::Behind(error)) => {
                return Err(Failure::Replaced(error.context(
                    "the service has less than was pulled: a replica that lags, or an older copy of the table",
                )));
            }
            Err(Trouble::Again(error, _) | Trouble::Final(error)) => return Err(error.into()),
        };
        if let Some(StoredFile { name, flows, .. }) = &file {
            pulled.flows += flows;
            pulled.files.push(name.clone());
        }
        folder.advance(lineage, watermark, file)?;
        hand_over(request, folder, stop)?;
        if !more {
            break;
        }
    }
    progress.finish();
    pulled.watermark = folder.state.watermark;
    pulled.lineage = folder.state.lineage.clone();
    Ok(pulled)
}

/// Hands over every file that has not been, the oldest first, or ends behind the current one.
fn hand_over(request: &Pull, folder: &mut Folder, stop: &AtomicBool) -> Result<(), Failure> {
    let Some(command) = &request.then else {
        return Ok(());
    };
    while let Some(place) = folder.state.files.iter().position(|file| !file.loaded) {
        let file = &folder.state.files[place];
        let path = folder.path(&file.name);
        let handed = hook::run(command, &path, file);
        handed.map_err(|error| {
            Failure::Command(error.context(format!("{} is not handed over", path.display())))
        })?;
        folder.set_loaded(place)?;
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// The access token, if there is one.
fn token(request: &Pull) -> Result<Option<String>> {
    let token = match &request.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => std::env::var(TOKEN).ok(),
    };
    let token = token.map(|token| token.trim().to_owned());
    match token {
        Some(token) if token.is_empty() => Err(anyhow!("the access token is empty")),
        token => Ok(token),
    }
}

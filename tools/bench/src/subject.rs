//! What is measured, and how a server of it is started, watched through `/proc` and stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Serialize;

use crate::client::Client;
use crate::fixture::Fixture;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// The component of WASI 0.3, on Spin or on the test host.
    Component,
    /// The component of WASI 0.2 on the same host.
    #[serde(rename = "wasip2")]
    Wasip2,
    /// The same windows from a native server: [`crate::baseline`].
    #[serde(rename = "native")]
    Baseline,
    /// That server, which reads whole tables in the order of ids.
    #[serde(rename = "native-by-id")]
    BaselineById,
    /// A component of WASI 0.2 that opens the database, asks for one row and closes it: the limit for windows there.
    Empty,
    /// `sqlite3 -json` to a pipe.
    Shell,
    /// Reads every column of the same rows in the same order and writes nothing: the limit for a server that reads
    /// with one connection.
    Scan,
    /// `flows load`.
    Loader,
    /// The sqlite3 shell's `.import`.
    Import,
}

impl Subject {
    /// The subjects that read, in the order of tables and charts.
    pub(super) const READERS: [Self; 7] = [
        Self::Component,
        Self::Wasip2,
        Self::Empty,
        Self::Baseline,
        Self::BaselineById,
        Self::Shell,
        Self::Scan,
    ];

    /// The subjects that load.
    pub(super) const LOADERS: [Self; 2] = [Self::Loader, Self::Import];

    /// The subjects that are servers.
    pub(super) const SERVERS: [Self; 3] = [Self::Component, Self::Wasip2, Self::Baseline];

    /// What its value is divided by, and the title of the ratio.
    pub(super) fn divisor(self) -> Option<(Self, &'static str)> {
        match self {
            Self::Component => Some((Self::Baseline, "to native")),
            Self::Wasip2 => Some((Self::Component, "0.2 to 0.3")),
            Self::Empty => Some((Self::Component, "empty to 0.3")),
            Self::BaselineById => Some((Self::Baseline, "by id to native")),
            Self::Loader => Some((Self::Import, "ratio")),
            Self::Baseline | Self::Shell | Self::Scan | Self::Import => None,
        }
    }

    /// Whether it is a server that writes the format.
    pub(super) fn writes(self, format: &str) -> bool {
        match self {
            Self::Component | Self::Wasip2 => true,
            Self::Baseline | Self::BaselineById => format != "arrow",
            Self::Empty | Self::Shell | Self::Scan | Self::Loader | Self::Import => false,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Wasip2 => "WASI 0.2",
            Self::Empty => "empty 0.2",
            Self::Baseline => "native",
            Self::BaselineById => "native by id",
            Self::Shell => "sqlite3 shell",
            Self::Scan => "bare scan",
            Self::Loader => "flows load",
            Self::Import => "sqlite3 .import",
        }
    }
}

/// The host of the component.
#[derive(Clone, Debug)]
pub(super) enum Host {
    /// Spin, with its version line.
    Spin(String),
    /// The test host: a binary beside this one.
    TestHost(PathBuf),
}

impl Host {
    /// Spin from version 4.1 on if it is on PATH, else the test host.
    pub(super) fn find() -> Result<Self> {
        if let Some(version) = version_of("spin").filter(|version| is_recent_spin(version)) {
            return Ok(Self::Spin(version));
        }
        let test_host = std::env::current_exe()?.with_file_name("test-host");
        ensure!(
            test_host.exists(),
            "neither Spin 4.1 on PATH nor {}; run `make native`",
            test_host.display()
        );
        Ok(Self::TestHost(test_host))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Spin(version) => version,
            Self::TestHost(_) => "test host (tests/test-host)",
        }
    }

    fn command(&self) -> Result<Command> {
        let (program, listen) = match self {
            // Spin does not print the port that it got for port 0, so a free port is chosen here.
            Self::Spin(_) => (
                Path::new("spin"),
                TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            ),
            Self::TestHost(path) => (path.as_path(), ([127, 0, 0, 1], 0).into()),
        };
        let mut command = Command::new(program);
        command.args(["up", "--listen", &listen.to_string()]);
        Ok(command)
    }
}

/// The manifest of [`Subject::Empty`].
const EMPTY: &str = "tests/test-host/probe-wasip2/spin.toml";

/// Starts the servers.
pub(super) struct Launcher<'a> {
    pub(super) host: Host,
    /// The manifest of the component of WASI 0.3.
    pub(super) manifest: &'a Path,
    /// The manifest of the component of WASI 0.2.
    pub(super) wasip2: &'a Path,
    /// The folder of the servers' logs.
    pub(super) folder: &'a Path,
}

impl Launcher<'_> {
    /// Starts a server over a fixture.
    pub(super) fn start(&self, server: Subject, fixture: &Fixture) -> Result<ServerProcess> {
        let manifest = match server {
            Subject::Component => Some(self.manifest),
            Subject::Wasip2 => Some(self.wasip2),
            Subject::Empty => Some(Path::new(EMPTY)),
            _ => None,
        };
        let command = if let Some(manifest) = manifest {
            let mut command = self.host.command()?;
            command.arg("--from").arg(manifest);
            command.arg("--state-dir").arg(&fixture.folder);
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("baseline").arg("--db").arg(fixture.database());
            if server == Subject::BaselineById {
                command.arg("--by-id");
            }
            command
        };
        let log = self.folder.join(format!("{}.log", server.name()));
        ServerProcess::start(command, &log, &flows_target("json", "limit=1"))
            .with_context(|| format!("{} (see {})", server.name(), log.display()))
    }
}

/// The target of a request for flows.
pub(super) fn flows_target(format: &str, query: &str) -> String {
    format!("/api/v1/stream/flows.{format}?{query}")
}

/// The first line that `program --version` prints, if it runs.
pub(super) fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Whether a version line is that of Spin 4.1 or later: a model checker is called spin too.
fn is_recent_spin(version: &str) -> bool {
    let numbers = version.strip_prefix("spin ").unwrap_or("");
    let mut numbers = numbers.split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (4, 1),
        _ => false,
    }
}

/// Longest start: the first start compiles the component.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Ticks a second in `/proc/PID/stat`: fixed by Linux's interface, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// What Spin, the test host and the baseline print when they listen.
const ANNOUNCEMENT: &str = "Serving http://";

/// A running server. Dropping stops it.
pub(super) struct ServerProcess {
    child: Child,
    pub(super) address: SocketAddr,
}

impl ServerProcess {
    /// Starts `command` and waits until the server has printed its address and answers `target`.
    ///
    /// Standard error goes to the file `log`: a server may log every client that goes away.
    pub(super) fn start(mut command: Command, log: &Path, target: &str) -> Result<Self> {
        let log =
            fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let out = child.stdout.take().context("no pipe from the server")?;
        let (announce, announced) = mpsc::channel();
        // Reads to the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(address) = line.trim().strip_prefix(ANNOUNCEMENT) {
                    // Only the first address is received.
                    let _ = announce.send(address.trim_end_matches('/').to_owned());
                }
            }
        });
        let mut process = Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let address = announced
            .recv_timeout(START_WITHIN)
            .map_err(|_| anyhow!("{} did not start", command.get_program().display()))?;
        process.address = address.parse().with_context(|| address.clone())?;
        process.await_answer(target)?;
        Ok(process)
    }

    fn await_answer(&self, target: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            let answer = Client::connect(self.address).and_then(|mut client| client.get(target));
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if started.elapsed() > START_WITHIN => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Processor seconds, user and system, since the start; `None` without `/proc`.
    pub(super) fn processor_seconds(&self) -> Option<f64> {
        processor_seconds(&self.family())
    }

    /// Peak resident memory in MiB.
    pub(super) fn peak_memory(&self) -> Option<f64> {
        memory(&self.family(), "VmHWM:")
    }

    /// Resident memory now, in MiB.
    pub(super) fn memory(&self) -> Option<f64> {
        memory(&self.family(), "VmRSS:")
    }

    /// The process and its descendants: `spin up` serves from a child.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = family.get(next) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children"));
                let pids = children.unwrap_or_default();
                family.extend(
                    pids.split_whitespace()
                        .filter_map(|pid| pid.parse::<u32>().ok()),
                );
            }
            next += 1;
        }
        family
    }

    fn stop(&mut self) -> Result<()> {
        let pids = self.family().into_iter().map(|pid| pid.to_string());
        let told = Command::new("kill").args(pids).status()?;
        ensure!(told.success(), "cannot stop the server");
        for _ in 0..100 {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(anyhow!("the server does not stop"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Fails only if the process is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Processor seconds of these processes, user and system. A process that has ended counts until it is reaped.
pub(super) fn processor_seconds(pids: &[u32]) -> Option<f64> {
    let each = pids.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may contain any character. User time is the twelfth field behind it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut ticks = fields.split_whitespace().skip(11);
        let user: f64 = ticks.next()?.parse().ok()?;
        let system: f64 = ticks.next()?.parse().ok()?;
        Some((user + system) / TICKS)
    });
    each.sum()
}

fn memory(pids: &[u32], field: &str) -> Option<f64> {
    let each = pids.iter().map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes / 1024.0)
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use super::is_recent_spin;

    #[test]
    fn spin_is_told_from_an_old_one_and_from_a_model_checker() {
        for recent in [
            "spin 4.1.0 (abc 2026-01-01)",
            "spin 4.2.0-pre0",
            "spin 10.0",
        ] {
            assert!(is_recent_spin(recent), "{recent}");
        }
        for other in [
            "spin 4.0.0 (abc)",
            "Spin Version 6.5.2 -- 6 December 2019",
            "",
        ] {
            assert!(!is_recent_spin(other), "{other}");
        }
    }
}

//! Who is measured, and how each is started.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::fixture::Fixture;
use crate::process::Process;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Contestant {
    /// This project, on Spin or on the stand-in host.
    Component,
    /// The same windows from a native server: [`crate::peer`].
    Native,
    /// `sqlite3 -json` to a pipe.
    Shell,
    /// Reading every column of the same rows in the same order, and writing nothing: no server that
    /// reads with one connection can be faster.
    Scan,
    /// `flows load`.
    Loader,
    /// The sqlite3 shell's `.import`.
    Import,
}

impl Contestant {
    /// Those that read, in the order of tables and charts.
    pub(super) const READERS: [Self; 4] = [Self::Component, Self::Native, Self::Shell, Self::Scan];

    /// Those that load.
    pub(super) const LOADERS: [Self; 2] = [Self::Loader, Self::Import];

    /// The two that are servers.
    pub(super) const SERVERS: [Self; 2] = [Self::Component, Self::Native];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Native => "native",
            Self::Shell => "sqlite3 shell",
            Self::Scan => "bare scan",
            Self::Loader => "flows load",
            Self::Import => "sqlite3 .import",
        }
    }
}

/// What runs the component.
#[derive(Clone, Debug)]
pub(super) enum Host {
    /// Spin, by what it says of its version.
    Spin(String),
    /// The stand-in: a binary beside this one.
    Standin(PathBuf),
}

impl Host {
    /// Spin from version 4.1 on if it is on PATH, else the stand-in.
    pub(super) fn find() -> Result<Self> {
        if let Some(version) = version_of("spin").filter(|version| is_recent_spin(version)) {
            return Ok(Self::Spin(version));
        }
        let standin = std::env::current_exe()?.with_file_name("standin");
        ensure!(
            standin.exists(),
            "neither Spin 4.1 on PATH nor {}; run `make native`",
            standin.display()
        );
        Ok(Self::Standin(standin))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Spin(version) => version,
            Self::Standin(_) => "stand-in (tests/host)",
        }
    }

    fn command(&self) -> Result<Command> {
        let (program, listen) = match self {
            // Spin does not tell which port it was given, so a free one is looked for here.
            Self::Spin(_) => (
                Path::new("spin"),
                TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            ),
            Self::Standin(path) => (path.as_path(), ([127, 0, 0, 1], 0).into()),
        };
        let mut command = Command::new(program);
        command.args(["up", "--listen", &listen.to_string()]);
        Ok(command)
    }
}

/// Starts the servers.
pub(super) struct Starter<'a> {
    pub(super) host: Host,
    /// The component's manifest.
    pub(super) manifest: &'a Path,
    /// Where the servers' logs go.
    pub(super) folder: &'a Path,
}

impl Starter<'_> {
    /// Starts a server over a fixture.
    pub(super) fn start(&self, server: Contestant, fixture: &Fixture) -> Result<Process> {
        let command = match server {
            Contestant::Component => {
                let mut command = self.host.command()?;
                command.arg("--from").arg(self.manifest);
                command.arg("--state-dir").arg(&fixture.folder);
                command
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("peer").arg("--db").arg(fixture.database());
                command
            }
        };
        let log = self.folder.join(format!("{}.log", server.name()));
        Process::start(command, &log, &flows("json", "limit=1"))
            .with_context(|| format!("{} (see {})", server.name(), log.display()))
    }
}

/// The target of a request for flows.
pub(super) fn flows(format: &str, query: &str) -> String {
    format!("/api/v1/stream/flows.{format}?{query}")
}

/// The first line that `program --version` prints, if it runs.
pub(super) fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Another program is called spin as well, a model checker.
fn is_recent_spin(version: &str) -> bool {
    let numbers = version.strip_prefix("spin ").unwrap_or("");
    let mut numbers = numbers.split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (4, 1),
        _ => false,
    }
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

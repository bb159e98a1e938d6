//! A contestant's server as a process of its own: started, watched through `/proc`, stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::client::Client;

/// A server compiles the component when it starts for the first time.
const START_WITHIN: Duration = Duration::from_secs(120);

/// Ticks a second in `/proc/PID/stat`: fixed by Linux's interface, whatever the kernel's own clock.
const TICKS: f64 = 100.0;

/// What both Spin and the stand-in say when they listen, and the peer too.
const ANNOUNCEMENT: &str = "Serving http://";

/// A running server; it is stopped when this is dropped.
pub(super) struct Process {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Process {
    /// Starts `command` and waits until it has announced its address and answers `target`.
    ///
    /// What it writes to standard error goes to the file `log`: a server may complain of every client
    /// that goes away.
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
        // Reads to the end, so that a server which goes on writing never waits.
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Some(address) = line.trim().strip_prefix(ANNOUNCEMENT) {
                    // Only the first is awaited.
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

    /// Processor seconds, user and system, since the start; `None` where there is no `/proc`.
    pub(super) fn processor_seconds(&self) -> Option<f64> {
        processor_seconds(&self.family())
    }

    /// The most memory that was resident at a time, in MiB.
    pub(super) fn peak_memory(&self) -> Option<f64> {
        memory(&self.family(), "VmHWM:")
    }

    /// The memory that is resident now, in MiB.
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

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop().is_err() {
            // Nothing is left to be done if this fails as well: the process is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Processor seconds of these processes, user and system. One that has ended counts until it is waited for.
pub(super) fn processor_seconds(pids: &[u32]) -> Option<f64> {
    let each = pids.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything. Behind it user time is the twelfth field.
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

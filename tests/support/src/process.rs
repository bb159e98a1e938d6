//! A server in a process of its own, so that its memory, threads and descriptors can be counted.
//!
//! The process is this test binary again, told to run one ignored test, [`TEST`], which calls [`serve`]. It
//! answers questions on its standard input; the rest is read from /proc, where there is one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::FLOWS;
use crate::database::Database;
use crate::wire::{self, Response, wait_until};

/// The test that the other process runs; a binary that starts a [`ServerProcess`] has it at its root.
pub const TEST: &str = "server_process";

/// Names the database to the other process.
const DATABASE: &str = "TEST_SERVES";

/// Stands before each line that is meant for this process.
const MARK: &str = "server process: ";

/// A server in a process of its own, ended when dropped.
pub struct ServerProcess {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
    /// Threads before the first request.
    threads: u64,
}

/// What a server holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Connections to the database.
    pub connections: usize,
    /// Instances that have trapped.
    pub trapped: usize,
    /// Resident memory in KiB.
    pub resident: u64,
    /// Its threads.
    pub threads: u64,
    /// Open files and sockets.
    pub descriptors: usize,
}

impl ServerProcess {
    /// Starts a server over `database`.
    #[track_caller]
    pub fn serve(database: &Database) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this binary"))
            .args([TEST, "--exact", "--ignored", "--nocapture"])
            .env(DATABASE, database.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this binary again");
        let questions = process.stdin.take().expect("its standard input");
        let answers = BufReader::new(process.stdout.take().expect("its standard output"));
        let mut server = Self {
            process,
            questions,
            answers,
            address: ([127, 0, 0, 1], 0).into(),
            threads: 0,
        };
        server.address = server.said().parse().expect("an address");
        server.threads = server.status("Threads:");
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        wire::get(self.address, target)
    }

    /// What it holds now.
    #[track_caller]
    pub fn held(&mut self) -> Held {
        writeln!(self.questions).expect("the other process listens");
        let said = self.said();
        let (connections, trapped) = said.split_once(' ').expect("two numbers");
        Held {
            connections: connections.parse().expect("a number"),
            trapped: trapped.parse().expect("a number"),
            resident: self.resident(),
            threads: self.status("Threads:"),
            descriptors: std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))
                .map_or(0, Iterator::count),
        }
    }

    /// Memory that it holds now, in KiB; 0 where that is not told.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most memory it has ever held, in KiB; 0 where that is not told.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Waits until it holds no connection to the database, no more descriptors than `before` and no more
    /// threads than at its start: idle ones go after ten seconds.
    #[track_caller]
    pub fn settle(&mut self, before: &Held) -> Held {
        wait_until("connections, descriptors and threads as they were", || {
            let now = self.held();
            now.connections == 0
                && now.descriptors <= before.descriptors
                && now.threads <= self.threads
        });
        self.held()
    }

    /// Asks once and waits until all is quiet: what is held before anything goes wrong.
    #[track_caller]
    pub fn at_rest(&mut self) -> Held {
        self.get(&format!("{FLOWS}?limit=1")).ok();
        wait_until("no connection", || self.held().connections == 0);
        self.held()
    }

    /// Ends the process at once, as SIGKILL does.
    pub fn kill(&mut self) {
        self.process.kill().expect("the process is there");
        self.process.wait().expect("the process ends");
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0)
    }

    /// The next line that is meant for this process.
    #[track_caller]
    fn said(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.answers.read_line(&mut line).expect("text");
            assert!(read > 0, "the server's process has ended");
            // The test harness writes the name of its test before it, on the same line.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What the test [`TEST`] does: serves until its standard input ends, or nothing where nobody started it so.
pub fn serve() {
    let Ok(path) = std::env::var(DATABASE) else {
        return;
    };
    let server = Database::at(path).serve();
    println!("{MARK}{}", server.address());
    for question in std::io::stdin().lines() {
        if question.is_err() {
            return;
        }
        println!("{MARK}{} {}", server.connections(), server.trapped());
    }
}

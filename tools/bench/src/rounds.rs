//! Measures in rounds: every subject has its turn in each round, so that other work of the machine affects all
//! of them alike. Another server begins in each round.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use crate::client::Client;
use crate::fixture::Fixture;
use crate::results::{Measure, Results, Unit, median, percentile};
use crate::subject::{ServerProcess, Subject, flows_target, processor_seconds};

/// The formats, in the order of tables and charts.
pub(super) const FORMATS: [&str; 5] = ["json", "ndjson", "csv", "xml", "arrow"];

/// Concurrent clients.
const CLIENTS: u64 = 8;

/// Time for which a server is asked for windows in each round.
const WINDOWS_FOR: Duration = Duration::from_secs(2);

/// Requests for a first byte in each round; the round's value is their median.
const FIRST_BYTES: usize = 15;

/// The query of the sqlite3 shell and of the scan: what the servers answer without parameters.
const ALL: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows ORDER BY time, id";

/// One round: the running servers, and the table that they serve.
pub(super) struct Round<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) servers: &'a [(Subject, ServerProcess)],
    /// The server of [`Subject::Empty`], for windows.
    pub(super) empty: Option<&'a ServerProcess>,
    /// The server of [`Subject::BaselineById`], for whole answers.
    pub(super) by_id: Option<&'a ServerProcess>,
    /// Whether the sqlite3 shell takes part.
    pub(super) shell: bool,
    /// The number of the round; 0 is the warm-up.
    pub(super) number: u64,
}

impl Round<'_> {
    /// The servers, beginning with another one in each round.
    fn turns(&self) -> impl Iterator<Item = &(Subject, ServerProcess)> {
        let first = self.number as usize % self.servers.len();
        self.servers
            .iter()
            .cycle()
            .skip(first)
            .take(self.servers.len())
    }

    fn servers_in_turn(&self) -> impl Iterator<Item = (Subject, &ServerProcess)> {
        self.turns().map(|(server, process)| (*server, process))
    }

    /// One answer with all flows: flows a second, and the server's processor seconds for a million flows.
    pub(super) fn full_answers(&self, results: &mut Results) -> Result<()> {
        for format in FORMATS {
            let rate = full_rate(format);
            let title = format!("processor, a million flows as {format}");
            let processor = Measure::new(format!("processor.{format}"), title, Unit::Seconds);
            let mut lengths = Vec::new();
            let by_id = self.by_id.map(|process| (Subject::BaselineById, process));
            let servers = self.servers_in_turn().chain(by_id);
            for (server, process) in servers.filter(|(server, _)| server.writes(format)) {
                let before = process.processor_seconds();
                let answer = Client::connect(process.address)?.get(&flows_target(format, ""))?;
                let rows = self.fixture.rows as f64;
                results.record(&rate, server, rows / answer.elapsed.as_secs_f64());
                if let Some((before, after)) = before.zip(process.processor_seconds()) {
                    results.record(&processor, server, (after - before) / rows * 1e6);
                }
                lengths.push(answer.bytes);
            }
            ensure!(
                lengths.iter().all(|length| *length == lengths[0]),
                "answers of different lengths for all flows as {format}: {lengths:?}"
            );
            if format == "json" && self.shell {
                self.shell_answer(&rate, &processor, results)?;
            }
        }
        self.scan(results)
    }

    fn shell_answer(
        &self,
        rate: &Measure,
        processor: &Measure,
        results: &mut Results,
    ) -> Result<()> {
        let started = Instant::now();
        let mut shell = Command::new("sqlite3")
            .args(["-readonly", "-json"])
            .arg(self.fixture.database())
            .arg(ALL)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run sqlite3")?;
        let mut out = shell.stdout.take().context("no pipe from sqlite3")?;
        let mut buffer = vec![0; 256 * 1024];
        while out.read(&mut buffer)? > 0 {}
        let elapsed = started.elapsed().as_secs_f64();
        let used = await_end(shell.id());
        ensure!(shell.wait()?.success(), "sqlite3 failed");
        let rows = self.fixture.rows as f64;
        results.record(rate, Subject::Shell, rows / elapsed);
        if let Some(used) = used {
            results.record(processor, Subject::Shell, used / rows * 1e6);
        }
        Ok(())
    }

    /// Reads every column of every row in the order of the answers, and writes nothing.
    fn scan(&self, results: &mut Results) -> Result<()> {
        let connection = self.fixture.connect()?;
        let started = Instant::now();
        let mut statement = connection.prepare(ALL)?;
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        let (mut count, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                bytes += match row.get_ref(column)? {
                    rusqlite::types::ValueRef::Text(text) => text.len() as u64,
                    _ => 8,
                };
            }
            count += 1;
        }
        std::hint::black_box(bytes);
        ensure!(count == self.fixture.rows, "a scan found {count} flows");
        let rate = count as f64 / started.elapsed().as_secs_f64();
        for format in FORMATS {
            results.record(&full_rate(format), Subject::Scan, rate);
        }
        Ok(())
    }

    /// Time to the first byte of the body of all flows, on a new connection.
    pub(super) fn first_bytes(&self, results: &mut Results) -> Result<()> {
        let measure = Measure::new(
            "first_byte",
            "first byte of all flows as json",
            Unit::Milliseconds,
        );
        for (server, process) in self.turns() {
            results.record(&measure, *server, first_byte(process.address)?);
        }
        Ok(())
    }

    /// Random windows of one second on kept connections: requests a second and their latency.
    pub(super) fn windows(&self, results: &mut Results) -> Result<()> {
        let rate = Measure::new(
            "windows.rate",
            "one-second windows, 8 connections",
            Unit::RequestsPerSecond,
        );
        let servers = self.servers_in_turn();
        let empty = self.empty.map(|process| (Subject::Empty, process));
        for (server, process) in servers.chain(empty) {
            let started = Instant::now();
            let latencies = each_client(|client| self.ask_windows(server, process, client))?;
            let elapsed = started.elapsed().as_secs_f64();
            let latencies: Vec<f64> = latencies.into_iter().flatten().collect();
            results.record(&rate, server, latencies.len() as f64 / elapsed);
            for percent in [50, 99] {
                let title = format!("the same, latency p{percent}");
                let measure =
                    Measure::new(format!("windows.p{percent}"), title, Unit::Milliseconds);
                if let Some(latency) = percentile(&latencies, percent) {
                    results.record(&measure, server, latency);
                }
            }
        }
        Ok(())
    }

    /// The latencies of one client, in milliseconds.
    fn ask_windows(
        &self,
        server: Subject,
        process: &ServerProcess,
        client: u64,
    ) -> Result<Vec<f64>> {
        // Every server gets the same windows; every round and client has other windows.
        let mut windows = Windows::new(self.number * CLIENTS + client, self.fixture.last_time);
        let mut connection = Client::connect(process.address)?;
        let mut latencies = Vec::new();
        let started = Instant::now();
        while started.elapsed() < WINDOWS_FOR {
            let target = match server {
                Subject::Empty => "/query".to_owned(),
                _ => windows.next(),
            };
            let answer = connection.get(&target)?;
            latencies.push(milliseconds(answer.elapsed));
        }
        Ok(latencies)
    }

    /// Concurrent answers with all flows: flows a second in total.
    pub(super) fn together(&self, results: &mut Results) -> Result<()> {
        if self.number == 0 {
            // The full answers of the warm-up suffice; this part takes as long as all others.
            return Ok(());
        }
        let title = format!("{CLIENTS} times all flows as json, together");
        let measure = Measure::new("together.json", title, Unit::FlowsPerSecond);
        for (server, process) in self.turns() {
            let started = Instant::now();
            each_client(|_| Client::connect(process.address)?.get(&flows_target("json", "")))?;
            let rows = (CLIENTS * self.fixture.rows) as f64;
            results.record(&measure, *server, rows / started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// The measure of flows a second in one full answer.
pub(super) fn full_rate(format: &str) -> Measure {
    let title = format!("all flows as {format}");
    Measure::new(format!("full.{format}"), title, Unit::FlowsPerSecond)
}

/// The median time to the first byte of all flows, in milliseconds.
pub(super) fn first_byte(address: SocketAddr) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..FIRST_BYTES {
        let time = Client::connect(address)?.first_byte(&flows_target("json", ""))?;
        times.push(milliseconds(time));
        // Time for the server to notice the closed connection before the next request.
        thread::sleep(Duration::from_millis(30));
    }
    median(&times).context("nothing was measured")
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Requests for random windows of one second.
pub(super) struct Windows {
    random: Pcg64Mcg,
    last_time: i64,
}

impl Windows {
    pub(super) fn new(seed: u64, last_time: i64) -> Self {
        // The multiplication keeps neighbouring seeds from starting alike.
        let state = u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1;
        Self {
            random: Pcg64Mcg::new(state),
            last_time,
        }
    }

    pub(super) fn next(&mut self) -> String {
        let after = self.random.next_u64() % self.last_time.max(1).unsigned_abs();
        let query = format!("scanned_after={after}&scanned_before={}", after + 1);
        flows_target("json", &query)
    }
}

/// Runs the clients concurrently, each on a thread.
fn each_client<T: Send>(run: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let run = &run;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || run(client)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow!("a client died"))?)
            .collect()
    })
}

/// Waits for the end of a child that has closed its output; returns its processor seconds.
fn await_end(pid: u32) -> Option<f64> {
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z'))
    };
    while !ended()? {
        thread::sleep(Duration::from_millis(1));
    }
    processor_seconds(&[pid])
}

/// Compares the servers' bodies in every format: empty, small and of several pages. Times of different bodies could
/// not be compared.
///
/// # Errors
/// Two bodies differ; the message names the request.
pub(super) fn check_equal_bodies(
    servers: &[(Subject, ServerProcess)],
    fixture: &Fixture,
) -> Result<()> {
    let middle = fixture.last_time / 2;
    let queries = [
        format!("scanned_after={}", fixture.last_time),
        format!("scanned_after={middle}&scanned_before={}", middle + 1),
        format!("scanned_after={middle}&limit=20001"),
        "scanned_before=3".to_owned(),
    ];
    for format in FORMATS {
        let servers = servers.iter().filter(|(server, _)| server.writes(format));
        let servers: Vec<_> = servers.collect();
        for query in &queries {
            check_equal_body(&servers, &flows_target(format, query))?;
        }
    }
    Ok(())
}

fn check_equal_body(servers: &[&(Subject, ServerProcess)], target: &str) -> Result<()> {
    let mut bodies = Vec::new();
    for (_, process) in servers {
        bodies.push(Client::connect(process.address)?.body(target)?);
    }
    for (other, (server, _)) in bodies.iter().zip(servers).skip(1) {
        let same = bodies[0]
            .iter()
            .zip(other)
            .take_while(|(a, b)| a == b)
            .count();
        ensure!(
            *other == bodies[0],
            "{target}: {} and {} differ behind byte {same}; nothing is measured",
            servers[0].0.name(),
            server.name()
        );
    }
    Ok(())
}

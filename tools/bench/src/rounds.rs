//! The measurements that are taken in rounds: in each round every contestant has its turn at each, so
//! that what else the machine does meanwhile falls on all of them.
//!
//! Whose turn it is first changes from round to round.

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

use crate::client::Client;
use crate::contestant::{Contestant, flows};
use crate::fixture::Fixture;
use crate::process::{Process, processor_seconds};
use crate::results::{Measure, Results, Unit};
use crate::statistics::{median, percentile};

/// The formats, in the order of tables and charts.
pub(super) const FORMATS: [&str; 4] = ["json", "ndjson", "csv", "xml"];

/// Clients that ask at the same time.
const CLIENTS: u64 = 8;

/// How long windows are asked for, in each round and of each server.
const WINDOWS_FOR: Duration = Duration::from_secs(2);

/// First bytes awaited in each round; the round's value is their median.
const FIRST_BYTES: usize = 15;

/// What the sqlite3 shell is asked for: what the servers answer without parameters.
const ALL: &str =
    "SELECT id, time, duration, src_comp, src_port, dst_comp, dst_port, protocol, packet_count,
    byte_count FROM flows ORDER BY time, id";

/// The servers, running, and what they serve.
pub(super) struct Ring<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) servers: &'a [(Contestant, Process)],
    /// Whether the sqlite3 shell takes part.
    pub(super) shell: bool,
    /// Zero is the warm-up.
    pub(super) round: u64,
}

impl Ring<'_> {
    /// The servers, another one first in every round.
    fn turns(&self) -> impl Iterator<Item = &(Contestant, Process)> {
        let first = self.round as usize % self.servers.len();
        self.servers
            .iter()
            .cycle()
            .skip(first)
            .take(self.servers.len())
    }

    /// One answer with all flows: flows a second, and processor seconds of the server for a million flows.
    pub(super) fn full_answers(&self, results: &mut Results) -> Result<()> {
        for format in FORMATS {
            let rate = full(format);
            let title = format!("processor, a million flows as {format}");
            let processor = Measure::new(format!("processor.{format}"), title, Unit::Seconds);
            let mut lengths = Vec::new();
            for (server, process) in self.turns() {
                let before = process.processor_seconds();
                let answer = Client::connect(process.address)?.get(&flows(format, ""))?;
                let rows = self.fixture.rows as f64;
                results.record(&rate, *server, rows / answer.elapsed.as_secs_f64());
                if let Some((before, after)) = before.zip(process.processor_seconds()) {
                    results.record(&processor, *server, (after - before) / rows * 1e6);
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
        results.record(rate, Contestant::Shell, rows / elapsed);
        if let Some(used) = used {
            results.record(processor, Contestant::Shell, used / rows * 1e6);
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
            results.record(&full(format), Contestant::Scan, rate);
        }
        Ok(())
    }

    /// Time to the first byte of the body, for a window without ends, on a connection of its own.
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

    /// Random windows of one second, on connections that are kept: requests a second and their latency.
    pub(super) fn windows(&self, results: &mut Results) -> Result<()> {
        let rate = Measure::new(
            "windows.rate",
            "one-second windows, 8 connections",
            Unit::RequestsPerSecond,
        );
        for (server, process) in self.turns() {
            let started = Instant::now();
            let latencies = each_client(|client| self.ask_windows(process.address, client))?;
            let elapsed = started.elapsed().as_secs_f64();
            let latencies: Vec<f64> = latencies.into_iter().flatten().collect();
            results.record(&rate, *server, latencies.len() as f64 / elapsed);
            for percent in [50, 99] {
                let title = format!("the same, latency p{percent}");
                let measure =
                    Measure::new(format!("windows.p{percent}"), title, Unit::Milliseconds);
                if let Some(latency) = percentile(&latencies, percent) {
                    results.record(&measure, *server, latency);
                }
            }
        }
        Ok(())
    }

    /// The latencies, in milliseconds, that one client sees.
    fn ask_windows(&self, address: SocketAddr, client: u64) -> Result<Vec<f64>> {
        // The same windows for every server, other ones for every round and client.
        let mut windows = Windows::new(self.round * CLIENTS + client, self.fixture.last_time);
        let mut connection = Client::connect(address)?;
        let mut latencies = Vec::new();
        let started = Instant::now();
        while started.elapsed() < WINDOWS_FOR {
            let answer = connection.get(&windows.next())?;
            latencies.push(milliseconds(answer.elapsed));
        }
        Ok(latencies)
    }

    /// Several full answers at the same time: flows a second of all together.
    pub(super) fn together(&self, results: &mut Results) -> Result<()> {
        if self.round == 0 {
            // One full answer after another has warmed up what there is; this takes as long as all else.
            return Ok(());
        }
        let title = format!("{CLIENTS} times all flows as json, together");
        let measure = Measure::new("together.json", title, Unit::FlowsPerSecond);
        for (server, process) in self.turns() {
            let started = Instant::now();
            each_client(|_| Client::connect(process.address)?.get(&flows("json", "")))?;
            let rows = (CLIENTS * self.fixture.rows) as f64;
            results.record(&measure, *server, rows / started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

/// Flows a second in one full answer.
pub(super) fn full(format: &str) -> Measure {
    let title = format!("all flows as {format}");
    Measure::new(format!("full.{format}"), title, Unit::FlowsPerSecond)
}

/// The median time to the first byte of a window without ends, in milliseconds.
pub(super) fn first_byte(address: SocketAddr) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..FIRST_BYTES {
        let time = Client::connect(address)?.first_byte(&flows("json", ""))?;
        times.push(milliseconds(time));
        // The server finds out that nobody reads any more; the next request is not to pay for that.
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
        // Spread, so that neighbouring seeds do not start alike.
        let state = u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1;
        Self {
            random: Pcg64Mcg::new(state),
            last_time,
        }
    }

    pub(super) fn next(&mut self) -> String {
        let after = self.random.next_u64() % self.last_time.max(1).unsigned_abs();
        let query = format!("scanned_after={after}&scanned_before={}", after + 1);
        flows("json", &query)
    }
}

/// Runs one client a thread, all at once.
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

/// The processor seconds of a child that has closed its output, once it has ended.
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

//! How cost grows: memory with the size of the answer, time with the size of the table, and memory and latency
//! with the number of slow clients.
//!
//! These measurements start servers of their own.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::Progress;
use crate::client::Client;
use crate::fixture::Fixture;
use crate::results::{Measure, Results, Unit, grouped, median};
use crate::rounds::{Windows, first_byte, milliseconds};
use crate::subject::{Launcher, Subject, flows_target};

/// Rows of the small answer: several pages, so that all buffers are in use.
const SMALL_ANSWER: u64 = 50_000;

/// Rows of the tables. The databases take 2 GB.
const TABLE_SIZES: [u64; 4] = [1_000_000, 2_000_000, 5_000_000, 20_000_000];

/// Flows in a window, approximately: a window ends with a second.
const WINDOW_ROWS: u64 = 100_000;

/// Clients that read one byte a second, each of a window without ends.
const SLOW_CLIENTS: usize = 200;

/// Time to fill all buffers between a server and its slow clients.
const SETTLE: Duration = Duration::from_secs(5);

/// One-second windows in one latency measurement.
const WINDOW_REQUESTS: usize = 300;

/// Peak memory of a server after one JSON answer: a small one, and one of all flows. Each answer has a fresh
/// process, so that no earlier answer counts.
pub(super) fn peak_memory(
    launcher: &Launcher<'_>,
    fixture: &Fixture,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    progress.expect(2 * Subject::SERVERS.len() as u64);
    for rows in [SMALL_ANSWER.min(fixture.rows), fixture.rows] {
        let title = format!("peak memory, {} flows as json", grouped(rows));
        let measure = Measure::new(format!("memory.{rows}"), title, Unit::Mebibytes);
        for server in Subject::SERVERS {
            let process = launcher.start(server, fixture)?;
            let target = flows_target("json", &format!("limit={rows}"));
            Client::connect(process.address)?.get(&target)?;
            if let Some(peak) = process.peak_memory() {
                results.record(&measure, server, peak);
            }
            progress.step();
        }
    }
    Ok(())
}

/// The first byte of all flows, and a window of a fixed number of flows, by the size of the table. The first of
/// the rounds is a warm-up.
pub(super) fn table_size(
    launcher: &Launcher<'_>,
    rounds: u64,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    progress.expect((rounds + 1) * (TABLE_SIZES.len() * Subject::SERVERS.len()) as u64);
    let fixtures = TABLE_SIZES
        .map(|rows| Fixture::of(rows, launcher.folder, progress))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut running = Vec::new();
    for fixture in &fixtures {
        for server in Subject::SERVERS {
            running.push((fixture, server, launcher.start(server, fixture)?));
        }
    }
    for round in 0..=rounds {
        for (fixture, server, process) in &running {
            let millions = fixture.rows / 1_000_000;
            progress.say(&format!("{millions} M rows, {}", server.name()));
            let (target, rows) = window_in_the_middle(fixture)?;
            let first = first_byte(process.address)?;
            let window = Client::connect(process.address)?.get(&target)?;
            progress.step();
            if round == 0 {
                continue;
            }
            let mut record = |key: &str, title, value| {
                let key = format!("scale.{key}.{millions}M");
                let measure = Measure::new(key, title, Unit::Milliseconds);
                results.record(&measure, *server, value);
            };
            let title = format!("first byte of all flows, {millions} M rows");
            record("first_byte", title, first);
            let title = format!("100,000 flows as json out of {millions} M");
            let time = milliseconds(window.elapsed) * WINDOW_ROWS as f64 / rows as f64;
            record("window", title, time);
        }
    }
    Ok(())
}

/// The request for a window in the middle of the table, and the number of its flows.
fn window_in_the_middle(fixture: &Fixture) -> Result<(String, u64)> {
    let after = fixture.time_of(fixture.rows / 2)?;
    let before = fixture.time_of(fixture.rows / 2 + WINDOW_ROWS)?;
    let rows = fixture.connect()?.query_row(
        "SELECT count(*) FROM flows WHERE time > ? AND time <= ?",
        [after, before],
        |row| row.get(0),
    )?;
    let query = format!("scanned_after={after}&scanned_before={before}");
    Ok((flows_target("json", &query), rows))
}

/// Memory for each slow client, and the latency of other clients' windows with and without slow clients. Each
/// server is a fresh process.
pub(super) fn slow_clients(
    launcher: &Launcher<'_>,
    fixture: &Fixture,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    progress.expect(Subject::SERVERS.len() as u64);
    for server in Subject::SERVERS {
        progress.say(&format!("{SLOW_CLIENTS} slow clients, {}", server.name()));
        let process = launcher.start(server, fixture)?;
        let alone = window_latency(process.address, fixture)?;
        let before = process.memory();
        let (beside, after) = beside_slow_clients(process.address, || {
            let latency = window_latency(process.address, fixture)?;
            Ok((latency, process.memory()))
        })?;
        let mut record = |key: &str, title: &str, unit, value| {
            let measure = Measure::new(format!("slow_clients.{key}"), title, unit);
            results.record(&measure, server, value);
        };
        let title = "one-second window, median, alone";
        record("window_usual", title, Unit::Milliseconds, alone);
        let title = "the same beside 200 slow clients";
        record("window_meanwhile", title, Unit::Milliseconds, beside);
        if let Some((before, after)) = before.zip(after) {
            let each = (after - before) / SLOW_CLIENTS as f64;
            let title = "memory for each slow client";
            record("memory", title, Unit::Mebibytes, each);
        }
        progress.step();
    }
    Ok(())
}

/// The median time of a one-second window on a kept connection, in milliseconds.
fn window_latency(address: SocketAddr, fixture: &Fixture) -> Result<f64> {
    let mut windows = Windows::new(0, fixture.last_time);
    let mut client = Client::connect(address)?;
    let mut times = Vec::with_capacity(WINDOW_REQUESTS);
    for _ in 0..WINDOW_REQUESTS {
        times.push(milliseconds(client.get(&windows.next())?.elapsed));
    }
    median(&times).context("nothing was measured")
}

/// Runs `measure` while the slow clients read.
fn beside_slow_clients<T>(address: SocketAddr, measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut streams = Vec::with_capacity(SLOW_CLIENTS);
    for _ in 0..SLOW_CLIENTS {
        streams.push(Client::connect(address)?.send(&flows_target("json", ""))?);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly(&mut streams, &done));
        thread::sleep(SETTLE);
        let measured = measure();
        done.store(true, Ordering::Relaxed);
        reader
            .join()
            .map_err(|_| anyhow!("the slow clients died"))??;
        measured
    })
}

fn read_slowly(streams: &mut [TcpStream], done: &AtomicBool) -> Result<()> {
    while !done.load(Ordering::Relaxed) {
        for stream in &mut *streams {
            let mut byte = [0];
            ensure!(
                stream.read(&mut byte)? == 1,
                "a slow client's answer broke off"
            );
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

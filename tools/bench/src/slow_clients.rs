//! Many clients that hardly read: what each costs in memory, and what they do to everybody else.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::client::Client;
use crate::contestant::{Contestant, Starter, flows};
use crate::fixture::Fixture;
use crate::progress::Progress;
use crate::results::{Measure, Results, Unit};
use crate::rounds::{Windows, milliseconds};
use crate::statistics::median;

/// Clients that read one byte a second, each of a window without ends.
const CLIENTS: usize = 200;

/// Until all buffers between a server and its clients are full.
const SETTLE: Duration = Duration::from_secs(5);

/// Windows of one second asked for, before and meanwhile.
const WINDOWS: usize = 300;

/// Servers measured.
pub(super) const STEPS: u64 = Contestant::SERVERS.len() as u64;

/// Measures one server after the other, each in a fresh process.
pub(super) fn measure(
    starter: &Starter<'_>,
    fixture: &Fixture,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    for server in Contestant::SERVERS {
        progress.say(&format!("{CLIENTS} slow clients, {}", server.name()));
        let process = starter.start(server, fixture)?;
        let usual = window_latency(process.address, fixture)?;
        let before = process.memory();
        let (meanwhile, after) = beside_slow_clients(process.address, || {
            let latency = window_latency(process.address, fixture)?;
            Ok((latency, process.memory()))
        })?;
        let mut record = |key: &str, title: &str, unit, value| {
            let measure = Measure::new(format!("slow_clients.{key}"), title, unit);
            results.record(&measure, server, value);
        };
        record(
            "window_usual",
            "one-second window, median, alone",
            Unit::Milliseconds,
            usual,
        );
        record(
            "window_meanwhile",
            "the same beside 200 slow clients",
            Unit::Milliseconds,
            meanwhile,
        );
        if let Some((before, after)) = before.zip(after) {
            let each = (after - before) / CLIENTS as f64;
            record(
                "memory",
                "memory for each slow client",
                Unit::Mebibytes,
                each,
            );
        }
        progress.step();
    }
    Ok(())
}

/// The median time of a one-second window on a kept connection, in milliseconds.
fn window_latency(address: SocketAddr, fixture: &Fixture) -> Result<f64> {
    let mut windows = Windows::new(0, fixture.last_time);
    let mut client = Client::connect(address)?;
    let mut times = Vec::with_capacity(WINDOWS);
    for _ in 0..WINDOWS {
        times.push(milliseconds(client.get(&windows.next())?.elapsed));
    }
    median(&times).context("nothing was measured")
}

/// Runs `measure` while the slow clients read.
fn beside_slow_clients<T>(address: SocketAddr, measure: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut streams = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        streams.push(Client::connect(address)?.start(&flows("json", ""))?);
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

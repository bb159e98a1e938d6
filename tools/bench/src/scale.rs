//! Whether the size of the table matters: for the first byte of all flows, and for the same number of
//! flows out of the middle.

use anyhow::Result;

use crate::client::Client;
use crate::contestant::{Contestant, Starter, flows};
use crate::fixture::Fixture;
use crate::progress::Progress;
use crate::results::{Measure, Results, Unit};
use crate::rounds::{first_byte, milliseconds};

/// Rows of the tables; together they take 2 GB and up to a minute or two to make.
const SIZES: [u64; 4] = [1_000_000, 2_000_000, 5_000_000, 20_000_000];

/// Flows in the window, about: it ends with a second.
const WINDOW: u64 = 100_000;

/// Servers measured in a run of so many rounds.
pub(super) fn steps(rounds: u64) -> u64 {
    (rounds + 1) * (SIZES.len() * Contestant::SERVERS.len()) as u64
}

/// Measures on every size in turn, in rounds after one that is not counted.
pub(super) fn measure(
    starter: &Starter<'_>,
    rounds: u64,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    let fixtures = SIZES
        .map(|rows| Fixture::of(rows, starter.folder, progress))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut running = Vec::new();
    for fixture in &fixtures {
        for server in Contestant::SERVERS {
            running.push((fixture, server, starter.start(server, fixture)?));
        }
    }
    for round in 0..=rounds {
        for (fixture, server, process) in &running {
            let millions = fixture.rows / 1_000_000;
            progress.say(&format!("{millions} M rows, {}", server.name()));
            let (target, count) = middle(fixture)?;
            let first = first_byte(process.address)?;
            let answer = Client::connect(process.address)?.get(&target)?;
            progress.step();
            if round == 0 {
                continue;
            }
            let title = format!("first byte of all flows, {millions} M rows");
            let measure = Measure::new(
                format!("scale.first_byte.{millions}M"),
                title,
                Unit::Milliseconds,
            );
            results.record(&measure, *server, first);
            let title = format!("100,000 flows as json out of {millions} M");
            let measure = Measure::new(
                format!("scale.window.{millions}M"),
                title,
                Unit::Milliseconds,
            );
            let time = milliseconds(answer.elapsed) * WINDOW as f64 / count as f64;
            results.record(&measure, *server, time);
        }
    }
    Ok(())
}

/// The request for a window out of the middle, and how many flows it holds.
fn middle(fixture: &Fixture) -> Result<(String, u64)> {
    let after = fixture.time_of(fixture.rows / 2)?;
    let before = fixture.time_of(fixture.rows / 2 + WINDOW)?;
    let count = fixture.connect()?.query_row(
        "SELECT count(*) FROM flows WHERE time > ? AND time <= ?",
        [after, before],
        |row| row.get(0),
    )?;
    let query = format!("scanned_after={after}&scanned_before={before}");
    Ok((flows("json", &query), count))
}

//! Peak memory: of a fresh process for each size of answer, so that no earlier one counts.

use anyhow::Result;

use crate::client::Client;
use crate::contestant::{Contestant, Starter, flows};
use crate::fixture::Fixture;
use crate::progress::Progress;
use crate::results::{Measure, Results, Unit, grouped};

/// A small answer to set beside the full one: of several pages, so that all buffers are in use.
const FEW: u64 = 50_000;

/// Answers measured for each server.
pub(super) const STEPS: u64 = 2 * Contestant::SERVERS.len() as u64;

/// `VmHWM` after one JSON answer of few flows, and after one of all.
pub(super) fn measure(
    starter: &Starter<'_>,
    fixture: &Fixture,
    results: &mut Results,
    progress: &Progress,
) -> Result<()> {
    for rows in [FEW.min(fixture.rows), fixture.rows] {
        let title = format!("peak memory, {} flows as json", grouped(rows));
        let measure = Measure::new(format!("memory.{rows}"), title, Unit::Mebibytes);
        for server in Contestant::SERVERS {
            let process = starter.start(server, fixture)?;
            Client::connect(process.address)?.get(&flows("json", &format!("limit={rows}")))?;
            if let Some(peak) = process.peak_memory() {
                results.record(&measure, server, peak);
            }
            progress.step();
        }
    }
    Ok(())
}

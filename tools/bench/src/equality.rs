//! Both servers must give the same bodies, or their times would not be comparable.

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::contestant::{Contestant, flows};
use crate::fixture::Fixture;
use crate::process::Process;
use crate::rounds::FORMATS;

/// Compares bodies that are empty, small and of several pages, in every format.
///
/// # Errors
/// Two bodies differ; the text names the request.
pub(super) fn check(servers: &[(Contestant, Process)], fixture: &Fixture) -> Result<()> {
    let middle = fixture.last_time / 2;
    let queries = [
        format!("scanned_after={}", fixture.last_time),
        format!("scanned_after={middle}&scanned_before={}", middle + 1),
        format!("scanned_after={middle}&limit=20001"),
        "scanned_before=3".to_owned(),
    ];
    for target in FORMATS
        .iter()
        .flat_map(|format| queries.iter().map(|query| flows(format, query)))
    {
        let mut bodies = Vec::new();
        for (_, process) in servers {
            bodies.push(Client::connect(process.address)?.body(&target)?);
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
    }
    Ok(())
}

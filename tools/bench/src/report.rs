//! The results for a reader, as tables, and for a program, as JSON.

use std::fmt::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::contestant::Contestant;
use crate::machine::Machine;
use crate::results::{Results, grouped};

/// All there is to say of a run; shown, it is what `bench` prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was measured on.
    pub(super) machine: Machine,
    /// Flows in the table.
    pub(super) rows: u64,
    /// Rounds that count.
    pub(super) rounds: u64,
    /// What ran the component.
    pub(super) host: String,
    /// The version inside the peer, the scan and the stand-in.
    pub(super) sqlite: String,
    /// The version of the sqlite3 shell.
    pub(super) shell: Option<String>,
    /// What was measured.
    pub(super) results: Results,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
    /// Where the results are as files.
    pub(super) files: Vec<PathBuf>,
}

impl Report {
    /// Everything, as it is written to `results.json`.
    pub(super) fn to_json(&self) -> Result<String> {
        let json = json!({
            "machine": self.machine,
            "rows": self.rows,
            "rounds": self.rounds,
            "host": self.host,
            "sqlite": self.sqlite,
            "sqlite_shell": self.shell,
            "notes": self.notes,
            "series": self.results.to_json()?,
        });
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "machine    {}", self.machine.describe())?;
        let rows = grouped(self.rows);
        writeln!(f, "flows      {rows}, median of {} rounds", self.rounds)?;
        writeln!(f, "host       {}", self.host)?;
        let shell = self.shell.as_deref().unwrap_or("not installed");
        writeln!(f, "SQLite     {}; shell {shell}", self.sqlite)?;
        for contestants in [&Contestant::READERS[..], &Contestant::LOADERS] {
            f.write_str(&table(&self.results, contestants))?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        let files: Vec<_> = self
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        write!(f, "\nwritten to {}", files.join(", "))
    }
}

/// The medians of these contestants, a measure a line, and the first one's ratio to the second.
///
/// The ratio is the quotient of the two medians: above 1.00 the first contestant is better where more is
/// better, and worse where less is, which the last column says.
fn table(results: &Results, contestants: &[Contestant]) -> String {
    let mut head = vec![String::new(), "unit".into()];
    head.extend(
        contestants
            .iter()
            .map(|contestant| contestant.name().into()),
    );
    head.extend(["ratio".into(), "better".into()]);
    let mut lines = vec![head];
    for measure in results.measures(contestants) {
        let medians: Vec<_> = contestants
            .iter()
            .map(|contestant| results.median(&measure.key, *contestant))
            .collect();
        let show = |median: &Option<f64>| median.map_or_else(String::new, |m| measure.unit.show(m));
        let mut line = vec![measure.title.clone(), measure.unit.to_string()];
        line.extend(medians.iter().map(show));
        line.push(match medians[..] {
            [Some(first), Some(second), ..] => format!("{:.2}", first / second),
            _ => String::new(),
        });
        let better = if measure.unit.more_is_better() {
            "more"
        } else {
            "less"
        };
        line.push(better.into());
        lines.push(line);
    }
    if lines.len() == 1 {
        return String::new();
    }
    aligned(&lines)
}

/// Columns as wide as their widest cell; the first one's cells at its left, the others' at their right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<_> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max())
        .map(|width| width.unwrap_or(0))
        .collect();
    let mut text = String::from("\n");
    for line in lines {
        let mut cells = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match column {
                0 => write!(cells, "{cell:<width$}"),
                _ => write!(cells, "  {cell:>width$}"),
            };
        }
        text.push_str(cells.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Measure, Unit};

    #[test]
    fn a_table_has_the_ratio_of_the_first_two() {
        let mut results = Results::default();
        let full = Measure::new("full.json", "all as json", Unit::FlowsPerSecond);
        let first = Measure::new("first_byte", "first byte", Unit::Milliseconds);
        results.record(&full, Contestant::Component, 1_500_000.0);
        results.record(&full, Contestant::Native, 1_000_000.0);
        results.record(&first, Contestant::Component, 1.0);
        let expected = [
            "                unit  component     native  sqlite3 shell  bare scan  ratio  better",
            "all as json  flows/s  1,500,000  1,000,000                             1.50    more",
            "first byte        ms       1.00                                                less",
        ];
        let shown = table(&results, &Contestant::READERS);
        assert_eq!(
            shown.trim_matches('\n').lines().collect::<Vec<_>>(),
            expected
        );
        assert_eq!(table(&results, &Contestant::LOADERS), "");
    }
}

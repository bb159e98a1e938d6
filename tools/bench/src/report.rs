//! The results as tables and as JSON, with the machine that they were measured on.

use std::fmt::{self, Write};
use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::results::{Results, grouped};
use crate::subject::Subject;

/// The report of a run; its `Display` is what `bench` prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// The machine of the run.
    pub(super) machine: Machine,
    /// Flows in the table.
    pub(super) rows: u64,
    /// Rounds that count.
    pub(super) rounds: u64,
    /// The host of the component.
    pub(super) host: String,
    /// The version inside the baseline, the scan and the test host.
    pub(super) sqlite: String,
    /// The version of the sqlite3 shell.
    pub(super) shell: Option<String>,
    /// The measured values.
    pub(super) results: Results,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
    /// Paths of the written files.
    pub(super) files: Vec<PathBuf>,
}

impl Report {
    /// The content of `results.json`.
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
        for subjects in [&Subject::READERS[..], &Subject::LOADERS] {
            f.write_str(&table(&self.results, subjects))?;
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

/// A table of medians: a line a measure, a column a subject, and the ratios of [`Subject::divisor`].
///
/// The last column says whether more or less is better: with `more`, a ratio above 1.00 favours the subject that is
/// divided.
fn table(results: &Results, subjects: &[Subject]) -> String {
    let mut head = vec![String::new(), "unit".into()];
    head.extend(subjects.iter().map(|subject| subject.name().into()));
    let ratios = subjects
        .iter()
        .filter_map(|subject| Some((*subject, subject.divisor()?)));
    let ratios: Vec<_> = ratios.collect();
    head.extend(ratios.iter().map(|(_, (_, title))| (*title).into()));
    head.push("better".into());
    let mut lines = vec![head];
    for measure in results.measures(subjects) {
        let median = |subject: Subject| results.median(&measure.key, subject);
        let show = |median: Option<f64>| median.map_or_else(String::new, |m| measure.unit.show(m));
        let mut line = vec![measure.title.clone(), measure.unit.to_string()];
        line.extend(subjects.iter().map(|subject| show(median(*subject))));
        let ratio = |(subject, (divisor, _)): &(Subject, (Subject, _))| {
            Some(format!("{:.2}", median(*subject)? / median(*divisor)?))
        };
        line.extend(ratios.iter().map(|pair| ratio(pair).unwrap_or_default()));
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

/// Pads columns to their widest cells: the first column is left-aligned, the others right-aligned.
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

/// The machine that runs the benchmark; a field is `None` if unknown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Available processors.
    pub(super) cores: Option<usize>,
    /// The processor's model name.
    pub(super) model: Option<String>,
    /// Memory in MiB.
    pub(super) memory: Option<u64>,
}

impl Machine {
    pub(super) fn detect() -> Self {
        let field = |path, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|total| {
            let kibibytes: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes / 1024)
        });
        Self {
            cores: thread::available_parallelism().ok().map(Into::into),
            model: field("/proc/cpuinfo", "model name"),
            memory,
        }
    }

    pub(super) fn describe(&self) -> String {
        let model = self.model.as_deref().unwrap_or("unknown processor");
        let mut parts = vec![model.to_owned()];
        parts.extend(self.cores.map(|cores| format!("{cores} cores")));
        parts.extend(
            self.memory
                .map(|memory| format!("{} GiB", memory.div_ceil(1024))),
        );
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Measure, Unit};

    #[test]
    fn a_table_has_a_column_for_each_ratio() {
        let mut results = Results::default();
        let full = Measure::new("full.json", "all as json", Unit::FlowsPerSecond);
        let first = Measure::new("first_byte", "first byte", Unit::Milliseconds);
        results.record(&full, Subject::Component, 1_500_000.0);
        results.record(&full, Subject::Wasip2, 1_350_000.0);
        results.record(&full, Subject::Baseline, 1_000_000.0);
        results.record(&first, Subject::Component, 1.0);
        results.record(&first, Subject::Empty, 4.0);
        let shown = table(&results, &Subject::READERS);
        let lines: Vec<Vec<_>> = shown
            .lines()
            .map(|line| line.split("  ").collect())
            .collect();
        let cells = |line: usize| -> Vec<_> {
            let cells = lines[line].iter().map(|cell| cell.trim());
            cells.filter(|cell| !cell.is_empty()).collect()
        };
        let head = "unit|component|WASI 0.2|empty 0.2|native|native by id|sqlite3 shell|bare scan|to native|0.2 to 0.3|\
                    empty to 0.3|by id to native|better";
        assert_eq!(cells(1).join("|"), head, "{shown}");
        let full = "all as json|flows/s|1,500,000|1,350,000|1,000,000|1.50|0.90|more";
        assert_eq!(cells(2).join("|"), full, "{shown}");
        assert_eq!(
            cells(3).join("|"),
            "first byte|ms|1.00|4.00|4.00|less",
            "{shown}"
        );
        assert_eq!(table(&results, &Subject::LOADERS), "");
    }
}

//! How often a fault was tried and what came of it: one row of a table for each.

use std::collections::BTreeMap;
use std::fmt;

/// Whether this is the long run.
pub fn is_soak() -> bool {
    std::env::var("SOAK").is_ok_and(|soak| !matches!(soak.as_str(), "" | "0"))
}

/// The count or duration for `make test`, or the one for `make soak`.
pub fn short_or_long<T>(short: T, long: T) -> T {
    if is_soak() { long } else { short }
}

/// Marks an outcome in which a client cannot tell a part of an answer from the whole.
const UNNOTICED: &str = "short and clean";

/// What clients saw of one fault.
#[derive(Debug)]
pub struct Tally {
    fault: String,
    seen: BTreeMap<String, usize>,
    notes: Vec<String>,
}

impl Tally {
    /// Nothing yet, of this fault.
    pub fn of(fault: impl Into<String>) -> Self {
        Self {
            fault: fault.into(),
            seen: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Counts one try.
    pub fn saw(&mut self, what: impl Into<String>) {
        self.saw_times(what, 1);
    }

    /// Counts several tries with the same outcome.
    pub fn saw_times(&mut self, what: impl Into<String>, times: usize) {
        *self.seen.entry(what.into()).or_default() += times;
    }

    /// How often `what` was seen.
    pub fn count(&self, what: &str) -> usize {
        self.seen.get(what).copied().unwrap_or(0)
    }

    /// Adds a measurement to the row.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the row; a test that has found a loss has failed before it gets here.
    #[track_caller]
    pub fn print(&self) {
        assert!(!self.seen.is_empty(), "nothing was tried: {}", self.fault);
        println!("{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: usize = self.seen.values().sum();
        let seen = self.seen.iter().map(|(what, n)| format!("{n} × {what}"));
        let seen: Vec<_> = seen.chain(self.notes.iter().cloned()).collect();
        let (fault, seen) = (&self.fault, seen.join("; "));
        // A client that takes a part for the whole has lost the rest; every other loss fails its test.
        let unnoticed = self
            .seen
            .iter()
            .filter(|(what, _)| what.contains(UNNOTICED));
        let lost = match unnoticed.map(|(_, n)| n).sum::<usize>() {
            0 => "nothing".to_owned(),
            n => format!("the rest of {n} answers, unnoticed"),
        };
        write!(f, "| {fault} | {tried} | {seen} | {lost} |")
    }
}

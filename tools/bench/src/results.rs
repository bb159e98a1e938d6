//! What has been measured: values by measure and contestant, a value a round.

use std::fmt;

use serde::Serialize;

use crate::contestant::Contestant;
use crate::statistics::median;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum Unit {
    /// Flows a second; more is better.
    #[serde(rename = "flows/s")]
    FlowsPerSecond,
    /// Requests a second; more is better.
    #[serde(rename = "requests/s")]
    RequestsPerSecond,
    /// Milliseconds; less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds; less is better.
    #[serde(rename = "s")]
    Seconds,
    /// 2^20 bytes; less is better.
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl Unit {
    /// A value as a table shows it.
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::FlowsPerSecond | Self::RequestsPerSecond => grouped(value.round() as u64),
            Self::Milliseconds | Self::Seconds => format!("{value:.2}"),
            Self::Mebibytes => format!("{value:.1}"),
        }
    }

    pub(super) fn more_is_better(self) -> bool {
        matches!(self, Self::FlowsPerSecond | Self::RequestsPerSecond)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlowsPerSecond => "flows/s",
            Self::RequestsPerSecond => "requests/s",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
        })
    }
}

/// 1234567 as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Measure {
    /// Its name in `results.json`.
    pub(super) key: String,
    /// Its name for a reader.
    pub(super) title: String,
    /// What its values count.
    pub(super) unit: Unit,
}

impl Measure {
    pub(super) fn new(key: impl Into<String>, title: impl Into<String>, unit: Unit) -> Self {
        Self {
            key: key.into(),
            title: title.into(),
            unit,
        }
    }
}

/// The values of one measure and contestant.
#[derive(Clone, Debug, Serialize)]
struct Series {
    #[serde(flatten)]
    measure: Measure,
    contestant: Contestant,
    /// One a round.
    values: Vec<f64>,
}

/// All that has been measured, in the order in which it was first recorded.
#[derive(Clone, Debug, Default)]
pub(super) struct Results(Vec<Series>);

impl Results {
    pub(super) fn record(&mut self, measure: &Measure, contestant: Contestant, value: f64) {
        let same =
            |series: &&mut Series| series.measure == *measure && series.contestant == contestant;
        match self.0.iter_mut().find(same) {
            Some(series) => series.values.push(value),
            None => self.0.push(Series {
                measure: measure.clone(),
                contestant,
                values: vec![value],
            }),
        }
    }

    /// The median over the rounds, where there is one.
    pub(super) fn median(&self, key: &str, contestant: Contestant) -> Option<f64> {
        let found = |series: &&Series| series.measure.key == key && series.contestant == contestant;
        median(&self.0.iter().find(found)?.values)
    }

    /// The measures that one of these contestants has a value for.
    pub(super) fn measures(&self, of: &[Contestant]) -> Vec<&Measure> {
        let mut measures: Vec<&Measure> = Vec::new();
        for series in &self.0 {
            if of.contains(&series.contestant) && !measures.contains(&&series.measure) {
                measures.push(&series.measure);
            }
        }
        measures
    }

    /// Every series with its median.
    pub(super) fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        let series = self.0.iter().map(|series| {
            let mut json = serde_json::to_value(series)?;
            json["median"] = median(&series.values).into();
            Ok(json)
        });
        series.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_one_measure_make_one_series() {
        let measure = Measure::new("full.json", "all as json", Unit::FlowsPerSecond);
        let mut results = Results::default();
        for value in [3.0, 1.0, 2.0] {
            results.record(&measure, Contestant::Native, value);
        }
        results.record(&measure, Contestant::Shell, 9.0);
        assert_eq!(results.median("full.json", Contestant::Native), Some(2.0));
        assert_eq!(results.median("full.json", Contestant::Component), None);
        assert_eq!(results.measures(&Contestant::READERS), [&measure]);
        let json = results.to_json().unwrap();
        assert_eq!(json[0]["median"], 2.0);
        assert_eq!(json[0]["unit"], "flows/s");
        assert_eq!(json[1]["contestant"], "shell");
    }

    #[test]
    fn large_numbers_are_grouped() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }
}

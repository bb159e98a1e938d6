//! The measured values by measure and subject, one a round, and their medians.

use std::fmt;

use serde::Serialize;

use crate::subject::Subject;

/// The unit of a value.
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

/// A measured quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Measure {
    /// The name in `results.json`.
    pub(super) key: String,
    /// The name in tables.
    pub(super) title: String,
    /// The unit of its values.
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

/// The values of one measure and one subject.
#[derive(Clone, Debug, Serialize)]
struct Series {
    #[serde(flatten)]
    measure: Measure,
    subject: Subject,
    /// One a round.
    values: Vec<f64>,
}

/// All series, in the order of their first values.
#[derive(Clone, Debug, Default)]
pub(super) struct Results(Vec<Series>);

impl Results {
    pub(super) fn record(&mut self, measure: &Measure, subject: Subject, value: f64) {
        let same = |series: &&mut Series| series.measure == *measure && series.subject == subject;
        match self.0.iter_mut().find(same) {
            Some(series) => series.values.push(value),
            None => self.0.push(Series {
                measure: measure.clone(),
                subject,
                values: vec![value],
            }),
        }
    }

    /// The median over the rounds, if there are values.
    pub(super) fn median(&self, key: &str, subject: Subject) -> Option<f64> {
        let found = |series: &&Series| series.measure.key == key && series.subject == subject;
        median(&self.0.iter().find(found)?.values)
    }

    /// The measures that have a value of one of these subjects.
    pub(super) fn measures(&self, of: &[Subject]) -> Vec<&Measure> {
        let mut measures: Vec<&Measure> = Vec::new();
        for series in &self.0 {
            if of.contains(&series.subject) && !measures.contains(&&series.measure) {
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

/// The middle value, or the mean of the two in the middle; `None` without values.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 {
        upper
    } else {
        (sorted[middle - 1] + upper) / 2.0
    })
}

/// The smallest value that at least `percent` % of the values do not exceed; `None` without values.
pub(super) fn percentile(values: &[f64], percent: u32) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_one_measure_make_one_series() {
        let measure = Measure::new("full.json", "all as json", Unit::FlowsPerSecond);
        let mut results = Results::default();
        for value in [3.0, 1.0, 2.0] {
            results.record(&measure, Subject::Baseline, value);
        }
        results.record(&measure, Subject::Shell, 9.0);
        assert_eq!(results.median("full.json", Subject::Baseline), Some(2.0));
        assert_eq!(results.median("full.json", Subject::Component), None);
        assert_eq!(results.measures(&Subject::READERS), [&measure]);
        let json = results.to_json().unwrap();
        assert_eq!(json[0]["median"], 2.0);
        assert_eq!(json[0]["unit"], "flows/s");
        assert_eq!(json[1]["subject"], "shell");
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

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&[5.0, 9.0], 99), Some(9.0));
        assert_eq!(percentile(&[5.0], 50), Some(5.0));
        assert_eq!(percentile(&[], 99), None);
    }
}

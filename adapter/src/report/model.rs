//! What a report says, before it looks like anything.

use serde::Serialize;

/// A report. Numbers of calls are fractions where events were sampled: each stands for as many calls as its rate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was read.
    pub sources: Vec<String>,
    /// Of the first and the last call, UTC.
    pub from: String,
    pub to: String,
    pub events: u64,
    /// Some events stand for several calls.
    pub sampled: bool,
    /// Lines of the same files that have no event.
    pub other_lines: u64,
    /// Events that could not be read,
    pub bad_lines: u64,
    /// and the first of them.
    pub named: Vec<Trouble>,
    pub overview: Overview,
    pub latency: Vec<Latency>,
    /// Seconds between two lines.
    pub step: u64,
    pub lines: Vec<Line>,
    pub tables: Vec<Table>,
    /// How often a consumer's use became unusual,
    pub unusual_times: u64,
    /// and the first of these times.
    pub unusual: Vec<UnusualUse>,
}

/// A consumer's use of an API that was not as usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnusualUse {
    /// UTC.
    pub at: String,
    pub consumer: String,
    pub api: String,
    /// `rate`, `errors`, `networks` or `size`.
    pub kind: String,
    pub value: u64,
    pub usual: u64,
}

/// An event that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    pub source: String,
    /// From 1.
    pub line: u64,
    pub why: String,
}

/// All calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    pub calls: f64,
    /// In the step with most calls.
    pub busiest_per_second: f64,
    pub answered: f64,
    pub client_errors: f64,
    pub throttled: f64,
    pub failed: f64,
}

/// Durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub what: &'static str,
    /// Those of [`super::tally::PARTS`].
    pub percentiles: Vec<u64>,
    pub most: u64,
}

/// A step of the time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Line {
    /// UTC.
    pub from: String,
    pub answered: f64,
    pub client_errors: f64,
    pub throttled: f64,
    pub failed: f64,
    /// In milliseconds, of calls that the backend answered.
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
}

impl Line {
    pub fn calls(&self) -> f64 {
        self.answered + self.client_errors + self.throttled + self.failed
    }
}

/// The names with most calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    pub title: &'static str,
    /// What the names are.
    pub column: &'static str,
    pub rows: Vec<Row>,
    /// Calls of all other names.
    pub others: f64,
}

/// Calls with one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    pub calls: f64,
    /// Of all calls, 0 to 1.
    pub share: f64,
    /// Those with a status of 400 or more, or without an answer: 0 to 1.
    pub errors: f64,
    /// In milliseconds; `None`: the backend answered none.
    pub p95: Option<u64>,
}

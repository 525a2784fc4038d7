//! Counts calls, and makes the report of them.

use super::{
    call::{Call, Unusual},
    histogram::Histogram,
    model::{Latency, Line, Overview, Report, Row, Table, Trouble, UnusualUse},
    ranking::Ranking,
    time,
    timeline::{Ending, Endings, Timeline},
};

/// Lines of each table.
const ROWS: usize = 10;
/// So many lines that cannot be read are named.
const NAMED: usize = 5;
/// So many times of unusual use are listed.
const LISTED: usize = 50;
/// Percentiles of durations.
pub const PARTS: [f64; 5] = [0.5, 0.75, 0.9, 0.95, 0.99];

/// Everything that is counted, in bounded memory.
#[derive(Debug, Default)]
pub struct Tally {
    sources: Vec<String>,
    events: u64,
    sampled: bool,
    other_lines: u64,
    bad_lines: u64,
    named: Vec<Trouble>,
    period: Option<(u64, u64)>,
    endings: Endings,
    total: Histogram,
    backend: Histogram,
    gateway: Histogram,
    timeline: Timeline,
    apis: Ranking,
    operations: Ranking,
    consumers: Ranking,
    countries: Ranking,
    agents: Ranking,
    faults: Ranking,
    limits: Ranking,
    shadows: Ranking,
    unusual_times: u64,
    unusual: Vec<UnusualUse>,
}

impl Tally {
    /// What is counted from now on comes from here.
    pub fn source(&mut self, name: &str) {
        self.sources.push(name.to_owned());
    }

    /// A line without an event.
    pub fn other(&mut self) {
        self.other_lines = self.other_lines.saturating_add(1);
    }

    /// A line with an event that cannot be read.
    pub fn bad(&mut self, line: u64, why: String) {
        self.bad_lines = self.bad_lines.saturating_add(1);
        if self.named.len() < NAMED {
            let source = self.sources.last().cloned().unwrap_or_default();
            self.named.push(Trouble { source, line, why });
        }
    }

    pub fn call(&mut self, call: &Call) {
        self.events = self.events.saturating_add(1);
        self.sampled |= call.weight > 1.0;
        let (first, last) = self.period.unwrap_or((call.at, call.at));
        self.period = Some((first.min(call.at), last.max(call.at)));
        self.endings.add(Ending::of(call), call.weight);
        self.timeline.add(call);
        if let Some(total) = call.total {
            let backend = call.backend.unwrap_or(0).min(total);
            self.total.add(total, call.weight);
            self.backend.add(backend, call.weight);
            self.gateway.add(total.saturating_sub(backend), call.weight);
        }
        let api = if call.api.is_empty() { String::new() } else { format!("{} {}", call.api, call.version) };
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let (api, consumer) = (or(api.trim(), "no API"), or(&call.consumer, "not known"));
        self.apis.add(&api, call);
        self.consumers.add(&consumer, call);
        self.agents.add(&or(&call.agent, "not known"), call);
        if !call.operation.is_empty() {
            self.operations.add(&call.operation, call);
        }
        if !call.country.is_empty() {
            self.countries.add(&call.country, call);
        }
        if let Some((kind, message)) = &call.fault {
            self.faults.add([kind.as_str(), message.as_str()].join(" ").trim(), call);
        }
        if !call.shadow.is_empty() {
            self.shadows.add(&call.shadow, call);
        }
        if !call.limit.is_empty() && call.limit != call.shadow {
            self.limits.add(&call.limit, call);
        }
        if let Some(Unusual { kind, value, usual }) = &call.unusual {
            self.unusual_times = self.unusual_times.saturating_add(1);
            if self.unusual.len() < LISTED {
                let (at, kind) = (time::plain(call.at), kind.clone());
                self.unusual.push(UnusualUse { at, consumer, api, kind, value: *value, usual: *usual });
            }
        }
    }

    /// The first event that could not be read.
    pub fn first_trouble(&self) -> Option<&Trouble> {
        self.named.first()
    }

    /// The report; `None` if there was no event.
    pub fn report(&self) -> Option<Report> {
        let (first, last) = self.period?;
        let lines: Vec<Line> = self.timeline.steps().map(|(at, step)| line(at, step)).collect();
        let seconds = self.timeline.width();
        let busiest = lines.iter().map(Line::calls).fold(0.0, f64::max);
        Some(Report {
            sources: self.sources.clone(),
            from: time::plain(first),
            to: time::plain(last),
            events: self.events,
            sampled: self.sampled,
            other_lines: self.other_lines,
            bad_lines: self.bad_lines,
            named: self.named.clone(),
            overview: Overview {
                calls: self.endings.calls(),
                busiest_per_second: busiest / seconds as f64,
                answered: self.endings.answered,
                client_errors: self.endings.client_errors,
                throttled: self.endings.throttled,
                failed: self.endings.failed,
            },
            latency: [("Whole call", &self.total), ("Backend", &self.backend), ("Gateway", &self.gateway)]
                .into_iter()
                .filter_map(|(what, histogram)| latency(what, histogram))
                .collect(),
            step: seconds,
            lines,
            unusual_times: self.unusual_times,
            unusual: self.unusual.clone(),
            tables: vec![
                self.table("APIs", "API", &self.apis),
                self.table("Operations", "Operation", &self.operations),
                self.table("Consumers", "Application or user", &self.consumers),
                self.table("Countries", "Country", &self.countries),
                self.table("Clients", "User agent", &self.agents),
                self.table("Faults", "Why calls failed", &self.faults),
                self.table("Limits hit", "Limit", &self.limits),
                self.table("Shadow mode", "Would have been refused by", &self.shadows),
            ],
        })
    }

    fn table(&self, title: &'static str, column: &'static str, ranking: &Ranking) -> Table {
        let (first, others) = ranking.first(ROWS);
        let rows = first.into_iter().map(|(name, group)| Row {
            name: name.to_owned(),
            calls: group.endings.calls(),
            share: group.endings.calls() / self.endings.calls(),
            errors: 1.0 - group.endings.answered / group.endings.calls(),
            p95: group.latency.percentile(0.95),
        });
        Table { title, column, rows: rows.collect(), others }
    }
}

fn line(at: u64, step: Option<&super::timeline::Step>) -> Line {
    let from = time::plain(at);
    let Some(step) = step else { return Line { from, ..Line::default() } };
    let Endings { answered, client_errors, throttled, failed } = step.endings;
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| step.latency.percentile(part));
    Line { from, answered, client_errors, throttled, failed, p50, p95, p99 }
}

fn latency(what: &'static str, histogram: &Histogram) -> Option<Latency> {
    let percentile = |part| histogram.percentile(part);
    let most = percentile(1.0)?;
    Some(Latency { what, percentiles: PARTS.into_iter().filter_map(percentile).collect(), most })
}

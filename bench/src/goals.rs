//! What was aimed at, and whether it was reached.

use crate::{corpus::Corpus, measure::Measured, rows::Id, startup::Cost, stats::Summary};

/// A goal, the figure that it is judged by, and whether that is good enough.
#[derive(Debug)]
pub struct Goal {
    pub text: &'static str,
    pub figure: String,
    pub met: bool,
}

/// Of memory, of the bundle.
const MOST_MEGABYTES: f64 = 60.0;
const MOST_BUILD_SECONDS: f64 = 2.0;

/// Everything measured on Envoy, by row.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a>(pub &'a [Measured]);

impl Table<'_> {
    fn cpu(&self, id: Id) -> &[f64] {
        self.0.iter().find(|row| row.id == id).map(|row| row.cpu.as_slice()).unwrap_or_default()
    }

    /// What a row takes of the processor beyond another, in microseconds a request, by round.
    pub fn added(&self, id: Id, base: Id) -> Summary {
        Summary::of(self.cpu(id).iter().zip(self.cpu(base)).map(|(with, without)| with - without))
    }

    /// A row's time by another's, by round.
    pub fn ratio(&self, id: Id, base: Id) -> Summary {
        Summary::of(self.cpu(id).iter().zip(self.cpu(base)).map(|(one, other)| one / other))
    }

    /// The row without any filter for the same requests.
    pub fn base(id: Id) -> Id {
        match id {
            Id::PlainDistinct | Id::NativeDistinct | Id::Distinct => Id::PlainDistinct,
            Id::PlainTls | Id::Certificate => Id::PlainTls,
            _ => Id::Plain,
        }
    }
}

/// A module, its size in bytes, and the goal for that.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub module: &'static str,
    pub bytes: u64,
    pub goal: &'static str,
    pub most: u64,
}

impl Size {
    fn judge(&self) -> Goal {
        Goal {
            text: self.goal,
            figure: format!("{:.0} kB", self.bytes as f64 / 1e3),
            met: self.bytes <= self.most,
        }
    }
}

/// Judges the figures.
pub fn judge(table: Table<'_>, sizes: &[Size], costs: &[Cost], corpus: Option<&Corpus>) -> Vec<Goal> {
    let mut goals = vec![
        added(
            table,
            "known token: at most 1.2x of jwt_authn with its cache",
            Id::Cached,
            Id::NativeCached,
            1.2,
        ),
        added(
            table,
            "new RS256 token: at most 0.75x of jwt_authn without a cache",
            Id::New,
            Id::Native,
            0.75,
        ),
        added(
            table,
            "another RS256 token each time: at most 0.75x of jwt_authn without a cache",
            Id::Distinct,
            Id::NativeDistinct,
            0.75,
        ),
        whole(table, "10,000 operations of one API: at most 1.1x of ten", Id::ManyOperations, 1.1),
        whole(table, "1,000 APIs of 10 operations: at most 1.1x of one", Id::ManyApis, 1.1),
        beyond(
            table,
            "one limit: at most 3.3 µs beyond a Wasm filter that does nothing",
            Id::Limit,
            Id::Noop,
            3.3,
        ),
        beyond(
            table,
            "one limit behind auth in the bundle: at most 2.5 µs",
            Id::AuthLimitBundle,
            Id::AuthBundle,
            2.5,
        ),
        five_limits(table),
        beyond(
            table,
            "events by OTLP: at most 5 µs beyond a Wasm filter that does nothing",
            Id::Events,
            Id::Noop,
            5.0,
        ),
        beyond(
            table,
            "metrics: at most 2 µs beyond a Wasm filter that does nothing",
            Id::Metrics,
            Id::Noop,
            2.0,
        ),
        added(
            table,
            "all filters in the bundle: at most 1.5x of jwt_authn, rbac, local_ratelimit and the OTLP access log",
            Id::Bundle,
            Id::NativeAll,
            1.5,
        ),
        added(
            table,
            "all filters in the bundle: at most 0.4x of ext_authz with its server",
            Id::Bundle,
            Id::ExtAuthz,
            0.4,
        ),
        added(table, "all filters in the bundle: less than as three modules", Id::Bundle, Id::Separate, 1.0),
        added(table, "known opaque token: at most 1.2x of a known token", Id::Opaque, Id::Cached, 1.2),
        added(table, "API key: at most 1.2x of a known token", Id::ApiKey, Id::Cached, 1.2),
        added(table, "known password: at most 1.2x of a known token", Id::Basic, Id::Cached, 1.2),
        added(table, "client certificate: at most 1.2x of a known token", Id::Certificate, Id::Cached, 1.2),
        whole(table, "1,000,000 revoked tokens: at most 1.05x of none", Id::Revoked, 1.05),
        beyond(
            table,
            "one limit by user behind auth: at most 3.3 µs beyond a Wasm filter that does nothing there",
            Id::AuthLimit,
            Id::AuthNoop,
            3.3,
        ),
        leased(table),
    ];
    goals.extend(sizes.iter().map(Size::judge));
    goals.extend(memory(costs));
    let largest = corpus.and_then(|corpus| corpus.large.iter().max_by_key(|(_, bytes, _)| *bytes));
    goals.extend(largest.map(|(name, bytes, taken)| Goal {
        text: "`enforcer build` of GitHub's definition: at most 2 s",
        figure: format!("{:.2} s ({name}, {:.1} MB)", taken.as_secs_f64(), *bytes as f64 / 1e6),
        met: taken.as_secs_f64() <= MOST_BUILD_SECONDS,
    }));
    goals
}

/// By what a filter adds to its plain Envoy.
fn added(table: Table<'_>, text: &'static str, ours: Id, theirs: Id, most: f64) -> Goal {
    let [ours_added, theirs_added] = [ours, theirs].map(|id| table.added(id, Table::base(id)).median);
    let whole = table.ratio(ours, theirs).median;
    Goal {
        text,
        figure: format!(
            "{}: {ours_added:+.1} µs to {theirs_added:+.1} µs; whole requests {whole:.2}x",
            times(ours_added, theirs_added)
        ),
        met: ours_added <= most * theirs_added,
    }
}

/// How many times as much; of what is lost in the noise nothing can be said.
fn times(one: f64, other: f64) -> String {
    if other > 0.0 { format!("{:.2}x", one / other) } else { "beyond measure".to_owned() }
}

/// By what one row takes beyond another, in microseconds.
fn beyond(table: Table<'_>, text: &'static str, id: Id, base: Id, most: f64) -> Goal {
    let added = table.added(id, base);
    Goal { text, figure: format!("{added:+.1} µs"), met: added.median <= most }
}

fn five_limits(table: Table<'_>) -> Goal {
    let [five, one] = [Id::FiveLimits, Id::Limit].map(|id| table.added(id, Id::Noop).median);
    Goal {
        text: "five limits: at most 3x of one, beyond a Wasm filter that does nothing",
        figure: format!("{}: {five:+.1} µs to {one:+.1} µs", times(five, one)),
        met: five <= 3.0 * one,
    }
}

fn leased(table: Table<'_>) -> Goal {
    let [leased, local] = [Id::LeasedLimit, Id::AuthLimit].map(|id| table.added(id, Id::AuthNoop).median);
    Goal {
        text: "a limit shared by leases: at most 1.3x of one that is not, beyond a Wasm filter that does nothing",
        figure: format!("{}: {leased:+.1} µs to {local:+.1} µs", times(leased, local)),
        met: leased <= 1.3 * local,
    }
}

/// Of the bundle, over Envoy alone.
fn memory(costs: &[Cost]) -> Option<Goal> {
    let of = |id| costs.iter().find(|cost| cost.id == id).map(|cost| cost.memory);
    let added = of(Id::Bundle)? - of(Id::Plain)?;
    Some(Goal {
        text: "all filters in the bundle: at most 60 MB with one worker",
        figure: format!("{added:+.1} MB"),
        met: added <= MOST_MEGABYTES,
    })
}

/// By whole requests, Envoy's part included.
fn whole(table: Table<'_>, text: &'static str, id: Id, most: f64) -> Goal {
    let ratio = table.ratio(id, Id::Cached);
    Goal { text, figure: format!("{ratio:.2}x"), met: ratio.median <= most }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: Id, cpu: &[f64]) -> Measured {
        Measured { id, label: "", cpu: cpu.to_vec(), saturated: Vec::new(), at_rate: Vec::new() }
    }

    #[test]
    fn goals_are_judged_by_what_is_added() {
        let rows = [
            row(Id::Plain, &[30.0, 40.0, 30.0]),
            row(Id::NativeCached, &[34.0, 44.0, 34.0]),
            row(Id::Cached, &[35.0, 45.0, 90.0]),
        ];
        let table = Table(&rows);
        assert_eq!(table.added(Id::Cached, Id::Plain), Summary { median: 5.0, lower: 5.0, upper: 32.5 });
        let goal = added(table, "", Id::Cached, Id::NativeCached, 1.2);
        assert!(!goal.met && goal.figure.starts_with("1.25x: +5.0 µs to +4.0 µs"), "{}", goal.figure);
        assert!(added(table, "", Id::Cached, Id::NativeCached, 1.25).met);
        let nothing = [row(Id::Plain, &[30.0]), row(Id::NativeCached, &[29.5]), row(Id::Cached, &[35.0])];
        let goal = added(Table(&nothing), "", Id::Cached, Id::NativeCached, 1.2);
        assert!(!goal.met && goal.figure.starts_with("beyond measure"), "{}", goal.figure);
        assert!(!whole(table, "", Id::Noop, 1.1).met || table.ratio(Id::Noop, Id::Cached).median == 0.0);
    }
}

//! How long a quota lasts: `1s`, `10m`, `1d`, `1month`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use enforcer_core::units::Span;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::calendar;

/// A span of time, or whole months. Where no calendar is looked at, a month is 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Span(Span),
    Months(u32),
}

const MONTH: Duration = Duration::from_secs(30 * 86_400);
const ADVICE: &str = "give a whole number and a unit: ms, s, m, h, d or month";

impl Period {
    pub fn duration(self) -> Duration {
        match self {
            Self::Span(span) => span.duration(),
            Self::Months(months) => MONTH.saturating_mul(months),
        }
    }

    /// Where the calendar's window around a time ends, both in seconds since the epoch, UTC. Windows begin with
    /// the first moment of 1970, or of a month.
    pub fn window_end(self, now: u64) -> u64 {
        match self {
            Self::Span(span) => next_multiple(now, span.duration().as_secs().max(1)),
            Self::Months(months) => {
                calendar::start_of_month(next_multiple(calendar::month_of(now), u64::from(months.max(1))))
            }
        }
    }
}

/// The first multiple beyond `n`.
fn next_multiple(n: u64, of: u64) -> u64 {
    n.checked_div(of).unwrap_or(0).saturating_add(1).saturating_mul(of)
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let period = match text.strip_suffix("month") {
            Some(number) => {
                let months = number.parse().ok().filter(|months| *months <= 1_200);
                Self::Months(months.ok_or_else(|| format!("bad period `{text}`: {ADVICE}"))?)
            }
            None => Self::Span(text.parse().map_err(|_| format!("bad period `{text}`: {ADVICE}"))?),
        };
        if period.duration().is_zero() {
            return Err(format!("bad period `{text}`: it must last"));
        }
        Ok(period)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Span(span) => span.fmt(f),
            Self::Months(months) => write!(f, "{months}month"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d|month)$",
            "description": "A period: a whole number and a unit, `1s`, `10m`, `1h`, `7d` or `1month`.",
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn period(text: &str) -> Result<Period, String> {
        text.parse()
    }

    #[test]
    fn periods_are_read_and_written() {
        for text in ["1s", "500ms", "10m", "7d", "1month", "12month"] {
            assert_eq!(period(text).unwrap().to_string(), text);
        }
        assert_eq!(period("2month").unwrap().duration(), Duration::from_secs(60 * 86_400));
        for bad in ["", "0s", "0month", "month", "1201month", "1 s", "1y", "-1s", "99999999999d"] {
            assert!(period(bad).unwrap_err().starts_with(&format!("bad period `{bad}`")), "{bad}");
        }
    }

    #[test]
    fn windows_follow_the_calendar() {
        let end = |text: &str, now| period(text).unwrap().window_end(now);
        assert_eq!((end("1m", 0), end("1m", 59), end("1m", 60)), (60, 60, 120));
        assert_eq!(end("1d", 1_793_491_200 + 5), 1_793_491_200 + 86_400);
        // November 2026 ends with the first moment of December.
        assert_eq!(end("1month", 1_793_491_200 + 5), 1_796_083_200);
        assert_eq!(end("3month", 1_793_491_200 + 5), 1_798_761_600, "quarters end with December");
    }
}

//! Durations and sizes as people write them in configuration: `30s`, `64KiB`.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units, largest first, each with its worth in the smallest.
type Units = [(&'static str, u64)];

const TIME: &Units = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE: &Units = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A hundred years. Adding it to any time of day can overflow nothing that counts nanoseconds in 64 bits.
const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// A duration in whole milliseconds, at most 36500 days. In JSON a string: `500ms`, `30s`, `5m`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(if millis < LONGEST_MS { millis } else { LONGEST_MS }))
    }

    pub const fn from_secs(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let bad = |advice| BadQuantity { what: "duration", text: text.to_owned(), advice };
        let millis =
            read(text, TIME).ok_or_else(|| bad("give a whole number and a unit: ms, s, m, h or d"))?;
        if millis > LONGEST_MS {
            return Err(bad("give at most 36500d"));
        }
        Ok(Self::from_millis(millis))
    }
}

/// The shortest form that reads back the same: `90s` stays, `60s` becomes `1m`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u64::try_from(self.0.as_millis()) {
            Ok(0) => f.write_str("0s"),
            Ok(millis) => write(millis, TIME, f),
            Err(_) => Err(fmt::Error),
        }
    }
}

/// A number of bytes. In JSON a string: `500B`, `64KiB`, `1MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// For budgets and buffers: no more than the address space, which is 4 GiB inside the VM.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let advice = "give a whole number and a unit: B, KiB, MiB or GiB";
        let bad = || BadQuantity { what: "size", text: text.to_owned(), advice };
        read(text, SIZE).map(Self).ok_or_else(bad)
    }
}

/// The shortest form that reads back the same: `1500B` stays, `1024B` becomes `1KiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0B"),
            bytes => write(bytes, SIZE, f),
        }
    }
}

/// A duration or size that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadQuantity {
    what: &'static str,
    text: String,
    advice: &'static str,
}

impl fmt::Display for BadQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad {} `{}`: {}", self.what, self.text, self.advice)
    }
}

impl std::error::Error for BadQuantity {}

/// A whole number and a unit, in the smallest unit. `None` also when it does not fit.
fn read(text: &str, units: &Units) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at_checked(digits)?;
    let (_, worth) = units.iter().find(|(unit, _)| *unit == name)?;
    number.parse::<u64>().ok()?.checked_mul(*worth)
}

/// In the largest unit that leaves no rest.
fn write(amount: u64, units: &Units, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fitting = units.iter().find(|(_, worth)| amount.checked_rem(*worth) == Some(0));
    let (unit, worth) = fitting.ok_or(fmt::Error)?;
    write!(f, "{}{unit}", amount.checked_div(*worth).ok_or(fmt::Error)?)
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { expected: "a duration such as `30s`", read: str::parse::<Self> })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { expected: "a size such as `64KiB`", read: str::parse::<Self> })
    }
}

/// Reads a string without copying it, and says what was expected in its place.
struct Text<F> {
    expected: &'static str,
    read: F,
}

impl<T, F: FnOnce(&str) -> Result<T, BadQuantity>> de::Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(ms|s|m|h|d)$",
            "description": "A duration: a whole number and a unit, `500ms`, `30s`, `5m`, `1h` or `7d`.",
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)$",
            "description": "A number of bytes: a whole number and a unit, `500B`, `64KiB`, `1MiB` or `2GiB`.",
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis, canonical) in [
            ("0ms", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("1000ms", 1_000, "1s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("05m", 300_000, "5m"),
            ("24h", 86_400_000, "1d"),
            ("36500d", LONGEST_MS, "36500d"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::from_millis(millis));
            assert_eq!(span.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(span));
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, canonical) in [
            ("0KiB", 0, "0B"),
            ("500B", 500, "500B"),
            ("1024B", 1 << 10, "1KiB"),
            ("1536KiB", 1_536 << 10, "1536KiB"),
            ("2048MiB", 2 << 30, "2GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize::from_bytes(bytes));
            assert_eq!(size.to_string(), canonical);
            assert_eq!(canonical.parse(), Ok(size));
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in
            ["", "5", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "5s ", "5sec", "99999999999999999999s", "٣s"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "5", "KiB", "5KB", "5kib", "5 B", "17179869184GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(
            "36501d".parse::<Span>().unwrap_err().to_string(),
            "bad duration `36501d`: give at most 36500d"
        );
        assert_eq!(
            "5KB".parse::<ByteSize>().unwrap_err().to_string(),
            "bad size `5KB`: give a whole number and a unit: B, KiB, MiB or GiB"
        );
    }

    #[test]
    fn json_has_strings_both_ways() {
        assert_eq!(serde_json::to_string(&Span::from_secs(30)).unwrap(), "\"30s\"");
        assert_eq!(serde_json::from_str::<ByteSize>("\"1MiB\"").unwrap().bytes(), 1 << 20);
    }
}

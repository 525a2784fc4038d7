//! Times as events write them and as people read them; all of them are UTC.

use enforcer_analytics::json;
use std::time::Duration;

/// The years that are believed, in milliseconds since the Unix epoch: 2000 to 2100.
const BELIEVED: std::ops::Range<u64> = 946_684_800_000..4_102_444_800_000;

/// ISO 8601, as in events.
pub fn iso(millis: u64) -> String {
    json::text(|out| json::timestamp(out, Duration::from_millis(millis)))
}

/// `2026-01-01 00:00:00`.
pub fn plain(millis: u64) -> String {
    iso(millis).chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

/// Milliseconds since the Unix epoch, of `2026-01-01T00:00:00.000Z` with or without a fraction; `None` for anything else,
/// and for years before 2000 and after 2099.
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis: u64 = digits.parse().ok()?;
    let possible = (1..=12).contains(&month) && (1..=31).contains(&day) && (2000..2100).contains(&year);
    if !possible || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day)
        .checked_mul(86_400)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_mul(60)?)?
        .checked_add(second)?;
    let millis = seconds.checked_mul(1000)?.checked_add(millis)?;
    BELIEVED.contains(&millis).then_some(millis)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts: Option<Vec<u64>> = text.split(separator).map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`).
#[expect(clippy::arithmetic_side_effects, reason = "years from 2000 to 2099, and no divisor is zero")]
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_events_write_is_read(millis in BELIEVED) {
            prop_assert_eq!(parse(&iso(millis)), Some(millis));
        }
    }

    #[test]
    fn other_things_are_no_times() {
        assert_eq!(parse("2026-01-01T00:00:00Z"), Some(1_767_225_600_000));
        assert_eq!(plain(1_767_225_600_000), "2026-01-01 00:00:00");
        for text in [
            "",
            "now",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "2026-01-01T00:00:00.é00Z",
            "2026-01-01T99:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

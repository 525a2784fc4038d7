//! JSON, digits and times as bytes at the end of a buffer: every event has about forty fields, so each one counts.

use std::time::Duration;

/// A string in quotes, escaped as RFC 8259 section 7 asks.
pub fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(plain..at).unwrap_or_default());
        escape(out, byte);
        plain = at.saturating_add(1);
    }
    out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    if byte < b' ' {
        out.extend_from_slice(b"\\u00");
        hex(out, &[byte]);
    } else {
        out.extend_from_slice(&[b'\\', byte]);
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |half: u8| if half < 10 { half.wrapping_add(b'0') } else { half.wrapping_add(b'a' - 10) };
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// Decimal digits.
pub fn number(out: &mut Vec<u8>, number: u64) {
    padded(out, number, 1);
}

/// Decimal digits, so many at least.
fn padded(out: &mut Vec<u8>, number: u64, least: usize) {
    // As many as the largest number has.
    let mut digits = [b'0'; 20];
    let (mut left, mut count) = (number, 0_usize);
    for digit in digits.iter_mut().rev() {
        if left == 0 && count >= least {
            break;
        }
        // A digit is below ten.
        *digit = b'0'.wrapping_add(left.rem_euclid(10) as u8);
        left = left.div_euclid(10);
        count = count.saturating_add(1);
    }
    out.extend_from_slice(digits.get(digits.len().saturating_sub(count)..).unwrap_or_default());
}

/// A time since the Unix epoch as ISO 8601 in UTC: `2026-01-01T00:00:00.000Z`.
pub fn timestamp(out: &mut Vec<u8>, time: Duration) {
    let seconds = time.as_secs();
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) =
        (of_day.div_euclid(3600), of_day.rem_euclid(3600).div_euclid(60), of_day.rem_euclid(60));
    for (part, width, end) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (hour, 2, b':'),
        (minute, 2, b':'),
        (second, 2, b'.'),
        (time.subsec_millis().into(), 3, b'Z'),
    ] {
        padded(out, part, width);
        out.push(end);
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`).
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days of 64-bit seconds: far from any end, and no divisor is zero"
)]
fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// What one of these functions writes, as a text of its own.
pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(32);
    write(&mut out);
    // All of them write UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn strings_are_what_serde_reads() {
        let controls: String = (0..0x20_u8).map(char::from).collect();
        for plain in ["", "plain", "\"", "\\", "a\"b\\c", "\u{7f}é\u{1f600}\u{2028}", "end\n", &controls] {
            let written = text(|out| string(out, plain));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), plain, "{written}");
        }
    }

    #[test]
    fn digits_are_those_of_the_library() {
        for one in [0, 7, 10, 99, 1_234_567_890, u64::MAX] {
            assert_eq!(text(|out| number(out, one)), one.to_string());
        }
        assert_eq!(text(|out| padded(out, 7, 3)), "007");
        assert_eq!(text(|out| hex(out, &[0x00, 0x9a, 0xff])), "009aff");
    }

    #[test]
    fn times_are_iso_8601() {
        let of = |time| text(|out| timestamp(out, time));
        let at = |seconds| of(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59.000Z");
        assert_eq!(of(Duration::from_millis(1_767_225_600_007)), "2026-01-01T00:00:00.007Z");
        assert!(at(u64::MAX).ends_with('Z'));
    }
}

//! Days, months and dates, after 1970 and in UTC.

use std::time::Duration;

const DAY: u64 = 86_400;

/// Seconds since the epoch of the first moment of a month, counted from January 1970.
pub fn start_of_month(month: u64) -> u64 {
    let (years, month) = (month / 12, month % 12);
    // Years that begin in March: the leap day is the last day of one (H. Hinnant, "days_from_civil").
    let shifted = years.saturating_add(1970).saturating_sub(u64::from(month < 2));
    let since_march = month.saturating_add(10) % 12;
    let leap_days = (shifted / 4).saturating_sub(shifted / 100).saturating_add(shifted / 400);
    let days = shifted.saturating_mul(365).saturating_add(leap_days);
    let days = days.saturating_add(since_march.saturating_mul(153).saturating_add(2) / 5);
    days.saturating_sub(FROM_YEAR_0).saturating_mul(DAY)
}

/// Days from 1 March of the year 0 to 1 January 1970.
const FROM_YEAR_0: u64 = 719_468;

/// The month of a time since the epoch, counted from January 1970.
pub fn month_of(seconds: u64) -> u64 {
    // An average month is 30.44 days long, and the estimate at most one month late or early.
    let estimate = (seconds / DAY).saturating_mul(100) / 3044;
    let candidates = estimate.saturating_sub(1)..=estimate.saturating_add(1);
    candidates.rev().find(|month| start_of_month(*month) <= seconds).unwrap_or(0)
}

/// `Thu, 01 Jan 1970 00:00:00 GMT` (RFC 9110 section 5.6.7).
pub fn http_date(time: Duration) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = time.as_secs();
    let month = month_of(seconds);
    let day = (seconds.saturating_sub(start_of_month(month)) / DAY).saturating_add(1);
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    format!(
        "{}, {day:02} {} {} {:02}:{:02}:{:02} GMT",
        name(&DAYS, seconds / DAY % 7),
        name(&MONTHS, month % 12),
        (month / 12).saturating_add(1970),
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    )
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn months_begin_where_calendars_say() {
        // date -u -d 2000-03-01 +%s, and so on.
        for (year, month, seconds) in [
            (1970, 1, 0),
            (1970, 2, 2_678_400),
            (1972, 3, 68_256_000),
            (2000, 2, 949_363_200),
            (2000, 3, 951_868_800),
            (2026, 11, 1_793_491_200),
            (2100, 3, 4_107_542_400),
        ] {
            assert_eq!(start_of_month((year - 1970) * 12 + month - 1), seconds, "{year}-{month}");
        }
    }

    #[test]
    fn every_moment_is_in_its_month() {
        for month in 0..2400 {
            let (start, end) = (start_of_month(month), start_of_month(month + 1));
            assert!((28..=31).contains(&((end - start) / DAY)), "{month}");
            assert_eq!((month_of(start), month_of(end - 1)), (month, month));
        }
    }

    #[test]
    fn dates_are_written_for_http() {
        let date = |seconds| http_date(Duration::from_secs(seconds));
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        // The example of RFC 9110.
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(951_827_696), "Tue, 29 Feb 2000 12:34:56 GMT");
    }
}

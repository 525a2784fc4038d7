//! Text, numbers and durations as HTML.

use std::fmt;

/// Text that others chose: it stays text, whatever is in it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What cannot be seen, or turns around what follows it (Unicode's bidirectional controls).
                '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                    f.write_char(char::REPLACEMENT_CHARACTER)?;
                }
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A number of calls: `12,345`. What is sampled is rounded.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A part of 1 as a percentage: none is `0 %`, all is `100 %`, and nothing between is rounded to them.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        // What is left of subtracting fractions.
        p if p < 1e-9 => "0 %".to_owned(),
        p if p < 0.1 => "&lt; 0.1 %".to_owned(),
        p if p >= 100.0 - 1e-9 => "100 %".to_owned(),
        p if p > 99.9 => "&gt; 99.9 %".to_owned(),
        p => format!("{p:.1} %"),
    }
}

/// Calls a second.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 { count(per_second) } else { format!("{per_second:.2}") }
}

/// A duration in milliseconds.
pub fn duration(millis: u64) -> String {
    let seconds = millis as f64 / 1000.0;
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{seconds:.2} s"),
        10_000..120_000 => format!("{seconds:.1} s"),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// A duration that may not be known.
pub fn perhaps(millis: Option<u64>) -> String {
    millis.map_or_else(|| "–".to_owned(), duration)
}

/// How wide a step is.
pub fn width(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    unit.map_or_else(String::new, |(unit, name)| format!("{} {name}", seconds.div_euclid(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let hostile = "</td><script>alert('1')</script>&amp;\" onload=\"x\u{202e}gpj\u{0}\n";
        let shown = Text(hostile).to_string();
        assert!(!shown.contains(['<', '>', '"', '\'', '\u{202e}', '\0', '\n']), "{shown}");
        assert!(shown.starts_with("&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)"));
        assert_eq!(Text("Grüße, 世界").to_string(), "Grüße, 世界");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.4].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.0001, 0.5, 0.9999, 1.0].map(percent),
            ["0 %", "&lt; 0.1 %", "50.0 %", "&gt; 99.9 %", "100 %"]
        );
        assert_eq!([7, 1250, 12_500, 600_000].map(duration), ["7 ms", "1.25 s", "12.5 s", "10 min"]);
        assert_eq!([1, 90, 300, 7200, 604_800].map(width), ["1 s", "90 s", "5 min", "2 h", "7 d"]);
        assert_eq!([rate(0.5), rate(12.4), perhaps(None)], ["0.50", "12", "–"]);
    }
}

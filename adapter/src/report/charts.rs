//! Charts as SVG. Their words and numbers are HTML beside them, so that they keep their size on every screen.

use std::fmt::Write as _;

use super::{
    html::{self, Text},
    model::Line,
};

/// What a chart shows, in the order in which it is stacked or drawn: class of its colour, name, value.
pub type Series<T> = (&'static str, &'static str, fn(&Line) -> T);

pub const TRAFFIC: [Series<f64>; 4] = [
    ("answered", "Answered", |line| line.answered),
    ("client", "Client errors (4xx)", |line| line.client_errors),
    ("throttled", "Over a limit", |line| line.throttled),
    ("failed", "Failed (5xx, no answer)", |line| line.failed),
];

pub const LATENCY: [Series<Option<u64>>; 3] =
    [("p50", "p50", |line| line.p50), ("p95", "p95", |line| line.p95), ("p99", "p99", |line| line.p99)];

/// Height of a plot in its own units; its width has one for each line.
const HEIGHT: f64 = 100.0;

/// Stacked bars of the calls in each step.
pub fn traffic(lines: &[Line], label: &str) -> String {
    let top = round_up(lines.iter().map(Line::calls).fold(1.0, f64::max));
    let mut plot = String::new();
    for (index, line) in lines.iter().enumerate() {
        let mut below = 0.0;
        let _ = write!(plot, "<g><title>{}: {} calls</title>", line.from, html::count(line.calls()));
        for (class, _, value) in TRAFFIC {
            let height = value(line) / top * HEIGHT;
            below += height;
            if height > 0.0 {
                let (x, y) = (index as f64 + 0.08, HEIGHT - below);
                let _ = write!(
                    plot,
                    r#"<rect class="{class}" x="{x:.2}" y="{y:.2}" width="0.84" height="{height:.2}"/>"#
                );
            }
        }
        plot.push_str("</g>");
    }
    let legend = TRAFFIC.map(|(class, name, _)| (class, name));
    figure(lines, label, &plot, &legend, [top, top / 2.0].map(html::count))
}

/// Lines of percentiles; they end where nothing was measured.
pub fn latency(lines: &[Line], label: &str) -> String {
    let most = lines.iter().filter_map(|line| line.p99).max().unwrap_or(1).max(1);
    let top = round_up(most as f64);
    let mut plot = String::new();
    // Where they meet, the lower percentile lies on top.
    for (class, _, value) in LATENCY.into_iter().rev() {
        let mut path = String::new();
        let mut drawing = false;
        for (index, line) in lines.iter().enumerate() {
            let Some(millis) = value(line) else {
                drawing = false;
                continue;
            };
            let (x, y) = (index as f64, HEIGHT - millis as f64 / top * HEIGHT);
            // Each value holds for its step, so that a single one can be seen too.
            let command = if drawing { 'L' } else { 'M' };
            let _ = write!(path, "{command}{:.2} {y:.2}L{:.2} {y:.2}", x + 0.1, x + 0.9);
            drawing = true;
        }
        let _ = write!(plot, r#"<path class="{class}" d="{path}"/>"#);
    }
    let legend = LATENCY.map(|(class, name, _)| (class, name));
    figure(lines, label, &plot, &legend, [top, top / 2.0].map(|millis| html::duration(millis.ceil() as u64)))
}

/// A bar for a part of 1.
pub fn bar(part: f64) -> String {
    let percent = (part * 100.0).clamp(0.0, 100.0);
    format!(
        r#"<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%"/><rect class="answered" width="{percent:.1}%" height="100%"/></svg>"#
    )
}

fn figure(
    lines: &[Line],
    label: &str,
    plot: &str,
    legend: &[(&str, &str)],
    [top, middle]: [String; 2],
) -> String {
    let keys: String =
        legend.iter().map(|(class, name)| format!(r#"<li class="{class}">{name}</li>"#)).collect();
    let times = [lines.first(), lines.get(lines.len().div_euclid(2)), lines.last()];
    let times: String = times
        .into_iter()
        .flatten()
        .map(|line| format!("<span>{}</span>", Text(line.from.get(5..16).unwrap_or_default())))
        .collect();
    let grid = r#"<path class="grid" d="M0 0H{width}M0 50H{width}M0 100H{width}"/>"#;
    let width = lines.len().max(1).to_string();
    format!(
        r#"<ul class="keys">{keys}</ul>
<div class="chart"><div class="scale" aria-hidden="true"><span>{top}</span><span>{middle}</span><span>0</span></div>
<svg role="img" aria-label="{}" viewBox="0 0 {width} 100" preserveAspectRatio="none">{}{plot}</svg>
<div class="times" aria-hidden="true">{times}</div></div>"#,
        Text(label),
        grid.replace("{width}", &width),
    )
}

/// The next of 1, 2, 5, 10, 20, ...
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= number).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([1.0, 1.5, 3.0, 7.0, 10.0, 4321.0].map(round_up), [1.0, 2.0, 5.0, 10.0, 10.0, 5000.0]);
    }

    #[test]
    fn lines_end_where_nothing_was_measured() {
        let line = |p50| Line { p50, p99: Some(10), ..Line::default() };
        let chart = latency(&[line(Some(5)), line(None), line(Some(10)), line(Some(10))], "a \"b\"");
        assert!(
            chart.contains(r#"d="M0.10 50.00L0.90 50.00M2.10 0.00L2.90 0.00L3.10 0.00L3.90 0.00""#),
            "{chart}"
        );
        assert!(chart.contains("aria-label=\"a &quot;b&quot;\""));
    }
}

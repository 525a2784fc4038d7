//! The report as one HTML file.
//!
//! Nothing in it is loaded from elsewhere and nothing in it runs: its Content-Security-Policy allows its own style, by
//! its hash, and nothing else.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac_sha256::Hash;

use super::{
    charts::{self, LATENCY, TRAFFIC},
    html::{self, Text},
    model::{Latency, Report, Row, Table, UnusualUse},
    tally::PARTS,
};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub fn render(report: &Report) -> String {
    let hash = STANDARD.encode(Hash::hash(STYLE.as_bytes()));
    let period = format!("{} to {} UTC", Text(&report.from), Text(&report.to));
    let sources = report.sources.iter().map(|source| format!("<code>{}</code>", Text(source)));
    let sources = sources.collect::<Vec<_>>().join(", ");
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>API calls, {period}</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>API calls</h1><p>{period}</p></header>
<main>
{overview}{traffic}{latency}{unusual}
<div class="tables">
{tables}</div>
</main>
<footer><p>{events} events from {sources}. {lines}Made by <code>enforcer report</code>.</p>{troubles}</footer>
</body>
</html>
"#,
        overview = overview(report),
        traffic = traffic(report),
        latency = latency(report),
        unusual = unusual(report),
        tables = report.tables.iter().map(|one| table(one, report.sampled)).collect::<String>(),
        events = html::count(report.events as f64),
        lines = lines(report),
        troubles = troubles(report),
    )
}

fn overview(report: &Report) -> String {
    let all = &report.overview;
    let part = |calls: f64| html::percent(calls / all.calls);
    let percentile = |index: usize| {
        let whole = report.latency.first();
        html::perhaps(whole.and_then(|latency| latency.percentiles.get(index)).copied())
    };
    let about = if report.sampled { "≈ " } else { "" };
    let tiles = [
        ("Calls", format!("{about}{}", html::count(all.calls)), ""),
        ("Busiest", format!("{about}{} /s", html::rate(all.busiest_per_second)), ""),
        ("Answered", part(all.answered), "answered"),
        ("Client errors", part(all.client_errors), "client"),
        ("Over a limit", part(all.throttled), "throttled"),
        ("Failed", part(all.failed), "failed"),
        ("Median", percentile(0), ""),
        ("99 of 100 within", percentile(4), ""),
    ];
    let mut out = r#"<section aria-label="Overview"><dl class="tiles">"#.to_owned();
    for (name, value, class) in tiles {
        let _ = write!(out, r#"<div class="{class}"><dt>{name}</dt><dd>{value}</dd></div>"#);
    }
    out + "</dl></section>\n"
}

fn traffic(report: &Report) -> String {
    let label = format!(
        "Calls over time, by how they ended; the table below has the numbers of all {} steps",
        report.lines.len()
    );
    let mut table = String::from("<tr><th scope=\"col\">From (UTC)</th>");
    for (_, name, _) in TRAFFIC {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table.push_str("</tr>\n");
    for line in &report.lines {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", Text(&line.from));
        for (_, _, value) in TRAFFIC {
            let _ = write!(table, "<td>{}</td>", html::count(value(line)));
        }
        table.push_str("</tr>\n");
    }
    section(
        "Traffic",
        &format!("Calls in each {}.", html::width(report.step)),
        &charts::traffic(&report.lines, &label),
        &table,
    )
}

fn latency(report: &Report) -> String {
    if report.latency.is_empty() {
        return section("Latency", "The backend answered none of these calls.", "", "");
    }
    let mut summary = String::from("<table><tr><th scope=\"col\">Part of calls</th>");
    for one in &report.latency {
        let _ = write!(summary, "<th scope=\"col\">{}</th>", one.what);
    }
    let parts = PARTS.map(|part| format!("{:.0} % within", part * 100.0));
    let mut row = |name: &str, millis: &dyn Fn(&Latency) -> Option<u64>| {
        let _ = write!(summary, "</tr>\n<tr><th scope=\"row\">{name}</th>");
        for one in &report.latency {
            let _ = write!(summary, "<td>{}</td>", html::perhaps(millis(one)));
        }
    };
    for (index, part) in parts.iter().enumerate() {
        row(part, &|one| one.percentiles.get(index).copied());
    }
    row("all within", &|one| Some(one.most));
    summary.push_str("</tr></table>");
    let label = "Percentiles of the time that calls took; the table below has the numbers";
    let mut table = String::from("<tr><th scope=\"col\">From (UTC)</th>");
    for (_, name, _) in LATENCY {
        let _ = write!(table, "<th scope=\"col\">{name}</th>");
    }
    table.push_str("</tr>\n");
    for line in report.lines.iter().filter(|line| line.p50.is_some()) {
        let _ = write!(table, "<tr><th scope=\"row\">{}</th>", Text(&line.from));
        for (_, _, value) in LATENCY {
            let _ = write!(table, "<td>{}</td>", html::perhaps(value(line)));
        }
        table.push_str("</tr>\n");
    }
    let words = "Of calls that the backend answered. Percentiles are at most 3 % off.";
    section("Latency", words, &format!("{}{summary}", charts::latency(&report.lines, label)), &table)
}

/// A part of the page with a chart, and its numbers to unfold.
fn section(title: &str, words: &str, chart: &str, table: &str) -> String {
    let numbers = if table.is_empty() {
        String::new()
    } else {
        format!(
            "<details><summary>Numbers</summary><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{title}: numbers\"><table>{table}</table></div></details>"
        )
    };
    format!("<section><h2>{title}</h2><p>{words}</p>\n{chart}\n{numbers}</section>\n")
}

fn table(table: &Table, sampled: bool) -> String {
    let Table { title, column, rows, others } = table;
    if rows.is_empty() {
        return format!("<section><h2>{title}</h2><p class=\"none\">None.</p></section>\n");
    }
    // Where nothing was answered, there is no more to say than how often.
    let details = rows.iter().any(|row| row.p95.is_some());
    let more = if details { "<th scope=\"col\">Errors</th><th scope=\"col\">p95</th>" } else { "" };
    let about = if sampled { "≈ " } else { "" };
    let mut out = format!(
        "<section><h2>{title}</h2><table class=\"ranking\"><tr><th scope=\"col\">{column}</th><th scope=\"col\">Calls</th>{more}</tr>\n"
    );
    for Row { name, calls, share, errors, p95 } in rows {
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi>{}</th><td>{about}{}</td>",
            Text(name),
            charts::bar(*share),
            html::count(*calls)
        );
        if details {
            let _ = write!(out, "<td>{}</td><td>{}</td>", html::percent(*errors), html::perhaps(*p95));
        }
        out.push_str("</tr>\n");
    }
    if *others > 0.0 {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">all others</th><td>{about}{}</td>{}</tr>",
            html::count(*others),
            if details { "<td></td><td></td>" } else { "" }
        );
    }
    out + "</table></section>\n"
}

fn unusual(report: &Report) -> String {
    if report.unusual.is_empty() {
        return "<section><h2>Unusual use</h2><p class=\"none\">None was told of.</p></section>\n".to_owned();
    }
    let columns = ["Consumer", "API", "At (UTC)", "What", "Was", "Usually"];
    let head: String = columns.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let listed = report.unusual.len();
    let more = report.unusual_times > u64::try_from(listed).unwrap_or(u64::MAX);
    let words =
        if more { format!("The first {listed} of {} times.", report.unusual_times) } else { String::new() };
    let mut out = format!(
        r#"<section><h2>Unusual use</h2><p>{words}</p><div class="wide" tabindex="0" role="region" aria-label="Unusual use"><table><tr>{head}</tr>
"#
    );
    for UnusualUse { at, consumer, api, kind, value, usual } in &report.unusual {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td><bdi>{}</bdi></td><td>{at}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Text(consumer),
            Text(api),
            Text(unusual_words(kind)),
            html::count(*value as f64),
            html::count(*usual as f64)
        );
    }
    out + "</table></div></section>\n"
}

/// What the numbers of a kind of unusual use are.
fn unusual_words(kind: &str) -> &str {
    match kind {
        "rate" => "calls in a window",
        "errors" => "% errors",
        "networks" => "networks",
        "size" => "bytes a call",
        other => other,
    }
}

/// What else was in the files.
fn lines(report: &Report) -> String {
    match report.other_lines {
        0 => String::new(),
        1 => "1 other line has no event. ".to_owned(),
        lines => format!("{} other lines have no event. ", html::count(lines as f64)),
    }
}

/// What could not be read.
fn troubles(report: &Report) -> String {
    if report.bad_lines == 0 {
        return String::new();
    }
    let named = report.named.iter();
    let named: String = named
        .map(|one| format!("<li><code>{}:{}</code> {}</li>", Text(&one.source), one.line, Text(&one.why)))
        .collect();
    let number = html::count(report.bad_lines as f64);
    format!("<p>Not counted, because it could not be read: {number}, of these first</p><ul>{named}</ul>")
}

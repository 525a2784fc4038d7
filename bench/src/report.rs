//! The page: figures in place of the marks in `bench/performance.md`.

use std::fmt::Write as _;

use crate::{
    corpus::Corpus,
    flood::Flood,
    goals::{Goal, Size, Table},
    instructions::Instructions,
    rows::Id,
    startup::Cost,
    stats::Summary,
};

/// Text around the figures.
const PAGE: &str = include_str!("../performance.md");

/// Everything that the page shows.
#[derive(Debug)]
pub struct Report<'a> {
    /// What everything ran on, a line each: name and value.
    pub machine: &'a [(&'static str, String)],
    pub table: Table<'a>,
    pub goals: &'a [Goal],
    pub sizes: &'a [Size],
    pub floods: &'a [Flood],
    pub costs: &'a [Cost],
    pub instructions: &'a Instructions,
    pub corpus: Option<&'a Corpus>,
}

impl Report<'_> {
    /// The page in Markdown.
    pub fn page(&self) -> String {
        let parts = [
            ("machine", self.machine()),
            ("goals", self.goals()),
            ("cpu", self.cpu()),
            ("latency", self.latency()),
            ("flood", self.flood()),
            ("start", self.start()),
            ("instructions", self.instructions()),
            ("corpus", self.corpus()),
        ];
        parts
            .iter()
            .fold(PAGE.to_owned(), |page, (name, text)| page.replace(&format!("{{{{{name}}}}}\n"), text))
    }

    fn machine(&self) -> String {
        table(&["", ""], self.machine.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]))
    }

    fn goals(&self) -> String {
        let verdict = |goal: &Goal| if goal.met { "met" } else { "**missed**" };
        let rows = self.goals.iter();
        let rows = rows.map(|goal| vec![goal.text.to_owned(), goal.figure.clone(), verdict(goal).to_owned()]);
        table(&["Goal", "Measured", ""], rows)
    }

    fn cpu(&self) -> String {
        let rows = self.table.0.iter().map(|row| {
            let base = Table::base(row.id);
            let is_base = row.id == base;
            let compared = |text: String| if is_base { "–".to_owned() } else { text };
            vec![
                row.label.to_owned(),
                format!("{:.1}", Summary::of(row.cpu.iter().copied())),
                compared(format!("{:+.1}", self.table.added(row.id, base).median)),
                compared(format!("{:.2}", self.table.ratio(row.id, base))),
                match base {
                    Id::Plain => format!("{:.2}", self.table.ratio(row.id, Id::Noop).median),
                    _ => "–".to_owned(),
                },
            ]
        });
        table(
            &["", "CPU µs a request", "added µs", "to Envoy alone", "to a Wasm filter that does nothing"],
            rows,
        )
    }

    fn latency(&self) -> String {
        let rows = self.table.0.iter().map(|row| {
            let of = |figure: fn(&crate::load::Run) -> f64| Summary::of(row.at_rate.iter().map(figure));
            vec![
                row.label.to_owned(),
                format!("{:.0}", Summary::of(row.saturated.iter().copied())),
                format!("{:.0}", of(|run| run.per_second).median),
                format!("{:.2}", of(|run| run.p50)),
                format!("{:.2}", of(|run| run.p99)),
            ]
        });
        table(&["", "saturated, requests/s", "at 70 %, requests/s", "p50 ms", "p99 ms"], rows)
    }

    fn flood(&self) -> String {
        let rows = self.floods.iter().map(|flood| {
            let Flood { label, honest, verified, refused } = flood;
            vec![
                (*label).to_owned(),
                format!("{verified:.0}"),
                format!("{refused:.0}"),
                format!("{:.2}", honest.p50),
                format!("{:.2}", honest.p99),
            ]
        });
        table(&["", "verified/s", "turned away/s", "good token: p50 ms", "p99 ms"], rows)
    }

    fn start(&self) -> String {
        let rows = self.costs.iter().map(|cost| {
            vec![
                cost.label.to_owned(),
                format!("{:.0}", cost.start),
                format!("{:.0}", cost.start_cpu),
                format!("{:.1}", cost.memory),
                format!("{:.1}", cost.worker),
            ]
        });
        let heads =
            ["", "start, ms", "of which CPU, ms", "memory with one worker, MB", "each further worker, MB"];
        let mut text = table(&heads, rows);
        // Writing to a string cannot fail.
        let _ = writeln!(text);
        for Size { module, bytes, .. } in self.sizes {
            let _ = writeln!(text, "* {module} has {bytes} bytes.");
        }
        text
    }

    fn instructions(&self) -> String {
        let rows = self.instructions.iter().map(|(name, count)| vec![name.clone(), count.to_string()]);
        table(&["", "instructions"], rows)
    }

    fn corpus(&self) -> String {
        let Some(corpus) = self.corpus else {
            return "Not measured in this run: `ENFORCER_CORPORA` was not set.\n".to_owned();
        };
        let Corpus { definitions, built, total, large } = corpus;
        let mut text = format!(
            "{built} of {definitions} definitions, each built by a run of its own, take {:.1} s together. The largest:\n\n",
            total.as_secs_f64()
        );
        text.push_str(&table(
            &["", "MB", "seconds"],
            large.iter().map(|(name, bytes, taken)| {
                vec![
                    name.clone(),
                    format!("{:.1}", *bytes as f64 / 1e6),
                    format!("{:.2}", taken.as_secs_f64()),
                ]
            }),
        ));
        text
    }
}

/// A Markdown table whose columns stand below each other in a terminal too.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> =
        std::iter::once(heads.iter().map(|head| (*head).to_owned()).collect()).chain(rows).collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|-{:-<width$}-", "");
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["µs".to_owned(), "1".to_owned()], vec!["a".to_owned(), "22".to_owned()]];
        assert_eq!(
            table(&["", "n"], rows.into_iter()),
            "|    | n  |\n|----|----|\n| µs | 1  |\n| a  | 22 |\n"
        );
    }

    #[test]
    fn every_mark_is_filled_in() {
        let report = Report {
            machine: &[],
            table: Table(&[]),
            goals: &[],
            sizes: &[],
            floods: &[],
            costs: &[],
            instructions: &Instructions::new(),
            corpus: None,
        };
        assert!(!report.page().contains("{{"), "{}", report.page());
    }
}

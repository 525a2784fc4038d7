//! What is wrong with the input: where it stands, and what to do about it.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteSpanContents, SourceSpan, SpanContents,
};
use serde_json::json;

use crate::source::{Place, Source};

/// Whether a diagnostic stops the command, and whose move it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something is ignored or read in a way that may surprise; the command goes on.
    Warning,
    /// The input cannot be used as it is: exit code 1.
    Error,
    /// The input may be right but the world did not play along (network, disk): exit code 3.
    Environment,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    help: Option<String>,
    place: Option<Place>,
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, &message.into())
    }

    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, &message.into())
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Severity::Environment, &message.into())
    }

    fn new(severity: Severity, message: &str) -> Self {
        Self { severity, message: printable(message), help: None, place: None }
    }

    /// What the user can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(printable(&help.into()));
        self
    }

    /// What to point at.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    pub fn severity(&self) -> Severity {
        self.severity
    }

    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// One JSON object: `severity`, `file`, `line`, `column`, `message`, `help`; what is unknown is left out.
    pub fn to_json(&self) -> serde_json::Value {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error | Severity::Environment => "error",
        };
        let mut object = serde_json::Map::new();
        object.insert("severity".to_owned(), json!(severity));
        if let Some(place) = &self.place {
            let (line, column) = place.position();
            object.insert("file".to_owned(), json!(place.source.name()));
            object.insert("line".to_owned(), json!(line));
            object.insert("column".to_owned(), json!(column));
        }
        object.insert("message".to_owned(), json!(self.message));
        if let Some(help) = &self.help {
            object.insert("help".to_owned(), json!(help));
        }
        object.into()
    }

    /// The finding as a person reads it, with the lines of the file around it.
    pub fn to_text(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
        let mut out = String::new();
        if handler.render_report(&mut out, &Report::new(self)).is_err() {
            // Writing to a string does not fail; if the renderer gives up, the message alone must do.
            let _ = writeln!(out, "{self}");
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Findings in the order they were made.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Adds a finding, unless the same was made before.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// Keeps the value, or the reason why there is none.
    pub fn take<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|diagnostic| self.push(diagnostic)).ok()
    }

    pub fn extend(&mut self, other: Self) {
        for diagnostic in other.0 {
            self.push(diagnostic);
        }
    }

    /// The findings as people read files: file by file, from top to bottom; first those without a place.
    pub fn by_place(&self) -> Vec<&Diagnostic> {
        let mut files: Vec<&str> = Vec::new();
        let mut placed: Vec<(Option<(usize, usize)>, &Diagnostic)> = Vec::with_capacity(self.0.len());
        for finding in &self.0 {
            let at = finding.place.as_ref().map(|place| {
                let name = place.source.name();
                let file = files.iter().position(|known| *known == name).unwrap_or(files.len());
                if file == files.len() {
                    files.push(name);
                }
                (file, place.range.start)
            });
            placed.push((at, finding));
        }
        placed.sort_by_key(|(at, _)| *at);
        placed.into_iter().map(|(_, finding)| finding).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Whether anything speaks against using the result.
    pub fn failed(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity != Severity::Warning)
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

/// A finding as miette's renderer wants it.
struct Report<'a> {
    finding: &'a Diagnostic,
    source: Option<Arc<Source>>,
}

impl<'a> Report<'a> {
    fn new(finding: &'a Diagnostic) -> Self {
        let source = finding.place.as_ref().map(|place| printed(&place.source));
        Self { finding, source }
    }
}

/// The same text, each byte at its place, without what moves a terminal's cursor.
fn printed(source: &Arc<Source>) -> Arc<Source> {
    let moves = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
    if !source.text().contains(moves) {
        return Arc::clone(source);
    }
    let print = |char: char| if moves(char) { "?".repeat(char.len_utf8()) } else { char.to_string() };
    Source::new(source.name(), source.text().chars().map(print).collect::<String>())
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.finding, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.finding, f)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Warning => miette::Severity::Warning,
            Severity::Error | Severity::Environment => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| &**source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.finding.place.as_ref()?;
        let range = first_line(place.source.text(), place.range.start, place.range.end);
        Some(Box::new(std::iter::once(LabeledSpan::underline(range))))
    }
}

/// The part of a range that is in its first line: a mapping of a thousand lines is pointed at by its first.
fn first_line(text: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let range = text.get(start..end).unwrap_or_default();
    let line = range.lines().next().unwrap_or_default().trim_end();
    let line =
        line.char_indices().nth(LONG_LINE / 2).map_or(line, |(cut, _)| line.get(..cut).unwrap_or(line));
    start..start.saturating_add(line.len())
}

/// Lines longer than this are shown in part: minified JSON is one line of megabytes.
const LONG_LINE: usize = 160;

impl miette::SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, miette::MietteError> {
        let contents = self.text().read_span(span, context_lines_before, context_lines_after)?;
        let longest = contents.data().split(|byte| *byte == b'\n').map(<[u8]>::len).max().unwrap_or(0);
        let named = |data: &'a [u8], span: SourceSpan, line, column, lines| {
            Box::new(MietteSpanContents::new_named(self.name().to_owned(), data, span, line, column, lines))
        };
        if longest <= LONG_LINE {
            return Ok(named(
                contents.data(),
                *contents.span(),
                contents.line(),
                contents.column(),
                contents.line_count(),
            ));
        }
        let text = self.text();
        let mut from = span.offset().saturating_sub(LONG_LINE / 4);
        let mut to = span.offset().saturating_add(span.len().max(LONG_LINE / 2)).min(text.len());
        while !text.is_char_boundary(from) {
            from = from.saturating_sub(1);
        }
        while !text.is_char_boundary(to) {
            to = to.saturating_add(1);
        }
        // Only the line itself: its neighbours may be as long.
        let before = text.get(from..span.offset()).and_then(|part| part.rfind('\n'));
        from = before.map_or(from, |newline| from.saturating_add(newline).saturating_add(1));
        let after = text.get(span.offset()..to).and_then(|part| part.find('\n'));
        to = after.map_or(to, |newline| span.offset().saturating_add(newline));
        let (line, column) = self.position(from);
        let data = text.as_bytes().get(from..to).unwrap_or_default();
        let span = SourceSpan::new(from.into(), to.saturating_sub(from));
        Ok(named(data, span, line.saturating_sub(1), column.saturating_sub(1), 1))
    }
}

/// Without what would move a terminal's cursor or change its colours: a definition may be a stranger's.
fn printable(text: &str) -> String {
    let escape = |char: char| match char {
        '\n' => "\n".to_owned(),
        char if char.is_control() => char.escape_default().to_string(),
        char => char.to_string(),
    };
    if text.chars().any(char::is_control) { text.chars().map(escape).collect() } else { text.to_owned() }
}

/// `did you mean` for a near miss, else all there is.
pub(crate) fn suggest(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, candidate)) if distance <= candidate.len().div_ceil(3) => {
            format!("did you mean `{candidate}`?")
        }
        _ => format!(
            "known here: {}",
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_and_what_to_do() {
        let source = Source::new("pets.yaml", "openapi: 3.0.0\ninfo:\n  title: Pets\n");
        let diagnostic = Diagnostic::error("the definition has no `paths`")
            .at(Place::new(&source, 15..19))
            .help("add `paths: {}`");
        insta::assert_snapshot!(diagnostic.to_text(false), @r"
          × the definition has no `paths`
           ╭─[pets.yaml:2:1]
         1 │ openapi: 3.0.0
         2 │ info:
           · ────
         3 │   title: Pets
           ╰────
          help: add `paths: {}`
        ");
        insta::assert_snapshot!(
            diagnostic.to_json(),
            @r#"{"severity":"error","file":"pets.yaml","line":2,"column":1,"message":"the definition has no `paths`","help":"add `paths: {}`"}"#
        );
    }

    #[test]
    fn moves_no_cursor() {
        let source = Source::new("evil.yaml", "title: \u{1b}[2Jx\u{9b}1m\n");
        let finding =
            Diagnostic::error("`\u{1b}[2J` is unknown").at(Place::new(&source, 7..12)).help("\u{7}");
        let shown = finding.to_text(false);
        assert!(!shown.chars().any(|char| char.is_control() && char != '\n'), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J") && shown.contains("title: ?[2Jx??1m"), "{shown}");
    }

    #[test]
    fn shows_long_lines_in_part() {
        let text =
            format!("{{\"a\": \"{}\", \"b\": 1, \"c\": \"{}\"}}", "x".repeat(5_000), "y".repeat(5_000));
        let at = text.find("\"b\"").unwrap();
        let source = Source::new("min.json", text);
        let shown = Diagnostic::error("no").at(Place::new(&source, at..at + 3)).to_text(false);
        assert!(shown.contains("\"b\"") && shown.len() < 1_000, "{shown}");
        assert!(shown.contains("min.json:1:5011"), "{shown}");
    }
}

//! Lists and mappings as they are written: where a child begins, and how text is put before it or taken out.
//!
//! The file is edited as text, so that comments, quotes, aliases and the order of everything stay as they are.

use std::ops::Range;

use serde_json::Value;

use crate::source::{Kind, Node, to_yaml};

/// A range of the text, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit {
    start: usize,
    end: usize,
    text: String,
}

/// Makes all edits; `None` when two of them are about the same text. Equal ones count once: an aliased value is
/// met several times.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Option<String> {
    edits.sort();
    edits.dedup();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        out.push_str(text.get(done..edit.start)?);
        out.push_str(&edit.text);
        done = edit.end;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

/// Where the children of a list or mapping are.
pub(super) struct Layout<'a> {
    text: &'a str,
    range: Range<usize>,
    /// Column of dashes or keys in block style; `None` in flow style, with braces or brackets.
    column: Option<usize>,
    /// Offsets of dashes, keys, or items in flow style.
    starts: Vec<usize>,
    /// Offsets behind the values.
    ends: Vec<usize>,
}

impl<'a> Layout<'a> {
    /// `None` for scalars, and for spellings that are not understood.
    pub(super) fn of(text: &'a str, node: &Node) -> Option<Self> {
        let range = node.range.clone();
        let first = text.get(range.clone())?.chars().next();
        let (column, starts, ends) = match &node.kind {
            Kind::Scalar { .. } => return None,
            Kind::Map(entries) => {
                let column = if first == Some('{') { None } else { Some(column(text, range.start)?) };
                let (starts, ends) =
                    entries.values().map(|entry| (entry.key.start, entry.node.range.end)).unzip();
                (column, starts, ends)
            }
            Kind::List(items) => {
                let ends = items.iter().map(|item| item.range.end).collect();
                if first == Some('[') {
                    (None, items.iter().map(|item| item.range.start).collect(), ends)
                } else {
                    // An aliased item is elsewhere, its dash is here.
                    let (column, dashes) = dashes(text, &range)?;
                    (Some(column), Some(dashes).filter(|dashes| dashes.len() == items.len())?, ends)
                }
            }
        };
        Some(Self { text, range, column, starts, ends })
    }

    /// Puts the items of a list, or the entries of a mapping, before a child, or into what is empty.
    pub(super) fn insert(&self, index: usize, new: &Value) -> Option<Edit> {
        let Some(start) = self.starts.get(index) else {
            let inside = self.range.start.saturating_add(1);
            let text = self.flow(new, None);
            return (self.starts.is_empty() && self.column.is_none()).then_some(Edit {
                start: inside,
                end: inside,
                text,
            });
        };
        let (at, text) = match self.column {
            Some(column) => (self.above_comments(*start, column)?, self.block(new, column)),
            None => {
                self.inside(*start)?;
                let before = self.text.get(line_start(self.text, *start)..*start)?;
                let indent = before.trim().is_empty().then_some(before);
                let separator =
                    indent.map_or(", ".to_owned(), |indent| format!(",{}{indent}", self.newline()));
                (*start, format!("{}{separator}", self.flow(new, indent)))
            }
        };
        Some(Edit { start: at, end: at, text })
    }

    /// Takes out a child; `stays` tells which of its siblings are there afterwards.
    pub(super) fn cut(&self, index: usize, stays: impl Fn(usize) -> bool) -> Option<Edit> {
        let start = *self.starts.get(index)?;
        let next = index.saturating_add(1);
        let range = match self.column {
            Some(column) => {
                let end = match self.starts.get(next) {
                    Some(next) => self.above_comments(*next, column)?,
                    None => self.last_content(start)?,
                };
                line_start(self.text, start)..end
            }
            None if (next..self.starts.len()).any(&stays) => start..*self.starts.get(next)?,
            None if (0..index).any(&stays) => {
                *self.ends.get(index.checked_sub(1)?)?..*self.ends.get(index)?
            }
            None => start..self.starts.get(next).copied().or(self.ends.get(index).copied())?,
        };
        if self.column.is_none() {
            self.inside(range.start)?;
            self.inside(range.end)?;
        }
        (range.start <= range.end).then_some(Edit { start: range.start, end: range.end, text: String::new() })
    }

    fn inside(&self, offset: usize) -> Option<()> {
        (self.range.start < offset && offset <= self.range.end).then_some(())
    }

    /// Start of the child's line, or of the comment above it that is about it.
    fn above_comments(&self, start: usize, column: usize) -> Option<usize> {
        let mut at = line_start(self.text, start);
        if start.saturating_sub(at) != column {
            return None;
        }
        while let Some(end) = at.checked_sub(1) {
            let above = line_start(self.text, end);
            let line = self.text.get(above..end)?;
            if indentation(line) != column || !line.trim_start().starts_with('#') {
                break;
            }
            at = above;
        }
        Some(at)
    }

    /// End of the last line, from an offset on, that is neither blank nor a comment.
    fn last_content(&self, start: usize) -> Option<usize> {
        let mut at = line_start(self.text, start);
        let mut end = at;
        for line in self.text.get(at..self.range.end)?.split_inclusive('\n') {
            at = at.saturating_add(line.len());
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                end = at;
            }
        }
        Some(end)
    }

    fn block(&self, new: &Value, column: usize) -> String {
        let indent = " ".repeat(column);
        let mut out = String::new();
        for line in to_yaml(new).lines() {
            if !line.is_empty() {
                out.push_str(&indent);
                out.push_str(line);
            }
            out.push_str(self.newline());
        }
        out
    }

    /// JSON, which is YAML's flow style, too: on lines of their own when an indentation is given.
    fn flow(&self, new: &Value, indent: Option<&str>) -> String {
        let json = |value: &Value| match indent {
            None => value.to_string(),
            Some(indent) => format!("{value:#}").replace('\n', &format!("{}{indent}", self.newline())),
        };
        let children: Vec<String> = match new {
            Value::Array(items) => items.iter().map(json).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), json(value)))
                .collect(),
            scalar => vec![json(scalar)],
        };
        let separator = indent.map_or(", ".to_owned(), |indent| format!(",{}{indent}", self.newline()));
        children.join(&separator)
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

/// Column and offsets of the dashes of a block sequence. Everything else in its lines is indented deeper, or a
/// comment.
fn dashes(text: &str, range: &Range<usize>) -> Option<(usize, Vec<usize>)> {
    // The parser's range of a sequence that is not indented deeper than its key begins behind the first dash.
    let mut at = line_start(text, range.start);
    while !is_dash(text.get(at..)?) {
        at = line_start(text, at.checked_sub(1)?);
    }
    let column = indentation(text.get(at..)?);
    let mut out = Vec::new();
    for line in text.get(at..range.end)?.split_inclusive('\n') {
        if indentation(line) == column && is_dash(line) {
            out.push(at.saturating_add(column));
        }
        at = at.saturating_add(line.len());
    }
    Some((column, out))
}

/// Whether a line begins with the dash of a list.
fn is_dash(line: &str) -> bool {
    let rest = line.trim_start_matches(' ').strip_prefix('-');
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn line_start(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.rfind('\n').map_or(0, |newline| newline.saturating_add(1))
}

/// Column of an offset that only spaces precede in its line.
fn column(text: &str, offset: usize) -> Option<usize> {
    let before = text.get(line_start(text, offset)..offset)?;
    before.bytes().all(|byte| byte == b' ').then_some(before.len())
}

fn indentation(line: &str) -> usize {
    line.len().saturating_sub(line.trim_start_matches(' ').len())
}

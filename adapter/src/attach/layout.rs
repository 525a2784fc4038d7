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
        let flow = text.get(range.clone())?.starts_with(['[', '{']);
        let column = if flow { None } else { Some(column(text, range.start)?) };
        let (starts, ends): (Vec<usize>, Vec<usize>) = match &node.kind {
            Kind::Scalar { .. } => return None,
            Kind::Map(entries) => {
                entries.values().map(|entry| (entry.key.start, entry.node.range.end)).unzip()
            }
            Kind::List(items) => items.iter().map(|item| (item.range.start, item.range.end)).unzip(),
        };
        let starts = match (&node.kind, column) {
            // An aliased item is elsewhere, its dash is here.
            (Kind::List(items), Some(column)) => {
                Some(dashes(text, &range, column)).filter(|dashes| dashes.len() == items.len())?
            }
            _ => starts,
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

/// The dashes of a block sequence. Everything else in its lines is indented deeper, or a comment.
fn dashes(text: &str, range: &Range<usize>, column: usize) -> Vec<usize> {
    let mut at = line_start(text, range.start);
    let mut out = Vec::new();
    for line in text.get(at..range.end).unwrap_or_default().split_inclusive('\n') {
        let dash = line.trim_start_matches(' ').strip_prefix('-');
        if indentation(line) == column && dash.is_some_and(|rest| rest.trim_start().len() < rest.len()) {
            out.push(at.saturating_add(column));
        }
        at = at.saturating_add(line.len());
    }
    out
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

//! The tree of values that YAML and JSON share, each value knowing where it stands.

use std::{ops::Range, sync::Arc};

use indexmap::IndexMap;

use super::{Place, Source};

/// A parsed file.
#[derive(Debug)]
pub struct Document {
    pub source: Arc<Source>,
    pub root: Node,
}

impl Document {
    pub fn view(&self) -> View<'_> {
        View { source: &self.source, node: &self.root, key: None }
    }
}

/// A value and the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Node {
    pub range: Range<usize>,
    pub kind: Kind,
}

/// Scalars stay text until somebody asks for a type: `version: 1.10` must not become 1.1.
#[derive(Debug, Clone)]
pub enum Kind {
    Scalar {
        text: String,
        /// Written without quotes, so that YAML's core schema may read it as null, boolean or number.
        plain: bool,
    },
    List(Vec<Node>),
    Map(IndexMap<String, Entry>),
}

/// A value in a mapping, with the place of its key.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Range<usize>,
    pub node: Node,
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// How many values the tree holds, itself included.
    pub(super) fn size(&self) -> usize {
        match &self.kind {
            Kind::Scalar { .. } => 1,
            Kind::List(items) => items.iter().map(Self::size).fold(1, usize::saturating_add),
            Kind::Map(entries) => {
                entries.values().map(|entry| entry.node.size()).fold(1, usize::saturating_add)
            }
        }
    }

    /// The value as JSON, scalars read by YAML 1.2's core schema (section 10.3.2).
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Scalar { text, plain: false } => Value::String(text.clone()),
            Kind::Scalar { text, plain: true } => plain_scalar(text),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
            ),
        }
    }
}

fn plain_scalar(text: &str) -> serde_json::Value {
    use serde_json::Value;
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let number = if let Some(digits) = text.strip_prefix("0x") {
        u64::from_str_radix(digits, 16).ok().map(Into::into)
    } else if let Some(digits) = text.strip_prefix("0o") {
        u64::from_str_radix(digits, 8).ok().map(Into::into)
    } else {
        decimal(text)
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn decimal(text: &str) -> Option<serde_json::Number> {
    let digits = text.trim_start_matches(['+', '-']);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(number.into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.into());
    }
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
}

/// A value in its file: what the typed readers work on.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub source: &'a Arc<Source>,
    pub node: &'a Node,
    key: Option<&'a Range<usize>>,
}

impl<'a> View<'a> {
    /// Where the value stands.
    pub fn place(&self) -> Place {
        Place::new(self.source, self.node.range.clone())
    }

    /// Where the value's key stands, which for large values is the better thing to point at.
    pub fn key_place(&self) -> Place {
        self.key.map_or_else(|| self.place(), |range| Place::new(self.source, range.clone()))
    }

    pub fn get(&self, key: &str) -> Option<Self> {
        match &self.node.kind {
            Kind::Map(entries) => entries.get(key).map(|entry| self.child(entry)),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    /// Steps down by keys and list positions; stops where the path leaves the tree, so that a diagnostic
    /// about something absent points at what should contain it.
    pub fn descend<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Self {
        let mut view = *self;
        for step in path {
            let next = match &view.node.kind {
                Kind::List(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|node| Self { node, key: None, ..view }),
                Kind::Map(_) => view.get(step),
                Kind::Scalar { .. } => None,
            };
            match next {
                Some(next) => view = next,
                None => break,
            }
        }
        view
    }

    /// The entries of a mapping, in the order of the file; none for anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let view = *self;
        let entries = match &self.node.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Scalar { .. } | Kind::List(_) => None,
        };
        entries.into_iter().flatten().map(move |(key, entry)| (key.as_str(), view.child(entry)))
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let view = *self;
        let items = match &self.node.kind {
            Kind::List(items) => items.as_slice(),
            Kind::Scalar { .. } | Kind::Map(_) => &[],
        };
        items.iter().map(move |node| Self { node, key: None, ..view })
    }

    /// The scalar's text as it was written; `None` for null, lists and mappings.
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_null() => Some(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// `true` and `false`, quoted or not: extensions in real definitions use both.
    pub fn boolean(&self) -> Option<bool> {
        match self.text()? {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        }
    }

    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// What the value is, in the words of the formats.
    pub fn describe(&self) -> &'static str {
        match &self.node.kind {
            Kind::Map(_) => "a mapping",
            Kind::List(_) => "a list",
            Kind::Scalar { .. } if self.node.is_null() => "nothing",
            Kind::Scalar { .. } => "a scalar",
        }
    }

    fn child(&self, entry: &'a Entry) -> Self {
        Self { source: self.source, node: &entry.node, key: Some(&entry.key) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_follow_the_core_schema() {
        for (text, value) in [
            ("~", json!(null)),
            ("True", json!(true)),
            ("no", json!("no")),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("-7", json!(-7)),
            ("1.10", json!(1.10)),
            ("1e3", json!(1000.0)),
            (".inf", json!(".inf")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!("-")),
            ("", json!(null)),
        ] {
            assert_eq!(plain_scalar(text), value, "{text}");
        }
    }
}

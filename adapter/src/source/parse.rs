//! YAML 1.2 to a tree, JSON included: JSON is YAML as far as API definitions go.

use std::{collections::HashMap, ops::Range, sync::Arc};

use granit_parser::{Event, Parser, ScalarStyle, Span};
use indexmap::{IndexMap, map};

use super::{Document, Entry, Kind, Node, Place, Source};
use crate::diagnostic::Diagnostic;

/// Values a file may hold once its aliases are written out. The largest public definitions have about
/// half a million; a "billion laughs" file has, as its name says, more.
const MAX_NODES: usize = 4_000_000;
/// Of these, values that aliases repeat.
const MAX_REPEATED: usize = 500_000;

/// Parses one document.
pub fn parse(source: &Arc<Source>) -> Result<Document, Diagnostic> {
    let mut builder =
        Builder { source, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, repeated: 0, root: None };
    let options = granit_parser::options! {
        emit_comments: false,
        simple_key_max_lookahead: 64 * 1024,
    };
    for next in Parser::new_from_str_with_options(source.text(), options) {
        let (event, span) = next.map_err(|error| {
            let at = error.marker().byte_offset().unwrap_or(0);
            Diagnostic::error(format!("this is neither YAML nor JSON: {}", problem(&error.to_string())))
                .at(Place::new(source, at..at))
                .help("fix the syntax here or in the lines just above")
        })?;
        builder.take(event, &span)?;
    }
    // An empty file, or one of comments only, is an empty value.
    let root =
        builder.root.unwrap_or(Node { range: 0..0, kind: Kind::Scalar { text: String::new(), plain: true } });
    Ok(Document { source: Arc::clone(source), root })
}

/// A list or mapping that is still open.
struct Open {
    start: usize,
    anchor: usize,
    contents: Contents,
}

enum Contents {
    List(Vec<Node>),
    Map { entries: IndexMap<String, Entry>, key: Option<Key>, merges: Vec<Node> },
}

struct Key {
    text: String,
    range: Range<usize>,
    merge: bool,
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Of these, such that aliases repeat.
    repeated: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Diagnostic> {
        let range = span.byte_range().unwrap_or(0..0);
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self
                .error(range, "the file holds more than one YAML document")
                .help("keep one document in each file: remove what follows this `---`")),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                self.add(Node { range, kind: Kind::Scalar { text: text.into_owned(), plain } }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                let start = self.first_dash(range.start).unwrap_or(range.start);
                self.open(start..range.end, anchor, Contents::List(Vec::new()));
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                let contents = Contents::Map { entries: IndexMap::new(), key: None, merges: Vec::new() };
                self.open(range, anchor, contents);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range.end),
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let size = node.size();
                    self.repeated = self.repeated.saturating_add(size);
                    if self.repeated > MAX_REPEATED {
                        return Err(self.too_many(range, &format!("aliases repeat more than {MAX_REPEATED}")));
                    }
                    self.nodes = self.nodes.saturating_add(size);
                    self.add(node.clone(), 0)
                }
                // The anchor's own contents: `&a [*a]`.
                None => Err(self
                    .error(range, "this alias stands inside the value that it repeats")
                    .help("write the value out; a definition cannot contain itself")),
            },
            _ => Ok(()),
        }
    }

    /// Where a list in block style begins that is the value of a key: at its first dash. When the dashes stand
    /// right below the key, the parser says that it begins behind the first of them.
    fn first_dash(&self, start: usize) -> Option<usize> {
        let value = matches!(self.stack.last()?.contents, Contents::Map { key: Some(_), .. });
        let text = self.source.text();
        if !value || text.get(start..)?.starts_with('[') {
            return None;
        }
        let line = text.get(..start)?.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let first = text.get(line..)?.find(|c| c != ' ').map(|spaces| line.saturating_add(spaces))?;
        // An item may begin in the line below its dash.
        let above = || text.get(..start)?.trim_end().len().checked_sub(1);
        [Some(first), above()]
            .into_iter()
            .flatten()
            .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with('-')))
    }

    fn open(&mut self, range: Range<usize>, anchor: usize, contents: Contents) {
        self.stack.push(Open { start: range.start, anchor, contents });
    }

    fn close(&mut self, end: usize) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let kind = match open.contents {
            Contents::List(items) => Kind::List(items),
            Contents::Map { mut entries, merges, .. } => {
                for node in merges {
                    self.merge(&mut entries, node)?;
                }
                Kind::Map(entries)
            }
        };
        self.add(Node { range: open.start..end.max(open.start), kind }, open.anchor)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MAX_NODES {
            return Err(self.too_many(node.range, &format!("the file holds more than {MAX_NODES}")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let source = self.source;
        match self.stack.last_mut().map(|open| &mut open.contents) {
            None => self.root = Some(node),
            Some(Contents::List(items)) => items.push(node),
            Some(Contents::Map { entries, key, merges }) => match key.take() {
                None => *key = Some(as_key(source, node)?),
                Some(key) if key.merge => merges.push(node),
                Some(key) => insert(source, entries, key, node)?,
            },
        }
        Ok(())
    }

    /// `<<: *defaults`: what the mapping does not say itself (YAML 1.1 merge keys, still widely used).
    fn merge(&self, entries: &mut IndexMap<String, Entry>, node: Node) -> Result<(), Diagnostic> {
        match node.kind {
            Kind::Map(other) => {
                for (key, entry) in other {
                    entries.entry(key).or_insert(entry);
                }
                Ok(())
            }
            Kind::List(nodes) => nodes.into_iter().try_for_each(|node| self.merge(entries, node)),
            Kind::Scalar { .. } => Err(self
                .error(node.range, "only a mapping can be merged with `<<`")
                .help("name a mapping: `<<: *anchor`")),
        }
    }

    fn too_many(&self, range: Range<usize>, what: &str) -> Diagnostic {
        self.error(range, format!("{what} values"))
            .help("aliases (`*name`) that repeat each other multiply: write the values out instead")
    }

    fn error(&self, range: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(Place::new(self.source, range))
    }
}

fn as_key(source: &Arc<Source>, node: Node) -> Result<Key, Diagnostic> {
    match node.kind {
        Kind::Scalar { text, plain } => Ok(Key { merge: plain && text == "<<", text, range: node.range }),
        Kind::List(_) | Kind::Map(_) => Err(Diagnostic::error("a key must be text")
            .at(Place::new(source, node.range))
            .help("quote the key if it begins with `[` or `{`")),
    }
}

fn insert(
    source: &Arc<Source>,
    entries: &mut IndexMap<String, Entry>,
    key: Key,
    node: Node,
) -> Result<(), Diagnostic> {
    match entries.entry(key.text) {
        map::Entry::Vacant(vacant) => {
            vacant.insert(Entry { key: key.range, node });
            Ok(())
        }
        map::Entry::Occupied(first) => {
            let line = source.position(first.get().key.start).0;
            Err(Diagnostic::error(format!("the key `{}` is here a second time", first.key()))
                .at(Place::new(source, key.range))
                .help(format!("keep one of the two; the first is in line {line}")))
        }
    }
}

/// The parser's message, without the position that the diagnostic shows anyway.
fn problem(text: &str) -> String {
    let text = text.split(" at char ").next().unwrap_or(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<serde_json::Value, String> {
        parse(&Source::new("test.yaml", text))
            .map(|document| document.root.to_json())
            .map_err(|diagnostic| diagnostic.to_string())
    }

    #[test]
    fn yaml_and_json_give_the_same_tree() {
        let yaml = read("a: [1, 'two', {three: null}]\nb: yes\n200: ok\n");
        let json = read(r#"{"a": [1, "two", {"three": null}], "b": "yes", "200": "ok"}"#);
        assert_eq!(yaml, json);
        assert_eq!(yaml.unwrap(), json!({"a": [1, "two", {"three": null}], "b": "yes", "200": "ok"}));
    }

    #[test]
    fn json_escapes_and_tabs_are_understood() {
        assert_eq!(
            read("{\n\t\"a\\/b\": \"\\ud834\\udd1e \\u00e9\",\t\"t\":\t\"\\t\"\n}").unwrap(),
            json!({"a/b": "\u{1d11e} é", "t": "\t"})
        );
    }

    #[test]
    fn merge_keys_fill_in_what_is_not_said() {
        let text = "base: &b {a: 1, b: 2}\nuse:\n  <<: *b\n  b: 3\nboth: {<<: [*b, {c: 4}]}\n";
        let value = read(text).unwrap();
        assert_eq!(value["use"], json!({"a": 1, "b": 3}));
        assert_eq!(value["both"], json!({"a": 1, "b": 2, "c": 4}));
    }

    #[test]
    fn mistakes_name_the_line() {
        let error = parse(&Source::new("test.yaml", "a: 1\nb: 2\na: 3\n")).unwrap_err();
        assert_eq!(error.place().unwrap().position(), (3, 1));
        assert_eq!(error.to_string(), "the key `a` is here a second time");
        let error = parse(&Source::new("test.yaml", "a: 1\nb: [1, 2\nc: 3\n")).unwrap_err();
        assert!(error.place().unwrap().position().0 >= 2, "{error}");
    }

    #[test]
    fn lists_begin_at_their_first_dash() {
        for (text, start) in [
            ("a:\n- x: 1\n  y: 2\n", 3),
            ("a:\n  - x\n", 5),
            ("a:\n- - x\n- y\n", 3),
            ("a:\n- -1\n", 3),
            ("a:\n-\n  x: 1\n", 3),
            ("a: &n\n- x\n", 6),
            ("a: [-1]\n", 3),
        ] {
            let document = parse(&Source::new("test.yaml", text)).unwrap();
            let list = document.view().get("a").unwrap();
            assert!(list.is_list());
            assert_eq!(list.node.range.start, start, "{text}");
        }
    }

    #[test]
    fn laughs_are_limited() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = level - 1;
            let items = vec![format!("*a{before}"); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(read(&text).unwrap_err().contains("more than"), "{text}");
    }

    #[test]
    fn deep_nesting_is_refused_not_overflown() {
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"{a: ".repeat(100_000)).is_err());
        let blocks: String = (0..10_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(read(&blocks).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC*") {
            let _ = read(&text);
        }

        #[test]
        fn yaml_like_text_never_panics(text in "[a-c:\\-\\[\\]{}&*!|>'\"#%@,?~<0-9 \t\n\r]*") {
            let _ = read(&text);
        }
    }
}

//! Typed values out of a tree, with every mistake named, not only the first.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Settings, check};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, suggest},
    source::{Document, View},
};

/// Reads `enforcer.yaml`.
pub fn settings(document: &Document, findings: &mut Diagnostics) -> Option<Settings> {
    let view = document.view();
    if view.node.is_null() {
        return Some(Settings::default());
    }
    let value = view.node.to_json();
    let settings = read_value(view, value, findings)?;
    check(&settings, view, findings);
    Some(settings)
}

/// Each mistake is reported, taken out, and the rest read again; so that one run shows them all.
pub(crate) fn read_value<T: DeserializeOwned>(
    view: View<'_>,
    mut value: Value,
    findings: &mut Diagnostics,
) -> Option<T> {
    let mut removed: Vec<Vec<String>> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) => return removed.is_empty().then_some(read),
            Err(error) => error,
        };
        let mut path = steps(error.path());
        let text = error.inner().to_string();
        let shown = in_file(&path, &removed);
        // What is missing because its value was wrong has been reported as that.
        let is_gone = |wanted: &dyn Fn(&str) -> bool| {
            removed
                .iter()
                .any(|gone| gone.split_last().is_some_and(|(last, parent)| wanted(last) && parent == shown))
        };
        let follows = match missing_field(&text) {
            Some(field) => is_gone(&|last| last == field),
            None => text.contains(ONE_KEY) && is_gone(&|_| true),
        };
        if !follows {
            findings.push(explain(view, &shown, &text));
        }
        while !remove(&mut value, &path) {
            path.pop()?;
        }
        removed.push(in_file(&path, &removed));
    }
}

/// A path in what is left of the value, as a path in the file: list items that were taken out still count.
fn in_file(path: &[String], removed: &[Vec<String>]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(path.len());
    for step in path {
        out.push(step.clone());
        let Ok(index) = step.parse::<usize>() else { continue };
        let mut left = index;
        for candidate in 0_usize.. {
            out.pop();
            out.push(candidate.to_string());
            if !removed.contains(&out) {
                match left.checked_sub(1) {
                    Some(fewer) => left = fewer,
                    None => break,
                }
            }
        }
    }
    out
}

fn steps(path: &serde_path_to_error::Path) -> Vec<String> {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => "?".to_owned(),
        })
        .collect()
}

/// Takes out what the path names; says whether there was such a thing.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut at = value;
    for step in parents {
        let next = match at {
            Value::Object(map) => map.get_mut(step),
            Value::Array(list) => step.parse::<usize>().ok().and_then(|index| list.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match at {
        Value::Object(map) => map.shift_remove(last).is_some(),
        Value::Array(list) => match last.parse::<usize>() {
            Ok(index) if index < list.len() => {
                list.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// serde's words for a choice that is written as a mapping, such as `{cookie: session}`.
const ONE_KEY: &str = "map with a single key";

fn missing_field(text: &str) -> Option<&str> {
    text.strip_prefix("missing field `")?.split('`').next()
}

/// serde's message, in words for people who write YAML.
fn explain(view: View<'_>, path: &[String], text: &str) -> Diagnostic {
    let found = view.descend(path.iter().map(String::as_str));
    let shown = dotted(path);
    if let Some(rest) = text.strip_prefix("unknown field `") {
        let mut quoted = rest.split('`');
        let name = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
        return Diagnostic::error(format!("unknown field `{name}`"))
            .at(found.key_place())
            .help(suggest(name, &known));
    }
    if let Some(rest) = text.strip_prefix("unknown variant `") {
        let mut quoted = rest.split('`');
        let name = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
        // The name of an algorithm is like that of all others; what is near is not what was meant.
        let algorithm = path.iter().any(|step| step == "algorithms");
        return Diagnostic::error(format!("`{name}` is not a value of `{shown}`"))
            .at(found.place())
            .help(suggest(if algorithm { "" } else { name }, &known));
    }
    if let Some(field) = missing_field(text) {
        let of = if shown.is_empty() { String::new() } else { format!(" of `{shown}`") };
        return Diagnostic::error(format!("`{field}`{of} is missing"))
            .at(found.place())
            .help(format!("add `{field}: ...` here"));
    }
    let subject = if shown.is_empty() { "the file".to_owned() } else { format!("`{shown}`") };
    Diagnostic::error(format!("{subject} cannot be read: {}", in_yaml_words(text)))
        .at(found.place())
        .help("`enforcer schema enforcer.yaml` prints every field with its type and meaning")
}

fn dotted(path: &[String]) -> String {
    let mut out = String::new();
    for step in path {
        if step.parse::<usize>().is_ok() {
            out.push('[');
            out.push_str(step);
            out.push(']');
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(step);
        }
    }
    out
}

/// serde speaks of sequences, maps and integer widths.
fn in_yaml_words(text: &str) -> String {
    const WORDS: [(&str, &str); 14] = [
        ("invalid type: unit variant, expected newtype variant", "it has no value"),
        (ONE_KEY, "a mapping with one key"),
        ("invalid type: ", "it is "),
        ("invalid value: ", "it is "),
        ("it is string ", "it is "),
        ("it is integer ", "it is "),
        ("it is map", "it is a mapping"),
        ("it is sequence", "it is a list"),
        (", expected ", " but should be "),
        ("string or map", "a name"),
        ("be a sequence", "be a list"),
        ("be a map", "be a mapping"),
        // Where the setting says in its own words what it expects.
        ("be a mappingping", "be a mapping"),
        ("u16", "a number from 0 to 65535"),
    ];
    let text = WORDS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    match text.split_once("be struct ") {
        Some((before, _)) => format!("{before}be a mapping"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, parse};

    fn findings(text: &str) -> String {
        let document = parse(&Source::new("enforcer.yaml", text)).unwrap();
        let mut findings = Diagnostics::default();
        let read = settings(&document, &mut findings);
        assert!(read.is_some() || findings.failed());
        findings.iter().map(|finding| format!("{}\n", finding.to_json())).collect()
    }

    #[test]
    fn every_key_is_optional() {
        assert_eq!(findings(""), "");
        assert_eq!(findings("issuers:\n- issuer: https://idp.example.com\nlisteners: [{port: 80}]\n"), "");
    }

    #[test]
    fn all_mistakes_are_named_with_their_lines() {
        insta::assert_snapshot!(findings(include_str!("mistakes.yaml")));
    }
}

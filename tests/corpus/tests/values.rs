//! Values for path parameters, as plausible as the definition allows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The texts of a definition's templates that a value must not be mistaken for.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    /// Segments without parameters: `pets`. A value that equals one would be the concrete path.
    segments: BTreeSet<String>,
    /// What stands beside parameters within a segment: the `.json` of `{id}.json`. A value with one of them
    /// in it would be the longer template.
    parts: BTreeSet<String>,
}

impl Texts {
    pub(crate) fn of<'a>(templates: impl Iterator<Item = &'a str>) -> Self {
        let mut texts = Self::default();
        for segment in templates.flat_map(|template| template.split('/')) {
            if !segment.contains('{') {
                texts.segments.insert(segment.to_owned());
                continue;
            }
            let parts = segment.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after));
            texts.parts.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
        }
        texts
    }

    fn mistakable(&self, value: &str) -> bool {
        matches!(value, "" | "." | "..")
            || self.segments.contains(value)
            || self.parts.iter().any(|part| value.contains(part))
    }

    /// The first value that the definition suggests for a parameter and that means nothing else, percent-encoded
    /// for one segment; `None` when there is none.
    pub(crate) fn value(&self, parameter: &Value) -> Option<String> {
        let found = suggestions(parameter).into_iter().find(|value| !self.mistakable(value))?;
        Some(percent_encoded(&found))
    }
}

/// Examples first, then enumerations and defaults, then what the type says.
fn suggestions(parameter: &Value) -> Vec<String> {
    let schema = &parameter["schema"];
    let mut values: Vec<&Value> = vec![&parameter["example"]];
    values.extend(parameter["examples"].as_object().into_iter().flatten().map(|(_, one)| &one["value"]));
    values.push(&schema["example"]);
    values.extend(schema["examples"].as_array().into_iter().flatten());
    values.extend(schema["enum"].as_array().into_iter().flatten());
    values.push(&schema["default"]);
    let by_type = by_type(schema);
    values.extend(&by_type);
    values.into_iter().filter_map(text).collect()
}

fn by_type(schema: &Value) -> Vec<Value> {
    let text = |key: &str| schema[key].as_str().unwrap_or_default();
    let usual = match (text("type"), text("format")) {
        ("integer", _) => json!(7),
        ("number", _) => json!(1.5),
        ("boolean", _) => json!(true),
        (_, "uuid") => json!("123e4567-e89b-12d3-a456-426614174000"),
        (_, "date") => json!("2026-01-31"),
        (_, "date-time") => json!("2026-01-31T12:00:00Z"),
        (_, "email") => json!("alice@example.com"),
        _ => json!("Zoë & co/1"),
    };
    vec![usual, json!("7"), json!("value7")]
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Everything but the unreserved characters of RFC 3986 section 2.3 escaped, as client libraries do it.
fn percent_encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

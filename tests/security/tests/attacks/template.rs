//! `${...}` in the list.

use serde_json::{Map, Value};

/// What a `${...}` stands for.
pub(crate) trait Names {
    /// `None`: there is no such name.
    fn value(&self, name: &str) -> Option<Value>;
}

/// Replaces every `${...}` in a text.
pub(crate) fn text(text: &str, names: &impl Names) -> String {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap_or_else(|| panic!("no `}}` in `{text}`"));
        // What is repeated may be a brace itself.
        let (name, after) = match after.strip_prefix('}') {
            Some(after) if name.ends_with("* ") => (format!("{name}}}"), after),
            _ => (name.to_owned(), after),
        };
        done.push_str(before);
        match value(&name, names) {
            Value::String(value) => done.push_str(&value),
            value => done.push_str(&value.to_string()),
        }
        rest = after;
    }
    done + rest
}

/// The same within JSON. A text that is one `${...}` becomes its value, of whatever type.
pub(crate) fn json(written: &Value, names: &impl Names) -> Value {
    match written {
        Value::String(written) => {
            let whole = written.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            match whole.filter(|name| !name.contains(['{', '}'])) {
                Some(name) => value(name, names),
                None => text(written, names).into(),
            }
        }
        Value::Array(list) => list.iter().map(|item| json(item, names)).collect(),
        Value::Object(members) => Value::Object(object(members, names)),
        other => other.clone(),
    }
}

pub(crate) fn object(members: &Map<String, Value>, names: &impl Names) -> Map<String, Value> {
    members.iter().map(|(name, value)| (name.clone(), json(value, names))).collect()
}

fn value(name: &str, names: &impl Names) -> Value {
    if let Some((count, what)) = name.split_once(" * ")
        && let Ok(count) = count.parse::<usize>()
    {
        return what.repeat(count).into();
    }
    if let Some((count, what)) = name.split_once(" numbered ")
        && let Ok(count) = count.parse::<usize>()
    {
        let quoted = what.strip_suffix("\":").unwrap_or_else(|| panic!("`{what}` is not `\"name\":`"));
        return (0..count).map(|n| format!(",{quoted}{n}\":{n}")).collect::<String>().into();
    }
    names.value(name).unwrap_or_else(|| panic!("`${{{name}}}` stands for nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Now;

    impl Names for Now {
        fn value(&self, name: &str) -> Option<Value> {
            (name == "now").then(|| 7.into())
        }
    }

    #[test]
    fn texts_are_repeated_numbered_and_named() {
        assert_eq!(text("a${3 * {\"b\":}c", &Now), "a{\"b\":{\"b\":{\"b\":c");
        assert_eq!(text("${2 * [}${2 * ]}", &Now), "[[]]");
        assert_eq!(text("{\"x\":${now}${2 numbered \"c\":}}", &Now), r#"{"x":7,"c0":0,"c1":1}"#);
        assert_eq!(
            json(&serde_json::json!({"exp": ["${now}", "${now}s"]}), &Now)["exp"],
            serde_json::json!([7, "7s"])
        );
    }
}

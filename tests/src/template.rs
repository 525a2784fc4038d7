//! `${...}` in the strings of case files.

use serde_json::Value;

use crate::Error;

/// What a template can name.
pub(crate) trait Names {
    /// The value of `${name}`, `None` when there is nothing of that name.
    fn value(&self, name: &str) -> Result<Option<Value>, Error>;
}

/// Replaces every `${name}` in a text. A value that is no string is written as JSON.
///
/// `${100 * x}` is a hundred times `x`, so that hostile input stays readable.
pub(crate) fn text(text: &str, names: &impl Names) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = split_name(after)
            .ok_or_else(|| Error::Case(format!("`${{{after}` is a template without its end")))?;
        out.push_str(before);
        match resolve(name, names)? {
            Value::String(value) => out.push_str(&value),
            value => out.push_str(&value.to_string()),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Replaces templates in every string of a JSON value. A string that is nothing but a template becomes the value
/// itself: `"${key_set.idp}"` becomes an object.
pub(crate) fn json(value: &Value, names: &impl Names) -> Result<Value, Error> {
    Ok(match value {
        Value::String(string) => match whole(string) {
            Some(name) => resolve(name, names)?,
            None => Value::String(text(string, names)?),
        },
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| json(item, names)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), json(value, names)?)));
            Value::Object(members.collect::<Result<_, Error>>()?)
        }
        other => other.clone(),
    })
}

fn whole(string: &str) -> Option<&str> {
    let (name, after) = split_name(string.strip_prefix("${")?)?;
    after.is_empty().then_some(name)
}

/// Splits at the `}` that ends the template; `${9 * }}` repeats one.
fn split_name(after: &str) -> Option<(&str, &str)> {
    if let Some((name, rest)) = after.split_once(" * }}")
        && !name.contains('}')
    {
        let length = name.len().saturating_add(" * }".len());
        return Some((after.get(..length)?, rest));
    }
    after.split_once('}')
}

fn resolve(name: &str, names: &impl Names) -> Result<Value, Error> {
    if let Some((count, what)) = name.split_once(" * ")
        && let Ok(count) = count.trim().parse()
    {
        return Ok(Value::String(what.repeat(count)));
    }
    names.value(name)?.ok_or_else(|| Error::Case(format!("`${{{name}}}` names nothing in this file")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Fixed;

    impl Names for Fixed {
        fn value(&self, name: &str) -> Result<Option<Value>, Error> {
            Ok(match name {
                "a" => Some(json!("x")),
                "set" => Some(json!({ "keys": [] })),
                _ => None,
            })
        }
    }

    #[test]
    fn texts_and_values() {
        assert_eq!(text("<${a}${3 * ab}>$", &Fixed).unwrap(), "<xababab>$");
        assert_eq!(text("${2 * }}${2 * [}", &Fixed).unwrap(), "}}[[");
        assert_eq!(text("${set}", &Fixed).unwrap(), r#"{"keys":[]}"#);
        let value = json(&json!({ "inline": "${set}", "n": [1, "-${a}"] }), &Fixed).unwrap();
        assert_eq!(value, json!({ "inline": { "keys": [] }, "n": [1, "-x"] }));
    }

    #[test]
    fn unknown_names_are_mistakes() {
        assert!(text("${b}", &Fixed).unwrap_err().to_string().contains("`${b}`"));
        assert!(text("${b", &Fixed).unwrap_err().to_string().contains("without its end"));
    }
}

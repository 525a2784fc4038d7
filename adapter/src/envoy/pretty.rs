//! JSON that fits on a screen: what is short stays on one line.

use serde_json::Value;

const WIDTH: usize = 110;

/// Two spaces a level; a list or mapping that fits into a line is one.
pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    let line = in_one_line(value);
    let room = WIDTH.saturating_sub(depth.saturating_mul(2));
    let (open, close) = match value {
        Value::Object(map) if !map.is_empty() && line.len() > room => ('{', '}'),
        Value::Array(list) if !list.is_empty() && line.len() > room => ('[', ']'),
        _ => {
            out.push_str(&line);
            return;
        }
    };
    out.push(open);
    let inner = depth.saturating_add(1);
    let mut first = true;
    let mut item = |out: &mut String, key: Option<&str>, value: &Value| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        newline(out, inner);
        if let Some(key) = key {
            out.push_str(&Value::from(key).to_string());
            out.push_str(": ");
        }
        write(out, value, inner);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| item(out, Some(key), value)),
        Value::Array(list) => list.iter().for_each(|value| item(out, None, value)),
        _ => {}
    }
    newline(out, depth);
    out.push(close);
}

/// Compact JSON with the spaces that make it readable.
fn in_one_line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), in_one_line(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(in_one_line).collect::<Vec<_>>().join(", ")),
        scalar => scalar.to_string(),
    }
}

fn newline(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn breaks_only_what_is_long() {
        let operation = |id: &str| json!({"id": id, "path": format!("/{id}"), "methods": ["GET"]});
        let value = json!({"name": "pets", "operations": [operation("listPets"), operation("showPetByIdAndALongName")]});
        let text = super::json(&value);
        assert_eq!(text.lines().count(), 7, "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}

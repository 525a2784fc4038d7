//! JSON values as YAML that people can read: block style, keys in the order given, no anchors.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value as a YAML document that ends with a newline.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => write_list(&mut out, list, 0),
        other => {
            write_scalar(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn write_map(out: &mut String, map: &serde_json::Map<String, Value>, depth: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first key of a list item follows its dash.
        if index > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        write_text(out, key);
        out.push(':');
        write_value(out, value, depth);
    }
}

fn write_list(out: &mut String, list: &[Value], depth: usize) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 || !out.ends_with("- ") {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, depth.saturating_add(1)),
            Value::Array(inner) if !inner.is_empty() => write_list(out, inner, depth.saturating_add(1)),
            scalar => {
                write_scalar(out, scalar, depth);
                out.push('\n');
            }
        }
    }
}

fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, map, depth.saturating_add(1));
        }
        // Lists stand at the depth of their key, as Envoy's own examples write them.
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write_list(out, list, depth);
        }
        scalar => {
            out.push(' ');
            write_scalar(out, scalar, depth);
            out.push('\n');
        }
    }
}

fn write_scalar(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(text) if is_block(text) => write_block(out, text, depth.saturating_add(1)),
        Value::String(text) => write_text(out, text),
        // Numbers, booleans, null and empty collections are written as in JSON.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Text of several plain lines, which a literal block shows as it is.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| {
            c == '\n' || (!c.is_control() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
        })
}

fn write_block(out: &mut String, text: &str, depth: usize) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth);
            out.push_str(line);
        }
    }
}

fn write_text(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        // A JSON string is a YAML double-quoted scalar, except for the rare characters that YAML reserves.
        let quoted = Value::String(text.to_owned()).to_string();
        for c in quoted.chars() {
            match c {
                '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                other => out.push(other),
            }
        }
    }
}

/// Whether text needs no quotes: words, paths, host names, host:port and similar. Anything that YAML 1.1 or
/// 1.2 could read as another type is quoted.
fn is_plain(text: &str) -> bool {
    let word = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '_' | '-' | '.' | '/' | ':' | '$' | '(' | ')' | '+' | '=' | ';' | ' ')
    };
    let Some(first) = text.chars().next() else { return false };
    // The usual things that begin with a digit and are no number: durations and addresses.
    let seconds = text.strip_suffix('s').is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()));
    if (seconds && text.len() > 1) || text.parse::<std::net::Ipv4Addr>().is_ok() {
        return true;
    }
    (first.is_ascii_alphabetic() || matches!(first, '/' | '_' | '.' | '$'))
        && text.chars().all(word)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.starts_with(".") // `.inf`, `.nan`, `...`
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::source::{Source, parse};

    fn back(yaml: &str) -> Value {
        parse(&Source::new("out.yaml", yaml)).expect(yaml).root.to_json()
    }

    #[test]
    fn reads_like_a_hand_written_file() {
        let value = json!({
            "static_resources": {"listeners": [{"name": "http", "address": {"port_value": 8080}}], "clusters": []},
            "matrix": [[1, 2], [3]],
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": "{\n  \"a\": 1\n}",
            "script": "one\n\n  two\n",
            "off": "off", "port": "8080", "empty": "", "text": "a: b # c"
        });
        let yaml = to_yaml(&value);
        insta::assert_snapshot!(yaml, @r##"
        static_resources:
          listeners:
          - name: http
            address:
              port_value: 8080
          clusters: []
        matrix:
        - - 1
          - 2
        - - 3
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: |-
          {
            "a": 1
          }
        script: |
          one

            two
        "off": "off"
        port: "8080"
        empty: ""
        text: "a: b # c"
        "##);
        assert_eq!(back(&yaml), value);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,12}", "[a-z:# \\-\n.'\"]{0,12}", "[\\x00-\\x7f]{0,6}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in any_json()) {
            let yaml = to_yaml(&value);
            prop_assert_eq!(back(&yaml), value, "{}", yaml);
        }
    }
}

//! From a position in JSON text to the path of the value there.
//!
//! Following the path while parsing would compile every configuration type twice, and make a filter a sixth
//! larger. serde_json says where it stopped; one look at the text up to there gives the same path.

use std::fmt::Write;

/// What the position is in: an object's member once its name has been read, an array's element once it began.
enum Within {
    Object(Option<String>),
    Array(Option<usize>),
}

/// `issuers[0].leeway`: where serde_json stopped, by the line and the column of its error.
pub(super) fn path_at(json: &[u8], line: usize, column: usize) -> String {
    let lines = json.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let read = json.get(..before.saturating_add(column)).unwrap_or(json);
    render(&follow(read))
}

fn follow(mut json: &[u8]) -> Vec<Within> {
    let mut path = Vec::new();
    while let Some((byte, rest)) = json.split_first() {
        json = rest;
        match (byte, path.last_mut()) {
            (b' ' | b'\t' | b'\r' | b'\n' | b':', _) => continue,
            (b'}' | b']', _) => {
                path.pop();
                continue;
            }
            (b',', Some(Within::Object(name))) => *name = None,
            (b',', Some(Within::Array(Some(index)))) => *index = index.saturating_add(1),
            (_, Some(Within::Array(index @ None))) => *index = Some(0),
            _ => {}
        }
        match byte {
            b'{' => path.push(Within::Object(None)),
            b'[' => path.push(Within::Array(None)),
            b'"' => {
                let (text, rest) = string(json);
                json = rest;
                if let (Some(Within::Object(name @ None)), Some(text)) = (path.last_mut(), text) {
                    *name = Some(text);
                }
            }
            _ => {}
        }
    }
    path
}

/// The string that begins here, its opening quote read already, and what follows. `None`: it does not end.
fn string(json: &[u8]) -> (Option<String>, &[u8]) {
    let mut escaped = false;
    let end = json.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    match end.and_then(|end| json.split_at_checked(end)) {
        Some((text, rest)) => {
            (Some(String::from_utf8_lossy(text).into_owned()), rest.get(1..).unwrap_or_default())
        }
        None => (None, &[]),
    }
}

fn render(path: &[Within]) -> String {
    let mut text = String::new();
    for within in path {
        // Writing to a string cannot fail.
        let _ = match within {
            Within::Object(Some(name)) if text.is_empty() => write!(text, "{name}"),
            Within::Object(Some(name)) => write!(text, ".{name}"),
            Within::Array(Some(index)) => write!(text, "[{index}]"),
            Within::Object(None) | Within::Array(None) => Ok(()),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn at(json: &str) -> String {
        render(&follow(json.as_bytes()))
    }

    #[test]
    fn follows_members_and_elements() {
        assert_eq!(at(""), "");
        assert_eq!(at("{"), "");
        assert_eq!(at(r#"{"a"#), "");
        assert_eq!(at(r#"{"a""#), "a");
        assert_eq!(at(r#"{"a": ["#), "a");
        assert_eq!(at(r#"{"a": [1"#), "a[0]");
        assert_eq!(at(r#"{"a": [1, {"b": "x"}"#), "a[1]");
        assert_eq!(at(r#"{"a": [1, {"b": "x", "c\"d": [[], ["e"#), r#"a[1].c\"d[1][0]"#);
        assert_eq!(at(r#"{"a": {}, "b": "{[,\\", "c": tru"#), "c");
        assert_eq!(at(r#"{"a": [[1, 2], [3]"#), "a[1]");
        assert_eq!(at("}]]"), "");
    }

    #[test]
    fn lines_and_columns_count_from_one() {
        let json = b"{\"a\": [\n1,\n2]}";
        assert_eq!(path_at(json, 3, 1), "a[1]");
        assert_eq!(path_at(json, 3, 2), "a");
        assert_eq!(path_at(json, 9, 9), "");
    }
}

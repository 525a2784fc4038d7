#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[cfg(not(target_arch = "wasm32"))]
mod generated;

fn found(path: &str, text: &str) -> Option<u64> {
    let mut finder = Finder::new(path);
    finder.read(text.as_bytes());
    finder.found()
}

/// The same, with each byte by itself.
fn found_bytewise(path: &str, text: &str) -> Option<u64> {
    let mut finder = Finder::new(path);
    text.as_bytes().iter().for_each(|byte| finder.read(&[*byte]));
    finder.found()
}

#[test]
fn a_member_is_found_by_its_place_alone() {
    for (text, number) in [
        (r#"{"usage":{"total_tokens":42}}"#, Some(42)),
        (r#" { "id" : "x" , "usage" : { "a" : [ 1 , {} ] , "total_tokens" : 42 } } "#, Some(42)),
        (r#"{"usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#, Some(2)),
        (r#"{"total_tokens":42}"#, None),
        (r#"{"a":{"usage":{"total_tokens":42}}}"#, None),
        (r#"{"usage":{"a":{"total_tokens":42}}}"#, None),
        (r#"{"usage":[{"total_tokens":42}]}"#, None),
        (r#"{"usage":{"total_tokens":"42"}}"#, None),
        (r#"{"usage":{"total_tokens":null}}"#, None),
        (r#"{"usage":{"total_tokens":-42}}"#, None),
        (r#"{"usage":{"total_tokens_2":42,"total":7}}"#, None),
        (r#"{"text":"{\"usage\":{\"total_tokens\":42}}"}"#, None),
        (r#"{"text":"\\","usage":{"total_tokens":42}}"#, Some(42)),
        (r#"{"text":"usage","total_tokens":42}"#, None),
        (r#"{"usage":null,"a":{"total_tokens":42}}"#, None),
        (r#"{"usage":{"x":"total_tokens","y":42}}"#, None),
        // Documents that follow one another, and the elements of an array.
        ("{\"usage\":{\"total_tokens\":1}}\n{\"usage\":{\"total_tokens\":2}}\n{}\n", Some(2)),
        (r#"[{"usage":{"total_tokens":1}},{"usage":{"total_tokens":2}}]"#, Some(2)),
        (r#"{"usage":{"total_tokens":41.5}}"#, Some(42)),
        (r#"{"usage":{"total_tokens":99999999999999999999999}}"#, Some(crate::rate::MOST)),
        // What is no JSON.
        (r#"}}]]{"usage":{"total_tokens":42}"#, Some(42)),
        ("\"", None),
        ("usage: total_tokens: 42", None),
    ] {
        assert_eq!(found("usage.total_tokens", text), number, "{text}");
        assert_eq!(found_bytewise("usage.total_tokens", text), number, "{text}");
    }
    assert_eq!(found("cost", r#"{"cost":3}"#), Some(3));
}

#[test]
fn depth_costs_nothing() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "{\"a\":".repeat(1 << 20));
    let mut finder = Finder::new("a.b");
    finder.read(deep.as_bytes());
    assert_eq!((finder.found(), finder.digits.capacity()), (None, 0));
}

/// The data of each event.
fn events(text: &str) -> Vec<String> {
    let (mut events, mut all, mut data) = (Events::default(), Vec::new(), Vec::new());
    for byte in text.bytes() {
        match events.step(byte) {
            Piece::Data(byte) => data.push(byte),
            Piece::End => all.push(String::from_utf8(std::mem::take(&mut data)).unwrap()),
            Piece::Other => {}
        }
    }
    all
}

#[test]
fn events_end_with_an_empty_line() {
    for end in ["\n", "\r\n", "\r"] {
        let text = "event: a\ndata: {\"a\":\ndata:1}\n\n: comment\ndatabase: x\ndata\ndata: [DONE]\n\n";
        assert_eq!(events(&text.replace('\n', end)), [" {\"a\":1}", " [DONE]"], "{end:?}");
    }
}

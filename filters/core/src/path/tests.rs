#[cfg(not(target_arch = "wasm32"))]
use proptest::prelude::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn canonical(raw: &str) -> Result<String, Refusal> {
    CanonicalPath::parse(raw.as_bytes()).map(|path| path.as_str().to_owned())
}

#[test]
fn a_canonical_path_is_not_copied() {
    for raw in
        ["/", "/pets", "/pets/", "/v1.2/a-b_c~d/..x/x..", "/a!$&'()*+,=:@b", "/a%2Fb/caf%C3%A9", "/100%25"]
    {
        let path = CanonicalPath::parse(raw.as_bytes()).unwrap();
        assert!(matches!(path.path, Cow::Borrowed(_)), "{raw}");
        assert_eq!(path.as_str(), raw);
        assert_eq!(path.as_written(), raw.len());
    }
}

#[test]
fn equivalent_spellings_become_one() {
    for (raw, expected) in [
        ("/%70ets", "/pets"),
        ("/a%2dz%7E%5f%2E5", "/a-z~_.5"),
        ("/users/5%3Apromote", "/users/5:promote"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a|b/{c}/%7b", "/a%7Cb/%7Bc%7D/%7B"),
        ("/a%09b%1f%7f", "/a%09b%1F%7F"),
        ("/a%20b%3b%3F%23", "/a%20b%3B%3F%23"),
        ("/https%3a%2f%2fexample.com%2f", "/https:%2F%2Fexample.com%2F"),
    ] {
        assert_eq!(canonical(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn the_query_is_split_off_untouched() {
    let path = CanonicalPath::parse(b"/a?b=//../;%zz\\\xff?c").unwrap();
    assert_eq!(path.as_str(), "/a");
    assert_eq!(path.query(), Some(&b"b=//../;%zz\\\xff?c"[..]));
    assert_eq!(CanonicalPath::parse(b"/a?").unwrap().query(), Some(&b""[..]));
    assert_eq!(CanonicalPath::parse(b"/a").unwrap().query(), None);
}

#[test]
fn ambiguous_paths_are_refused() {
    use Refusal::*;
    for (raw, reason) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("pets", NotAbsolute),
        ("?a", NotAbsolute),
        ("http://example.com/pets", NotAbsolute),
        ("//", EmptySegment),
        ("//pets", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a//", EmptySegment),
        ("/.", DotSegment),
        ("/a/..", DotSegment),
        ("/./a", DotSegment),
        ("/a/../b", DotSegment),
        ("/a/%2e%2E/b", DotSegment),
        ("/a/.%2e", DotSegment),
        ("/a/..%2fb", DotSegment),
        ("/a%2F.%2Fb", DotSegment),
        ("/a%5c..%5Cb", DotSegment),
        ("/a%2f%2e%2e", DotSegment),
        ("/a\\b", Backslash),
        ("/a;v=1", Semicolon),
        ("/a/..;/b", Semicolon),
        ("/a\0", Control),
        ("/a\rb", Control),
        ("/a b", Control),
        ("/a\x7f", Control),
        ("/a%00", Control),
        ("/a%0d%0a", Control),
        ("/a?b\nc", Control),
        ("/caf\u{e9}", NotAscii),
        ("/a#b", Fragment),
        ("/a?b#c", Fragment),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%zz", BadEscape),
        ("/%+1", BadEscape),
        ("/%252e%252e/", DoubleEscape),
        ("/a%252Fb", DoubleEscape),
        ("/a%255cb", DoubleEscape),
        ("/a%25252e", DoubleEscape),
        ("/a%25%32%65", DoubleEscape),
        ("/a%2500", DoubleEscape),
        ("/a%253B", DoubleEscape),
        ("/a%250a", DoubleEscape),
    ] {
        assert_eq!(canonical(raw), Err(reason), "{raw:?}");
    }
}

#[test]
fn it_is_known_how_far_the_client_wrote_canonically() {
    for (raw, as_written) in [("/api/%70ets", 5), ("/%61pi", 1), ("/api/a%2fb", 8), ("/api/|", 5)] {
        assert_eq!(CanonicalPath::parse(raw.as_bytes()).unwrap().as_written(), as_written, "{raw}");
    }
}

#[test]
fn an_author_may_write_unicode() {
    assert_eq!(canonical_text("café").as_deref(), Ok("caf%C3%A9"));
    assert_eq!(canonical_text("caf%c3%a9").as_deref(), Ok("caf%C3%A9"));
    assert!(matches!(canonical_text("pets"), Ok(Cow::Borrowed("pets"))));
}

/// Decodes every escape, as a naive backend would.
#[cfg(not(target_arch = "wasm32"))]
fn decoded(path: &str) -> Vec<u8> {
    let mut bytes = path.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { hex_pair(&mut bytes).unwrap() } else { byte });
    }
    out
}

#[cfg(not(target_arch = "wasm32"))]
proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(raw: Vec<u8>) {
        let _ = CanonicalPath::parse(&raw);
    }

    #[test]
    fn canonical_form_is_stable(raw in "/([a-c/.%|:?]|%2[0-9a-fA-F]|%[5-7][0-9a-fA-F]|%C3%[89AB]9){0,12}") {
        if let Ok(path) = CanonicalPath::parse(raw.as_bytes()) {
            prop_assert_eq!(canonical(path.as_str()), Ok(path.as_str().to_owned()));
        }
    }

    #[test]
    fn a_decoding_backend_sees_no_other_structure(raw in "/([a-c/.]|%2[eEfF5]|%5[cC]|%25|2e|2F|5c){0,10}") {
        if let Ok(path) = CanonicalPath::parse(raw.as_bytes()) {
            prop_assert_eq!(decoded(raw.as_str()), decoded(path.as_str()));
            let once = String::from_utf8(decoded(path.as_str())).unwrap();
            prop_assert!(!once.split(['/', '\\']).any(is_dots), "{}", raw);
        }
    }

    #[test]
    fn all_spellings_of_a_segment_have_one_form(text in "[ -.0-:<-\\[\\]-~]{1,8}", escape: [bool; 8], lower: [bool; 8]) {
        let spell = |byte: u8, escaped: bool, lower: bool| match (escaped, lower) {
            (false, _) if is_plain(byte) => char::from(byte).to_string(),
            (_, true) => format!("%{byte:02x}"),
            (_, false) => format!("%{byte:02X}"),
        };
        let spelt: String = text.bytes().zip(escape).zip(lower).map(|((b, e), l)| spell(b, e, l)).collect();
        let upper: String = text.bytes().map(|b| spell(b, true, false)).collect();
        prop_assert_eq!(canonical(&format!("/x{spelt}")), canonical(&format!("/x{upper}")));
    }
}

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::edits::HeaderEdit;
use serde_json::{Value, json};

use super::*;

fn sources(json: Value) -> Sources {
    Sources::new(serde_json::from_value(json).unwrap()).unwrap()
}

fn request(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::default();
    headers.iter().for_each(|(name, value)| map.push(name, value));
    map
}

fn text<'a>(sources: &Sources, headers: &'a HeaderMap) -> Result<Option<&'a str>, Several> {
    sources.find(headers).map(|found| found.map(|carried| std::str::from_utf8(carried.text).unwrap()))
}

fn removed(sources: &Sources, headers: &HeaderMap) -> Vec<HeaderEdit> {
    let carried = sources.find(headers).unwrap().unwrap();
    let mut edits = Edits::default();
    let mut removal = Removal::new(&mut edits);
    removal.add(sources.place(carried).unwrap());
    removal.finish(headers);
    edits.headers
}

#[test]
fn a_token_follows_its_scheme() {
    assert_eq!(credential(b"Bearer abc", "Bearer"), Some(&b"abc"[..]));
    assert_eq!(credential(b"bEaReR  abc ", "Bearer"), Some(&b"abc"[..]));
    assert_eq!(
        credential(b"Bearer a, Bearer b", "Bearer"),
        Some(&b"a, Bearer b"[..]),
        "judged by the verifier"
    );
    for other in [&b"Bearer"[..], b"Bearer ", b"Basic abc", b"Bearerabc", b"", b"\xff"] {
        assert_eq!(credential(other, "Bearer"), None);
    }
    assert_eq!(credential(b" abc", ""), Some(&b"abc"[..]));
}

#[test]
fn a_header_carries_one_token() {
    let sources = sources(json!([{"header": {"name": "X-Token", "scheme": ""}}]));
    assert_eq!(text(&sources, &request(&[("x-token", "a.b.c")])), Ok(Some("a.b.c")));
    assert_eq!(text(&sources, &request(&[("authorization", "Bearer a.b.c")])), Ok(None));
    assert_eq!(text(&sources, &request(&[("x-token", "a"), ("x-token", "b")])), Err(Several));
    assert_eq!(removed(&sources, &request(&[("x-token", "a")])), [HeaderEdit::Remove("x-token".to_owned())]);
}

#[test]
fn a_parameter_is_found_however_its_name_is_spelt() {
    let sources = sources(json!([{"query": "access_token"}]));
    let at = |path: &str| request(&[(":path", path)]);
    assert_eq!(text(&sources, &at("/p?a=1&access_token=x.y.z&b")), Ok(Some("x.y.z")));
    assert_eq!(text(&sources, &at("/p?access%5Ftoken=x")), Ok(Some("x")));
    assert_eq!(text(&sources, &at("/p?access_token=x&access%5ftoken=y")), Err(Several));
    assert_eq!(text(&sources, &at("/p?access_token=")), Ok(None));
    assert_eq!(text(&sources, &at("/access_token=x")), Ok(None));
    assert_eq!(text(&sources, &at("/p?%zz=%&Access_token=x")), Ok(None));
    let path = |path: &str| HeaderEdit::Set(":path".to_owned(), path.as_bytes().to_vec());
    assert_eq!(removed(&sources, &at("/p?a=1&access_token=x&b")), [path("/p?a=1&b")]);
    assert_eq!(removed(&sources, &at("/p?access_token=x")), [path("/p")]);
}

#[test]
fn a_cookie_leaves_the_others_alone() {
    let sources = sources(json!([{"cookie": "session"}]));
    let with = |cookies: &[&str]| request(&cookies.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>());
    assert_eq!(text(&sources, &with(&["a=1; session=x.y.z;b=2"])), Ok(Some("x.y.z")));
    assert_eq!(text(&sources, &with(&["a=1", "session=x"])), Ok(Some("x")));
    assert_eq!(text(&sources, &with(&["session=x; session=y"])), Err(Several));
    assert_eq!(text(&sources, &with(&["Session=x", "xsession=y"])), Ok(None));
    let kept = HeaderEdit::Set("cookie".to_owned(), b"a=1; b=2".to_vec());
    assert_eq!(removed(&sources, &with(&["a=1; session=x.y.z;b=2"])), [kept]);
    assert_eq!(removed(&sources, &with(&["session=x"])), [HeaderEdit::Remove("cookie".to_owned())]);
    let mut odd = with(&["consent; session=x; a=b"]);
    odd.push("cookie", b"name=\xff; session");
    assert_eq!(text(&sources, &odd), Ok(Some("x")));
    let kept = HeaderEdit::Set("cookie".to_owned(), b"consent; a=b; name=\xff; session".to_vec());
    assert_eq!(removed(&sources, &odd), [kept]);
}

#[test]
fn what_a_backend_may_take_for_a_token_is_one() {
    let sources = sources(json!([{"header": {"name": "authorization"}}]));
    let sent = |value: &[u8]| {
        let mut headers = HeaderMap::default();
        headers.push("authorization", value);
        sources.find(&headers).map(|carried| carried.is_some())
    };
    for spaced in [&b"Bearer\tx"[..], b"bearer\x0bx", b"Bearer\xa0x", b"Bearer,x", b"Bearer  x"] {
        assert_eq!(sent(spaced), Ok(true), "{spaced:?}");
    }
    for joined in [&b"Basic x,Bearer y"[..], b"Basic x, bearer\ty", b",Bearer y"] {
        assert_eq!(sent(joined), Err(Several), "{joined:?}");
    }
    for other in [&b"Digest a=\"x\", realm=\"Bearer\""[..], b"Bearer-2 x", b"Basic x,"] {
        assert_eq!(sent(other), Ok(false), "{other:?}");
    }
}

#[test]
fn tokens_in_two_places_are_refused() {
    let sources = sources(json!([{"header": {"name": "authorization"}}, {"query": "t"}, {"cookie": "c"}]));
    let both = request(&[(":path", "/?t=x"), ("authorization", "Bearer x")]);
    assert_eq!(text(&sources, &both), Err(Several));
    let basic = request(&[(":path", "/?t=x"), ("authorization", "Basic x")]);
    assert_eq!(text(&sources, &basic), Ok(Some("x")));
}

#[test]
fn places_without_sense_are_refused() {
    let problem = |json: Value| Sources::new(serde_json::from_value(json).unwrap()).unwrap_err().to_string();
    assert!(problem(json!([])).starts_with("no place"));
    for bad in [
        json!({"header": {"name": ":path"}}),
        json!({"header": {"name": "cookie"}}),
        json!({"header": {"name": "a", "scheme": "Bearer "}}),
        json!({"query": "a&b"}),
        json!({"query": ""}),
        json!({"cookie": "a;b"}),
    ] {
        assert!(problem(json!([bad])).starts_with("[0]: `"));
    }
    let twice = json!([{"header": {"name": "A"}}, {"header": {"name": "a"}}]);
    assert_eq!(problem(twice), "[1]: this place is named twice");
}

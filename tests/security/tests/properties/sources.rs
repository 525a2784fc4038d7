//! A token is found in one place or in none, and taken out of the request it is gone.

use enforcer_auth::{
    config::TokenSource,
    source::{Removal, Sources},
};
use enforcer_core::{edits::Edits, headers::HeaderMap};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

fn sources() -> Sources {
    let sources: Vec<TokenSource> = serde_json::from_value(json!([
        {"header": {"name": "authorization"}},
        {"header": {"name": "x-token", "scheme": ""}},
        {"query": "access_token"},
        {"cookie": "session"},
    ]))
    .unwrap();
    Sources::new(sources).unwrap()
}

fn headers(path: &[u8], others: &[(&str, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::default();
    headers.push(":path", path);
    others.iter().for_each(|(name, value)| headers.push(name, value));
    headers
}

/// Bytes, with what matters often among them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "Bearer ",
            "bearer  ",
            "access_token=",
            "access%5ftoken=",
            "session=",
            "Session=",
            "a.b.c",
            "=",
            "&",
            ";",
            "; ",
            "?",
            "%",
            "%6",
            "%00",
            ",",
            " ",
            "\t",
            "\"",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn requests() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec!["authorization", "x-token", "cookie", "x-other"]);
    (bytes(), vec((name, bytes()), 0..4)).prop_map(|(path, others)| headers(&path, &others))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_token_that_was_taken_out_is_gone(mut headers in requests()) {
        let sources = sources();
        let edits = match sources.find(&headers) {
            Ok(Some(carried)) => {
                prop_assert!(!carried.text.is_empty());
                let mut edits = Edits::default();
                let mut removal = Removal::new(&mut edits);
                sources.place(carried).into_iter().for_each(|place| removal.add(place));
                removal.finish(&headers);
                edits
            }
            Ok(None) | Err(_) => return Ok(()),
        };
        edits.headers.iter().for_each(|edit| headers.apply(edit));
        prop_assert!(matches!(sources.find(&headers), Ok(None)), "{:?}", headers);
    }

    #[test]
    fn two_tokens_are_never_one(first in 0_usize..4, second in 0_usize..4, before in "[a-z]{0,3}") {
        let places = |number: usize, token: &str| -> (String, Option<(&'static str, Vec<u8>)>) {
            match number {
                0 => (String::new(), Some(("authorization", format!("Bearer {token}").into_bytes()))),
                1 => (String::new(), Some(("x-token", token.as_bytes().to_vec()))),
                2 => (format!("access_token={token}&"), None),
                _ => (String::new(), Some(("cookie", format!("session={token}").into_bytes()))),
            }
        };
        let (one, two) = (places(first, "a.b.c"), places(second, "d.e.f"));
        let path = format!("/?{before}&{}{}", one.0, two.0);
        let others: Vec<_> = [one.1, two.1].into_iter().flatten().collect();
        prop_assert!(sources().find(&headers(path.as_bytes(), &others)).is_err());
    }
}

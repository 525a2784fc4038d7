//! Against a parser that reads the whole document.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

/// Few names, so that they meet; among them are those that are looked for.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["usage", "tokens", "usag", "usages", "", "a\"b", "\\"]).prop_map(str::to_owned)
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..1 << 30).prop_map(Value::from),
        name().prop_map(Value::from),
    ];
    let nested = leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    });
    nested.prop_filter("the elements of an array are documents", |value| !value.is_array())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_same_number_is_found_as_in_the_whole(
        value in document(),
        pretty: bool,
        cuts in prop::collection::vec(0_usize..400, 0..6),
    ) {
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let text = write(&value).unwrap();
        let expected = value.get("usage").and_then(|usage| usage.get("tokens")).and_then(Value::as_u64);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut finder = Finder::new("usage.tokens");
        cuts.windows(2).for_each(|cut| finder.read(&text.as_bytes()[cut[0]..cut[1]]));
        prop_assert_eq!(finder.found(), expected);
    }

    /// Whatever has come, the next document is read.
    #[test]
    fn what_is_broken_is_over_with_its_event(
        bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,\\1-. \nusage".to_vec()), 0..300),
    ) {
        let mut finder = Finder::new("usage.a");
        finder.read(&bytes);
        finder.restart();
        finder.read(br#"{"usage":{"a":7}}"#);
        prop_assert_eq!(finder.found(), Some(7));
    }
}

//! Any JSON.

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Number, Value};

/// Numbers as tokens have them, and as attackers do.
pub(crate) fn number() -> impl Strategy<Value = Value> {
    let float = any::<f64>().prop_filter_map("JSON has finite numbers only", Number::from_f64);
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        float.prop_map(Value::Number),
        (1_767_225_000_i64..1_767_226_200).prop_map(Value::from),
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::Array), object(inner).prop_map(Value::Object),]
    })
}

pub(crate) fn object(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![any::<String>(), "[a-z]{1,3}"];
    vec((name, values), 0..5).prop_map(Map::from_iter)
}

/// An object with some of the members that matter, of the right type or not.
pub(crate) fn members(names: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let known = proptest::sample::subsequence(names, 0..=names.len());
    let known = known.prop_flat_map(|names| {
        let values = vec(prop_oneof![value(), number()], names.len());
        values.prop_map(move |values| {
            names.iter().map(|name| (*name).to_owned()).zip(values).collect::<Map<_, _>>()
        })
    });
    (known, object(value())).prop_map(|(known, other)| other.into_iter().chain(known).collect())
}

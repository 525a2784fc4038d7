//! JSON as tokens may have it: objects whose members have different names.
//!
//! RFC 7515 section 4 and RFC 7519 section 4 let a parser refuse repeated names or take the last. Backends that
//! take the first would read another token than the one that was checked, so they are refused, at any depth.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads a JSON object and nothing else. `None`: it is something else, or has a name twice.
pub fn object(json: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(json).ok()? {
        Unique(Value::Object(members)) => Some(members),
        Unique(_) => None,
    }
}

/// A value in which no object has a name twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let Unique(value) = object.next_value()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn reads_what_serde_json_reads() {
        let json = r#" {"a":[1,-2,3.5,1e3,true,null,"x\u00e9"],"b":{"c":{}},"n":18446744073709551615} "#;
        assert_eq!(
            Value::Object(object(json.as_bytes()).unwrap()),
            serde_json::from_str::<Value>(json).unwrap()
        );
    }

    #[test]
    fn a_name_comes_once_however_it_is_spelt() {
        assert!(object(br#"{"exp":1,"exp":1}"#).is_none());
        assert!(object(br#"{"exp":1,"\u0065xp":2}"#).is_none());
        assert!(object(br#"{"a":[{"b":{"c":1,"c":1}}]}"#).is_none());
        assert!(object(br#"{"a":{"b":1},"b":{"b":1}}"#).is_some());
    }

    #[test]
    fn only_a_whole_object_is_an_object() {
        for other in
            [&b"[]"[..], b"\"\"", b"1", b"null", b"", b"{", b"{}x", b"{}{}", b"{\"a\":1,}", b"{\"a\":1e400}"]
        {
            assert!(object(other).is_none());
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        assert!(object(format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200)).as_bytes()).is_none());
    }
}

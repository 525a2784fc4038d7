//! Values of Envoy attributes and how `proxy_get_property` encodes them.

use super::pairs;

/// An attribute's value, typed as Envoy's CEL types it: the encoding depends on it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text or bytes: raw.
    Bytes(Vec<u8>),
    /// One byte.
    Bool(bool),
    /// 8 bytes, little-endian. Also timestamps and durations, in nanoseconds.
    Int(i64),
    /// 8 bytes, little-endian.
    Uint(u64),
    /// 8 bytes, little-endian. All numbers in metadata are of this type.
    Double(f64),
    /// Serialised pairs; what type a member had is lost.
    Map(Vec<(String, Value)>),
    /// Serialised pairs with empty values.
    List(Vec<Value>),
    /// JSON `null`: cannot be serialised.
    Null,
}

impl Value {
    /// A `google.protobuf.Struct` value, as metadata holds it.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => Self::Double(n.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(s) => s.as_str().into(),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(members) => {
                Self::Map(members.iter().map(|(k, v)| (k.clone(), Self::from_json(v))).collect())
            }
        }
    }

    /// One step down a property path.
    pub(crate) fn member(&self, part: &[u8]) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(name, _)| name.as_bytes() == part).map(|(_, v)| v),
            Self::List(items) => items.get(std::str::from_utf8(part).ok()?.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The bytes that `proxy_get_property` returns; `None` is a serialization failure.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Bool(b) => vec![u8::from(*b)],
            Self::Int(n) => n.to_le_bytes().to_vec(),
            Self::Uint(n) => n.to_le_bytes().to_vec(),
            Self::Double(n) => n.to_le_bytes().to_vec(),
            Self::Map(members) => {
                let encoded: Option<Vec<_>> =
                    members.iter().map(|(k, v)| Some((k.as_bytes(), v.encode()?))).collect();
                pairs::encode(encoded?.iter().map(|(k, v)| (k, v)))
            }
            Self::List(items) => {
                let encoded: Option<Vec<_>> = items.iter().map(Self::encode).collect();
                pairs::encode(encoded?.iter().map(|item| (item, b"")))
            }
            Self::Null => return None,
        })
    }

    /// Puts a value at a path, making maps on the way; what is in the way is replaced.
    pub(crate) fn insert(&mut self, path: &[&str], value: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self, Self::Map(_)) {
            *self = Self::Map(Vec::new());
        }
        if let Self::Map(members) = self {
            if !members.iter().any(|(name, _)| name == first) {
                members.push(((*first).to_owned(), Self::Null));
            }
            if let Some((_, member)) = members.iter_mut().find(|(name, _)| name == first) {
                member.insert(rest, value);
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Uint(n)
    }
}

impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Self::Double(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_metadata_are_doubles_and_types_inside_a_struct_are_lost() {
        let value = Value::from_json(&serde_json::json!({"limit": 5, "name": "gold", "list": [true, "x"]}));
        assert_eq!(value.member(b"limit").unwrap().encode().unwrap(), 5f64.to_le_bytes());
        assert_eq!(value.member(b"list").unwrap().member(b"1").unwrap().encode().unwrap(), b"x");
        let pairs = pairs::decode(&value.encode().unwrap());
        assert!(pairs.contains(&(b"name".to_vec(), b"gold".to_vec())));
    }

    #[test]
    fn null_cannot_be_serialised_anywhere() {
        assert_eq!(Value::from_json(&serde_json::json!({"a": null})).encode(), None);
    }

    #[test]
    fn paths_are_made_as_needed() {
        let mut root = Value::Map(Vec::new());
        root.insert(&["a", "b"], 1i64.into());
        root.insert(&["a", "c"], true.into());
        root.insert(&["a", "b"], 2i64.into());
        assert_eq!(root.member(b"a").unwrap().member(b"b"), Some(&Value::Int(2)));
        assert_eq!(root.member(b"a").unwrap().member(b"c"), Some(&Value::Bool(true)));
    }
}

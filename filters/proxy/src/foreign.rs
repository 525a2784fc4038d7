//! Envoy's foreign functions: protobuf messages of a few fields, written by hand.

use enforcer_core::{
    headers::HeaderMap,
    host::{Attribute, Attributes, Hash},
    protobuf::{Message, Value, fields},
};

use crate::hostcalls::{self, Status};

/// Envoy's `verify_signature` (`VerifySignatureArguments` and `VerifySignatureResult`).
/// `None` where the host has no such function.
pub fn verify_signature(hash: Hash, public_key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
    let capacity =
        [public_key, signature, text].iter().map(|part| part.len()).fold(64, usize::saturating_add);
    let arguments = Message::with_capacity(capacity).bytes(1, hash.name().as_bytes()).bytes(2, public_key);
    let arguments = arguments.bytes(3, signature).bytes(4, text).into_bytes();
    match hostcalls::call_foreign_function("verify_signature", &arguments) {
        // A good signature is `result: true` and nothing else; a bad one comes with an error text.
        Ok(result) => Some(result == [0x08, 0x01]),
        Err(Status::BAD_ARGUMENT) => Some(false),
        Err(_) => None,
    }
}

/// Envoy's `sign` (`SignArguments` and `SignResult`). `None` where the host has no such function, or refuses the key.
pub fn sign(hash: Hash, private_key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let capacity = private_key.len().saturating_add(text.len()).saturating_add(64);
    let arguments = Message::with_capacity(capacity).bytes(1, hash.name().as_bytes()).bytes(2, private_key);
    let arguments = arguments.bytes(3, text).into_bytes();
    let result = hostcalls::call_foreign_function("sign", &arguments).ok()?;
    let signature = fields(&result).find_map(|field| match field {
        Ok((2, Value::Bytes(signature))) => Some(signature.to_vec()),
        _ => None,
    });
    signature.filter(|signature| !signature.is_empty())
}

/// Whether the host has `sign`: it then says what is wrong with a call that says nothing.
pub fn can_sign() -> bool {
    let called = hostcalls::call_foreign_function("sign", &[]);
    matches!(called, Ok(_) | Err(Status::BAD_ARGUMENT))
}

/// An expression of Envoy's language (CEL), compiled, that lists attributes: one call for all of them.
#[derive(Debug)]
pub struct Expression {
    /// What Envoy calls it: four bytes.
    token: Vec<u8>,
}

impl Expression {
    /// Compiles the list of these attributes, the empty text standing for one that is not there; unless it usually is:
    /// then the whole list fails. `None` where the host has no such function.
    pub fn listing(list: Attributes) -> Option<Self> {
        let text: Vec<String> = list.iter().map(term).collect();
        let text = format!("[{}]", text.join(","));
        hostcalls::call_foreign_function("expr_create", text.as_bytes()).ok().map(|token| Self { token })
    }

    /// The values for the request in hand; `None` if Envoy cannot tell. A list comes in the pairs encoding, as the
    /// names of pairs without values: here as values without names.
    pub fn values(&self) -> Option<HeaderMap> {
        let list = hostcalls::call_foreign_function("expr_evaluate", &self.token).ok()?;
        Some(HeaderMap::from_pairs(list).swapped())
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // The VM outlives its configurations; what Envoy does not find it need not forget.
        let _ = hostcalls::call_foreign_function("expr_delete", &self.token);
    }
}

/// `a.b`, or `has(a.b)?a.b:""`.
fn term(attribute: &Attribute) -> String {
    let path = attribute.path.join(".");
    if attribute.usual { path } else { format!("has({path})?{path}:\"\"") }
}

/// Has filter state `wasm.<name>` live as long as the request does, and not only as long as this run of the filters:
/// Envoy runs them again after an internal redirect. Where the host has no such function, nothing is different.
pub fn keep_for_request(name: &str) {
    // `DeclarePropertyArguments`; the life span is `DownstreamRequest`.
    let arguments = Message::default().bytes(1, name.as_bytes()).uint(5, 1).into_bytes();
    let _ = hostcalls::call_foreign_function("declare_property", &arguments);
}

/// A serialized `envoy.config.core.v3.GrpcService` that names a cluster.
pub fn grpc_service(cluster: &str) -> Option<String> {
    let envoy_grpc = Message::default().bytes(1, cluster.as_bytes());
    let service = Message::default().bytes(1, envoy_grpc.as_ref());
    // The SDK takes text; lengths below 128 are ASCII.
    String::from_utf8(service.into_bytes()).ok()
}

/// Whether `verify_signature` exists and tells a good signature from a bad one.
pub fn can_verify() -> bool {
    let verify = |text: &[u8]| verify_signature(Hash::Sha256, KEY, SIGNATURE, text);
    verify(TEXT) == Some(true) && verify(b"another text") == Some(false)
}

const TEXT: &[u8] = b"enforcer";

/// A P-256 public key (SPKI, DER) whose private half was thrown away.
#[rustfmt::skip]
const KEY: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0x75, 0x6c, 0xf6, 0x2a, 0x44,
    0x00, 0x9e, 0xe2, 0xc3, 0xa2, 0x1c, 0x30, 0xc4, 0xb2, 0xd9, 0xdc, 0x13, 0x13, 0xa3, 0xf6, 0x79,
    0xda, 0xc9, 0xab, 0x49, 0x2a, 0x34, 0xd0, 0xdb, 0x3b, 0xca, 0x51, 0x4f, 0x9a, 0xf9, 0xa3, 0x9c,
    0xdf, 0xfd, 0x5e, 0xb9, 0x67, 0x7c, 0xe9, 0xf5, 0x6f, 0x28, 0x76, 0xf4, 0x8b, 0x5b, 0x01, 0x95,
    0x68, 0x89, 0xc6, 0xb7, 0x80, 0xda, 0xfa, 0x47, 0xca, 0xb4, 0x1e,
];

/// Its ECDSA signature (DER) of [`TEXT`] under SHA-256.
#[rustfmt::skip]
const SIGNATURE: &[u8] = &[
    0x30, 0x46, 0x02, 0x21, 0x00, 0x9d, 0x34, 0xa7, 0xbc, 0xdd, 0x91, 0xae, 0x76, 0xcf, 0x85, 0xe9,
    0xeb, 0xb2, 0x1c, 0x6a, 0x7c, 0x97, 0xad, 0xbb, 0xa2, 0xb0, 0x6a, 0x41, 0xd8, 0x99, 0xcb, 0xdb,
    0x76, 0xcd, 0x3f, 0x89, 0xe2, 0x02, 0x21, 0x00, 0xdc, 0x2b, 0x74, 0x30, 0x48, 0x31, 0x54, 0x10,
    0x75, 0x1d, 0x71, 0x60, 0xfa, 0xe6, 0x1b, 0x2b, 0x22, 0xae, 0x53, 0x17, 0x13, 0xc2, 0x59, 0xa8,
    0x50, 0xb8, 0x95, 0xc9, 0x5a, 0xa5, 0x79, 0xb7,
];

//! The rows of the table: what each Envoy is configured with, and what it is asked.

use std::path::Path;

use enforcer_testbed::Alg;
use serde_json::{Value, json};

use crate::{
    Result,
    filters::{JwtAuthn, PARAMETER, bundle, limits, local_ratelimit, noop, rbac},
    gateway::{Adapter, Size, auth_configuration, with_auth, with_filters},
    load::Requests,
    tokens::Issuer,
};

/// A row's place in the table, for those that others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    Plain,
    Noop,
    NativeCached,
    Native,
    NativeRbac,
    Open,
    Cached,
    New,
    Es256,
    Ps256,
    EdDsa,
    PlainDistinct,
    NativeDistinct,
    Distinct,
    NativeLimit,
    Limit,
    FiveLimits,
    AuthBundle,
    AuthLimitBundle,
    PlainManyApis,
    ManyOperations,
    ManyApis,
    NativeEvents,
    Events,
    Metrics,
    NativeAll,
    Bundle,
    Separate,
    ExtAuthz,
    ExtProc,
    Opaque,
    ApiKey,
    Basic,
    PlainTls,
    Certificate,
    Revoked,
    AuthNoop,
    AuthLimit,
    LeasedLimit,
}

/// One Envoy, and the requests that it gets.
#[derive(Debug)]
pub struct Row {
    pub id: Id,
    pub label: &'static str,
    pub bootstrap: Value,
    pub requests: Requests,
    /// Whether it must refuse a request without a credential: one that does not measures nothing.
    pub protects: bool,
    /// A process beside Envoy that works for it: its time counts too.
    pub beside: Option<u32>,
}

impl Row {
    /// Whether the row's id contains this text, in upper or lower case.
    pub fn is_named(&self, text: &str) -> bool {
        format!("{:?}", self.id).to_ascii_lowercase().contains(&text.to_ascii_lowercase())
    }
}

/// One small API.
pub const TEN: Size = Size { apis: 1, operations: 10 };
const MANY_OPERATIONS: Size = Size { apis: 1, operations: 10_000 };
const MANY_APIS: Size = Size { apis: 1_000, operations: 10 };

/// Too small for two of the distinct tokens to be the same one soon.
const SMALL_CACHE: &str = "16KiB";

/// The modules that rows have beside the adapter's.
#[derive(Clone, Copy, Debug)]
pub struct Modules<'a> {
    pub noop: &'a Path,
    pub ratelimit: &'a Path,
    pub bundle: &'a Path,
}

/// Everything that is measured; `distinct` tokens take about 2 ms each to make.
pub fn all(adapter: &Adapter, issuer: &Issuer, modules: Modules<'_>, distinct: u32) -> Result<Vec<Row>> {
    let keys = issuer.jwks(&[Alg::RS256]);
    let ten = adapter.build(TEN, &keys)?;
    let many_operations = adapter.build(MANY_OPERATIONS, &keys)?;
    let many_apis = adapter.build(MANY_APIS, &keys)?;
    let rs256 = issuer.token(Alg::RS256)?;
    let to = |size: Size| Requests::bearer(size.paths(), &rs256);
    let tokens = issuer.tokens(distinct)?;
    let by_query = Requests {
        paths: tokens.iter().map(|token| format!("/service0/v1/resource0?{PARAMETER}={token}")).collect(),
        credential: None,
        certificate: None,
    };
    let row = |id, label, bootstrap, requests, protects| Row {
        id,
        label,
        bootstrap,
        requests,
        protects,
        beside: None,
    };
    let without = |bootstrap: &Value| with_filters(bootstrap, []);
    let native = |filters: Vec<Value>| with_filters(&ten, filters);
    let jwt_authn = |options: JwtAuthn| options.filter(&keys);
    let cached = JwtAuthn { cache: true, ..JwtAuthn::default() };
    let anew = |algorithm| anew(&ten, issuer, algorithm);
    let open = json!({"apis": [{"name": "Service 0", "base_path": "/service0/v1", "security": []}]});
    let distinct = json!({"token_sources": [{"query": PARAMETER}], "token_cache": SMALL_CACHE});
    let mut rows = vec![
        row(Id::Plain, "Envoy alone", without(&ten)?, to(TEN), false),
        row(Id::Noop, "a Wasm filter that does nothing", native(vec![noop(modules.noop)])?, to(TEN), false),
        row(Id::NativeCached, "jwt_authn with its cache", native(vec![jwt_authn(cached)])?, to(TEN), true),
        row(
            Id::NativeRbac,
            "jwt_authn with its cache, then rbac on the scope",
            native(vec![jwt_authn(JwtAuthn { metadata: true, ..cached }), rbac()])?,
            to(TEN),
            true,
        ),
        row(
            Id::Native,
            "jwt_authn without a cache",
            native(vec![jwt_authn(JwtAuthn::default())])?,
            to(TEN),
            true,
        ),
        row(Id::Open, "auth, operation without a token", with_auth(&ten, &open)?, to(TEN), false),
        row(Id::Cached, "auth, known token", ten.clone(), to(TEN), true),
    ];
    for (id, label, algorithm) in [
        (Id::New, "auth without a cache, RS256", Alg::RS256),
        (Id::Es256, "auth without a cache, ES256", Alg::ES256),
        (Id::Ps256, "auth without a cache, PS256 (pure Rust)", Alg::PS256),
        (Id::EdDsa, "auth without a cache, EdDSA (pure Rust)", Alg::EdDSA),
    ] {
        let (bootstrap, token) = anew(algorithm)?;
        let requests = Requests::bearer(TEN.paths(), &token);
        rows.push(row(id, label, bootstrap, requests, true));
    }
    let auth = auth_configuration(&ten)?;
    let bundled = |limited| native(vec![bundle(modules.bundle, &auth, limited)]);
    let limited = |policies| native(vec![limits(modules.ratelimit, policies)]);
    rows.extend([
        row(Id::NativeLimit, "local_ratelimit, by address", native(vec![local_ratelimit()])?, to(TEN), false),
        row(Id::Limit, "ratelimit, by address", limited(1)?, to(TEN), false),
        row(Id::FiveLimits, "ratelimit, five limits by address", limited(5)?, to(TEN), false),
        row(Id::AuthBundle, "bundle: auth, known token", bundled(false)?, to(TEN), true),
        row(
            Id::AuthLimitBundle,
            "bundle: auth, known token, and a limit by user",
            bundled(true)?,
            to(TEN),
            true,
        ),
        row(Id::PlainDistinct, "Envoy alone, tokens in the query", without(&ten)?, by_query.clone(), false),
        row(
            Id::NativeDistinct,
            "jwt_authn without a cache, another RS256 token each time",
            native(vec![jwt_authn(JwtAuthn { query: true, ..JwtAuthn::default() })])?,
            by_query.clone(),
            true,
        ),
        row(Id::Distinct, "auth, another RS256 token each time", with_auth(&ten, &distinct)?, by_query, true),
        row(
            Id::ManyOperations,
            "auth, known token, 10,000 operations of one API",
            many_operations,
            to(MANY_OPERATIONS),
            true,
        ),
        row(Id::PlainManyApis, "Envoy alone, 1,000 APIs", without(&many_apis)?, to(MANY_APIS), false),
        row(Id::ManyApis, "auth, known token, 1,000 APIs of 10 operations", many_apis, to(MANY_APIS), true),
    ]);
    Ok(rows)
}

/// With an issuer of one algorithm, no cache, and no limit to what may be verified in the VM.
fn anew(bootstrap: &Value, issuer: &Issuer, algorithm: Alg) -> Result<(Value, String)> {
    let set = json!({
        "issuers": [{"issuer": crate::gateway::ISSUER, "jwks": {"inline": issuer.jwks(&[algorithm])}}],
        "token_cache": "0B",
        "verification_budget": 1_000_000,
    });
    Ok((with_auth(bootstrap, &set)?, issuer.token(algorithm)?))
}

//! Rows of whole gateways: events, metrics, and all filters beside what Envoy and others have for the same.

use std::{net::SocketAddr, path::Path};

use enforcer_testbed::Alg;
use serde_json::{Value, json};

use crate::{
    Result,
    filters::{JwtAuthn, ext_authz, local_ratelimit, otlp_access_log, plugin, rbac},
    gateway::{Adapter, auth_configuration, cluster, with_access_log, with_clusters, with_filters},
    load::Requests,
    rows::{Id, Row, TEN},
    tokens::Issuer,
};

/// Name of the cluster that takes events.
pub const COLLECTOR: &str = "collector";
/// Name of the cluster that bench/authorizer is behind.
pub const AUTHORIZER: &str = "authorizer";

/// What the rows need beside the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Folder with the modules.
    pub modules: &'a Path,
    /// Answers the batches of events.
    pub collector: SocketAddr,
    pub authorizer: SocketAddr,
    /// Its process: what it takes is part of its row.
    pub authorizer_id: u32,
}

/// All of them.
pub fn rows(adapter: &Adapter, issuer: &Issuer, around: Around<'_>) -> Result<Vec<Row>> {
    let keys = issuer.jwks(&[Alg::RS256]);
    let clusters =
        [cluster(COLLECTOR, around.collector, false), cluster(AUTHORIZER, around.authorizer, true)];
    let ten = with_clusters(&adapter.build(TEN, &keys)?, clusters)?;
    let requests = Requests::bearer(TEN.paths(), &issuer.token(Alg::RS256)?);
    let module = |name: &str| around.modules.join(format!("{name}.wasm"));
    let row = |id, label, bootstrap, protects| {
        let requests = requests.clone();
        Row { id, label, bootstrap, requests, protects, beside: None }
    };
    let ours = |members: &[(&'static str, Value)]| {
        let filters =
            members.iter().map(|(name, configuration)| plugin(name, &module(name), name, configuration));
        with_filters(&ten, filters)
    };
    let apis = json!([{"name": "Service 0", "version": "v1", "base_path": "/service0/v1"}]);
    let otlp = json!([{"otlp": {"cluster": COLLECTOR}}]);
    let limits = json!({
        "identified": true,
        "tiers": {"Large": {"quota": {"requests": 1_000_000_000, "per": "1h"}}},
        "policies": [{"name": "application", "level": "application", "key": ["application"], "tier": "Large"}],
    });
    let auth = auth_configuration(&ten)?;
    let analytics = json!({"sinks": otlp, "metrics": {}});
    let bundle = json!({"auth": auth, "ratelimit": limits, "analytics": analytics});
    let bundle = with_filters(&ten, [plugin("enforcer", &module("bundle"), "enforcer", &bundle)])?;
    let separate = ours(&[("auth", auth), ("ratelimit", limits), ("analytics", analytics)])?;
    let jwt_authn = JwtAuthn { cache: true, metadata: true, ..JwtAuthn::default() }.filter(&keys);
    let native = with_filters(&ten, [jwt_authn, rbac(), local_ratelimit()])?;
    let (events, metrics) = (json!({"apis": apis, "sinks": otlp}), json!({"apis": apis, "metrics": {}}));
    let logger = |bootstrap: &Value| with_access_log(bootstrap, &otlp_access_log(COLLECTOR));
    let authorized = Row {
        beside: Some(around.authorizer_id),
        ..row(
            Id::ExtAuthz,
            "ext_authz by gRPC, its server included",
            with_filters(&ten, [ext_authz(AUTHORIZER)])?,
            true,
        )
    };
    Ok(vec![
        row(Id::NativeEvents, "Envoy's OTLP access log", logger(&with_filters(&ten, [])?)?, false),
        row(Id::Events, "analytics, events by OTLP", ours(&[("analytics", events)])?, false),
        row(Id::Metrics, "analytics, metrics", ours(&[("analytics", metrics)])?, false),
        row(
            Id::NativeAll,
            "jwt_authn with its cache, rbac, local_ratelimit and the OTLP access log",
            logger(&native)?,
            true,
        ),
        row(Id::Bundle, "auth, ratelimit and analytics (events, metrics) in the bundle", bundle, true),
        row(Id::Separate, "the same as three modules", separate, true),
        authorized,
    ])
}

//! An Envoy as kgateway 2.4 configures it: one filter for each GatewayExtension, wrapped so that another can turn it
//! off, disabled by default, and enabled on the routes that a TrafficPolicy is attached to.

use std::net::SocketAddr;

use enforcer_adapter::kgateway::ATTRIBUTES;
use enforcer_ratelimit::config::{Bodies, RateLimitConfig};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::bootstrap::{self, cluster, listener, router, tls};
use super::{BACKEND, Scene};
use crate::Error;

/// `grpcService.authority` of the extension: which filter runs.
pub(super) const AUTHORITY: &str = "enforcer";

/// kgateway's name for the cluster of the Service `enforcer`, port 9000, in the namespace `apis`.
const SERVER: &str = "kube_apis_enforcer_9000";

/// The filter of the GatewayExtension `enforcer` in the namespace `apis`.
const FILTER: &str = "ext_proc/apis/enforcer";

/// One listener, one route, and the extension that runs the scene's filter.
pub(super) fn bootstrap(scene: &Scene, backend: SocketAddr, server: SocketAddr) -> Result<Value, Error> {
    let mut envoy = kgateway_envoy(bodies(scene), backend, server)?;
    let chain = envoy.pointer_mut("/static_resources/listeners/0/filter_chains/0");
    if let (true, Some(chain)) = (scene.tls, chain) {
        super::attached::put(chain, "transport_socket", tls()?);
    }
    Ok(envoy)
}

/// The configuration of an Envoy whose one listener, `cases`, sends every request through `enforcer-extproc` on `server`
/// to `backend`.
pub fn kgateway_envoy(bodies: Bodies, backend: SocketAddr, server: SocketAddr) -> Result<Value, Error> {
    let filters = [disabling(), extension(bodies), router()];
    let mut listener = listener(bootstrap::LISTENER, &filters);
    let route =
        listener.pointer_mut("/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/0");
    let route = route.ok_or_else(|| Error::Case("the listener has no route".into()))?;
    super::attached::put(
        route,
        "typed_per_filter_config",
        json!({ FILTER: {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
            "overrides": {},
        } }),
    );
    let clusters = [cluster(BACKEND, backend, false), cluster(SERVER, server, true)];
    Ok(json!({ "static_resources": { "listeners": [listener], "clusters": clusters } }))
}

/// What `extProc.disable` of a policy turns on.
fn disabling() -> Value {
    json!({
        "name": "global_disable/ext_proc",
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{
                "metadata_namespace": "dev.kgateway.disable_ext_proc",
                "value": { "disable": true },
            }],
        },
    })
}

/// As `enforcer build -t kgateway` asks for them.
fn bodies(scene: &Scene) -> Bodies {
    let ratelimit = scene.plugins.iter().filter_map(|plugin| match plugin.root_id.as_str() {
        "ratelimit" => Some(&plugin.configuration),
        _ => plugin.configuration.get("ratelimit"),
    });
    let config = ratelimit.filter_map(|json| RateLimitConfig::deserialize(json).ok()).next();
    config.as_ref().map(RateLimitConfig::bodies).unwrap_or_default()
}

fn extension(bodies: Bodies) -> Value {
    let body = |sent| if sent { "FULL_DUPLEX_STREAMED" } else { "NONE" };
    let trailers = |sent| if sent { "SEND" } else { "SKIP" };
    let processor = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        "grpc_service": { "envoy_grpc": { "cluster_name": SERVER, "authority": AUTHORITY } },
        "failure_mode_allow": false,
        "message_timeout": "30s",
        "processing_mode": {
            "request_header_mode": "SEND",
            "request_body_mode": body(bodies.request),
            "request_trailer_mode": trailers(bodies.request),
            "response_header_mode": "SEND",
            "response_body_mode": body(bodies.response),
            "response_trailer_mode": trailers(bodies.response),
        },
        "request_attributes": ATTRIBUTES,
    });
    let enabled = json!({ "single_predicate": {
        "input": {
            "name": "disable",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
                "filter": "dev.kgateway.disable_ext_proc",
                "path": [{ "key": "disable" }],
            },
        },
        "custom_match": {
            "name": "envoy.matching.matchers.metadata_matcher",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
                "invert": true,
                "value": { "bool_match": true },
            },
        },
    } });
    let action = json!({
        "name": "composite-action",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.ExecuteFilterAction",
            "typed_config": { "name": "envoy.filters.http.ext_proc", "typed_config": processor },
        },
    });
    json!({
        "name": FILTER,
        "disabled": true,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {
                "name": "composite_ext_proc",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite" },
            },
            "xds_matcher": { "matcher_list": { "matchers": [{
                "predicate": enabled,
                "on_match": { "action": action },
            }] } },
        },
    })
}

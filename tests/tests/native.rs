//! Calls that Envoy's own filters refuse, and those that fail on the way to the backend: told like all others.

#![cfg(test)]

use std::{env, path::PathBuf, time::Duration};

use enforcer_testbed::{EnvoyBinary, Request, ReservedPort};
use serde_json::{Value, json};

fn http(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.http.{kind}"));
    json!({"name": name, "typed_config": config})
}

/// RBAC that refuses `x-deny`, a fault for `x-fault`, three tokens for all others; then ours.
fn bootstrap(wasm: &str, nobody: u16) -> Value {
    let deny = json!({"header": {"name": "x-deny", "present_match": true}});
    let rbac = json!({"rules": {"action": "DENY", "policies": {
        "nobody": {"permissions": [deny], "principals": [{"any": true}]},
    }}});
    let all = json!({"default_value": {"numerator": 100}});
    let limit = json!({
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "3600s"},
        "filter_enabled": all,
        "filter_enforced": all,
    });
    let fault = json!({
        "abort": {"http_status": 500, "percentage": {"numerator": 100}},
        "headers": [{"name": "x-fault", "present_match": true}],
    });
    let configuration = json!({"sinks": [{"access_log": {}}]}).to_string();
    let ours = json!({"config": {
        "root_id": "analytics",
        "vm_config": {"vm_id": "enforcer", "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": wasm}}},
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration},
    }});
    let filters = [
        http("rbac", "rbac.v3.RBAC", rbac),
        http("fault", "fault.v3.HTTPFault", fault),
        http("limit", "local_ratelimit.v3.LocalRateLimit", limit),
        http("enforcer.analytics", "wasm.v3.Wasm", ours),
        http("router", "router.v3.Router", json!({})),
    ];
    let log = json!({"name": "log", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"text_format_source": {"inline_string": "%FILTER_STATE(wasm.enforcer_event:PLAIN)%\n"}},
    }});
    let routes = json!([
        {"match": {"prefix": "/here"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
        {"match": {"prefix": "/gone"}, "route": {"cluster": "nobody"}},
    ]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "native",
        "http_filters": filters,
        "access_log": [log],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    });
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoint = json!({"endpoint": {"address": address(nobody)}});
    json!({"static_resources": {
        "listeners": [{
            "name": "native",
            "address": address(0),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": [{
            "name": "nobody",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "nobody", "endpoints": [{"lb_endpoints": [endpoint]}]},
        }],
    }})
}

#[test]
fn whoever_refuses_is_told() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), PathBuf::from);
    let wasm = target.join("wasm32-wasip1/wasm/analytics.wasm").canonicalize();
    let wasm = wasm.expect("no modules; run `make wasm`");
    let nobody = ReservedPort::new().unwrap();
    let config = bootstrap(&wasm.display().to_string(), nobody.address().port()).to_string();
    let envoy = binary.options(config).concurrency(1).start().unwrap();
    let client = envoy.client("native").unwrap();
    let told = |request: Request| -> Value {
        let mark = envoy.access_log().mark();
        client.send(&request).unwrap();
        let line =
            envoy.access_log().wait_for(mark, |line| !line.is_empty(), Duration::from_secs(5)).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        json!([event["proxyResponseCode"], event["eventType"], event["errorType"], event["errorMessage"]])
    };
    let denied = told(Request::get("/here").header("x-deny", "1"));
    assert_eq!(denied, json!([403, "fault", "AUTH", "AUTHORIZATION_FAILURE"]));
    let aborted = told(Request::get("/here").header("x-fault", "1"));
    assert_eq!(aborted, json!([500, "fault", "OTHER", "UNCLASSIFIED"]));
    assert_eq!(told(Request::get("/here")), json!([200, "response", null, null]));
    let unknown = told(Request::get("/nowhere"));
    assert_eq!(unknown, json!([404, "fault", "OTHER", "RESOURCE_NOT_FOUND"]));
    let gone = told(Request::get("/gone"));
    assert_eq!(gone, json!([503, "fault", "TARGET_CONNECTIVITY", "OTHER"]));
    let limited = told(Request::get("/here"));
    assert_eq!(limited, json!([429, "fault", "THROTTLED", "OTHER"]));
}

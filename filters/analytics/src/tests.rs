use enforcer_core::{
    config,
    cx::{CalloutError, FetchKey, HttpCall, HttpReply, Messages, Wishes},
    fault::Detail,
    headers::HeaderMap,
    host::MapKind,
    identity::Caller,
    native::NativeHost,
};
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn analytics(config: &Value) -> Analytics {
    Analytics::new(config::parse(config.to_string().as_bytes()).unwrap(), Capabilities::default()).unwrap()
}

/// A call that took 10 ms, 7 of them at the backend.
fn host() -> NativeHost {
    let number = i64::to_le_bytes;
    NativeHost::new()
        .with_attribute("request.duration", number(10_400_000))
        .with_attribute("response.backend_latency", number(7_100_000))
        .with_attribute("response.code", number(200))
        .with_attribute("response.flags", number(0))
        .with_attribute("response.code_details", "via_upstream")
        .with_attribute("request.protocol", "HTTP/2")
        .with_attribute("request.total_size", number(120))
        .with_attribute("response.total_size", number(345))
        .with_attribute("source.address", "203.0.113.9:40312")
        .with_attribute("upstream.address", "10.0.0.7:8080")
        .with_headers(
            MapKind::RequestHeaders,
            [
                (":method", "GET"),
                (":path", "/pets/7?token=s3cret"),
                (":authority", "a"),
                ("authorization", "Bearer s3cret"),
                ("x-request-id", "8f5b4c7e-0000-4000-8000-000000000001"),
                ("user-agent", "curl/8.5.0"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("x-tenant", "acme"),
                ("cf-ipcountry", "LK"),
            ],
        )
        .with_headers(MapKind::ResponseHeaders, [("x-cost", "5")])
}

fn identity() -> Identity {
    let called = Called {
        api: "pets".into(),
        version: "1.0".into(),
        operation: "getPet".into(),
        template: "/pets/{id}".into(),
    };
    let caller = Caller {
        consumer: "app-1".into(),
        subject: "alice".into(),
        issuer: "https://idp".into(),
        scopes: vec!["read".into()],
        claims: [("org".to_owned(), "o-1".to_owned())].into(),
        ..Caller::default()
    };
    Identity { called: Part::new(called), caller: Part::new(caller), fault: "".into() }
}

/// One call through all its phases.
fn call(filter: &mut Analytics, host: &NativeHost) -> Wishes {
    let (messages, mut wishes, mut exchange) = (Messages::default(), Wishes::default(), Exchange::default());
    let step =
        filter.on_event(&mut exchange, Happening::RequestHead, &mut Cx::new(host, &messages, &mut wishes));
    assert!(matches!(step, Step::Continue(edits) if edits.headers.is_empty() && edits.next.is_none()));
    filter.on_log(exchange, &CallSummary::default(), &mut Cx::new(host, &messages, &mut wishes));
    wishes
}

/// The event that goes to the access log.
fn told(config: &Value, host: &NativeHost) -> Value {
    call(&mut analytics(config), host);
    serde_json::from_str(&host.annotations()["enforcer_event"]).unwrap()
}

#[test]
fn an_event_tells_everything_and_no_secret() {
    let config = json!({
        "apis": [{"name": "pets", "version": "1.0", "base_path": "/", "creator": "ada"}],
        "sinks": [{"access_log": {}}],
        "region": "eu-1",
        "fields": {
            "country_header": "cf-ipcountry",
            "add": [
                {"name": "tenant", "from": {"header": "x-tenant"}},
                {"name": "cost", "from": {"response_header": "x-cost"}},
                {"name": "org", "from": {"claim": "org"}},
                {"name": "absent", "from": {"claim": "nothing"}},
            ],
        },
    });
    let host = host().with_identity(&identity());
    let event = told(&config, &host);
    assert_eq!(
        event,
        serde_json::from_str::<Value>(
            r#"{
            "eventType": "response",
            "requestTimestamp": "2025-12-31T23:59:59.989Z",
            "correlationId": "8f5b4c7e-0000-4000-8000-000000000001",
            "keyType": "PRODUCTION",
            "apiId": "pets:1.0",
            "apiType": "HTTP",
            "apiName": "pets",
            "apiVersion": "1.0",
            "apiCreator": "ada",
            "apiCreatorTenantDomain": "carbon.super",
            "apiMethod": "GET",
            "apiContext": "/",
            "apiResourceTemplate": "/pets/{id}",
            "destination": "10.0.0.7:8080",
            "applicationId": "app-1",
            "applicationName": "UNKNOWN",
            "applicationOwner": "UNKNOWN",
            "regionId": "eu-1",
            "gatewayType": "ENVOY",
            "userAgent": "curl",
            "platform": "Other",
            "userIp": "203.0.113.0",
            "proxyResponseCode": 200,
            "targetResponseCode": 200,
            "responseCacheHit": false,
            "responseLatency": 10,
            "backendLatency": 7,
            "requestMediationLatency": 3,
            "responseMediationLatency": 0,
            "properties": {
                "operation": "getPet",
                "consumer": "alice",
                "issuer": "https://idp",
                "scopes": ["read"],
                "details": "via_upstream",
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "requestBytes": 120,
                "responseBytes": 345,
                "protocol": "HTTP/2",
                "country": "LK",
                "tenant": "acme",
                "cost": "5",
                "org": "o-1"
            }
        }"#
        )
        .unwrap()
    );
    assert_eq!(host.counter("enforcer.analytics.events"), 1);
}

#[test]
fn a_call_refused_before_is_told_from_the_log_phase_alone() {
    let identity = Identity { fault: "enforcer_auth_scope_missing".into(), ..identity() };
    let host = host()
        .with_attribute("response.code", 403_i64.to_le_bytes())
        .with_attribute("response.code_details", "enforcer_auth_scope_missing")
        .with_identity(&identity);
    let mut filter = analytics(&json!({"sinks": [{"log": {}}]}));
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    filter.on_log(Exchange::default(), &CallSummary::default(), &mut Cx::new(&host, &messages, &mut wishes));
    let line = host.lines().pop().unwrap().1;
    let event: Value =
        serde_json::from_str(line.strip_prefix("apimMetrics: apim:faulty, properties :").unwrap()).unwrap();
    assert_eq!(event["eventType"], "fault");
    assert_eq!(event["errorType"], "AUTH");
    assert_eq!(event["errorMessage"], "AUTHORIZATION_FAILURE");
    assert_eq!(event["errorCode"], 900_910);
    assert_eq!(event["apiName"], "pets");
    assert_eq!((event.get("responseLatency"), event.get("destination")), (None, None));
}

#[test]
fn in_a_chain_the_own_answer_says_why() {
    let host = host()
        .with_attribute("response.code", 401_i64.to_le_bytes())
        .with_attribute("response.code_details", "");
    let mut filter = analytics(&json!({"sinks": [{"access_log": {}}]}));
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let detail = Detail::new("enforcer_auth_token_missing");
    let summary = CallSummary { answered: Some(&detail) };
    filter.on_log(Exchange::default(), &summary, &mut Cx::new(&host, &messages, &mut wishes));
    let event: Value = serde_json::from_str(&host.annotations()["enforcer_event"]).unwrap();
    assert_eq!(event["errorMessage"], "AUTHENTICATION_FAILURE");
}

#[test]
fn what_shadow_mode_let_through_is_told() {
    let shadow = Identity { fault: "enforcer_ratelimit_api".into(), ..identity() };
    let event = told(&json!({"sinks": [{"access_log": {}}]}), &host().with_identity(&shadow));
    assert_eq!(event["eventType"], "response");
    assert_eq!(event["properties"]["shadow"], "enforcer_ratelimit_api");
    assert_eq!(event["properties"]["limit"], "enforcer_ratelimit_api");
}

#[test]
fn alone_the_filter_finds_the_api_itself() {
    let config = json!({
        "apis": [{"name": "pets", "version": "2", "base_path": "/pets", "operations": [
            {"id": "one", "path": "/{id}", "methods": ["GET"]},
        ]}],
        "sinks": [{"access_log": {}}],
    });
    let event = told(&config, &host());
    assert_eq!(event["apiName"], "pets");
    assert_eq!(event["apiContext"], "/pets");
    assert_eq!(event["apiResourceTemplate"], "/pets/{id}");
    assert_eq!(event["properties"]["operation"], "one");
    let elsewhere = host().with_headers(MapKind::RequestHeaders, [(":path", "/x"), (":method", "GET")]);
    assert_eq!(told(&config, &elsewhere)["apiName"], "UNKNOWN");
    // An identity that cannot be read is no reason to guess.
    let config = json!({"sinks": [{"access_log": {}}]});
    assert_eq!(told(&config, &host().with_unreadable_identity())["applicationId"], "UNKNOWN");
}

#[test]
fn garbage_makes_an_event_too() {
    let mut host = NativeHost::new();
    for name in reading::NAMES {
        host = host.with_attribute(name, [0xff, 0xfe, b'"', b'\n', 0]);
    }
    let garbage = b"\xff\xfe\"\n\0";
    let names = [":method", "x-request-id", "user-agent", "traceparent", "x-tenant"];
    let host = host.with_headers(MapKind::RequestHeaders, names.map(|name| (name, garbage)));
    let config = json!({
        "sinks": [{"access_log": {}}],
        "fields": {"add": [{"name": "tenant", "from": {"header": "x-tenant"}}]},
    });
    let event = told(&config, &host);
    assert_eq!(event["properties"]["tenant"], "\u{fffd}\u{fffd}\"");
    assert_eq!(event["correlationId"], "\u{fffd}\u{fffd}\"");
    assert_eq!(event["proxyResponseCode"], 0);
}

#[test]
fn sampling_leaves_out_events_and_no_metrics() {
    let host = host();
    let mut filter =
        analytics(&json!({"sinks": [{"access_log": {}}], "sampling": {"rate": 0}, "metrics": {}}));
    call(&mut filter, &host);
    assert_eq!(host.annotations().len(), 0);
    assert_eq!(host.counter("enforcer.analytics.sampled_out"), 1);
    assert_eq!(host.counters().iter().filter(|(name, _)| name.starts_with("enforcer_requests")).count(), 1);
}

#[test]
fn batches_go_from_the_background_and_every_event_is_accounted_for() {
    let host = host();
    let mut filter = analytics(&json!({"sinks": [{"otlp": {"cluster": "otel", "batch": 2}}]}));
    assert_eq!(filter.needs().clusters, ["otel"]);
    let nothing = Messages::default();
    let mut first = Wishes::default();
    filter.on_background(Background::Tick, &mut Cx::new(&host, &nothing, &mut first));
    assert_eq!(first.tick_in, Some(ledger::ROUND));
    assert!(call(&mut filter, &host).tick_in.unwrap() > Duration::ZERO);
    assert_eq!(call(&mut filter, &host).tick_in, Some(Duration::ZERO));
    let mut background = |event: Background<'_>| -> Vec<HttpCall> {
        let mut wishes = Wishes::default();
        filter.on_background(event, &mut Cx::new(&host, &nothing, &mut wishes));
        wishes.fetches.into_iter().map(|(_, call)| call).collect()
    };
    assert_eq!(background(Background::Tick).len(), 1);
    let key = FetchKey { filter: "analytics", id: 0 };
    assert!(background(Background::Fetched(key, Err(CalloutError::Reset))).is_empty());
    host.advance(Duration::from_secs(1));
    assert_eq!(background(Background::Tick).len(), 1);
    let reply = HttpReply { status: 200, headers: HeaderMap::default(), body: Vec::new() };
    assert!(background(Background::Fetched(key, Ok(&reply))).is_empty());
    let count = |name: &str| host.counter(&format!("enforcer.analytics.{name}"));
    assert_eq!([count("enqueued"), count("acknowledged"), count("dropped"), count("retries")], [2, 2, 0, 1]);
}

#[test]
fn what_waits_goes_when_everything_ends() {
    let host = host();
    let mut filter =
        analytics(&json!({"sinks": [{"ndjson": {"cluster": "c", "batch": 2, "interval": "1h"}}]}));
    for _ in 0..3 {
        call(&mut filter, &host);
    }
    let nothing = Messages::default();
    let mut background = |event: Background<'_>| -> usize {
        let mut wishes = Wishes::default();
        filter.on_background(event, &mut Cx::new(&host, &nothing, &mut wishes));
        wishes.fetches.into_iter().map(|(_, call)| call.body.split(|byte| *byte == b'\n').count() - 1).sum()
    };
    let key = FetchKey { filter: "analytics", id: 0 };
    let reply = HttpReply { status: 200, headers: HeaderMap::default(), body: Vec::new() };
    assert_eq!(background(Background::Draining), 2);
    assert_eq!(background(Background::Fetched(key, Ok(&reply))), 1);
    // A sink that fails now is not asked again.
    assert_eq!(background(Background::Fetched(key, Err(CalloutError::Reset))), 0);
}

#[test]
fn mistakes_name_their_place() {
    for (config, problem) in [
        (json!({"sinks": [{"log": {}}, {"json": {"cluster": ""}}]}), "sinks[1].json.cluster: name the Envoy"),
        (json!({"apis": [{"name": "a", "base_path": "x"}]}), "apis[0].base_path"),
        (json!({"sampling": {"rate": 2}}), "sampling.rate"),
        (json!({"fields": {"drop": ["x"]}}), "fields.drop[0]"),
    ] {
        let parsed = config::parse(config.to_string().as_bytes()).unwrap();
        let error = Analytics::new(parsed, Capabilities::default()).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
}

//! Two Envoys, one limit.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use enforcer_distributed_tests::{Redis, Service, free_port, module};
use enforcer_testbed::{Envoy, EnvoyBinary, Request};
use serde_json::{Value, json};

/// So many requests in so long, by which the filter knows the limit that Limitador has.
fn quota(requests: u64, per: &str) -> Value {
    json!({"quota": {"requests": requests, "per": per}})
}

/// An Envoy with two workers that answers by itself whatever the filter lets through.
fn gateway(service: u16, tier: &Value, on_failure: &str) -> Option<Envoy> {
    start(tier, &json!({"cluster": "limits", "on_failure": on_failure, "timeout": "500ms"}), service)
}

/// The same, its filter asking as it is told to. Each answer says that it has cost [`COST`].
fn start(tier: &Value, asking: &Value, service: u16) -> Option<Envoy> {
    let binary = EnvoyBinary::find_or_skip().unwrap()?;
    let configuration = json!({
        "service": asking,
        "tiers": {"Shared": tier},
        "policies": [{"name": "tenant", "key": [{"header": "x-tenant"}], "tier": "Shared", "shared": true}],
    });
    let http = "type.googleapis.com/envoy.extensions.filters.http";
    let ours = json!({"name": "enforcer.ratelimit", "typed_config": {"@type": format!("{http}.wasm.v3.Wasm"), "config": {
        "root_id": "ratelimit",
        "vm_config": {"vm_id": "enforcer", "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module()}}},
        "failure_policy": "FAIL_RELOAD",
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": configuration.to_string(),
        },
    }}});
    let router = json!({"name": "router", "typed_config": {"@type": format!("{http}.router.v3.Router")}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "shared",
        "http_filters": [ours, router],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "response_headers_to_add": [{"header": {"key": "x-cost", "value": COST.to_string()}}],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }]},
    });
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let config = json!({"static_resources": {
        "listeners": [{
            "name": "shared",
            "address": address(0),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": [{
            "name": "limits",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": {http2: {
                "@type": format!("type.googleapis.com/{http2}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
            "load_assignment": {
                "cluster_name": "limits",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(service)}}]}],
            },
        }],
    }});
    Some(binary.options(config.to_string()).concurrency(2).start().unwrap())
}

/// Sends requests of one tenant over several connections, each so many, one every so often. Returns how many passed;
/// the others must have got `refusal`.
fn send(envoys: &[&Envoy], connections: usize, each: usize, every: Duration, refusal: u16) -> u64 {
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for envoy in envoys {
            for _ in 0..connections {
                scope.spawn(|| {
                    let mut connection = envoy.client("shared").unwrap().connect().unwrap();
                    let request = Request::get("/").header("x-tenant", "acme");
                    let started = Instant::now();
                    for number in 0..each {
                        let due = every * u32::try_from(number).unwrap();
                        thread::sleep(due.saturating_sub(started.elapsed()));
                        match connection.send(&request).unwrap().status {
                            200 => drop(admitted.fetch_add(1, Relaxed)),
                            status => assert_eq!(status, refusal),
                        }
                    }
                });
            }
        }
    });
    admitted.into_inner()
}

const AT_ONCE: Duration = Duration::ZERO;

/// What each answer says it has cost.
const COST: u64 = 30;

#[test]
fn the_sum_never_passes_the_limit_and_comes_near_it() {
    let Some(redis) = Redis::start_or_skip() else { return };
    let service = Service::start(redis.port(), 0, 2_000, 3_600);
    let tier = quota(2_000, "1h");
    let start = || gateway(service.address.port(), &tier, "closed");
    let (Some(one), Some(two)) = (start(), start()) else { return };
    let admitted = send(&[&one, &two], 4, 750, AT_ONCE, 429);
    let calls = service.calls();
    println!("6,000 requests against 2,000 an hour: {admitted} admitted, {calls} calls");
    assert!((1_960..=2_000).contains(&admitted), "{admitted}");
    assert_eq!(send(&[&one, &two], 1, 50, AT_ONCE, 429), 0);
    assert!(service.calls() - calls <= 2, "what is spent is not asked for again");
}

#[test]
fn leases_save_calls_at_a_steady_rate() {
    let Some(redis) = Redis::start_or_skip() else { return };
    let service = Service::start(redis.port(), 0, 60_000, 60);
    let tier = quota(60_000, "1m");
    let start = || gateway(service.address.port(), &tier, "closed");
    let (Some(one), Some(two)) = (start(), start()) else { return };
    let sent = 2 * 2 * 1_000;
    let admitted = send(&[&one, &two], 2, 1_000, Duration::from_millis(8), 429);
    let calls = service.calls();
    println!("{sent} requests in 8 s through two Envoys: {calls} calls");
    assert_eq!(admitted, sent);
    assert!(calls * 20 <= sent, "{calls} calls for {sent} requests");
}

#[test]
fn what_an_envoy_held_dies_with_it() {
    let Some(redis) = Redis::start_or_skip() else { return };
    let service = Service::start(redis.port(), 0, 1_000, 3_600);
    let tier = quota(1_000, "1h");
    let start = || gateway(service.address.port(), &tier, "closed");
    let (Some(one), Some(two)) = (start(), start()) else { return };
    let mut admitted = send(&[&one], 2, 200, AT_ONCE, 429);
    assert_eq!(admitted, 400);
    drop(one);
    admitted += send(&[&two], 2, 600, AT_ONCE, 429);
    println!("1,000 an hour, one of two Envoys killed after 400: {admitted} admitted");
    // At most a quarter of what was left was held.
    assert!((850..=1_000).contains(&admitted), "{admitted}");
}

/// Costs are told with `hits_addend`. Of what there is not enough left for, Limitador counts nothing: each Envoy that is
/// told so has let one request through that is not in the sum, and lets no other through.
#[test]
fn costs_are_told_and_cross_the_limit_once_in_each_envoy() {
    const UNITS: u64 = 2_990;
    let tier = json!({"cost": {"units": UNITS, "per": "1h", "from": {"response_header": "x-cost"}}});
    for leases in [true, false] {
        let Some(redis) = Redis::start_or_skip() else { return };
        let service = Service::start(redis.port(), 0, UNITS.cast_signed(), 3_600);
        let asking =
            json!({"cluster": "limits", "on_failure": "closed", "timeout": "500ms", "leases": leases});
        let gateway = || start(&tier, &asking, service.address.port());
        let (Some(one), Some(two)) = (gateway(), gateway()) else { return };
        let clients = [&one, &two].map(|envoy| envoy.client("shared").unwrap());
        let request = Request::get("/").header("x-tenant", "acme");
        let mut admitted = 0;
        for number in 0..300 {
            if clients[number % 2].send(&request).unwrap().status == 200 {
                admitted += 1;
                // What is decided while a debt is being told cannot know of it.
                let told = || service.counted() + service.refused() >= admitted * COST;
                let started = Instant::now();
                while !told() {
                    assert!(started.elapsed() < Duration::from_secs(5), "the service has not been told");
                    thread::sleep(Duration::from_millis(1));
                }
                if service.refused() > 0 {
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
        let (counted, calls) = (service.counted(), service.calls());
        println!(
            "costs of {COST} against {UNITS}, leases {leases}: {admitted} admitted, {counted} counted, {} not, {calls} calls",
            service.refused(),
        );
        let spent = admitted * COST;
        assert!(counted <= UNITS, "{counted}");
        assert!(spent <= UNITS + 2 * COST, "more than one request too many in each Envoy: {admitted}");
        assert!(spent * 100 >= UNITS * 95, "{admitted}");
        assert_eq!(send(&[&one, &two], 1, 10, AT_ONCE, 429), 0, "whoever was told so refuses");
        assert_eq!(service.calls(), calls, "and asks nobody");
    }
}

#[test]
fn redis_and_the_service_die_and_come_back() {
    let Some(redis) = Redis::start_or_skip() else { return };
    let (redis_port, port) = (redis.port(), free_port());
    let service = Service::start(redis_port, port, 40, 3_600);
    let Some(closed) = gateway(port, &quota(40, "1h"), "closed") else { return };
    let Some(local) = gateway(port, &quota(40, "1h"), "local") else { return };
    let until = |envoy: &Envoy, wanted: u16| {
        let client = envoy.client("shared").unwrap();
        let request = Request::get("/").header("x-tenant", "acme");
        let started = Instant::now();
        loop {
            let status = client.send(&request).unwrap().status;
            if status == wanted {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{status}, not {wanted}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    assert_eq!(send(&[&closed], 1, 1, AT_ONCE, 429), 1);
    drop(redis);
    until(&closed, 503);
    assert_eq!(send(&[&local], 1, 50, AT_ONCE, 429), 40, "each Envoy by itself");
    let redis = Redis::start_on(redis_port).unwrap();
    // The new Redis knows of nothing that was counted before.
    until(&closed, 200);
    drop(service);
    until(&closed, 503);
    let service = Service::start(redis.port(), port, 40, 3_600);
    until(&closed, 200);
    until(&closed, 429);
    until(&local, 429);
    assert!(service.calls() > 0);
}

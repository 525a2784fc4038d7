//! The testbed against a real Envoy.

use std::time::{Duration, Instant};

use enforcer_testbed::{EchoBackend, EnvoyBinary, Error, Fields, Reply, Request, World};

const SOON: Duration = Duration::from_secs(10);

/// One listener named `ingress` on a free port in front of the backend, logging to standard output. The admin
/// address is deliberately one that cannot be bound: the testbed has to replace it.
fn proxy_to(backend: &EchoBackend) -> String {
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 192.0.2.1, port_value: 1}}}}}}
static_resources:
  listeners:
  - name: ingress
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {{text_format_source: {{inline_string: "%REQ(:PATH)% %RESPONSE_CODE%\n"}}}}
          http_protocol_options: {{enable_trailers: true}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: backend}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"#,
        port = backend.address().port()
    )
}

#[test]
fn serves_logs_counts_and_stops() {
    if EnvoyBinary::find_or_skip().unwrap().is_none() {
        return;
    }
    let mut world = World::new().unwrap();
    let config = proxy_to(world.backend("pets").unwrap());
    let envoy = world.start_envoy(config).unwrap();
    let (id, client) = (envoy.id(), envoy.client("ingress").unwrap());

    let answer = client.send(&Request::get("/pets?limit=1").header("x-odd", b"\xc3\x28")).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers.contains("x-envoy-upstream-service-time"));
    let line = envoy.access_log().wait_for(0, |line| line.contains("/pets"), SOON).unwrap();
    assert_eq!(line, "/pets?limit=1 200");
    assert!(envoy.log().since(0).iter().any(|line| line.contains("starting main dispatch loop")));

    envoy.wait_for_stat("http.ingress.downstream_rq_2xx", |n| n == 1, SOON).unwrap();
    assert!(envoy.prometheus().unwrap().contains("envoy_http_downstream_rq_xx{"));
    assert!(matches!(envoy.listener("egress"), Err(Error::NoListener { known, .. }) if known == "`ingress`"));
    assert_eq!(world.backend("pets").unwrap().received()[0].headers.get("x-odd"), Some(&b"\xc3\x28"[..]));

    let start = Instant::now();
    drop(world);
    assert!(start.elapsed() < Duration::from_secs(4), "SIGTERM did not stop Envoy");
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "Envoy outlived its world");
}

#[test]
fn passes_trailers_both_ways() {
    if EnvoyBinary::find_or_skip().unwrap().is_none() {
        return;
    }
    let mut world = World::new().unwrap();
    let backend = world.backend("pets").unwrap();
    backend.answer(Reply::default().chunked(Fields::new().with("x-end", "1")));
    let config = proxy_to(backend);
    let client = world.start_envoy(config).unwrap().client("ingress").unwrap();
    let request = Request::new("POST", "/").chunks(["a", "b"], Fields::new().with("x-sum", "2"));
    let answer = client.send(&request).unwrap();
    assert_eq!(answer.trailers.get("x-end"), Some(&b"1"[..]));
    let received = world.backend("pets").unwrap().received();
    assert_eq!(received[0].trailers.get("x-sum"), Some(&b"2"[..]));
    assert_eq!(received[0].body, b"ab");
}

#[test]
fn a_panic_stops_envoy_too() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    let test = std::thread::spawn(move || {
        let backend = EchoBackend::start().unwrap();
        let envoy = binary.options(proxy_to(&backend)).concurrency(2).start().unwrap();
        std::panic::panic_any(envoy.id());
    });
    let id = *test.join().unwrap_err().downcast::<u32>().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "Envoy outlived a panic");
}

#[test]
fn says_why_a_configuration_is_refused() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    binary.validate(proxy_to(&EchoBackend::start().unwrap())).unwrap();
    let Err(Error::Rejected { log, .. }) = binary.validate("static_resources: {nonsense: 1}") else {
        panic!("a configuration with an unknown field was accepted");
    };
    assert!(log.contains("nonsense"), "{log}");
    let Err(Error::Exited { log, .. }) = binary.options("static_resources: {nonsense: 1}").start() else {
        panic!("Envoy started with an unknown field");
    };
    assert!(log.contains("nonsense"), "{log}");
}

#[test]
fn knows_its_version() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    let version = binary.version().unwrap();
    assert!(
        version >= enforcer_testbed::Version { major: 1, minor: 36, patch: 0 },
        "{version} is not supported"
    );
}

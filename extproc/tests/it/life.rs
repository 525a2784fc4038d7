//! Configurations that change, requests that end, a server that stops.

use std::{fs, thread, time::Duration};

use serde_json::json;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::talk::{PASS, World, configure, if_it_ends, module, request, response};

#[test]
fn a_request_is_over_when_envoy_closes_its_call() {
    let world = World::new(PASS);
    let mut talk = world.begin();
    talk.say(request(true));
    assert_eq!(talk.verdict(), 0);
    talk.say(response());
    assert_eq!(talk.verdict(), 0);
    let mut answers = talk.close();
    assert!(world.block_on(answers.message()).unwrap().is_none(), "and so it ends well");
    let records = world.log.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.ended.code, record.ended.details.as_str()), (200, "via_upstream"));
    assert_eq!((record.method.as_str(), record.path.as_str()), ("GET", "/a"), "queries are not logged");
}

#[test]
fn a_new_configuration_is_taken_and_requests_end_in_the_old_one() {
    let world = World::new(&if_it_ends("unreachable"));
    let mut before = world.begin();
    before.say(request(false));
    assert_eq!(before.verdict(), 0);
    fs::write(world.folder.path().join("m.wasm"), module(PASS)).unwrap();
    world.until("it is taken", || world.log.has("the new configuration is in force"));
    let mut after = world.begin();
    after.say(request(true));
    assert_eq!(after.verdict(), 0, "the new module lets it pass");
    before.say(response());
    assert_eq!(before.verdict(), 0, "the old one still answers");
}

#[test]
fn a_broken_configuration_is_not_taken() {
    let world = World::new(PASS);
    configure(world.folder.path(), &json!({ "more": "than two bytes" }));
    world.until("it is refused", || world.log.has("`proxy_on_configure` refused the configuration"));
    let health = page(&world, "/healthz");
    assert!(health.contains("200 OK") && health.contains("proxy_on_configure"), "{health}");
    assert!(page(&world, "/metrics").contains("enforcer_extproc_configuration_ok 0"));
    let mut talk = world.begin();
    talk.say(request(true));
    assert_eq!(talk.verdict(), 0, "the old one stays");
    fs::write(world.folder.path().join("enforcer.json"), "{\"filters\": 1}").unwrap();
    world.until("its place is told", || world.log.has("enforcer.json: filters: invalid type: integer"));
    configure(world.folder.path(), &json!({}));
    world.until("a good one is taken", || world.log.has("the new configuration is in force"));
    assert!(page(&world, "/metrics").contains("enforcer_extproc_configuration_ok 1"));
}

#[test]
fn draining_lets_requests_end_and_takes_no_new_ones() {
    let world = World::new(PASS);
    let mut health = HealthClient::new(world.connect("any"));
    let mut check = || world.block_on(health.check(HealthCheckRequest::default()));
    assert_eq!(check().unwrap().into_inner().status, 1);
    let mut talk = world.begin();
    talk.say(request(true));
    assert_eq!(talk.verdict(), 0);
    thread::scope(|scope| {
        let draining = scope.spawn(|| world.bridge.drain(Duration::from_secs(2), Duration::from_secs(10)));
        world.until("it is not ready", || page(&world, "/readyz").contains("503"));
        let mut late = world.begin();
        late.say(request(true));
        assert_eq!(late.verdict(), 0, "whoever has not heard of it yet is served");
        drop(late.close());
        talk.say(response());
        assert_eq!(talk.verdict(), 0, "what has begun goes on");
        drop(talk.close());
        assert_eq!(draining.join().unwrap(), 0);
    });
    let refused = check().map(|answer| answer.into_inner().status);
    assert!(matches!(refused, Ok(2)) || refused.is_err_and(|status| status.code() != Code::Ok));
}

/// An admin page, with its status line.
pub(crate) fn page(world: &World, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut connection = std::net::TcpStream::connect(world.bridge.admin()).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    text
}

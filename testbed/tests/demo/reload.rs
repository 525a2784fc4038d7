//! Changing the definition while Envoy serves.

use std::fs;
use std::time::{Duration, Instant};

use enforcer_testbed::{Connection, RawClient, Request};

use crate::running::{Running, SOON, demo};

/// A client that never stops asking. Every other request comes on a new connection, because open ones and new
/// ones may see a change at different moments.
struct Client {
    client: RawClient,
    connection: Connection,
    request: Request,
    statuses: Vec<u16>,
}

impl Client {
    /// Asks until the answers satisfy, in vain for no longer than the limit.
    fn ask_until(&mut self, limit: Duration, enough: impl Fn(&[u16]) -> bool) {
        let start = Instant::now();
        while start.elapsed() < limit && !enough(&self.statuses) {
            let new = self.statuses.len().is_multiple_of(2);
            let answer =
                if new { self.client.send(&self.request) } else { self.connection.send(&self.request) };
            self.statuses.push(answer.unwrap().status);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The last hundred answers were all this one.
fn settled(status: u16) -> impl Fn(&[u16]) -> bool {
    move |all| all.ends_with(&[status; 100])
}

#[test]
fn a_scope_changes_without_a_restart_and_without_a_failed_request() {
    let Some(mut command) = demo() else { return };
    let demo = Running::start(&mut command);
    let header = fs::read_to_string(demo.folder().join("right")).unwrap();
    let (name, token) = header.trim().split_once(": ").unwrap();
    let client = RawClient::new(demo.gateway());
    let mut client = Client {
        connection: client.connect().unwrap(),
        client,
        request: Request::get("/petstore/v1/pets").header(name, token),
        statuses: Vec::new(),
    };
    client.ask_until(SOON, settled(200));

    let definition = demo.folder().join("petstore.yaml");
    let text = fs::read_to_string(&definition).unwrap();
    fs::write(&definition, text.replace("[read:pets]", "[write:pets]")).unwrap();
    client.ask_until(SOON, settled(403));

    // What is broken is reported, and what was there before stays.
    fs::write(&definition, "openapi: [").unwrap();
    demo.wait_for(|line| line.contains("nothing is written"));
    client.ask_until(Duration::from_millis(300), |_| false);
    assert!(settled(403)(&client.statuses), "a broken definition took effect");

    fs::write(&definition, text).unwrap();
    client.ask_until(SOON, settled(200));

    let statuses = client.statuses;
    let failed: Vec<&u16> = statuses.iter().filter(|status| !matches!(status, 200 | 403)).collect();
    assert!(failed.is_empty(), "of {} requests: {failed:?}", statuses.len());
    assert!(statuses.contains(&403) && settled(200)(&statuses), "the changes did not take effect");
    demo.interrupt();
}

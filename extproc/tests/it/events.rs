//! Events that wait in the filters of a server, when those filters go.

use std::{fs, time::Duration};

use enforcer_testbed::{EchoBackend, Request};
use serde_json::json;

use crate::{
    binary::{Server, wasm},
    gateway::{Door, Gateway},
};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn what_waits_is_sent_when_the_configuration_is_replaced_and_when_the_server_ends() {
    let Some(module) = wasm("analytics") else { return };
    let (folder, collector) = (tempfile::tempdir().unwrap(), EchoBackend::start().unwrap());
    let configure = |region: &str| {
        let sink = json!({ "ndjson": { "cluster": "collector", "interval": "1h" } });
        let configuration = json!({ "sinks": [sink], "region": region });
        let config = json!({
            "filters": { "*": { "module": module, "root_id": "analytics", "configuration": configuration } },
            "clusters": { "collector": { "url": format!("http://{}", collector.address()) } },
        });
        let (new, file) = (folder.path().join("new"), folder.path().join("enforcer.json"));
        fs::write(&new, config.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    };
    configure("one");
    let server = Server::start(folder.path(), &[]);
    let servers = [server.address];
    let Some(gateway) = Gateway::start(&[Door::new("gateway", &servers)]) else { return };
    let ask = || assert_eq!(gateway.ask("gateway", &Request::get("/")).status, 200);
    ask();
    server.wait_until_idle();
    configure("two");
    collector.wait_for(1, LIMIT).unwrap();
    ask();
    server.wait_until_idle();
    server.end();
    let batches = collector.wait_for(2, LIMIT).unwrap();
    let regions = batches.iter().map(|batch| {
        let event: serde_json::Value = serde_json::from_slice(&batch.body).unwrap();
        event["regionId"].as_str().unwrap().to_owned()
    });
    assert_eq!(regions.collect::<Vec<_>>(), ["one", "two"]);
}

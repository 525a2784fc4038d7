//! Several servers behind one Envoy, and a limit that they share through a rate limit service.

use std::{
    fs,
    path::Path,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use enforcer_core::protobuf::{Message, Value, fields};
use enforcer_testbed::{GrpcReply, GrpcServer, Request};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    binary::{Server, wasm},
    gateway::{Door, Gateway},
};

/// What the shared limit allows.
const QUOTA: u64 = 25;

/// `envoy.service.ratelimit.v3`, with so many hits for whoever asks.
fn limit_service() -> GrpcServer {
    let left = Mutex::new(QUOTA);
    let answer = move |request: &[u8]| {
        let asked = fields(request).find_map(|field| match field {
            Ok((3, Value::Uint(hits))) => Some(hits),
            _ => None,
        });
        let mut left = left.lock().unwrap();
        let rest = left.checked_sub(asked.unwrap_or(1));
        *left = rest.unwrap_or(*left);
        let code = if rest.is_some() { 1 } else { 2 };
        let reset = Message::default().uint(1, 3_600);
        let status = Message::default().uint(1, code).uint(3, *left).bytes(4, reset.as_ref());
        let reply = Message::default().uint(1, code).bytes(2, status.as_ref());
        GrpcReply::Message(reply.into_bytes(), Duration::ZERO)
    };
    GrpcServer::start_on(0, answer).unwrap()
}

/// A server of its own, that asks the service.
fn replica(module: &Path, limits: &GrpcServer) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = json!({
        "service": { "cluster": "limits", "timeout": "5s", "on_failure": "closed" },
        "tiers": { "Own": { "quota": { "requests": QUOTA, "per": "1h" } } },
        "policies": [{ "name": "all", "key": [{ "constant": "all" }], "tier": "Own", "shared": true }],
    });
    let config = json!({
        "filters": { "*": { "module": module, "root_id": "ratelimit", "configuration": configuration } },
        "clusters": { "limits": { "url": format!("http://{}", limits.address()) } },
    });
    fs::write(folder.path().join("enforcer.json"), config.to_string()).unwrap();
    let server = Server::start(folder.path(), &[]);
    (folder, server)
}

#[test]
fn two_replicas_let_no_more_through_than_one_limit_allows() {
    let Some(module) = wasm("ratelimit") else { return };
    let limits = limit_service();
    let [(_a, one), (_b, other)] = [replica(&module, &limits), replica(&module, &limits)];
    let servers = [one.address, other.address];
    let Some(gateway) = Gateway::start(&[Door::new("gateway", &servers)]) else { return };
    let (told, statuses) = mpsc::channel();
    // More clients at once than there are workers, and more requests than the limit of two replicas by themselves.
    thread::scope(|scope| {
        for _ in 0..6 {
            let (told, client) = (told.clone(), gateway.client("gateway"));
            scope.spawn(move || {
                for _ in 0..10 {
                    told.send(client.send(&Request::get("/")).unwrap().status).unwrap();
                }
            });
        }
    });
    drop(told);
    let statuses: Vec<u16> = statuses.iter().collect();
    let of = |status: u16| statuses.iter().filter(|is| **is == status).count();
    assert_eq!((of(200), of(200) + of(429)), (QUOTA as usize, 60), "{statuses:?}");
    assert_eq!(gateway.backend.received().len(), of(200));
    let asked = [&one, &other].map(|server| server.count("requests_total"));
    assert!(asked.iter().all(|count| *count >= 20), "each has served: {asked:?}");
}

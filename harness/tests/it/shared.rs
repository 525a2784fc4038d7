use enforcer_harness::{Harness, Request, Shared};

use crate::sdk::{builder, module, start};

#[test]
fn workers_share_data_and_counters() {
    let mut envoy = builder("request_headers count-shared n\nrequest_headers count hits.total")
        .workers(3)
        .start()
        .unwrap();
    for _ in 0..6 {
        envoy.request(Request::get("/"));
    }
    assert_eq!(envoy.shared().get("", b"n").unwrap().0, 6u64.to_le_bytes());
    assert_eq!((envoy.counter("hits.total"), envoy.counter("nobody")), (6, 0));
}

#[test]
fn real_threads_lose_nothing() {
    let mut envoy =
        builder("request_headers count-shared n\nrequest_headers count hits").workers(4).start().unwrap();
    envoy.on_all_workers(|worker| {
        for _ in 0..50 {
            assert_eq!(worker.request(Request::get("/")).unwrap().status(), 200);
        }
    });
    assert_eq!(envoy.shared().get("", b"n").unwrap().0, 200u64.to_le_bytes());
    assert_eq!(envoy.counter("hits"), 200);
}

#[test]
fn a_mismatched_version_is_told() {
    let mut envoy =
        start("request_headers share k first 4294967295\nrequest_headers share k second 4294967295");
    envoy.request(Request::get("/"));
    assert!(envoy.logged("share: CasMismatch"));
    assert_eq!(envoy.shared().get("", b"k").unwrap().0, b"first");
}

#[test]
fn harnesses_with_the_same_shared_data_and_vm_id_are_one_process() {
    let shared = Shared::default();
    let harness = |vm_id: &str| -> Harness {
        let script = "request_headers count-shared n";
        Harness::builder(module()).plugin_config(script).vm_id(vm_id).shared(&shared).start().unwrap()
    };
    for mut envoy in [harness("a"), harness("a"), harness("b")] {
        envoy.request(Request::get("/"));
    }
    assert_eq!(shared.get("a", b"n").unwrap().0, 2u64.to_le_bytes());
    assert_eq!(shared.get("b", b"n").unwrap().0, 1u64.to_le_bytes());
}

#[test]
fn a_queues_items_go_to_the_last_that_registered_it() {
    let script = "configure register-queue events\nrequest_headers enqueue events item";
    let mut envoy = builder(script).workers(2).start().unwrap();
    envoy.request(Request::get("/").worker(0));
    let heard: Vec<_> =
        envoy.logs().into_iter().filter(|line| line.text.starts_with("queue_ready")).collect();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].vm, enforcer_harness::Vm::Worker(1));
    assert!(heard[0].text.contains("105, 116, 101, 109"), "{}", heard[0].text);
}

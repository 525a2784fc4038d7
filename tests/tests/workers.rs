//! What workers of one process do for one another, and what each takes: the modules on the harness, where VMs can be
//! killed and instructions counted.

#![cfg(test)]
#![expect(clippy::arithmetic_side_effects, reason = "an overflow would fail the test, as it should")]

use std::{
    env,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use enforcer_core::protobuf::{Message, Value as Field, fields};
use enforcer_harness::{Call, Harness, Module, Request, Shared, Upstream, Vm};
use enforcer_testbed::Keys;
use serde_json::{Value, json};

fn wasm(name: &str) -> PathBuf {
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| "../target".into(), PathBuf::from);
    let file = target.join("wasm32-wasip1/wasm").join(name).with_extension("wasm").canonicalize();
    file.expect("no modules; run `make wasm`")
}

/// One worker of a process, whose VM dies with it. Its limit is shared, and asked for at `limits`.
fn worker(module: &Module, shared: &Shared, limits: Upstream) -> Harness {
    let configuration = json!({
        "service": {"cluster": "limits", "on_failure": "closed"},
        "tiers": {"Many": {"quota": {"requests": 1_000, "per": "1h"}}},
        "policies": [{"name": "tenant", "key": [{"header": "x-tenant"}], "tier": "Many", "shared": true}],
    });
    let builder = Harness::builder(module).name("ratelimit").root_id("ratelimit").vm_id("enforcer");
    builder.plugin_config(configuration).shared(shared).cluster("limits", limits).start().unwrap()
}

/// A rate limit service that has enough.
fn granting() -> Upstream {
    let reset = Message::default().uint(1, 3_600);
    let status = Message::default().uint(1, 1).uint(3, 900).bytes(4, reset.as_ref());
    Upstream::grpc(Message::default().uint(1, 1).bytes(2, status.as_ref()).into_bytes())
}

/// `hits_addend`.
fn hits(call: &Call) -> u64 {
    let hits = fields(&call.body).find_map(|field| match field.unwrap() {
        (3, Field::Uint(hits)) => Some(hits),
        _ => None,
    });
    hits.unwrap_or(1)
}

fn request() -> Request {
    Request::get("/").header("x-tenant", "acme")
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Whether a request is let through. What it waits for, the background asks for at its next tick.
fn passes(worker: &mut Harness) -> bool {
    let request = worker.start_request(request());
    let answered = (0..200).any(|_| {
        let status = worker.poll(request).status();
        if status == 0 {
            worker.advance(MILLISECOND);
        }
        status != 0
    });
    assert!(answered, "a request that ends in no time");
    worker.poll(request).status() == 200
}

#[test]
fn what_a_dying_vm_had_asked_for_is_asked_anew_by_the_next() {
    let (module, shared) = (Module::from_file(wasm("ratelimit")).unwrap(), Shared::default());
    let mut dying = worker(&module, &shared, granting().after(MILLISECOND * 90));
    let mut living = worker(&module, &shared, granting());
    dying.start_request(request());
    dying.advance(MILLISECOND * 20);
    assert_eq!(dying.upstream("limits").calls().len(), 1);
    living.advance(MILLISECOND * 40);
    let waiting = living.start_request(request());
    // Its answer goes to nobody.
    drop(dying);
    living.advance(MILLISECOND * 100);
    assert!(living.poll(waiting).paused().is_some(), "an answer may still come");
    assert!(living.upstream("limits").calls().is_empty(), "somebody has asked");
    living.advance(MILLISECOND * 20);
    assert_eq!(living.poll(waiting).status(), 200, "whoever waited has not waited in vain");
    assert!((0..200).all(|_| passes(&mut living)), "and nothing of it is left behind");
    let asked: u64 = living.upstream("limits").calls().iter().map(hits).sum();
    assert!((201..=300).contains(&asked), "{asked}");
}

#[test]
fn what_a_dying_vm_held_is_spent_by_the_others() {
    let (module, shared) = (Module::from_file(wasm("ratelimit")).unwrap(), Shared::default());
    let mut dying = worker(&module, &shared, granting());
    let mut living = worker(&module, &shared, Upstream::down());
    assert!((0..100).all(|_| passes(&mut dying)));
    let taken: u64 = dying.upstream("limits").calls().iter().map(hits).sum();
    drop(dying);
    let left = (0..1_000).take_while(|_| passes(&mut living)).count();
    assert_eq!(u64::try_from(100 + left).unwrap(), taken, "each hit that was counted passes one request");
    assert!(left > 0, "something was held");
}

/// Entries of a page, the most that fit into 1 MiB.
const PAGE: usize = (1 << 20) / 12;
const PAGES: usize = 12;

/// `sha256("revoked")`, its first eight bytes, and no end.
const REVOKED: [u8; 12] = [0x4b, 0xb4, 0x7f, 0x18, 0x6d, 0xf2, 0x33, 0xe4, 0xff, 0xff, 0xff, 0xff];

/// A list of so many pages, in its compact form.
fn list(pages: usize) -> Upstream {
    Upstream::by(move |call| {
        let path = call.path();
        let number: usize = path.split_once("cursor=").map_or(0, |(_, cursor)| cursor.parse().unwrap());
        if number >= pages {
            return Upstream::status(204);
        }
        let next = number.saturating_add(1);
        let entries = (number.saturating_mul(PAGE)..next.saturating_mul(PAGE)).flat_map(|entry| {
            let print = u64::try_from(entry).unwrap().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            print.to_be_bytes().into_iter().chain([0xff; 4])
        });
        let body: Vec<u8> = REVOKED.into_iter().chain(entries.skip(12)).collect();
        let cursor = next.to_string();
        Upstream::reply(200, &[("content-type", "application/octet-stream"), ("next-cursor", &cursor)], body)
    })
}

fn revoking(module: &Module, keys: &Keys, pages: usize) -> Harness {
    let configuration = json!({
        "issuers": [{"issuer": "https://idp.example.com", "jwks": {"inline": keys.jwks()}}],
        "revocation": {"list": {"cluster": "portal", "url": "https://portal.example.com/revoked"}},
    });
    let builder = Harness::builder(module).name("auth").root_id("auth").vm_id("enforcer");
    let builder = builder.plugin_config(configuration).cluster("portal", list(pages));
    let mut harness = builder.start().unwrap();
    // Pages follow one another; then chunk by chunk is taken over.
    harness.advance(Duration::from_secs(20));
    harness
}

#[test]
fn a_million_revoked_tokens_fit_into_24_megabytes_and_take_a_request_a_microsecond() {
    let (module, keys) = (Module::metered(wasm("auth")).unwrap(), Keys::shared().unwrap());
    let token = |harness: &Harness, id: &str| {
        let now = UNIX_EPOCH + harness.wall_clock();
        let claims: Vec<(&str, Value)> = vec![("iss", json!("https://idp.example.com")), ("jti", json!(id))];
        let token = keys.token().at(now);
        claims.into_iter().fold(token, |token, (name, value)| token.claim(name, value)).sign().unwrap()
    };
    let measured = [1, PAGES].map(|pages| {
        let mut harness = revoking(&module, &keys, pages);
        let (good, bad) = (token(&harness, "good"), token(&harness, "revoked"));
        assert_eq!(harness.request(Request::get("/").bearer(&bad)).status(), 401, "{pages}");
        assert_eq!(harness.request(Request::get("/").bearer(&good)).status(), 200, "{pages}");
        // Known by now: what remains is the check.
        let known = harness.request(Request::get("/").bearer(&good));
        assert_eq!(known.status(), 200);
        (harness.memory_size(Vm::Worker(0)), known.instructions())
    });
    let [(_, few), (memory, many)] = measured;
    let check = many.saturating_sub(few);
    println!(
        "{} revoked tokens: {memory} bytes a worker, {check} instructions more for a request",
        PAGES * PAGE
    );
    assert!(memory <= 24_000_000, "{memory}");
    // A core takes about three a nanosecond.
    assert!(check <= 3_000, "{check}");
}

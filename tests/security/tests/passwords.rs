//! Wrong passwords as fast as they can be sent: they cost a worker a part of its time, and callers that it knows none.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use enforcer_harness::Outcome;
use serde_json::json;

use crate::{
    cost::processor_time,
    site::{
        Scene, Wire,
        harness::{InHarness, builder, request},
    },
};

/// Of the greatest cost that is accepted, and of the least; both of `wonderland`.
const USERS: &str = "alice:$2y$08$abcdefghijklmnopqrstuu9hwa7IwSVw.MklGzeilj98eEuSiyb8q\n\
                     bob:$2y$04$abcdefghijklmnopqrstuujZkTwHUiJ9XdZPwKfcfDo7dMp5DjlTu";

/// Of each second, in milliseconds.
const BUDGET: u32 = 50;
/// Of the processor's time: three times what the dearest takes on a machine that does nothing else.
const SLOWEST: Duration = Duration::from_millis(50);

fn gateway() -> InHarness {
    let scene = Scene {
        name: "passwords".to_owned(),
        configuration: json!({"basic": {"htpasswd": USERS, "budget": format!("{BUDGET}ms")}}),
        clusters: BTreeMap::new(),
    };
    InHarness::start_as(builder(&scene, true), true)
}

fn call(gateway: &mut InHarness, name: &str, password: &str) -> Outcome {
    let pair = STANDARD.encode(format!("{name}:{password}"));
    gateway.harness.request(request(&Wire::get("/").header("authorization", format!("Basic {pair}"))))
}

#[test]
fn a_flood_of_wrong_passwords() {
    let mut gateway = gateway();
    for name in ["alice", "bob"] {
        assert!(call(&mut gateway, name, "wonderland").backend().is_some(), "{name}");
        gateway.harness.advance(Duration::from_secs(1));
    }
    let (mut busy, mut slowest, started) = (0, Duration::ZERO, processor_time());
    // The clock stands still: this is the flood of one moment.
    for number in 0..2_000 {
        let began = processor_time();
        let outcome = call(&mut gateway, ["alice", "bob", "nobody"][number % 3], &format!("guess {number}"));
        slowest = slowest.max(processor_time().saturating_sub(began));
        match outcome.details() {
            "enforcer_auth_password_wrong" => {}
            "enforcer_auth_password_busy" => busy += 1,
            other => panic!("{other}"),
        }
        if number % 100 == 0 {
            for name in ["alice", "bob"] {
                assert!(call(&mut gateway, name, "wonderland").backend().is_some(), "{name} goes on");
            }
        }
    }
    let (checked, spent) = (2_000 - busy, processor_time().saturating_sub(started));
    println!("2000 wrong passwords in {spent:.1?}, {checked} of them checked, the slowest in {slowest:.1?}");
    // A whole second's budget is there at the start, of which the dearest takes 16 ms and the cheapest one.
    assert!((3..=BUDGET).contains(&checked), "{checked} were checked");
    assert!(slowest < SLOWEST, "a check held the worker up for {slowest:?}");
}

//! Modules that fail and Envoys that misbehave: neither takes anything down but what is its own.

use envoy_types::pb::envoy::{
    config::core::v3::HeaderValue,
    service::ext_proc::v3::{
        ProcessingRequest, external_processor_client::ExternalProcessorClient, processing_request::Request,
    },
};
use tonic::Code;

use crate::{
    life::page,
    talk::{PASS, World, body, if_it_ends, request, response},
};

const TRAP: &str = "unreachable";
const LOOP: &str = "(loop (br 0))";
/// A page is 64 KiB; the limit of these tests is 1 MiB.
const GROW: &str = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";

#[test]
fn a_module_that_fails_takes_the_requests_of_its_instance_with_it_and_no_others() {
    for failure in [TRAP, LOOP, GROW] {
        let world = World::new(&if_it_ends(failure));
        let mut bystander = world.begin();
        bystander.say(request(false));
        assert_eq!(bystander.verdict(), 0);
        let mut victim = world.begin();
        victim.say(request(true));
        assert_eq!(victim.verdict(), 500, "{failure}");
        assert_eq!(bystander.verdict(), 500, "it was in the same instance");
        let mut next = world.begin();
        next.say(request(false));
        assert_eq!(next.verdict(), 0, "another instance is there at once");
        assert!(world.log.has("an instance has died and is replaced"));
        let record = &world.log.records()[0];
        assert_eq!((record.ended.code, record.ended.details.as_str()), (500, "wasm_fail_stream"));
    }
}

#[test]
fn messages_out_of_order_end_their_call_only() {
    let world = World::new(PASS);
    let mut good = world.begin();
    good.say(request(false));
    assert_eq!(good.verdict(), 0);
    for wrong in [[body(false), body(true)], [request(true), body(true)], [response(), request(true)]] {
        let mut bad = world.begin();
        wrong.into_iter().for_each(|message| bad.say(message));
        let status = std::iter::from_fn(|| bad.hear()).find_map(Result::err).expect("an error");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    good.say(response());
    assert_eq!(good.verdict(), 0);
}

/// To Envoy, a call that ends without an error is leave to let the request pass.
#[test]
fn a_message_that_is_too_large_fails_its_call() {
    let world = World::new(PASS);
    let mut talk = world.begin();
    let mut large = request(true);
    let Request::RequestHeaders(head) = &mut large else { panic!("it is no head") };
    let field = HeaderValue { key: "x".into(), raw_value: vec![b'a'; 5 << 20], ..HeaderValue::default() };
    head.headers.get_or_insert_default().headers.push(field);
    talk.say(large);
    assert_eq!(talk.hear().unwrap().unwrap_err().code(), Code::OutOfRange);
    assert!(page(&world, "/metrics").contains("enforcer_extproc_refused_calls_total 1"));
}

#[test]
fn a_call_without_content_or_for_nobody_is_refused() {
    let world = World::new(PASS);
    let mut nobody = world.begin_as("nobody").unwrap();
    nobody.say(request(true));
    assert_eq!(nobody.hear().unwrap().unwrap_err().code(), Code::NotFound);
    let mut client = ExternalProcessorClient::new(world.connect("any"));
    let status = world.block_on(async {
        let messages = tokio_stream::iter([ProcessingRequest::default()]);
        client.process(messages).await.unwrap().into_inner().message().await.unwrap_err()
    });
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[test]
fn an_envoy_that_goes_away_or_falls_silent_leaves_nothing_behind() {
    let world = World::new(PASS);
    for _ in 0..100 {
        let mut talk = world.begin();
        talk.say(request(false));
        assert_eq!(talk.verdict(), 0);
    }
    world.until("calls that were cancelled are over", || world.bridge.open() == 0);
    let mut silent = world.begin();
    silent.say(request(false));
    assert_eq!(silent.verdict(), 0);
    assert_eq!(silent.hear().unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    world.until("the silent call is over", || world.bridge.open() == 0);
}

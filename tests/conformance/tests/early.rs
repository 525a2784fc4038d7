//! A backend that answers before the request is complete, while a filter still waits for its decision: the response
//! passes, and what is held of the request goes nowhere.

use enforcer_harness::{
    HeaderMap, Module, Value,
    host::{Event, Frame, HttpCallResult, HttpResponse},
};
use serde_json::json;

use crate::world::{Plugin, bare};

#[test]
fn response_ends_the_wait() {
    let calling = json!({ "clusters": ["side"], "deadline_ms": 1000, "at": "request_body" });
    let plugin = Plugin::filter("caller", calling);
    let (mut worker, _) = bare::start(&Module::from_file(plugin.file()).unwrap(), &plugin);
    let stream = worker.open_stream(Value::Map(Vec::new()));
    let head = [(":method", "POST"), (":path", "/"), (":authority", "a")];
    worker.request_headers(stream, HeaderMap::from_iter(head), false);
    worker.request_data(stream, b"secret".to_vec(), true);
    let call = worker.take_events().into_iter().find_map(|event| match event {
        Event::HttpCall(call) => Some(call.token),
        _ => None,
    });

    worker.response_headers(stream, HeaderMap::from_iter([(":status", "401")]), false);
    worker.response_data(stream, b"no".to_vec(), false);
    let to_client = worker.take_events();
    assert!(matches!(
        &to_client[..],
        [Event::ToClient(_, Frame::Headers { .. }), Event::ToClient(_, Frame::Data { .. })]
    ));

    let response =
        HttpResponse { headers: HeaderMap::from_iter([(":status", "200")]), ..HttpResponse::default() };
    worker.http_call_done(call.unwrap(), HttpCallResult::Response(response));
    worker.tick();
    let events = worker.take_events();
    assert!(!events.iter().any(|event| matches!(event, Event::ToUpstream(..))), "{events:?}");

    worker.response_data(stream, b" way".to_vec(), true);
    assert!(worker.take_events().iter().any(|event| matches!(event, Event::Ended(..))));
    assert_eq!((worker.failure(), worker.fatal()), (None, None));
}

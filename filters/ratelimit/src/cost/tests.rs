#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    identity::{self, Called, Caller, Identity},
    native::NativeHost,
};
use serde_json::{Value, json};

use super::*;

fn cost(from: &Value) -> Arc<Cost> {
    let config = json!({"units": 100, "per": "1h", "from": from, "otherwise": 9});
    Arc::new(Cost::new(&serde_json::from_value(config).unwrap()).unwrap())
}

/// A response that has come to its end.
fn total(from: &Value, headers: &[(&str, &str)], body: &[&str]) -> (u64, bool) {
    let (host, called) = (NativeHost::new(), Called::default());
    let none = HeaderMap::default();
    let mut meter = Meter::new(&cost(from), &Request::new(&host, &none, &called, None));
    let head: HeaderMap = headers.iter().copied().collect();
    if meter.on_head(&head) {
        body.iter().for_each(|piece| meter.on_body(piece.as_bytes()));
    }
    meter.total()
}

#[test]
fn numbers_are_whole_or_begun() {
    for (text, cost) in [
        ("0", Some(0)),
        (" 17 ", Some(17)),
        ("17.0", Some(17)),
        ("0.0003", Some(1)),
        ("18446744073709551616", Some(MOST)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1e3", None),
        ("1.", None),
        (".5", None),
        ("ten", None),
    ] {
        assert_eq!(number(text.as_bytes()), cost, "{text}");
    }
}

#[test]
fn a_request_names_its_cost_once() {
    let (host, called) = (NativeHost::new(), Called::default());
    let claims = [("weight".to_owned(), "4".to_owned())].into();
    let caller = Caller { issuer: "idp".into(), claims, ..Caller::default() };
    let identity = Identity { caller: identity::Part::new(caller), ..Identity::default() };
    let named = |from: &Value, headers: &[(&str, &str)]| {
        let headers: HeaderMap = headers.iter().copied().collect();
        cost(from).named(&Request::new(&host, &headers, &called, Some(&identity)))
    };
    assert_eq!(named(&json!({"request_header": "X-Cost"}), &[("x-cost", "12")]), Some(12));
    assert_eq!(named(&json!({"request_header": "x-cost"}), &[("x-cost", "12"), ("x-cost", "0")]), None);
    assert_eq!(named(&json!({"claim": "weight"}), &[]), Some(4));
    assert_eq!(named(&json!({"claim": "other"}), &[]), None);
}

#[test]
fn a_response_names_its_cost() {
    let json = || json!({"json": ["usage.in", "usage.out"]});
    let body = r#"{"usage":{"in":3,"out":4}}"#;
    assert_eq!(total(&json(), &[], &[body]), (7, true));
    assert_eq!(total(&json(), &[("content-type", "Application/JSON; charset=utf-8")], &[body]), (7, true));
    assert_eq!(total(&json(), &[("content-type", "text/html")], &[body]), (9, false));
    assert_eq!(total(&json(), &[], &[r#"{"usage":{"#]), (9, false), "it broke off");
    assert_eq!(total(&json!({"response_header": "x-cost"}), &[("x-cost", "5")], &[]), (5, true));
    assert_eq!(total(&json!({"response_header": "x-cost"}), &[(":status", "200")], &[]), (9, false));
    assert_eq!(
        total(&json!({"response_header": "x-cost"}), &[(":status", "429")], &[]),
        (0, true),
        "an error is free"
    );
    assert_eq!(total(&json(), &[(":status", "400")], &[body]), (7, true), "unless it says otherwise");
}

#[test]
fn a_stream_names_its_cost_in_the_end() {
    let events = [("content-type", "text/event-stream")];
    let openai = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"usage\\\":{\\\"total_tokens\\\":1}}\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"total_to",
        "kens\":21}}\n\ndata: [DONE]\n\n",
    ];
    assert_eq!(total(&json!({"json": ["usage.total_tokens"]}), &events, &openai), (21, true));
    let anthropic = [
        "event: message_start\r\ndata: {\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\r\n\r\n",
        "event: message_delta\r\ndata: {\"usage\":{\"output_tokens\":15}}\r\n\r\n",
    ];
    let paths = json!({"json": ["message.usage.input_tokens", "usage.output_tokens"]});
    assert_eq!(total(&paths, &events, &anthropic), (40, true));
    let broken = ["data: {\"a\": \"\n\ndata: {\"cost\":2}\n\n"];
    assert_eq!(
        total(&json!({"json": ["cost"]}), &events, &broken),
        (2, true),
        "one event says nothing of the next"
    );
}

#[test]
fn a_cost_is_somewhere() {
    for from in
        [json!({"json": []}), json!({"json": ["a..b"]}), json!({"claim": ""}), json!({"response_header": ""})]
    {
        let config = json!({"units": 1, "per": "1s", "from": from});
        assert_eq!(Cost::new(&serde_json::from_value(config).unwrap()).unwrap_err().path, "from");
    }
}

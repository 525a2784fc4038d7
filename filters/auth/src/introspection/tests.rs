#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{Messages, Wishes},
    native::NativeHost,
};
use serde_json::json;

use super::*;

fn asker() -> Asker {
    let config = json!({
        "cluster": "idp", "url": "https://idp/introspect",
        "client": {"basic": {"id": "gate way", "secret": "s:&é"}},
    });
    Asker::new(FetchKey { filter: "auth", id: 100 }, serde_json::from_value(config).unwrap()).unwrap()
}

fn ask(asker: &mut Asker, host: &NativeHost, token: &str) -> (Result<u32, Refusal>, Option<HttpCall>) {
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let asked = asker.ask(token, &mut Cx::new(host, &messages, &mut wishes), true);
    (asked.map(|(key, _)| key.id), wishes.fetches.pop().map(|(_, call)| call))
}

fn answer(asker: &mut Asker, host: &NativeHost, id: u32, status: u16, body: &str) -> String {
    let reply = HttpReply { status, headers: [("a", "b")].into_iter().collect(), body: body.into() };
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let answered = asker.answered(id, Ok(&reply), &mut Cx::new(host, &messages, &mut wishes));
    assert_eq!(wishes.woken.len(), usize::from(answered.is_some()));
    answered.map_or("nobody asked".to_owned(), |(token, answer)| {
        let answer = match answer {
            Answer::Active(_) => "active",
            Answer::Inactive => "inactive",
            Answer::Failed => "failed",
        };
        format!("{}: {answer}", String::from_utf8_lossy(&token))
    })
}

#[test]
fn a_question_is_as_the_rfc_says() {
    let (id, call) = ask(&mut asker(), &NativeHost::new(), "a/b+c=");
    let call = call.unwrap();
    assert_eq!((id, call.method, &*call.path), (Ok(101), "POST", "/introspect"));
    assert_eq!(call.body, b"token=a%2Fb%2Bc%3D&token_type_hint=access_token");
    let sent = call.headers.iter().find(|(name, _)| name == "authorization").unwrap();
    assert_eq!(sent.1, format!("Basic {}", STANDARD.encode("gate%20way:s%3A%26%C3%A9")));
}

#[test]
fn there_is_one_question_for_each_token() {
    let (mut asker, host) = (asker(), NativeHost::new());
    assert!(matches!(ask(&mut asker, &host, "a"), (Ok(101), Some(_))));
    assert!(matches!(ask(&mut asker, &host, "a"), (Ok(101), None)));
    assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
    assert_eq!(answer(&mut asker, &host, 101, 200, r#"{"active": true}"#), "a: active");
    assert_eq!(answer(&mut asker, &host, 101, 200, r#"{"active": true}"#), "nobody asked");
    assert!(matches!(ask(&mut asker, &host, "a"), (Ok(103), None)), "it is known");
    host.advance(Duration::from_secs(60));
    assert!(matches!(ask(&mut asker, &host, "c"), (Ok(104), Some(_))));
    assert_eq!(answer(&mut asker, &host, 102, 200, r#"{"active": false}"#), "b: inactive");
}

#[test]
fn an_answer_that_cannot_be_relied_on_is_none() {
    for (status, body) in [
        (401, r#"{"active": true}"#),
        (302, r#"{"active": true}"#),
        (200, r#"{"active": "true"}"#),
        (200, r#"{"active": true, "active": true}"#),
        (200, "{}"),
        (200, "[]"),
        (200, ""),
    ] {
        let (mut asker, host) = (asker(), NativeHost::new());
        ask(&mut asker, &host, "a").0.unwrap();
        assert_eq!(answer(&mut asker, &host, 101, status, body), "a: failed", "{status} {body}");
        assert!(matches!(ask(&mut asker, &host, "b"), (Err(Refusal::IntrospectionUnavailable), None)));
        host.advance(PAUSE);
        assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
    }
}

#[test]
fn a_question_that_is_refused_stops_no_other() {
    let (mut asker, host) = (asker(), NativeHost::new());
    ask(&mut asker, &host, "a").0.unwrap();
    assert_eq!(answer(&mut asker, &host, 101, 400, r#"{"error": "invalid_request"}"#), "a: failed");
    assert!(matches!(ask(&mut asker, &host, "b"), (Ok(102), Some(_))));
}

#[test]
fn a_flood_of_tokens_is_bounded() {
    let (mut asker, host) = (asker(), NativeHost::new());
    for number in 0..MAX_FLIGHTS {
        ask(&mut asker, &host, &format!("t{number}")).0.unwrap();
    }
    assert_eq!(ask(&mut asker, &host, "one-more").0, Err(Refusal::Busy));
    assert!(ask(&mut asker, &host, "t7").0.is_ok());
    assert!(matches!(ask(&mut asker, &host, "no token").0, Err(Refusal::Malformed(_))));
}

/// What a tick brings: tokens with what is known of them, and what is asked.
fn tick(asker: &mut Asker, host: &NativeHost) -> (Vec<(String, bool, u64)>, usize) {
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    let overheard = asker.on_tick(&mut Cx::new(host, &messages, &mut wishes));
    assert_eq!(wishes.woken.len(), overheard.len());
    let told = |one: Overheard| {
        let active = matches!(one.answer, Answer::Active(_));
        (String::from_utf8_lossy(&one.token).into_owned(), active, one.age.as_secs())
    };
    (overheard.into_iter().map(told).collect(), wishes.fetches.len())
}

#[test]
fn one_worker_asks_for_all() {
    let (mut one, mut two, host) = (asker(), asker(), NativeHost::new());
    let other = host.sibling();
    assert!(matches!(ask(&mut one, &host, "a"), (Ok(101), Some(_))));
    assert!(matches!(ask(&mut two, &other, "a"), (Ok(101), None)));
    assert_eq!(tick(&mut two, &other), (vec![], 0), "not yet");
    assert_eq!(answer(&mut one, &host, 101, 200, r#"{"active": true, "sub": "b"}"#), "a: active");
    host.advance(Duration::from_secs(7));
    assert_eq!(tick(&mut two, &other), (vec![("a".to_owned(), true, 7)], 0));
    assert_eq!(tick(&mut two, &other), (vec![], 0), "once");
    // Who comes later need not ask, as long as the answer is believed.
    let mut three = asker();
    assert!(matches!(ask(&mut three, &other, "a"), (Ok(101), None)));
    assert_eq!(tick(&mut three, &other), (vec![("a".to_owned(), true, 7)], 0));
    host.advance(Duration::from_secs(53));
    assert!(matches!(ask(&mut three, &other, "a"), (Ok(102), Some(_))));
    let held: usize = host.shared_data().values().map(Vec::len).sum();
    assert!(held < 100, "one place, without the token: {held}");
}

#[test]
fn a_worker_that_dies_is_followed_by_another() {
    let (mut one, mut two, host) = (asker(), asker(), NativeHost::new());
    let other = host.sibling();
    ask(&mut one, &host, "a").0.unwrap();
    drop(one);
    ask(&mut two, &other, "a").0.unwrap();
    host.advance(Duration::from_millis(5_099));
    assert_eq!(tick(&mut two, &other), (vec![], 0), "an answer may still come");
    host.advance(Duration::from_millis(1));
    assert_eq!(tick(&mut two, &other), (vec![], 1));
    assert_eq!(answer(&mut two, &other, 101, 200, r#"{"active": false}"#), "a: inactive");
}

#[test]
fn a_failure_is_known_to_all_and_not_for_long() {
    let (mut one, mut two, host) = (asker(), asker(), NativeHost::new());
    ask(&mut one, &host, "a").0.unwrap();
    ask(&mut two, &host, "a").0.unwrap();
    assert_eq!(answer(&mut one, &host, 101, 500, ""), "a: failed");
    assert_eq!(tick(&mut two, &host), (vec![("a".to_owned(), false, 0)], 0));
    host.advance(PAUSE);
    assert!(matches!(ask(&mut two, &host, "a"), (Ok(102), Some(_))));
}

#[test]
fn another_server_is_another_question() {
    let host = NativeHost::new();
    ask(&mut asker(), &host, "a").0.unwrap();
    let config = json!({"cluster": "idp", "url": "https://other/introspect", "client": {"bearer": "t"}});
    let first = FetchKey { filter: "auth", id: 100 };
    let mut other = Asker::new(first, serde_json::from_value(config).unwrap()).unwrap();
    assert!(matches!(ask(&mut other, &host, "a"), (Ok(101), Some(_))));
}

#[test]
fn where_there_is_no_place_or_too_much_to_say_each_asks_for_itself() {
    let (mut one, mut two, host) = (asker(), asker(), NativeHost::new());
    let keys = |host: &NativeHost| host.shared_data().len();
    ask(&mut one, &host, "t0").0.unwrap();
    // Another token whose place is taken as long as the first is asked about.
    let mut number = 0;
    let token = loop {
        number += 1;
        let before = keys(&host);
        let token = format!("t{number}");
        let mut asker = asker();
        ask(&mut asker, &host, &token).0.unwrap();
        if keys(&host) == before && number < 4_000 {
            break token;
        }
        assert!(number < 4_000, "no two tokens have one place");
    };
    assert!(matches!(ask(&mut two, &host, &token), (Ok(_), Some(_))), "{token}");
    let large = format!(r#"{{"active": true, "x": "{}"}}"#, "y".repeat(3_000));
    ask(&mut two, &host, "t0").0.unwrap();
    assert_eq!(answer(&mut one, &host, 101, 200, &large), "t0: active");
    assert_eq!(tick(&mut two, &host), (vec![], 1));
}

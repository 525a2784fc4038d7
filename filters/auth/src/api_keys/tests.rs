#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use enforcer_core::{
    cx::{Messages, Wishes},
    headers::HeaderMap,
    native::NativeHost,
};
use serde_json::{Value, json};

use super::*;

const HASH_KEY: &str = "0123456789abcdef0123456789abcdef";
const FETCH: FetchKey = FetchKey { filter: "auth", id: 7 };

fn hash(key: &str) -> String {
    HMAC::mac(key, HASH_KEY).iter().map(|byte| format!("{byte:02X}")).collect()
}

fn configured(list: &Value) -> Result<ApiKeys, String> {
    let config = json!({
        "schemes": [{"name": "key", "sources": [{"header": "x-api-key"}, {"query": "key"}]}],
        "listed": {"hash_key": HASH_KEY, "keys": list},
    });
    let general = serde_json::from_value(json!({})).unwrap();
    let keys =
        ApiKeys::new(FETCH, serde_json::from_value(config).unwrap(), &general, Capabilities::default());
    keys.map_err(|error| error.to_string())
}

/// A key `k` with these restrictions.
fn restricted(restrictions: &Value) -> ApiKeys {
    let mut key = json!({"hash": hash("k"), "consumer": "acme"});
    key.as_object_mut().unwrap().extend(restrictions.as_object().unwrap().clone());
    configured(&json!({"inline": [key]})).unwrap()
}

fn ask_with(keys: &mut ApiKeys, host: &NativeHost, headers: &[(&str, &str)], may_wait: bool) -> String {
    let mut map = HeaderMap::default();
    headers.iter().for_each(|(name, value)| map.push(name, value));
    let (messages, mut wishes) = (Messages::of_request(map), Wishes::default());
    let mut cx = Cx::new(host, &messages, &mut wishes);
    let api = serde_json::from_value(json!({"name": "Petstore"})).unwrap();
    match keys.find("key", Some(&api), &mut cx, may_wait) {
        Outcome::Good(good) => good.caller.consumer.clone(),
        Outcome::Refused(refusal, _) => refusal.detail().to_owned(),
        Outcome::Wait(..) => "wait".to_owned(),
    }
}

fn ask(keys: &mut ApiKeys, host: &NativeHost, headers: &[(&str, &str)]) -> String {
    ask_with(keys, host, headers, true)
}

#[test]
fn the_hash_is_the_one_that_openssl_prints() {
    // printf %s k | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    let printed = "92ffef4ccf8e1c5dff19791bbeb6317c5377401e97e3e11af411257be55f551b";
    assert_eq!(hash("k").to_ascii_lowercase(), printed);
}

#[test]
fn a_key_is_found_by_its_hash() {
    let (mut keys, host) = (restricted(&json!({})), NativeHost::new());
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", "k")]), "acme");
    assert_eq!(ask(&mut keys, &host, &[(":path", "/?key=k")]), "acme");
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", "K")]), "enforcer_auth_api_key_unknown");
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", &hash("k"))]), "enforcer_auth_api_key_unknown");
    assert_eq!(ask(&mut keys, &host, &[]), "enforcer_auth_api_key_missing");
    let both = [("x-api-key", "k"), (":path", "/?key=k")];
    assert_eq!(ask(&mut keys, &host, &both), "enforcer_auth_token_repeated");
    let long = "k".repeat(MAX_KEY + 1);
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", &long)]), "enforcer_auth_api_key_unknown");
}

#[test]
fn a_key_ends_when_it_says() {
    let host = NativeHost::new();
    let end = enforcer_core::host::Host::now(&host).as_secs() + 10;
    let mut keys = restricted(&json!({"expires": end}));
    host.advance(Duration::from_secs(9));
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", "k")]), "acme");
    host.advance(Duration::from_secs(1));
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", "k")]), "enforcer_auth_api_key_expired");
}

#[test]
fn a_key_is_for_its_apis() {
    let host = NativeHost::new();
    let key = [("x-api-key", "k")];
    assert_eq!(ask(&mut restricted(&json!({"apis": ["Other", "Petstore"]})), &host, &key), "acme");
    let refused = "enforcer_auth_api_key_api_refused";
    assert_eq!(ask(&mut restricted(&json!({"apis": ["Petstore2"]})), &host, &key), refused);
}

#[test]
fn a_key_is_for_its_callers() {
    let at = |address: &str| NativeHost::new().with_attribute("source.address", address);
    let mut keys = restricted(&json!({"allowed_ips": ["10.0.0.0/8", "2001:db8::/32"]}));
    let mut ask = |host: &NativeHost| ask(&mut keys, host, &[("x-api-key", "k")]);
    for inside in ["10.1.2.3:4", "[2001:db8::1]:4", "[::ffff:10.1.2.3]:4"] {
        assert_eq!(ask(&at(inside)), "acme", "{inside}");
    }
    for outside in ["11.1.2.3:4", "[2001:db9::1]:4", "/a/unix/socket", ""] {
        assert_eq!(ask(&at(outside)), "enforcer_auth_api_key_address_refused", "{outside}");
    }
    assert_eq!(ask(&NativeHost::new()), "enforcer_auth_api_key_address_refused", "no address at all");
}

#[test]
fn a_key_is_for_its_pages() {
    let host = NativeHost::new();
    let mut keys = restricted(&json!({"allowed_referers": ["https://*.example.com/*"]}));
    let mut from = |referers: &[&str]| {
        let headers: Vec<_> = referers.iter().map(|referer| ("referer", *referer)).collect();
        ask(&mut keys, &host, &[&[("x-api-key", "k")], &headers[..]].concat())
    };
    let refused = "enforcer_auth_api_key_referer_refused";
    assert_eq!(from(&["https://shop.example.com/cart"]), "acme");
    assert_eq!(from(&["https://example.com.evil/"]), refused);
    assert_eq!(from(&["https://shop.example.com/cart", "https://shop.example.com/cart"]), refused);
    assert_eq!(from(&[]), refused);
}

/// What a worker does with an answer of the list's server.
fn answer(keys: &mut ApiKeys, host: &NativeHost, status: u16, body: &str) {
    let headers: HeaderMap = [("etag", "\"1\"")].into_iter().collect();
    let reply = HttpReply { status, headers, body: body.into() };
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    keys.on_fetched(FETCH.id, Ok(&reply), &mut Cx::new(host, &messages, &mut wishes));
}

/// The headers of the fetch that a tick asks for.
fn tick(keys: &mut ApiKeys, host: &NativeHost) -> Option<Vec<(String, String)>> {
    let (messages, mut wishes) = (Messages::default(), Wishes::default());
    keys.on_tick(&mut Cx::new(host, &messages, &mut wishes));
    wishes.fetches.pop().map(|(_, call)| call.headers)
}

fn remote() -> ApiKeys {
    configured(&json!({"remote": {"cluster": "portal", "url": "https://portal/keys"}})).unwrap()
}

fn list(keys: &[&str]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| json!({"hash": hash(key), "consumer": key})).collect();
    json!({"keys": keys}).to_string()
}

#[test]
fn a_list_is_fetched_and_kept_while_nothing_changes() {
    let (mut keys, host) = (remote(), NativeHost::new());
    let key = [("x-api-key", "k")];
    assert_eq!(ask(&mut keys, &host, &key), "wait");
    assert_eq!(ask_with(&mut keys, &host, &key, false), "enforcer_auth_api_keys_unavailable");
    let conditional =
        |headers: Vec<(String, String)>| headers.iter().any(|(name, _)| name == "if-none-match");
    assert!(!conditional(tick(&mut keys, &host).unwrap()));
    answer(&mut keys, &host, 200, &list(&["k"]));
    assert_eq!(ask(&mut keys, &host, &key), "k");
    assert_eq!(ask(&mut keys, &host, &[("x-api-key", "other")]), "enforcer_auth_api_key_unknown");
    host.advance(Duration::from_secs(3000));
    assert!(conditional(tick(&mut keys, &host).unwrap()));
    answer(&mut keys, &host, 304, "");
    host.advance(Duration::from_secs(3000));
    assert_eq!(ask(&mut keys, &host, &key), "k", "6000 s after it came, 3000 s after it was found unchanged");
    host.advance(Duration::from_secs(601));
    assert_eq!(ask_with(&mut keys, &host, &key, false), "enforcer_auth_api_keys_unavailable");
    answer(&mut keys, &host, 304, "");
    assert_eq!(ask(&mut keys, &host, &key), "k");
}

#[test]
fn another_worker_takes_the_list_over() {
    let (mut keys, host) = (remote(), NativeHost::new());
    tick(&mut keys, &host);
    answer(&mut keys, &host, 200, &list(&["k"]));
    let (mut others, sibling) = (remote(), host.sibling());
    assert_eq!(tick(&mut others, &sibling), None);
    assert_eq!(ask(&mut others, &sibling, &[("x-api-key", "k")]), "k");
}

#[test]
fn a_list_that_cannot_be_read_changes_nothing() {
    let (mut keys, host) = (remote(), NativeHost::new());
    tick(&mut keys, &host);
    answer(&mut keys, &host, 200, &list(&["k"]));
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys": [{"hash": "00", "consumer": "a"}]}"#,
        r#"{"keys": [{"hash": "00", "consumer": "a", "allowed_countries": ["CH"]}]}"#,
        &list(&["a", "a"]),
    ] {
        answer(&mut keys, &host, 200, bad);
        assert_eq!(ask_with(&mut keys, &host, &[("x-api-key", "k")], false), "k", "{bad}");
    }
    assert!(host.lines().iter().any(|(_, line)| line.contains("keys[1].hash: this key is listed twice")));
    answer(&mut keys, &host, 200, &list(&[]));
    assert_eq!(ask_with(&mut keys, &host, &[("x-api-key", "k")], false), "enforcer_auth_api_key_unknown");
}

#[test]
fn keys_without_sense_are_refused() {
    let problem = |key: Value| configured(&json!({"inline": [key]})).unwrap_err();
    assert!(
        problem(json!({"hash": "k", "consumer": "a"})).starts_with("listed.keys.inline[0].hash: not 64 hexa")
    );
    let key = |field: &str, value: Value| {
        let mut key = json!({"hash": hash("k"), "consumer": "a"});
        key[field] = value;
        problem(key)
    };
    assert!(key("consumer", json!("")).starts_with("listed.keys.inline[0].consumer: empty"));
    assert!(key("allowed_ips", json!(["10.0.0.0/33"])).contains("`10.0.0.0/33` is neither"));
}

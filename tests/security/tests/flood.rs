//! Ten thousand tokens that nobody has seen before: memory stays where it is, and those who were there go on.

use std::collections::BTreeMap;

use enforcer_harness::{FailurePolicy, Outcome, Vm};
use serde_json::{Value, json};

use crate::{
    bytes::base64url,
    keys::{Key, Keys},
    site::{
        Scene, Wire,
        harness::{InHarness, builder, now, request},
    },
};

const TOKENS: u64 = 10_000;
/// By when caches have filled up.
const WARM: u64 = 2_000;
const CACHE: usize = 256 << 10;

struct Flooded {
    keys: Keys,
    site: InHarness,
    now: u64,
}

impl Flooded {
    fn start(by_host: bool) -> Self {
        let keys = Keys::default()
            .with("rsa", Key::rsa(2048, 65_537))
            .with("ec", Key::p256())
            .with("ed", Key::ed25519());
        let published = ["rsa", "ec", "ed"].map(|name| keys.published(name, &json!({})));
        let scene = Scene {
            name: "flood".to_owned(),
            configuration: json!({
                "token_cache": CACHE.to_string() + "B",
                "issuers": [{
                    "issuer": "https://issuer.example",
                    "jwks": {"remote": {"cluster": "issuer", "url": "https://issuer.example/jwks", "cooldown": "10s"}},
                }],
            }),
            clusters: BTreeMap::from([("issuer".to_owned(), json!({"keys": published}))]),
        };
        let builder = builder(&scene, by_host).failure_policy(FailurePolicy::FailClosed);
        Self { site: InHarness::start_as(builder, by_host), keys, now: now().as_secs() }
    }

    fn claims(&self, number: u64) -> Value {
        json!({"iss": "https://issuer.example", "sub": format!("caller {number}"), "exp": self.now + 3600})
    }

    fn input(&self, key: &str, number: u64) -> String {
        let header = json!({"alg": self.keys.named(key).usual_algorithm(), "kid": key});
        format!("{}.{}", base64url(header.to_string()), base64url(self.claims(number).to_string()))
    }

    fn good(&self, key: &str, number: u64) -> String {
        let (input, key) = (self.input(key, number), self.keys.named(key));
        let signature = key.sign(key.usual_algorithm(), input.as_bytes());
        format!("{input}.{}", base64url(signature))
    }

    fn forged(&self, key: &str, number: u64) -> String {
        let size = if key == "rsa" { 256 } else { 64 };
        let mut signature = vec![0x5a; size];
        signature[..8].copy_from_slice(&number.to_be_bytes());
        format!("{}.{}", self.input(key, number), base64url(signature))
    }

    fn call(&mut self, token: &str) -> Outcome {
        self.site.harness.request(request(&Wire::get("/").bearer(token)))
    }

    fn memory(&self) -> usize {
        self.site.harness.memory_size(Vm::Worker(0))
    }

    /// Sends tokens that are all different, and says by how much memory grew once caches were full.
    fn flood(&mut self, token: impl Fn(&Self, u64) -> String, check: impl Fn(&Outcome)) -> usize {
        let mut warm = 0;
        for number in 0..TOKENS {
            let outcome = self.call(&token(self, number));
            check(&outcome);
            if number == WARM {
                warm = self.memory();
            }
        }
        self.memory().checked_sub(warm).unwrap()
    }
}

/// An allocator may round up once more.
const ROUNDING: usize = 64 << 10;

#[test]
fn forged_tokens() {
    let mut gateway = Flooded::start(true);
    let good = gateway.good("rsa", TOKENS);
    assert!(gateway.call(&good).backend().is_some());
    let grown = gateway.flood(
        |gateway, number| gateway.forged("rsa", number),
        |outcome| assert_eq!(outcome.details(), "enforcer_auth_signature_invalid"),
    );
    println!("{TOKENS} forged tokens: {grown} bytes of memory after the first {WARM}");
    assert!(grown <= ROUNDING, "memory grew by {grown} bytes");
    assert!(gateway.call(&good).backend().is_some());
    assert_eq!(
        gateway.site.harness.counter("enforcer.auth.token_cache.hit"),
        1,
        "the good one is still remembered"
    );
}

#[test]
fn good_tokens() {
    let mut gateway = Flooded::start(true);
    let grown = gateway.flood(
        |gateway, number| gateway.good("ec", number),
        |outcome| assert!(outcome.backend().is_some(), "{}", outcome.details()),
    );
    println!("{TOKENS} good tokens: {grown} bytes of memory after the first {WARM}");
    assert!(grown <= ROUNDING, "memory grew by {grown} bytes");
}

#[test]
fn unknown_keys() {
    let mut gateway = Flooded::start(true);
    let calls = |gateway: &mut Flooded| gateway.site.harness.upstream("issuer").calls().len();
    let before = calls(&mut gateway);
    let grown = gateway.flood(
        |gateway, number| {
            let header = json!({"alg": "RS256", "kid": format!("key {number}")});
            let claims = gateway.claims(number);
            format!("{}.{}.AAAA", base64url(header.to_string()), base64url(claims.to_string()))
        },
        |outcome| assert_eq!(outcome.details(), "enforcer_auth_key_unknown"),
    );
    assert!(grown <= ROUNDING, "memory grew by {grown} bytes");
    assert_eq!(calls(&mut gateway), before, "within the cooldown, nothing is fetched for an unknown key");
}

/// Signatures that take the worker long come out of a budget; whoever is known already does not need it.
#[test]
fn tokens_that_only_the_slow_way_can_check() {
    // ES256 takes three of the budget's 200.
    for (key, by_host, affordable) in [("ed", true, 200), ("rsa", false, 200), ("ec", false, 66)] {
        let mut gateway = Flooded::start(by_host);
        let good = gateway.good(key, TOKENS);
        assert!(gateway.call(&good).backend().is_some());
        // The clock stands still: this is the flood of one moment.
        let mut busy = 0;
        for number in 0..1_000 {
            let outcome = gateway.call(&gateway.forged(key, number));
            match outcome.details() {
                "enforcer_auth_signature_invalid" => {}
                "enforcer_auth_busy" => {
                    busy += 1;
                    assert_eq!(
                        (outcome.status(), outcome.header("retry-after").as_deref()),
                        (503, Some("1"))
                    );
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(
            busy,
            1_000 - affordable + 1,
            "{key}: {affordable} in a second are in the budget, the good one among them"
        );
        assert!(gateway.call(&good).backend().is_some(), "{key}: a known token passes meanwhile");
    }
}

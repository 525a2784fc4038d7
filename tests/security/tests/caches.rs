//! Verified and refused tokens are remembered: neither may stand in for another.

use std::{collections::BTreeMap, time::Duration};

use enforcer_harness::{Outcome, Upstream};
use serde_json::{Value, json};

use crate::{
    bytes::{base64url, decoded, unused_bits_set},
    forgery::{Forgery, forge},
    keys::{Key, Keys},
    site::{
        Scene, Wire,
        harness::{InHarness, now, request},
    },
};

/// A filter with one issuer of an RSA and a P-256 key.
struct Gateway {
    keys: Keys,
    site: InHarness,
    now: u64,
}

impl Gateway {
    fn start(by_host: bool, settings: &Value) -> Self {
        let keys = Keys::default().with("rsa", Key::rsa(2048, 65_537)).with("ec", Key::p256());
        let mut configuration = json!({"issuers": [{
            "issuer": "https://issuer.example",
            "jwks": {"remote": {"cluster": "issuer", "url": "https://issuer.example/jwks"}},
            "revoked": ["revoked"],
        }]});
        configuration.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let clusters = BTreeMap::from([("issuer".to_owned(), key_set(&keys, &["rsa", "ec"]))]);
        let scene = Scene { name: "caches".to_owned(), configuration, clusters };
        Self { site: InHarness::start(&scene, by_host), keys, now: now().as_secs() }
    }

    fn token(&self, key: &str, id: &str) -> String {
        let key_pair = self.keys.named(key);
        let header = json!({"alg": key_pair.usual_algorithm(), "kid": key});
        let claims = json!({"iss": "https://issuer.example", "jti": id, "exp": self.now + 60});
        let input = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let signature = key_pair.sign(key_pair.usual_algorithm(), input.as_bytes());
        format!("{input}.{}", base64url(signature))
    }

    /// The same token with another signature.
    fn forged(&self, key: &str, token: &str, how: Forgery) -> String {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = forge(how, self.keys.named(key), input.as_bytes(), decoded(signature));
        format!("{input}.{}", base64url(signature))
    }

    fn call(&mut self, token: &str) -> Outcome {
        self.site.exchange(request(&Wire::get("/").bearer(token)))
    }

    fn passes(&mut self, token: &str) -> bool {
        self.call(token).backend().is_some()
    }

    fn counted(&self, what: &str) -> u64 {
        self.site.harness.counter(&format!("enforcer.auth.token_cache.{what}"))
    }
}

fn key_set(keys: &Keys, names: &[&str]) -> Value {
    let published = names.iter().map(|name| keys.published(name, &json!({})));
    json!({"keys": published.collect::<Vec<_>>()})
}

/// Both ways of verifying, with caches and without.
fn everywhere(check: impl Fn(Gateway)) {
    for by_host in [true, false] {
        for settings in [json!({}), json!({"token_cache": "0B"})] {
            check(Gateway::start(by_host, &settings));
        }
    }
}

const TAMPERED: [Forgery; 5] =
    [Forgery::FirstBit, Forgery::LastBit, Forgery::Cut, Forgery::ZeroBefore, Forgery::Empty];

#[test]
fn a_tampered_token_is_refused_after_a_good_one_and_does_no_harm_to_it() {
    everywhere(|mut gateway| {
        for key in ["rsa", "ec"] {
            let good = gateway.token(key, key);
            assert!(gateway.passes(&good));
            for how in TAMPERED {
                let bad = gateway.forged(key, &good, how);
                for _ in 0..2 {
                    assert!(!gateway.passes(&bad), "{key}: {how:?}");
                    assert!(gateway.passes(&good), "{key}: after {how:?}");
                }
            }
        }
    });
}

#[test]
fn a_good_token_passes_after_tampered_ones() {
    everywhere(|mut gateway| {
        for key in ["rsa", "ec"] {
            let good = gateway.token(key, key);
            for how in TAMPERED {
                let bad = gateway.forged(key, &good, how);
                assert!(!gateway.passes(&bad) && !gateway.passes(&bad), "{key}: {how:?}");
            }
            assert!(gateway.passes(&good), "{key}");
        }
    });
}

#[test]
fn the_twin_of_a_signature_is_another_text_and_the_same_token() {
    everywhere(|mut gateway| {
        let good = gateway.token("ec", "good");
        let twin = gateway.forged("ec", &good, Forgery::HighS);
        assert_ne!(good, twin);
        assert!(gateway.passes(&good));
        let before = gateway.counted("hit");
        assert!(gateway.passes(&twin));
        assert_eq!(gateway.counted("hit"), before, "found in the cache by less than its whole text");

        let revoked = gateway.token("ec", "revoked");
        let twin = gateway.forged("ec", &revoked, Forgery::HighS);
        assert!(
            !gateway.passes(&revoked) && !gateway.passes(&twin),
            "revoked by its claims, not by its text"
        );
    });
}

#[test]
fn another_spelling_of_a_good_token_is_refused() {
    everywhere(|mut gateway| {
        let good = gateway.token("rsa", "good");
        assert!(gateway.passes(&good));
        let (input, signature) = good.rsplit_once('.').unwrap();
        let others = [unused_bits_set(signature), format!("{signature}="), format!("{signature}%3D")];
        for other in others {
            assert!(!gateway.passes(&format!("{input}.{other}")), "{other}");
        }
    });
}

#[test]
fn what_is_remembered_ends_with_the_token_and_with_its_key() {
    everywhere(|mut gateway| {
        let (kept, ended) = (gateway.token("ec", "kept"), gateway.token("rsa", "ended"));
        assert!(gateway.passes(&kept) && gateway.passes(&ended));
        gateway.site.harness.advance(Duration::from_secs(62));
        assert!(gateway.passes(&kept), "leeway of 5 s");
        gateway.site.harness.advance(Duration::from_secs(5));
        assert_eq!(gateway.call(&kept).details(), "enforcer_auth_token_expired");
    });
    everywhere(|mut gateway| {
        // Good for as long as the test takes.
        gateway.now += 3600;
        let (kept, gone) = (gateway.token("ec", "kept"), gateway.token("rsa", "gone"));
        assert!(gateway.passes(&kept) && gateway.passes(&gone));
        let rest = key_set(&gateway.keys, &["ec"]);
        gateway.site.harness.upstream("issuer").set(Upstream::reply(200, &[], rest.to_string()));
        gateway.site.harness.advance(Duration::from_secs(400));
        assert!(gateway.passes(&kept));
        assert_eq!(gateway.call(&gone).details(), "enforcer_auth_key_unknown");
    });
}

#[test]
fn remembering_is_done() {
    let mut gateway = Gateway::start(true, &json!({}));
    let good = gateway.token("rsa", "good");
    let bad = gateway.forged("rsa", &good, Forgery::FirstBit);
    assert!(gateway.passes(&good) && gateway.passes(&good));
    assert!(!gateway.passes(&bad) && !gateway.passes(&bad));
    assert_eq!([gateway.counted("hit"), gateway.counted("refused"), gateway.counted("miss")], [1, 1, 2]);
    let mut without = Gateway::start(true, &json!({"token_cache": "0B"}));
    let good = without.token("rsa", "good");
    assert!(without.passes(&good) && without.passes(&good));
    assert_eq!(without.counted("hit"), 0);
}

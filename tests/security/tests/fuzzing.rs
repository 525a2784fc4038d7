//! The fuzz targets on seeds and on mutations of them, the same ones in every run.
//!
//! `FUZZ_SEEDS=folder` writes the seeds for `make fuzz`, one folder a target.

use std::{fs, path::Path};

use enforcer_security_tests::{CONFIGURATION, PART, carried, jwks, parse, verify};
use serde_json::{Value, json};

use crate::{attacks::List, bytes::base64url, keys::Key};

const ITERATIONS: usize = 20_000;
/// Longer seeds cost time and find nothing more.
const LONGEST: usize = 4 << 10;

#[test]
fn parse_takes_anything() {
    run("parse", &tokens(), parse);
}

#[test]
fn verify_takes_anything() {
    run("verify", &requests(), verify);
}

#[test]
fn jwks_takes_anything() {
    run("jwks", &key_sets(), jwks);
}

fn run(name: &str, seeds: &[Vec<u8>], target: fn(&[u8])) {
    if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
        let folder = Path::new(&folder).join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
        return;
    }
    let mut random = Random(0x5eed);
    let mutations = (0..ITERATIONS).map(|_| random.mutation(seeds)).collect::<Vec<_>>();
    for input in seeds.iter().chain(&mutations) {
        let shown = Shown(input);
        target(input);
        drop(shown);
    }
}

/// Prints what went in if it makes the target panic.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input was b\"{}\"", self.0.escape_ascii());
        }
    }
}

/// Every token of our own list.
fn tokens() -> Vec<Vec<u8>> {
    let list = List::read();
    let wires = list.requests("main").into_iter().flat_map(|(_, _, wire)| wire.headers);
    let tokens = wires.filter_map(|(_, value)| Some(value.strip_prefix(b"Bearer ")?.to_vec()));
    tokens.filter(|token| token.len() <= LONGEST).collect()
}

/// The same as values of `Authorization`, and in the other places; and in parts, so that what is mutated is JSON.
fn requests() -> Vec<Vec<u8>> {
    let list = List::read();
    let good = list.good();
    let mut seeds: Vec<_> =
        tokens().into_iter().map(|token| [b"Bearer ", token.as_slice()].concat()).collect();
    seeds.push(format!("/a?x=1&access_token={good}&y=%20").into_bytes());
    seeds.push(format!("/a?%61ccess_token={good}&access_token=").into_bytes());
    seeds.push([&[carried::IN_COOKIE][..], format!("a=1; session={good}; b=\"2\"").as_bytes()].concat());
    for (kid, alg, size) in [("rsa", "RS256", 256), ("ec", "ES256", 64), ("ed", "EdDSA", 64)] {
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
        let claims =
            json!({"iss": "https://issuer.example", "exp": 4_102_444_800_u64, "nbf": 1.5, "aud": ["a"]});
        let parts = [header.into_bytes(), claims.to_string().into_bytes(), vec![7; size]];
        seeds.push([vec![carried::IN_PARTS], parts.join(&PART)].concat());
    }
    seeds
}

/// Sets of every kind of key, right and wrong, and PEM.
fn key_sets() -> Vec<Vec<u8>> {
    let configuration: Value = serde_json::from_str(CONFIGURATION).unwrap();
    let all = configuration.pointer("/issuers/0/jwks/inline").unwrap();
    let secret = json!({"keys": [{"kty": "oct", "kid": "s", "alg": "HS256", "k": base64url([7; 32])}]});
    let p384 = json!({"keys": [Key::p384().jwk()]});
    let odd = json!({"keys": [{"kty": "RSA", "n": "AQAB", "e": "Aw", "use": "enc", "key_ops": ["sign"], "x5c": []}]});
    let rsa = Key::rsa(2048, 65_537);
    let pem = String::from_utf8([rsa.as_secret("spki_pem"), rsa.as_secret("pkcs1_pem")].concat()).unwrap();
    let certificate =
        format!("text\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", rsa.certificate());
    let sets = [all.to_string(), secret.to_string(), p384.to_string(), odd.to_string(), pem, certificate];
    sets.map(String::into_bytes).to_vec()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap()
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = start + self.below((length - start + 1).min(64));
        start..end
    }

    /// One seed, changed once to four times.
    fn mutation(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, seeds);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const TELLING: &[u8] = b".{}[]\",:=%&;-_+/ \\\n\r\0\x7f\x80\xff09AZaz";
        let at = self.below(input.len());
        match self.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = TELLING[self.below(TELLING.len())],
            2 => input.insert(at, TELLING[self.below(TELLING.len())]),
            3 => drop(input.drain(self.range(input.len()))),
            4 => {
                let copy = input[self.range(input.len())].to_vec();
                input.splice(at..at, copy);
            }
            5 => {
                let other = &seeds[self.below(seeds.len())];
                let piece = other[self.range(other.len())].to_vec();
                let replaced = self.range(input.len());
                input.splice(replaced, piece);
            }
            _ => input.truncate(at),
        }
    }
}

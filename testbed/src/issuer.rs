use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Server, lock};
use crate::{Alg, Error, Keys, Received, Reply, TokenBuilder};

/// Where the discovery document is (OpenID Connect Discovery 1.0 section 4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the key set is; the discovery document says so too.
pub const JWKS_PATH: &str = "/jwks";

/// An identity provider: publishes its keys over HTTP and mints tokens.
///
/// It serves [`DISCOVERY_PATH`] and [`JWKS_PATH`], and answers everything else with 404. Either can be made slow,
/// wrong or dead with a [`Reply`]: `Reply::status(500)`, `Reply::slow(..)`, `Reply::reset()`,
/// `Reply::default().body("garbage")`.
#[derive(Debug)]
pub struct Issuer {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    jwks_hits: AtomicU64,
    discovery_hits: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// The `iss` of tokens and discovery document; empty for the server's own URL.
    name: Option<String>,
    url: String,
    /// What signs.
    keys: Arc<Keys>,
    /// Published beside them, oldest first.
    old_keys: Vec<Arc<Keys>>,
    jwks_reply: Reply,
    discovery_reply: Reply,
}

impl Issuer {
    /// Starts on a free port with the keys that all issuers of the process share.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Keys::shared()?)
    }

    /// Starts on a free port with keys of its own.
    pub fn start_with(keys: Arc<Keys>) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                name: None,
                url: String::new(),
                keys,
                old_keys: Vec::new(),
                jwks_reply: Reply::default(),
                discovery_reply: Reply::default(),
            }),
            jwks_hits: AtomicU64::new(0),
            discovery_hits: AtomicU64::new(0),
        });
        let handling = Arc::clone(&shared);
        let server = Server::start(0, move |request| handling.handle(&request))?;
        lock(&shared.state).url = format!("http://{}", server.address());
        Ok(Self { server, shared })
    }

    /// Uses another name in tokens and discovery than the server's URL, such as `https://idp.example.com`.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        lock(&self.shared.state).name = Some(name.to_owned());
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `http://127.0.0.1:PORT`, no slash at the end.
    pub fn url(&self) -> String {
        lock(&self.shared.state).url.clone()
    }

    /// The `iss` of its tokens: the name it was given, else its URL.
    pub fn name(&self) -> String {
        lock(&self.shared.state).name().to_owned()
    }

    /// The keys that sign now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&lock(&self.shared.state).keys)
    }

    /// The key set it publishes when all is well.
    pub fn jwks(&self) -> Value {
        lock(&self.shared.state).jwks()
    }

    /// A token of this issuer, signed with its newest keys.
    pub fn token(&self) -> TokenBuilder {
        self.keys().token().claim("iss", self.name())
    }

    /// Changes how requests for the key set are answered; a reply without a body serves the key set.
    pub fn answer_jwks(&self, reply: Reply) {
        lock(&self.shared.state).jwks_reply = reply;
    }

    /// Changes how requests for discovery are answered; a reply without a body serves the document.
    pub fn answer_discovery(&self, reply: Reply) {
        lock(&self.shared.state).discovery_reply = reply;
    }

    /// How often the key set was asked for.
    pub fn jwks_hits(&self) -> u64 {
        self.shared.jwks_hits.load(Ordering::SeqCst)
    }

    /// How often the discovery document was asked for.
    pub fn discovery_hits(&self) -> u64 {
        self.shared.discovery_hits.load(Ordering::SeqCst)
    }

    /// Adds new keys that sign from now on; the old ones stay published until [`Issuer::retire_old_keys`].
    pub fn rotate(&self) -> Result<Arc<Keys>, Error> {
        let keys = Arc::new(Keys::generate(self.keys().number().saturating_add(1))?);
        let mut state = lock(&self.shared.state);
        let old = std::mem::replace(&mut state.keys, Arc::clone(&keys));
        state.old_keys.push(old);
        Ok(keys)
    }

    /// Publishes only the keys that sign now.
    pub fn retire_old_keys(&self) {
        lock(&self.shared.state).old_keys.clear();
    }
}

impl Shared {
    fn handle(&self, request: &Received) -> Reply {
        let state = lock(&self.state);
        let (hits, reply, document) = match request.path.as_str() {
            JWKS_PATH => (&self.jwks_hits, &state.jwks_reply, state.jwks()),
            DISCOVERY_PATH => (&self.discovery_hits, &state.discovery_reply, state.discovery()),
            _ => return Reply::status(404).body("no such document\n"),
        };
        hits.fetch_add(1, Ordering::SeqCst);
        let reply = reply.clone();
        if reply.body.is_some() {
            return reply;
        }
        reply.header("content-type", "application/json").body(document.to_string())
    }
}

impl State {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.url)
    }

    fn jwks(&self) -> Value {
        let published = self.old_keys.iter().chain([&self.keys]);
        let keys = published.flat_map(|keys| [keys.jwk(Alg::RS256), keys.jwk(Alg::ES256)]);
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.name(),
            "jwks_uri": format!("{}{JWKS_PATH}", self.url),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RawClient, Request};

    fn get(issuer: &Issuer, path: &str) -> crate::Response {
        RawClient::new(issuer.address()).send(&Request::get(path)).unwrap()
    }

    fn kids(issuer: &Issuer) -> Vec<String> {
        let jwks: Value = serde_json::from_slice(&get(issuer, JWKS_PATH).body).unwrap();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn discovery_leads_to_the_keys() {
        let issuer = Issuer::start().unwrap().named("https://idp.example.com");
        let document: Value = serde_json::from_slice(&get(&issuer, DISCOVERY_PATH).body).unwrap();
        assert_eq!(document["issuer"], "https://idp.example.com");
        assert_eq!(document["jwks_uri"], format!("{}/jwks", issuer.url()));
        assert_eq!(kids(&issuer), ["rsa-1", "ec-1"]);
        assert_eq!((issuer.discovery_hits(), issuer.jwks_hits()), (1, 1));
        assert_eq!(get(&issuer, "/elsewhere").status, 404);
    }

    #[test]
    fn keys_rotate_and_old_ones_retire() {
        let issuer = Issuer::start().unwrap();
        issuer.rotate().unwrap();
        assert_eq!(kids(&issuer), ["rsa-1", "ec-1", "rsa-2", "ec-2"]);
        issuer.retire_old_keys();
        assert_eq!(kids(&issuer), ["rsa-2", "ec-2"]);
    }

    #[test]
    fn misbehaves_on_request() {
        let issuer = Issuer::start().unwrap();
        issuer.answer_jwks(Reply::status(500).body("<html>"));
        let answer = get(&issuer, JWKS_PATH);
        assert_eq!((answer.status, answer.text()), (500, "<html>".to_owned()));
        issuer.answer_jwks(Reply::default().body(vec![b'x'; 10 << 20]));
        assert_eq!(get(&issuer, JWKS_PATH).body.len(), 10 << 20);
        issuer.answer_jwks(Reply::reset());
        assert!(RawClient::new(issuer.address()).send(&Request::get(JWKS_PATH)).is_err());
        assert_eq!(issuer.jwks_hits(), 3);
    }
}

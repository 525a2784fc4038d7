//! Who may call: bearer tokens, scopes, default deny.
//!
//! A request is matched to an operation of the configured APIs; what that operation asks for decides whether a
//! token is needed. The token is found ([`source`]) and taken apart ([`token`]), its claims are checked
//! ([`claims`]), its issuer's key is found ([`keys`]) and its signature checked ([`jwk`], [`signature`]);
//! [`verifier`] does it once for each token. What was learnt goes down the chain as the identity and, where
//! configured, to the backend in headers; the token itself stays here.

pub mod budget;
pub mod claims;
pub mod config;
pub mod der;
pub mod json;
pub mod jwk;
pub mod keys;
pub mod pem;
pub mod policy;
pub mod refusal;
pub mod signature;
pub mod source;
pub mod token;
pub mod verifier;

use std::{mem, rc::Rc, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{Cx, FetchKey},
    edits::Edits,
    fault::{Detail, Dialect},
    filter::{Background, Capabilities, Event, Filter, Needs, Response, Step},
    headers::HeaderMap,
    host::Level,
    identity::Identity,
    mode::Mode,
};

use crate::{
    config::{AuthConfig, Jwks},
    policy::{Policy, Target, Wanted},
    refusal::{Claimed, Refusal},
    source::{Several, Sources},
    verifier::{Outcome, Verified, Verifier},
};

/// The auth filter.
#[derive(Debug)]
pub struct Auth {
    policy: Policy,
    verifier: Verifier,
    sources: Sources,
    forward_token: bool,
    errors: Dialect,
    mode: Mode,
    realm: String,
    /// Headers that carry claims, of all issuers: what a client sends under these names is removed.
    claim_headers: Vec<String>,
    clusters: Vec<String>,
}

/// What is decided about a request.
enum Decision {
    /// No credential is needed, and none was looked at.
    Open(Target),
    Allowed(Target, Rc<Verified>, Edits),
    /// An OPTIONS request to a path that has other methods.
    Options(String),
    Refused(Option<Target>, Refusal, Claimed),
    Wait(FetchKey, Duration),
}

impl Filter for Auth {
    const NAME: &'static str = "auth";
    type Config = AuthConfig;
    type Exchange = ();

    fn new(mut config: AuthConfig, capabilities: Capabilities) -> Result<Self, ConfigError> {
        let clusters = config.issuers.iter().filter_map(|issuer| match &issuer.jwks {
            Jwks::Remote(remote) => Some(remote.cluster.clone()),
            Jwks::Inline(_) | Jwks::Pem(_) => None,
        });
        let claim_headers = config.issuers.iter().flat_map(|issuer| &issuer.claim_headers);
        Ok(Self {
            clusters: clusters.collect(),
            claim_headers: claim_headers.map(|mapping| mapping.header.to_ascii_lowercase()).collect(),
            sources: Sources::new(mem::take(&mut config.token_sources))?,
            forward_token: config.forward_token,
            errors: config.errors,
            mode: config.mode,
            realm: mem::take(&mut config.realm),
            policy: Policy::new(mem::take(&mut config.apis), &config.issuers)?,
            verifier: Verifier::new(Self::NAME, config, capabilities)?,
        })
    }

    fn needs(&self) -> Needs {
        Needs { clusters: self.clusters.clone(), ..Needs::default() }
    }

    fn on_event(&mut self, _exchange: &mut (), event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let may_wait = match event {
            Event::RequestHead => true,
            Event::Woken | Event::Deadline => false,
            _ => return Step::proceed(),
        };
        match self.decide(cx, may_wait) {
            Decision::Open(target) => self.open(target, cx),
            Decision::Allowed(target, verified, edits) => self.allow(target, &verified, edits, cx),
            Decision::Options(_) if self.mode == Mode::Shadow => Step::proceed(),
            Decision::Options(allow) => Step::Respond(options(allow)),
            Decision::Refused(target, refusal, claimed) => self.refuse(target, &refusal, &claimed, cx),
            Decision::Wait(on, deadline) => Step::Wait { on, deadline },
        }
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        match event {
            Background::Tick => self.verifier.on_tick(cx),
            Background::Fetched(key, reply) if key.filter == Self::NAME => {
                self.verifier.on_fetched(key.id, reply, cx);
            }
            Background::Fetched(..) | Background::Draining => {}
        }
    }
}

impl Auth {
    fn decide(&mut self, cx: &mut Cx<'_>, may_wait: bool) -> Decision {
        let refused = |target, refusal| Decision::Refused(target, refusal, Claimed::default());
        let headers = cx.request_headers();
        let target = match self.policy.find(headers) {
            Wanted::Operation(target) => target,
            Wanted::Options(allow) => return Decision::Options(allow),
            Wanted::Refused(refusal) => return refused(None, refusal),
        };
        let requirement = self.policy.requirement(&target);
        if requirement.is_open() {
            return Decision::Open(target);
        }
        let carried = match self.sources.find(headers) {
            Ok(Some(carried)) => carried,
            Ok(None) if requirement.is_optional() => return Decision::Open(target),
            Ok(None) => return refused(Some(target), Refusal::Missing),
            Err(Several) => return refused(Some(target), Refusal::Repeated),
        };
        match self.verifier.verify(carried.text, cx, may_wait) {
            Outcome::Verified(verified) => match self.policy.check(&target, &verified) {
                Ok(()) => {
                    let edits = self.without_spoofed_claims(headers);
                    let edits = match self.forward_token {
                        true => edits,
                        false => self.sources.remove(carried, headers, edits),
                    };
                    Decision::Allowed(target, verified, edits)
                }
                Err(refusal) => Decision::Refused(Some(target), refusal, verified.claimed()),
            },
            Outcome::Refused(refusal, claimed) => Decision::Refused(Some(target), refusal, claimed),
            Outcome::Wait(on, deadline) => Decision::Wait(on, deadline),
        }
    }

    fn open(&self, target: Target, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.auth.open", 1);
        let mut edits = self.without_spoofed_claims(cx.request_headers());
        edits.identity = Some(Identity { called: self.policy.called(&target), ..Identity::default() });
        Step::Continue(edits)
    }

    fn allow(&self, target: Target, verified: &Verified, mut edits: Edits, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.auth.allowed", 1);
        for (header, value) in &verified.headers {
            edits = edits.set(&**header, value.as_bytes());
        }
        let (called, caller) = (self.policy.called(&target), verified.caller.clone());
        edits.identity = Some(Identity { called, caller, ..Identity::default() });
        Step::Continue(edits)
    }

    fn refuse(&self, target: Option<Target>, refusal: &Refusal, claimed: &Claimed, cx: &Cx<'_>) -> Step {
        let called = target.map(|target| self.policy.called(&target)).unwrap_or_default();
        let identity = Some(Identity { called, fault: refusal.detail().into(), ..Identity::default() });
        if self.mode == Mode::Shadow {
            cx.host.count("enforcer.auth.shadow", 1);
            cx.host.log(
                Level::Info,
                format_args!("auth: would refuse ({}): {claimed}{refusal}", refusal.detail()),
            );
            let edits = self.without_spoofed_claims(cx.request_headers());
            return Step::Continue(Edits { identity, ..edits });
        }
        cx.host.count("enforcer.auth.refused", 1);
        cx.host.count(refusal.metric(), 1);
        if cx.host.logs(Level::Debug) {
            cx.host
                .log(Level::Debug, format_args!("auth: refused ({}): {claimed}{refusal}", refusal.detail()));
        }
        let fault = refusal.fault(&self.realm, self.errors);
        Step::Respond(Response { identity, ..fault.respond_to(cx.request_headers(), self.errors) })
    }

    /// Headers that only this filter may set are not taken from clients, whatever the operation.
    fn without_spoofed_claims(&self, headers: &HeaderMap) -> Edits {
        let spoofed = self.claim_headers.iter().filter(|name| headers.get(name).is_some());
        spoofed.fold(Edits::default(), |edits, name| edits.remove(name.clone()))
    }
}

/// Choreo Connect's answer to an OPTIONS request that the API does not define.
fn options(allow: String) -> Response {
    Response {
        status: 204,
        headers: vec![("allow".to_owned(), allow)],
        body: Vec::new(),
        detail: Detail::new("enforcer_auth_options"),
        identity: None,
    }
}

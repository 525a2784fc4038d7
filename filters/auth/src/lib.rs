//! Who may call: bearer tokens, scopes, API keys, default deny.
//!
//! A request is matched to an operation of the configured APIs ([`policy`]); what that operation asks for decides
//! which credentials are looked at ([`credentials`]). A token is found ([`source`]) and taken apart ([`token`]), its
//! claims are checked ([`claims`]), its issuer's key is found ([`keys`]) and its signature checked ([`jwk`],
//! [`signature`]); [`verifier`] does it once for each token. An API key is found in its list ([`api_keys`]), a name and
//! password in a file of them ([`basic`]), a client certificate among those that are known ([`certificates`]). What was
//! learnt goes down the chain as the identity and, where configured, to the backend in headers; the credentials
//! themselves stay here.

pub mod api_keys;
pub mod basic;
pub mod budget;
pub mod certificates;
pub mod claims;
pub mod config;
pub mod credentials;
pub mod der;
pub mod htpasswd;
pub mod introspection;
pub mod json;
pub mod jwk;
pub mod key_type;
pub mod keys;
pub mod net;
pub mod pem;
pub mod policy;
pub mod refusal;
pub mod remote;
pub mod revocation;
pub mod signature;
pub mod source;
pub mod token;
pub mod verifier;
pub mod wso2;

use std::{mem, time::Duration};

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
    api_keys::ApiKeys,
    basic::Basic,
    certificates::Certificates,
    config::{ApiKeyList, AuthConfig, Jwks},
    credentials::{API_KEYS, Admitted, Credentials, REVOCATION, Refused, Verdict},
    key_type::{CLUSTER_HEADER, KeyType},
    policy::{Offered, Policy, Target, Wanted},
    revocation::Revocation,
    source::Sources,
    token::Form,
    verifier::Verifier,
};

/// The auth filter.
#[derive(Debug)]
pub struct Auth {
    policy: Policy,
    credentials: Credentials,
    errors: Dialect,
    mode: Mode,
    realm: String,
    /// Headers that only this filter may set: what a client sends under these names is removed.
    own_headers: Vec<String>,
    clusters: Vec<String>,
}

/// What is decided about a request.
enum Decision<'h> {
    /// No credential is needed, and none came or was looked at.
    Open(Target),
    Allowed(Target, Admitted<'h>),
    /// An OPTIONS request to a path that has other methods.
    Options(String),
    Refused(Option<Target>, Box<Refused>),
    Wait(FetchKey, Duration),
}

impl Filter for Auth {
    const NAME: &'static str = "auth";
    type Config = AuthConfig;
    type Exchange = ();

    fn new(mut config: AuthConfig, capabilities: Capabilities) -> Result<Self, ConfigError> {
        let clusters = clusters(&config).cloned().collect();
        let claim_headers = config.issuers.iter().flat_map(|issuer| &issuer.claim_headers);
        let claim_headers = claim_headers.map(|mapping| mapping.header.to_ascii_lowercase());
        let own_headers = claim_headers.chain([CLUSTER_HEADER.to_owned()]).collect();
        let fetch = FetchKey { filter: Self::NAME, id: API_KEYS };
        let api_keys =
            config.api_keys.take().map(|keys| ApiKeys::new(fetch, keys, &config, capabilities)).transpose();
        let api_keys = api_keys.map_err(|error| error.under("api_keys"))?;
        // A pair is a small part of what a token is.
        let memory = config.token_cache.as_usize() / 16;
        let basic = config.basic.take().map(|basic| Basic::new(&basic, memory)).transpose();
        let basic = basic.map_err(|error| error.under("basic"))?;
        let offered = Offered {
            key_schemes: api_keys.iter().flat_map(ApiKeys::names).map(str::to_owned).collect(),
            basic: basic.is_some(),
            certificates: config.client_certificates.is_some(),
        };
        let certificates = config.client_certificates.take().map(Certificates::new).transpose();
        let certificates = certificates.map_err(|error| error.under("client_certificates"))?;
        let fetch = FetchKey { filter: Self::NAME, id: REVOCATION };
        let revocation = config.revocation.take().map(|config| Revocation::new(fetch, config)).transpose();
        let sources = Sources::new(mem::take(&mut config.token_sources));
        Ok(Self {
            clusters,
            own_headers,
            errors: config.errors,
            mode: config.mode,
            realm: mem::take(&mut config.realm),
            policy: Policy::new(mem::take(&mut config.apis), &config.issuers, offered)?,
            credentials: Credentials {
                sources: sources.map_err(|error| error.under("token_sources"))?,
                forward_token: config.forward_token,
                api_keys,
                basic,
                revocation: revocation.map_err(|error| error.under("revocation"))?,
                certificates: certificates.unwrap_or_default(),
                verifier: Verifier::new(
                    FetchKey { filter: Self::NAME, id: 0 },
                    Form::Strict,
                    config,
                    capabilities,
                )?,
            },
        })
    }

    fn needs(&self) -> Needs {
        let attributes =
            if self.credentials.api_keys.is_some() { vec!["source.address"] } else { Vec::new() };
        Needs { clusters: self.clusters.clone(), attributes, ..Needs::default() }
    }

    fn on_event(&mut self, _exchange: &mut (), event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let may_wait = match event {
            Event::RequestHead => true,
            Event::Woken | Event::Deadline => false,
            _ => return Step::proceed(),
        };
        match self.decide(cx, may_wait) {
            Decision::Open(target) => self.open(target, cx),
            Decision::Allowed(target, admitted) => self.allow(target, &admitted, cx),
            Decision::Options(_) if self.mode == Mode::Shadow => {
                Step::Continue(self.without_spoofed_headers(cx.request_headers()))
            }
            Decision::Options(allow) => Step::Respond(options(allow)),
            Decision::Refused(target, refused) => self.refuse(target, &refused, cx),
            Decision::Wait(on, deadline) => Step::Wait { on, deadline },
        }
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        match event {
            Background::Tick => self.credentials.on_tick(cx),
            Background::Fetched(key, reply) if key.filter == Self::NAME => {
                self.credentials.on_fetched(key.id, reply, cx);
            }
            Background::Fetched(..) | Background::Answered(..) | Background::Draining => {}
        }
    }
}

impl Auth {
    fn decide<'h>(&mut self, cx: &mut Cx<'h>, may_wait: bool) -> Decision<'h> {
        let target = match self.policy.find(cx.request_headers()) {
            Wanted::Operation(target) => target,
            Wanted::Options(allow) => return Decision::Options(allow),
            Wanted::Refused(refusal) => return Decision::Refused(None, Box::new(refusal.into())),
        };
        let alternatives = self.policy.requirement(&target);
        if alternatives.is_open() {
            return Decision::Open(target);
        }
        match self.credentials.judge(&self.policy, &target, alternatives, cx, may_wait) {
            Verdict::Anonymous => Decision::Open(target),
            Verdict::Admitted(admitted) => match self.policy.cluster(&target, admitted.key_type()) {
                Ok(_) => Decision::Allowed(target, admitted),
                Err(refusal) => Decision::Refused(Some(target), Box::new(refusal.into())),
            },
            Verdict::Refused(refused) => Decision::Refused(Some(target), refused),
            Verdict::Wait(on, deadline) => Decision::Wait(on, deadline),
        }
    }

    fn open(&self, target: Target, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.auth.open", 1);
        let mut edits = self.without_spoofed_headers(cx.request_headers());
        edits.identity = Some(Identity { called: self.policy.called(&target), ..Identity::default() });
        Step::Continue(self.routed(edits, &target, KeyType::Unsaid))
    }

    fn allow(&self, target: Target, admitted: &Admitted<'_>, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.auth.allowed", 1);
        let headers = cx.request_headers();
        let mut edits = self.without_spoofed_headers(headers);
        self.credentials.hide(admitted, headers, &mut edits);
        for (header, value) in admitted.headers() {
            edits = edits.set(&**header, value.as_bytes());
        }
        let (called, caller) = (self.policy.called(&target), admitted.caller());
        edits.identity = Some(Identity { called, caller, ..Identity::default() });
        Step::Continue(self.routed(edits, &target, admitted.key_type()))
    }

    /// Tells Envoy's routes which backend it is, where there is a choice.
    fn routed(&self, edits: Edits, target: &Target, key_type: KeyType) -> Edits {
        match self.policy.cluster(target, key_type) {
            Ok(Some(cluster)) => edits.set(CLUSTER_HEADER, cluster.as_bytes()),
            _ => edits,
        }
    }

    fn refuse(&self, target: Option<Target>, refused: &Refused, cx: &Cx<'_>) -> Step {
        let Refused { refusal, claimed } = refused;
        let called = target.map(|target| self.policy.called(&target)).unwrap_or_default();
        let identity = Some(Identity { called, fault: refusal.detail().into(), ..Identity::default() });
        if self.mode == Mode::Shadow {
            cx.host.count("enforcer.auth.shadow", 1);
            cx.host.log(
                Level::Info,
                format_args!("auth: would refuse ({}): {claimed}{refusal}", refusal.detail()),
            );
            let edits = self.without_spoofed_headers(cx.request_headers());
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
    fn without_spoofed_headers(&self, headers: &HeaderMap) -> Edits {
        let spoofed = self.own_headers.iter().filter(|name| headers.get(name).is_some());
        spoofed.fold(Edits::default(), |edits, name| edits.remove(name.clone()))
    }
}

/// The clusters that are called.
fn clusters(config: &AuthConfig) -> impl Iterator<Item = &String> {
    let signers = config.api_keys.iter().flat_map(|keys| &keys.signed);
    let issuers = config.issuers.iter().chain(signers).filter_map(|issuer| match &issuer.jwks {
        Jwks::Remote(document) => Some(&document.cluster),
        Jwks::Introspection(server) => Some(&server.cluster),
        Jwks::Inline(_) | Jwks::Pem(_) => None,
    });
    let listed = config.api_keys.iter().filter_map(|keys| keys.listed.as_ref());
    let listed = listed.filter_map(|listed| match &listed.keys {
        ApiKeyList::Remote(document) => Some(&document.cluster),
        ApiKeyList::Inline(_) => None,
    });
    let revoked = config.revocation.iter().filter_map(|revocation| Some(&revocation.list.as_ref()?.cluster));
    issuers.chain(listed).chain(revoked)
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

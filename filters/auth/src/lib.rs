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
pub mod backend_token;
pub mod basic;
pub mod budget;
pub mod certificates;
pub mod claims;
pub mod config;
pub mod credentials;
pub mod decision;
pub mod der;
pub mod htpasswd;
pub mod introspection;
pub mod json;
pub mod jwk;
pub mod key_type;
pub mod keys;
pub mod pem;
pub mod policy;
pub mod publish;
pub mod redirect;
pub mod referer;
pub mod refusal;
pub mod remote;
pub mod revocation;
pub mod signature;
pub mod source;
pub mod subscriptions;
pub mod token;
pub mod verifier;
pub mod wso2;

use std::{mem, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{Callout, Cx, FetchKey},
    edits::Edits,
    fault::{Detail, Dialect},
    filter::{Background, Capabilities, Event, Filter, Needs, Response, Step, Until},
    headers::HeaderMap,
    host::Level,
    identity::Identity,
    mode::Mode,
};

use crate::{
    api_keys::ApiKeys,
    backend_token::{About, BackendTokens},
    basic::Basic,
    certificates::Certificates,
    config::AuthConfig,
    credentials::{API_KEYS, Admitted, Credentials, REVOCATION, Refused, SUBSCRIPTIONS, Verdict},
    decision::{Advice, Opinion, Point, Question},
    key_type::{CLUSTER_HEADER, KeyType},
    policy::{Offered, Policy, Target, Wanted},
    refusal::{DecisionProblem, Refusal},
    revocation::Revocation,
    source::Sources,
    subscriptions::Subscriptions,
    token::Form,
    verifier::Verifier,
};

/// The auth filter.
#[derive(Debug)]
pub struct Auth {
    policy: Policy,
    credentials: Credentials,
    backend_tokens: Option<BackendTokens>,
    /// Who has the last word on callers whose credentials are good.
    decision_point: Option<Point>,
    /// What of the identity is published singly.
    published: publish::Parts,
    errors: Dialect,
    mode: Mode,
    realm: String,
    /// Headers that only this filter may set, for claims, the backend's token and routes: what a client sends under these
    /// names is removed.
    own_headers: Vec<String>,
    clusters: Vec<String>,
}

/// What a request waits beyond the time that an answer may take.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

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
        let clusters = config.clusters_mut().map(|cluster| cluster.clone()).collect();
        let claim_headers = config.issuers.iter().flat_map(|issuer| &issuer.claim_headers);
        let claim_headers = claim_headers.map(|mapping| mapping.header.to_ascii_lowercase());
        let backend_tokens = config.backend_token.clone();
        let backend_tokens =
            backend_tokens.map(|config| BackendTokens::new(config, capabilities)).transpose();
        let backend_tokens = backend_tokens.map_err(|error| error.under("backend_token"))?;
        let assertion = backend_tokens.as_ref().map(BackendTokens::header);
        let own_headers = claim_headers.chain(assertion).chain([CLUSTER_HEADER.to_owned()]).collect();
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
        let revocation = config.revocation.clone().map(|config| Revocation::new(fetch, config)).transpose();
        let fetch = FetchKey { filter: Self::NAME, id: SUBSCRIPTIONS };
        let subscriptions = config.subscriptions.clone();
        let subscriptions = subscriptions
            .map(|table| Subscriptions::new(fetch, table, &config.issuers, &config.apis))
            .transpose();
        let sources = Sources::new(mem::take(&mut config.token_sources));
        let (opa, xacml) = (config.opa.take(), config.xacml.take());
        let published = publish::Parts::new(mem::take(&mut config.publish));
        let mut auth = Self {
            decision_point: None,
            published: published.map_err(|error| error.under("publish"))?,
            clusters,
            own_headers,
            backend_tokens,
            errors: config.errors,
            mode: config.mode,
            realm: mem::take(&mut config.realm),
            policy: Policy::new(mem::take(&mut config.apis), &config.issuers, offered)?,
            credentials: Credentials {
                sources: sources.map_err(|error| error.under("token_sources"))?,
                forward_token: config.forward_token,
                api_keys,
                basic,
                subscriptions: subscriptions.map_err(|error| error.under("subscriptions"))?,
                revocation: revocation.map_err(|error| error.under("revocation"))?,
                certificates: certificates.unwrap_or_default(),
                verifier: Verifier::new(
                    FetchKey { filter: Self::NAME, id: 0 },
                    Form::Strict,
                    config,
                    capabilities,
                )?,
            },
        };
        let hidden = auth.own_headers.iter().cloned();
        auth.decision_point = match (opa, xacml) {
            (None, None) => None,
            (Some(opa), None) => {
                let point = Point::opa(opa, auth.credentials.places(), hidden);
                Some(point.map_err(|error| error.under("opa"))?)
            }
            (None, Some(xacml)) => Some(Point::xacml(xacml).map_err(|error| error.under("xacml"))?),
            (Some(_), Some(_)) => {
                return Err(ConfigError::at(
                    "xacml",
                    "`opa` has the last word already: leave one of them out",
                ));
            }
        };
        let key_set = auth.backend_tokens.as_ref().and_then(BackendTokens::key_set_path);
        if let Some(api) = key_set.and_then(|path| auth.policy.defining(path)) {
            let problem = format!("is also an operation of `{api}`, which nobody could call; choose another");
            return Err(ConfigError::at("backend_token.jwks_path", problem));
        }
        Ok(auth)
    }

    fn needs(&self) -> Needs {
        let attributes = if self.credentials.api_keys.is_some() || self.decision_point.is_some() {
            vec!["source.address"]
        } else {
            Vec::new()
        };
        Needs { clusters: self.clusters.clone(), attributes, ..Needs::default() }
    }

    fn on_event(&mut self, _exchange: &mut (), event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let (may_wait, heard) = match event {
            Event::RequestHead => (true, None),
            Event::Woken => (false, None),
            Event::Callouts(answers) => {
                (false, self.decision_point.as_ref().map(|point| point.read(answers)))
            }
            Event::Deadline => (false, Some(Err(DecisionProblem::Unavailable))),
            _ => return Step::proceed(),
        };
        let key_set = self.backend_tokens.as_ref().and_then(|tokens| tokens.key_set(cx.request_headers()));
        if let Some(response) = key_set {
            return Step::Respond(response);
        }
        match self.decide(cx, may_wait) {
            Decision::Open(target) => self.open(target, cx),
            Decision::Allowed(target, admitted) => match self.advice(target, &admitted, heard, cx) {
                Advice::Decided(Ok(())) => self.allow(target, &admitted, cx),
                Advice::Decided(Err(problem)) => {
                    self.refuse(Some(target), &Refusal::Decision(problem).into(), cx)
                }
                Advice::Ask(call) => {
                    let deadline = call.timeout.saturating_add(GRACE);
                    Step::Await { calls: vec![Callout::Http(*call)], until: Until::All, deadline }
                }
            },
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
    /// Decides anew, unless the first leg of an internal redirect has shown enough.
    fn decide<'h>(&mut self, cx: &mut Cx<'h>, may_wait: bool) -> Decision<'h> {
        match self.decide_alone(cx, may_wait) {
            Decision::Refused(Some(target), refused) => {
                match redirect::admitted(&self.policy, &target, &refused, cx) {
                    Some(admitted) => Decision::Allowed(target, admitted),
                    None => Decision::Refused(Some(target), refused),
                }
            }
            decision => decision,
        }
    }

    fn decide_alone<'h>(&mut self, cx: &mut Cx<'h>, may_wait: bool) -> Decision<'h> {
        let target = match self.policy.find(cx.request_headers()) {
            Wanted::Operation(target) => target,
            Wanted::Options(allow) => return Decision::Options(allow),
            Wanted::Refused(refusal) => return Decision::Refused(None, Box::new(refusal.into())),
        };
        if self.policy.is_blocked(&target) {
            return Decision::Refused(Some(target), Box::new(Refusal::ApiBlocked.into()));
        }
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

    /// What the policy agent says of this, where there is one.
    fn advice(
        &mut self,
        target: Target,
        admitted: &Admitted<'_>,
        heard: Option<Opinion>,
        cx: &Cx<'_>,
    ) -> Advice {
        let Some(point) = &mut self.decision_point else { return Advice::Decided(Ok(())) };
        let (called, caller) = (self.policy.called(&target), admitted.caller());
        let (api, token) = (self.policy.api(&target), admitted.token());
        point.advise(Question { caller: &caller, called: &called, api, token }, heard, cx)
    }

    fn open(&self, target: Target, cx: &Cx<'_>) -> Step {
        cx.host.count("enforcer.auth.open", 1);
        let mut edits = self.without_spoofed_headers(cx.request_headers());
        let identity = Identity { called: self.policy.called(&target), ..Identity::default() };
        self.published.publish(&identity, cx.host);
        edits.identity = Some(identity);
        Step::Continue(self.routed(edits, &target, KeyType::Unsaid))
    }

    fn allow(&mut self, target: Target, admitted: &Admitted<'_>, cx: &Cx<'_>) -> Step {
        let headers = cx.request_headers();
        let (called, caller) = (self.policy.called(&target), admitted.caller());
        if admitted.is_before() {
            // What the first leg took out and put in is still so.
            cx.host.count("enforcer.auth.redirected", 1);
            let identity = Some(Identity { called, caller, ..Identity::default() });
            return Step::Continue(Edits { identity, ..Edits::default() });
        }
        let mut assertion = None;
        if let Some(tokens) = &mut self.backend_tokens {
            let (header, api) = (tokens.header(), self.policy.api(&target));
            let about = About { caller: &caller, token: admitted.claims(), api };
            let Some(token) = tokens.make(about, cx) else {
                return self.refuse(Some(target), &Refusal::Unsigned.into(), cx);
            };
            assertion = Some((header, token));
        }
        cx.host.count("enforcer.auth.allowed", 1);
        let mut edits = self.without_spoofed_headers(headers);
        self.credentials.hide(admitted, headers, &mut edits);
        for (header, value) in admitted.headers() {
            edits = edits.set(&**header, value.as_bytes());
        }
        if let Some((header, token)) = assertion {
            edits = edits.set(header, token);
        }
        let identity = Identity { called, caller, ..Identity::default() };
        self.published.publish(&identity, cx.host);
        edits.identity = Some(identity);
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
            let mut edits = self.without_spoofed_headers(cx.request_headers());
            // Whoever it is goes where those go who say nothing of themselves: without a cluster nobody would.
            if let Some(target) = target {
                edits = self.routed(edits, &target, KeyType::Unsaid);
            }
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

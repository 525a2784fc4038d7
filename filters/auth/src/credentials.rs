//! What a request shows, held against what its operation asks for.
//!
//! An operation names alternatives, each of which names credentials that are needed together. The alternatives are
//! tried in order and the first that holds counts; nothing is looked at before an alternative asks for it. Where
//! none holds, the caller is told of the one that came nearest.

use std::{rc::Rc, time::Duration};

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    edits::Edits,
    headers::HeaderMap,
    identity::{Caller, Part},
};

use serde_json::{Map, Value};

use crate::{
    api_keys::{self, ApiKeys, Good},
    basic::Basic,
    certificates::Certificates,
    config::{Api, Requirement, TokenSource},
    key_type::KeyType,
    policy::{Alternatives, Policy, Target},
    refusal::{Claimed, KeyProblem, PasswordProblem, Refusal},
    revocation::{Fingerprints, Revocation, Standing},
    source::{Carried, Removal, Several, Sources},
    subscriptions::{self, Subscriptions},
    verifier::{Outcome, Verified, Verifier},
};

/// Fetches for API keys are named from here on, those of issuers' keys from zero.
pub const API_KEYS: u32 = 1 << 31;
/// The fetch of the list of revoked tokens.
pub const REVOCATION: u32 = 5 << 28;
/// The fetch of the table of subscriptions.
pub const SUBSCRIPTIONS: u32 = 6 << 28;

/// Everything that callers can show.
#[derive(Debug)]
pub struct Credentials {
    pub verifier: Verifier,
    pub sources: Sources,
    pub forward_token: bool,
    pub api_keys: Option<ApiKeys>,
    pub basic: Option<Basic>,
    pub revocation: Option<Revocation>,
    pub certificates: Certificates,
    pub subscriptions: Option<Subscriptions>,
}

/// Why a caller is refused, and what a refused token says of itself.
#[derive(Debug, Clone)]
pub struct Refused {
    pub refusal: Refusal,
    pub claimed: Claimed,
}

/// What came of a request's credentials.
#[derive(Debug)]
pub enum Verdict<'h> {
    /// None is needed, and none came.
    Anonymous,
    Admitted(Admitted<'h>),
    Refused(Box<Refused>),
    /// Something is being fetched: come back when it is there, or so much later.
    Wait(FetchKey, Duration),
}

/// The credentials that let a caller in.
#[derive(Debug, Default)]
pub struct Admitted<'h> {
    token: Option<Bearer<'h>>,
    /// Who calls, by a subscription that the token needed.
    subscribed: Option<Part<Caller>>,
    /// Who calls, by each of the others.
    others: Vec<Part<Caller>>,
    /// Which backend an API key is for.
    key_type: KeyType,
    /// They were shown in the first leg of an internal redirect.
    before: bool,
}

/// A token that was verified, and where it was.
#[derive(Debug)]
struct Bearer<'h> {
    verified: Rc<Verified>,
    carried: Carried<'h>,
}

/// Why an alternative does not hold, now or at all.
#[derive(Debug)]
enum Stop {
    Refused(Box<Refused>),
    Wait(FetchKey, Duration),
}

/// One request, while it is looked at.
struct Asking<'a, 'h> {
    policy: &'a Policy,
    target: &'a Target,
    headers: &'h HeaderMap,
    may_wait: bool,
    /// The bearer token, once an alternative has asked for it, or why it is none.
    token: Option<Bearer<'h>>,
    no_token: Option<Refused>,
}

impl Credentials {
    /// `alternatives` are those of the target; `may_wait`: the request has not waited yet.
    pub fn judge<'h>(
        &mut self,
        policy: &Policy,
        target: &Target,
        alternatives: Alternatives<'_>,
        cx: &mut Cx<'h>,
        may_wait: bool,
    ) -> Verdict<'h> {
        let headers = cx.request_headers();
        let mut asking = Asking { policy, target, headers, may_wait, token: None, no_token: None };
        let mut nearest: Option<Box<Refused>> = None;
        let mut anonymous = false;
        for requirement in alternatives.iter() {
            if requirement.is_anonymous() {
                anonymous = true;
                continue;
            }
            match self.satisfy(requirement, &mut asking, cx) {
                Ok(admitted) => return Verdict::Admitted(admitted),
                Err(Stop::Wait(on, deadline)) => return Verdict::Wait(on, deadline),
                Err(Stop::Refused(refused)) => {
                    if nearest.as_ref().is_none_or(|other| other.refusal.rank() < refused.refusal.rank()) {
                        nearest = Some(refused);
                    }
                }
            }
        }
        match nearest {
            Some(refused) if !anonymous => Verdict::Refused(refused),
            Some(refused) if refused.refusal.rank() > 0 => match asking.token {
                // Good, and only not good enough for the other alternatives.
                token @ Some(_) => Verdict::Admitted(Admitted { token, ..Admitted::default() }),
                None => Verdict::Refused(refused),
            },
            _ => self.volunteered(&mut asking, cx),
        }
    }

    /// A token that nobody asked for must be good all the same: whoever sends one does not mean to be anonymous.
    fn volunteered<'h>(&mut self, asking: &mut Asking<'_, 'h>, cx: &mut Cx<'h>) -> Verdict<'h> {
        if !self.verifier.has_issuers() {
            return Verdict::Anonymous;
        }
        match self.bearer(asking, cx) {
            Ok(_) => Verdict::Admitted(Admitted { token: asking.token.take(), ..Admitted::default() }),
            Err(Stop::Refused(refused)) if refused.refusal == Refusal::Missing => Verdict::Anonymous,
            Err(Stop::Refused(refused)) => Verdict::Refused(refused),
            Err(Stop::Wait(on, deadline)) => Verdict::Wait(on, deadline),
        }
    }

    fn satisfy<'h>(
        &mut self,
        requirement: &Requirement,
        asking: &mut Asking<'_, 'h>,
        cx: &mut Cx<'h>,
    ) -> Result<Admitted<'h>, Stop> {
        let mut subscribed = None;
        if let Some(jwt) = &requirement.jwt {
            let Asking { policy, target, may_wait, .. } = *asking;
            let verified = Rc::clone(&self.bearer(asking, cx)?.verified);
            policy
                .check_token(jwt, target, &verified)
                .map_err(|refusal| Stop::refused(refusal, verified.claimed()))?;
            subscribed = self.subscription(&verified, policy.api(target), may_wait, cx)?;
        }
        let mut keys: Vec<Part<Caller>> = Vec::new();
        let mut key_type = KeyType::Unsaid;
        for scheme in &requirement.api_keys {
            let (key, of_key) = self.key(scheme, asking, cx)?;
            // Of two keys that differ the second says where to: they are of one consumer.
            if of_key != KeyType::Unsaid {
                key_type = of_key;
            }
            if keys.first().is_some_and(|other| other.consumer != key.consumer) {
                return Err(KeyProblem::Mixed.into());
            }
            keys.push(key);
        }
        let mut others = keys;
        if requirement.basic {
            let basic = self.basic.as_mut().ok_or(PasswordProblem::Missing)?;
            others.insert(0, basic.find(cx)?);
        }
        if requirement.certificate {
            others.push(self.certificates.find(asking.policy.api(asking.target), cx)?);
        }
        let token = asking.token.take().filter(|_| requirement.jwt.is_some());
        Ok(Admitted { token, subscribed, others, key_type, before: false })
    }

    /// The request's token, looked at once.
    fn bearer<'a, 'h>(
        &mut self,
        asking: &'a mut Asking<'_, 'h>,
        cx: &mut Cx<'h>,
    ) -> Result<&'a Bearer<'h>, Stop> {
        if asking.token.is_none() && asking.no_token.is_none() {
            match self.sources.find(asking.headers) {
                Ok(Some(carried)) => match self.verifier.verify(carried.text, cx, asking.may_wait) {
                    Outcome::Verified(verified) => {
                        let bound = verified.bound.as_ref();
                        let standing = if bound.is_none_or(|print| self.certificates.is_shown(print, cx)) {
                            self.standing(verified.prints, asking.may_wait, cx)
                        } else {
                            Err(Stop::refused(Refusal::Bound, Claimed::default()))
                        };
                        match standing {
                            Ok(()) => asking.token = Some(Bearer { verified, carried }),
                            Err(Stop::Refused(refused)) => {
                                let claimed = verified.claimed();
                                asking.no_token = Some(Refused { claimed, ..*refused });
                            }
                            Err(wait @ Stop::Wait(..)) => return Err(wait),
                        }
                    }
                    Outcome::Refused(refusal, claimed) => {
                        asking.no_token = Some(Refused { refusal, claimed })
                    }
                    Outcome::Wait(on, deadline) => return Err(Stop::Wait(on, deadline)),
                },
                Ok(None) => asking.no_token = Some(Refusal::Missing.into()),
                Err(Several) => asking.no_token = Some(Refusal::Repeated.into()),
            }
        }
        let refused = || asking.no_token.clone().unwrap_or_else(|| Refusal::Missing.into());
        asking.token.as_ref().ok_or_else(|| Stop::Refused(Box::new(refused())))
    }

    fn key(
        &mut self,
        scheme: &str,
        asking: &Asking<'_, '_>,
        cx: &mut Cx<'_>,
    ) -> Result<(Part<Caller>, KeyType), Stop> {
        let Some(keys) = &mut self.api_keys else { return Err(KeyProblem::Missing.into()) };
        match keys.find(scheme, asking.policy.api(asking.target), cx, asking.may_wait) {
            api_keys::Outcome::Good(Good { caller, key_type, prints, of_application }) => {
                self.standing(prints, asking.may_wait, cx)?;
                let table = self.subscriptions.as_mut().filter(|_| of_application);
                let found = table.map(|table| {
                    table.check_key(&caller, asking.policy.api(asking.target), cx, asking.may_wait)
                });
                let subscribed = found.map(|found| found.settle(Claimed::default())).transpose()?.flatten();
                Ok((subscribed.unwrap_or(caller), key_type))
            }
            api_keys::Outcome::Refused(refusal, claimed) => Err(Stop::refused(refusal, claimed)),
            api_keys::Outcome::Wait(on, deadline) => Err(Stop::Wait(on, deadline)),
        }
    }

    /// Who calls, by the subscription to this API, if the token needs one.
    fn subscription(
        &mut self,
        verified: &Verified,
        api: Option<&Api>,
        may_wait: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Part<Caller>>, Stop> {
        let Some(subscriptions) = &mut self.subscriptions else { return Ok(None) };
        subscriptions.check(verified, api, cx, may_wait).settle(verified.claimed())
    }

    /// Whether a genuine credential has not been revoked.
    fn standing(&mut self, prints: Fingerprints, may_wait: bool, cx: &mut Cx<'_>) -> Result<(), Stop> {
        let Some(revocation) = &mut self.revocation else { return Ok(()) };
        match revocation.check(prints, cx, may_wait) {
            Standing::Good => Ok(()),
            Standing::Refused(refusal) => Err(Stop::refused(refusal, Claimed::default())),
            Standing::Wait(on, deadline) => Err(Stop::Wait(on, deadline)),
        }
    }

    /// Where credentials may be.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        self.sources.places().chain(self.api_keys.iter().flat_map(ApiKeys::all_places))
    }

    /// Takes the credentials out of the request, those too that nobody asked for.
    pub fn hide(&self, admitted: &Admitted<'_>, headers: &HeaderMap, edits: &mut Edits) {
        let mut removal = Removal::new(edits);
        match &admitted.token {
            _ if self.forward_token => {}
            Some(token) => {
                if let Some(place) = self.sources.place(token.carried) {
                    removal.add(place);
                }
            }
            None => self.sources.places().for_each(|place| removal.add_if_held(place, headers)),
        }
        if let Some(keys) = &self.api_keys {
            keys.places().for_each(|place| removal.add_if_held(place, headers));
        }
        if let Some(basic) = &self.basic {
            basic.places().for_each(|place| removal.add_if_held(place, headers));
        }
        self.certificates.places().for_each(|place| removal.add_if_held(place, headers));
        removal.finish(headers);
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.verifier.on_tick(cx);
        if let Some(keys) = &mut self.api_keys {
            keys.on_tick(cx);
        }
        if let Some(revocation) = &mut self.revocation {
            revocation.on_tick(cx);
        }
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.on_tick(cx);
        }
    }

    pub fn on_fetched(&mut self, id: u32, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if id == REVOCATION {
            self.revocation.iter_mut().for_each(|revocation| revocation.on_fetched(reply, cx));
            return;
        }
        if id == SUBSCRIPTIONS {
            self.subscriptions.iter_mut().for_each(|table| table.on_fetched(reply, cx));
            return;
        }
        match &mut self.api_keys {
            Some(keys) if id >= API_KEYS => keys.on_fetched(id, reply, cx),
            _ => self.verifier.on_fetched(id, reply, cx),
        }
    }
}

impl Admitted<'_> {
    /// Who was let in by the first leg of an internal redirect.
    pub fn before(caller: Part<Caller>) -> Self {
        Self { others: vec![caller], before: true, ..Self::default() }
    }

    pub fn is_before(&self) -> bool {
        self.before
    }

    /// Claims for the backend: header and value.
    pub fn headers(&self) -> &[(String, String)] {
        self.token.as_ref().map_or(&[], |token| &token.verified.headers)
    }

    /// Which backend they are for: a token says it before a key.
    pub fn key_type(&self) -> KeyType {
        let of_token = self.token.as_ref().map(|token| token.verified.key_type);
        of_token.filter(|of_token| *of_token != KeyType::Unsaid).unwrap_or(self.key_type)
    }

    /// The token's text.
    pub fn token(&self) -> Option<&[u8]> {
        Some(self.token.as_ref()?.carried.text)
    }

    /// The token's text, and what it says.
    pub fn claims(&self) -> Option<(&[u8], &Map<String, Value>)> {
        let token = self.token.as_ref()?;
        Some((token.carried.text, token.verified.claims.as_ref()?))
    }

    /// Who calls, by all credentials together; where two tell the same, the first counts: a token, a password, a key, a
    /// certificate.
    pub fn caller(&self) -> Part<Caller> {
        let token = self.token.as_ref().map(|token| &token.verified.caller);
        let token = self.subscribed.as_ref().or(token);
        let (first, others) = match (token, self.others.as_slice()) {
            (Some(token), others) => (token, others),
            (None, [first, others @ ..]) => (first, others),
            (None, []) => return Part::default(),
        };
        let mut together = None;
        for other in others {
            let caller = together.get_or_insert_with(|| Caller::clone(first));
            for (known, told) in [
                (&mut caller.subject, &other.subject),
                (&mut caller.consumer, &other.consumer),
                (&mut caller.application, &other.application),
                (&mut caller.tier, &other.tier),
            ] {
                if known.is_empty() {
                    known.clone_from(told);
                }
            }
        }
        together.map_or_else(|| first.clone(), Part::new)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, claimed: Claimed::default() }
    }
}

impl subscriptions::Outcome {
    /// Who calls, if a subscription was needed.
    fn settle(self, claimed: Claimed) -> Result<Option<Part<Caller>>, Stop> {
        match self {
            Self::Free => Ok(None),
            Self::Subscribed(caller) => Ok(Some(caller)),
            Self::Refused(problem) => Err(Stop::refused(Refusal::Subscription(problem), claimed)),
            Self::Wait(on, deadline) => Err(Stop::Wait(on, deadline)),
        }
    }
}

impl Stop {
    fn refused(refusal: Refusal, claimed: Claimed) -> Self {
        Self::Refused(Box::new(Refused { refusal, claimed }))
    }
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::refused(refusal.into(), Claimed::default())
    }
}

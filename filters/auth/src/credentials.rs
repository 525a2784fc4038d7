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

use crate::{
    api_keys::{self, ApiKeys},
    config::Requirement,
    policy::{Policy, Target},
    refusal::{Claimed, KeyProblem, Refusal},
    source::{self, Carried, Several, Sources},
    verifier::{Outcome, Verified, Verifier},
};

/// Fetches for API keys are named from here on, those of issuers' keys from zero.
pub const API_KEYS: u32 = 1 << 31;

/// Everything that callers can show.
#[derive(Debug)]
pub struct Credentials {
    pub verifier: Verifier,
    pub sources: Sources,
    pub forward_token: bool,
    pub api_keys: Option<ApiKeys>,
}

/// What came of a request's credentials.
#[derive(Debug)]
pub enum Verdict<'h> {
    /// None is needed, and none came.
    Anonymous,
    Admitted(Admitted<'h>),
    Refused(Refusal, Claimed),
    /// Something is being fetched: come back when it is there, or so much later.
    Wait(FetchKey, Duration),
}

/// The credentials that let a caller in.
#[derive(Debug, Default)]
pub struct Admitted<'h> {
    token: Option<Bearer<'h>>,
    /// Who calls, by each API key.
    keys: Vec<Part<Caller>>,
}

/// A token that was verified, and where it was.
#[derive(Debug, Clone)]
struct Bearer<'h> {
    verified: Rc<Verified>,
    carried: Carried<'h>,
}

/// Why an alternative does not hold, now or at all.
#[derive(Debug, Clone)]
enum Stop {
    Refused(Refusal, Claimed),
    Wait(FetchKey, Duration),
}

/// One request, while it is looked at.
struct Asking<'a, 'h> {
    policy: &'a Policy,
    target: &'a Target,
    headers: &'h HeaderMap,
    may_wait: bool,
    /// What came of the bearer token, once an alternative has asked for it.
    token: Option<Result<Bearer<'h>, Stop>>,
}

impl Credentials {
    /// `may_wait`: the request has not waited yet.
    pub fn judge<'h>(
        &mut self,
        policy: &Policy,
        target: &Target,
        cx: &mut Cx<'h>,
        may_wait: bool,
    ) -> Verdict<'h> {
        let headers = cx.request_headers();
        let mut asking = Asking { policy, target, headers, may_wait, token: None };
        let mut nearest: Option<(Refusal, Claimed)> = None;
        let mut anonymous = false;
        for requirement in policy.requirement(target).iter() {
            if requirement.is_anonymous() {
                anonymous = true;
                continue;
            }
            match self.satisfy(requirement, &mut asking, cx) {
                Ok(admitted) => return Verdict::Admitted(admitted),
                Err(Stop::Wait(on, deadline)) => return Verdict::Wait(on, deadline),
                Err(Stop::Refused(refusal, claimed)) => {
                    if nearest.as_ref().is_none_or(|(other, _)| other.rank() < refusal.rank()) {
                        nearest = Some((refusal, claimed));
                    }
                }
            }
        }
        match nearest {
            Some((refusal, claimed)) if !anonymous => Verdict::Refused(refusal, claimed),
            Some((refusal, claimed)) if refusal.rank() > 0 => match asking.token {
                // Good, and only not good enough for the other alternatives.
                Some(Ok(token)) => Verdict::Admitted(Admitted { token: Some(token), keys: Vec::new() }),
                _ => Verdict::Refused(refusal, claimed),
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
            Ok(token) => Verdict::Admitted(Admitted { token: Some(token), keys: Vec::new() }),
            Err(Stop::Refused(Refusal::Missing, _)) => Verdict::Anonymous,
            Err(Stop::Refused(refusal, claimed)) => Verdict::Refused(refusal, claimed),
            Err(Stop::Wait(on, deadline)) => Verdict::Wait(on, deadline),
        }
    }

    fn satisfy<'h>(
        &mut self,
        requirement: &Requirement,
        asking: &mut Asking<'_, 'h>,
        cx: &mut Cx<'h>,
    ) -> Result<Admitted<'h>, Stop> {
        let mut admitted = Admitted::default();
        if let Some(jwt) = &requirement.jwt {
            let token = self.bearer(asking, cx)?;
            asking
                .policy
                .check_token(jwt, asking.target, &token.verified)
                .map_err(|refusal| Stop::Refused(refusal, token.verified.claimed()))?;
            admitted.token = Some(token);
        }
        for scheme in &requirement.api_keys {
            let key = self.key(scheme, asking, cx)?;
            if admitted.keys.first().is_some_and(|other| other.consumer != key.consumer) {
                return Err(KeyProblem::Mixed.into());
            }
            admitted.keys.push(key);
        }
        Ok(admitted)
    }

    fn bearer<'h>(&mut self, asking: &mut Asking<'_, 'h>, cx: &mut Cx<'h>) -> Result<Bearer<'h>, Stop> {
        if let Some(known) = &asking.token {
            return known.clone();
        }
        let token = match self.sources.find(asking.headers) {
            Ok(Some(carried)) => match self.verifier.verify(carried.text, cx, asking.may_wait) {
                Outcome::Verified(verified) => Ok(Bearer { verified, carried }),
                Outcome::Refused(refusal, claimed) => Err(Stop::Refused(refusal, claimed)),
                Outcome::Wait(on, deadline) => Err(Stop::Wait(on, deadline)),
            },
            Ok(None) => Err(Refusal::Missing.into()),
            Err(Several) => Err(Refusal::Repeated.into()),
        };
        asking.token.insert(token).clone()
    }

    fn key(&mut self, scheme: &str, asking: &Asking<'_, '_>, cx: &mut Cx<'_>) -> Result<Part<Caller>, Stop> {
        let Some(keys) = &mut self.api_keys else { return Err(KeyProblem::Missing.into()) };
        match keys.find(scheme, asking.policy.api(asking.target), cx, asking.may_wait) {
            api_keys::Outcome::Good(key) => Ok(key),
            api_keys::Outcome::Refused(refusal, claimed) => Err(Stop::Refused(refusal, claimed)),
            api_keys::Outcome::Wait(on, deadline) => Err(Stop::Wait(on, deadline)),
        }
    }

    /// Takes the credentials out of the request, those too that nobody asked for.
    pub fn hide(&self, admitted: &Admitted<'_>, headers: &HeaderMap, edits: Edits) -> Edits {
        let (found, others) = match &admitted.token {
            _ if self.forward_token => (None, None),
            Some(token) => (self.sources.place(token.carried), None),
            None => (None, Some(self.sources.places())),
        };
        let keys = self.api_keys.iter().flat_map(ApiKeys::places);
        source::remove(found.into_iter().chain(others.into_iter().flatten()).chain(keys), headers, edits)
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.verifier.on_tick(cx);
        if let Some(keys) = &mut self.api_keys {
            keys.on_tick(cx);
        }
    }

    pub fn on_fetched(&mut self, id: u32, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        match &mut self.api_keys {
            Some(keys) if id >= API_KEYS => keys.on_fetched(id, reply, cx),
            _ => self.verifier.on_fetched(id, reply, cx),
        }
    }
}

impl Admitted<'_> {
    /// Claims for the backend: header and value.
    pub fn headers(&self) -> &[(String, String)] {
        self.token.as_ref().map_or(&[], |token| &token.verified.headers)
    }

    /// Who calls, by all credentials together; where two tell the same, the first counts, a token before keys.
    pub fn caller(&self) -> Part<Caller> {
        let token = self.token.iter().map(|token| &token.verified.caller);
        let mut all = token.chain(&self.keys);
        let Some(first) = all.next() else { return Part::default() };
        let mut together = None;
        for other in all {
            let caller = together.get_or_insert_with(|| Caller::clone(first));
            for (known, told) in [
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

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, Claimed::default())
    }
}

impl From<KeyProblem> for Stop {
    fn from(problem: KeyProblem) -> Self {
        Refusal::from(problem).into()
    }
}

//! A key set that is fetched.
//!
//! The background of one worker fetches it, elected by a lease, and hands it to all others through shared data.
//! Requests never fetch: they wait for the fetch that is under way. Keys are used while they are being
//! refreshed, up to `max_stale`; an unknown key id causes a fetch at most once per `cooldown`.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpCall, HttpReply},
    host::Level,
    store::{Lease, Slot},
};

use super::{
    Lookup,
    attempt::{Attempt, FIRST_RETRY},
};
use crate::{
    config::{Algorithm, Issuer, RemoteJwks},
    jwk::{Find, KeySet, Origin},
};

/// Layout version of what is kept in shared data.
const LAYOUT: u32 = 2;
/// How often a worker looks whether another one's fetch has ended, while requests wait.
const POLL: Duration = Duration::from_millis(20);
/// What a request waits beyond the time that a fetch may take.
const GRACE: Duration = Duration::from_millis(500);
/// However soon an answer says that it is out of date.
const LEAST_AGE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Remote {
    issuer: String,
    allowed: Option<Vec<Algorithm>>,
    config: RemoteJwks,
    key: FetchKey,
    call: HttpCall,
    slot: Slot,
    /// Made at the first tick: its owner's name is drawn by the host.
    lease: Option<Lease>,
    keys: Option<Fetched>,
    /// Grows whenever other keys are in use than before.
    generation: u32,
    /// The last fetch that this worker knows of.
    last: Option<Attempt>,
    /// Requests wait for a fetch.
    wanted: bool,
}

#[derive(Debug)]
struct Fetched {
    keys: KeySet,
    /// On the monotonic clock.
    at: Duration,
    digest: u64,
}

impl Remote {
    pub(super) fn new(
        filter: &'static str,
        id: u32,
        issuer: &Issuer,
        config: &RemoteJwks,
    ) -> Result<Self, String> {
        let (authority, path) = split_url(&config.url)?;
        check_times(config)?;
        let call = HttpCall {
            cluster: config.cluster.clone(),
            method: "GET",
            authority,
            path,
            headers: vec![("accept".to_owned(), "application/json, */*;q=0.1".to_owned())],
            body: Vec::new(),
            timeout: config.timeout.duration(),
        };
        let place = place(config, issuer.algorithms.as_deref());
        Ok(Self {
            issuer: issuer.issuer.clone(),
            allowed: issuer.algorithms.clone(),
            config: config.clone(),
            key: FetchKey { filter, id },
            call,
            slot: Slot::new(LAYOUT, filter, &format!("jwks/{place}")),
            lease: None,
            keys: None,
            generation: 0,
            last: None,
            wanted: false,
        })
    }

    pub(super) fn find(
        &mut self,
        kid: Option<&str>,
        algorithm: Algorithm,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Lookup<'_> {
        let now = cx.host.monotonic();
        let keys = self.usable_keys(now);
        let usable = keys.is_some();
        let unknown = keys.is_none_or(|keys| matches!(keys.find(kid, algorithm), Find::Unknown));
        // Without keys, every retry is worth waiting for; with keys, an unknown one is so once in a while.
        let worth_waiting = self.may_retry(now) && (!usable || self.cooled_down(now));
        if unknown && may_wait && worth_waiting {
            self.wanted = true;
            cx.schedule(Duration::ZERO);
            return Lookup::Wait(self.key, self.config.timeout.duration().saturating_add(GRACE));
        }
        self.usable_keys(now).map_or(Lookup::Unavailable, |keys| keys.find(kid, algorithm).into())
    }

    /// Names the keys in use, if they may be used.
    pub(super) fn generation(&self, now: Duration) -> Option<u32> {
        self.usable_keys(now).map(|_| self.generation)
    }

    pub(super) fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.adopt(cx);
        let now = cx.host.monotonic();
        if !self.is_due(now) {
            cx.schedule(self.until_due(now));
            return;
        }
        let term = self.config.timeout.duration().saturating_add(GRACE.saturating_mul(2));
        let lease = self.lease.get_or_insert_with(|| {
            let place = place(&self.config, self.allowed.as_deref());
            Lease::new(cx.host, Slot::new(LAYOUT, self.key.filter, &format!("lease/{place}")), term)
        });
        // Whoever asks twice is given the fetch that is under way.
        if lease.acquire(cx.host) {
            cx.fetch(self.key, self.call.clone());
        }
        cx.schedule(if self.wanted { POLL } else { FIRST_RETRY });
    }

    /// Our own fetch has ended: tell the other workers, then look at it as they do.
    pub(super) fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        match self.read(reply) {
            Ok((keys, reply)) => {
                cx.host.count("enforcer.auth.jwks.fetched", 1);
                self.report_faults(&keys, &reply.body, cx);
                let age = max_age(reply).unwrap_or(Duration::MAX).max(LEAST_AGE);
                let attempt = Attempt::succeeded(cx.host, age.min(self.config.refresh.duration()));
                self.slot.write(cx.host, &attempt.encode(&reply.body));
            }
            Err(problem) => {
                cx.host.count("enforcer.auth.jwks.failed", 1);
                let attempt = self.last.unwrap_or_default().failed(cx.host);
                let known = self.slot.read(cx.host).unwrap_or_default();
                let body = Attempt::decode(&known).map_or(&[][..], |(_, body)| body);
                self.slot.write(cx.host, &attempt.encode(body));
                self.warn(cx, format_args!("keys not fetched from `{}`: {problem}", self.config.url));
            }
        }
        if let Some(lease) = &self.lease {
            lease.release(cx.host);
        }
        self.adopt(cx);
        cx.schedule(self.until_due(cx.host.monotonic()));
    }

    /// The keys of an answer.
    fn read<'r>(
        &self,
        reply: Result<&'r HttpReply, CalloutError>,
    ) -> Result<(KeySet, &'r HttpReply), String> {
        let reply = reply.map_err(|error| error.to_string())?;
        match reply.status {
            200 => Ok((KeySet::read(&reply.body, Origin::Remote, self.allowed.as_deref())?, reply)),
            status @ 300..400 => {
                Err(format!("the answer was a redirect ({status}); give the address that it leads to"))
            }
            status => Err(format!("the answer was {status}")),
        }
    }

    /// Says once what is wrong with single keys of a set, not whenever the same set comes again.
    fn report_faults(&self, keys: &KeySet, body: &[u8], cx: &Cx<'_>) {
        if self.keys.as_ref().is_some_and(|known| known.digest == digest(body)) {
            return;
        }
        for fault in keys.faults() {
            self.warn(cx, format_args!("a key from `{}` is not used: {fault}", self.config.url));
        }
    }

    fn warn(&self, cx: &Cx<'_>, what: fmt::Arguments<'_>) {
        cx.host.log(Level::Warn, format_args!("auth: issuer `{}`: {what}", self.issuer));
    }

    /// Takes over what the last fetch brought, whichever worker made it, and wakes those who wait for it.
    fn adopt(&mut self, cx: &mut Cx<'_>) {
        let Some(value) = self.slot.read(cx.host) else { return };
        let Some((attempt, body)) = Attempt::decode(&value) else { return };
        if self.last == Some(attempt) {
            return;
        }
        self.last = Some(attempt);
        self.wanted = false;
        cx.wake(self.key);
        let digest = digest(body);
        match &mut self.keys {
            Some(known) if known.digest == digest => known.at = attempt.fetched,
            // Only key sets that could be read are kept, but a module of another make may have written this.
            _ => {
                if let Ok(keys) = KeySet::read(body, Origin::Remote, self.allowed.as_deref()) {
                    self.keys = Some(Fetched { keys, at: attempt.fetched, digest });
                    self.generation = self.generation.wrapping_add(1);
                }
            }
        }
    }

    fn usable_keys(&self, now: Duration) -> Option<&KeySet> {
        let max_stale = self.config.max_stale.duration();
        self.keys.as_ref().filter(|set| now.saturating_sub(set.at) < max_stale).map(|set| &set.keys)
    }

    fn is_due(&self, now: Duration) -> bool {
        self.until_due(now).is_zero() || (self.wanted && self.cooled_down(now) && self.may_retry(now))
    }

    /// The time until the keys need a fetch that nobody has asked for.
    fn until_due(&self, now: Duration) -> Duration {
        let due = match (&self.last, &self.keys) {
            (Some(last), _) if last.failures > 0 => last.next,
            // A gateway that was told to refresh more often has not forgotten the fetch of its predecessor.
            (Some(last), Some(set)) => last.next.min(set.at.saturating_add(self.config.refresh.duration())),
            _ => Duration::ZERO,
        };
        due.saturating_sub(now)
    }

    fn cooled_down(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last.ended.saturating_add(self.config.cooldown.duration()))
    }

    fn may_retry(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| last.failures == 0 || now >= last.next)
    }
}

/// How long an answer says that it holds (RFC 9111 section 5.2.2.1).
fn max_age(reply: &HttpReply) -> Option<Duration> {
    let values = reply.headers.get_all("cache-control").filter_map(|value| str::from_utf8(value).ok());
    values.flat_map(|value| value.split(',')).find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

/// Times that would fetch without pause, or never have keys to trust.
fn check_times(config: &RemoteJwks) -> Result<(), String> {
    let RemoteJwks { timeout, refresh, max_stale, .. } = config;
    if timeout.duration().is_zero() {
        return Err("`timeout` is zero: no fetch could succeed; the default is `5s`".to_owned());
    }
    if refresh.duration() < FIRST_RETRY {
        return Err(format!("`refresh` is `{refresh}`; the least is `1s`"));
    }
    if max_stale.duration() < refresh.duration() {
        return Err(format!(
            "`max_stale` (`{max_stale}`) is less than `refresh` (`{refresh}`): there would be times without keys"
        ));
    }
    Ok(())
}

/// Names a key set in shared data. One URL may lead to different servers through different clusters, and what
/// one issuer can use of an answer, another may not.
fn place(config: &RemoteJwks, allowed: Option<&[Algorithm]>) -> String {
    let names: Vec<_> = allowed.unwrap_or_default().iter().map(|algorithm| algorithm.name()).collect();
    format!("{}/{}#{}", config.cluster, config.url, names.join(","))
}

/// Tells key sets apart within one VM.
fn digest(body: &[u8]) -> u64 {
    thread_local!(static SEED: RandomState = RandomState::new());
    SEED.with(|seed| seed.hash_one(body))
}

/// Authority and path of an absolute `http` or `https` URL.
pub(super) fn split_url(url: &str) -> Result<(String, String), String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| format!("`{url}` is not an http or https URL"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.is_empty() || authority.contains('@') || rest.contains(['#', ' ']) {
        return Err(format!("`{url}` is not a URL with a host name and neither user nor fragment"));
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((authority.to_owned(), path))
}

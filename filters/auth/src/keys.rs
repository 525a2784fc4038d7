//! Each issuer's keys, and how they stay fresh.
//!
//! A remote key set is fetched by the background of one worker, elected by a lease, and handed to all others
//! through shared data. Requests never fetch: they wait for the fetch that is under way. Keys are used while
//! they are being refreshed, up to `max_stale`; an unknown key id causes a fetch at most once per `cooldown`.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpCall, HttpReply},
    host::{Host, Level},
    store::{Lease, Slot},
};

use crate::{
    config::{Algorithm, Jwks, RemoteJwks},
    jwk::{Key, KeySet},
};

/// Layout version of what is kept in shared data.
const LAYOUT: u32 = 1;
/// How often a worker looks whether another one's fetch has ended, while requests wait.
const POLL: Duration = Duration::from_millis(20);
/// What a request waits beyond the time that a fetch may take.
const GRACE: Duration = Duration::from_millis(500);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// The keys of one issuer.
#[derive(Debug)]
pub enum Keys {
    Inline(KeySet),
    Remote(Box<Remote>),
}

/// The answer to "which key signed this?".
#[derive(Debug)]
pub enum Lookup<'a> {
    Found(&'a Key),
    /// There are keys, and none of them is this one.
    Unknown,
    /// A fetch may bring it: wait for this, so long.
    Wait(FetchKey, Duration),
    /// There are no keys to look among.
    Unavailable,
}

/// A key set that is fetched.
#[derive(Debug)]
pub struct Remote {
    issuer: String,
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

/// How a fetch ended, as all workers know it. Times are on the monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attempt {
    ended: Duration,
    fetched: Duration,
    failures: u32,
}

impl Keys {
    /// `id` names the issuer among those of its filter.
    pub fn new(filter: &'static str, id: u32, issuer: &str, jwks: Jwks) -> Result<Self, String> {
        Ok(match jwks {
            Jwks::Inline(set) => Self::Inline(KeySet::parse(set.to_string().as_bytes())?),
            Jwks::Remote(config) => Self::Remote(Box::new(Remote::new(filter, id, issuer, config)?)),
        })
    }

    /// Which key a token was signed with. `may_wait`: it has not waited yet.
    pub fn find(
        &mut self,
        kid: Option<&str>,
        algorithm: Algorithm,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Lookup<'_> {
        match self {
            Self::Inline(keys) => keys.find(kid, algorithm).map_or(Lookup::Unknown, Lookup::Found),
            Self::Remote(remote) => remote.find(kid, algorithm, cx, may_wait),
        }
    }

    /// Names the keys in use; `None` when there are none, or they are too old to be trusted.
    pub fn generation(&self, host: &dyn Host) -> Option<u32> {
        match self {
            Self::Inline(_) => Some(0),
            Self::Remote(remote) => remote.usable(host.monotonic()).then_some(remote.generation),
        }
    }

    pub fn on_tick(&mut self, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            remote.on_tick(cx);
        }
    }

    pub fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        if let Self::Remote(remote) = self {
            remote.on_fetched(reply, cx);
        }
    }
}

impl Remote {
    fn new(filter: &'static str, id: u32, issuer: &str, config: RemoteJwks) -> Result<Self, String> {
        let (authority, path) = split_url(&config.url)?;
        check_times(&config)?;
        let call = HttpCall {
            cluster: config.cluster.clone(),
            method: "GET",
            authority,
            path,
            headers: vec![("accept".to_owned(), "application/json".to_owned())],
            body: Vec::new(),
            timeout: config.timeout.duration(),
        };
        Ok(Self {
            issuer: issuer.to_owned(),
            key: FetchKey { filter, id },
            call,
            slot: Slot::new(LAYOUT, filter, &format!("jwks/{}", place(&config))),
            lease: None,
            keys: None,
            generation: 0,
            last: None,
            wanted: false,
            config,
        })
    }

    fn find(
        &mut self,
        kid: Option<&str>,
        algorithm: Algorithm,
        cx: &mut Cx<'_>,
        may_wait: bool,
    ) -> Lookup<'_> {
        let now = cx.host.monotonic();
        let usable = self.usable(now);
        let known = usable && self.keys.as_ref().is_some_and(|set| set.keys.find(kid, algorithm).is_some());
        // Without keys, every retry is worth waiting for; with keys, an unknown one is so once in a while.
        let worth_waiting = self.may_retry(now) && (!usable || self.cooled_down(now));
        if !known && may_wait && worth_waiting {
            self.wanted = true;
            cx.schedule(Duration::ZERO);
            return Lookup::Wait(self.key, self.config.timeout.duration().saturating_add(GRACE));
        }
        match self.keys.as_ref().filter(|_| usable) {
            Some(set) => set.keys.find(kid, algorithm).map_or(Lookup::Unknown, Lookup::Found),
            None => Lookup::Unavailable,
        }
    }

    fn on_tick(&mut self, cx: &mut Cx<'_>) {
        self.adopt(cx);
        let now = cx.host.monotonic();
        if !self.is_due(now) {
            cx.schedule(self.until_due(now));
            return;
        }
        let term = self.config.timeout.duration().saturating_add(GRACE.saturating_mul(2));
        let lease = self.lease.get_or_insert_with(|| {
            Lease::new(
                cx.host,
                Slot::new(LAYOUT, self.key.filter, &format!("lease/{}", place(&self.config))),
                term,
            )
        });
        // Whoever asks twice is given the fetch that is under way.
        if lease.acquire(cx.host) {
            cx.fetch(self.key, self.call.clone());
        }
        cx.schedule(if self.wanted { POLL } else { FIRST_RETRY });
    }

    /// Our own fetch has ended: tell the other workers, then look at it as they do.
    fn on_fetched(&mut self, reply: Result<&HttpReply, CalloutError>, cx: &mut Cx<'_>) {
        let now = cx.host.monotonic();
        let outcome = match reply {
            Ok(HttpReply { status: 200, body, .. }) => KeySet::parse(body).map(|_| body),
            Ok(HttpReply { status: status @ 300..400, .. }) => {
                Err(format!("the answer was a redirect ({status}); give the address that it leads to"))
            }
            Ok(HttpReply { status, .. }) => Err(format!("the answer was {status}")),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(body) => {
                cx.host.count("enforcer.auth.jwks.fetched", 1);
                let attempt = Attempt { ended: now, fetched: now, failures: 0 };
                self.slot.write(cx.host, &attempt.encode(body));
            }
            Err(problem) => {
                cx.host.count("enforcer.auth.jwks.failed", 1);
                let last = self.last.unwrap_or_default();
                let failures = last.failures.saturating_add(1);
                let attempt = Attempt { ended: now, failures, ..last };
                let known = self.slot.read(cx.host).unwrap_or_default();
                self.slot
                    .write(cx.host, &attempt.encode(Attempt::decode(&known).map_or(&[], |(_, body)| body)));
                cx.host.log(
                    Level::Warn,
                    format_args!(
                        "auth: issuer `{}`: keys not fetched from `{}`: {problem}",
                        self.issuer, self.config.url
                    ),
                );
            }
        }
        if let Some(lease) = &self.lease {
            lease.release(cx.host);
        }
        self.adopt(cx);
        cx.schedule(self.until_due(now));
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
                if let Ok(keys) = KeySet::parse(body) {
                    self.keys = Some(Fetched { keys, at: attempt.fetched, digest });
                    self.generation = self.generation.wrapping_add(1);
                }
            }
        }
    }

    fn usable(&self, now: Duration) -> bool {
        let max_stale = self.config.max_stale.duration();
        self.keys.as_ref().is_some_and(|set| now.saturating_sub(set.at) < max_stale)
    }

    fn is_due(&self, now: Duration) -> bool {
        self.until_due(now).is_zero() || (self.wanted && self.cooled_down(now) && self.may_retry(now))
    }

    /// The time until the keys need a fetch that nobody has asked for.
    fn until_due(&self, now: Duration) -> Duration {
        let due = match &self.keys {
            _ if self.has_failed() => self.retry_at(),
            Some(set) => set.at.saturating_add(self.config.refresh.duration()),
            None => Duration::ZERO,
        };
        due.saturating_sub(now)
    }

    fn cooled_down(&self, now: Duration) -> bool {
        self.last.is_none_or(|last| now >= last.ended.saturating_add(self.config.cooldown.duration()))
    }

    fn may_retry(&self, now: Duration) -> bool {
        !self.has_failed() || now >= self.retry_at()
    }

    fn has_failed(&self) -> bool {
        self.last.is_some_and(|last| last.failures > 0)
    }

    /// When a failed fetch is tried again: twice as late each time, up to a minute.
    fn retry_at(&self) -> Duration {
        let last = self.last.unwrap_or_default();
        let doublings = last.failures.saturating_sub(1).min(10);
        let backoff = FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY);
        // Workers share the failure's time, so it serves to spread gateways that failed together.
        let jitter = backoff.mul_f64(f64::from(last.ended.subsec_micros() % 1000) / 4000.0);
        last.ended.saturating_add(backoff).saturating_add(jitter)
    }
}

impl Attempt {
    /// Times in nanoseconds and the failures, little endian, then the body.
    fn encode(&self, body: &[u8]) -> Vec<u8> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        [&nanos(self.ended)[..], &nanos(self.fetched), &self.failures.to_le_bytes(), body].concat()
    }

    fn decode(value: &[u8]) -> Option<(Self, &[u8])> {
        let (ended, rest) = value.split_first_chunk::<8>()?;
        let (fetched, rest) = rest.split_first_chunk::<8>()?;
        let (failures, body) = rest.split_first_chunk::<4>()?;
        let time = |bytes: &[u8; 8]| Duration::from_nanos(u64::from_le_bytes(*bytes));
        let failures = u32::from_le_bytes(*failures);
        Some((Self { ended: time(ended), fetched: time(fetched), failures }, body))
    }
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

/// Names a key set in shared data. One URL may lead to different servers through different clusters.
fn place(config: &RemoteJwks) -> String {
    format!("{}/{}", config.cluster, config.url)
}

/// Tells key sets apart within one VM.
fn digest(body: &[u8]) -> u64 {
    thread_local!(static SEED: RandomState = RandomState::new());
    SEED.with(|seed| seed.hash_one(body))
}

/// Authority and path of an absolute `http` or `https` URL.
fn split_url(url: &str) -> Result<(String, String), String> {
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

#[cfg(test)]
mod tests;

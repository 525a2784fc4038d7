//! A document that is fetched and kept fresh: an issuer's keys, the list of API keys.
//!
//! The background of one worker fetches it, elected by a lease, and hands it to all others through shared data.
//! Requests never fetch: they wait for the fetch that is under way. A document is used while it is being
//! refreshed, up to `max_stale`; what it does not have causes a fetch at most once per `cooldown`.

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

use crate::{GRACE, config::RemoteDocument};

mod attempt;

pub use attempt::{Attempt, FIRST_RETRY};

/// Layout version of what is kept in shared data.
const LAYOUT: u32 = 3;
/// How often a worker looks whether another one's fetch has ended, while requests wait.
const POLL: Duration = Duration::from_millis(20);
/// However soon an answer says that it is out of date.
const LEAST_AGE: Duration = Duration::from_secs(10);

/// What a fetched text is made into.
pub trait Document {
    /// Takes over what an answer holds; or says why that is impossible, and keeps what it has.
    fn replace(&mut self, text: &[u8]) -> Result<(), String>;

    /// What is wrong with parts of it that are passed over.
    fn faults(&self) -> &[String] {
        &[]
    }
}

/// The kinds of documents.
#[derive(Debug)]
pub struct Kind {
    /// In log lines and keys of shared data.
    pub name: &'static str,
    /// Counters.
    pub fetched: &'static str,
    pub failed: &'static str,
}

/// Fetches one document. What it is made into is given to each call.
#[derive(Debug)]
pub struct Remote {
    kind: &'static Kind,
    /// Whose it is, in log lines.
    owner: String,
    config: RemoteDocument,
    key: FetchKey,
    call: HttpCall,
    /// Names it in shared data.
    place: String,
    slot: Slot,
    /// Made at the first tick: its owner's name is drawn by the host.
    lease: Option<Lease>,
    used: Option<Used>,
    /// Grows whenever another text is in use than before.
    generation: u32,
    /// The last fetch that this worker knows of.
    last: Option<Attempt>,
    /// Requests wait for a fetch.
    wanted: bool,
}

/// The text in use.
#[derive(Debug)]
struct Used {
    /// When it was fetched, on the monotonic clock.
    at: Duration,
    digest: u64,
}

/// What the workers tell each other: how the last fetch ended, and the last text with its entity tag.
struct Shared<'a> {
    attempt: Attempt,
    etag: &'a [u8],
    text: &'a [u8],
}

impl Remote {
    /// `variant` tells apart what different readers make of one URL.
    pub fn new(
        kind: &'static Kind,
        key: FetchKey,
        owner: String,
        config: &RemoteDocument,
        variant: &str,
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
        // One URL may lead to different servers through different clusters.
        let place = format!("{}/{}/{}#{variant}", kind.name, config.cluster, config.url);
        Ok(Self {
            kind,
            owner,
            config: config.clone(),
            key,
            call,
            slot: Slot::new(LAYOUT, key.filter, &place),
            place,
            lease: None,
            used: None,
            generation: 0,
            last: None,
            wanted: false,
        })
    }

    /// The document in use does not have what a request needs, or there is none: what to wait for, and how long,
    /// if a fetch may bring it.
    pub fn want(&mut self, cx: &mut Cx<'_>) -> Option<(FetchKey, Duration)> {
        let now = cx.host.monotonic();
        // Without a document, every retry is worth waiting for; with one, what it lacks is so once in a while.
        if !self.may_retry(now) || (self.is_usable(now) && !self.cooled_down(now)) {
            return None;
        }
        self.wanted = true;
        cx.schedule(Duration::ZERO);
        Some((self.key, self.config.timeout.duration().saturating_add(GRACE)))
    }

    /// Whether there is a document, and it is not too old to be trusted.
    pub fn is_usable(&self, now: Duration) -> bool {
        let max_stale = self.config.max_stale.duration();
        self.used.as_ref().is_some_and(|used| now.saturating_sub(used.at) < max_stale)
    }

    /// Names the text in use, if it may be used.
    pub fn generation(&self, now: Duration) -> Option<u32> {
        self.is_usable(now).then_some(self.generation)
    }

    pub fn on_tick(&mut self, document: &mut dyn Document, cx: &mut Cx<'_>) {
        self.adopt(document, cx);
        let now = cx.host.monotonic();
        if !self.is_due(now) {
            cx.schedule(self.until_due(now));
            return;
        }
        let term = self.config.timeout.duration().saturating_add(GRACE.saturating_mul(2));
        let lease = self.lease.get_or_insert_with(|| {
            let slot = Slot::new(LAYOUT, self.key.filter, &format!("lease/{}", self.place));
            Lease::new(cx.host, slot, term)
        });
        // Whoever asks twice is given the fetch that is under way.
        if lease.acquire(cx.host) {
            cx.fetch(self.key, self.conditional_call(cx));
        }
        cx.schedule(if self.wanted { POLL } else { FIRST_RETRY });
    }

    /// Our own fetch has ended: tell the other workers, then look at it as they do.
    pub fn on_fetched(
        &mut self,
        reply: Result<&HttpReply, CalloutError>,
        document: &mut dyn Document,
        cx: &mut Cx<'_>,
    ) {
        let known = self.slot.read(cx.host).unwrap_or_default();
        let known = Shared::decode(&known);
        let answer = reply.map_err(|error| error.to_string());
        let answer = answer.and_then(|reply| Ok((reply, self.read(reply, known.as_ref(), document, cx)?)));
        let (etag, text) = known.as_ref().map_or_else(Default::default, |known| (known.etag, known.text));
        let shared = match answer {
            Ok((reply, changed)) => {
                cx.host.count(self.kind.fetched, 1);
                let age = max_age(reply).unwrap_or(Duration::MAX).max(LEAST_AGE);
                let attempt = Attempt::succeeded(cx.host, age.min(self.config.refresh.duration()));
                let etag = if changed { reply.headers.get("etag").unwrap_or_default() } else { etag };
                Shared { attempt, etag, text: if changed { &reply.body } else { text } }.encode()
            }
            Err(problem) => {
                cx.host.count(self.kind.failed, 1);
                let attempt = self.last.unwrap_or_default().failed(cx.host, self.config.refresh.duration());
                self.warn(
                    cx,
                    format_args!("{} not fetched from `{}`: {problem}", self.kind.name, self.config.url),
                );
                Shared { attempt, etag, text }.encode()
            }
        };
        self.slot.write(cx.host, &shared);
        if let Some(lease) = &self.lease {
            lease.release(cx.host);
        }
        self.adopt(document, cx);
        cx.schedule(self.until_due(cx.host.monotonic()));
    }

    /// Takes over an answer, and says whether it holds another text than the one that is known.
    fn read(
        &mut self,
        reply: &HttpReply,
        known: Option<&Shared<'_>>,
        document: &mut dyn Document,
        cx: &Cx<'_>,
    ) -> Result<bool, String> {
        match reply.status {
            200 => {
                let known = self.used.as_ref().map(|used| used.digest);
                self.replace(&reply.body, cx.host.monotonic(), document)?;
                // Said once, not whenever the same text comes again.
                if known != self.used.as_ref().map(|used| used.digest) {
                    for fault in document.faults() {
                        self.warn(cx, format_args!("a key from `{}` is not used: {fault}", self.config.url));
                    }
                }
                Ok(true)
            }
            304 if known.is_some_and(|known| !known.etag.is_empty()) => Ok(false),
            status @ 300..400 => {
                Err(format!("the answer was a redirect ({status}); give the address that it leads to"))
            }
            status => Err(format!("the answer was {status}")),
        }
    }

    /// Takes over what the last fetch brought, whichever worker made it, and wakes those who wait for it.
    fn adopt(&mut self, document: &mut dyn Document, cx: &mut Cx<'_>) {
        let Some(value) = self.slot.read(cx.host) else { return };
        let Some(shared) = Shared::decode(&value) else { return };
        if self.last == Some(shared.attempt) {
            return;
        }
        self.last = Some(shared.attempt);
        self.wanted = false;
        cx.wake(self.key);
        // Only what could be read is kept there, but a module of another make may have written this.
        let _ = self.replace(shared.text, shared.attempt.fetched, document);
    }

    fn replace(&mut self, text: &[u8], at: Duration, document: &mut dyn Document) -> Result<(), String> {
        let digest = digest(text);
        if self.used.as_ref().is_none_or(|used| used.digest != digest) {
            document.replace(text)?;
            self.generation = self.generation.wrapping_add(1);
        }
        self.used = Some(Used { at, digest });
        Ok(())
    }

    /// The call, which need not be answered in full if nothing has changed (RFC 9110 section 13.1.2).
    fn conditional_call(&self, cx: &Cx<'_>) -> HttpCall {
        let mut call = self.call.clone();
        let known = self.slot.read(cx.host).unwrap_or_default();
        let etag = Shared::decode(&known).and_then(|known| str::from_utf8(known.etag).ok());
        if let Some(etag) = etag.filter(|etag| self.used.is_some() && !etag.is_empty()) {
            call.headers.push(("if-none-match".to_owned(), etag.to_owned()));
        }
        call
    }

    fn warn(&self, cx: &Cx<'_>, what: fmt::Arguments<'_>) {
        cx.host.log(Level::Warn, format_args!("auth: {}: {what}", self.owner));
    }

    fn is_due(&self, now: Duration) -> bool {
        self.until_due(now).is_zero() || (self.wanted && self.cooled_down(now) && self.may_retry(now))
    }

    /// The time until the document needs a fetch that nobody has asked for.
    fn until_due(&self, now: Duration) -> Duration {
        let due = match (&self.last, &self.used) {
            (Some(last), _) if last.failures > 0 => last.next,
            // A gateway that was told to refresh more often has not forgotten the fetch of its predecessor.
            (Some(last), Some(used)) => last.next.min(used.at.saturating_add(self.config.refresh.duration())),
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

impl<'a> Shared<'a> {
    /// The attempt, the entity tag with its length before it in one byte, and the text.
    fn encode(&self) -> Vec<u8> {
        // An entity tag that is longer than any server makes is as good as none.
        let (length, etag) = u8::try_from(self.etag.len()).map_or((0, &[][..]), |length| (length, self.etag));
        [&self.attempt.encode()[..], &[length], etag, self.text].concat()
    }

    fn decode(value: &'a [u8]) -> Option<Self> {
        let (attempt, rest) = Attempt::decode(value)?;
        let (length, rest) = rest.split_first()?;
        let (etag, text) = rest.split_at_checked(usize::from(*length))?;
        Some(Self { attempt, etag, text })
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

/// Times that would fetch without pause, or never have anything to trust.
fn check_times(config: &RemoteDocument) -> Result<(), String> {
    let RemoteDocument { timeout, refresh, max_stale, .. } = config;
    if timeout.duration().is_zero() {
        return Err("`timeout` is zero: no fetch could succeed; the default is `5s`".to_owned());
    }
    if refresh.duration() < FIRST_RETRY {
        return Err(format!("`refresh` is `{refresh}`; the least is `1s`"));
    }
    if max_stale.duration() < refresh.duration() {
        return Err(format!(
            "`max_stale` (`{max_stale}`) is less than `refresh` (`{refresh}`): there would be times without any"
        ));
    }
    Ok(())
}

/// Tells texts apart within one VM.
fn digest(body: &[u8]) -> u64 {
    thread_local!(static SEED: RandomState = RandomState::new());
    SEED.with(|seed| seed.hash_one(body))
}

/// Authority and path of an absolute `http` or `https` URL.
pub fn split_url(url: &str) -> Result<(String, String), String> {
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

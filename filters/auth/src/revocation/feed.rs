//! A list of revoked tokens that is fetched page by page.
//!
//! The background of one worker fetches, elected by a lease, and puts what it got into chunks in shared data, where
//! all workers read it and where it survives a reload. No worker handles more than one page or one chunk at a time,
//! so that none stalls, however long the list is.

use std::{fmt, time::Duration};

use enforcer_core::{
    cx::{CalloutError, Cx, FetchKey, HttpCall, HttpReply},
    host::{Host, Level},
    store::Lease,
};

use super::{
    page::{self, ENTRY},
    shared::{Head, MAX_NAME, Store},
    table::Table,
};
use crate::{
    GRACE,
    config::{RevocationList, Unavailable},
    remote::{Attempt, FIRST_RETRY, split_url},
};

/// How often a worker looks what others have fetched.
const LOOK: Duration = Duration::from_millis(200);
/// The same while requests wait.
const SOON: Duration = Duration::from_millis(20);
/// How soon a worker goes on that has read a part.
const GO_ON: Duration = Duration::from_millis(1);
/// How soon a server that may hold its answers back is asked again, if it does not.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Names where the next page begins.
const CURSOR: &str = "next-cursor";

/// Fetches one list, and keeps a table up to date with it.
#[derive(Debug)]
pub(super) struct Feed {
    config: RevocationList,
    key: FetchKey,
    call: HttpCall,
    store: Store,
    /// Made at the first tick: its owner's name is drawn by the host.
    lease: Option<Lease>,
    /// As this worker last read it.
    head: Option<Head>,
    /// How much of the list of `head` is in the table, in entries.
    read: usize,
    /// All of it was, once.
    whole: bool,
    /// When what the table holds was fetched, on the monotonic clock; `None` until a whole list was read.
    fresh: Option<Duration>,
    /// When this worker last sent a fetch.
    sent: Duration,
    /// Requests wait for a fetch.
    wanted: bool,
}

impl Feed {
    pub(super) fn new(key: FetchKey, config: RevocationList) -> Result<Self, (&'static str, String)> {
        let (authority, path) = split_url(&config.url).map_err(|problem| ("url", problem))?;
        if config.timeout.duration().is_zero() {
            return Err(("timeout", "zero: no fetch could succeed; the default is `5s`".to_owned()));
        }
        if config.poll.duration() < FIRST_RETRY {
            return Err(("poll", format!("`{}` is less than `1s`", config.poll)));
        }
        let least = config.poll.duration().max(config.wait.map_or(Duration::ZERO, |wait| wait.duration()));
        if config.max_stale.duration() <= least {
            let problem = format!(
                "`{}` is not more than `poll` and `wait`: there would be times without a list",
                config.max_stale
            );
            return Err(("max_stale", problem));
        }
        let accept = "application/octet-stream, application/json;q=0.9".to_owned();
        let mut headers = vec![("accept".to_owned(), accept)];
        let mut timeout = config.timeout.duration();
        if let Some(wait) = config.wait {
            headers.push(("prefer".to_owned(), format!("wait={}", wait.duration().as_secs())));
            timeout = timeout.saturating_add(wait.duration());
        }
        let call = HttpCall {
            cluster: config.cluster.clone(),
            method: "GET",
            authority,
            path,
            headers,
            body: Vec::new(),
            timeout,
        };
        let store = Store::new(key.filter, &format!("{}/{}", config.cluster, config.url));
        Ok(Self {
            config,
            key,
            call,
            store,
            lease: None,
            head: None,
            read: 0,
            whole: false,
            fresh: None,
            sent: Duration::ZERO,
            wanted: false,
        })
    }

    /// Whether a whole list was read, and is not too old to be trusted.
    pub(super) fn is_usable(&self, now: Duration) -> bool {
        self.fresh.is_some_and(|at| now.saturating_sub(at) < self.config.max_stale.duration())
    }

    pub(super) fn unavailable(&self) -> Unavailable {
        self.config.unavailable
    }

    /// What to wait for while there is no list, and how long, if that may help.
    pub(super) fn want(&mut self, cx: &mut Cx<'_>) -> Option<(FetchKey, Duration)> {
        let now = cx.host.monotonic();
        let failed = self.head.as_ref().map(|head| head.attempt);
        if failed.is_some_and(|last| last.failures > 0 && now < last.next) {
            return None;
        }
        self.wanted = true;
        cx.schedule(Duration::ZERO);
        Some((self.key, self.config.timeout.duration().saturating_add(GRACE)))
    }

    pub(super) fn on_tick(&mut self, table: &mut Table, cx: &mut Cx<'_>) {
        if !self.adopt(table, cx) {
            return cx.schedule(GO_ON);
        }
        let now = cx.host.monotonic();
        if self.head.as_ref().is_none_or(|head| head.attempt.next <= now) {
            let term = self.call.timeout.saturating_add(GRACE.saturating_mul(2));
            let lease = self.lease.get_or_insert_with(|| Lease::new(cx.host, self.store.lease(), term));
            // Whoever asks twice is given the fetch that is under way.
            if lease.acquire(cx.host) {
                self.sent = now;
                cx.fetch(self.key, self.next_call());
            }
        }
        cx.schedule(if self.wanted { SOON } else { LOOK });
    }

    /// Our own fetch has ended: tell all workers.
    pub(super) fn on_fetched(
        &mut self,
        reply: Result<&HttpReply, CalloutError>,
        table: &mut Table,
        cx: &mut Cx<'_>,
    ) {
        if self.lease.as_ref().is_some_and(|lease| !lease.is_held(cx.host)) {
            // So late that another worker has fetched meanwhile.
            return cx.schedule(GO_ON);
        }
        let head = self.store.head(cx.host).unwrap_or_default();
        let answer = reply.map_err(|error| error.to_string());
        let head = match answer.and_then(|reply| self.take(reply, &head, cx.host)) {
            Ok(head) => {
                cx.host.count("enforcer.auth.revocation.fetched", 1);
                head
            }
            Err(problem) => {
                cx.host.count("enforcer.auth.revocation.failed", 1);
                self.warn(cx, format_args!("not fetched from `{}`: {problem}", self.config.url));
                Head { attempt: head.attempt.failed(cx.host, self.config.poll.duration()), ..head }
            }
        };
        self.store.write(cx.host, &head);
        if let Some(lease) = &self.lease {
            lease.release(cx.host);
        }
        let delay = if self.adopt(table, cx) { LOOK } else { GO_ON };
        cx.schedule(delay.min(head.attempt.next.saturating_sub(cx.host.monotonic())));
    }

    /// What is known after this answer. Chunks are written before the head that counts them.
    fn take(&self, reply: &HttpReply, head: &Head, host: &dyn Host) -> Result<Head, String> {
        let up_to_date = |head: &Head| {
            let next = match self.config.wait {
                Some(_) => self.sent.saturating_add(LEAST_WAIT).saturating_sub(host.monotonic()),
                None => self.config.poll.duration(),
            };
            let attempt = Attempt::succeeded(host, next);
            Head { attempt, whole: true, ..head.clone() }
        };
        let field = |name: &str| reply.headers.get_str(name).unwrap_or_default().to_owned();
        match reply.status {
            204 | 304 if head.epoch > 0 => Ok(up_to_date(head)),
            // What the cursor named is gone: all over again.
            410 if !head.cursor.is_empty() => {
                let attempt = Attempt::succeeded(host, Duration::ZERO);
                Ok(Head { attempt, ..Head::of_epoch(head.epoch.saturating_add(1)) })
            }
            200 => {
                let compact = field("content-type").starts_with("application/octet-stream");
                let page = page::read(&reply.body, compact)?;
                let (cursor, etag) = (field(CURSOR), field("etag"));
                if cursor.is_empty() {
                    let fresh =
                        Head { attempt: head.attempt, ..Head::of_epoch(head.epoch.saturating_add(1)) };
                    let head =
                        self.store.append(host, &fresh, &page).map_err(|no_room| no_room.to_string())?;
                    return Ok(up_to_date(&Head { etag, ..head }));
                }
                check_cursor(&cursor)?;
                // Pages that follow a whole list begin another one.
                let begins = head.epoch == 0 || (head.cursor.is_empty() && head.size > 0);
                let head = if begins { Head::of_epoch(head.epoch.saturating_add(1)) } else { head.clone() };
                if page.is_empty() || cursor == head.cursor {
                    // A page that leads to itself has been read.
                    return Ok(up_to_date(&Head { cursor, etag, ..head }));
                }
                let attempt = Attempt::succeeded(host, Duration::ZERO);
                match self.store.append(host, &head, &page) {
                    Ok(head) => Ok(Head { attempt, cursor, etag, ..head }),
                    Err(no_room) => {
                        // Most of it may have ended by now: the server knows.
                        host.log(Level::Warn, format_args!("auth: revoked tokens: {no_room}"));
                        let attempt = head.attempt.failed(host, self.config.poll.duration());
                        Ok(Head { attempt, ..Head::of_epoch(head.epoch.saturating_add(1)) })
                    }
                }
            }
            status @ 300..400 => {
                Err(format!("the answer was a redirect ({status}); give the address that it leads to"))
            }
            status => Err(format!("the answer was {status}")),
        }
    }

    /// Takes over a part of what was fetched, whichever worker did. True: there is no more of it.
    fn adopt(&mut self, table: &mut Table, cx: &mut Cx<'_>) -> bool {
        let Some(head) = self.store.head(cx.host) else { return true };
        let epoch = head.epoch;
        if head.attempt.failures > 0 && std::mem::take(&mut self.wanted) {
            cx.wake(self.key);
        }
        if self.head.as_ref().is_none_or(|known| known.epoch != epoch) {
            table.begin();
            (self.read, self.whole) = (0, false);
        }
        let (size, whole, fetched) = (head.size, head.whole, head.attempt.fetched);
        self.head = Some(head);
        let now = cx.host.now();
        if self.read < size {
            let Some((from, chunk)) = self.store.chunk(cx.host, epoch, self.read) else {
                // Another list is being written over this one: its head follows.
                return true;
            };
            let skipped = self.read.saturating_sub(from);
            page::entries(&chunk).skip(skipped).for_each(|(print, end)| table.add(print, end, now));
            self.read = from.saturating_add(chunk.len() / ENTRY);
            if self.read < size {
                return false;
            }
        }
        if whole {
            if !self.whole {
                table.finish(now);
                let len = table.len();
                cx.host
                    .log(Level::Debug, format_args!("auth: {len} revoked tokens from `{}`", self.config.url));
                self.whole = true;
            }
            self.fresh = Some(fetched);
            if std::mem::take(&mut self.wanted) {
                cx.wake(self.key);
            }
        }
        true
    }

    /// What to ask for next: what follows the cursor, or the list if it has changed (RFC 9110 section 13.1.2).
    fn next_call(&self) -> HttpCall {
        let mut call = self.call.clone();
        let Some(head) = &self.head else { return call };
        if !head.cursor.is_empty() {
            let separator = if call.path.contains('?') { '&' } else { '?' };
            call.path = format!("{}{separator}cursor={}", call.path, head.cursor);
        }
        if !head.etag.is_empty() {
            call.headers.push(("if-none-match".to_owned(), head.etag.clone()));
        }
        call
    }

    fn warn(&self, cx: &Cx<'_>, what: fmt::Arguments<'_>) {
        cx.host.log(Level::Warn, format_args!("auth: revoked tokens: {what}"));
    }
}

/// What may stand in a query as it is.
fn check_cursor(cursor: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%:=,+".contains(&byte);
    match cursor.len() <= MAX_NAME && cursor.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!("`{CURSOR}` is longer than {MAX_NAME} characters, or cannot stand in a query")),
    }
}

//! One sink over HTTP: what is sent when, and what becomes of it.
//!
//! One batch is under way at a time, so that a sink that is slow is not made slower. What may succeed later (no
//! answer, 429, 5xx) is tried again, after a pause that doubles each time and is never the same on two workers; what
//! cannot (other 4xx, a redirect) is dropped and counted, as OTLP prescribes (OTLP 1.x, "Failures"). Envoy may have
//! lost only the answer: then events arrive twice, never not at all.

use std::{rc::Rc, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpCall, HttpReply},
    headers::is_token,
    host::{Host, Level},
};

use crate::{
    config::HttpSink,
    event::Event,
    queue::Queue,
    render::{Form, Renderer},
};

/// The first pause, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that a sink may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// About how many bytes of memory's worth a batch has at most.
const MOST_BYTES: usize = 1 << 20;

/// What became of events; all of them are counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    pub acknowledged: u64,
    pub dropped: u64,
}

/// A sink and what waits for it.
#[derive(Debug)]
pub struct Sender {
    key: FetchKey,
    form: Form,
    config: HttpSink,
    queue: Queue,
    /// When the oldest event came that is not under way.
    waiting_since: Option<Duration>,
    /// Not before then.
    not_before: Duration,
    /// Failures in a row.
    failures: u32,
    sending: bool,
    /// After 413: at most so many events, until so many have been settled.
    split: Option<(usize, usize)>,
}

impl Sender {
    pub fn new(key: FetchKey, form: Form, mut config: HttpSink) -> Result<Self, ConfigError> {
        if config.cluster.is_empty() {
            return Err(ConfigError::at("cluster", "name the Envoy cluster that reaches the sink"));
        }
        if config.batch == 0 {
            return Err(ConfigError::at("batch", "a batch has at least one event"));
        }
        if let Some(name) = config.headers.keys().find(|name| !is_token(name)) {
            let problem = format!(
                "`{name}` is no name of a header; for `:authority` and `:path` there are `authority` and `path`"
            );
            return Err(ConfigError::at("headers", problem));
        }
        if let Some((name, _)) = config.headers.iter().find(|(_, value)| value.contains(char::is_control)) {
            return Err(ConfigError::at("headers", format!("`{name}` has a line break or the like in it")));
        }
        if config.authority.is_empty() {
            config.authority.clone_from(&config.cluster);
        }
        if config.path.is_empty() {
            config.path = form.default_path().to_owned();
        }
        let queue = Queue::new(config.queue.as_usize());
        Ok(Self {
            key,
            form,
            config,
            queue,
            waiting_since: None,
            not_before: Duration::ZERO,
            failures: 0,
            sending: false,
            split: None,
        })
    }

    pub fn cluster(&self) -> &str {
        &self.config.cluster
    }

    pub fn key(&self) -> FetchKey {
        self.key
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes an event, and says how many were dropped to make room for it.
    pub fn push(&mut self, event: Rc<Event>, weight: usize, now: Duration) -> u64 {
        self.waiting_since.get_or_insert(now);
        self.queue.push(event, weight)
    }

    /// When the next batch goes; `None`: when the one under way is settled, or never.
    pub fn due(&self) -> Option<Duration> {
        let waiting = self.queue.len().saturating_sub(self.queue.under_way());
        if self.sending || waiting == 0 {
            return None;
        }
        let since = self.waiting_since.unwrap_or_default();
        let full = self.split.is_some() || waiting >= self.config.batch;
        let due = if full { since } else { since.saturating_add(self.config.interval.duration()) };
        Some(due.max(self.not_before))
    }

    /// Sends a batch if one is due, or in any case when `flush` says so.
    pub fn send(&mut self, renderer: &Renderer, now: Duration, flush: bool, cx: &mut Cx<'_>) {
        let due = self.due();
        let flush = flush && !self.sending && !self.queue.is_empty();
        if !flush && due.is_none_or(|due| due > now) {
            return;
        }
        let most = self.split.map_or(self.config.batch, |(most, _)| most);
        let batch = self.queue.take(most, MOST_BYTES);
        self.waiting_since = (self.queue.len() > batch.len()).then_some(now);
        self.sending = true;
        let headers =
            self.config.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let content_type = ("content-type".to_owned(), self.form.content_type().to_owned());
        let call = HttpCall {
            cluster: self.config.cluster.clone(),
            method: "POST",
            authority: self.config.authority.clone(),
            path: self.config.path.clone(),
            headers: [content_type].into_iter().chain(headers).collect(),
            body: renderer.batch(self.form, batch.iter().map(Rc::as_ref)),
            timeout: self.config.timeout.duration(),
        };
        cx.fetch(self.key, call);
    }

    /// The answer to the batch under way.
    pub fn answered(
        &mut self,
        reply: Result<&HttpReply, CalloutError>,
        now: Duration,
        host: &dyn Host,
    ) -> Settled {
        self.sending = false;
        let size = self.queue.under_way();
        let settled = match reply {
            Ok(reply) if (200..300).contains(&reply.status) => self.accepted(reply, host),
            Ok(reply) if reply.status == 413 && size > 1 => {
                let left = self.split.map_or(size, |(_, left)| left.max(size));
                self.split = Some((size.div_euclid(2).max(1), left));
                self.queue.give_back();
                host.count("enforcer.analytics.split", 1);
                Settled::default()
            }
            Ok(reply) if reply.status == 429 || reply.status == 408 => {
                let asked = retry_after(reply);
                self.retry(&format_args!("the answer was {}", reply.status), asked, now, host)
            }
            Err(error) => self.retry(&error, None, now, host),
            Ok(reply) => self.refused(reply.status, host),
        };
        if !self.queue.is_empty() {
            // What waits has waited long enough.
            self.waiting_since = Some(self.waiting_since.unwrap_or(now).min(now));
        }
        settled
    }

    fn accepted(&mut self, reply: &HttpReply, host: &dyn Host) -> Settled {
        self.failures = 0;
        let all = self.settle();
        let rejected = match self.form {
            Form::Otlp => self.rejected(&reply.body, host).min(all),
            Form::Array | Form::Lines => 0,
        };
        if rejected > 0 {
            host.count("enforcer.analytics.dropped.rejected", rejected);
        }
        Settled { acknowledged: all.saturating_sub(rejected), dropped: rejected }
    }

    /// How many records of the batch an OTLP collector did not take: `partialSuccess.rejectedLogRecords`. A body that
    /// cannot be read does not unsay the status.
    fn rejected(&self, body: &[u8], host: &dyn Host) -> u64 {
        if body.is_empty() {
            return 0;
        }
        let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
            host.count("enforcer.analytics.unreadable_answer", 1);
            return 0;
        };
        let rejected = answer.get("partialSuccess").and_then(|part| part.get("rejectedLogRecords"));
        // A 64-bit integer: text or number.
        let number = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        rejected.and_then(number).unwrap_or(0)
    }

    fn retry(
        &mut self,
        why: &dyn std::fmt::Display,
        asked: Option<Duration>,
        now: Duration,
        host: &dyn Host,
    ) -> Settled {
        self.queue.give_back();
        host.count("enforcer.analytics.retries", 1);
        if self.failures == 0 {
            host.log(
                Level::Warn,
                format_args!("analytics: cluster `{}`: {why}; will try again", self.config.cluster),
            );
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        // Between a half and the whole of it.
        let half = doubled.div_f64(2.0);
        let jitter = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_millis(host.random().checked_rem(jitter).unwrap_or(0));
        let pause = half.saturating_add(jitter).max(asked.unwrap_or_default());
        self.not_before = now.saturating_add(pause);
        Settled::default()
    }

    fn refused(&mut self, status: u16, host: &dyn Host) -> Settled {
        let dropped = self.settle();
        host.count("enforcer.analytics.dropped.refused", dropped);
        host.log(
            Level::Warn,
            format_args!(
                "analytics: cluster `{}`: {dropped} events dropped: the answer was {status}",
                self.config.cluster
            ),
        );
        Settled { acknowledged: 0, dropped }
    }

    fn settle(&mut self) -> u64 {
        let settled = self.queue.settle();
        self.split = self.split.and_then(|(most, left)| {
            let left = left.saturating_sub(usize::try_from(settled).unwrap_or(usize::MAX));
            (left > 0).then_some((most, left))
        });
        settled
    }
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not taken, because the clocks may differ.
fn retry_after(reply: &HttpReply) -> Option<Duration> {
    let seconds = reply.headers.get_str("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests;

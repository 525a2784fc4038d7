//! All sinks of one worker.

use std::{rc::Rc, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::{CalloutError, Cx, FetchKey, HttpReply},
    host::Level,
};

use crate::{
    config::Sink,
    event::Event,
    ledger::{self, Ledger},
    render::{Form, Renderer},
    sender::{Sender, Settled},
};

/// The key under which an event is left for the access log; Envoy prefixes it with `wasm.`.
pub const PROPERTY: &str = "enforcer_event";

/// Where events go.
#[derive(Debug)]
pub struct Sinks {
    senders: Vec<Sender>,
    log: bool,
    access_log: bool,
    ledger: Ledger,
    next_round: Duration,
    /// When the next tick comes, as far as it was asked for from here.
    planned: Option<Duration>,
    /// No more events come: what waits goes at once.
    draining: bool,
    /// The counters are there.
    counting: bool,
}

/// What is counted of events that wait for a service.
const COUNTERS: [&str; 9] = [
    "enforcer.analytics.enqueued",
    "enforcer.analytics.acknowledged",
    "enforcer.analytics.dropped",
    "enforcer.analytics.dropped.queue_full",
    "enforcer.analytics.dropped.refused",
    "enforcer.analytics.dropped.rejected",
    "enforcer.analytics.lost",
    "enforcer.analytics.retries",
    "enforcer.analytics.split",
];

impl Sinks {
    /// `filter` owns the calls.
    pub fn new(filter: &'static str, sinks: Vec<Sink>) -> Result<Self, ConfigError> {
        let mut all = Self {
            senders: Vec::new(),
            log: false,
            access_log: false,
            ledger: Ledger::default(),
            next_round: Duration::ZERO,
            planned: None,
            draining: false,
            counting: false,
        };
        for (index, sink) in sinks.into_iter().enumerate() {
            let (form, name, config) = match sink {
                Sink::Otlp(config) => (Form::Otlp, "otlp", config),
                Sink::Json(config) => (Form::Array, "json", config),
                Sink::Ndjson(config) => (Form::Lines, "ndjson", config),
                Sink::Log(_) => {
                    all.log = true;
                    continue;
                }
                Sink::AccessLog(_) => {
                    all.access_log = true;
                    continue;
                }
            };
            let id = u32::try_from(all.senders.len()).unwrap_or(u32::MAX);
            let sender = Sender::new(FetchKey { filter, id }, form, config);
            all.senders.push(sender.map_err(|error| error.under(&format!("sinks[{index}].{name}")))?);
        }
        Ok(all)
    }

    pub fn is_empty(&self) -> bool {
        self.senders.is_empty() && !self.log && !self.access_log
    }

    pub fn clusters(&self) -> Vec<String> {
        self.senders.iter().map(|sender| sender.cluster().to_owned()).collect()
    }

    /// Takes an event, in the log phase of its call.
    pub fn take(&mut self, event: Event, renderer: &Renderer, cx: &mut Cx<'_>) {
        cx.host.count("enforcer.analytics.events", 1);
        if self.access_log {
            cx.host.annotate(PROPERTY, &renderer.json(&event));
        }
        if self.log {
            cx.host.log(Level::Info, format_args!("{}", renderer.line(&event)));
        }
        if self.senders.is_empty() {
            return;
        }
        let now = cx.host.monotonic();
        let weight = event.weight();
        let event = Rc::new(event);
        for sender in &mut self.senders {
            cx.host.count("enforcer.analytics.enqueued", 1);
            let dropped = sender.push(Rc::clone(&event), weight, now);
            count(Settled { acknowledged: 0, dropped }, cx);
            if dropped > 0 {
                cx.host.count("enforcer.analytics.dropped.queue_full", dropped);
            }
        }
        self.ledger.note(cx.host, self.held(), now);
        self.plan(now, cx);
    }

    pub fn on_tick(&mut self, renderer: &Renderer, cx: &mut Cx<'_>) {
        if self.senders.is_empty() {
            return;
        }
        let now = cx.host.monotonic();
        self.planned = None;
        if !std::mem::replace(&mut self.counting, true) {
            // What has never happened is shown as zero, so that its first time is seen as growth.
            COUNTERS.iter().for_each(|counter| cx.host.count(counter, 0));
        }
        for sender in &mut self.senders {
            sender.send(renderer, now, false, cx);
        }
        if self.next_round <= now {
            self.next_round = now.saturating_add(ledger::ROUND);
            self.ledger.round(cx.host, now);
        }
        self.plan(now, cx);
    }

    /// The answer to a batch, by the number of its sink.
    pub fn on_answer(
        &mut self,
        id: u32,
        reply: Result<&HttpReply, CalloutError>,
        renderer: &Renderer,
        cx: &mut Cx<'_>,
    ) {
        let now = cx.host.monotonic();
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.key().id == id) else { return };
        let settled = sender.answered(reply, now, cx.host);
        // Nobody waits for a sink that fails while everything ends.
        let flush = self.draining && settled != Settled::default();
        sender.send(renderer, now, flush, cx);
        count(settled, cx);
        self.ledger.note(cx.host, self.held(), now);
        self.plan(now, cx);
    }

    /// Sends what waits, without waiting for more.
    pub fn drain(&mut self, renderer: &Renderer, cx: &mut Cx<'_>) {
        self.draining = true;
        let now = cx.host.monotonic();
        for sender in &mut self.senders {
            sender.send(renderer, now, true, cx);
        }
    }

    /// Events that wait or are under way.
    fn held(&self) -> u64 {
        let held = self.senders.iter().map(Sender::waiting).fold(0, usize::saturating_add);
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// Asks for the next tick that anything needs, unless it comes anyway.
    fn plan(&mut self, now: Duration, cx: &mut Cx<'_>) {
        let dues = self.senders.iter().filter_map(Sender::due);
        let Some(due) = dues.chain([self.next_round]).min() else { return };
        if self.planned.is_none_or(|planned| due < planned) {
            self.planned = Some(due);
            cx.schedule(due.saturating_sub(now));
        }
    }
}

fn count(settled: Settled, cx: &Cx<'_>) {
    let Settled { acknowledged, dropped } = settled;
    for (metric, number) in
        [("enforcer.analytics.acknowledged", acknowledged), ("enforcer.analytics.dropped", dropped)]
    {
        if number > 0 {
            cx.host.count(metric, number);
        }
    }
}

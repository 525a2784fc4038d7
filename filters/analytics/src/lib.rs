//! What happened: an event and metrics for every call, whoever answered it.
//!
//! A call is told when it is over ([`Filter::on_log`] runs for every request, also for those that a filter before this
//! one refused): what Envoy knows of it is read in one go ([`reading`]), and what other filters learnt is the identity.
//! Of that an event is made ([`event`], [`fault`]) unless sampling leaves it out ([`sampling`]); it waits
//! ([`queue`]) until it goes to the sinks in batches, from the background ([`sender`], [`render`]). No
//! request waits for any of this. [`metrics`] count in Envoy's statistics.

pub mod agent;
pub mod config;
pub mod event;
pub mod fault;
pub mod json;
pub mod ledger;
pub mod metrics;
pub mod privacy;
pub mod queue;
pub mod reading;
pub mod render;
pub mod sampling;
pub mod sender;
pub mod sinks;
pub mod targets;
pub mod unusual;

use std::{mem, time::Duration};

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    filter::{Background, CallSummary, Capabilities, Event as Happening, Filter, Needs, Step},
    identity::{Called, Caller, Identity, Part},
};

use crate::{
    agent::{Agent, Agents},
    config::{AnalyticsConfig, ClientIp, From},
    event::Event,
    fault::Ending,
    metrics::{Call, Metrics},
    reading::{Reading, text},
    render::Renderer,
    sampling::Sampler,
    sinks::Sinks,
    targets::Targets,
    unusual::{Unusual, Use, Watch},
};

/// How much of a text that others choose is taken, in bytes.
const LONGEST_TEXT: usize = 256;

/// The analytics filter.
#[derive(Debug)]
pub struct Analytics {
    targets: Targets,
    sampler: Sampler,
    renderer: Renderer,
    sinks: Sinks,
    metrics: Option<Metrics>,
    watch: Option<Watch>,
    agents: Agents,
    /// What is not known of a call, and who is not known.
    nothing: Part<Called>,
    nobody: Part<Caller>,
}

/// What is remembered of a request until it is over.
#[derive(Debug, Default)]
pub struct Exchange {
    /// The wall clock when this filter saw the request; `None`: it was refused before.
    seen: Option<Duration>,
    /// What it calls, where no other filter says.
    called: Option<Part<Called>>,
}

impl Filter for Analytics {
    const NAME: &'static str = "analytics";
    type Config = AnalyticsConfig;
    type Exchange = Exchange;

    fn new(mut config: AnalyticsConfig, _: Capabilities) -> Result<Self, ConfigError> {
        privacy::check(&config.fields)?;
        Ok(Self {
            sampler: Sampler::new(&config.sampling)?,
            targets: Targets::new(&mem::take(&mut config.apis))?,
            sinks: Sinks::new(Self::NAME, mem::take(&mut config.sinks))?,
            metrics: config.metrics.map(Metrics::new).transpose()?,
            watch: config.unusual_use.map(Watch::new).transpose()?,
            renderer: Renderer { fields: config.fields, region: config.region },
            agents: Agents::default(),
            nothing: Part::default(),
            nobody: Part::default(),
        })
    }

    fn needs(&self) -> Needs {
        Needs { clusters: self.sinks.clusters(), attributes: reading::NAMES.to_vec(), response: false }
    }

    fn on_event(&mut self, exchange: &mut Exchange, event: Happening<'_>, cx: &mut Cx<'_>) -> Step {
        if let Happening::RequestHead = event {
            exchange.seen = Some(cx.host.now());
            // Later the router may have rewritten the path.
            if !self.targets.is_empty() && matches!(cx.identity(), Ok(None)) {
                exchange.called = self.targets.find(cx.request_headers());
            }
        }
        Step::proceed()
    }

    fn on_log(&mut self, exchange: Exchange, call: &CallSummary<'_>, cx: &mut Cx<'_>) {
        let events = !self.sinks.is_empty();
        if !events && self.metrics.is_none() && self.watch.is_none() {
            return;
        }
        let values = reading::read(cx, events || self.watch.is_some());
        let reading = Reading::of(&values);
        let identity = cx.identity().ok().flatten();
        let details = call.answered.map_or(reading.details, |detail| detail.as_str().as_bytes());
        let details = text(details, LONGEST_TEXT);
        let ending = Ending { status: reading.status, flags: reading.flags, details: &details, identity };
        let fault = ending.fault();
        let (called, caller) = self.parties(&exchange, identity, cx);
        if let Some(metrics) = &mut self.metrics {
            let call = Call {
                called: &called,
                caller: &caller,
                method: cx.request_headers().get(":method").unwrap_or_default(),
                status: reading.status,
                fault: fault.as_ref(),
                total: micros(reading.duration),
                backend: reading.backend.map(micros),
            };
            metrics.count(&call, cx.host);
        }
        let unusual = self.watch(&called, &caller, &reading, cx);
        if !events {
            return;
        }
        let headers = cx.request_headers();
        let trace = headers.get("traceparent").and_then(sampling::trace);
        let trace_id = trace.as_ref().map(|(trace, _)| trace);
        let id = headers.get("x-request-id").unwrap_or_default();
        // What is unusual is told whatever sampling says.
        let rate = match unusual {
            Some(_) => Some(1.0),
            None => self.sampler.choose(&called, fault.is_some(), trace_id, id),
        };
        let Some(rate) = rate else {
            return cx.host.count("enforcer.analytics.sampled_out", 1);
        };
        let started = cx.host.now().saturating_sub(Duration::from_nanos(reading.duration));
        let (from_backend, shadow) = (ending.from_backend(), ending.shadow().into());
        let event = Event {
            started,
            fault,
            from_backend,
            shadow,
            unusual,
            details,
            rate,
            trace,
            before: exchange.seen.map_or(0, |seen| before(seen, started)),
            api: self.targets.facts(&called),
            added: self.added(&caller, cx),
            called,
            caller,
            ..self.told(&reading, cx)
        };
        self.sinks.take(event, &self.renderer, cx);
    }

    fn on_background(&mut self, event: Background<'_>, cx: &mut Cx<'_>) {
        match event {
            Background::Tick => self.sinks.on_tick(&self.renderer, cx),
            Background::Fetched(key, reply) if key.filter == Self::NAME => {
                self.sinks.on_answer(key.id, reply, &self.renderer, cx);
            }
            Background::Fetched(..) | Background::Answered(..) => {}
            Background::Draining => self.sinks.drain(&self.renderer, cx),
        }
    }
}

impl Analytics {
    /// What was called, and by whom: as other filters say, else as this one can tell.
    fn parties(
        &self,
        exchange: &Exchange,
        identity: Option<&Identity>,
        cx: &Cx<'_>,
    ) -> (Part<Called>, Part<Caller>) {
        if let Some(identity) = identity {
            return (identity.called.clone(), identity.caller.clone());
        }
        let find = || match exchange.seen {
            Some(_) => None,
            // Refused before this filter saw it, so the path is still the client's.
            None if self.targets.is_empty() => None,
            None => self.targets.find(cx.request_headers()),
        };
        let called = exchange.called.clone().or_else(find).unwrap_or_else(|| self.nothing.clone());
        (called, self.nobody.clone())
    }

    /// Whether this call makes its consumer's use unusual.
    fn watch(
        &mut self,
        called: &Called,
        caller: &Caller,
        reading: &Reading<'_>,
        cx: &Cx<'_>,
    ) -> Option<Unusual> {
        let watch = self.watch.as_mut()?;
        let call = Use {
            consumer: if caller.consumer.is_empty() { &caller.subject } else { &caller.consumer },
            api: &called.api,
            failed: reading.status >= 400 || reading.status == 0,
            network: &privacy::client_ip(reading.source, ClientIp::Network),
            bytes: reading.request_bytes.saturating_add(reading.response_bytes),
        };
        let unusual = watch.see(&call, cx.host.now())?;
        cx.host.count(unusual.kind.counter(), 1);
        Some(unusual)
    }

    /// What Envoy tells of a call.
    fn told(&mut self, reading: &Reading<'_>, cx: &Cx<'_>) -> Event {
        let headers = cx.request_headers();
        let header = |name: &str| headers.get(name).unwrap_or_default();
        let Agent { family, platform } = self.agents.find(header("user-agent"));
        let fields = &self.renderer.fields;
        let country = fields.country_header.as_ref().and_then(|name| headers.get(name));
        Event {
            id: text(header("x-request-id"), 64),
            method: text(header(":method"), 32),
            status: reading.status,
            // RFCF: ResponseFromCacheFilter.
            cached: reading.flags & 1 << 20 != 0,
            total: micros(reading.duration),
            backend: micros(reading.backend.unwrap_or(0)),
            client_ip: privacy::client_ip(reading.source, fields.client_ip).into(),
            destination: text(reading.upstream, LONGEST_TEXT),
            agent: family,
            platform,
            request_bytes: reading.request_bytes,
            response_bytes: reading.response_bytes,
            protocol: reading::protocol(reading.protocol),
            tls: reading::tls(reading.tls),
            flags: reading.flags,
            country: country.and_then(privacy::country),
            ..Event::default()
        }
    }

    /// The fields that the configuration adds, as far as they are there.
    fn added(&self, caller: &Caller, cx: &Cx<'_>) -> Box<[(usize, Box<str>)]> {
        let value = |from: &From| match from {
            From::Header(name) => cx.request_headers().get(name),
            From::ResponseHeader(name) => cx.response_headers().get(name),
            From::Claim(name) => caller.claims.get(name).map(String::as_bytes),
        };
        let added = self.renderer.fields.add.iter().enumerate();
        added.filter_map(|(index, added)| Some((index, text(value(&added.from)?, LONGEST_TEXT)))).collect()
    }
}

fn micros(nanos: u64) -> u64 {
    nanos.div_euclid(1000)
}

/// Microseconds from the start of a request until this filter saw it. The wall clock may have been set meanwhile.
fn before(seen: Duration, started: Duration) -> u64 {
    u64::try_from(seen.saturating_sub(started).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

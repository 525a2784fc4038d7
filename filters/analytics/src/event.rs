//! What is told of one call.
//!
//! The fields and their names are those of WSO2's analytics events (`DefaultInputValidator` of its publisher), so that
//! what reads those reads these; what WSO2 has no name for is in `properties`. See docs/analytics.md.

use std::{rc::Rc, time::Duration};

use enforcer_core::identity::{Called, Caller, Part};

use crate::{config::Fields, fault::Fault, json, privacy, unusual::Unusual};

/// What stands for something that is not known, as in Choreo Connect.
pub const UNKNOWN: &str = "UNKNOWN";

/// The names of all fields, those of `properties` last.
pub const FIELDS: [&str; 51] = [
    "eventType",
    "requestTimestamp",
    "correlationId",
    "keyType",
    "apiId",
    "apiType",
    "apiName",
    "apiVersion",
    "apiCreator",
    "apiCreatorTenantDomain",
    "apiMethod",
    "apiContext",
    "apiResourceTemplate",
    "destination",
    "applicationId",
    "applicationName",
    "applicationOwner",
    "regionId",
    "gatewayType",
    "userAgent",
    "platform",
    "userIp",
    "proxyResponseCode",
    "targetResponseCode",
    "responseCacheHit",
    "responseLatency",
    "backendLatency",
    "requestMediationLatency",
    "responseMediationLatency",
    "errorType",
    "errorCode",
    "errorMessage",
    "properties",
    "operation",
    "consumer",
    "issuer",
    "scopes",
    "limit",
    "shadow",
    "unusual",
    "unusualValue",
    "unusualUsual",
    "details",
    "responseFlags",
    "traceId",
    "requestBytes",
    "responseBytes",
    "protocol",
    "tlsVersion",
    "country",
    "sampleRate",
];

/// One call. What many calls have in common is shared, what is its own is short: ten thousand of them wait in 8 MB.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Since the Unix epoch.
    pub started: Duration,
    /// `x-request-id`.
    pub id: Box<str>,
    pub called: Part<Called>,
    pub caller: Part<Caller>,
    pub api: Option<Rc<ApiFacts>>,
    pub method: Box<str>,
    /// 0: the client got none.
    pub status: u16,
    pub fault: Option<Fault>,
    /// Whether the status is the backend's.
    pub from_backend: bool,
    pub cached: bool,
    /// How long it took, in microseconds,
    pub total: u64,
    /// of this the backend,
    pub backend: u64,
    /// and from the first byte of the request to this filter, which is the last of ours.
    pub before: u64,
    pub client_ip: Box<str>,
    /// The address of the backend.
    pub destination: Box<str>,
    pub agent: &'static str,
    pub platform: &'static str,
    pub trace: Option<([u8; 16], [u8; 8])>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub protocol: &'static str,
    pub tls: &'static str,
    pub flags: u64,
    pub details: Box<str>,
    /// The detail of a refusal that was not carried out.
    pub shadow: Box<str>,
    pub unusual: Option<Unusual>,
    /// ISO 3166, two letters.
    pub country: Option<[u8; 2]>,
    /// Of each added field that is there: its position in the configuration, and its value.
    pub added: Box<[(usize, Box<str>)]>,
    /// The part of such calls that make an event.
    pub rate: f64,
}

/// What events say of an API beside its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiFacts {
    pub id: String,
    pub kind: String,
    pub creator: String,
    pub tenant: String,
    pub context: String,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Part(f64),
    Flag(bool),
    List(&'a [String]),
}

/// Takes the fields of an event, one by one.
pub trait Visitor {
    /// `property`: it belongs into `properties`. A name needs no escaping in JSON.
    fn field(&mut self, name: &str, value: Value<'_>, property: bool);
}

impl Event {
    /// Roughly what it takes of the memory for queues, in bytes. What it shares with other events counts as its
    /// own: where filters are modules of their own, nothing is shared.
    pub fn weight(&self) -> usize {
        let (called, caller) = (&*self.called, &*self.caller);
        let texts = [&called.api, &called.version, &called.operation, &called.template].into_iter();
        let texts = texts.chain([&caller.issuer, &caller.subject, &caller.consumer]);
        let texts = texts.chain(&caller.scopes).chain(caller.claims.iter().flat_map(|(k, v)| [k, v]));
        let shared: usize = texts.map(|text| text.len().saturating_add(16)).sum();
        let own = [&self.id, &self.method, &self.client_ip, &self.destination, &self.details, &self.shadow];
        let own = own.into_iter().chain(self.added.iter().map(|(_, value)| value));
        let own: usize = own.map(|text| text.len().saturating_add(16)).sum();
        size_of::<Self>().saturating_add(shared).saturating_add(own)
    }

    /// Shows all fields that the configuration lets through, in the order of [`FIELDS`].
    pub fn visit(&self, fields: &Fields, region: &str, to: &mut dyn Visitor) {
        let mut shown = Shown { fields, to, properties: false };
        self.visit_call(region, &mut shown);
        match &self.fault {
            None => self.visit_response(&mut shown),
            Some(fault) => {
                shown.text("errorType", fault.kind.name());
                shown.number("errorCode", fault.code.into());
                shown.text("errorMessage", fault.message);
            }
        }
        shown.properties = true;
        self.visit_properties(&mut shown);
        for (index, value) in &*self.added {
            if let Some(added) = fields.add.get(*index) {
                shown.text(&added.name, value);
            }
        }
    }

    /// What every event says.
    fn visit_call(&self, region: &str, shown: &mut Shown<'_, '_>) {
        let (called, caller) = (&*self.called, &*self.caller);
        let unknown = ApiFacts::unknown();
        let api = self.api.as_deref().unwrap_or(&unknown);
        let claim = |name: &str| known(caller.claims.get(name).map_or("", String::as_str));
        shown.text("eventType", if self.fault.is_some() { "fault" } else { "response" });
        shown.text("requestTimestamp", &json::text(|out| json::timestamp(out, self.started)));
        shown.text("correlationId", known(&self.id));
        shown.text("keyType", caller.claims.get("keytype").map_or("PRODUCTION", |kind| known(kind)));
        shown.text("apiId", &api.id);
        shown.text("apiType", &api.kind);
        shown.text("apiName", known(&called.api));
        shown.text("apiVersion", known(&called.version));
        shown.text("apiCreator", &api.creator);
        shown.text("apiCreatorTenantDomain", &api.tenant);
        shown.text("apiMethod", known(&self.method));
        if self.fault.is_none() {
            shown.text("apiContext", &api.context);
            shown.text("apiResourceTemplate", known(&called.template));
            shown.text("destination", known(&self.destination));
        }
        shown.text("applicationId", known(&caller.consumer));
        shown.text("applicationName", claim("application_name"));
        shown.text("applicationOwner", claim("application_owner"));
        shown.text("regionId", region);
        shown.text("gatewayType", "ENVOY");
        shown.text("userAgent", self.agent);
        shown.text("platform", self.platform);
        shown.text("userIp", known(&self.client_ip));
        shown.number("proxyResponseCode", self.status.into());
        shown.number("targetResponseCode", if self.from_backend { self.status.into() } else { 0 });
    }

    /// What only an event of a response says.
    fn visit_response(&self, shown: &mut Shown<'_, '_>) {
        let mediation = self.total.saturating_sub(self.backend);
        let before = self.before.min(mediation);
        shown.show("responseCacheHit", Value::Flag(self.cached));
        shown.number("responseLatency", millis(self.total));
        shown.number("backendLatency", millis(self.backend));
        shown.number("requestMediationLatency", millis(before));
        shown.number("responseMediationLatency", millis(mediation.saturating_sub(before)));
    }

    /// What WSO2 has no name for; what is empty is left out.
    fn visit_properties(&self, shown: &mut Shown<'_, '_>) {
        shown.told("operation", &self.called.operation);
        shown.told("consumer", &self.caller.subject);
        shown.told("issuer", &self.caller.issuer);
        if !self.caller.scopes.is_empty() {
            shown.show("scopes", Value::List(&self.caller.scopes));
        }
        shown.told("limit", self.limit());
        shown.told("shadow", &self.shadow);
        if let Some(Unusual { kind, value, usual }) = self.unusual {
            shown.text("unusual", kind.name());
            shown.number("unusualValue", value);
            shown.number("unusualUsual", usual);
        }
        shown.told("details", &self.details);
        if self.flags != 0 {
            shown.number("responseFlags", self.flags);
        }
        if let Some((trace, _)) = &self.trace {
            shown.text("traceId", &json::text(|out| json::hex(out, trace)));
        }
        shown.number("requestBytes", self.request_bytes);
        shown.number("responseBytes", self.response_bytes);
        shown.told("protocol", self.protocol);
        shown.told("tlsVersion", self.tls);
        if let Some(country) = &self.country {
            shown.text("country", std::str::from_utf8(country).unwrap_or_default());
        }
        if self.rate < 1.0 {
            shown.show("sampleRate", Value::Part(self.rate));
        }
    }

    /// The limit that refused the call, or would have.
    fn limit(&self) -> &str {
        let of_limit = |detail: &&str| detail.starts_with("enforcer_ratelimit");
        [&*self.details, &*self.shadow].into_iter().find(of_limit).unwrap_or_default()
    }
}

impl ApiFacts {
    fn unknown() -> Self {
        let unknown = || UNKNOWN.to_owned();
        Self {
            id: unknown(),
            kind: "HTTP".to_owned(),
            creator: unknown(),
            tenant: unknown(),
            context: unknown(),
        }
    }
}

/// Lets fields through as the configuration wants them.
struct Shown<'a, 'v> {
    fields: &'a Fields,
    to: &'v mut dyn Visitor,
    properties: bool,
}

impl Shown<'_, '_> {
    fn show(&mut self, name: &str, value: Value<'_>) {
        let is = |other: &String| other == name;
        if self.fields.drop.iter().any(is)
            || self.properties && self.fields.drop.iter().any(|d| d == "properties")
        {
            return;
        }
        if !self.fields.hash.iter().any(is) {
            return self.to.field(name, value, self.properties);
        }
        let hashed = |text: &str| privacy::hashed(&self.fields.hash_key, text);
        let hashed = match value {
            Value::Text(UNKNOWN) => UNKNOWN.to_owned(),
            Value::Text(text) => hashed(text),
            Value::Number(number) => hashed(&number.to_string()),
            Value::Part(part) => hashed(&part.to_string()),
            Value::Flag(flag) => hashed(&flag.to_string()),
            Value::List(list) => hashed(&list.join(" ")),
        };
        self.to.field(name, Value::Text(&hashed), self.properties);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.show(name, Value::Text(text));
    }

    fn number(&mut self, name: &str, number: u64) {
        self.show(name, Value::Number(number));
    }

    /// A text that may be left out.
    fn told(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

fn millis(micros: u64) -> u64 {
    micros.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn every_field_is_listed() {
        struct Names(Vec<(String, bool)>);
        impl Visitor for Names {
            fn field(&mut self, name: &str, _: Value<'_>, property: bool) {
                self.0.push((name.to_owned(), property));
            }
        }
        let caller =
            Caller { subject: "s".into(), issuer: "i".into(), scopes: vec!["a".into()], ..Caller::default() };
        let called = Called { operation: "o".into(), ..Called::default() };
        let whole = Event {
            called: Part::new(called),
            caller: Part::new(caller),
            details: "enforcer_ratelimit_api".into(),
            shadow: "d".into(),
            unusual: Some(Unusual { kind: crate::unusual::Kind::Rate, value: 9, usual: 1 }),
            flags: 1,
            trace: Some(([1; 16], [1; 8])),
            protocol: "HTTP/2",
            tls: "TLSv1.3",
            country: Some(*b"LK"),
            rate: 0.5,
            ..Event::default()
        };
        let fault = crate::fault::Fault { kind: crate::fault::Kind::Other, message: "m", code: 1 };
        let mut names = Names(Vec::new());
        whole.visit(&Fields::default(), "r", &mut names);
        Event { fault: Some(fault), ..whole }.visit(&Fields::default(), "r", &mut names);
        for (position, name) in FIELDS.iter().enumerate() {
            let there = names.0.contains(&((*name).to_owned(), position > 32));
            assert!(there || *name == "properties", "{name}");
        }
        assert!(names.0.iter().all(|(name, _)| FIELDS.contains(&name.as_str())));
    }
}

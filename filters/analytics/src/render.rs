//! Events as bytes: WSO2's JSON, lines of a log, and OTLP.

use crate::{
    config::Fields,
    event::{Event, Value, Visitor},
    json,
};

/// How events are written.
#[derive(Debug, Clone)]
pub struct Renderer {
    pub fields: Fields,
    pub region: String,
}

/// The form of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `ExportLogsServiceRequest` of OTLP 1.x, in JSON.
    Otlp,
    /// A JSON array.
    Array,
    /// One JSON object a line.
    Lines,
}

impl Form {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Otlp | Self::Array => "application/json",
            Self::Lines => "application/x-ndjson",
        }
    }

    pub fn default_path(self) -> &'static str {
        match self {
            Self::Otlp => "/v1/logs",
            Self::Array | Self::Lines => "/",
        }
    }
}

/// What surrounds the records of one batch.
const OTLP_HEAD: &[u8] = concat!(
    r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"enforcer"}}]},"#,
    r#""scopeLogs":[{"scope":{"name":"enforcer.analytics","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""},"logRecords":["#
)
.as_bytes();
const OTLP_TAIL: &[u8] = b"]}]}]}";

impl Renderer {
    /// A batch.
    pub fn batch<'e>(&self, form: Form, events: impl Iterator<Item = &'e Event>) -> Vec<u8> {
        let (head, between, tail): (&[u8], &[u8], &[u8]) = match form {
            Form::Otlp => (OTLP_HEAD, b",", OTLP_TAIL),
            Form::Array => (b"[", b",", b"]"),
            Form::Lines => (b"", b"\n", b"\n"),
        };
        let mut out = head.to_vec();
        for (index, event) in events.enumerate() {
            if index > 0 {
                out.extend_from_slice(between);
            }
            match form {
                Form::Otlp => self.record(event, &mut out),
                Form::Array | Form::Lines => self.object(event, &mut out),
            }
        }
        out.extend_from_slice(tail);
        out
    }

    /// One event as WSO2's JSON.
    pub fn json(&self, event: &Event) -> String {
        let mut out = Vec::with_capacity(1024);
        self.object(event, &mut out);
        // Texts, and bytes of ASCII.
        String::from_utf8(out).unwrap_or_default()
    }

    /// One event as Choreo Connect's ELK publisher logs it.
    pub fn line(&self, event: &Event) -> String {
        let metric = if event.fault.is_some() { "apim:faulty" } else { "apim:response" };
        format!("apimMetrics: {metric}, properties :{}", self.json(event))
    }

    fn object(&self, event: &Event, out: &mut Vec<u8>) {
        let mut object = Object { out, first: true, properties: false };
        object.out.push(b'{');
        event.visit(&self.fields, &self.region, &mut object);
        if object.properties {
            object.out.push(b'}');
        }
        object.out.push(b'}');
    }

    /// A `LogRecord`: the fields are its attributes.
    fn record(&self, event: &Event, out: &mut Vec<u8>) {
        let nanos = u64::try_from(event.started.as_nanos()).unwrap_or(u64::MAX);
        // `SEVERITY_NUMBER_INFO`, `_WARN` and `_ERROR` of OTLP.
        let (number, text) = match (&event.fault, event.status) {
            (None, _) => (9, "INFO"),
            (Some(_), 500..) => (17, "ERROR"),
            (Some(_), _) => (13, "WARN"),
        };
        let nanos = json::text(|out| json::number(out, nanos));
        let parts = [
            r#"{"timeUnixNano":""#,
            &nanos,
            r#"","observedTimeUnixNano":""#,
            &nanos,
            r#"","severityNumber":"#,
        ];
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        json::number(out, number);
        out.extend_from_slice(br#","severityText":""#);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(br#"","#);
        if let Some((trace, span)) = &event.trace {
            out.extend_from_slice(br#""traceId":""#);
            json::hex(out, trace);
            out.extend_from_slice(br#"","spanId":""#);
            json::hex(out, span);
            out.extend_from_slice(br#"","#);
        }
        out.extend_from_slice(br#""attributes":["#);
        let mut attributes = Attributes { out, first: true };
        event.visit(&self.fields, &self.region, &mut attributes);
        out.extend_from_slice(b"]}");
    }
}

/// A JSON object, with the object `properties` at its end.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    /// `properties` is open.
    properties: bool,
}

impl Visitor for Object<'_> {
    fn field(&mut self, name: &str, value: Value<'_>, property: bool) {
        if property && !self.properties {
            let head: &[u8] = if self.first { br#""properties":{"# } else { br#","properties":{"# };
            self.out.extend_from_slice(head);
            self.properties = true;
            self.first = true;
        }
        let head: &[u8] = if std::mem::replace(&mut self.first, false) { b"\"" } else { b",\"" };
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        match value {
            Value::Text(text) => json::string(self.out, text),
            Value::Number(number) => json::number(self.out, number),
            Value::Part(part) => self.out.extend_from_slice(part.to_string().as_bytes()),
            Value::Flag(flag) => self.out.extend_from_slice(word(flag)),
            Value::List(list) => {
                self.out.push(b'[');
                for (index, text) in list.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    json::string(self.out, text);
                }
                self.out.push(b']');
            }
        }
    }
}

/// OTLP's list of `KeyValue`.
struct Attributes<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Visitor for Attributes<'_> {
    fn field(&mut self, name: &str, value: Value<'_>, _property: bool) {
        let first = std::mem::replace(&mut self.first, false);
        let head: &[u8] = if first { br#"{"key":""# } else { br#",{"key":""# };
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(name.as_bytes());
        // The member of `AnyValue`.
        let kind: &[u8] = match value {
            Value::Text(_) => br#"","value":{"stringValue":"#,
            // 64-bit integers are text in the JSON of protobuf.
            Value::Number(_) => br#"","value":{"intValue":""#,
            Value::Part(_) => br#"","value":{"doubleValue":"#,
            Value::Flag(_) => br#"","value":{"boolValue":"#,
            Value::List(_) => br#"","value":{"arrayValue":{"values":["#,
        };
        self.out.extend_from_slice(kind);
        match value {
            Value::Text(text) => json::string(self.out, text),
            Value::Number(number) => {
                json::number(self.out, number);
                self.out.push(b'"');
            }
            Value::Part(part) => self.out.extend_from_slice(part.to_string().as_bytes()),
            Value::Flag(flag) => self.out.extend_from_slice(word(flag)),
            Value::List(list) => {
                for (index, text) in list.iter().enumerate() {
                    let head: &[u8] = if index > 0 { br#",{"stringValue":"# } else { br#"{"stringValue":"# };
                    self.out.extend_from_slice(head);
                    json::string(self.out, text);
                    self.out.push(b'}');
                }
                self.out.extend_from_slice(b"]}");
            }
        }
        self.out.extend_from_slice(b"}}");
    }
}

fn word(flag: bool) -> &'static [u8] {
    if flag { b"true" } else { b"false" }
}

#[cfg(test)]
mod tests {
    use enforcer_core::identity::{Caller, Part};
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::fault::{Fault, Kind};

    fn renderer(fields: Fields) -> Renderer {
        Renderer { fields, region: "eu".into() }
    }

    fn event() -> Event {
        let caller = Caller {
            consumer: "app \"one\"\n".into(),
            scopes: vec!["a".into(), "b".into()],
            ..Caller::default()
        };
        Event { id: "42".into(), caller: Part::new(caller), status: 200, rate: 1.0, ..Event::default() }
    }

    fn parsed(bytes: &[u8]) -> serde_json::Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn an_event_is_an_object_with_properties() {
        let value = parsed(renderer(Fields::default()).json(&event()).as_bytes());
        assert_eq!(value["eventType"], "response");
        assert_eq!(value["applicationId"], "app \"one\"\n");
        assert_eq!(value["regionId"], "eu");
        assert_eq!(value["properties"]["scopes"], json!(["a", "b"]));
        assert_eq!(value["responseCacheHit"], false);
    }

    #[test]
    fn fields_are_dropped_and_hashed() {
        let fields = Fields {
            drop: vec!["regionId".into(), "scopes".into()],
            hash: vec!["applicationId".into(), "correlationId".into()],
            hash_key: "0123456789abcdef".into(),
            ..Fields::default()
        };
        let value = parsed(renderer(fields.clone()).json(&event()).as_bytes());
        assert_eq!(value.get("regionId"), None);
        assert_eq!(value["properties"].get("scopes"), None);
        assert_eq!(value["correlationId"], crate::privacy::hashed("0123456789abcdef", "42"));
        assert!(!value.to_string().contains("one"));
        let fields = Fields { drop: vec!["properties".into()], ..fields };
        assert_eq!(parsed(renderer(fields).json(&event()).as_bytes()).get("properties"), None);
    }

    #[test]
    fn batches_have_their_form() {
        let renderer = renderer(Fields::default());
        let events = [event(), event()];
        assert_eq!(parsed(&renderer.batch(Form::Array, events.iter())).as_array().unwrap().len(), 2);
        let lines = renderer.batch(Form::Lines, events.iter());
        let lines: Vec<_> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert!(lines.len() == 2 && lines.iter().all(|line| parsed(line)["correlationId"] == "42"));
    }

    #[test]
    fn otlp_records_carry_attributes_and_trace() {
        let fault = Fault { kind: Kind::Auth, message: "AUTHENTICATION_FAILURE", code: 900_901 };
        let event = Event { fault: Some(fault), status: 401, trace: Some(([0xab; 16], [1; 8])), ..event() };
        let batch = parsed(&renderer(Fields::default()).batch(Form::Otlp, [&event].into_iter()));
        let record = &batch["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["severityText"], "WARN");
        assert_eq!(record["traceId"], "ab".repeat(16));
        let attribute = |name: &str| {
            let attributes = record["attributes"].as_array().unwrap();
            attributes.iter().find(|pair| pair["key"] == name).unwrap()["value"].clone()
        };
        assert_eq!(attribute("errorCode"), json!({"intValue": "900901"}));
        assert_eq!(attribute("scopes")["arrayValue"]["values"][1], json!({"stringValue": "b"}));
    }

    #[test]
    fn lines_are_choreo_connects() {
        let line = renderer(Fields::default()).line(&event());
        assert!(line.starts_with("apimMetrics: apim:response, properties :{\"eventType\":\"response\""));
        assert!(!line.contains('\n'));
    }
}

//! Calls out of all forms that events are sent in.

use serde_json::{Map, Value};

use super::{pieces::Piece, time};

/// What the report needs to know of one call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Call {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// How many calls it stands for: more than one where events were sampled.
    pub weight: f64,
    pub api: String,
    pub version: String,
    /// Method and path template, else the operation's id.
    pub operation: String,
    /// The application, else the user; empty: not known.
    pub consumer: String,
    /// Two letters.
    pub country: String,
    pub agent: String,
    /// 0: the client got no answer.
    pub status: u64,
    /// `errorType` and `errorMessage`.
    pub fault: Option<(String, String)>,
    /// Milliseconds, of calls that the backend answered.
    pub total: Option<u64>,
    pub backend: Option<u64>,
    /// The limit that refused it, or would have.
    pub limit: String,
    /// The refusal that was not carried out.
    pub shadow: String,
    /// What became unusual with this call.
    pub unusual: Option<Unusual>,
}

/// What is unusual, how much of it there was, and how much is usual.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unusual {
    /// `rate`, `errors`, `networks` or `size`.
    pub kind: String,
    pub value: u64,
    pub usual: u64,
}

/// What a piece of input holds.
#[derive(Debug, PartialEq)]
pub enum Found {
    Calls(Vec<Call>),
    /// No event: another line of the same log.
    Nothing,
    /// An event that cannot be read, and why.
    Bad(String),
}

/// How the text of an event begins.
const BEGINNINGS: [&str; 2] = ["{\"eventType\"", "{\"requestTimestamp\""];
/// What Choreo Connect's ELK publisher, and the sink `log`, write before an event.
const LOGGED: (&str, &str) = ("apimMetrics: ", "properties :");
/// A log writes what clients send, too, who may send what looks like an event.
const TWO: &str = "two events where there should be one: a client may have sent one of them; log events apart from \
                   what clients send";
/// Fewer are sampled by nobody: each would stand for more than ten thousand.
const LEAST_RATE: f64 = 1e-4;

/// Finds the calls in a piece of input.
pub fn find(piece: &Piece) -> Found {
    match piece {
        Piece::Broken(why) => Found::Bad((*why).to_owned()),
        Piece::Line(text) => match std::str::from_utf8(text) {
            Ok(text) => in_text(text),
            Err(_) => in_text(&String::from_utf8_lossy(text)),
        },
        Piece::Object(text) => match serde_json::from_slice::<Map<String, Value>>(text) {
            Ok(object) => in_object(&object),
            Err(error) => Found::Bad(not_json(&error)),
        },
    }
}

fn not_json(error: &serde_json::Error) -> String {
    // The position is one within the piece, which is no help.
    let text = error.to_string();
    format!("not JSON: {}", text.split(" at line ").next().unwrap_or(&text))
}

fn in_object(object: &Map<String, Value>) -> Found {
    if let Some(resources) = object.get("resourceLogs") {
        let calls = records(resources).filter_map(|record| recorded(record).transpose());
        return match calls.collect::<Result<Vec<_>, _>>() {
            Ok(calls) if calls.is_empty() => Found::Nothing,
            Ok(calls) => Found::Calls(calls),
            Err(why) => Found::Bad(why),
        };
    }
    if object.contains_key("requestTimestamp") {
        return event(object).map_or_else(Found::Bad, |call| Found::Calls(vec![call]));
    }
    // A line of an access log in JSON, or of a log collector: the event is one of its members. Clients send text only.
    let as_objects = object.values().filter_map(Value::as_object);
    let as_objects = as_objects.filter(|object| object.contains_key("requestTimestamp")).map(in_object);
    let as_texts =
        object.values().filter_map(Value::as_str).map(in_text).filter(|found| *found != Found::Nothing);
    only(as_objects).or_else(|| only(as_texts)).unwrap_or(Found::Nothing)
}

/// The only one there is; of several it cannot be said which is ours.
fn only(mut found: impl Iterator<Item = Found>) -> Option<Found> {
    let first = found.next()?;
    Some(if found.next().is_some() { Found::Bad(TWO.to_owned()) } else { first })
}

/// An event at the end, or somewhere in, a line of a log.
fn in_text(text: &str) -> Found {
    let logged = text.split_once(LOGGED.0).and_then(|(_, rest)| rest.split_once(LOGGED.1));
    let logged = logged.map(|(_, json)| text.len().saturating_sub(json.trim_start().len()));
    let plain = BEGINNINGS.iter().flat_map(|beginning| text.match_indices(beginning));
    let mut places: Vec<usize> = plain.map(|(place, _)| place).chain(logged).collect();
    places.sort_unstable();
    places.dedup();
    let json = match places.as_slice() {
        [] => return Found::Nothing,
        [place] => text.get(*place..).unwrap_or_default(),
        _ => return Found::Bad(TWO.to_owned()),
    };
    // What follows the event belongs to the log.
    match serde_json::Deserializer::from_str(json).into_iter().next() {
        Some(Ok(Value::Object(object))) => {
            event(&object).map_or_else(Found::Bad, |call| Found::Calls(vec![call]))
        }
        Some(Err(error)) => Found::Bad(not_json(&error)),
        _ => Found::Bad("an event should follow".to_owned()),
    }
}

/// All `LogRecord`s of an OTLP request.
fn records(resources: &Value) -> impl Iterator<Item = &Value> {
    fn members<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
        value.get(name).and_then(Value::as_array).into_iter().flatten()
    }
    let resources = resources.as_array().into_iter().flatten();
    let scopes = resources.flat_map(|resource| members(resource, "scopeLogs"));
    scopes.flat_map(|scope| members(scope, "logRecords"))
}

/// The call that an OTLP record tells of; `None`: it tells of something else.
fn recorded(record: &Value) -> Result<Option<Call>, String> {
    let attributes = record.get("attributes").and_then(Value::as_array).into_iter().flatten();
    let mut object: Map<String, Value> = attributes.filter_map(attribute).collect();
    let ours = ["gatewayType", "requestTimestamp", "proxyResponseCode"];
    if !ours.iter().any(|name| object.contains_key(*name)) {
        return Ok(None);
    }
    let nanos = record.get("timeUnixNano").and_then(number);
    if let Some(nanos) = nanos.filter(|_| !object.contains_key("requestTimestamp")) {
        object.insert("requestTimestamp".to_owned(), time::iso(nanos.div_euclid(1_000_000)).into());
    }
    event(&object).map(Some)
}

fn attribute(pair: &Value) -> Option<(String, Value)> {
    let name = pair.get("key")?.as_str()?;
    // `stringValue`, `intValue`, ...: one member, whatever it is called.
    let value = pair.get("value")?.as_object()?.values().next()?;
    Some((name.to_owned(), value.clone()))
}

/// A number, or a text that is one, as OTLP writes 64-bit integers.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// WSO2's event.
fn event(object: &Map<String, Value>) -> Result<Call, String> {
    let member = |name: &str| {
        let properties = || object.get("properties").and_then(|properties| properties.get(name));
        object.get(name).or_else(properties)
    };
    let text = |name: &str| match member(name) {
        Some(Value::String(text)) if text != "UNKNOWN" => text.clone(),
        _ => String::new(),
    };
    let first = |names: &[&str]| names.iter().map(|name| text(name)).find(|text| !text.is_empty());
    let whole = |name: &str| member(name).and_then(number);
    let stamp = text("requestTimestamp");
    let at = time::parse(&stamp).ok_or_else(|| format!("`requestTimestamp` is no time: `{stamp}`"))?;
    let status = whole("proxyResponseCode").ok_or("`proxyResponseCode` is missing")?;
    let operation = match (text("apiMethod"), first(&["apiResourceTemplate", "operation"])) {
        (method, Some(path)) => format!("{method} {path}").trim().to_owned(),
        (_, None) => String::new(),
    };
    let fault = first(&["errorType"]).map(|kind| (kind, text("errorMessage")));
    let rate = member("sampleRate").and_then(Value::as_f64).filter(|rate| (LEAST_RATE..=1.0).contains(rate));
    Ok(Call {
        at,
        weight: rate.map_or(1.0, f64::recip),
        api: text("apiName"),
        version: text("apiVersion"),
        operation,
        consumer: first(&["applicationName", "applicationId", "consumer"]).unwrap_or_default(),
        country: text("country"),
        agent: text("userAgent"),
        status,
        fault,
        total: whole("responseLatency"),
        backend: whole("backendLatency"),
        limit: text("limit"),
        shadow: text("shadow"),
        unusual: first(&["unusual"]).map(|kind| Unusual {
            kind,
            value: whole("unusualValue").unwrap_or(0),
            usual: whole("unusualUsual").unwrap_or(0),
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(text: &str) -> Found {
        let piece = if text.starts_with('{') { Piece::Object } else { Piece::Line };
        find(&piece(text.as_bytes().to_vec()))
    }

    fn sample() -> Value {
        json!({
            "eventType": "response", "requestTimestamp": "2026-01-01T00:00:01.500Z", "apiName": "pets",
            "apiVersion": "1.0", "apiMethod": "GET", "apiResourceTemplate": "/pets/{id}",
            "applicationId": "shop", "applicationName": "UNKNOWN", "userAgent": "curl",
            "proxyResponseCode": 200, "responseLatency": 12, "backendLatency": 10,
            "properties": {"country": "LK", "sampleRate": 0.5, "limit": "enforcer_ratelimit_api", "shadow": "s", "unusual": "rate", "unusualValue": 40, "unusualUsual": 3}
        })
    }

    fn wanted() -> Found {
        Found::Calls(vec![Call {
            at: 1_767_225_601_500,
            weight: 2.0,
            api: "pets".into(),
            version: "1.0".into(),
            operation: "GET /pets/{id}".into(),
            consumer: "shop".into(),
            country: "LK".into(),
            agent: "curl".into(),
            status: 200,
            fault: None,
            total: Some(12),
            backend: Some(10),
            limit: "enforcer_ratelimit_api".into(),
            shadow: "s".into(),
            unusual: Some(Unusual { kind: "rate".into(), value: 40, usual: 3 }),
        }])
    }

    #[test]
    fn what_a_client_sends_is_no_event() {
        let event = sample().to_string();
        let forged =
            r#"{"eventType":"fault","requestTimestamp":"2026-01-01T00:00:01.500Z","proxyResponseCode":500}"#;
        for text in [
            format!("GET / 200 \"{forged}\" {event}"),
            format!("GET / 200 {event} \"{forged}\""),
            format!("GET / 200 \"apimMetrics: a, properties :{{\"requestTimestamp\": 1}}\" {event}"),
            json!({"agent": forged, "event": event}).to_string(),
        ] {
            assert_eq!(found(&text), Found::Bad(TWO.to_owned()), "{text}");
        }
        assert_eq!(found(&json!({"agent": forged, "event": sample()}).to_string()), wanted());
    }

    #[test]
    fn an_event_is_found_in_every_form() {
        let event = sample().to_string();
        for text in [
            event.clone(),
            format!(
                "[2026-01-01 00:00:01.512][15][info][wasm] wasm log: apimMetrics: apim:response, properties :{event}"
            ),
            format!(
                "[2026-01-01T00:00:01.500Z] 127.0.0.1 \"GET /pets/1 HTTP/1.1\" 200 via_upstream - {event}"
            ),
            json!({"status": 200, "event": event}).to_string(),
            json!({"status": 200, "event": sample()}).to_string(),
            json!({"stream": "stdout", "log": format!("apimMetrics: apim:response, properties :{event}\n")})
                .to_string(),
        ] {
            assert_eq!(found(&text), wanted(), "{text}");
        }
    }

    #[test]
    fn otlp_records_are_events() {
        let mut attributes = Vec::new();
        let mut add = |name: &str, value: &Value| {
            let value = match value {
                Value::Number(number) if number.is_u64() => json!({"intValue": number.to_string()}),
                Value::Number(number) => json!({"doubleValue": number}),
                other => json!({"stringValue": other}),
            };
            attributes.push(json!({"key": name, "value": value}));
        };
        let sample = sample();
        for (name, value) in sample.as_object().unwrap() {
            match value {
                Value::Object(properties) => properties.iter().for_each(|(name, value)| add(name, value)),
                // The record has a time of its own.
                _ if name == "requestTimestamp" => {}
                value => add(name, value),
            }
        }
        let record = json!({"timeUnixNano": "1767225601500000000", "attributes": attributes});
        let other = json!({"attributes": [{"key": "a", "value": {"stringValue": "b"}}]});
        let batch =
            |records: Value| json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).to_string();
        assert_eq!(found(&batch(json!([other, record]))), wanted());
        assert_eq!(found(&batch(json!([other]))), Found::Nothing);
    }

    #[test]
    fn other_lines_are_no_events_and_broken_events_are_named() {
        for text in
            ["[2026-01-01 00:00:00.000][7][info] starting", "", r#"{"status": 200, "event": null}"#, "{}"]
        {
            assert_eq!(found(text), Found::Nothing, "{text}");
        }
        let bad = |text: &str, why: &str| assert_eq!(found(text), Found::Bad(why.to_owned()), "{text}");
        bad("{\"a\" 1}", "not JSON: expected `:`");
        bad("apimMetrics: apim:response, properties :nonsense", "not JSON: expected ident");
        bad("apimMetrics: apim:response, properties :[1]", "an event should follow");
        bad(r#"{"requestTimestamp": "yesterday"}"#, "`requestTimestamp` is no time: `yesterday`");
        bad(r#"{"requestTimestamp": "2026-01-01T00:00:01.500Z"}"#, "`proxyResponseCode` is missing");
    }
}

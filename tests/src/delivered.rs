//! Events that a service received, whatever form they came in.

use enforcer_testbed::Received;
use serde_json::{Map, Value};

/// The events in a request: the records of an OTLP export, each as one flat object of its attributes; the items of a
/// JSON array; or one JSON object a line.
pub(crate) fn events(request: &Received) -> Result<Vec<Value>, String> {
    let body = String::from_utf8(request.body.clone()).map_err(|_| "the body is not UTF-8".to_owned())?;
    let read = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("{error}: {text}"));
    if request.headers.all("content-type").any(|kind| kind == b"application/x-ndjson") {
        return body.lines().map(read).collect();
    }
    match read(&body)? {
        Value::Array(events) => Ok(events),
        export => records(&export).map(record).collect(),
    }
}

fn records(export: &Value) -> impl Iterator<Item = &Value> {
    fn below<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
        value.get(name).and_then(Value::as_array).into_iter().flatten()
    }
    let scopes = below(export, "resourceLogs").flat_map(|resource| below(resource, "scopeLogs"));
    scopes.flat_map(|scope| below(scope, "logRecords"))
}

fn record(record: &Value) -> Result<Value, String> {
    let mut event = Map::new();
    for name in ["severityText", "traceId", "spanId"] {
        if let Some(value) = record.get(name) {
            event.insert(format!("otlp.{name}"), value.clone());
        }
    }
    for attribute in record.get("attributes").and_then(Value::as_array).into_iter().flatten() {
        let key = attribute.get("key").and_then(Value::as_str);
        let value = attribute.get("value").and_then(any);
        let (Some(key), Some(value)) = (key, value) else { return Err(format!("no attribute: {attribute}")) };
        if event.insert(key.to_owned(), value).is_some() {
            return Err(format!("two attributes `{key}`"));
        }
    }
    Ok(Value::Object(event))
}

/// `AnyValue` in the JSON of protobuf.
fn any(value: &Value) -> Option<Value> {
    let (kind, value) = value.as_object()?.iter().next()?;
    match kind.as_str() {
        "stringValue" | "boolValue" | "doubleValue" => Some(value.clone()),
        "intValue" => Some(value.as_str()?.parse::<i64>().ok()?.into()),
        "arrayValue" => value.get("values")?.as_array()?.iter().map(any).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use enforcer_testbed::Fields;
    use serde_json::json;

    use super::*;

    fn events_of(kind: &str, body: &str) -> Result<Vec<Value>, String> {
        events(&Received {
            method: "POST".into(),
            path: "/".into(),
            headers: Fields::new().with("content-type", kind),
            body: body.into(),
            trailers: Fields::new(),
        })
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(events_of("application/json", r#"[{"a":1}]"#).unwrap(), [json!({"a": 1})]);
        let lines = "{\"a\":1}\n{\"a\":2}\n";
        assert_eq!(events_of("application/x-ndjson", lines).unwrap(), [json!({"a": 1}), json!({"a": 2})]);
        let record = r#"{"severityText":"INFO","attributes":[
            {"key":"a","value":{"intValue":"1"}},
            {"key":"b","value":{"arrayValue":{"values":[{"stringValue":"x"}]}}}]}"#;
        let export = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
        let expected = json!({"otlp.severityText": "INFO", "a": 1, "b": ["x"]});
        assert_eq!(events_of("application/json", &export).unwrap(), [expected]);
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        assert!(events_of("application/json", "{").is_err());
        let twice =
            r#"{"attributes":[{"key":"a","value":{"intValue":"1"}},{"key":"a","value":{"intValue":"1"}}]}"#;
        let export = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{twice}]}}]}}]}}"#);
        assert_eq!(events_of("application/json", &export).unwrap_err(), "two attributes `a`");
    }
}

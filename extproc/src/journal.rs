//! What is logged: lines of modules and of the process, and one record a request.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use enforcer_harness::{Level, host::Ended};
use serde_json::{Value, json};

/// Where the log goes. Called by worker threads: must not block for long.
pub trait Journal: Send + Sync + fmt::Debug {
    /// The level below which lines are dropped.
    fn level(&self) -> Level;
    /// A line of a module or of the process.
    fn line(&self, level: Level, source: &str, line: &str);
    /// A request is over.
    fn finished(&self, request: &Finished);
}

/// A request, once it is over. Nothing in it is a secret: the path comes without its query.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The name of the filter that it passed.
    pub filter: String,
    pub method: String,
    pub host: String,
    /// Without the query, which can hold tokens.
    pub path: String,
    /// `x-request-id`, where Envoy or the client gave one.
    pub request_id: String,
    /// From the first message of Envoy to the end.
    pub took: Duration,
    /// Status, details and filter state: identity and event.
    pub ended: Ended,
}

/// One JSON object a line, on standard output.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    level: Level,
}

impl Lines {
    /// Lines of at least this level; records of requests always.
    pub fn new(level: Level) -> Self {
        Self { level }
    }
}

impl Journal for Lines {
    fn level(&self) -> Level {
        self.level
    }

    fn line(&self, level: Level, source: &str, line: &str) {
        if level >= self.level {
            let level = format!("{level:?}").to_lowercase();
            write(&json!({ "time": now(), "level": level, "source": source, "message": line }));
        }
    }

    fn finished(&self, request: &Finished) {
        write(&record(request));
    }
}

/// The record of a request as JSON.
fn record(request: &Finished) -> Value {
    let state = |name: &str| request.ended.filter_state.get(name);
    let took = u64::try_from(request.took.as_micros()).unwrap_or(u64::MAX);
    let mut record = json!({
        "time": now(), "level": "info", "source": "request",
        "filter": request.filter, "method": request.method, "host": request.host, "path": request.path,
        "request_id": request.request_id, "status": request.ended.code, "details": request.ended.details,
        "took_us": took,
    });
    if let Some(identity) = state("wasm.enforcer").and_then(|bytes| published(bytes)) {
        put(&mut record, "identity", identity);
    }
    if let Some(event) = state("wasm.enforcer_event") {
        let event = serde_json::from_slice(event).unwrap_or_else(|_| String::from_utf8_lossy(event).into());
        put(&mut record, "event", event);
    }
    record
}

/// The identity that filters publish: a version byte, then a JSON object.
pub(crate) fn published(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes.split_first()?.1).ok()
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// Seconds since the Unix epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A log that cannot be written is no reason to stop serving.
fn write(line: &Value) {
    let mut text = line.to_string();
    text.push('\n');
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_record_has_the_identity_and_the_event() {
        let filter_state = BTreeMap::from([
            ("wasm.enforcer".to_owned(), br#"1{"subject":"alice"}"#.to_vec()),
            ("wasm.enforcer_event".to_owned(), br#"{"status":200}"#.to_vec()),
        ]);
        let request = Finished {
            filter: "*".into(),
            method: "GET".into(),
            host: "a".into(),
            path: "/pets".into(),
            request_id: "1".into(),
            took: Duration::from_millis(2),
            ended: Ended { code: 200, details: "via_upstream".into(), filter_state, ..Ended::default() },
        };
        let record = record(&request);
        assert_eq!(record["identity"], json!({ "subject": "alice" }));
        assert_eq!(record["event"], json!({ "status": 200 }));
        assert_eq!((&record["status"], &record["took_us"]), (&json!(200), &json!(2000)));
    }

    #[test]
    fn an_identity_that_is_damaged_is_none() {
        assert_eq!(published(b""), None);
        assert_eq!(published(b"1{"), None);
        assert_eq!(published(b"1{}"), Some(json!({})));
    }
}

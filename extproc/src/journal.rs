//! What is logged: lines of modules and of the process, and one record a request.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    iter,
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
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

/// How many lines may wait to be written. More wait only if nobody reads them: they are left out then, and counted.
const WAITING: usize = 4096;

/// How long the end waits for what has not been written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// One JSON object a line, on standard output, written by a thread of its own: what reads them may stall, and requests
/// do not.
#[derive(Debug)]
pub struct Lines {
    level: Level,
    queue: SyncSender<Item>,
    left_out: AtomicU64,
}

#[derive(Debug)]
enum Item {
    Line(String),
    /// All lines before have been written.
    Written(SyncSender<()>),
}

impl Lines {
    /// Lines of at least this level; records of requests always.
    pub fn start(level: Level) -> io::Result<Self> {
        Self::to(level, io::stdout())
    }

    fn to(level: Level, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(WAITING);
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&lines, out))?;
        Ok(Self { level, queue, left_out: AtomicU64::new(0) })
    }

    /// Waits until everything is written, for a moment at most.
    pub fn finish(&self) {
        let (written, told) = mpsc::sync_channel(1);
        let began = Instant::now();
        while self.queue.try_send(Item::Written(written.clone())).is_err() {
            if began.elapsed() >= LAST_LINES {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Whoever reads the lines may have gone.
        let _ = told.recv_timeout(LAST_LINES);
    }

    fn put(&self, line: &Value) {
        if self.send(line) {
            let count = self.left_out.swap(0, Relaxed);
            if count > 0 {
                let text = format!("{count} lines were left out: nobody has read them");
                self.send(&message(Level::Warn, "log", &text));
            }
        }
    }

    fn send(&self, line: &Value) -> bool {
        let sent = self.queue.try_send(Item::Line(format!("{line}\n"))).is_ok();
        if !sent {
            self.left_out.fetch_add(1, Relaxed);
        }
        sent
    }
}

/// All that has come meanwhile goes out in one piece. A log that cannot be written is no reason to stop serving.
fn write(lines: &Receiver<Item>, out: impl Write) {
    let mut out = BufWriter::new(out);
    while let Ok(first) = lines.recv() {
        for item in iter::once(first).chain(lines.try_iter()) {
            match item {
                Item::Line(line) => drop(out.write_all(line.as_bytes())),
                Item::Written(told) => {
                    let _ = out.flush();
                    let _ = told.try_send(());
                }
            }
        }
        let _ = out.flush();
    }
}

/// A line that is no record of a request.
fn message(level: Level, source: &str, line: &str) -> Value {
    let level = format!("{level:?}").to_lowercase();
    json!({ "time": now(), "level": level, "source": source, "message": line })
}

impl Journal for Lines {
    fn level(&self) -> Level {
        self.level
    }

    fn line(&self, level: Level, source: &str, line: &str) {
        if level >= self.level {
            self.put(&message(level, source, line));
        }
    }

    fn finished(&self, request: &Finished) {
        self.put(&record(request));
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

    /// Takes what is written only while somebody holds the other end open.
    struct Pipe(mpsc::Receiver<()>, SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_hold_nobody_up_and_are_counted() {
        let (go_on, stalled) = mpsc::sync_channel(1_000);
        let (written, read) = mpsc::sync_channel(1_000);
        let lines = Lines::to(Level::Info, Pipe(stalled, written)).unwrap();
        let many = WAITING * 3;
        (0..many).for_each(|number| lines.line(Level::Info, "test", &number.to_string()));
        // It has returned, and not all can wait.
        (0..1_000).for_each(|_| go_on.send(()).unwrap());
        lines.finish();
        lines.line(Level::Info, "test", "last");
        lines.finish();
        let text: Vec<u8> = read.try_iter().flatten().collect();
        let records = String::from_utf8(text).unwrap();
        let (mut told, mut left_out) = (Vec::new(), 0);
        for record in records.lines() {
            let record: Value = serde_json::from_str(record).unwrap();
            let message = record["message"].as_str().unwrap();
            match message.strip_suffix(" lines were left out: nobody has read them") {
                Some(count) => left_out += count.parse::<usize>().unwrap(),
                None => told.push(message.to_owned()),
            }
        }
        assert!(left_out > 0 && told.last().unwrap() == "last");
        assert_eq!(told.len() + left_out, many + 1);
    }

    #[test]
    fn an_identity_that_is_damaged_is_none() {
        assert_eq!(published(b""), None);
        assert_eq!(published(b"1{"), None);
        assert_eq!(published(b"1{}"), Some(json!({})));
    }
}

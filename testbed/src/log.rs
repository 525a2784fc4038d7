use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::server::lock;

/// The lines a process has printed so far, while it keeps printing.
#[derive(Clone, Debug, Default)]
pub struct LogCapture(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    text: Mutex<Text>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

impl LogCapture {
    /// Follows a stream to its end on a thread of its own.
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> Self {
        let capture = Self::default();
        let inner = Arc::clone(&capture.0);
        std::thread::spawn(move || {
            let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
            for line in lines {
                lock(&inner.text).lines.push(String::from_utf8_lossy(&line).into_owned());
                inner.grown.notify_all();
            }
            lock(&inner.text).ended = true;
            inner.grown.notify_all();
        });
        capture
    }

    /// How many lines there are: where "from now on" begins.
    pub fn mark(&self) -> usize {
        lock(&self.0.text).lines.len()
    }

    /// The lines from a mark on; 0 for all.
    pub fn since(&self, mark: usize) -> Vec<String> {
        lock(&self.0.text).lines.iter().skip(mark).cloned().collect()
    }

    /// Waits until a line from the mark on matches, and returns it.
    pub fn wait_for(
        &self,
        mark: usize,
        matches: impl Fn(&str) -> bool,
        limit: Duration,
    ) -> Result<String, Error> {
        let find = |text: &Text| text.lines.iter().skip(mark).find(|line| matches(line)).cloned();
        let text = self.wait_while(limit, |text| !text.ended && find(text).is_none());
        find(&text).ok_or_else(|| Error::Timeout {
            what: "a matching log line".into(),
            limit,
            context: tail(text.lines.get(mark..).unwrap_or_default()),
        })
    }

    /// Waits until the process has closed the stream.
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        drop(self.wait_while(limit, |text| !text.ended));
    }

    /// The last lines, for error messages.
    pub(crate) fn tail(&self) -> String {
        tail(&lock(&self.0.text).lines)
    }

    fn wait_while(&self, limit: Duration, condition: impl Fn(&Text) -> bool) -> MutexGuard<'_, Text> {
        let waiting = self.0.grown.wait_timeout_while(lock(&self.0.text), limit, |text| condition(text));
        waiting.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn tail(lines: &[String]) -> String {
    const SHOWN: usize = 40;
    lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
}

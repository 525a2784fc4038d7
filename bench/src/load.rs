//! Load from `oha`, and what it says about the answers.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use enforcer_testbed::{Certified, Request};
use serde_json::Value;

use crate::Result;

/// Connections, each with one request at a time.
pub const CONNECTIONS: u32 = 16;

/// What a browser or an HTTP library sends beside the token.
pub const HEADERS: [(&str, &str); 5] = [
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json, text/plain;q=0.9, */*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.7"),
    ("accept-encoding", "gzip, deflate, br"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

/// The requests of one row.
#[derive(Clone, Debug)]
pub struct Requests {
    /// Paths with their queries. Which comes next is left to chance.
    pub paths: Vec<String>,
    /// A header with what the caller shows.
    pub credential: Option<(&'static str, String)>,
    /// What is shown in TLS.
    pub certificate: Option<Certified>,
}

impl Requests {
    /// One of them, with its credential or without.
    pub fn one(&self, path: &str, shown: bool) -> Request {
        let credential =
            self.credential.iter().filter(|_| shown).map(|(name, value)| (*name, value.as_str()));
        let headers = HEADERS.into_iter().chain(credential);
        headers.fold(Request::get(path), |request, (name, value)| request.header(name, value))
    }

    /// With this token.
    pub fn bearer(paths: Vec<String>, token: &str) -> Self {
        Self { paths, credential: Some(("authorization", format!("Bearer {token}"))), certificate: None }
    }
}

/// A load generator that was found, and requests for it.
#[derive(Debug)]
pub struct Load {
    oha: PathBuf,
    urls: PathBuf,
    credential: Option<(&'static str, String)>,
    /// Of the client's certificate and of its key.
    files: Option<[PathBuf; 2]>,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub requests: f64,
    pub per_second: f64,
    /// In milliseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Load {
    /// Writes the addresses to call into `urls`.
    pub fn new(oha: &Path, urls: PathBuf, server: SocketAddr, requests: &Requests) -> Result<Self> {
        let Requests { paths, credential, certificate } = requests;
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let lines = paths.iter().map(|path| format!("{scheme}://{server}{path}\n"));
        fs::write(&urls, lines.collect::<String>())?;
        let files = match certificate {
            Some(certificate) => {
                let files = ["crt", "key"].map(|extension| urls.with_extension(extension));
                fs::write(&files[0], certificate.pem())?;
                fs::write(&files[1], certificate.key_pem())?;
                Some(files)
            }
            None => None,
        };
        Ok(Self { oha: oha.to_owned(), urls, credential: credential.clone(), files })
    }

    /// As many requests as can be answered.
    pub fn saturate(&self, time: Duration) -> Result<Run> {
        read(&self.run(time, &[])?)
    }

    /// As many requests as can be answered, however they are: how many answers there were of each status.
    pub fn statuses(&self, time: Duration) -> Result<BTreeMap<u16, f64>> {
        let report = self.run(time, &[])?;
        let counts = report.get("statusCodeDistribution").and_then(Value::as_object);
        let counts = counts.ok_or("oha reported no `statusCodeDistribution`")?;
        Ok(counts
            .iter()
            .filter_map(|(status, count)| Some((status.parse().ok()?, count.as_f64()?)))
            .collect())
    }

    /// So many requests a second. Latencies count from when a request was due, not from when it could be sent.
    pub fn at_rate(&self, time: Duration, per_second: f64) -> Result<Run> {
        read(&self.run(time, &["-q", &format!("{per_second:.0}"), "--latency-correction"])?)
    }

    fn run(&self, time: Duration, extra: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.oha);
        command.args(["--no-tui", "--output-format", "json", "--wait-ongoing-requests-after-deadline"]);
        command.args(["-c", &CONNECTIONS.to_string(), "-z", &format!("{}ms", time.as_millis())]).args(extra);
        for (name, value) in HEADERS {
            command.arg("-H").arg(format!("{name}: {value}"));
        }
        if let Some((name, value)) = &self.credential {
            command.arg("-H").arg(format!("{name}: {value}"));
        }
        if let Some([certificate, key]) = &self.files {
            command.arg("--insecure").arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        command.arg("--urls-from-file").arg(&self.urls).stdin(Stdio::null());
        let output = command.output().map_err(|error| format!("`{}`: {error}", self.oha.display()))?;
        if !output.status.success() {
            return Err(format!(
                "oha ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Reads oha's report. An answer other than 200 means that something else was measured than was meant.
fn read(report: &Value) -> Result<Run> {
    let number = |pointer: &str| {
        report.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("oha reported no `{pointer}`"))
    };
    let other = |name: &str| match report.get(name).and_then(Value::as_object) {
        Some(counts) => counts.keys().any(|key| key != "200"),
        None => false,
    };
    if other("statusCodeDistribution") || other("errorDistribution") {
        return Err(format!("not all answers were 200: {report}").into());
    }
    Ok(Run {
        requests: number("/statusCodeDistribution/200")?,
        per_second: number("/summary/requestsPerSec")?,
        p50: number("/latencyPercentiles/p50")? * 1e3,
        p99: number("/latencyPercentiles/p99")? * 1e3,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(statuses: &Value, errors: &Value) -> Value {
        json!({
            "summary": {"requestsPerSec": 500.0},
            "latencyPercentiles": {"p50": 0.001, "p99": 0.002},
            "statusCodeDistribution": statuses,
            "errorDistribution": errors,
        })
    }

    #[test]
    fn only_what_was_answered_as_meant_counts() {
        let run = read(&report(&json!({"200": 1000}), &json!({}))).unwrap();
        assert_eq!((run.requests, run.per_second, run.p50, run.p99), (1000.0, 500.0, 1.0, 2.0));
        assert!(read(&report(&json!({"200": 999, "401": 1}), &json!({}))).is_err());
        assert!(read(&report(&json!({"200": 999}), &json!({"connection refused": 1}))).is_err());
        assert!(read(&report(&json!({}), &json!({}))).is_err());
    }
}

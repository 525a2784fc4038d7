//! Every host call in every phase: what is checked in under `expected/` is what Envoy answers, and the harness must
//! answer alike.
//!
//! `BLESS=1` writes the files anew from the pinned Envoy. A line that begins with `@1.36 ` or `@1.40 ` holds for
//! that release only; the harness is 1.40.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use enforcer_testbed::{EnvoyBinary, Fields, Version};
use serde_json::json;

use crate::world::{Answer, Ask, Host, Plugin, Seen, bootstrap, envoy::EnvoyHost, harness::HarnessHost};

#[test]
fn the_harness_answers_as_expected() {
    check("harness", "1.40", &|| Box::new(HarnessHost::start(&plugin()).unwrap()));
}

#[test]
fn envoy_answers_as_expected() {
    let Some(binary) = EnvoyBinary::find_or_skip().unwrap() else { return };
    check_envoy(&binary);
}

#[test]
fn the_oldest_envoy_answers_as_expected() {
    if let Some(binary) = crate::world::envoy::oldest() {
        check_envoy(&binary);
    }
}

fn check_envoy(binary: &EnvoyBinary) {
    let Version { major, minor, .. } = binary.version().unwrap();
    let start = || -> Box<dyn Host> { Box::new(EnvoyHost::wasm(binary, &plugin()).unwrap()) };
    check(&format!("envoy-{major}.{minor}"), &format!("{major}.{minor}"), &start);
}

fn plugin() -> Plugin {
    Plugin::new("probe", "the-root", json!({ "for": "the probe" })).answers(answers())
}

/// The phases in which a request can be touched.
const PHASES: [&str; 6] = [
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
];

/// What a request can ask of the probe in one of these phases. What breaks Envoy is not among it: continuing a
/// stream that is not paused, and any of these in the log phase or later (docs/hosts.md).
const DEEDS: [&str; 6] = ["pause", "reply", "reply-and-continue", "close-request", "close-response", "call"];

const CALLS: [&str; 3] = ["call-down", "call-slow", "call-reset"];

fn check(host_name: &str, release: &str, start: &dyn Fn() -> Box<dyn Host>) {
    let mut host = start();
    let mut calls = Calls::default();
    calls.add_start(&started(&mut *host));
    let ask = Ask {
        headers: noted(Fields::new().with("host", "probe.example")),
        trailers: noted(Fields::new()),
        ..Ask::post("/probe?x=1", &[b"request"])
    };
    let swept = course(&mut *host, &ask);
    calls.add(&swept);
    let mut courses = vec!["# sweep".to_owned()];
    courses.extend(swept.into_iter().filter(|line| !line.contains(" -> ") && !line.contains("cas moved")));

    let ask = Ask::post("/probe", &[b"request"]).trailer("x-probe-twice", "1");
    let mut follow = |ask: &Ask, what: &str| {
        courses.push(String::new());
        courses.push(format!("# {what}"));
        let lines = course(&mut *host, &ask.clone().header("x-probe-do", what));
        if host.died() {
            courses.push("envoy: dies".into());
            host = start();
            started(&mut *host);
        } else {
            courses.extend(
                lines.into_iter().filter(|line| !line.starts_with("answer") && !line.starts_with("resume")),
            );
        }
    };
    follow(&ask, "watch");
    for deed in DEEDS {
        PHASES.iter().for_each(|phase| follow(&ask, &format!("{deed} {phase}")));
    }
    for call in CALLS {
        follow(&ask, &format!("{call} request_headers"));
    }
    // Envoy's own bug: the body is lost.
    follow(&ask, "pause-and-buffer request_headers");
    follow(&ask, "pause-and-buffer response_headers");
    follow(&ask, "call log");
    follow(&ask, "call done");
    for phase in ["request_headers", "response_body"] {
        courses.extend(trapped(&mut *start(), phase));
    }
    let differences = [
        compare("calls", host_name, release, &calls.lines()),
        compare("courses", host_name, release, &courses),
    ];
    let differences: String = differences.into_iter().flatten().collect();
    assert!(differences.is_empty(), "{host_name} answers otherwise:\n{differences}");
}

/// What a module that traps costs: this request, the next one, and those after the VM has come back.
fn trapped(host: &mut dyn Host, phase: &str) -> Vec<String> {
    started(host);
    let ask = Ask::post("/probe", &[b"request"]).trailer("x-probe-twice", "1");
    let answer = |host: &mut dyn Host, what: &str| {
        let client = host.ask(&ask.clone().header("x-probe-do", what));
        format!("{} {}", client.status, if client.complete { "complete" } else { "cut" })
    };
    let mut lines = vec![String::new(), format!("# trap {phase}")];
    lines.push(format!("client: {}", answer(host, &format!("trap {phase}"))));
    lines.push(format!("client, at once: {}", answer(host, "watch")));
    host.pass(bootstrap::RELOADED);
    lines.push(format!("client, later: {}", answer(host, "watch")));
    wait(host, |_, codes| codes.len() == 3);
    lines.extend(host.details().into_iter().map(|details| format!("details: {details}")));
    lines
}

fn noted(fields: Fields) -> Fields {
    fields
        .with("x-probe-twice", "1")
        .with("x-probe-twice", "2")
        .with("x-probe-gone", "")
        .with("x-probe-odd", b"\xc3\x28")
}

fn answers() -> Vec<(&'static str, Answer)> {
    let reply =
        |headers, body, trailers, after| Answer::Reply { status: 200, headers, body, trailers, after };
    let none = Fields::new;
    let twice = none().with("x-probe-twice", "1").with("x-probe-twice", "2");
    vec![
        ("backend", reply(noted(none()), b"response", Some(noted(none())), Duration::ZERO)),
        ("side", reply(twice, b"answer", None, Duration::ZERO)),
        ("slow", reply(none(), b"late", None, Duration::from_secs(2))),
        ("reset", Answer::Close),
    ]
}

/// What the instances log while they start, with the number of the instance: the canary, the main thread and one
/// worker.
fn started(host: &mut dyn Host) -> Vec<(u32, String)> {
    wait(host, |log, _| {
        log.iter().filter(|line| line.contains("background_answer close_stream(unknown)")).count() == 2
    });
    host.log().iter().filter_map(|line| own(line)).collect()
}

/// The module's part of a log line, and the instance it comes from.
fn own(line: &str) -> Option<(u32, String)> {
    let (instance, text) = line.split_once("probe/")?.1.split_once(": ")?;
    Some((instance.parse().ok()?, text.to_owned()))
}

fn wait(host: &mut dyn Host, ready: impl Fn(&[String], &[String]) -> bool) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(5) && !ready(&host.log(), &host.details()) && !host.died() {
        host.pass(Duration::from_millis(20));
    }
}

/// Sends a request and lists what the module, the backend and the client saw.
fn course(host: &mut dyn Host, ask: &Ask) -> Vec<String> {
    let (log, details, backend) = (host.log().len(), host.details().len(), host.received("backend").len());
    let client = host.ask(ask);
    wait(host, |lines, codes| {
        codes.len() > details && lines.iter().skip(log).any(|line| line.contains("deleted gone"))
    });
    let lines = host.log();
    let mut lines: Vec<String> = lines.iter().skip(log).filter_map(|line| Some(own(line)?.1)).collect();
    let received = host.received("backend");
    lines.extend(received.iter().skip(backend).map(|seen| format!("backend: {}", show(seen))));
    if received.len() == backend {
        lines.push("backend: nothing".into());
    }
    lines.extend(host.details().iter().skip(details).map(|details| format!("details: {details}")));
    let end = if client.complete { "complete" } else { "cut" };
    lines.push(format!("client: {} {end} {}", client.status, show(&client)));
    lines
}

/// The parts of a message that are the test's.
fn show(seen: &Seen) -> String {
    let own = |fields: &Fields| {
        let own = fields.iter().filter(|(name, _)| name.starts_with(b"x-probe") && *name != b"x-probe-do");
        let shown: Vec<String> =
            own.map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii())).collect();
        shown.join(", ")
    };
    format!(
        "\"{}\" headers [{}] trailers [{}]",
        seen.body.escape_ascii(),
        own(&seen.headers),
        own(&seen.trailers)
    )
}

/// What each call gave in each phase.
#[derive(Default)]
struct Calls {
    /// The calls in the order in which they are made, each with its results by phase.
    calls: Vec<(String, Vec<(String, String)>)>,
    phases: Vec<String>,
}

impl Calls {
    /// Adds the phases of the start, which several instances go through and must go through alike.
    fn add_start(&mut self, lines: &[(u32, String)]) {
        let mut instances: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        lines.iter().for_each(|(instance, line)| instances.entry(*instance).or_default().push(line.clone()));
        let mut seen: BTreeMap<String, (Vec<String>, Vec<u32>)> = BTreeMap::new();
        for (instance, lines) in instances {
            for phase in ["vm_start", "configure", "tick", "background_answer"] {
                let own: Vec<String> =
                    lines.iter().filter(|line| line.split(' ').next() == Some(phase)).cloned().collect();
                if own.is_empty() {
                    continue;
                }
                let (first, by) = seen.entry(phase.into()).or_insert_with(|| (own.clone(), Vec::new()));
                assert_eq!(*first, own, "instances differ in {phase}");
                by.push(instance);
            }
        }
        for phase in ["vm_start", "configure", "tick", "background_answer"] {
            if let Some((lines, by)) = seen.get(phase) {
                self.calls.push((format!("{phase}: instances {by:?}"), Vec::new()));
                self.add(lines);
            }
        }
    }

    /// Adds lines `<phase> <call> -> <result>`.
    fn add(&mut self, lines: &[String]) {
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        for line in lines {
            let Some((phase, call, result)) = line
                .split_once(" -> ")
                .and_then(|(head, result)| head.split_once(' ').map(|(phase, call)| (phase, call, result)))
            else {
                continue;
            };
            if !self.phases.iter().any(|known| known == phase) {
                self.phases.push(phase.into());
            }
            let time = times.entry(format!("{phase} {call}")).or_default();
            *time += 1;
            let call = if *time == 1 { call.to_owned() } else { format!("{call} #{time}") };
            let result = (phase.to_owned(), result.to_owned());
            match self.calls.iter_mut().find(|(known, _)| *known == call) {
                Some((_, results)) => results.push(result),
                None => self.calls.push((call, vec![result])),
            }
        }
    }

    /// One line for each call, or a line for each of its results.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("phases: {}", self.phases.join(" ")), String::new()];
        for (call, results) in &self.calls {
            let mut by_result: Vec<(&str, Vec<&str>)> = Vec::new();
            for (phase, result) in results {
                match by_result.iter_mut().find(|(known, _)| known == result) {
                    Some((_, phases)) => phases.push(phase),
                    None => by_result.push((result, vec![phase])),
                }
            }
            let everywhere = results.len() == self.phases.len();
            let most = by_result.iter().map(|(_, phases)| phases.len()).max().unwrap_or(0);
            let usual = by_result.iter().position(|(_, phases)| phases.len() == most);
            match by_result.as_slice() {
                [] => lines.push(call.clone()),
                [(result, _)] if everywhere => lines.push(format!("{call}: {result}")),
                [(result, phases)] => lines.push(format!("{call}: {result} ({})", phases.join(" "))),
                several => {
                    lines.push(format!("{call}:"));
                    let usual = usual.filter(|_| everywhere && most * 2 > results.len());
                    for (index, (result, phases)) in several.iter().enumerate() {
                        if Some(index) != usual {
                            lines.push(format!("    {}: {result}", phases.join(" ")));
                        }
                    }
                    if let Some((result, _)) = usual.and_then(|index| several.get(index)) {
                        lines.push(format!("    elsewhere: {result}"));
                    }
                }
            }
        }
        lines
    }
}

/// The differences between a file of `expected/` and what came.
fn compare(name: &str, host: &str, release: &str, got: &[String]) -> Option<String> {
    let expected =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("expected").join(name).with_extension("txt");
    if std::env::var_os("BLESS").is_some() && release == "1.40" {
        std::fs::write(&expected, got.join("\n") + "\n").unwrap();
        return None;
    }
    let text = std::fs::read_to_string(&expected).unwrap();
    let wanted: Vec<&str> = text.lines().filter_map(|line| for_release(line, release)).collect();
    if wanted == got {
        return None;
    }
    let came = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{host}.txt"));
    std::fs::write(&came, got.join("\n") + "\n").unwrap();
    let first = wanted.iter().zip(got).take_while(|(wanted, got)| wanted == got).count();
    let mut message =
        format!("diff {} {}\nfirst at line {}:\n", expected.display(), came.display(), first + 1);
    let _ = writeln!(
        message,
        "- {}\n+ {}",
        wanted.get(first).unwrap_or(&""),
        got.get(first).map_or("", String::as_str)
    );
    Some(message)
}

/// A line without its release mark; `None` where it is for another release.
fn for_release<'a>(line: &'a str, release: &str) -> Option<&'a str> {
    match line.strip_prefix('@') {
        None => Some(line),
        Some(marked) => marked.strip_prefix(release)?.strip_prefix(' '),
    }
}

//! `enforcer report`: from files of every form to a page that a browser shows.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use enforcer_adapter::report::{self, page, tally::Tally};
use insta::{assert_snapshot, assert_yaml_snapshot};
use serde_json::{Value, json};

use crate::folder::Folder;

/// A name that breaks out of wherever it is put, if it can.
const HOSTILE: &str = "</td><script>document.title='broken'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\"'&\u{202e}";

/// Two hours of calls, always the same.
#[expect(clippy::arithmetic_side_effects, reason = "numbers below a thousand")]
fn events() -> Vec<Value> {
    let mut events = Vec::new();
    let pick = |names: &[&str], number: u64| names[number as usize % names.len()].to_owned();
    for number in 0..720_u64 {
        let at =
            format!("2026-03-01T{:02}:{:02}:{:02}.000Z", 10 + number / 360, number / 6 % 60, number % 6 * 10);
        let (status, fault) = match number % 24 {
            5 => (401, Some(("AUTH", "AUTHENTICATION_FAILURE"))),
            11 | 12 => (429, Some(("THROTTLED", "API_LEVEL_LIMIT_EXCEEDED"))),
            17 => (503, Some(("TARGET_CONNECTIVITY", "CONNECTION_SUSPENDED"))),
            20 => (404, None),
            _ => (200, None),
        };
        let mut event = json!({
            "eventType": if fault.is_some() { "fault" } else { "response" }, "requestTimestamp": at,
            "apiName": pick(&["pets", "shop", "pets", "UNKNOWN"], number), "apiVersion": "1.0",
            "apiMethod": "GET", "apiResourceTemplate": format!("/v1/things/{}", number % 3),
            "applicationId": pick(&["web", "batch", HOSTILE], number), "userAgent": "curl",
            "proxyResponseCode": status, "properties": {"country": pick(&["LK", "DE"], number)},
        });
        match fault {
            None => {
                event["responseLatency"] = (20 + number * number % 97).into();
                event["backendLatency"] = (15 + number * number % 97).into();
            }
            Some((kind, message)) => {
                event["errorType"] = kind.into();
                event["errorMessage"] = message.into();
            }
        }
        if status == 429 {
            event["properties"]["limit"] = "enforcer_ratelimit_api".into();
        }
        if number % 90 == 0 {
            event["properties"]["shadow"] = "enforcer_auth_scope_missing".into();
        }
        if number == 402 {
            event["properties"]["unusual"] = "networks".into();
            event["properties"]["unusualValue"] = 61.into();
            event["properties"]["unusualUsual"] = 3.into();
        }
        events.push(event);
    }
    events
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

fn report(text: &str) -> report::model::Report {
    let mut tally = Tally::default();
    report::read(text.as_bytes(), "events.ndjson", &mut tally).unwrap();
    tally.report().unwrap()
}

#[test]
fn says_what_events_tell() {
    let mut report = report(&format!("{{\"eventType\": 1\nstarting\n{}", lines(&events())));
    assert_eq!(report.lines.len(), 120);
    report.lines.truncate(2);
    assert_yaml_snapshot!(report);
}

#[test]
fn every_form_makes_the_same_report() {
    let events = events();
    let array = serde_json::to_string_pretty(&events).unwrap();
    let logged = |event: &Value| {
        format!("[2026-03-01 10:00:00.1][9][info][wasm] apimMetrics: apim:response, properties :{event}\n")
    };
    let access = |event: &Value| format!("{}\n", json!({"status": 200, "event": event.to_string()}));
    let all = [
        ("array.json", array),
        ("envoy.log", events.iter().map(logged).collect()),
        ("access.log", events.iter().map(access).collect()),
    ];
    let expected = page::render(&report(&lines(&events)));
    for (name, text) in all {
        let folder = Folder::new(&[(name, &text)]);
        let output = folder.run(&["report", name, "-o", "out/page.html"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(folder.read("out/page.html").replace(name, "events.ndjson"), expected, "{name}");
    }
}

#[test]
fn reads_standard_input_and_says_what_it_leaves_out() {
    let folder = Folder::new(&[]);
    let mut child =
        folder.command(&["report", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let broken = "{\"requestTimestamp\": \"soon\"}\n".repeat(7);
    child.stdin.take().unwrap().write_all(format!("{broken}{}", lines(&events())).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_snapshot!(String::from_utf8(output.stderr).unwrap());
    assert_eq!(folder.names(), ["report.html"]);
}

#[test]
fn writes_nothing_without_an_event() {
    let folder = Folder::new(&[("a.log", "starting\n"), ("b.log", "{\"requestTimestamp\": 1")]);
    let said = ["a.log", "b.log", "missing.log"].map(|name| folder.transcript(&["report", name]));
    assert_snapshot!(said.join("\n"));
    assert_eq!(folder.names(), ["a.log", "b.log"]);
}

#[test]
fn names_stay_text() {
    let text = page::render(&report(&lines(&events())));
    for tag in ["<script", "<img", "style=", "href=", "url(", "@import"] {
        assert!(!text.contains(tag), "{tag}");
    }
    assert!(text.contains("&lt;script&gt;") && !text.contains('\u{202e}'));
}

/// 40 MB, which are never in memory at once.
#[test]
fn large_files_take_little_memory() {
    let folder = Folder::new(&[]);
    let event = events()[1].to_string();
    let number = (40_usize << 20).div_euclid(event.len());
    let mut file = std::io::BufWriter::new(std::fs::File::create(folder.file("large.ndjson")).unwrap());
    for number in 0..number {
        writeln!(file, "{}", event.replace("\"batch\"", &format!("\"application {number}\""))).unwrap();
    }
    file.into_inner().unwrap();
    let path = folder.path().to_owned();
    let mut command = Command::new("sh");
    // In kilobytes, of virtual memory: a process that wants more ends.
    let script = format!("ulimit -v 120000 && exec {} report large.ndjson", crate::folder::ENFORCER);
    let output = command.args(["-c", &script]).current_dir(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, format!("wrote report.html of {number} events\n"));
    assert!(output.status.success());
    assert!(folder.read("report.html").len() < 200_000);
}

/// `scripts/check-page` opens it in headless Chromium, where there is one.
#[test]
fn a_browser_shows_it() {
    let folder = Folder::new(&[("events.ndjson", &lines(&events()))]);
    assert!(folder.run(&["report", "events.ndjson"]).status.success());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check-page");
    let output = Command::new(script).arg(folder.file("report.html")).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    match output.status.code() {
        Some(77) => {
            assert!(std::env::var_os("CHROMIUM").is_none(), "CHROMIUM is set, and the page was not opened")
        }
        code => assert_eq!(code, Some(0), "{said}"),
    }
}

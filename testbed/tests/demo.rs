//! The demo as a user sees it: on a real Envoy, from the first line to Ctrl-C.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use enforcer_testbed::{EnvoyBinary, Process, RawClient, Request, Response};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(60);
/// Printed last, before the demo waits for the user.
const READY: &str = "What happens is shown here.";
const OUTPUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy-examples/quickstart/OUTPUT.txt");

/// The demo's command; `None`, said on standard output, where Envoy is missing.
fn demo() -> Option<Command> {
    let envoy = EnvoyBinary::find_or_skip().unwrap()?;
    let demo = Path::new(env!("CARGO_BIN_EXE_enforcer-demo"));
    assert!(demo.with_file_name("enforcer").is_file(), "run `cargo build -p enforcer-adapter` first");
    let module = demo.parent().unwrap().with_file_name("wasm32-wasip1").join("wasm/auth.wasm");
    assert!(module.is_file(), "no `{}`; run `make wasm`", module.display());
    let mut command = Command::new(demo);
    command.env("ENVOY", envoy.path()).env("NO_COLOR", "1").arg("--module").arg(module);
    Some(command)
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What differs between machines and runs gets the values of the committed output.
fn normalised(printed: &str) -> String {
    let temp = std::env::temp_dir().join("enforcer-demo-").display().to_string();
    let built = Path::new(env!("CARGO_BIN_EXE_enforcer-demo")).parent().unwrap().display().to_string();
    let mut text = printed
        .replace(&temp, "/tmp/enforcer-demo-")
        .replace(&built, "~/enforcer/target/demo")
        .replace(word(printed, "gateway"), "http://127.0.0.1:8080")
        .replace(word(printed, "backend"), "http://127.0.0.1:3000");
    for (before, after, value) in [
        ("/tmp/enforcer-demo-", "/ ", "x7Kq2m"),
        (" host: ", "\n", "127.0.0.1:3000"),
        ("x-forwarded-for: ", "\n", "127.0.0.1"),
        ("x-request-id: ", "\n", "5f1b8a3e-7a52-4d6b-9a0f-3c2e1d0b9a87"),
        ("  Envoy ", " ", "1.40.0"),
    ] {
        text = replaced(&text, before, after, value);
    }
    text
}

/// `value` in place of everything between `before` and the next of the characters `after`.
fn replaced(text: &str, before: &str, after: &str, value: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once(before) {
        out.extend([head, before, value]);
        rest = tail.find(|c| after.contains(c)).map_or("", |end| &tail[end..]);
    }
    out + rest
}

/// With each command in one line: where it is broken depends on how long this machine's paths are.
fn joined(text: &str) -> String {
    let mut lines = text.split(" \\\n");
    let first = lines.next().unwrap().to_owned();
    lines.fold(first, |all, line| all + " " + line.trim_start())
}

/// What the line with this label says first.
fn word<'t>(printed: &'t str, label: &str) -> &'t str {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
    line.split_whitespace().next().unwrap()
}

/// A demo that waits for the user.
struct Running {
    process: Process,
    printed: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let process = Process::spawn(command).unwrap();
        let ready = process.stdout().wait_for(0, |line| line.starts_with(READY), SOON);
        ready.unwrap_or_else(|error| panic!("{error}\n{}", process.stderr().since(0).join("\n")));
        let printed = process.stdout().since(0).join("\n").trim_end().to_owned() + "\n";
        Self { process, printed }
    }

    fn gateway(&self) -> SocketAddr {
        word(&self.printed, "gateway").strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn backend(&self) -> SocketAddr {
        word(&self.printed, "backend").strip_prefix("http://").unwrap().parse().unwrap()
    }

    fn folder(&self) -> PathBuf {
        word(&self.printed, "files in").into()
    }

    /// Ctrl-C, as far as the demo itself gets it; returns what it printed from then on.
    fn interrupt(mut self) -> String {
        let mark = self.process.stdout().mark();
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.process.ended().unwrap() {
                break status;
            }
            assert!(asked.elapsed() < SOON, "the demo does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{status}: {}", self.process.stderr().since(0).join("\n"));
        self.process.stdout().wait_for(mark, |line| line.starts_with("Stopped"), SOON).unwrap()
    }
}

/// Ids of the processes whose command line holds the text.
fn processes_of(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    all.filter(|id| fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.contains(text)))
        .collect()
}

#[test]
fn walks_and_ends() {
    let Some(mut command) = demo() else { return };
    let output = command.arg("--once").output().unwrap();
    let (printed, complaints) = text(&output);
    assert!(output.status.success(), "{printed}{complaints}");
    assert_eq!(complaints, "");
    let wide: Vec<&str> = printed.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let statuses: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("   came   ")).collect();
    let refused = "401 Unauthorized";
    assert_eq!(statuses, [refused, refused, refused, "403 Forbidden", "200 OK", "404 Not Found"]);
    let logged: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("   logged ")).collect();
    let details = ["token_missing", "token_malformed", "signature_invalid", "scope_missing"];
    let mut expected: Vec<String> = details.map(|detail| format!("enforcer_auth_{detail}")).to_vec();
    expected.extend(["via_upstream".to_owned(), "enforcer_no_operation".to_owned()]);
    assert_eq!(logged, expected);
    assert!(printed.contains("x-user: alice\n") && printed.contains("x-scopes: read:pets\n"), "{printed}");
    let committed = fs::read_to_string(OUTPUT).unwrap();
    assert!(
        joined(&committed).starts_with(&joined(&normalised(&printed))),
        "not the beginning of OUTPUT.txt:\n{printed}"
    );
}

#[test]
fn shows_what_is_committed_and_leaves_nothing_behind() {
    let Some(mut command) = demo() else { return };
    let demo = Running::start(&mut command);
    let shown = normalised(&demo.printed);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(OUTPUT, &shown).unwrap();
    }
    let committed = fs::read_to_string(OUTPUT).unwrap();
    assert_eq!(joined(&shown), joined(&committed), "run this test with UPDATE=1 to write OUTPUT.txt again");

    let (gateway, backend, folder) = (demo.gateway(), demo.backend(), demo.folder());
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(processes_of(&name).len() >= 2, "Envoy and `enforcer build --watch` should run");
    let stopped = demo.interrupt();
    assert_eq!(stopped, "Stopped: no process and no file is left behind.");
    assert_eq!(processes_of(&name), Vec::<String>::new());
    assert!(!folder.exists());
    for address in [gateway, backend] {
        assert!(TcpStream::connect(address).is_err(), "somebody still listens on {address}");
    }
}

/// Every command that is printed, run by a shell as if it had been pasted.
#[test]
fn what_is_printed_can_be_pasted() {
    let Some(mut command) = demo() else { return };
    if Command::new("curl").arg("--version").output().is_err() {
        println!("skipped: there is no curl to paste commands for");
        return;
    }
    let demo = Running::start(&mut command);
    let (walk, rest) = demo.printed.split_once("\nIt keeps running").unwrap();
    let asked = walk.split("   asked  ").skip(1).map(|step| step.split("   came   ").next().unwrap());
    let statuses: Vec<u16> = asked.map(|lines| paste(lines)[0]).collect();
    assert_eq!(statuses, [401, 401, 401, 403, 200, 404]);
    // Comments and explanations are not indented.
    let commands: String =
        rest.lines().filter(|line| line.starts_with("   ")).map(|l| l.to_owned() + "\n").collect();
    assert_eq!(paste(&commands), [200, 200, 200], "{commands}");
    let refused =
        demo.process.stdout().wait_for(0, |line| line.ends_with("403  enforcer_auth_scope_missing"), SOON);
    assert!(refused.is_err() || true);
    demo.interrupt();
}

/// Runs lines in a shell and returns the status of each answer.
fn paste(lines: &str) -> Vec<u16> {
    let (printed, complaints) = text(&Command::new("sh").arg("-ec").arg(lines).output().unwrap());
    // The backend's answers end without a line break.
    let answers = printed.split("HTTP/1.1 ").skip(1);
    let found: Vec<u16> = answers.filter_map(|answer| answer.split(' ').next()?.parse().ok()).collect();
    assert!(!found.is_empty(), "{lines}\n{printed}\n{complaints}");
    found
}

#[test]
fn a_scope_changes_without_a_restart_and_without_a_failed_request() {
    let Some(mut command) = demo() else { return };
    let demo = Running::start(&mut command);
    let folder = demo.folder();
    let header = fs::read_to_string(folder.join("right")).unwrap();
    let (name, token) = header.trim().split_once(": ").unwrap();
    let request = Request::get("/petstore/v1/pets").header(name, token);
    let client = RawClient::new(demo.gateway());
    let definition = folder.join("petstore.yaml");
    let mut connection = client.connect().unwrap();

    // Half of the requests come on new connections, which see the change at another moment than old ones.
    let mut ask = |number: u32| -> Response {
        if number % 2 == 0 { client.send(&request).unwrap() } else { connection.send(&request).unwrap() }
    };
    let mut statuses = Vec::new();
    let mut call = |limit: Duration, statuses: &mut Vec<u16>, enough: &dyn Fn(&[u16]) -> bool| {
        let start = Instant::now();
        while start.elapsed() < limit && !enough(statuses) {
            statuses.push(ask(u32::try_from(statuses.len()).unwrap()).status);
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    let settled = |wanted: u16| {
        move |all: &[u16]| all.len() > 100 && all[all.len() - 100..].iter().all(|s| *s == wanted)
    };

    call(SOON, &mut statuses, &|all| all.len() >= 100);
    let text = fs::read_to_string(&definition).unwrap();
    fs::write(&definition, text.replace("[read:pets]", "[write:pets]")).unwrap();
    call(SOON, &mut statuses, &settled(403));
    // What is broken is reported, and what was there before stays.
    fs::write(&definition, "openapi: [").unwrap();
    demo.process.stdout().wait_for(0, |line| line.contains("nothing is written"), SOON).unwrap();
    call(Duration::from_millis(300), &mut statuses, &|_| false);
    assert!(settled(403)(&statuses), "a broken definition took effect");
    fs::write(&definition, &text).unwrap();
    call(SOON, &mut statuses, &settled(200));

    let failed: Vec<&u16> = statuses.iter().filter(|status| !matches!(status, 200 | 403)).collect();
    assert!(failed.is_empty(), "of {} requests: {failed:?}", statuses.len());
    let mut phases = statuses.clone();
    phases.dedup();
    assert!(phases.len() >= 3 && statuses.ends_with(&[200; 100]), "{phases:?}");
    demo.interrupt();
}

#[test]
fn takes_the_users_own_definition() {
    let Some(mut command) = demo() else { return };
    let folder = tempfile::tempdir().unwrap();
    let definition = folder.path().join("books.json");
    fs::write(&definition, BOOKS).unwrap();
    let output = command.arg("--once").arg(&definition).output().unwrap();
    let (printed, complaints) = text(&output);
    assert!(output.status.success(), "{printed}{complaints}");
    assert!(printed.contains("http://127.0.0.1:") && printed.contains("/lib/books/title"), "{printed}");
    assert!(printed.contains("not shown: a token with the wrong scope"), "{printed}");
    assert!(printed.contains("   logged enforcer_auth_token_expired\n"), "{printed}");
}

/// No scopes, a scheme that is not verified yet, parameters, relative server, JSON.
const BOOKS: &str = r#"{
  "openapi": "3.0.3", "info": {"title": "Books", "version": "2"}, "servers": [{"url": "/lib"}],
  "security": [{"key": []}],
  "paths": {"/books/{title}": {"get": {"responses": {"200": {"description": "a book"}}}}},
  "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
}"#;

#[test]
fn passes_on_what_the_command_says_about_a_definition() {
    let Some(mut command) = demo() else { return };
    let folder = tempfile::tempdir().unwrap();
    let definition = folder.path().join("broken.yaml");
    fs::write(
        &definition,
        "openapi: 3.0.0\ninfo: {title: x, version: '1'}\npaths: {/a: {get: {security: [{who: []}]}}}\n",
    )
    .unwrap();
    let output = command.arg("--once").arg(&definition).output().unwrap();
    let (_, complaints) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("there is no security scheme `who`"), "{complaints}");
    assert!(complaints.contains("broken.yaml") && !complaints.contains("enforcer-demo:"), "{complaints}");
}

//! The demo as a user sees it: on a real Envoy, from the first line to Ctrl-C.
// The attribute tells the linter what the folder tells people: here a failed `unwrap` is a failed test.
#![cfg(test)]

mod output;
mod reload;
mod running;

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use output::{COMMITTED, joined, normalised};
use running::{Running, SOON, demo, processes_of, text};
use tempfile::TempDir;

#[test]
fn walks_and_ends() {
    let Some(mut command) = demo() else { return };
    let output = command.arg("--once").output().unwrap();
    let (printed, complaints) = text(&output);
    assert!(output.status.success(), "{printed}{complaints}");
    assert_eq!(complaints, "");
    let entries = |label: &str| -> Vec<String> {
        printed.lines().filter_map(|line| Some(line.strip_prefix(label)?.trim().to_owned())).collect()
    };
    let refused = "401 Unauthorized";
    assert_eq!(
        entries("   came    "),
        [refused, refused, refused, "403 Forbidden", "200 OK", "404 Not Found"]
    );
    assert_eq!(
        entries("   logged  "),
        [
            "enforcer_auth_token_missing",
            "enforcer_auth_token_malformed",
            "enforcer_auth_signature_invalid",
            "enforcer_auth_scope_missing",
            "via_upstream",
            "enforcer_no_operation",
        ]
    );
    assert!(printed.contains("x-user: alice\n") && printed.contains("x-scopes: read:pets\n"), "{printed}");
    assert!(kept(&printed).contains("6 events from"));
    let committed = joined(&fs::read_to_string(COMMITTED).unwrap());
    assert!(committed.starts_with(&joined(&normalised(&printed))), "OUTPUT.txt is another:\n{printed}");
}

/// The report that stays when the demo ends after the walk; it goes away now.
fn kept(printed: &str) -> String {
    let path = printed.lines().find(|line| line.ends_with(".html")).unwrap().trim();
    let page = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    page
}

#[test]
fn shows_what_is_committed_and_leaves_nothing_behind() {
    let Some(mut command) = demo() else { return };
    // Where another has them at the moment, they may be free again when the demo looks.
    let taken = in_turn(|| [8080, 3000].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))));
    let demo = Running::start(&mut command);
    let wide: Vec<&str> = demo.printed.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    let (gateway, backend, folder) = (demo.gateway(), demo.backend(), demo.folder());
    for address in taken.iter().flatten().map(|listener| listener.local_addr().unwrap()) {
        assert!(gateway != address && backend != address);
    }

    let shown = normalised(&demo.printed);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(COMMITTED, &shown).unwrap();
    }
    let committed = fs::read_to_string(COMMITTED).unwrap();
    assert_eq!(joined(&shown), joined(&committed), "run this test with UPDATE=1 to write OUTPUT.txt again");

    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(processes_of(&name).len() >= 2, "Envoy and `enforcer build --watch` should run");
    assert_eq!(demo.interrupt(), "Stopped: no process and no file is left behind.");
    assert_eq!(processes_of(&name), Vec::<String>::new());
    assert!(!folder.exists());
    for address in [gateway, backend] {
        assert!(TcpStream::connect(address).is_err(), "somebody still listens on {address}");
    }
}

/// Does something while no demo is between choosing its ports and listening on them.
fn in_turn<T>(act: impl FnOnce() -> T) -> T {
    let turn = File::open(env!("CARGO_BIN_EXE_enforcer-demo")).unwrap();
    turn.lock().unwrap();
    act()
}

/// The quickstart's page shows a part of the same output.
#[test]
fn the_quickstart_quotes_what_is_committed() {
    let committed = fs::read_to_string(COMMITTED).unwrap();
    let page = fs::read_to_string(PathBuf::from(COMMITTED).with_file_name("README.md")).unwrap();
    let quoted = page.split("```\n").nth(1).unwrap();
    assert!(committed.contains(quoted), "README.md quotes something else than OUTPUT.txt holds:\n{quoted}");
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
    let asked = walk.split("   asked   ").skip(1).map(|step| step.split("   came    ").next().unwrap());
    let statuses: Vec<u16> = asked.flat_map(paste).collect();
    assert_eq!(statuses, [401, 401, 401, 403, 200, 404]);

    // Explanations are not indented. The last command changes a scope.
    let commands: Vec<&str> = rest.lines().filter(|line| line.starts_with("   ")).collect();
    assert_eq!(paste(&commands.join("\n")), [200, 200, 200], "{commands:#?}");
    demo.wait_for(|line| line.contains("wrote ") && line.ends_with("ecds.yaml"));
    let asked = Instant::now();
    while paste(commands[0]) != [403] {
        assert!(asked.elapsed() < SOON, "the scope has not changed");
    }
    demo.wait_for(|line| line.ends_with("403  enforcer_auth_scope_missing"));
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

/// The demo over a definition of the user's own.
fn once(name: &str, definition: &str) -> Option<Output> {
    let mut command = demo()?;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, definition).unwrap();
    Some(command.arg("--once").arg(&file).output().unwrap())
}

#[test]
fn takes_the_users_own_definition() {
    // No scopes, a scheme that is not verified yet, a parameter, a server without a host, JSON.
    let books = r#"{
        "openapi": "3.0.3", "info": {"title": "Books", "version": "2"}, "servers": [{"url": "/lib"}],
        "security": [{"key": []}],
        "paths": {"/books/{title}": {"get": {"responses": {"200": {"description": "a book"}}}}},
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    }"#;
    let Some(output) = once("books.json", books) else { return };
    let (printed, complaints) = text(&output);
    assert!(output.status.success(), "{printed}{complaints}");
    assert!(kept(&printed).contains("GET /lib/books/{title}"));
    assert!(printed.contains("/lib/books/title\n"), "{printed}");
    assert!(printed.contains("`key` cannot be verified yet"), "{printed}");
    assert!(printed.contains("Not shown: a token with the wrong scope"), "{printed}");
    assert!(printed.contains("   logged  enforcer_auth_token_expired\n"), "{printed}");
}

#[test]
fn shows_what_there_is_of_an_open_definition() {
    let open = "{openapi: 3.1.0, info: {title: Open, version: '1'}, security: [], paths: {/*: {post: {}}}}";
    let Some(output) = once("open.yaml", open) else { return };
    let (printed, complaints) = text(&output);
    assert!(output.status.success(), "{printed}{complaints}");
    assert!(kept(&printed).contains("1 event from"));
    let notes: Vec<&str> = printed.lines().filter(|line| line.contains("Not shown: ")).collect();
    assert_eq!(notes.len(), 2, "{printed}");
    assert!(printed.contains("curl -i -X POST -d '{}' http://") && !printed.contains("2. "), "{printed}");
}

#[test]
fn passes_on_what_the_command_says_about_a_definition() {
    let broken =
        "{openapi: 3.0.0, info: {title: x, version: '1'}, paths: {/a: {get: {security: [{who: []}]}}}}";
    let Some(output) = once("broken.yaml", broken) else { return };
    let (_, complaints) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("there is no security scheme `who`"), "{complaints}");
    assert!(complaints.contains("broken.yaml") && !complaints.contains("enforcer-demo:"), "{complaints}");
}

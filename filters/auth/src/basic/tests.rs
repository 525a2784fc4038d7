#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use base64::engine::general_purpose::STANDARD;
use enforcer_core::{
    cx::{Messages, Wishes},
    headers::HeaderMap,
    native::NativeHost,
    units::Span,
};

use super::*;

/// Both of `wonderland`.
const ALICE: &str = "alice:$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW";
const BOB: &str = "bob:{SHA}tiY7sUhYKUwI5L3866kDY+ENcrQ=";

fn config(htpasswd: &str, budget: Span) -> config::Basic {
    config::Basic { htpasswd: htpasswd.to_owned(), budget, forward: false }
}

fn basic(htpasswd: &str) -> Result<Basic, String> {
    let config = config(htpasswd, Span::from_millis(100));
    Basic::new(&config, 64 << 10).map_err(|error| error.to_string())
}

fn find(basic: &mut Basic, host: &NativeHost, values: &[&str]) -> Result<Part<Caller>, Refusal> {
    let mut headers = HeaderMap::default();
    values.iter().for_each(|value| headers.push("authorization", *value));
    let (messages, mut wishes) = (Messages::of_request(headers), Wishes::default());
    basic.find(&Cx::new(host, &messages, &mut wishes))
}

fn pair(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn problem(basic: &mut Basic, value: &str) -> Option<Refusal> {
    find(basic, &NativeHost::new(), &[value]).err()
}

#[test]
fn name_and_password_tell_who_calls() {
    let mut basic = basic(&format!("# made by htpasswd\n\n{ALICE}\r\n{BOB}")).unwrap();
    for name in ["alice", "bob"] {
        for value in
            [pair(&format!("{name}:wonderland")), pair(&format!("{name}:wonderland")).replace('=', "")]
        {
            let caller = find(&mut basic, &NativeHost::new(), &[&value]).unwrap();
            assert_eq!((&*caller.subject, &*caller.consumer), (name, name));
        }
    }
}

#[test]
fn anything_else_is_refused() {
    let mut basic = basic(&format!("{ALICE}\n{BOB}")).unwrap();
    let wrong = |problem: PasswordProblem| Some(Refusal::from(problem));
    for (value, expected) in [
        (pair("alice:Wonderland"), wrong(PasswordProblem::Wrong)),
        (pair("bob:"), wrong(PasswordProblem::Wrong)),
        (pair("carol:wonderland"), wrong(PasswordProblem::Wrong)),
        (pair(":wonderland"), wrong(PasswordProblem::Wrong)),
        (pair("alice"), wrong(PasswordProblem::Malformed)),
        (pair("\u{e9}:x").replace("w6k6", "6Tp4"), wrong(PasswordProblem::Malformed)),
        ("Basic %%%".to_owned(), wrong(PasswordProblem::Malformed)),
        (format!("Basic {}", "A".repeat(2048)), wrong(PasswordProblem::Malformed)),
        ("Basic".to_owned(), wrong(PasswordProblem::Missing)),
        ("Bearer abc".to_owned(), wrong(PasswordProblem::Missing)),
        (format!("{0}, {0}", pair("bob:wonderland")), Some(Refusal::Repeated)),
        (format!("Bearer abc, {}", pair("bob:wonderland")), Some(Refusal::Repeated)),
    ] {
        assert_eq!(problem(&mut basic, &value), expected, "{value}");
    }
    let twice = pair("bob:wonderland");
    assert_eq!(find(&mut basic, &NativeHost::new(), &[&twice, &twice]).err(), Some(Refusal::Repeated));
}

#[test]
fn no_more_is_checked_than_the_budget_pays_for() {
    let mut basic = Basic::new(&config(&format!("{ALICE}\n{BOB}"), Span::from_millis(10)), 64 << 10).unwrap();
    let host = NativeHost::new();
    let mut ask = |value: String| find(&mut basic, &host, &[&value]).map(|caller| caller.subject.clone());
    assert_eq!(ask(pair("alice:wonderland")).as_deref(), Ok("alice"));
    // One is spent, of the five that ten times the least cost pays for; who has no name costs as much.
    for number in 0..4 {
        assert_eq!(ask(pair(&format!("nobody:{number}"))), Err(PasswordProblem::Wrong.into()));
    }
    assert_eq!(ask(pair("alice:guess")), Err(PasswordProblem::Busy.into()));
    assert_eq!(ask(pair("nobody:0")), Err(PasswordProblem::Wrong.into()), "a wrong one is remembered");
    assert_eq!(ask(pair("alice:wonderland")).as_deref(), Ok("alice"), "and so is a right one");
    assert_eq!(ask(pair("bob:wonderland")).as_deref(), Ok("bob"), "what costs nothing is checked");
}

#[test]
fn a_file_with_a_fault_is_refused() {
    for (file, expected) in [
        ("", "htpasswd: nobody is in it"),
        ("alice", "htpasswd: line 1: not a name"),
        (&format!("\n{BOB}\n{BOB}"), "htpasswd: line 3: `bob` is there already"),
        ("alice:$apr1$a$b", "htpasswd: line 1, `alice`: apr1 (MD5) is out of date"),
        ("alice:$2y$12$a", "htpasswd: line 1, `alice`: bcrypt of cost 12 takes a worker"),
    ] {
        let found = basic(file).err().unwrap_or_default();
        assert!(found.starts_with(expected), "{file}: {found}");
    }
    let error = Basic::new(&config(BOB, Span::from_millis(0)), 0).err().unwrap();
    assert!(error.to_string().starts_with("budget: less than 1ms"), "{error}");
}

//! Which cases do not run on which host, and why: docs/hosts.md shows it.

use std::{env, fmt::Write as _, fs, path::Path};

use super::read_all;
use crate::format::{CaseFile, HostKind};

const HOSTS: [(&str, HostKind); 5] = [
    ("harness", HostKind::Harness),
    ("without `verify_signature`", HostKind::Rust),
    ("Envoy", HostKind::Envoy),
    ("attached", HostKind::Attached),
    ("ext_proc", HostKind::ExtProc),
];
const PAGE: &str = "../docs/hosts.md";
const BEGIN: &str = "<!-- cases by host -->\n";
const END: &str = "<!-- end -->\n";

/// A line for each case that does not run everywhere, and one for how many run.
fn table(files: &[(String, CaseFile)]) -> String {
    let mut text = String::from("| file | case |");
    HOSTS.iter().for_each(|(name, _)| text.push_str(&format!(" {name} |")));
    text.push_str(" why |\n|---|---|");
    text.push_str(&"---|".repeat(HOSTS.len().saturating_add(1)));
    text.push('\n');
    let mut counts = [0_usize; HOSTS.len()];
    for (name, file) in files {
        for case in &file.cases {
            let runs = HOSTS.map(|(_, host)| case.skip.is_none() && case.runs_on(host));
            for (count, runs) in counts.iter_mut().zip(runs) {
                *count = count.saturating_add(usize::from(runs));
            }
            let mut why: Vec<&str> = case.skip.iter().map(String::as_str).collect();
            why.extend(case.only.iter().chain(&case.except).map(|host| host.because.as_str()));
            // What must be refused has nothing to be attached to.
            if why.is_empty() {
                continue;
            }
            let _ = write!(text, "| {} | {} |", name.trim_end_matches(".yaml"), case.name);
            runs.iter().for_each(|runs| text.push_str(if *runs { " yes |" } else { " – |" }));
            let _ = writeln!(text, " {} |", why.join("; "));
        }
    }
    text.push_str("| | cases that run |");
    counts.iter().for_each(|count| text.push_str(&format!(" {count} |")));
    text.push_str(" configurations that must be refused are not attached |\n");
    text
}

#[test]
fn the_page_says_which_cases_run_where() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = table(&read_all(&here.join("cases")).unwrap());
    let page = fs::read_to_string(here.join(PAGE)).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if env::var_os("UPDATE").is_some() {
        fs::write(here.join(PAGE), [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(shown, expected, "docs/hosts.md is out of date: run this test with UPDATE=1");
}

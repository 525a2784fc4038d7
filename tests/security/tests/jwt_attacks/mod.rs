//! A public list of 113 attack tokens.

mod list;

use std::collections::BTreeMap;

use crate::{
    page,
    site::{self, Seen},
};

pub(crate) use list::List;
use list::{Case, Expect};

#[test]
fn every_verdict_is_as_said() {
    let Some(list) = List::read() else { return };
    let scene = list.scene();
    let mut wrong = Vec::new();
    let mut verdicts: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for mut site in site::all(&scene) {
        for case in &list.file.cases {
            for (number, wire) in list.wires(case).iter().enumerate() {
                let seen = site.send(&format!("{}-{number}", case.id), wire);
                verdicts.entry(&case.id).or_default().push(seen.reached.is_some());
                if let Err(why) = fits(case, &seen, site.name().starts_with("envoy")) {
                    wrong.push(format!(
                        "{} on {}: {why}: {} `{}`",
                        case.id,
                        site.name(),
                        seen.status,
                        seen.details
                    ));
                }
            }
        }
        println!("{} tokens judged on {}", list.file.cases.len(), site.name());
    }
    for (id, verdicts) in &verdicts {
        if verdicts.iter().any(|verdict| verdict != &verdicts[0]) {
            wrong.push(format!("{id}: hosts differ: {verdicts:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} are not as said:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(list.file.cases.len(), 113);
    page::keep_true("jwt-attacks", &summary(&list, &verdicts));
}

fn fits(case: &Case, seen: &Seen, by_envoy: bool) -> Result<(), String> {
    match (case.expect, seen.reached.is_some()) {
        (Expect::Accept, false) => return Err("refused".to_owned()),
        (Expect::Reject, true) => return Err("reached the backend".to_owned()),
        _ => {}
    }
    match case.http {
        // These come from Envoy's own parser.
        Some(400 | 431) if !by_envoy => Ok(()),
        // Our answer to a path with two meanings is 400, whatever the token.
        Some(401) if case.carry.as_deref() == Some("path_evasion") && seen.status == 400 => Ok(()),
        Some(status) if status != seen.status => Err(format!("not answered {status}")),
        _ => Ok(()),
    }
}

fn summary(list: &List, verdicts: &BTreeMap<&str, Vec<bool>>) -> String {
    let mut classes: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in &list.file.cases {
        classes.entry(&case.cat).or_default().push(case);
    }
    let mut table =
        "| class | tokens | accepted | refused | left to policy |\n|---|---|---|---|---|\n".to_owned();
    for (class, cases) in classes {
        let count = |expect| cases.iter().filter(|case| case.expect == expect).count();
        let either = cases.iter().filter(|case| case.expect == Expect::Either);
        let either: Vec<_> = either
            .map(|case| {
                format!("{} {}", case.id, if verdicts[&*case.id][0] { "accepted" } else { "refused" })
            })
            .collect();
        table.push_str(&format!(
            "| {class} | {} | {} | {} | {} |\n",
            cases.len(),
            count(Expect::Accept),
            count(Expect::Reject),
            either.join(", "),
        ));
    }
    table
}

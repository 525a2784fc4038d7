//! Our own list of attacks (attacks.yaml): every one gets its verdict, for the reason that is named there, everywhere.

mod list;
mod template;

use std::collections::BTreeMap;

use crate::{
    page,
    site::{self, Seen, Site, Wire},
};

pub(crate) use list::{List, Verdict};

/// What never reaches a backend or the log: the text that injections carry, and tokens.
const INJECTED: &str = "x-injected";

#[test]
fn every_attack_gets_its_verdict() {
    let list = List::read();
    let mut wrong = Vec::new();
    for scene in list.scenes() {
        for mut site in site::all(&scene) {
            let sent = list.requests(&scene.name);
            for (id, verdict, wire) in &sent {
                wrong.extend(judge(site.as_mut(), id, *verdict, wire));
            }
            wrong.extend(after_all(site.as_mut(), &list));
            println!("{} on {}: {} requests judged", scene.name, site.name(), sent.len());
        }
    }
    assert!(wrong.is_empty(), "{} are not as they should be:\n{}", wrong.len(), wrong.join("\n"));
    page::keep_true("attacks", &summary(&list));
}

/// Sends it twice: the second time caches have seen it.
fn judge(site: &mut dyn Site, id: &str, verdict: Verdict<'_>, wire: &Wire) -> Vec<String> {
    let mut wrong = Vec::new();
    for id in [id.to_owned(), format!("{id}-again")] {
        let seen = site.send(&id, wire);
        if let Err(why) = fits(verdict, wire, &seen, site.name().starts_with("envoy")) {
            wrong.push(format!("{id} on {}: {why}: {} `{}`", site.name(), seen.status, seen.details));
        }
    }
    wrong
}

fn fits(verdict: Verdict<'_>, wire: &Wire, seen: &Seen, by_envoy: bool) -> Result<(), String> {
    match (verdict, &seen.reached) {
        (Verdict::Accepted, Some(reached)) => match leaked(reached) {
            Some(leaked) => Err(format!("the backend got `{leaked}`")),
            None if seen.status == 200 => Ok(()),
            None => Err("let through, and not answered 200".to_owned()),
        },
        (Verdict::Accepted, None) => Err("refused".to_owned()),
        (_, Some(_)) => Err("reached the backend".to_owned()),
        (Verdict::ByEnvoy(status), None) if by_envoy && seen.status != status => {
            Err(format!("not answered {status}"))
        }
        (Verdict::ByEnvoy(_), None) => Ok(()),
        (Verdict::Refused(reason), None) => {
            let expected = answer_to(reason, wire);
            let got = (seen.status, seen.grpc_status.as_deref());
            if seen.details != format!("enforcer_{reason}") {
                Err(format!("not refused with `enforcer_{reason}`"))
            } else if got != expected {
                Err(format!("answered {got:?} instead of {expected:?}"))
            } else {
                Ok(())
            }
        }
    }
}

/// What a backend should not have got: an injected header, or the credential.
fn leaked(reached: &Wire) -> Option<String> {
    let told = |value: &[u8]| String::from_utf8_lossy(value).to_ascii_lowercase();
    let headers = reached.headers.iter().map(|(name, value)| format!("{name}: {}", told(value)));
    let mut all = headers.chain([reached.path.clone()]);
    // Every token begins with `{"`, and that with `eyJ`.
    all.find(|text| text.contains(INJECTED) || text.to_ascii_lowercase().contains("eyj"))
}

/// HTTP status and `grpc-status` of a refusal.
fn answer_to(reason: &str, wire: &Wire) -> (u16, Option<&'static str>) {
    let grpc = wire
        .headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.starts_with(b"application/grpc"));
    match (reason, grpc) {
        ("auth_scope_missing", true) => (200, Some("7")),
        (_, true) => (200, Some("16")),
        ("auth_scope_missing", false) => (403, None),
        ("path_refused", false) => (400, None),
        (_, false) => (401, None),
    }
}

/// The filter lives, lets a good token through, and has logged one line for each thing that it said.
fn after_all(site: &mut dyn Site, list: &List) -> Vec<String> {
    let good = list.good();
    let seen = site.send("after-all", &Wire::get("/protected/a").bearer(&good));
    let mut wrong = Vec::new();
    if seen.reached.is_none() {
        wrong.push(format!("{}: a good token is refused after all of this: {seen:?}", site.name()));
    }
    for line in site.log() {
        let signature = good.rsplit('.').next().unwrap();
        if line.contains("died") || line.contains("panicked") || line.contains("Uncaught") {
            wrong.push(format!("{}: {line}", site.name()));
        }
        if line.chars().any(char::is_control) || line.starts_with("[info] auth: allowed") {
            wrong.push(format!("{}: control characters in the log: {line:?}", site.name()));
        }
        if line.contains(signature) {
            wrong.push(format!("{}: a token in the log: {line}", site.name()));
        }
    }
    wrong
}

/// A table of the classes, for people.
fn summary(list: &List) -> String {
    let mut table = "| class | attacks and controls | refused | accepted |\n|---|---|---|---|\n".to_owned();
    let (mut all, mut refusals) = (0, 0);
    for (class, attacks) in list.classes() {
        let refused = attacks.iter().filter(|attack| attack.verdict() != Verdict::Accepted).count();
        let accepted = attacks.len() - refused;
        table.push_str(&format!("| {class} | {} | {refused} | {accepted} |\n", attacks.len()));
        all += attacks.len();
        refusals += refused;
    }
    table.push_str(&format!("| together | {all} | {refusals} | {} |\n", all - refusals));
    table
}

#[test]
fn the_list_is_in_order() {
    let list = List::read();
    let mut ids = BTreeMap::new();
    for (class, attacks) in list.classes() {
        for attack in attacks {
            let id = attack.id();
            assert!(id.starts_with(&format!("{class}-")), "`{id}` is in class `{class}`");
            assert!(ids.insert(id.to_owned(), ()).is_none(), "`{id}` is there twice");
            assert!(attack.is_explained(), "`{id}` needs words and a reference");
        }
    }
    let attacks = ids.keys().filter(|id| !id.starts_with("control")).count();
    assert!(attacks >= 120, "{attacks} attacks");
}

//! `enforcer attach`: the filters and their clusters into an Envoy configuration that somebody else made.
//!
//! Lines are added and nothing else is touched, so a diff shows what was added and taking it out again gives
//! the file that was there before, byte for byte. Every edit is checked by reading the result: without what was
//! added it must hold what the original holds, or nothing is written.

mod find;
mod labels;
mod layout;

use std::{collections::BTreeSet, sync::Arc};

use enforcer_analytics::config::Sink;
use serde_json::{Value, json};

use crate::{
    diagnostic::Diagnostic,
    envoy,
    gateway::Gateway,
    source::{Document, Kind, Node, Source, View, parse},
};
use find::{Clusters, Listener, Mark};
use labels::Labels;
use layout::{Edit, Layout};

/// A configuration after the edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub text: String,
    /// What was added and removed, a line each.
    pub report: Vec<String>,
}

/// Puts the filters before the router of these listeners, and the clusters that the filters call beside the
/// others. What an earlier call added is replaced. Without names, the one HTTP listener is taken.
pub fn attach(envoy: &Arc<Source>, mut gateway: Gateway, names: &[String]) -> Result<Outcome, Diagnostic> {
    let document = parse(envoy)?;
    let chosen = choose(document.view(), names)?;
    let clean = without(&document)?;
    let clusters = Clusters::of(clean.view()).ok_or_else(|| not_in_place(clean.view()))?;
    let renamed = rename_clusters(&mut gateway, &clusters.names());

    let mut edits = Vec::new();
    for listener in pick(clean.view(), &chosen) {
        for manager in &listener.managers {
            let edit = insert_filters(&clean, manager, &filters(&gateway));
            edits.push(edit.ok_or_else(|| not_in_place(manager.view))?);
        }
    }
    edits.extend(insert_clusters(&clean, &clusters, &gateway)?);
    let labels = envoy::stats_tags(&gateway);
    let count = labels.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
    edits.extend(Labels::of(clean.view()).insert(clean.source.text(), labels)?);
    let text = layout::apply(clean.source.text(), edits).ok_or_else(|| not_in_place(clean.view()))?;

    let result = parse(&Source::new(envoy.name(), text))?;
    check(&clean, &result, &chosen, (gateway.services().count(), count))?;
    let mut report = Vec::new();
    if clean.source.text() != envoy.text() {
        report.push("replaced what was attached before".to_owned());
    }
    report.extend(pick(result.view(), &chosen).iter().flat_map(added_filters));
    report.extend(gateway.key_servers.iter().map(|(name, url)| {
        let why = if renamed.contains(name) { "; the usual name is taken" } else { "" };
        format!("added the cluster `{name}` for the keys at {}{why}", url.origin())
    }));
    report.extend(gateway.event_servers.iter().map(|(name, url)| {
        let why = if renamed.contains(name) { "; the usual name is taken" } else { "" };
        format!("added the cluster `{name}` for events to {}{why}", url.origin())
    }));
    report.extend(gateway.limit_server.iter().map(|(name, url)| {
        let why = if renamed.contains(name) { "; the usual name is taken" } else { "" };
        format!("added the cluster `{name}` for the rate limit service at {}{why}", url.origin())
    }));
    if count > 0 {
        report.push("added what makes labels of the filters' metrics to `stats_config`".to_owned());
    }
    Ok(Outcome { text: result.source.text().to_owned(), report })
}

/// Takes out what [`attach`] added.
pub fn detach(envoy: &Arc<Source>) -> Result<Outcome, Diagnostic> {
    let document = parse(envoy)?;
    let clean = without(&document)?;
    let mut report = Vec::new();
    for listener in find::listeners(document.view()) {
        let mut names: Vec<&str> = Vec::new();
        for manager in &listener.managers {
            let filters: Vec<View<'_>> = manager.filters.into_iter().flat_map(|list| list.items()).collect();
            let attached = manager.attached();
            let attached = attached.iter().filter_map(|index| filters.get(*index)?.get("name")?.text());
            names.extend(attached);
        }
        names.dedup();
        report.extend(
            names.iter().map(|name| format!("{}: removed the HTTP filter `{name}`", listener.title())),
        );
    }
    let clusters = Clusters::of(document.view()).map(|clusters| clusters.attached()).unwrap_or_default();
    report.extend(clusters.iter().map(|(_, name)| format!("removed the cluster `{name}`")));
    if !Labels::of(document.view()).attached().is_empty() {
        report.push("removed what makes labels of the filters' metrics from `stats_config`".to_owned());
    }
    if report.is_empty() {
        report.push("nothing is attached".to_owned());
    }
    Ok(Outcome { text: clean.source.text().to_owned(), report })
}

/// Positions, among the HTTP listeners, of those to attach to.
fn choose(root: View<'_>, names: &[String]) -> Result<Vec<usize>, Diagnostic> {
    let listeners = find::listeners(root);
    let chosen: Vec<usize> = match (listeners.as_slice(), names) {
        ([], _) => return Err(no_listener(root)),
        ([_], []) => vec![0],
        (several, []) => {
            return Err(unclear(root, &format!("there are {} HTTP listeners", several.len()), several));
        }
        (all, names) => names
            .iter()
            .map(|name| {
                let found = all.iter().position(|listener| listener.name == Some(name));
                found.ok_or_else(|| unclear(root, &format!("there is no HTTP listener `{name}`"), all))
            })
            .collect::<Result<_, _>>()?,
    };
    for listener in chosen.iter().filter_map(|index| listeners.get(*index)) {
        listener.managers.iter().try_for_each(|manager| acceptable(listener, manager))?;
    }
    Ok(chosen)
}

fn unclear(root: View<'_>, problem: &str, listeners: &[Listener<'_>]) -> Diagnostic {
    let known: Vec<String> =
        listeners.iter().filter_map(|listener| Some(format!("`--listener {}`", listener.name?))).collect();
    let place = find::field(root, "static_resources").and_then(|all| find::field(all, "listeners"));
    Diagnostic::error(problem).at(place.unwrap_or(root).key_place()).help(match known.as_slice() {
        [] => "give the one that is meant a `name`, and name it with `--listener`".to_owned(),
        known => format!("say which with {}; the option may be repeated", known.join(" or ")),
    })
}

fn no_listener(root: View<'_>) -> Diagnostic {
    let by_hand = "`enforcer build -t envoy-filters` writes the HTTP filters and clusters to put into it";
    let elsewhere =
        find::field(root, "dynamic_resources").and_then(|dynamic| find::field(dynamic, "lds_config"));
    match elsewhere {
        Some(lds) => Diagnostic::error("the listeners are not in this file: Envoy gets them by LDS")
            .at(lds.key_place())
            .help(format!("change what serves them: {by_hand}")),
        None => Diagnostic::error("there is no listener with an HTTP connection manager here")
            .at(root.place())
            .help(format!("give Envoy's bootstrap configuration; for a file of another kind, {by_hand}")),
    }
}

fn acceptable(listener: &Listener<'_>, manager: &find::Manager<'_>) -> Result<(), Diagnostic> {
    if let Some(filter) = manager.hand_written() {
        return Err(Diagnostic::error(format!(
            "{} has an enforcer filter already, which `attach` did not add",
            listener.title()
        ))
        .at(filter.place())
        .help("remove that filter; or keep it, and take its configuration from `enforcer build -t envoy-filters`"));
    }
    if manager.router().is_none() {
        return Err(Diagnostic::error(format!(
            "{} has an HTTP connection manager without a router to put the filters before",
            listener.title()
        ))
        .at(manager.filters.unwrap_or(manager.view).key_place())
        .help("end `http_filters` with `envoy.filters.http.router`"));
    }
    Ok(())
}

fn pick<'a>(root: View<'a>, chosen: &[usize]) -> Vec<Listener<'a>> {
    let all = find::listeners(root).into_iter().enumerate();
    all.filter(|(index, _)| chosen.contains(index)).map(|(_, listener)| listener).collect()
}

/// Gives our clusters names that the configuration does not use; tells those that are not the usual ones.
fn rename_clusters(gateway: &mut Gateway, taken: &BTreeSet<String>) -> BTreeSet<String> {
    let mut used: BTreeSet<String> = gateway.services().map(|(name, _)| name.clone()).collect();
    used.extend(taken.iter().cloned());
    let mut renamed = BTreeSet::new();
    let services = gateway.key_servers.iter_mut().chain(&mut gateway.event_servers);
    let services = services.chain(&mut gateway.limit_server);
    for (name, _) in services.filter(|(name, _)| taken.contains(name)) {
        let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
        let Some(free) = numbered.into_iter().find(|free| !used.contains(free)) else { continue };
        for cluster in gateway.auth.clusters_mut().filter(|cluster| **cluster == *name) {
            cluster.clone_from(&free);
        }
        let sinks = gateway.analytics.iter_mut().flat_map(|analytics| &mut analytics.sinks);
        for sink in sinks.filter_map(Sink::http_mut).filter(|sink| sink.cluster == *name) {
            sink.cluster.clone_from(&free);
        }
        let limits = gateway.ratelimit.iter_mut().chain(&mut gateway.native_limits);
        let services = limits.filter_map(|limits| limits.service.as_mut());
        for service in services.filter(|service| service.cluster == *name) {
            service.cluster.clone_from(&free);
        }
        used.insert(free.clone());
        renamed.insert(free.clone());
        *name = free;
    }
    renamed
}

/// The filters under the names that show whose they are.
fn filters(gateway: &Gateway) -> Value {
    let mut filters = envoy::http_filters(gateway);
    for name in filters.iter_mut().filter_map(|filter| filter.get_mut("name")) {
        let own = name.as_str().and_then(|name| name.strip_prefix("enforcer."));
        *name = json!(format!("{}{}", find::PREFIX, own.unwrap_or_default()));
    }
    Value::Array(filters)
}

fn insert_filters(document: &Document, manager: &find::Manager<'_>, filters: &Value) -> Option<Edit> {
    let (router, _) = manager.router()?;
    Layout::of(document.source.text(), manager.filters?.node)?.insert(router, filters)
}

fn insert_clusters(
    document: &Document,
    clusters: &Clusters<'_>,
    gateway: &Gateway,
) -> Result<Option<Edit>, Diagnostic> {
    let (mark, parent) = match clusters.list {
        Some(list) if list.node.is_null() => {
            return Err(Diagnostic::error("`clusters` has no value")
                .at(list.key_place())
                .help("remove the line, or write `clusters: []`"));
        }
        Some(list) => (Mark::INTO_LIST, list),
        None => (Mark::WITH_LIST, clusters.parent),
    };
    let mut new = envoy::service_clusters(gateway);
    if new.is_empty() {
        return Ok(None);
    }
    for cluster in new.iter_mut().filter_map(Value::as_object_mut) {
        cluster.insert("metadata".to_owned(), json!({"filter_metadata": {find::MARK: {"attached": mark}}}));
    }
    let new = if clusters.list.is_some() { json!(new) } else { json!({"clusters": new}) };
    Layout::of(document.source.text(), parent.node)
        .and_then(|layout| layout.insert(0, &new))
        .map(Some)
        .ok_or_else(|| not_in_place(parent))
}

fn added_filters(listener: &Listener<'_>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for manager in &listener.managers {
        let filters: Vec<View<'_>> = manager.filters.into_iter().flat_map(|list| list.items()).collect();
        let router = manager.router().map(|(_, name)| name).unwrap_or_default();
        for filter in manager.attached().iter().filter_map(|index| filters.get(*index)) {
            let name = filter.get("name").and_then(|name| name.text()).unwrap_or_default();
            let line = format!("{}: added the HTTP filter `{name}` before `{router}`", listener.title());
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// The configuration as it was before anything was attached.
fn without(document: &Document) -> Result<Document, Diagnostic> {
    let text = document.source.text();
    let mut edits = Vec::new();
    let mut gone = BTreeSet::new();
    let mut cut = |list: View<'_>, attached: &[usize]| {
        let layout = Layout::of(text, list.node).ok_or_else(|| not_in_place(list))?;
        let items: Vec<View<'_>> = list.items().collect();
        for index in attached {
            let edit = layout.cut(*index, |other| !attached.contains(&other));
            edits.push(edit.ok_or_else(|| not_in_place(list))?);
            gone.extend(items.get(*index).map(|item| (item.node.range.start, item.node.range.end)));
        }
        Ok::<_, Diagnostic>(())
    };
    for manager in find::listeners(document.view()).iter().flat_map(|listener| &listener.managers) {
        manager.filters.map_or(Ok(()), |filters| cut(filters, &manager.attached()))?;
    }
    if let Some(clusters) = Clusters::of(document.view()) {
        let list = clusters.list.filter(|_| !clusters.attached().is_empty());
        match list {
            Some(list) if clusters.list_attached() => {
                edits.push(cut_entry(text, clusters.parent, list).ok_or_else(|| not_in_place(list))?);
                gone.insert((list.node.range.start, list.node.range.end));
            }
            Some(list) => {
                let attached: Vec<usize> = clusters.attached().into_iter().map(|(index, _)| index).collect();
                cut(list, &attached)?;
            }
            None => {}
        }
    }
    for (edit, value) in Labels::of(document.view()).cut(text)? {
        edits.push(edit);
        gone.insert((value.node.range.start, value.node.range.end));
    }
    let text = layout::apply(text, edits).ok_or_else(|| not_in_place(document.view()))?;
    let result =
        parse(&Source::new(document.source.name(), text)).map_err(|_| not_in_place(document.view()))?;
    let mut expected = document.root.clone();
    prune(&mut expected, &gone);
    if find::same(&expected, &result.root) { Ok(result) } else { Err(not_in_place(document.view())) }
}

/// Takes an entry out of a mapping, by its value.
fn cut_entry(text: &str, parent: View<'_>, value: View<'_>) -> Option<Edit> {
    let at = parent.entries().position(|(_, entry)| entry.node.range == value.node.range)?;
    Layout::of(text, parent.node)?.cut(at, |other| other != at)
}

/// Takes the values in these ranges out of the lists and mappings that hold them.
fn prune(node: &mut Node, gone: &BTreeSet<(usize, usize)>) {
    let stays = |node: &Node| !gone.contains(&(node.range.start, node.range.end));
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => {
            items.retain(stays);
            items.iter_mut().for_each(|item| prune(item, gone));
        }
        Kind::Map(entries) => {
            entries.retain(|_, entry| stays(&entry.node));
            entries.values_mut().for_each(|entry| prune(&mut entry.node, gone));
        }
    }
}

/// Everything that was there is there and the same; what is new is in the chosen listeners only, and so many clusters and
/// labels.
fn check(
    before: &Document,
    after: &Document,
    chosen: &[usize],
    new: (usize, usize),
) -> Result<(), Diagnostic> {
    for (index, listener) in find::listeners(after.view()).iter().enumerate() {
        let attached = |manager: &find::Manager<'_>| !manager.attached().is_empty();
        match (chosen.contains(&index), listener.managers.iter().any(attached)) {
            (true, _) if !listener.managers.iter().all(attached) => return Err(not_in_place(before.view())),
            (false, true) => return Err(shared(before, index)),
            _ => {}
        }
    }
    let clusters = Clusters::of(after.view()).map_or(0, |clusters| clusters.attached().len());
    if new == (clusters, Labels::of(after.view()).attached().len())
        && find::same(&without(after)?.root, &before.root)
    {
        Ok(())
    } else {
        Err(not_in_place(before.view()))
    }
}

fn shared(document: &Document, index: usize) -> Diagnostic {
    let listeners = find::listeners(document.view());
    let listener = listeners.get(index);
    Diagnostic::error(format!(
        "{} would get the filters, too: through a YAML alias it shares `http_filters`, or a part of them",
        listener.map_or_else(|| "another listener".to_owned(), Listener::title)
    ))
    .at(listener.map_or_else(|| document.view(), |listener| listener.view).place())
    .help("write its `http_filters` out, or attach to it as well: `--listener` may be repeated")
}

/// The text is written in a way in which nothing can be added or removed safely.
fn not_in_place(view: View<'_>) -> Diagnostic {
    Diagnostic::error("nothing can be added here without changing something else").at(view.place()).help(
        "write `http_filters` and `clusters` as plain lists, without YAML aliases; or put in yourself what \
             `enforcer build -t envoy-filters` writes",
    )
}

#[cfg(test)]
mod tests;

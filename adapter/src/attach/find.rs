//! What of an Envoy configuration `attach` looks at. Fields are found under both names that Envoy accepts:
//! `http_filters`, and `httpFilters` as protobuf's JSON form has it.

use std::collections::BTreeSet;

use crate::source::{Kind, Node, View};

const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
/// Filters that `attach` adds: modules, and Envoy's own with `limits.native`.
const ADDED: [&str; 3] = [
    "envoy.extensions.filters.http.wasm.v3.Wasm",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
];

/// Names of the HTTP filters that `attach` adds begin with this. Those that people write by hand, and those that
/// `enforcer build` makes, are called `enforcer.auth`.
pub(super) const PREFIX: &str = "enforcer.attached.";

/// Under this name, the metadata of a cluster says that `attach` added it.
pub(super) const MARK: &str = "enforcer";

/// A listener with at least one HTTP connection manager.
pub(super) struct Listener<'a> {
    /// `None`: Envoy makes one up.
    pub(super) name: Option<&'a str>,
    pub(super) view: View<'a>,
    /// One for each filter chain that speaks HTTP.
    pub(super) managers: Vec<Manager<'a>>,
}

impl Listener<'_> {
    /// As messages call it.
    pub(super) fn title(&self) -> String {
        self.name.map_or_else(|| "the listener".to_owned(), |name| format!("the listener `{name}`"))
    }
}

/// An HTTP connection manager, or one of its upgrades that has filters of its own.
pub(super) struct Manager<'a> {
    pub(super) view: View<'a>,
    /// The list of HTTP filters, if it is there.
    pub(super) filters: Option<View<'a>>,
}

impl<'a> Manager<'a> {
    /// Position and name of the router among the filters.
    pub(super) fn router(&self) -> Option<(usize, &'a str)> {
        self.filters?.items().enumerate().find_map(|(index, filter)| {
            let name = text(filter, "name").unwrap_or_default();
            (has_type(filter, ROUTER) || name == "envoy.filters.http.router").then_some((index, name))
        })
    }

    /// Positions of the filters that `attach` added.
    pub(super) fn attached(&self) -> Vec<usize> {
        let filters = self.filters.into_iter().flat_map(|filters| filters.items().enumerate());
        filters.filter(|(_, filter)| is_attached(*filter)).map(|(index, _)| index).collect()
    }

    /// An enforcer filter that somebody else put there.
    pub(super) fn hand_written(&self) -> Option<View<'a>> {
        let ours = |filter: &View<'a>| {
            text(*filter, "name").is_some_and(|name| name.starts_with("enforcer."))
                || field(*filter, "typed_config")
                    .and_then(|wasm| text(field(field(wasm, "config")?, "vm_config")?, "vm_id"))
                    == Some("enforcer")
        };
        self.filters?.items().find(|filter| ours(filter) && !is_attached(*filter))
    }
}

/// A field, by its name in the `.proto` file or in JSON form.
pub(super) fn field<'a>(view: View<'a>, name: &str) -> Option<View<'a>> {
    view.get(name).or_else(|| view.get(&camel_case(name)))
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

fn text<'a>(view: View<'a>, name: &str) -> Option<&'a str> {
    field(view, name)?.text()
}

fn has_type(view: View<'_>, kind: &str) -> bool {
    field(view, "typed_config")
        .and_then(|config| text(config, "@type"))
        .and_then(|url| url.rsplit('/').next())
        .is_some_and(|name| name == kind)
}

fn is_attached(filter: View<'_>) -> bool {
    text(filter, "name").is_some_and(|name| name.starts_with(PREFIX))
        && ADDED.iter().any(|kind| has_type(filter, kind))
}

/// The static listeners that speak HTTP, in the order of the file.
pub(super) fn listeners(root: View<'_>) -> Vec<Listener<'_>> {
    let all = field(root, "static_resources").and_then(|resources| field(resources, "listeners"));
    all.into_iter()
        .flat_map(|listeners| listeners.items())
        .map(|view| Listener { name: text(view, "name"), view, managers: managers(view) })
        .filter(|listener| !listener.managers.is_empty())
        .collect()
}

fn managers(listener: View<'_>) -> Vec<Manager<'_>> {
    let listed = field(listener, "filter_chains").into_iter().flat_map(|chains| chains.items());
    listed
        .chain(field(listener, "default_filter_chain"))
        .filter_map(|chain| field(chain, "filters"))
        .flat_map(|filters| filters.items())
        .filter(|filter| has_type(*filter, MANAGER))
        .filter_map(|filter| field(filter, "typed_config"))
        .flat_map(|view| {
            // An upgraded request passes the filters of `upgrade_configs` in place of the others.
            let upgrades = field(view, "upgrade_configs").into_iter().flat_map(|upgrades| upgrades.items());
            let upgrades = upgrades.map(|view| Manager { view, filters: field(view, "filters") });
            let own =
                upgrades.filter(|upgrade| upgrade.filters.is_some_and(|list| list.items().next().is_some()));
            [Manager { view, filters: field(view, "http_filters") }].into_iter().chain(own)
        })
        .collect()
}

/// The static clusters.
pub(super) struct Clusters<'a> {
    /// `static_resources`.
    pub(super) parent: View<'a>,
    /// `clusters`, if it is there.
    pub(super) list: Option<View<'a>>,
}

impl<'a> Clusters<'a> {
    pub(super) fn of(root: View<'a>) -> Option<Self> {
        let parent = field(root, "static_resources")?;
        Some(Self { parent, list: field(parent, "clusters") })
    }

    fn items(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        self.list.into_iter().flat_map(|list| list.items())
    }

    /// Names of the clusters that were there before `attach`.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.items()
            .filter(|cluster| mark(*cluster).is_none())
            .filter_map(|cluster| text(cluster, "name").map(str::to_owned))
            .collect()
    }

    /// Positions and names of those that `attach` added.
    pub(super) fn attached(&self) -> Vec<(usize, &'a str)> {
        self.items()
            .enumerate()
            .filter(|(_, cluster)| mark(*cluster).is_some())
            .map(|(index, cluster)| (index, text(cluster, "name").unwrap_or_default()))
            .collect()
    }

    /// Whether `attach` added the whole list, and nobody else put anything into it.
    pub(super) fn list_attached(&self) -> bool {
        self.items().next().is_some() && self.items().all(|cluster| mark(cluster) == Some(Mark::WITH_LIST))
    }
}

/// What the metadata of an added cluster says.
pub(super) struct Mark;

impl Mark {
    /// A list of clusters was there before.
    pub(super) const INTO_LIST: &str = "cluster";
    /// The list was added, too.
    pub(super) const WITH_LIST: &str = "clusters";
}

fn mark(cluster: View<'_>) -> Option<&str> {
    let metadata = field(field(cluster, "metadata")?, "filter_metadata")?;
    metadata.get(MARK)?.get("attached")?.text()
}

/// Whether two trees hold the same, wherever it stands.
pub(super) fn same(one: &Node, other: &Node) -> bool {
    match (&one.kind, &other.kind) {
        (Kind::Scalar { text: a, plain: p }, Kind::Scalar { text: b, plain: q }) => a == b && p == q,
        (Kind::List(a), Kind::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Kind::Map(a), Kind::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(&a.node, &b.node))
        }
        _ => false,
    }
}

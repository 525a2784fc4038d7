//! Which API and which operation a request means.
//!
//! The order of decisions is that of Envoy's router, so that the filter and the routes behind it can never
//! mean different APIs:
//!
//! 1. **Host.** The exact name, else the longest `*.` suffix, else `*`, as Envoy chooses a virtual host. A host
//!    that was chosen is final: when none of its APIs fits, the request matches nothing.
//! 2. **API.** Of the host's APIs the one with the longest base path, on segment borders. This too is final.
//!    Envoy compares the base path byte by byte, so a client that escapes a part of it matches no API.
//! 3. **Path template**, segment by segment from the left: literal text before text with parameters in it
//!    (`{id}.json`, `report-{id}`; the longest literal beginning first, then the most literal text), before
//!    a whole parameter (`{id}`), before wildcards (`/report*`, the longest first, and last `/*`). When a
//!    choice leads nowhere the next one is tried.
//! 4. **Method.** Looked at last, because an OpenAPI path item is one resource with all its methods: where
//!    `/pets/mine` has only `GET`, a `DELETE /pets/mine` is a wrong method, never the `DELETE` of `/pets/{id}`
//!    (OpenAPI 3.1, "Path Templating Matching": concrete paths first).
//!
//! A parameter matches one segment that is not empty, within which `%2F` is text. `/x/*` matches `/x` and all
//! below it; `/x*` also what merely begins so. One trailing slash makes no difference, in template or request.
//! Paths are case-sensitive.
//!
//! A lookup costs some hash lookups for each segment, however many APIs and operations there are. Templates
//! that share a beginning can make it try several ways, but it passes no node of the tree twice.

mod hosts;
mod prefixes;
mod template;
mod trie;

use self::{
    hosts::Hosts,
    prefixes::Prefixes,
    trie::{Node, Trie},
};
use crate::{config::ConfigError, path::CanonicalPath};

/// An API as the matcher sees it.
#[derive(Debug, Clone)]
pub struct ApiEntry<'a> {
    /// `api.example.com`, `*.example.com` or `*`, without port. Empty: any host, like `*`.
    pub hosts: &'a [String],
    /// Path prefix of all operations: `/petstore/v1`, or `/` for none.
    pub base_path: &'a str,
    /// Empty: everything below the base path.
    pub operations: Vec<OperationEntry<'a>>,
}

/// An operation as the matcher sees it.
#[derive(Debug, Clone, Copy)]
pub struct OperationEntry<'a> {
    /// Template below the base path: `/pets/{id}`.
    pub path: &'a str,
    /// `GET`, `POST`, ... Empty: all that no other operation of this template names.
    pub methods: &'a [String],
}

/// What a request means. Numbers are positions in what [`Table::build`] was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'t> {
    /// An operation; `None` in an API that does not list any.
    Operation { api: usize, operation: Option<usize> },
    /// No API of this host has such a base path.
    NoApi,
    /// The API has no such path.
    NoOperation { api: usize },
    /// The API has this path, but not for this method. `allowed`: those it has, as `Allow` lists them.
    WrongMethod { api: usize, allowed: Vec<&'t str> },
}

/// All APIs of a configuration, ready to be searched.
#[derive(Debug, Default)]
pub struct Table {
    hosts: Hosts,
    /// For each host, the API of each base path. Base paths have no trailing slash.
    bases: Vec<Prefixes<Option<usize>>>,
    apis: Vec<Api>,
    operations: Trie,
}

#[derive(Debug)]
struct Api {
    base_path: usize,
    /// Where its operations begin; `None` if it lists none.
    root: Option<Node>,
}

impl Table {
    /// Builds the table, or names the first entry that is malformed or that no request could tell from another.
    pub fn build<'a>(apis: impl IntoIterator<Item = ApiEntry<'a>>) -> Result<Self, ConfigError> {
        let mut table = Self::default();
        for (index, api) in apis.into_iter().enumerate() {
            table.add(index, &api).map_err(|error| error.under(&format!("apis[{index}]")))?;
        }
        Ok(table)
    }

    /// Finds what a request means. `host` is its `:authority`, in any case; a port
    /// in it is compared too, as Envoy's virtual hosts do where `strip_any_host_port` is not set.
    pub fn find(&self, host: &str, path: &CanonicalPath<'_>, method: &str) -> Found<'_> {
        let Some((api, below)) = self.find_api(host, path) else { return Found::NoApi };
        let Some(root) = self.apis.get(api).and_then(|api| api.root) else {
            return Found::Operation { api, operation: None };
        };
        match self.operations.find(root, below) {
            None => Found::NoOperation { api },
            Some(node) => match self.operations.operation(node, method) {
                Some(operation) => Found::Operation { api, operation: Some(operation) },
                None => Found::WrongMethod { api, allowed: self.operations.methods(node).collect() },
            },
        }
    }

    /// The API, and the path below its base path without slashes at the ends.
    fn find_api<'p>(&self, host: &str, path: &'p CanonicalPath<'_>) -> Option<(usize, &'p str)> {
        let bases = self.bases.get(self.hosts.find(host)?)?;
        let (api, below) = bases.longest_first(path.as_str(), is_border).next()?;
        let api = (*api)?;
        if self.apis.get(api)?.base_path > path.as_written() {
            return None;
        }
        let below = below.strip_prefix('/').unwrap_or(below);
        Some((api, below.strip_suffix('/').unwrap_or(below)))
    }

    fn add(&mut self, index: usize, api: &ApiEntry<'_>) -> Result<(), ConfigError> {
        let base_path =
            template::base_path(api.base_path).map_err(|why| ConfigError::at("base_path", why))?;
        self.add_hosts(index, api, base_path)?;
        let root = (!api.operations.is_empty()).then(|| self.operations.add_root());
        if let Some(root) = root {
            self.add_operations(root, &api.operations)?;
        }
        self.apis.push(Api { base_path: base_path.len(), root });
        Ok(())
    }

    fn add_hosts(&mut self, index: usize, api: &ApiEntry<'_>, base_path: &str) -> Result<(), ConfigError> {
        let any = ["*".to_owned()];
        for (number, host) in (if api.hosts.is_empty() { &any } else { api.hosts }).iter().enumerate() {
            let at = |why| ConfigError::at(format!("hosts[{number}]"), why);
            let id = self.hosts.add(host).map_err(at)?;
            if self.bases.len() <= id {
                self.bases.push(Prefixes::default());
            }
            let Some(bases) = self.bases.get_mut(id) else { continue };
            if let Some(other) = bases.entry(base_path).replace(index) {
                let written = api.base_path;
                let problem =
                    format!("`{written}` on host `{host}` is that of apis[{other}] too; merge the two");
                return Err(ConfigError::at("base_path", problem));
            }
        }
        Ok(())
    }

    fn add_operations(&mut self, root: Node, operations: &[OperationEntry<'_>]) -> Result<(), ConfigError> {
        // Operations of one path usually stand together: its template is read once.
        let mut last: Option<(&str, Node)> = None;
        for (number, operation) in operations.iter().enumerate() {
            let at = |place: &str, why| ConfigError::at(format!("operations[{number}]{place}"), why);
            let node = match last {
                Some((path, node)) if path == operation.path => node,
                _ => self.operations.add_path(root, operation.path).map_err(|why| at(".path", why))?,
            };
            last = Some((operation.path, node));
            if operation.methods.is_empty() {
                let added = self.operations.add_operation(node, None, number);
                added.map_err(|earlier| at("", twice(operations, "*", operation.path, earlier)))?;
            }
            for (position, method) in operation.methods.iter().enumerate() {
                template::method(method).map_err(|why| at(&format!(".methods[{position}]"), why))?;
                let added = self.operations.add_operation(node, Some(method), number);
                added.map_err(|earlier| at("", twice(operations, method, operation.path, earlier)))?;
            }
        }
        Ok(())
    }
}

fn twice(operations: &[OperationEntry<'_>], method: &str, path: &str, earlier: usize) -> String {
    let other = operations.get(earlier).map_or("", |operation| operation.path);
    format!("`{method} {path}` is the same as `{other}` of operations[{earlier}]; remove one of them")
}

/// Whether a base path may end where `rest` begins.
fn is_border(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
mod tests;

//! What is called, and which tier that has.

use std::collections::HashMap;

use enforcer_core::{
    config::ConfigError,
    headers::HeaderMap,
    identity::Called,
    path::CanonicalPath,
    table::{ApiEntry, Found, OperationEntry, Table},
};

use crate::{
    config::{Api, Level},
    tiers::Tiers,
};

/// The configured APIs.
#[derive(Debug, Default)]
pub struct Apis {
    table: Table,
    apis: Vec<Known>,
    /// Positions by name and version.
    by_name: HashMap<String, HashMap<String, usize>>,
}

#[derive(Debug)]
struct Known {
    called: Called,
    tier: Option<String>,
    operations: Vec<Operation>,
    by_id: HashMap<String, usize>,
}

#[derive(Debug)]
struct Operation {
    called: Called,
    tier: Option<String>,
}

impl Apis {
    pub fn new(apis: Vec<Api>, tiers: &Tiers) -> Result<Self, ConfigError> {
        for (index, api) in apis.iter().enumerate() {
            let at = |error: ConfigError| error.under(&format!("apis[{index}]"));
            api.tier.iter().try_for_each(|tier| tiers.check(tier)).map_err(at)?;
            for (number, operation) in api.operations.iter().enumerate() {
                let checked = operation.tier.iter().try_for_each(|tier| tiers.check(tier));
                checked.map_err(|error| at(error.under(&format!("operations[{number}]"))))?;
            }
        }
        let table = Table::build(apis.iter().map(entry))?;
        let mut by_name: HashMap<String, HashMap<String, usize>> = HashMap::new();
        for (index, api) in apis.iter().enumerate() {
            by_name.entry(api.name.clone()).or_default().insert(api.version.clone(), index);
        }
        Ok(Self { table, apis: apis.into_iter().map(known).collect(), by_name })
    }

    /// What a request calls, when no filter before this one has said so. Unknown: nothing.
    pub fn called(&self, headers: &HeaderMap) -> Called {
        let Ok(path) = CanonicalPath::parse(headers.get(":path").unwrap_or_default()) else {
            return Called::default();
        };
        let host = headers.get_str(":authority").unwrap_or_default();
        let method = headers.get_str(":method").unwrap_or_default();
        let called = match self.table.find(host, &path, method) {
            Found::Operation { api, operation } => self.apis.get(api).map(|api| {
                let operation = operation.and_then(|index| api.operations.get(index));
                operation.map_or(&api.called, |operation| &operation.called)
            }),
            Found::NoOperation { api } | Found::WrongMethod { api, .. } => {
                self.apis.get(api).map(|api| &api.called)
            }
            Found::NoApi => None,
        };
        called.cloned().unwrap_or_default()
    }

    /// The tier of what is called. An API's own goes before those of its operations, as in Choreo Connect.
    pub fn tier(&self, called: &Called) -> Option<(Level, &str)> {
        let index = self.by_name.get(&called.api)?.get(&called.version)?;
        let api = self.apis.get(*index)?;
        if let Some(tier) = &api.tier {
            return Some((Level::Api, tier));
        }
        let operation = api.operations.get(*api.by_id.get(&called.operation)?)?;
        Some((Level::Resource, operation.tier.as_deref()?))
    }
}

fn known(api: Api) -> Known {
    let whole = Called { api: api.name, version: api.version, ..Called::default() };
    let base = api.base_path.trim_end_matches('/');
    let operations = api.operations.into_iter().map(|operation| {
        let template = format!("{base}{}", operation.path);
        let id = if operation.id.is_empty() { template.clone() } else { operation.id };
        Operation { called: Called { operation: id, template, ..whole.clone() }, tier: operation.tier }
    });
    let operations: Vec<_> = operations.collect();
    let ids = operations.iter().enumerate().map(|(index, known)| (known.called.operation.clone(), index));
    Known { by_id: ids.collect(), called: whole, tier: api.tier, operations }
}

fn entry(api: &Api) -> ApiEntry<'_> {
    let operations = api.operations.iter();
    let operations =
        operations.map(|operation| OperationEntry { path: &operation.path, methods: &operation.methods });
    ApiEntry { hosts: &api.hosts, base_path: &api.base_path, operations: operations.collect() }
}

//! What requests call, as the configuration knows it.

use std::{collections::HashMap, rc::Rc};

use enforcer_core::{
    config::ConfigError,
    headers::HeaderMap,
    identity::{Called, Part},
    path::CanonicalPath,
    table::{ApiEntry, Found, OperationEntry, Table},
};

use crate::{config::Api, event::ApiFacts};

/// The configured APIs.
#[derive(Debug)]
pub struct Targets {
    table: Table,
    /// Of each API: itself without an operation, then each operation.
    called: Vec<Vec<Part<Called>>>,
    /// By name: of each version.
    facts: HashMap<String, Vec<(String, Rc<ApiFacts>)>>,
}

impl Targets {
    pub fn new(apis: &[Api]) -> Result<Self, ConfigError> {
        let table = Table::build(apis.iter().map(entry))?;
        let mut all = HashMap::<_, Vec<_>>::new();
        for api in apis {
            all.entry(api.name.clone()).or_default().push((api.version.clone(), Rc::new(facts(api))));
        }
        Ok(Self { table, called: apis.iter().map(called).collect(), facts: all })
    }

    pub fn is_empty(&self) -> bool {
        self.called.is_empty()
    }

    /// What a request calls; `None` if no API has it.
    pub fn find(&self, headers: &HeaderMap) -> Option<Part<Called>> {
        let path = CanonicalPath::parse(headers.get(":path")?).ok()?;
        let text = |name| headers.get_str(name).unwrap_or_default();
        let (api, operation) = match self.table.find(text(":authority"), &path, text(":method")) {
            Found::Operation { api, operation } => (api, operation),
            Found::NoOperation { api } | Found::WrongMethod { api, .. } => (api, None),
            Found::NoApi => return None,
        };
        let position = operation.map_or(0, |index| index.saturating_add(1));
        self.called.get(api)?.get(position).cloned()
    }

    /// What events say of an API beside its name.
    pub fn facts(&self, called: &Called) -> Option<Rc<ApiFacts>> {
        let versions = self.facts.get(&called.api)?;
        let (_, facts) = versions.iter().find(|(version, _)| *version == called.version)?;
        Some(Rc::clone(facts))
    }
}

fn entry(api: &Api) -> ApiEntry<'_> {
    let operations = api.operations.iter();
    let operations =
        operations.map(|one| OperationEntry { path: &one.path, methods: &one.methods }).collect();
    ApiEntry { hosts: &api.hosts, base_path: &api.base_path, operations }
}

fn called(api: &Api) -> Vec<Part<Called>> {
    let base = api.base_path.trim_end_matches('/');
    let (name, version) = (&api.name, &api.version);
    let called = |operation: &str, template: String| {
        let operation = if operation.is_empty() { template.clone() } else { operation.to_owned() };
        Part::new(Called { api: name.clone(), version: version.clone(), operation, template })
    };
    let whole = called("", format!("{base}/*"));
    let operations = api.operations.iter();
    let operations = operations.map(|operation| called(&operation.id, format!("{base}{}", operation.path)));
    [whole].into_iter().chain(operations).collect()
}

fn facts(api: &Api) -> ApiFacts {
    let id = if api.id.is_empty() { format!("{}:{}", api.name, api.version) } else { api.id.clone() };
    ApiFacts {
        id,
        kind: api.kind.clone(),
        creator: api.creator.clone(),
        tenant: api.tenant.clone(),
        context: api.base_path.clone(),
    }
}

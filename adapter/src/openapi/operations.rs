//! `paths`: what an API consists of.

use std::collections::HashMap;

use enforcer_core::table::{ApiEntry, OperationEntry, Table};

use crate::{
    diagnostic::Diagnostic,
    model::Operation,
    openapi::{
        Reader,
        extensions::{PRODUCTION, SANDBOX},
        fields::{METHODS, nothing_beside_reference},
        security::{Inherited, Schemes},
    },
    source::{Place, View},
};

impl Reader<'_> {
    pub(super) fn operations(
        &mut self,
        root: View<'_>,
        schemes: &Schemes,
        api: &Inherited,
    ) -> Option<Vec<Operation>> {
        let Some(paths) = root.get("paths").filter(View::is_map) else {
            self.findings.push(
                Diagnostic::error("the definition has no `paths`")
                    .at(root.get("paths").map_or_else(|| root.key_place(), |paths| paths.key_place()))
                    .help("add the operations that may be called: `paths: {/pets: {get: ...}}`"),
            );
            return None;
        };
        let mut operations = Vec::new();
        let mut complete = true;
        for (template, item) in paths.entries().filter(|(key, _)| !key.starts_with("x-")) {
            if let Err(problem) = check_template(template) {
                self.findings.push(problem.at(item.key_place()));
                complete = false;
                continue;
            }
            match self.library.resolve_if(item, nothing_beside_reference) {
                Ok(resolved) => {
                    complete &= self.check_path_item(template, resolved, &item.key_place());
                    let found = self.path_item(
                        template,
                        &item.key_place(),
                        resolved,
                        (schemes, api),
                        &mut operations,
                    );
                    complete &= found;
                }
                Err(problem) => {
                    self.findings.push(problem);
                    complete = false;
                }
            }
        }
        if complete && operations.is_empty() {
            self.findings.push(
                Diagnostic::error("the definition has no operations, so nothing could be called")
                    .at(paths.key_place())
                    .help("add at least one: `/pets: {get: ...}`"),
            );
            return None;
        }
        complete &= self.distinct(&operations);
        complete.then_some(operations)
    }

    fn path_item(
        &mut self,
        template: &str,
        path_place: &Place,
        item: View<'_>,
        (schemes, api): (&Schemes, &Inherited),
        operations: &mut Vec<Operation>,
    ) -> bool {
        let mut complete = true;
        self.ignored_servers(item);
        self.ignored_tier(item, "a path has none");
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            complete &= self.check_operation(operation);
            self.ignored_servers(operation);
            let Some(access) = self.operation_access(item, operation, schemes, api) else {
                complete = false;
                continue;
            };
            let tier = match &self.tier {
                Some(of_api) => {
                    let because = format!("the whole API has the tier `{}`", of_api.name);
                    self.ignored_tier(operation, &because);
                    None
                }
                None => self.tier(operation),
            };
            let method = method.to_ascii_uppercase();
            let id = operation.get("operationId").and_then(|id| id.text());
            // In a path item that several paths share, the path is the place to point at.
            let place =
                if item.source == &path_place.source { operation.key_place() } else { path_place.clone() };
            operations.push(Operation {
                id: id.map_or_else(|| format!("{method} {template}"), str::to_owned),
                method,
                template: template.to_owned(),
                access,
                tier,
                place,
            });
        }
        complete
    }

    fn ignored_servers(&mut self, view: View<'_>) {
        if let Some(servers) = ["servers", PRODUCTION, SANDBOX].iter().find_map(|key| view.get(key)) {
            self.findings.push(
                Diagnostic::warning("servers of single paths and operations are not supported; requests go to those of the API")
                    .at(servers.key_place())
                    .help("give operations that live elsewhere a definition of their own"),
            );
        }
    }

    /// `/pets/{id}` and `/pets/{petId}` are the same path: no request could tell them apart. Ids should be
    /// unique (OpenAPI 3.1, Operation Object), because logs and metrics name operations by them.
    fn distinct(&mut self, operations: &[Operation]) -> bool {
        let mut ids: HashMap<&str, &Operation> = HashMap::new();
        let mut seen: HashMap<(String, &str), &Operation> = HashMap::new();
        let mut distinct = true;
        for operation in operations {
            if let Some(first) = ids.insert(&operation.id, operation) {
                self.findings.push(
                    Diagnostic::warning(format!(
                        "the id `{}` is that of the operation in line {} too",
                        operation.id,
                        first.place.position().0
                    ))
                    .at(operation.place.clone())
                    .help("give each operation an `operationId` of its own: logs and metrics show it"),
                );
            }
            if let Some(first) = seen.insert((shape(&operation.template), &operation.method), operation) {
                self.findings.push(
                    Diagnostic::error(format!(
                        "`{} {}` is the same operation as `{}` in line {}",
                        operation.method,
                        operation.template,
                        first.template,
                        first.place.position().0
                    ))
                    .at(operation.place.clone())
                    .help("no request could tell them apart: remove or rename one"),
                );
                distinct = false;
            }
        }
        distinct
    }
}

/// What the filter can match, as its own table sees it.
fn check_template(template: &str) -> Result<(), Diagnostic> {
    let operations = vec![OperationEntry { path: template, methods: &[] }];
    Table::build([ApiEntry { hosts: &[], base_path: "/", operations }]).map(|_| ()).map_err(|error| {
        Diagnostic::error(error.problem)
            .help("requests to this path could never be matched: correct the path")
    })
}

/// A template without the names of its parameters and without the slash at its end.
fn shape(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push_str("{}");
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    out.push_str(rest);
    let length = out.trim_end_matches('/').len().max(1);
    out.truncate(length);
    out
}

//! Fields of paths and operations that would be passed over in silence: what somebody meant to close must not
//! stay open because a word is misspelt or in the wrong place.

use crate::{
    diagnostic::{Diagnostic, suggest},
    openapi::Reader,
    source::{Place, View},
};

/// The methods that a Path Item Object has a field for.
pub(super) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The fields of a Path Item Object (OpenAPI 3.1, section 4.8.9).
const PATH_ITEM: [&str; 12] = [
    "summary",
    "description",
    "servers",
    "parameters",
    "get",
    "put",
    "post",
    "delete",
    "options",
    "head",
    "patch",
    "trace",
];

/// The fields of an Operation Object (OpenAPI 3.1, section 4.8.10).
const OPERATION: [&str; 12] = [
    "tags",
    "summary",
    "description",
    "externalDocs",
    "operationId",
    "parameters",
    "requestBody",
    "responses",
    "callbacks",
    "deprecated",
    "security",
    "servers",
];

/// OpenAPI 3.1 leaves undefined what happens to fields beside the `$ref` of a path item; here the target
/// counts alone. Those that say what may be called, and by whom, must not get lost.
pub(super) fn nothing_beside_reference(item: View<'_>) -> Result<(), Diagnostic> {
    let lost = item.entries().find(|(key, _)| match *key {
        "$ref" | "summary" | "description" | "servers" | "parameters" => false,
        "x-wso2-disable-security" => true,
        key => !key.starts_with("x-"),
    });
    lost.map_or(Ok(()), |(key, value)| {
        Err(Diagnostic::error(format!("`{key}` beside `$ref` would have no effect"))
            .at(value.key_place())
            .help("move it to where the `$ref` leads, or write the path out in place of the `$ref`"))
    })
}

impl Reader<'_> {
    /// Reports fields of a path item that mean nothing; `false` when it cannot be used as it is. `path` is
    /// where the path stands, which may have the item by a `$ref`.
    pub(super) fn check_path_item(&mut self, template: &str, item: View<'_>, path: &Place) -> bool {
        if item.node.is_null() {
            self.findings.push(
                Diagnostic::warning(format!("`{template}` has no operations"))
                    .at(path.clone())
                    .help("add one (`get: ...`), or remove the path: it gets 404"),
            );
            return true;
        }
        if !item.is_map() {
            self.findings.push(
                Diagnostic::error(format!("`{template}` is {}, but should be a mapping", item.describe()))
                    .at(path.clone())
                    .help(format!("write `{template}: {{get: ...}}`")),
            );
            return false;
        }
        let mut usable = true;
        for (key, value) in item.entries() {
            let lower = key.to_ascii_lowercase();
            let problem = if key != lower && METHODS.contains(&lower.as_str()) {
                Diagnostic::error(format!("`{key}` is not a method; methods are in lower case"))
                    .help(format!("write `{lower}`"))
            } else if key == "security" || is_misspelt_security(key) {
                Diagnostic::error("a path has no `security`: OpenAPI knows it for the API and for operations")
                    .help("put it in each operation of the path")
            } else {
                self.unknown_field(key, value, &PATH_ITEM);
                continue;
            };
            usable = false;
            self.report_once(problem.at(value.key_place()));
        }
        usable
    }

    /// Reports fields of an operation that mean nothing; `false` when it cannot be used as it is.
    pub(super) fn check_operation(&mut self, operation: View<'_>) -> bool {
        for (key, value) in operation.entries() {
            if key == "$ref" {
                self.report_once(
                    Diagnostic::error("an operation cannot be a `$ref`: OpenAPI knows it for whole paths")
                        .at(value.key_place())
                        .help(
                            "write the operation out here, or put the `$ref` in place of the path's fields",
                        ),
                );
                return false;
            }
            self.unknown_field(key, value, &OPERATION);
        }
        true
    }

    /// Reports a `security` of the whole API that is misspelt.
    pub(super) fn check_root(&mut self, root: View<'_>) {
        for (key, value) in root.entries().filter(|(key, _)| is_misspelt_security(key)) {
            self.unknown_field(key, value, &["security"]);
        }
    }

    fn unknown_field(&mut self, key: &str, value: View<'_>, known: &[&str]) {
        if key.starts_with("x-") || known.contains(&key) {
            return;
        }
        let problem = if is_misspelt_security(key) {
            Diagnostic::error(format!("unknown field `{key}`: what it asks for would not be asked"))
                .help("did you mean `security`?")
        } else {
            Diagnostic::warning(format!("unknown field `{key}` has no effect")).help(suggest(key, known))
        };
        self.report_once(problem.at(value.key_place()));
    }

    /// A path item that several paths refer to is looked at as many times.
    fn report_once(&mut self, finding: Diagnostic) {
        if self.findings.iter().all(|earlier| earlier.place() != finding.place()) {
            self.findings.push(finding);
        }
    }
}

/// A word that is almost `security`: who misspells it wanted to close something.
fn is_misspelt_security(key: &str) -> bool {
    key != "security" && strsim::damerau_levenshtein(&key.to_ascii_lowercase(), "security") <= 2
}

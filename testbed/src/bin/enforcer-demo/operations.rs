//! What the API offers, read from the configuration that the filter runs with.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Outcome;

/// Everything the auth filter was told, as far as the demo shows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The header that tokens are taken from.
    pub(crate) token_header: String,
    /// What all paths begin with; empty for `/`.
    base: String,
    /// At least one.
    pub(crate) operations: Vec<Operation>,
}

/// An operation as a client calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    /// With a value for every parameter.
    pub(crate) path: String,
    pub(crate) template: String,
    pub(crate) access: Access,
}

/// What a caller must bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Open,
    /// Any token of a trusted issuer.
    Token,
    /// A token with scopes: one of these alternatives.
    Scopes(Vec<Scopes>),
}

/// Scopes that are needed together; with `any`, one of them is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scopes {
    pub(crate) names: Vec<String>,
    any: bool,
}

impl Table {
    /// Finds the auth filter's configuration in Envoy's `/config_dump`.
    pub(crate) fn of(config_dump: &str) -> Outcome<Self> {
        let dump: Value = serde_json::from_str(config_dump)?;
        let auth = find_configuration(&dump).ok_or("Envoy runs no auth filter with a table of APIs")?;
        // One definition makes one API.
        let api = auth.pointer("/apis/0").ok_or("the auth filter's table is empty")?;
        let base = text(api, "base_path").unwrap_or_default().trim_end_matches('/').to_owned();
        let token_header = auth.pointer("/token_sources/0/header/name").and_then(Value::as_str);
        let token_header = token_header.unwrap_or("authorization").to_owned();
        Ok(Self { token_header, operations: operations_of(api, &base), base })
    }

    /// The operation that shows most: scopes before any token, reading before writing.
    pub(crate) fn protected(&self) -> Option<&Operation> {
        let closed = self.operations.iter().filter(|operation| operation.access != Access::Open);
        // The first among equals, as a reader of the definition would choose.
        closed.rev().max_by_key(|operation| {
            (matches!(operation.access, Access::Scopes(_)), operation.is_plain(), operation.reads())
        })
    }

    /// An operation that everybody may call.
    pub(crate) fn open(&self) -> Option<&Operation> {
        let open = self.operations.iter().filter(|operation| operation.access == Access::Open);
        open.rev().max_by_key(|operation| (operation.is_plain(), operation.reads()))
    }

    /// A scope of this API that is not enough for this access.
    pub(crate) fn wrong_scope(&self, access: &[Scopes]) -> String {
        let all: BTreeSet<&str> = self.operations.iter().flat_map(|o| o.access.names()).collect();
        let enough = |scope: &str| access.iter().any(|scopes| scopes.satisfied_by(scope));
        all.into_iter().find(|scope| !enough(scope)).unwrap_or("another:scope").to_owned()
    }

    /// A path of the API that nobody declared; `None` where everything is.
    pub(crate) fn undeclared(&self) -> Option<String> {
        let declared = |path: &String| self.operations.iter().any(|o| may_match(&o.template, path));
        let candidates = ["/no/such/thing", "/no/such/thing/exists/in/this/definition/at/all"];
        candidates.map(|path| format!("{}{path}", self.base)).into_iter().find(|path| !declared(path))
    }
}

impl Operation {
    /// Its path can be pasted anywhere as it is.
    fn is_plain(&self) -> bool {
        self.path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte))
    }

    fn reads(&self) -> bool {
        self.method == "GET"
    }
}

impl Access {
    /// The sets of scopes one of which is needed; none where scopes do not matter.
    pub(crate) fn alternatives(&self) -> &[Scopes] {
        if let Self::Scopes(all) = self { all } else { &[] }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.alternatives().iter().flat_map(|scopes| &scopes.names).map(String::as_str)
    }
}

impl Scopes {
    fn satisfied_by(&self, scope: &str) -> bool {
        self.names.iter().any(|name| name == scope) && (self.any || self.names.len() == 1)
    }
}

/// A Wasm plugin's configuration travels as a StringValue that holds JSON.
fn find_configuration(value: &Value) -> Option<Value> {
    match value {
        Value::Object(members) => {
            let text = members.get("value").and_then(Value::as_str);
            let plugin = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
            plugin
                .and_then(|mut plugin| plugin.get_mut("auth").map(Value::take))
                .filter(|auth| auth.get("apis").is_some())
                .or_else(|| members.values().find_map(find_configuration))
        }
        Value::Array(items) => items.iter().find_map(find_configuration),
        _ => None,
    }
}

fn operations_of(api: &Value, base: &str) -> Vec<Operation> {
    let operations = api.get("operations").and_then(Value::as_array).into_iter().flatten();
    operations
        .map(|operation| {
            let method = operation.get("methods").and_then(|methods| methods.get(0)).and_then(Value::as_str);
            let template = format!("{base}{}", text(operation, "path").unwrap_or("/"));
            Operation {
                id: text(operation, "id").unwrap_or(&template).to_owned(),
                method: method.unwrap_or("GET").to_owned(),
                path: filled(&template),
                access: access(operation.get("security").or_else(|| api.get("security"))),
                template,
            }
        })
        .collect()
}

/// The filter's rules: absent asks for a token, `[]` and an alternative that asks for nothing are open.
fn access(security: Option<&Value>) -> Access {
    let Some(alternatives) = security.and_then(Value::as_array) else { return Access::Token };
    let tokens: Vec<&Value> = alternatives.iter().filter_map(|one| one.get("jwt")).collect();
    if alternatives.is_empty() || tokens.len() < alternatives.len() {
        return Access::Open;
    }
    let scopes: Vec<Scopes> = tokens.iter().filter_map(|token| scopes(token.get("scopes")?)).collect();
    if scopes.len() < tokens.len() { Access::Token } else { Access::Scopes(scopes) }
}

fn scopes(scopes: &Value) -> Option<Scopes> {
    let list = |key: &str| scopes.get(key).and_then(Value::as_array);
    let any = list("any_of");
    let names = any.or_else(|| list("all_of"))?.iter().filter_map(Value::as_str).map(str::to_owned);
    Some(Scopes { names: names.collect(), any: any.is_some() })
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// A template as a path: `/users/{userName}/pets/{petId}.json` becomes `/users/username/pets/1.json`.
fn filled(template: &str) -> String {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        path.push_str(&plausible(name));
        rest = tail;
    }
    path.push_str(rest);
    path.replace('*', "any")
}

/// A value for a parameter of this name: a number for what is counted, else the name itself.
fn plausible(name: &str) -> String {
    let words: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let words = words.to_ascii_lowercase();
    let counted = ["id", "ids", "number", "index", "version", "count", "num", "no"];
    if words.is_empty() || counted.iter().any(|end| words.ends_with(end)) { "1".to_owned() } else { words }
}

/// Whether a path may belong to a template. When in doubt, it does.
fn may_match(template: &str, path: &str) -> bool {
    let mut wanted = template.split('/');
    let mut given = path.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (Some(segment), _) if segment.ends_with('*') => return true,
            (None, None) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(segment), Some(part)) if segment != part && !segment.contains('{') => return false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(operations: &Value) -> Table {
        let header = json!([{"header": {"name": "x-token"}}]);
        let plugin = json!({"issuers": [], "token_sources": header, "apis": [{
            "name": "pets", "base_path": "/v1", "operations": operations,
            "security": [{"jwt": {"scopes": {"any_of": ["read", "admin"]}}}],
        }]});
        let dump = json!({"configs": [{"x": {"@type": "StringValue", "value": json!({"auth": plugin}).to_string()}}]});
        Table::of(&dump.to_string()).unwrap()
    }

    #[test]
    fn reads_the_table_out_of_a_dump() {
        let token = json!({"jwt": {}});
        let table = table(&json!([
            {"id": "put", "path": "/pets/{petId}.json", "methods": ["PUT"],
             "security": [{"jwt": {"scopes": {"all_of": ["a", "b"]}}}]},
            {"path": "/files/*", "security": []},
            {"path": "/mine", "security": [token, {}]},
            {"path": "/either", "security": [{"jwt": {"scopes": {"all_of": ["a"]}}}, token]},
            {"path": "/{owner}/{repo-name}"},
        ]));
        assert_eq!(table.token_header, "x-token");
        let shown: Vec<_> = table
            .operations
            .iter()
            .map(|o| (o.method.as_str(), o.path.as_str(), o.access.names().collect::<Vec<_>>().join(" ")))
            .collect();
        let expected = [
            ("PUT", "/v1/pets/1.json", "a b"),
            ("GET", "/v1/files/any", ""),
            ("GET", "/v1/mine", ""),
            ("GET", "/v1/either", ""),
            ("GET", "/v1/owner/reponame", "read admin"),
        ];
        assert_eq!(shown, expected.map(|(method, path, scopes)| (method, path, scopes.to_owned())));
        let open = table.operations.iter().map(|o| o.access == Access::Open);
        assert_eq!(open.collect::<Vec<_>>(), [false, true, true, false, false]);
    }

    #[test]
    fn chooses_what_shows_most() {
        let table = table(&json!([
            {"path": "/any-token", "security": [{"jwt": {}}]},
            {"path": "/pets", "methods": ["POST"]},
            {"path": "/pets/{id}"},
            {"path": "/owners/{id}"},
            {"path": "/health", "security": []},
        ]));
        assert_eq!(table.protected().unwrap().path, "/v1/pets/1");
        assert_eq!(table.open().unwrap().path, "/v1/health");
    }

    #[test]
    fn a_wrong_scope_opens_no_alternative() {
        let table = table(&json!([
            {"path": "/a"},
            {"path": "/b", "security": [{"jwt": {"scopes": {"all_of": ["read", "write"]}}}]},
        ]));
        let access = |index: usize| match &table.operations[index].access {
            Access::Scopes(scopes) => table.wrong_scope(scopes),
            other => panic!("{other:?}"),
        };
        // `read` and `admin` are each enough for the first; nothing alone is enough for the second.
        assert_eq!((access(0).as_str(), access(1).as_str()), ("write", "admin"));
    }

    #[test]
    fn knows_what_is_declared() {
        assert!(may_match("/v1/{id}", "/v1/x") && may_match("/v1/*", "/v1/x/y"));
        assert!(!may_match("/v1/{id}", "/v1/x/y") && !may_match("/v1/a", "/v1/b"));
        assert_eq!(table(&json!([{"path": "/pets"}])).undeclared().unwrap(), "/v1/no/such/thing");
        let deep = table(&json!([{"path": "/{a}/{b}/{c}"}])).undeclared().unwrap();
        assert!(deep.ends_with("/at/all"), "{deep}");
        assert_eq!(table(&json!([{"path": "/*"}])).undeclared(), None);
    }
}

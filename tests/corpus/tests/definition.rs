//! A definition as a client reads it: one good request for each operation, and where it should arrive.
//!
//! Deliberately without the adapter's code, which is what is tested.

use std::path::Path;

use serde_json::Value;

use crate::values::Texts;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// An OpenAPI definition.
pub(crate) struct Definition {
    root: Value,
}

/// A request that the definition allows.
pub(crate) struct Call {
    /// `operationId`, else `GET /pets/{id}`.
    pub(crate) operation: String,
    pub(crate) method: String,
    pub(crate) template: String,
    /// The template with values for its parameters.
    pub(crate) path: String,
    /// `None`: nobody asks for a token.
    pub(crate) scopes: Option<Vec<String>>,
}

impl Definition {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        Self { root: serde_json::from_slice(&text).unwrap() }
    }

    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// Names of the security schemes that are not bearer tokens: basic, API keys.
    pub(crate) fn other_schemes(&self) -> impl Iterator<Item = &str> {
        let all = self.root.pointer("/components/securitySchemes").and_then(Value::as_object);
        let token = |scheme: &Value| match scheme["type"].as_str().unwrap() {
            "oauth2" | "openIdConnect" => true,
            "http" => scheme["scheme"].as_str().unwrap().eq_ignore_ascii_case("bearer"),
            _ => false,
        };
        all.into_iter().flatten().filter(move |(_, scheme)| !token(scheme)).map(|(name, _)| name.as_str())
    }

    /// One call of each operation, or why there can be none.
    pub(crate) fn calls(&self) -> Vec<Result<Call, String>> {
        let paths = self.root["paths"].as_object().unwrap();
        let texts = Texts::of(paths.keys().map(String::as_str));
        let mut calls = Vec::new();
        for (template, item) in paths.iter().filter(|(template, _)| !template.starts_with("x-")) {
            let item = self.resolve(item);
            for method in METHODS.into_iter().filter(|method| item.get(method).is_some()) {
                calls.push(self.call(&texts, template, item, method));
            }
        }
        calls
    }

    fn call(&self, texts: &Texts, template: &str, item: &Value, method: &str) -> Result<Call, String> {
        let operation = &item[method];
        let method = method.to_ascii_uppercase();
        // An operation's parameters go before those of its path.
        let parameters: Vec<&Value> = [operation, item]
            .into_iter()
            .flat_map(|holder| holder["parameters"].as_array().into_iter().flatten())
            .map(|parameter| self.resolve(parameter))
            .collect();
        let path = fill(template, |name| {
            let one = parameters.iter().find(|one| one["in"] == "path" && one["name"] == name);
            let mut one = one.map_or(Value::Null, |one| (*one).clone());
            one["schema"] = self.resolve(&one["schema"]).clone();
            texts
                .value(&one)
                .ok_or_else(|| format!("{method} {template}: no value for `{name}` that means only it"))
        })?;
        let id = operation["operationId"].as_str();
        Ok(Call {
            operation: id.map_or_else(|| format!("{method} {template}"), str::to_owned),
            scopes: self.scopes(operation),
            template: template.to_owned(),
            method,
            path,
        })
    }

    /// The scopes of the first alternative that is not anonymous, all schemes of it together. Definitions that
    /// say nothing want a token, because `auth.default` does.
    fn scopes(&self, operation: &Value) -> Option<Vec<String>> {
        let security = [operation, &self.root].into_iter().find_map(|holder| holder.get("security"));
        let Some(alternatives) = security else { return Some(Vec::new()) };
        let mut alternatives = alternatives.as_array().unwrap().iter().map(|one| one.as_object().unwrap());
        let schemes = alternatives.find(|schemes| !schemes.is_empty())?;
        let scopes = schemes.values().flat_map(|scopes| scopes.as_array().into_iter().flatten());
        Some(scopes.map(|scope| scope.as_str().unwrap().to_owned()).collect())
    }

    /// Follows references within the file.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
                self.resolve(found.unwrap_or_else(|| panic!("`{reference}` leads nowhere")))
            }
            None => value,
        }
    }
}

fn fill(template: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').unwrap();
        path.push_str(before);
        path.push_str(&value(name)?);
        rest = tail;
    }
    path.push_str(rest);
    Ok(path)
}

//! OpenAPI 3.0 and 3.1 to the model.
//!
//! Only what a gateway needs is read: where the API is, what it consists of, and who may call. Schemas are
//! walked over. What the definition does not say, `enforcer.yaml` does.

mod extensions;
mod fields;
mod operations;
mod security;
mod servers;

pub(crate) use extensions::is_header_name;

use std::{collections::BTreeMap, path::Path};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    model::{Api, NamedTier, slug},
    settings::Settings,
    source::{Library, View},
    url::Url,
};

/// What a definition is read with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub settings: &'a Settings,
    /// `defaults.backend`, read.
    pub backend: Option<&'a Url>,
    /// Whether it matters where requests go: not where somebody else routes them.
    pub routed: bool,
}

/// What the readers of the parts share.
struct Reader<'a> {
    library: &'a Library,
    context: Context<'a>,
    unverified: BTreeMap<String, security::Unverified>,
    /// The whole API's.
    tier: Option<NamedTier>,
    findings: &'a mut Diagnostics,
}

/// Reads a definition and the files it refers to; `None` when it cannot be used, the reasons being among the
/// findings.
pub fn read(path: &Path, context: Context<'_>, findings: &mut Diagnostics) -> Option<(Api, Library)> {
    let library = findings.take(Library::load(path))?;
    let api = read_library(&library, context, findings)?;
    Some((api, library))
}

fn read_library(library: &Library, context: Context<'_>, findings: &mut Diagnostics) -> Option<Api> {
    let root = library.root()?;
    findings.take(version(root))?;
    let api = Reader { library, context, unverified: BTreeMap::new(), tier: None, findings }.api(root);
    library.check_all(findings);
    api
}

/// Which of the formats that call themselves by similar names this is.
fn version(root: View<'_>) -> Result<(), Diagnostic> {
    let Some(openapi) = root.get("openapi") else {
        if let Some(swagger) = root.get("swagger") {
            let version = swagger.text().unwrap_or("2.0");
            return Err(Diagnostic::error(format!("this is a Swagger {version} definition; OpenAPI 3.0 or 3.1 is needed"))
                .at(swagger.key_place())
                .help("convert it: `npx swagger2openapi FILE -o openapi.yaml`, or Convert to OpenAPI 3 in editor.swagger.io"));
        }
        if let Some(asyncapi) = root.get("asyncapi") {
            return Err(Diagnostic::error("AsyncAPI definitions are not supported yet")
                .at(asyncapi.key_place())
                .help("give an OpenAPI 3.0 or 3.1 definition"));
        }
        return Err(Diagnostic::error("this is not an OpenAPI definition: there is no `openapi` version")
            .at(root.place())
            .help("an OpenAPI definition begins with a line such as `openapi: 3.1.0`"));
    };
    match openapi.text() {
        Some(text) if matches!(text.split('.').take(2).collect::<Vec<_>>().as_slice(), ["3", "0" | "1"]) => {
            Ok(())
        }
        text => Err(Diagnostic::error(format!("OpenAPI `{}` is not supported", text.unwrap_or("")))
            .at(openapi.place())
            .help("give an OpenAPI 3.0 or 3.1 definition")),
    }
}

impl Reader<'_> {
    fn api(&mut self, root: View<'_>) -> Option<Api> {
        let failed_before = self.findings.failed();
        self.check_root(root);
        let title = self.title(root);
        let location = self.location(root);
        let schemes = self.schemes(root);
        let access = self.api_access(root, &schemes);
        self.tier = self.tier(root);
        let operations = access.as_ref().and_then(|api| self.operations(root, &schemes, api));
        self.report_unverified();
        let cors = self.cors(root);
        let token_header = self.token_header(root);
        self.unread_extensions(root);
        let (name, version, place) = title?;
        let (base_path, backend, key_types) = location?;
        let api = Api {
            name,
            version,
            hosts: self.context.settings.defaults.host.iter().filter(|host| *host != "*").cloned().collect(),
            base_path,
            backend,
            key_types,
            is_endpoint: false,
            access: access?.effective,
            tier: self.tier.take(),
            operations: operations?,
            cors,
            timeout: self
                .context
                .settings
                .defaults
                .timeout
                .or(Some(crate::envoy::DEFAULT_TIMEOUT))
                .filter(|span| !span.duration().is_zero()),
            token_header,
            schemes: schemes.into_keys().collect(),
            place,
        };
        (failed_before || !self.findings.failed()).then_some(api)
    }

    fn title(&mut self, root: View<'_>) -> Option<(String, String, crate::source::Place)> {
        let Some(info) = root.get("info").filter(View::is_map) else {
            self.findings.push(
                Diagnostic::error("the definition has no `info`")
                    .at(root.key_place())
                    .help("add `info: {title: ..., version: ...}`"),
            );
            return None;
        };
        let mut text = |key: &str| {
            let found = info.get(key).and_then(|view| view.text());
            if found.is_none() {
                self.findings.push(
                    Diagnostic::error(format!("`info` has no `{key}`"))
                        .at(info.key_place())
                        .help(format!("add a {key}; it names the API in metrics and logs")),
                );
            }
            found
        };
        let title = text("title");
        let version = text("version");
        let place = info.get("title")?.place();
        let name = slug(title?);
        if name.is_empty() {
            self.findings.push(
                Diagnostic::error("the title holds no letter or digit, so the API has no name")
                    .at(place)
                    .help("give the API a title with words in it"),
            );
            return None;
        }
        Some((name, version?.to_owned(), place))
    }
}

#[cfg(test)]
mod tests;

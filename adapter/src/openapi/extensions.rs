//! The `x-wso2-*` extensions of Choreo Connect that are read, and a word about those that are not yet.

use enforcer_core::headers::is_token;

use crate::{
    diagnostic::Diagnostic,
    model::NamedTier,
    openapi::Reader,
    settings::{Cors, check_cors, usual_headers, usual_methods},
    source::{Place, View},
    url::base_path,
};

/// Extensions that something here reads.
const READ: [&str; 10] = [
    "x-wso2-basePath",
    PRODUCTION,
    SANDBOX,
    "x-wso2-endpoints",
    "x-wso2-auth-header",
    "x-wso2-disable-security",
    MUTUAL,
    "x-wso2-cors",
    TIER[0],
    TIER[1],
];

/// Whether callers need a client certificate.
pub(super) const MUTUAL: &str = "x-wso2-mutual-ssl";
/// Whether they need anything else.
pub(super) const APPLICATION: &str = "x-wso2-application-security";

/// Where requests with production keys go.
pub(super) const PRODUCTION: &str = "x-wso2-production-endpoints";
/// Where requests with sandbox keys go.
pub(super) const SANDBOX: &str = "x-wso2-sandbox-endpoints";

/// Where a tier is named; the first counts.
const TIER: [&str; 2] = ["x-wso2-throttling-tier", "x-throttling-tier"];

impl Reader<'_> {
    /// `x-wso2-basePath`; the inner `None` when it is there but bad.
    #[expect(clippy::option_option, reason = "outer: whether it is there; inner: whether it could be read")]
    pub(super) fn stated_base_path(&mut self, root: View<'_>) -> Option<Option<String>> {
        let stated = root.get("x-wso2-basePath")?;
        let text = stated.text().unwrap_or_default();
        match base_path(text) {
            Ok(path) if text.starts_with('/') => Some(Some(path)),
            Ok(_) | Err(_) => {
                self.findings.push(
                    Diagnostic::error(format!("`x-wso2-basePath: {text}` is not a base path"))
                        .at(stated.place())
                        .help("write it as `/store/v1`: letters, digits and `~_.-` between slashes"),
                );
                Some(None)
            }
        }
    }

    /// The URLs of one of the extensions for endpoints; the inner `None` when it is there but bad.
    #[expect(clippy::option_option, reason = "outer: whether it is there; inner: whether it could be read")]
    pub(super) fn endpoints<'v>(
        &mut self,
        root: View<'v>,
        extension: &str,
    ) -> Option<Option<Vec<(View<'v>, String)>>> {
        let stated = root.get(extension)?;
        let endpoints = match stated.text() {
            Some(reference) => self.findings.take(named_endpoints(root, stated, reference)),
            None => Some(stated),
        };
        Some(endpoints.and_then(|endpoints| self.endpoint_urls(endpoints, extension)))
    }

    fn endpoint_urls<'v>(&mut self, endpoints: View<'v>, extension: &str) -> Option<Vec<(View<'v>, String)>> {
        let kind = endpoints.get("type");
        if let Some(failover) =
            kind.filter(|kind| kind.text().is_some_and(|kind| kind.starts_with("failover")))
        {
            self.findings.push(
                Diagnostic::warning("failover is not supported yet: requests are spread over all endpoints")
                    .at(failover.place())
                    .help("list only the first endpoint if the others must stay idle"),
            );
        }
        for (key, value) in endpoints.entries().filter(|(key, _)| !matches!(*key, "urls" | "type")) {
            self.findings.push(
                Diagnostic::warning(format!(
                    "`{key}` of the endpoints is not supported yet and has no effect"
                ))
                .at(value.key_place())
                .help("make sure that the backend can be called without it"),
            );
        }
        let urls: Vec<(View<'v>, String)> = endpoints
            .get("urls")
            .into_iter()
            .flat_map(|urls| urls.items())
            .filter_map(|url| Some((url, url.text()?.to_owned())))
            .collect();
        if urls.is_empty() {
            self.findings.push(
                Diagnostic::error(format!("`{extension}` lists no `urls`"))
                    .at(endpoints.key_place())
                    .help(format!("write `{extension}: {{urls: [https://backend.example.com/v1]}}`")),
            );
            return None;
        }
        Some(urls)
    }

    /// `x-wso2-auth-header`.
    pub(super) fn token_header(&mut self, root: View<'_>) -> Option<(String, Place)> {
        let header = root.get("x-wso2-auth-header")?;
        let name = header.text().unwrap_or_default().to_ascii_lowercase();
        if is_header_name(&name) {
            return Some((name, header.place()));
        }
        self.findings.push(
            Diagnostic::error(format!("`{name}` is not a header name"))
                .at(header.place())
                .help("write it as `X-Token`: letters, digits and dashes"),
        );
        None
    }

    /// `x-wso2-throttling-tier`, else `x-throttling-tier`, of the API or an operation.
    pub(super) fn tier(&mut self, view: View<'_>) -> Option<NamedTier> {
        let stated = TIER.iter().find_map(|key| view.get(key))?;
        match stated.text().filter(|name| !name.is_empty()) {
            Some(name) => Some(NamedTier { name: name.to_owned(), place: stated.place() }),
            None => {
                self.findings.push(
                    Diagnostic::error(format!("a tier is {}, but should be a name", stated.describe()))
                        .at(stated.place())
                        .help("write one name, such as `Gold`"),
                );
                None
            }
        }
    }

    /// Says that a tier is named where none is read: of a path, or of an operation whose API has one.
    pub(super) fn ignored_tier(&mut self, view: View<'_>, because: &str) {
        if let Some(stated) = TIER.iter().find_map(|key| view.get(key)) {
            self.findings.push(
                Diagnostic::warning(format!("this tier has no effect: {because}"))
                    .at(stated.key_place())
                    .help("name it for the whole API, or for each of its operations"),
            );
        }
    }

    /// `x-wso2-cors`, else the `cors` of enforcer.yaml.
    pub(super) fn cors(&mut self, root: View<'_>) -> Option<Cors> {
        let Some(cors) = root.get("x-wso2-cors") else { return self.context.settings.cors.clone() };
        if cors.get("corsConfigurationEnabled").and_then(|flag| flag.boolean()) == Some(false) {
            return None;
        }
        let value = |name: &str| cors.get(name).or_else(|| cors.get(&dashed(name)));
        let list = |name: &str| -> Option<Vec<String>> {
            Some(value(name)?.items().filter_map(|item| item.text()).map(str::to_owned).collect())
        };
        let general = self.context.settings.cors.as_ref();
        let policy = Cors {
            allow_origins: list("accessControlAllowOrigins")
                .or_else(|| general.map(|cors| cors.allow_origins.clone()))
                .unwrap_or_default(),
            allow_methods: list("accessControlAllowMethods").unwrap_or_else(usual_methods),
            allow_headers: list("accessControlAllowHeaders").unwrap_or_else(usual_headers),
            expose_headers: list("accessControlExposeHeaders").unwrap_or_default(),
            allow_credentials: value("accessControlAllowCredentials")
                .and_then(|flag| flag.boolean())
                .unwrap_or(false),
            max_age: None,
        };
        self.findings.take(check_cors(&policy).map_err(|problem| problem.at(cors.key_place())))?;
        Some(policy)
    }

    /// Says which extensions of the API, its paths and operations have no effect.
    pub(super) fn unread_extensions(&mut self, root: View<'_>) {
        let paths = root.get("paths").into_iter().flat_map(|paths| paths.entries());
        let items = paths.filter_map(|(_, item)| self.library.resolve(item).ok());
        let nested: Vec<View<'_>> =
            items.flat_map(|item| [item].into_iter().chain(item.entries().map(|(_, view)| view))).collect();
        let mut seen = Vec::new();
        for view in [root].into_iter().chain(nested) {
            for (key, value) in view.entries() {
                let ours =
                    key.starts_with("x-wso2-") || matches!(key, "x-throttling-tier" | "x-mediation-script");
                // It says whether the certificate is enough; the rest of it has no effect.
                let read = READ.contains(&key) || (key == APPLICATION && root.get(MUTUAL).is_some());
                if ours && !read && !seen.contains(&key) {
                    seen.push(key);
                    self.findings.push(
                        Diagnostic::warning(format!("`{key}` is not supported yet and has no effect"))
                            .at(value.key_place())
                            .help("remove it, or make sure that the API is safe without it"),
                    );
                }
            }
        }
    }
}

/// `#/x-wso2-endpoints/<name>`: an entry of the list of one-key mappings.
fn named_endpoints<'v>(root: View<'v>, stated: View<'v>, reference: &str) -> Result<View<'v>, Diagnostic> {
    let lists = root.get("x-wso2-endpoints").into_iter().flat_map(|list| list.items());
    let name = reference.strip_prefix("#/x-wso2-endpoints/");
    name.and_then(|name| lists.filter_map(|entry| entry.get(name)).next()).ok_or_else(|| {
        Diagnostic::error(format!("there are no endpoints `{reference}`"))
            .at(stated.place())
            .help("define them: `x-wso2-endpoints: [{name: {urls: [...]}}]`, and refer to `#/x-wso2-endpoints/name`")
    })
}

/// `accessControlAllowOrigins` as some of Choreo Connect's own samples write it: `access-control-allow-origins`.
fn dashed(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// RFC 9110 section 5.1, in lower case.
pub(crate) fn is_header_name(name: &str) -> bool {
    is_token(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

//! `issuers`: from a line such as `issuer: https://idp.example.com` to keys and the way to them.

use std::path::{Path, PathBuf};

use enforcer_auth::{
    config::{Algorithm, Issuer},
    jwk::{KeySet, Origin},
};
use enforcer_core::units::Span;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    fetch, settings,
    source::{View, read_text},
    token::DEVELOPMENT_ISSUER,
    url::{Scheme, Url},
};

/// What resolving depends on besides the setting itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The list of issuers, to point at.
    pub list: View<'a>,
    /// Folder that key files are relative to.
    pub folder: &'a Path,
    pub ca_file: Option<&'a str>,
    /// Keys that `enforcer token` made are acceptable.
    pub development: bool,
    /// Ask issuers where their keys are. Without it, an issuer that would be asked gets an address that does not
    /// exist: good for checking, not for an output.
    pub online: bool,
    /// Hosts that may be asked over plain HTTP.
    pub plain_http: &'a [String],
}

/// Issuers as the filter is configured with them. `cluster` names the cluster that reaches a server.
pub fn resolve(
    issuers: &[settings::Issuer],
    context: Context<'_>,
    cluster: &mut impl FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) -> Vec<Issuer> {
    let mut resolved: Vec<Issuer> = Vec::new();
    for (index, issuer) in issuers.iter().enumerate() {
        let view = context.list.descend([index.to_string().as_str()]);
        if resolved.iter().any(|other| other.issuer == issuer.issuer) {
            findings.push(
                Diagnostic::error(format!("the issuer `{}` is here a second time", issuer.issuer))
                    .at(view.descend(["issuer"]).place())
                    .help("keep one of the two"),
            );
            continue;
        }
        let one = resolve_one(issuer, view, context, cluster, findings);
        resolved.extend(findings.take(one));
    }
    resolved
}

fn resolve_one(
    issuer: &settings::Issuer,
    view: View<'_>,
    context: Context<'_>,
    cluster: &mut impl FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) -> Result<Issuer, Diagnostic> {
    let place = view.descend(["issuer"]).place();
    if issuer.issuer == DEVELOPMENT_ISSUER && !context.development {
        return Err(Diagnostic::error(
            "the development issuer must not leave the machine that its key was made on",
        )
        .at(place)
        .help(
            "name your own authorization server; the demo and `enforcer token` are for trying things out",
        ));
    }
    if let Some(introspection) = &issuer.introspection {
        let url = &introspection.url;
        let server = key_server(url, context.plain_http).map_err(|problem| {
            Diagnostic::error(format!("the introspection endpoint `{url}` {problem}"))
                .at(view.descend(["introspection", "url"]).place())
                .help("give an https URL: `url: https://idp.example.com/introspect`")
        })?;
        let jwks = asked(introspection, &cluster(&server));
        return jwks.and_then(|jwks| configured(issuer, jwks)).map_err(|error| unfit(&error, view));
    }
    let jwks = match issuer.jwks.as_deref() {
        Some(url) if is_remote(url) => {
            let server = key_server(url, context.plain_http).map_err(|problem| {
                Diagnostic::error(format!("the key set's URL `{url}` {problem}"))
                    .at(view.descend(["jwks"]).place())
                    .help("give an https URL, or a file: `jwks: keys.json`")
            })?;
            remote(issuer, url, &cluster(&server))
        }
        Some(file) => {
            let path = local(file, context.folder);
            let place = view.descend(["jwks"]).place();
            let keys = KeyFile::read(&path, issuer.algorithms.as_deref()).map_err(|problem| {
                Diagnostic::error(format!("the keys in `{}` {problem}", path.display()))
                    .at(place.clone())
                    .help("give a JSON Web Key Set with public keys (`{\"keys\": [...]}`), or keys or certificates in PEM")
            })?;
            if keys.is_secret() {
                findings.push(
                    Diagnostic::warning("a shared secret goes into Envoy's configuration, readable to whoever reads that")
                        .at(place)
                        .help("keep the output as you keep the secret, or use an issuer that signs with a private key"),
                );
            }
            keys.configured()
        }
        // Stands for what only a build can find out, so that everything else can be checked.
        None if !context.online => {
            if issuer.issuer == PLACEHOLDER_ISSUER {
                findings.push(
                    Diagnostic::warning(format!(
                        "`{PLACEHOLDER_ISSUER}` stands for your authorization server"
                    ))
                    .at(place)
                    .help("write the `iss` of your tokens: the build looks its keys up by discovery"),
                );
            }
            remote(issuer, "https://unknown.invalid/jwks", "unknown")
        }
        None => {
            let url = discover(&issuer.issuer, context.ca_file).map_err(|problem| problem.at(place))?;
            let server = key_server(&url, context.plain_http).map_err(|problem| {
                Diagnostic::error(format!("the issuer names the key set `{url}`, which {problem}"))
                    .at(view.descend(["issuer"]).place())
                    .help("give the right one: `jwks: https://...`")
            })?;
            remote(issuer, &url, &cluster(&server))
        }
    };
    configured(issuer, jwks).map_err(|error| unfit(&error, view))
}

fn unfit(error: &serde_json::Error, view: View<'_>) -> Diagnostic {
    Diagnostic::error(format!("the filter cannot be configured for this issuer: {error}")).at(view.place())
}

/// Fields keep their names here too.
fn asked(introspection: &settings::Introspection, cluster: &str) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(introspection)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("cluster".to_owned(), json!(cluster));
    }
    Ok(json!({"introspection": value}))
}

/// What `init` writes where the definition names no issuer (a name of RFC 2606, which nobody can own).
pub const PLACEHOLDER_ISSUER: &str = "https://idp.example.com";

/// Settings of an issuer that are about fetching its keys.
const FETCHING: [&str; 4] = ["timeout", "refresh", "max_stale", "cooldown"];

fn remote(issuer: &settings::Issuer, url: &str, cluster: &str) -> Value {
    let spans = [issuer.timeout, issuer.refresh, issuer.max_stale, issuer.cooldown];
    json!({"remote": document(url, cluster, spans)})
}

/// A document that the filter fetches; `spans` in the order of [`FETCHING`].
pub fn document(url: &str, cluster: &str, spans: [Option<Span>; 4]) -> Value {
    let mut remote = serde_json::Map::new();
    remote.insert("cluster".to_owned(), json!(cluster));
    remote.insert("url".to_owned(), json!(url));
    for (key, span) in FETCHING.iter().zip(spans) {
        remote.extend(span.map(|span| ((*key).to_owned(), json!(span))));
    }
    Value::Object(remote)
}

/// The fields that the setting and the filter's configuration have in common keep their names and meanings, so
/// that the filter's own defaults hold for what is not said.
fn configured(issuer: &settings::Issuer, jwks: Value) -> Result<Issuer, serde_json::Error> {
    let mut value = serde_json::to_value(issuer)?;
    if let Some(map) = value.as_object_mut() {
        for key in FETCHING {
            map.shift_remove(key);
        }
        map.shift_remove("introspection");
        map.insert("jwks".to_owned(), jwks);
    }
    Issuer::deserialize(value)
}

/// The server of a key set's URL. Keys that arrive over plain HTTP could be anybody's, except on this machine, and from
/// hosts of which somebody says that the way to them is safe (`auth.plain_http`).
pub fn key_server(url: &str, plain_http: &[String]) -> Result<Url, String> {
    // A query belongs to the request, not to the server.
    let server = Url::parse(url.split('?').next().unwrap_or(url))?;
    let is_safe = || server.host.is_loopback() || plain_http.contains(&server.host.to_string());
    if server.scheme == Scheme::Http && !is_safe() {
        return Err("is not https, and keys fetched over plain HTTP can be replaced on the way".to_owned());
    }
    Ok(server)
}

/// The file that an issuer's keys are in, if they are in a file.
pub fn key_file(issuer: &settings::Issuer, folder: &Path) -> Option<PathBuf> {
    issuer.jwks.as_deref().filter(|jwks| !is_remote(jwks)).map(|file| local(file, folder))
}

fn is_remote(jwks: &str) -> bool {
    jwks.contains("://") && !jwks.starts_with("file://")
}

fn local(file: &str, folder: &Path) -> PathBuf {
    folder.join(file.strip_prefix("file://").unwrap_or(file))
}

/// What a file of keys holds.
enum KeyFile {
    Set(Value),
    Pem(String),
}

impl KeyFile {
    /// Reads a file that the filter could use.
    fn read(path: &Path, algorithms: Option<&[Algorithm]>) -> Result<Self, String> {
        let text = read_text(path).map_err(|error| format!("cannot be read: {error}"))?;
        KeySet::read(text.as_bytes(), Origin::Inline, algorithms)
            .map_err(|problem| format!("cannot be used: {problem}"))?;
        Ok(serde_json::from_str(&text).map_or(Self::Pem(text), Self::Set))
    }

    fn configured(self) -> Value {
        match self {
            Self::Set(set) => json!({"inline": set}),
            Self::Pem(text) => json!({"pem": text}),
        }
    }

    /// A symmetric key verifies and signs (RFC 7518 section 6.4).
    fn is_secret(&self) -> bool {
        let Self::Set(set) = self else { return false };
        let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten();
        keys.filter_map(|key| key.get("kty")).any(|kty| kty == "oct")
    }
}

/// The issuer's `jwks_uri`, from OpenID Connect Discovery 1.0 section 4, else from RFC 8414 section 3.
fn discover(issuer: &str, ca_file: Option<&str>) -> Result<String, Diagnostic> {
    let give = "give the key set yourself: `jwks: https://...` or a file `jwks: keys.json`";
    let server = Url::parse(issuer).map_err(|problem| {
        Diagnostic::error(format!("the keys of `{issuer}` cannot be looked up: it {problem}")).help(give)
    })?;
    if server.scheme == Scheme::Http && !server.host.is_loopback() {
        return Err(Diagnostic::error(format!(
            "the issuer `{issuer}` is not https, and what it says over plain HTTP can be replaced on the way"
        ))
        .help(give));
    }
    let path = if server.path == "/" { "" } else { &server.path };
    let oidc = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let oauth = format!("{}/.well-known/oauth-authorization-server{path}", server.origin());
    let mut problems = Vec::new();
    for url in [oidc, oauth] {
        match fetch::get(&url, ca_file).and_then(|body| metadata(&body, issuer)) {
            Ok(found) => return Ok(found),
            Err(problem) => problems.push(format!("{url}: {problem}")),
        }
    }
    Err(Diagnostic::environment(format!(
        "the issuer `{issuer}` does not say where its keys are ({})",
        problems.join("; ")
    ))
    .help(give))
}

fn metadata(body: &[u8], issuer: &str) -> Result<String, String> {
    let metadata: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON".to_owned())?;
    let text = |key| metadata.get(key).and_then(Value::as_str);
    match text("issuer") {
        // RFC 8414 section 3.3: must be identical.
        Some(stated) if stated == issuer => {}
        Some(stated) => return Err(format!("the metadata is that of `{stated}`")),
        None => return Err("the metadata names no issuer".to_owned()),
    }
    text("jwks_uri").map(str::to_owned).ok_or_else(|| "the metadata has no `jwks_uri`".to_owned())
}

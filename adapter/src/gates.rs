//! What holds for credentials that are genuine: from settings to the filter's configuration.

use std::path::{Path, PathBuf};

use enforcer_auth::config::{self, AuthConfig};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    issuers,
    settings::{ApplicationList, Auth, BackendToken},
    source::{View, read_text},
    url::Url,
};

/// Adds to the filter's configuration what the settings say. `folder` is that of the settings; `cluster` names the cluster
/// that reaches a server.
pub fn resolve(
    auth: &Auth,
    config: &mut AuthConfig,
    file: View<'_>,
    folder: &Path,
    cluster: &mut impl FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) {
    let mut gates = Gates { file, plain_http: &auth.plain_http, cluster, findings };
    if let Some(revocation) = &auth.revocation {
        let server = revocation.list.as_ref().map(|list| (&["list"][..], list.url.as_str()));
        config.revocation = gates.resolve("revocation", revocation, server);
    }
    if let Some(subscriptions) = &auth.subscriptions {
        let server = match &subscriptions.applications {
            Some(ApplicationList::Remote(document)) => {
                Some((&["applications", "remote"][..], document.url.as_str()))
            }
            Some(ApplicationList::Inline(_)) | None => None,
        };
        config.subscriptions = gates.resolve("subscriptions", subscriptions, server);
    }
    if let Some(token) = &auth.backend_token {
        config.backend_token = gates.backend_token(token, folder);
    }
    if let Some(opa) = &auth.opa {
        config.opa = gates.resolve("opa", opa, Some((&[], &opa.url)));
    }
    if let Some(xacml) = &auth.xacml {
        config.xacml = gates.resolve("xacml", xacml, Some((&[], &xacml.url)));
    }
}

/// The files that settings name.
pub fn files(auth: &Auth, folder: &Path) -> Vec<PathBuf> {
    let keys = auth.backend_token.iter().flat_map(|token| &token.keys);
    keys.flat_map(|key| [&key.file].into_iter().chain(&key.certificate))
        .map(|file| folder.join(file))
        .collect()
}

const MAKE_KEY: &str = "make a key: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
const MAKE_CERTIFICATE: &str =
    "make a certificate: `openssl req -x509 -key KEY -subj /CN=gateway`, or leave it out";

struct Gates<'a, F> {
    file: View<'a>,
    plain_http: &'a [String],
    cluster: &'a mut F,
    findings: &'a mut Diagnostics,
}

impl<F: FnMut(&Url) -> String> Gates<'_, F> {
    /// One setting in the filter's words. `server`: the path to the part of it that has a `url`, and that.
    fn resolve<T: DeserializeOwned>(
        &mut self,
        name: &str,
        setting: &impl Serialize,
        server: Option<(&[&str], &str)>,
    ) -> Option<T> {
        let mut value = serde_json::to_value(setting).ok()?;
        if let Some((path, url)) = server {
            let cluster = self.cluster(name, path, url)?;
            let part = path.iter().try_fold(&mut value, |part, step| part.get_mut(*step))?;
            part.as_object_mut()?.insert("cluster".to_owned(), Value::String(cluster));
        }
        let place = self.file.descend(["auth", name]).key_place();
        let read = T::deserialize(value)
            .map_err(|error| Diagnostic::error(format!("`{name}` cannot be understood: {error}")).at(place));
        self.findings.take(read)
    }

    /// With its keys, which are in files.
    fn backend_token(&mut self, setting: &BackendToken, folder: &Path) -> Option<config::BackendToken> {
        let mut keys = Vec::with_capacity(setting.keys.len());
        for (index, key) in setting.keys.iter().enumerate() {
            let at = index.to_string();
            let mut read = |name: &str, file: &str, help: &str| {
                let path = folder.join(file);
                let text = read_text(&path).map_err(|error| {
                    Diagnostic::error(format!("`{}` cannot be read: {error}", path.display()))
                        .at(self.file.descend(["auth", "backend_token", "keys", &at, name]).place())
                        .help(help)
                });
                self.findings.take(text)
            };
            let private_key = read("file", &key.file, MAKE_KEY)?;
            let certificate =
                key.certificate.as_ref().map(|file| read("certificate", file, MAKE_CERTIFICATE));
            let mut told = json!({"kid": key.kid, "private_key": private_key});
            if let (Some(certificate), Some(members)) = (certificate, told.as_object_mut()) {
                members.insert("certificate".to_owned(), certificate?.into());
            }
            keys.push(told);
        }
        let mut value = serde_json::to_value(setting).ok()?;
        value.as_object_mut()?.insert("keys".to_owned(), Value::Array(keys));
        self.resolve("backend_token", &value, None)
    }

    fn cluster(&mut self, name: &str, path: &[&str], url: &str) -> Option<String> {
        let server = issuers::key_server(url, self.plain_http).map_err(|problem| {
            let steps = ["auth", name].into_iter().chain(path.iter().copied()).chain(["url"]);
            Diagnostic::error(format!("the address `{url}` {problem}"))
                .at(self.file.descend(steps).place())
                .help("give an https URL, or name the host in `auth: {plain_http: [...]}` if the way to it is safe")
        });
        self.findings.take(server).map(|server| (self.cluster)(&server))
    }
}

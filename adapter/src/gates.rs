//! What holds for credentials that are genuine: from settings to the filter's configuration.

use enforcer_auth::config::AuthConfig;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    issuers,
    settings::Auth,
    source::View,
    url::Url,
};

/// Adds to the filter's configuration what the settings say. `cluster` names the cluster that reaches a server.
pub fn resolve(
    auth: &Auth,
    config: &mut AuthConfig,
    file: View<'_>,
    cluster: &mut impl FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) {
    let mut gates = Gates { file, cluster, findings };
    if let Some(revocation) = &auth.revocation {
        let server = revocation.list.as_ref().map(|list| (&["list"][..], list.url.as_str()));
        config.revocation = gates.resolve("revocation", revocation, server);
    }
}

struct Gates<'a, F> {
    file: View<'a>,
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

    fn cluster(&mut self, name: &str, path: &[&str], url: &str) -> Option<String> {
        let server = issuers::key_server(url).map_err(|problem| {
            let steps = ["auth", name].into_iter().chain(path.iter().copied()).chain(["url"]);
            Diagnostic::error(format!("the address `{url}` {problem}"))
                .at(self.file.descend(steps).place())
                .help("give an https URL")
        });
        self.findings.take(server).map(|server| (self.cluster)(&server))
    }
}

//! An issuer's own endpoints at the gateway: `/token`, `/authorize` and others, passed through to the issuer.
//!
//! Each is an API of its own, with one path that everybody may call: who calls, and as which client, the issuer decides.

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    issuers,
    model::{Access, Api, Backend, KeyTypes, Operation},
    settings::{Endpoints, Settings},
    source::View,
    url::base_path,
};

/// The endpoints of all issuers.
pub fn apis(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) -> Vec<Api> {
    let mut apis = Vec::new();
    for (index, issuer) in settings.issuers.iter().enumerate() {
        if let Some(endpoints) = &issuer.endpoints {
            let view = file.descend(["issuers", index.to_string().as_str(), "endpoints"]);
            apis.extend(of_issuer(endpoints, settings, view, findings));
        }
    }
    apis
}

fn of_issuer(
    endpoints: &Endpoints,
    settings: &Settings,
    view: View<'_>,
    findings: &mut Diagnostics,
) -> Vec<Api> {
    let base = base_path(&endpoints.base_path).map_err(|problem| {
        Diagnostic::error(format!("`{}` {problem}", endpoints.base_path))
            .at(view.descend(["base_path"]).place())
            .help("write it as `/oauth2`")
    });
    let Some(base) = findings.take(base) else { return Vec::new() };
    let mut apis = Vec::new();
    for (name, url, methods) in endpoints.named() {
        let place = view.descend([name]).place();
        let server = issuers::key_server(url, &settings.auth.plain_http).map_err(|problem| {
            Diagnostic::error(format!("the endpoint `{url}` {problem}"))
                .at(place.clone())
                .help("give an https URL: `token: https://idp.example.com/oauth2/token`")
        });
        let Some(server) = findings.take(server) else { continue };
        let operation = |method: &&str| Operation {
            id: format!("{} {name}", method.to_ascii_lowercase()),
            method: (*method).to_owned(),
            template: "/".to_owned(),
            access: None,
            tier: None,
            place: place.clone(),
        };
        apis.push(Api {
            name: "oauth2".to_owned(),
            version: name.to_owned(),
            hosts: settings.defaults.host.iter().filter(|host| *host != "*").cloned().collect(),
            base_path: format!("{}/{name}", base.trim_end_matches('/')),
            backend: Backend { servers: vec![server] },
            key_types: KeyTypes::All,
            is_endpoint: true,
            access: Access::open(),
            tier: None,
            operations: methods.iter().map(operation).collect(),
            cors: settings.cors.clone(),
            timeout: Some(settings.defaults.timeout.unwrap_or(crate::envoy::DEFAULT_TIMEOUT))
                .filter(|span| !span.duration().is_zero()),
            token_header: None,
            schemes: Vec::new(),
            place,
        });
    }
    apis
}

impl Endpoints {
    /// Those that there are: what they are called at the gateway, where they are, and the methods that their
    /// specifications give them.
    fn named(&self) -> impl Iterator<Item = (&'static str, &str, &'static [&'static str])> {
        let all: [(_, &Option<String>, &[&str]); 7] = [
            ("authorize", &self.authorize, &["GET", "POST"]),
            ("device", &self.device, &["POST"]),
            ("introspect", &self.introspect, &["POST"]),
            ("jwks", &self.jwks, &["GET"]),
            ("revoke", &self.revoke, &["POST"]),
            ("token", &self.token, &["POST"]),
            ("userinfo", &self.userinfo, &["GET", "POST"]),
        ];
        all.into_iter().filter_map(|(name, url, methods)| Some((name, url.as_deref()?, methods)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        settings,
        source::{Source, parse},
    };

    fn read(endpoints: &str) -> (Vec<Api>, Vec<String>) {
        let mut findings = Diagnostics::default();
        let text = format!("issuers: [{{issuer: https://idp.example.com, endpoints: {endpoints}}}]\n");
        let document = parse(&Source::new("enforcer.yaml", &*text)).unwrap();
        let settings = settings::settings(&document, &mut findings).unwrap();
        let apis = apis(&settings, document.view(), &mut findings);
        (apis, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_endpoint_is_an_api_that_everybody_may_call() {
        let (apis, findings) = read(
            "{base_path: /oauth2, token: https://idp.example.com/t/token, jwks: https://keys.example.com/}",
        );
        assert_eq!(findings, [""; 0]);
        let seen: Vec<_> = apis
            .iter()
            .map(|api| {
                (&*api.base_path, api.backend.servers[0].to_string(), api.operations[0].method.as_str())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("/oauth2/jwks", "https://keys.example.com".to_owned(), "GET"),
                ("/oauth2/token", "https://idp.example.com/t/token".to_owned(), "POST")
            ]
        );
        assert!(apis.iter().all(|api| api.access == Access::open()));
        let (apis, _) = read("{token: https://idp.example.com/token}");
        assert_eq!(apis[0].base_path, "/token");
    }

    #[test]
    fn what_goes_over_plain_http_is_refused() {
        let (apis, findings) = read("{token: 'http://idp.example.com/token'}");
        assert!(
            apis.is_empty() && findings[0].contains("`http://idp.example.com/token` is not https"),
            "{findings:?}"
        );
        let (apis, findings) = read("{base_path: 'a b', token: https://idp.example.com/token}");
        assert!(apis.is_empty() && findings[0].contains("`a b`"), "{findings:?}");
    }
}

//! `servers`: where the API is at the gateway, and where its requests go.

use crate::{
    diagnostic::Diagnostic,
    model::{Backend, KeyTypes},
    openapi::{
        Reader,
        extensions::{PRODUCTION, SANDBOX},
    },
    source::View,
    url::{Scheme, Url, base_path},
};

impl Reader<'_> {
    /// The gateway's base path, the backend, and which keys it is for.
    ///
    /// The base path is `x-wso2-basePath`, else the path of the servers, else that of the endpoints. Backends
    /// are `defaults.backend`, else `x-wso2-production-endpoints`, else the servers, else `x-wso2-sandbox-endpoints`.
    pub(super) fn location(&mut self, root: View<'_>) -> Option<(String, Backend, KeyTypes)> {
        let stated = self.stated_base_path(root);
        let production = self.endpoints(root, PRODUCTION);
        let sandbox = self.endpoints(root, SANDBOX);
        let servers: Vec<View<'_>> =
            root.get("servers").into_iter().flat_map(|servers| servers.items()).collect();
        let urls: Vec<(View<'_>, String)> =
            servers.iter().filter_map(|server| Some((*server, self.expand(*server)?))).collect();
        if urls.len() != servers.len() {
            return None;
        }
        let path = match stated {
            Some(stated) => Some(stated?),
            None => self.servers_path(&urls)?,
        };
        let sandbox = match sandbox {
            Some(endpoints) => Some(self.group(&endpoints?)?),
            None => None,
        };
        let has_server = urls.iter().any(|(_, text)| text.contains("://"));
        let (backend, key_types) = match (self.context.backend, production, sandbox) {
            (Some(url), ..) => (self.overridden(url, path.as_deref()), KeyTypes::All),
            (None, Some(endpoints), sandbox) => {
                (self.group(&endpoints?)?, sandbox.map_or(KeyTypes::Production, KeyTypes::Both))
            }
            (None, None, Some(sandbox)) if has_server => {
                (self.backend_of(root, &urls)?, KeyTypes::Both(sandbox))
            }
            (None, None, Some(sandbox)) => (sandbox, KeyTypes::Sandbox),
            (None, None, None) => (self.backend_of(root, &urls)?, KeyTypes::All),
        };
        Some((path.unwrap_or_else(|| backend.base_path().to_owned()), backend, key_types))
    }

    /// `defaults.backend` says where; the path at the backend stays that of the API unless it says that too.
    fn overridden(&self, url: &Url, path: Option<&str>) -> Backend {
        let mut server = url.clone();
        if server.path == "/" {
            path.unwrap_or("/").clone_into(&mut server.path);
        }
        Backend { servers: vec![server] }
    }

    /// The server's URL with its variables replaced by their defaults (OpenAPI 3.1, Server Variable Object).
    fn expand(&mut self, server: View<'_>) -> Option<String> {
        let Some(url) = server.get("url").and_then(|url| Some((url, url.text()?))) else {
            self.findings.push(
                Diagnostic::error("this server has no `url`")
                    .at(server.place())
                    .help("add `url: https://...`"),
            );
            return None;
        };
        let (url, text) = url;
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                self.findings.push(
                    Diagnostic::error(format!("the URL `{text}` has a `{{` without a `}}`"))
                        .at(url.place())
                        .help("close the variable: `{name}`"),
                );
                return None;
            };
            let default = server.descend(["variables", name, "default"]);
            let known =
                server.get("variables").and_then(|all| all.get(name)).and_then(|one| one.get("default"));
            let Some(value) = known.and_then(|_| default.text()) else {
                self.findings.push(
                    Diagnostic::error(format!("the variable `{name}` of this server has no default"))
                        .at(url.place())
                        .help(format!("add `variables: {{{name}: {{default: ...}}}}` to the server")),
                );
                return None;
            };
            out.push_str(value);
            rest = tail;
        }
        out.push_str(rest);
        Some(out)
    }

    /// The path that the first server has, absolute or relative; `None` inside when there are no servers.
    #[expect(clippy::option_option, reason = "outer: whether it could be read; inner: whether it is there")]
    fn servers_path(&mut self, urls: &[(View<'_>, String)]) -> Option<Option<String>> {
        let Some((view, text)) = urls.first() else { return Some(None) };
        let path = if text.contains("://") {
            Url::parse(text).map(|url| url.path)
        } else if text.starts_with("//") {
            Err("has no scheme; begin it with `https:`".to_owned())
        } else if text.starts_with('/') || text.is_empty() {
            base_path(text)
        } else {
            // `v1` or `./v1`: relative to where the definition was served from, which nobody knows any more.
            Err("is relative to the definition's own address, which is not known".to_owned())
        };
        match path {
            Ok(path) => Some(Some(path)),
            Err(problem) => {
                self.findings.push(bad_url(*view, text, &problem));
                None
            }
        }
    }

    fn backend_of(&mut self, root: View<'_>, urls: &[(View<'_>, String)]) -> Option<Backend> {
        let absolute: Vec<(View<'_>, String)> =
            urls.iter().filter(|(_, text)| text.contains("://")).cloned().collect();
        if absolute.is_empty() && !self.context.routed {
            return Some(Backend { servers: Vec::new() });
        }
        if absolute.is_empty() {
            let (place, problem) = match urls.first() {
                Some((view, text)) => (view.place(), format!("the server `{text}` names no host")),
                None => (root.key_place(), "the definition does not say where its backend is".to_owned()),
            };
            self.findings.push(Diagnostic::error(problem).at(place).help(
                "give a full URL under `servers`, or set `defaults: {backend: http://localhost:3000}` in enforcer.yaml",
            ));
            return None;
        }
        self.first(&absolute)
    }

    /// The first server. Others are other environments as a rule (test, staging), which callers of this one must
    /// not reach.
    fn first(&mut self, urls: &[(View<'_>, String)]) -> Option<Backend> {
        let parsed = self.parsed(urls)?;
        let (_, first) = parsed.first()?;
        // `http://x` beside `https://x` is one server; the safer way to it is taken.
        let secure = parsed
            .iter()
            .map(|(_, url)| url)
            .find(|url| url.scheme == Scheme::Https && url.host == first.host && url.path == first.path);
        let server = secure.unwrap_or(first).clone();
        for (view, url) in parsed.iter().filter(|(_, url)| url.host != server.host || url.path != server.path)
        {
            self.findings.push(
                Diagnostic::warning(format!("the server `{url}` is not used: requests go to `{server}`"))
                    .at(view.place())
                    .help(
                        "remove it if it is another environment; to spread requests over several servers, list them in \
                         `x-wso2-production-endpoints`",
                    ),
            );
        }
        Some(Backend { servers: vec![server] })
    }

    fn parsed<'v>(&mut self, urls: &[(View<'v>, String)]) -> Option<Vec<(View<'v>, Url)>> {
        let mut parsed = Vec::new();
        for (view, text) in urls {
            match Url::parse(text) {
                Ok(url) => parsed.push((*view, url)),
                Err(problem) => self.findings.push(bad_url(*view, text, &problem)),
            }
        }
        (parsed.len() == urls.len()).then_some(parsed)
    }

    /// The endpoints that can stand for each other: same scheme, same path.
    fn group(&mut self, urls: &[(View<'_>, String)]) -> Option<Backend> {
        let parsed = self.parsed(urls)?;
        let (_, first) = parsed.first()?;
        let model = first.clone();
        let mut servers: Vec<Url> = Vec::new();
        for (view, url) in &parsed {
            if url.scheme == model.scheme && url.path == model.path {
                if !servers.contains(url) {
                    servers.push(url.clone());
                }
            } else {
                self.findings.push(
                    Diagnostic::warning(format!(
                        "the endpoint `{url}` is not used: scheme or path differ from `{model}`"
                    ))
                    .at(view.place())
                    .help("give all endpoints the same scheme and path, or remove this one"),
                );
            }
        }
        Some(Backend { servers })
    }
}

pub(super) fn bad_url(view: View<'_>, text: &str, problem: &str) -> Diagnostic {
    Diagnostic::error(format!("the URL `{text}` {problem}"))
        .at(view.get("url").unwrap_or(view).place())
        .help("write it as `https://api.example.com/v1`")
}

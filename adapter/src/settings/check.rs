//! What types cannot say about `enforcer.yaml`.

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_auth::config::TokenSource;
use enforcer_core::headers::is_token;

use super::{Cors, Settings};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    openapi::is_header_name,
    source::View,
    url::{Url, is_host_name},
};

/// Reports values that are well formed and still cannot work. `file` is what the settings were read from.
pub fn check(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    listeners(settings, file, findings);
    empty(settings, file, findings);
    headers(settings, file, findings);
    token_sources(settings, file, findings);
    lifetimes(settings, file, findings);
    keys(settings, file, findings);
    keys_or_questions(settings, file, findings);
    if let Some(cors) = &settings.cors {
        findings.take(check_cors(cors).map_err(|problem| problem.at(file.descend(["cors"]).key_place())));
    }
    let bad = |host: &&str| *host != "*" && !is_host_name(host.strip_prefix("*.").unwrap_or(host));
    if let Some(host) = settings.defaults.host.as_deref().filter(bad) {
        findings.push(
            Diagnostic::error(format!("`{host}` is not a host name"))
                .at(file.descend(["defaults", "host"]).place())
                .help("write `api.example.com`, `*.example.com`, or `*` for any"),
        );
    }
}

fn listeners(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    if let Some(list) = file.get("listeners").filter(|list| list.is_list() && settings.listeners.is_empty()) {
        findings.push(
            Diagnostic::error("there is no listener, so that nothing could be called")
                .at(list.place())
                .help("add one (`listeners: [{port: 8080}]`), or remove the key for `0.0.0.0:8080`"),
        );
    }
    let admin = settings.defaults.admin.clone().unwrap_or_default();
    let mut taken = BTreeSet::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let view = file.descend(["listeners", index.to_string().as_str()]);
        let address = listener.address.parse::<IpAddr>().ok();
        if address.is_none() {
            findings.push(
                Diagnostic::error(format!("`{}` is not an IP address", listener.address))
                    .at(view.descend(["address"]).place())
                    .help("write `0.0.0.0` for every IPv4 address of the machine, or `::` for every address"),
            );
        }
        if address.is_some_and(|address| !taken.insert((address, listener.port))) {
            findings.push(
                Diagnostic::error(format!(
                    "the port {} of `{}` is taken by another listener",
                    listener.port, listener.address
                ))
                .at(view.descend(["port"]).place())
                .help("give each listener an address or port of its own"),
            );
        }
        let meets = |address: IpAddr, other: IpAddr| {
            address == other || address.is_unspecified() || other.is_unspecified()
        };
        let meets_admin = |address| admin.address.parse().is_ok_and(|other| meets(address, other));
        if listener.port != 0 && listener.port == admin.port && address.is_some_and(meets_admin) {
            findings.push(
                Diagnostic::error(format!("the port {} is that of Envoy's admin interface", listener.port))
                    .at(view.descend(["port"]).place())
                    .help("give the listener another, or the interface: `defaults: {admin: {port: 9902}}`"),
            );
        }
        if let Some(tls) =
            listener.tls.as_ref().filter(|tls| tls.client_certificate.is_some() && tls.client_ca.is_none())
        {
            let key = view.descend(["tls", "client_certificate"]);
            findings.push(
                Diagnostic::error("client certificates cannot be verified without `client_ca`")
                    .at(key.key_place())
                    .help(format!(
                        "add the file with their roots beside `certificate: {}`: `client_ca: ca.crt`",
                        tls.certificate
                    )),
            );
        }
    }
}

/// What Envoy would refuse, or take for something else.
fn empty(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    let mut paths =
        vec![vec!["defaults", "access_log"], vec!["defaults", "modules"], vec!["defaults", "ca_file"]];
    let numbers: Vec<String> = (0..settings.listeners.len()).map(|index| index.to_string()).collect();
    for number in &numbers {
        let fields = ["certificate", "key", "client_ca"];
        paths.extend(fields.map(|field| vec!["listeners", number.as_str(), "tls", field]));
    }
    for path in paths {
        let view = file.descend(path.iter().copied());
        if view.text() == Some("") {
            let field = path.last().copied().unwrap_or_default();
            findings.push(
                Diagnostic::error(format!("`{field}` names no file"))
                    .at(view.place())
                    .help("write its path as Envoy sees it, or remove the key"),
            );
        }
    }
    if settings.defaults.connect_timeout.is_some_and(|time| time.duration().is_zero()) {
        findings.push(
            Diagnostic::error("no connection is made in no time")
                .at(file.descend(["defaults", "connect_timeout"]).place())
                .help("write how long a connection may take: `connect_timeout: 5s`"),
        );
    }
}

/// Headers that route or frame a request (RFC 9110, sections 7.2, 7.6.1 and 7.8; RFC 9112, section 6).
const FRAMING: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"];

fn headers(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    let check = |name: &str, path: &[&str], findings: &mut Diagnostics| {
        if !is_header_name(name) {
            findings.push(
                Diagnostic::error(format!("`{name}` is not the name of a header in lower case"))
                    .at(file.descend(path.iter().copied()).place())
                    .help("write it as `x-user`: lower-case letters, digits and dashes"),
            );
        }
    };
    for (number, issuer) in settings.issuers.iter().enumerate() {
        let number = number.to_string();
        for (position, mapping) in issuer.claim_headers.iter().enumerate() {
            let position = position.to_string();
            let path = ["issuers", &number, "claim_headers", &position, "header"];
            check(&mapping.header, &path, findings);
            if FRAMING.contains(&mapping.header.as_str()) {
                findings.push(
                    Diagnostic::error(format!(
                        "`{}` says how the request is sent, so that a claim cannot go there",
                        mapping.header
                    ))
                    .at(file.descend(path).place())
                    .help("choose a header that only the backend reads, such as `x-user`"),
                );
            }
        }
    }
}

fn token_sources(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    for (index, source) in settings.auth.token_sources.iter().flatten().enumerate() {
        if let TokenSource::Query(name) = source {
            findings.push(
                Diagnostic::warning(format!(
                    "a token in the query parameter `{name}` ends up in logs and browser histories, from where \
                     others can use it"
                ))
                .at(file.descend(["auth", "token_sources", index.to_string().as_str()]).place())
                .help("take it from a header or cookie where callers can send one (RFC 9700, section 4.3.2)"),
            );
        }
    }
}

/// Tokens that never end.
fn lifetimes(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    for (index, issuer) in settings.issuers.iter().enumerate() {
        if issuer.require_exp == Some(false) && issuer.max_age.is_none() {
            let place = file.descend(["issuers", index.to_string().as_str(), "require_exp"]);
            findings.push(
                Diagnostic::warning("a token without `exp` is good for ever, also in the hands of a thief")
                    .at(place.key_place())
                    .help("let its age end it: `max_age: 24h` beside this"),
            );
        }
    }
}

/// An issuer has keys, or is asked.
fn keys_or_questions(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    for (index, issuer) in settings.issuers.iter().enumerate() {
        if issuer.introspection.is_some() && issuer.jwks.is_some() {
            let place = file.descend(["issuers", index.to_string().as_str(), "introspection"]);
            findings.push(
                Diagnostic::error("the issuer has a `jwks` and is asked about tokens too")
                    .at(place.key_place())
                    .help("keep `jwks` for tokens that are JWTs, or `introspection` for any"),
            );
        }
    }
}

/// Keys are listed in one place.
fn keys(settings: &Settings, file: View<'_>, findings: &mut Diagnostics) {
    let Some(keys) = &settings.keys else { return };
    let listed = keys.list.is_some() || keys.url.is_some();
    let (problem, help) = match (&keys.list, &keys.url, &keys.hash_key) {
        (Some(_), Some(_), _) => {
            ("API keys are in a `list` and at a `url`: it cannot be said which counts", "keep one of the two")
        }
        (None, None, _) if keys.issuers.is_empty() => (
            "nothing says which API keys there are",
            "give `list: [{hash: ..., consumer: ...}]`, `url: https://portal.example.com/keys`, or `issuers` that sign them",
        ),
        (_, _, None) if listed => (
            "API keys are listed by their hashes, and `hash_key` is missing",
            "add the key of the hash: `openssl rand -hex 32` makes one",
        ),
        _ => return,
    };
    let place = file.descend(["keys"]).key_place();
    findings.push(Diagnostic::error(problem).at(place).help(help));
}

/// Fetch Standard, section 3.3.5: a credentialed answer must not be for everybody. Envoy would name each
/// caller's origin instead, which browsers cannot tell from permission.
pub(crate) fn check_cors(cors: &Cors) -> Result<(), Diagnostic> {
    if cors.allow_origins.is_empty() {
        return Err(Diagnostic::error("no origin is allowed, so that the policy does nothing")
            .help("list the origins that may call: `allow_origins: [\"https://app.example.com\"]`"));
    }
    for origin in &cors.allow_origins {
        check_origin(origin)?;
    }
    // They go into headers of answers as they are, where a line break would begin another header.
    let names = [&cors.allow_methods, &cors.allow_headers, &cors.expose_headers];
    if let Some(bad) = names.into_iter().flatten().find(|name| !is_token(name)) {
        return Err(Diagnostic::error(format!("`{}` is no name of a method or header", bad.escape_debug()))
            .help("write one name an entry, such as `GET` or `x-request-id`, or `*`"));
    }
    if cors.allow_credentials && cors.allow_origins.iter().any(|origin| origin == "*") {
        return Err(Diagnostic::error(
            "every origin may call with the user's cookies: `*` together with credentials",
        )
        .help("list the origins that may, or leave out the credentials"));
    }
    Ok(())
}

/// Envoy compares the `Origin` header byte for byte, so that only what browsers send can match: scheme, host
/// in lower case, and a port that is not the scheme's own (RFC 6454, section 6.2). `*` stands for labels before
/// a name; anywhere else it would admit hosts of other people.
fn check_origin(origin: &str) -> Result<(), Diagnostic> {
    let literal = origin.replacen("://*.", "://", 1);
    if origin == "*" || Url::parse(&literal).is_ok_and(|url| url.origin() == literal) {
        return Ok(());
    }
    Err(Diagnostic::error(format!("`{origin}` is not an origin that browsers send"))
        .help("write `https://app.example.com` or `https://*.example.com`, with `:port` if it is not the usual one, or `*`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Source, parse};

    fn findings(text: &str) -> Vec<String> {
        let document = parse(&Source::new("enforcer.yaml", text)).unwrap();
        let mut findings = Diagnostics::default();
        super::super::settings(&document, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn origins_are_those_that_browsers_send() {
        for origin in [
            "*",
            "https://a.com",
            "http://localhost:3000",
            "https://*.a.com",
            "https://*.a.com:8443",
            "http://[::1]:81",
        ] {
            assert!(check_origin(origin).is_ok(), "{origin}");
        }
        for origin in [
            "null",
            "",
            "a.com",
            "ftp://x",
            "https://a.com/",
            "https://a.com/x",
            "https://A.com",
            "https://a.com:443",
            "https://u@a.com",
            "https://*",
            "https://*a.com",
            "https://a*.com",
            "https://a.*.com",
            "https://*.*.com",
            "https://a.com:*",
            "*://a.com",
            "https://*.",
            "https://",
        ] {
            assert!(check_origin(origin).is_err(), "{origin}");
        }
    }

    #[test]
    fn listeners_are_some_and_distinct() {
        assert!(findings("listeners: []\n")[0].contains("no listener"));
        assert_eq!(
            findings("listeners: [{address: 127.0.0.1, port: 80}, {address: 127.0.0.2, port: 80}]\n").len(),
            0
        );
        assert!(
            findings("listeners: [{address: '::', port: 80}, {address: '0:0::', port: 80}]\n")[0]
                .contains("taken")
        );
    }

    #[test]
    fn what_weakens_tokens_is_said() {
        let one = |text: &str, expected: &str| {
            let found = findings(text);
            assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
        };
        one(
            "auth: {token_sources: [{cookie: session}, {query: access_token}]}\n",
            "`access_token` ends up in logs",
        );
        one("issuers: [{issuer: a, require_exp: false}]\n", "good for ever");
        assert_eq!(findings("issuers: [{issuer: a, require_exp: false, max_age: 1h}]\n").len(), 0);
        assert_eq!(findings("auth: {token_sources: [{header: {name: x-token, scheme: ''}}]}\n").len(), 0);
    }

    #[test]
    fn keys_are_listed_in_one_place() {
        let found = |rest: &str| findings(&format!("keys: {{hash_key: a{rest}}}\n"));
        assert_eq!(found(", list: []").len(), 0);
        assert_eq!(findings("keys: {issuers: [{issuer: a, require_exp: false}]}\n").len(), 0);
        assert!(findings("keys: {list: []}\n")[0].contains("`hash_key` is missing"));
        assert_eq!(found(", url: 'https://a.example.com'").len(), 0);
        assert!(found(", list: [], url: 'https://a.example.com'")[0].contains("which counts"));
        assert!(found("")[0].contains("nothing says which API keys there are"));
    }

    #[test]
    fn an_issuer_has_keys_or_is_asked() {
        let found = |rest: &str| {
            let introspection = "introspection: {url: 'https://a.example.com', client: {bearer: b}}";
            findings(&format!("issuers: [{{issuer: a, {introspection}{rest}}}]\n"))
        };
        assert_eq!(found("").len(), 0);
        assert!(found(", jwks: keys.json")[0].contains("asked about tokens too"));
    }

    #[test]
    fn claims_do_not_go_into_headers_of_the_connection() {
        for header in ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", ":path"]
        {
            let text =
                format!("issuers: [{{issuer: a, claim_headers: [{{claim: sub, header: '{header}'}}]}}]\n");
            assert_eq!(findings(&text).len(), 1, "{header}");
        }
        assert_eq!(
            findings("issuers: [{issuer: a, claim_headers: [{claim: sub, header: x-user}]}]\n").len(),
            0
        );
    }

    #[test]
    fn cors_lists_hold_names_and_nothing_else() {
        for (list, bad) in
            [("allow_methods", r"GET\r\nSet-Cookie: a=b"), ("expose_headers", "a b"), ("allow_headers", "")]
        {
            let found =
                findings(&format!("cors: {{allow_origins: ['https://a.example'], {list}: [\"{bad}\"]}}"));
            assert!(
                found.iter().any(|finding| finding.contains("is no name of a method or header")),
                "{found:?}"
            );
        }
        let good =
            "cors: {allow_origins: ['https://a.example'], allow_methods: [GET, '*'], allow_headers: [X-A]}";
        assert_eq!(findings(good), Vec::<String>::new());
    }

    #[test]
    fn what_envoy_would_refuse_is_named() {
        let found = findings(
            "defaults: {access_log: '', modules: '', connect_timeout: 0s}\n\
             listeners: [{port: 8443, tls: {certificate: '', key: k}}]\n",
        );
        assert_eq!(found.len(), 4, "{found:?}");
    }
}

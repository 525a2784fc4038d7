//! What kgateway, or an API server, would not take: found here, not when half of it is applied.

use enforcer_ratelimit::config::Part;

use super::{Release, patience};
use crate::{
    certificates,
    diagnostic::Diagnostic,
    gateway::Gateway,
    model::{Api, KeyTypes},
    url::{Host, Scheme, Url},
};

/// The first of them.
pub(super) fn check(gateway: &Gateway, release: Release) -> Result<(), Diagnostic> {
    gateway.model.apis.iter().try_for_each(api)?;
    if gateway.native_limits.is_some() {
        return Err(Diagnostic::error("kgateway's Envoy has no filter for `limits.native`")
            .help("leave out `limits.native`: the server counts then"));
    }
    if let Some(file) = &gateway.settings.defaults.ca_file {
        return Err(Diagnostic::error(format!("`defaults.ca_file`: there is no `{file}` in the server's pod")).help(
            "leave it out: the server has the system's roots; for others, make an image of your own from ours, with them in \
             /etc/ssl/certs/ca-certificates.crt",
        ));
    }
    let timeout = patience::message_timeout(gateway);
    if timeout > patience::LONGEST {
        let text = format!("requests may wait for {timeout} in the server, and Envoy waits an hour at most");
        return Err(Diagnostic::error(text).help("shorten the timeouts of what the filters ask"));
    }
    if release == Release::V2_3 { connections(gateway) } else { Ok(()) }
}

fn api(api: &Api) -> Result<(), Diagnostic> {
    let refused = |problem: String, help: &str| {
        Err(Diagnostic::error(problem).at(api.place.clone()).help(help.to_owned()))
    };
    if matches!(api.key_types, KeyTypes::Both(_)) {
        return refused(
            "the target `kgateway` has no routes to sandboxes".to_owned(),
            "leave `x-wso2-sandbox-endpoints` out, or give the sandbox a definition of its own",
        );
    }
    let same = |pair: &[Url]| matches!(pair, [a, b] if a.scheme != Scheme::Https || a.host == b.host);
    if !api.backend.servers.windows(2).all(same) {
        return refused(
            "the servers of one API have several names, and kgateway verifies one of them".to_owned(),
            "name one server, whose address has all of them, or speak plain HTTP inside the cluster",
        );
    }
    let secure = api.backend.servers.iter().filter(|server| server.scheme == Scheme::Https);
    if let Some(server) = secure.map(|server| &server.host).find(|host| !is_dns_name(host)) {
        return refused(
            format!("a BackendTLSPolicy cannot verify `{server}`: it is no name of DNS"),
            "give the server a name of letters, digits, `-` and `.`, or speak plain HTTP inside the cluster",
        );
    }
    let method =
        api.cors.as_ref().and_then(|cors| cors.allow_methods.iter().find(|method| !is_known(method)));
    match method {
        Some(method) => refused(
            format!("`cors`: the Gateway API knows no method `{method}`"),
            "leave it out of `allow_methods`, or allow all of them with `*`",
        ),
        None => Ok(()),
    }
}

/// What a TLS policy takes for a hostname.
fn is_dns_name(host: &Host) -> bool {
    let Host::Name(name) = host else { return false };
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// `HTTPMethodWithWildcard` of the Gateway API.
fn is_known(method: &str) -> bool {
    const KNOWN: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];
    KNOWN.contains(&method.to_ascii_uppercase().as_str())
}

/// The release tells the server nothing of the client's connection: whoever is counted by it would share one limit with
/// everybody.
fn connections(gateway: &Gateway) -> Result<(), Diagnostic> {
    let refused = |problem: String| {
        let help = "use kgateway 2.4, whose `requestAttributes` tell it (`-t kgateway@2.4`), or leave it out";
        Err(Diagnostic::error(format!("kgateway 2.3 does not tell the server {problem}")).help(help))
    };
    let policies = gateway.ratelimit.iter().flat_map(|limits| &limits.policies);
    if let Some(policy) = policies.into_iter().find(|policy| policy.key.contains(&Part::ClientIp)) {
        return refused(format!("the client's address, by which the limit `{}` counts", policy.name));
    }
    if certificates::are_asked_for(&gateway.auth) {
        return refused("the client's certificate".to_owned());
    }
    Ok(())
}

//! `keys`: from the definitions' `apiKey` schemes and the list in enforcer.yaml to the filter's API keys.

use std::collections::BTreeSet;

use enforcer_auth::config::{
    ApiKeyList, ApiKeyScheme, ApiKeys, Issuer, KeySource, KeyType, ListedKeys, RemoteDocument,
};
use serde::Deserialize as _;

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    issuers,
    model::ApiModel,
    settings::Keys,
    source::View,
    url::Url,
};

/// The filter's name for a place, which is a scheme of its own, whatever definitions call it.
pub fn scheme_name(source: &KeySource) -> String {
    match source {
        KeySource::Header(name) => format!("header {name}"),
        KeySource::Query(name) => format!("query {name}"),
        KeySource::Cookie(name) => format!("cookie {name}"),
    }
}

/// API keys as the filter is configured with them. `signed`: who signs some of them; `cluster` names the cluster that
/// reaches a server.
pub fn resolve(
    (keys, signed): (&Keys, Vec<Issuer>),
    model: &ApiModel,
    file: View<'_>,
    plain_http: &[String],
    cluster: &mut impl FnMut(&Url) -> String,
    findings: &mut Diagnostics,
) -> Option<ApiKeys> {
    let ways = model.ways();
    let places: BTreeSet<&KeySource> = ways.flat_map(|way| &way.keys).collect();
    if places.is_empty() {
        findings.push(
            Diagnostic::warning("no operation asks for an API key")
                .at(file.descend(["keys"]).key_place())
                .help(
                    "ask for one in a definition, by a security scheme of `type: apiKey`; or remove the keys",
                ),
        );
        return None;
    }
    for place in &places {
        if let KeySource::Query(name) = place {
            findings.push(
                Diagnostic::warning(format!(
                    "API keys in the query parameter `{name}` end up in logs and browser histories, from where others \
                     can use them"
                ))
                .at(file.descend(["keys"]).key_place())
                .help("take them from a header where callers can send one: `in: header` in the definition"),
            );
        }
    }
    let scheme = |place: &&KeySource| ApiKeyScheme {
        name: scheme_name(place),
        sources: vec![KeySource::clone(place)],
        token_type: KeyType::ApiKey,
    };
    let list = match (&keys.list, &keys.url) {
        (Some(list), _) => Some(ApiKeyList::Inline(list.clone())),
        (None, Some(url)) => {
            Some(ApiKeyList::Remote(findings.take(remote(keys, url, (file, plain_http), cluster))?))
        }
        (None, None) => None,
    };
    let listed = list.zip(keys.hash_key.clone());
    Some(ApiKeys {
        schemes: places.iter().map(scheme).collect(),
        listed: listed.map(|(keys, hash_key)| ListedKeys { hash_key, keys }),
        signed,
        forward: keys.forward,
    })
}

fn remote(
    keys: &Keys,
    url: &str,
    (file, plain_http): (View<'_>, &[String]),
    cluster: &mut impl FnMut(&Url) -> String,
) -> Result<RemoteDocument, Diagnostic> {
    let place = file.descend(["keys", "url"]).place();
    let server = issuers::key_server(url, plain_http).map_err(|problem| {
        Diagnostic::error(format!("the list of API keys `{url}` {problem}"))
            .at(place.clone())
            .help("give an https URL: `url: https://portal.example.com/keys`")
    })?;
    let spans = [keys.timeout, keys.refresh, keys.max_stale, keys.cooldown];
    RemoteDocument::deserialize(issuers::document(url, &cluster(&server), spans)).map_err(|error| {
        Diagnostic::error(format!("the list of API keys cannot be fetched: {error}")).at(place)
    })
}

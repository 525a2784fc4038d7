//! What definitions and settings say about callers, as the auth filter's configuration.

use enforcer_auth::{
    Auth,
    config::{
        Api as AuthApi, AuthConfig, HeaderSource, JwtRequirement, LifeCycle, Operation as AuthOperation,
        Requirement, Scopes, TokenSource,
    },
};
use enforcer_core::{
    config::ConfigError,
    filter::{Capabilities, Filter as _},
};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    keys,
    model::{Access, Alternative, Api, ApiModel},
    settings::{ScopeRule, Settings},
    source::View,
};

/// Completes the filter's configuration, whose credentials are in place, by the APIs and the settings for all.
pub(crate) fn configure(
    filter: &mut AuthConfig,
    model: &ApiModel,
    settings: &Settings,
    file: View<'_>,
    findings: &mut Diagnostics,
) {
    let auth = &settings.auth;
    let rule = auth.scopes;
    let life_cycle = |api: &Api| auth.life_cycles.get(&api.name).copied().unwrap_or_default();
    filter.apis = model.apis.iter().map(|api| auth_api(api, rule, life_cycle(api))).collect();
    filter.errors = auth.errors;
    filter.mode = settings.mode;
    filter.forward_token = auth.forward_token;
    if let Some(realm) = &auth.realm {
        filter.realm.clone_from(realm);
    }
    if let Some(size) = auth.token_cache {
        filter.token_cache = size;
    }
    if let Some(size) = auth.max_token {
        filter.max_token = size;
    }
    if let Some(budget) = auth.verification_budget {
        filter.verification_budget = budget;
    }
    if let Some(sources) = &auth.token_sources {
        filter.token_sources.clone_from(sources);
    } else if let Some(name) = common_header(model, findings) {
        let header = HeaderSource { name, scheme: "Bearer".to_owned() };
        filter.token_sources = vec![TokenSource::Header(header)];
    }
    if settings.issuers.is_empty() {
        missing_issuers(model, file, findings);
    }
}

/// The filter has the last word on its configuration; what it refuses must not reach Envoy.
pub(crate) fn check(filter: &AuthConfig, model: &ApiModel, file: View<'_>, findings: &mut Diagnostics) {
    let capabilities = Capabilities { sign: true, ..Capabilities::default() };
    if let Err(error) = Auth::new(filter.clone(), capabilities) {
        findings.push(refused(&error, model, file));
    }
}

fn auth_api(api: &Api, rule: ScopeRule, life_cycle: LifeCycle) -> AuthApi {
    AuthApi {
        name: api.name.clone(),
        version: api.version.clone(),
        hosts: api.hosts.clone(),
        base_path: api.base_path.clone(),
        clusters: None,
        life_cycle,
        security: requirements(&api.access, rule),
        operations: api
            .operations
            .iter()
            .map(|operation| AuthOperation {
                id: operation.id.clone(),
                path: operation.template.clone(),
                methods: vec![operation.method.clone()],
                // Not left to inheritance when it asks for any token, because that is what absence means at the API.
                security: operation.access.as_ref().map(|access| all_requirements(access, rule)),
            })
            .collect(),
    }
}

/// `None` for what the filter assumes anyway: a valid token.
fn requirements(access: &Access, rule: ScopeRule) -> Option<Vec<Requirement>> {
    (*access != Access::valid_token()).then(|| all_requirements(access, rule))
}

fn all_requirements(access: &Access, rule: ScopeRule) -> Vec<Requirement> {
    let token = |issuer: &Option<String>, scopes: &Vec<String>| JwtRequirement {
        issuers: issuer.iter().cloned().collect(),
        scopes: (!scopes.is_empty()).then(|| match rule {
            ScopeRule::All => Scopes::AllOf(scopes.clone()),
            ScopeRule::Any => Scopes::AnyOf(scopes.clone()),
        }),
    };
    let one = |way: &Alternative| Requirement {
        jwt: way.token.as_ref().map(|scopes| token(&way.issuer, scopes)),
        api_keys: way.keys.iter().map(keys::scheme_name).collect(),
        basic: way.basic,
        certificate: way.certificate,
    };
    access.0.iter().map(one).collect()
}

/// `x-wso2-auth-header`, which is the same for all APIs because the filter reads one header.
fn common_header(model: &ApiModel, findings: &mut Diagnostics) -> Option<String> {
    let (first, _) = model.apis.iter().find_map(|api| api.token_header.as_ref())?;
    for api in model.apis.iter().filter(|api| !api.is_endpoint) {
        let (differs, place) = match &api.token_header {
            Some((header, place)) => (header != first, place),
            None => (true, &api.place),
        };
        if differs {
            findings.push(
                Diagnostic::error(format!(
                    "this API expects the token in another header than `{first}`, which another API names"
                ))
                .at(place.clone())
                .help(format!(
                    "give all APIs the same `x-wso2-auth-header`, or say in enforcer.yaml where tokens are: \
                         `auth: {{token_sources: [{{header: {{name: {first}}}}}]}}`"
                )),
            );
        }
    }
    Some(first.clone())
}

fn missing_issuers(model: &ApiModel, file: View<'_>, findings: &mut Diagnostics) {
    let wants = |api: &&Api| api.accesses().any(Access::knows_token);
    if let Some(api) = model.apis.iter().find(wants) {
        let place = if file.node.is_null() { api.place.clone() } else { file.place() };
        findings.push(
            Diagnostic::error(format!("the API `{}` needs tokens, and no issuer is configured", api.name))
                .at(place)
                .help(
                    "name who issues them in enforcer.yaml: `issuers: [{issuer: https://idp.example.com}]`",
                ),
        );
    }
}

/// The filter's own words about its configuration, at the API or setting that they are about.
fn refused(error: &ConfigError, model: &ApiModel, file: View<'_>) -> Diagnostic {
    let steps: Vec<&str> = error.path.split(['.', '[', ']']).filter(|step| !step.is_empty()).collect();
    let place = match steps.as_slice() {
        ["apis", index, ..] => {
            let api = index.parse::<usize>().ok().and_then(|index| model.apis.get(index));
            api.map_or_else(|| file.place(), |api| api.place.clone())
        }
        ["api_keys", rest @ ..] => {
            let rest = rest.iter().filter_map(|step| match *step {
                "listed" | "keys" | "remote" => None,
                "inline" => Some("list"),
                "signed" => Some("issuers"),
                other => Some(other),
            });
            file.descend(["keys"].into_iter().chain(rest)).place()
        }
        ["basic", ..] => file.descend(["auth", "basic"]).place(),
        ["issuers", ..] => file.descend(steps.iter().copied()).place(),
        _ => file.descend(["auth"].into_iter().chain(steps.iter().copied())).place(),
    };
    Diagnostic::error(format!("the auth filter refuses this: {error}"))
        .at(place)
        .help("correct the value that is named")
}

//! `securitySchemes` and `security`: who may call.
//!
//! A list of requirements is an OR, the schemes within one are an AND (OpenAPI 3.1, Security Requirement
//! Object). Nothing becomes open by accident: a scheme that cannot be verified must be decided upon by name.

use std::collections::BTreeMap;

use enforcer_auth::config::KeySource;

use crate::{
    diagnostic::Diagnostic,
    model::{Access, Alternative},
    openapi::{
        Reader,
        extensions::{APPLICATION, MUTUAL},
    },
    settings::{Need, Settings},
    source::{Place, View},
};

/// What the schemes of a definition mean.
pub(super) type Schemes = BTreeMap<String, Meaning>;

/// How a scheme is verified.
pub(super) enum Meaning {
    /// A bearer token, of this issuer if there are several.
    Token(Option<String>),
    /// An API key in this place.
    Key(KeySource),
    /// A name and its password.
    Basic,
    /// A client certificate that is known.
    Certificate,
    /// `auth.schemes` says it may be left out.
    Open,
    /// Nothing verifies it; the words say what it is.
    Unsupported(String),
    /// Its definition is broken, which has been reported.
    Broken,
}

/// What an API's operations inherit.
pub(super) struct Inherited {
    /// What counts.
    pub(super) effective: Access,
    /// What would count without `x-wso2-disable-security`.
    declared: Access,
    certificate: Certificate,
}

/// What `x-wso2-mutual-ssl` asks for, whatever the schemes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certificate {
    /// Nothing, or one that may be there.
    Optional,
    /// A client certificate, beside everything else.
    Mandatory,
    /// A client certificate; everything else is welcome.
    Enough,
}

/// A scheme that is asked for and cannot be verified: reported once, however many operations use it.
pub(super) struct Unverified {
    kind: String,
    /// How many times it is asked for without an alternative.
    alone: usize,
    /// Where it is asked for first.
    place: Place,
}

/// A requirement, after its schemes have been looked up.
enum Reading {
    Way(Alternative),
    /// It needs this scheme, which is that kind of thing.
    Unsupported(String, String),
    /// What is wrong with it has been reported.
    Broken,
}

impl Reader<'_> {
    pub(super) fn schemes(&mut self, root: View<'_>) -> Schemes {
        let mut schemes = Schemes::new();
        let defined = root.get("components").and_then(|components| components.get("securitySchemes"));
        for (name, scheme) in defined.into_iter().flat_map(|defined| defined.entries()) {
            let meaning = match self.context.settings.auth.schemes.get(name) {
                Some(Need::Jwt) => Meaning::Token(None),
                Some(Need::Open) => Meaning::Open,
                None => match self.library.resolve(scheme) {
                    Ok(scheme) => match meaning(scheme, self.context.settings) {
                        Meaning::Token(None) => Meaning::Token(self.issuer(name, scheme)),
                        other => other,
                    },
                    Err(problem) => {
                        self.findings.push(problem);
                        Meaning::Broken
                    }
                },
            };
            schemes.insert(name.to_owned(), meaning);
        }
        schemes
    }

    /// What operations need that do not say so themselves; `None` when that cannot be told.
    pub(super) fn api_access(&mut self, root: View<'_>, schemes: &Schemes) -> Option<Inherited> {
        let declared = match root.get("security") {
            Some(security) => self.access(security, schemes)?,
            None => match self.context.settings.auth.default {
                Need::Jwt => Access::valid_token(),
                Need::Open => Access::open(),
            },
        };
        let certificate = self.certificate(root)?;
        let declared = certificate.beside(declared);
        let disabled = self.disabled(root) == Some(true);
        let effective = if disabled { Access::open() } else { declared.clone() };
        Some(Inherited { effective, declared, certificate })
    }

    /// `x-wso2-mutual-ssl`, and `optional` of `x-wso2-application-security`, as WSO2's microgateway 3 reads them.
    fn certificate(&mut self, root: View<'_>) -> Option<Certificate> {
        let Some(mutual) = root.get(MUTUAL) else { return Some(Certificate::Optional) };
        let optional = root.get(APPLICATION).and_then(|security| security.get("optional"));
        let enough = optional.is_some_and(|optional| optional.node.to_json().as_bool() == Some(true));
        let (problem, help) = match mutual.text() {
            Some("optional") => return Some(Certificate::Optional),
            Some("mandatory") if self.context.settings.auth.client_certificates.is_some() => {
                return Some(if enough { Certificate::Enough } else { Certificate::Mandatory });
            }
            Some("mandatory") => (
                "a client certificate is needed, and none is known",
                "say in enforcer.yaml which are: `auth: {client_certificates: {imports: [client_certificates.yaml]}}`",
            ),
            _ => (
                "`x-wso2-mutual-ssl` is neither `mandatory` nor `optional`",
                "write `x-wso2-mutual-ssl: mandatory`",
            ),
        };
        self.findings.push(Diagnostic::error(problem).at(mutual.place()).help(help));
        None
    }

    /// What an operation needs, if it says so; the outer `None` when that cannot be told.
    #[expect(clippy::option_option, reason = "outer: whether it could be read; inner: whether it is there")]
    pub(super) fn operation_access(
        &mut self,
        item: View<'_>,
        operation: View<'_>,
        schemes: &Schemes,
        api: &Inherited,
    ) -> Option<Option<Access>> {
        let kind = operation.get("x-auth-type").and_then(|kind| kind.text());
        let disabled = self.disabled(operation).or_else(|| self.disabled(item));
        let open_kind = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("none"));
        if open_kind || disabled == Some(true) {
            self.warn_if_opened(operation);
        }
        if open_kind {
            return Some(Some(Access::open()));
        }
        let access = match (disabled, operation.get("security")) {
            (Some(true), _) => Some(Access::open()),
            (_, Some(security)) => Some(api.certificate.beside(self.access(security, schemes)?)),
            // Switched on again below an API that is switched off.
            (Some(false), None) => Some(api.declared.clone()),
            (None, None) => None,
        };
        Some(access.filter(|access| *access != api.effective))
    }

    /// WSO2's extensions go before `security`, which somebody may rely on.
    fn warn_if_opened(&mut self, operation: View<'_>) {
        if let Some(security) = operation.get("security").filter(|list| list.items().next().is_some()) {
            self.findings.push(
                Diagnostic::warning("everybody may call this, whatever its `security` asks for")
                    .at(security.key_place())
                    .help("remove `security`, or the `x-auth-type` or `x-wso2-disable-security` that goes before it"),
            );
        }
    }

    /// Reports the schemes that could not be verified.
    pub(super) fn report_unverified(&mut self) {
        for (name, uses) in std::mem::take(&mut self.unverified) {
            self.findings.push(uses.finding(&name));
        }
    }

    /// `x-wso2-disable-security`.
    fn disabled(&mut self, view: View<'_>) -> Option<bool> {
        let flag = view.get("x-wso2-disable-security")?;
        // `"false"` in quotes is a text, which other readers take for true.
        let value = flag.node.to_json().as_bool();
        if value.is_none() {
            self.findings.push(
                Diagnostic::error("`x-wso2-disable-security` is neither `true` nor `false`")
                    .at(flag.place())
                    .help("write `x-wso2-disable-security: true` to let everybody call"),
            );
        }
        value
    }

    fn access(&mut self, security: View<'_>, schemes: &Schemes) -> Option<Access> {
        if !security.is_list() {
            self.findings.push(
                Diagnostic::error(format!("`security` is {}, but should be a list", security.describe()))
                    .at(security.place())
                    .help("write `security: [{name: []}]`, or `security: []` to let everybody call"),
            );
            return None;
        }
        let readings: Vec<(View<'_>, Reading)> = security
            .items()
            .map(|requirement| (requirement, self.requirement(requirement, schemes)))
            .collect();
        if readings.is_empty() {
            return Some(Access::open());
        }
        let mut ways = Vec::new();
        let mut unsupported = Vec::new();
        for (view, reading) in readings {
            match reading {
                Reading::Way(way) if !ways.contains(&way) => ways.push(way),
                Reading::Way(_) => {}
                Reading::Unsupported(name, kind) => unsupported.push((view, name, kind)),
                Reading::Broken => return None,
            }
        }
        let none_left = ways.is_empty();
        for (view, name, kind) in unsupported {
            let place = view.get(&name).unwrap_or(view).key_place();
            let uses = self.unverified.entry(name).or_insert_with(|| Unverified { kind, alone: 0, place });
            uses.alone = uses.alone.saturating_add(usize::from(none_left));
        }
        (!none_left).then_some(Access(ways))
    }

    fn requirement(&mut self, requirement: View<'_>, schemes: &Schemes) -> Reading {
        if !requirement.is_map() {
            self.findings.push(
                Diagnostic::error(format!(
                    "a security requirement is {}, but should be a mapping",
                    requirement.describe()
                ))
                .at(requirement.place())
                .help("write `- name: []` with the name of a security scheme"),
            );
            return Reading::Broken;
        }
        let mut way = Alternative::anonymous();
        for (name, scopes) in requirement.entries() {
            match schemes.get(name) {
                Some(Meaning::Token(issuer)) => {
                    if way.issuer.is_some() && issuer.is_some() && way.issuer != *issuer {
                        self.findings.push(
                            Diagnostic::error("no token can be from two issuers, as this requirement wants")
                                .at(scopes.key_place())
                                .help("write alternatives: `security: [{a: []}, {b: []}]`"),
                        );
                        return Reading::Broken;
                    }
                    way.issuer = way.issuer.or_else(|| issuer.clone());
                    let Some(asked) = self.scopes(name, scopes) else { return Reading::Broken };
                    let all = way.token.get_or_insert_default();
                    all.extend(asked.into_iter().filter(|scope| !all.contains(scope)).collect::<Vec<_>>());
                }
                Some(Meaning::Key(source)) if way.keys.contains(source) => {}
                Some(Meaning::Key(source)) => way.keys.push(source.clone()),
                Some(Meaning::Basic) => way.basic = true,
                Some(Meaning::Certificate) => way.certificate = true,
                Some(Meaning::Open) => {}
                Some(Meaning::Unsupported(kind)) => {
                    return Reading::Unsupported(name.to_owned(), kind.clone());
                }
                Some(Meaning::Broken) => return Reading::Broken,
                None => {
                    self.findings.push(
                        Diagnostic::error(format!("there is no security scheme `{name}`"))
                            .at(scopes.key_place())
                            .help(format!("define it: `components: {{securitySchemes: {{{name}: ...}}}}`")),
                    );
                    return Reading::Broken;
                }
            }
        }
        Reading::Way(way)
    }
}

impl Reader<'_> {
    /// Whose tokens an OpenID scheme means, where there is a choice.
    fn issuer(&mut self, name: &str, scheme: View<'_>) -> Option<String> {
        let issuers = &self.context.settings.issuers;
        let url = scheme.get("openIdConnectUrl").filter(|_| issuers.len() > 1)?;
        let named = url.text()?.split("/.well-known/").next()?.trim_end_matches('/');
        let found = issuers.iter().find(|issuer| issuer.issuer.trim_end_matches('/') == named);
        if found.is_none() {
            self.findings.push(
                Diagnostic::warning(format!("tokens of every issuer do for the security scheme `{name}`"))
                    .at(url.place())
                    .help("configure the issuer that this URL belongs to, under its own name"),
            );
        }
        found.map(|issuer| issuer.issuer.clone())
    }

    /// The scopes of a requirement. One that was misread would ask for less than it should.
    fn scopes(&mut self, name: &str, list: View<'_>) -> Option<Vec<String>> {
        let scopes: Vec<Option<&str>> = list.items().map(|scope| scope.text()).collect();
        if list.is_list() && scopes.iter().all(Option::is_some) {
            return Some(scopes.into_iter().flatten().map(str::to_owned).collect());
        }
        self.findings.push(
            Diagnostic::error(format!("the scopes of `{name}` are not a list of names"))
                .at(list.place())
                .help(format!("write `{name}: [read, write]`, or `{name}: []` for none")),
        );
        None
    }
}

impl Certificate {
    /// What callers need together with it (Choreo Connect's mutual TLS tests). What is open stays open.
    fn beside(self, Access(ways): Access) -> Access {
        if self == Self::Optional {
            return Access(ways);
        }
        let enough = (self == Self::Enough && !ways.is_empty()).then(Alternative::anonymous);
        let mut together: Vec<Alternative> = Vec::new();
        for way in ways.into_iter().chain(enough) {
            let way = Alternative { certificate: true, ..way };
            if !together.contains(&way) {
                together.push(way);
            }
        }
        Access(together)
    }
}

/// What can be verified depends on whom the settings name.
fn meaning(scheme: View<'_>, settings: &Settings) -> Meaning {
    let text = |key| scheme.get(key).and_then(|view| view.text()).unwrap_or_default();
    match (text("type"), text("scheme").to_ascii_lowercase().as_str()) {
        ("oauth2" | "openIdConnect", _) | ("http", "bearer") => Meaning::Token(None),
        ("http", "basic") if settings.auth.basic.is_some() => Meaning::Basic,
        ("http", "basic") => Meaning::Unsupported(PASSWORD.to_owned()),
        ("http", other) => Meaning::Unsupported(format!("`http: {other}`")),
        ("apiKey", _) if settings.keys.is_some() => key(text("in"), text("name")),
        ("apiKey", _) => Meaning::Unsupported(format!("{API_KEY} `{}`", text("name"))),
        ("mutualTLS", _) if settings.auth.client_certificates.is_some() => Meaning::Certificate,
        ("mutualTLS", _) => Meaning::Unsupported(CERTIFICATE.to_owned()),
        ("", _) => Meaning::Unsupported("without a type".to_owned()),
        (other, _) => Meaning::Unsupported(format!("of type `{other}`")),
    }
}

/// Where a key is (OpenAPI 3.1, Security Scheme Object).
fn key(place: &str, name: &str) -> Meaning {
    match place {
        // Names of header fields are the same in upper and lower case.
        "header" => Meaning::Key(KeySource::Header(name.to_ascii_lowercase())),
        "query" => Meaning::Key(KeySource::Query(name.to_owned())),
        "cookie" => Meaning::Key(KeySource::Cookie(name.to_owned())),
        other => Meaning::Unsupported(format!("an API key in `{other}`, not in header, query or cookie")),
    }
}

/// How the words for a key begin.
const API_KEY: &str = "an API key in";
/// The words for a password.
const PASSWORD: &str = "a name and a password";
/// The words for a client certificate.
const CERTIFICATE: &str = "a client certificate";

impl Unverified {
    fn finding(&self, name: &str) -> Diagnostic {
        let Self { kind, alone, place } = self;
        let list = match kind.as_str() {
            PASSWORD => "say in enforcer.yaml who has one: `auth: {basic: {htpasswd: users.htpasswd}}`; or ",
            CERTIFICATE => {
                "say in enforcer.yaml which are known: `auth: {client_certificates: {known: [{file: acme.crt, consumer: \
                 acme}]}}`; or "
            }
            kind if kind.starts_with(API_KEY) => {
                "say in enforcer.yaml which keys there are: `keys: {hash_key: ..., list: [...]}`; or "
            }
            _ => "",
        };
        let decide = format!(
            "{list}decide in enforcer.yaml what it means: `auth: {{schemes: {{{name}: jwt}}}}` asks for a token instead, \
             `{name}: open` for nothing"
        );
        let finding = match alone {
            0 => Diagnostic::warning(format!(
                "callers cannot use the security scheme `{name}` ({kind}), which nothing verifies"
            ))
            .help(format!("the alternatives to it stay; or {decide}")),
            1 => Diagnostic::error(format!(
                "the security scheme `{name}` ({kind}) cannot be verified, and here is no alternative to it"
            ))
            .help(decide),
            many => Diagnostic::error(format!(
                "the security scheme `{name}` ({kind}) cannot be verified, and in {many} places, of which this is \
                 the first, there is no alternative to it"
            ))
            .help(decide),
        };
        finding.at(place.clone())
    }
}

//! Which operation a request means, and what that operation asks for.

use std::cell::OnceCell;

use enforcer_core::{
    config::ConfigError,
    headers::HeaderMap,
    identity::{Called, Part},
    path::CanonicalPath,
    table::{ApiEntry, Found, OperationEntry, Table},
};

use crate::{
    config::{Api, Issuer, JwtRequirement, LifeCycle, Requirement, Scopes},
    key_type::KeyType,
    refusal::Refusal,
    verifier::Verified,
};

/// The configured APIs, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    /// `None`: no API is configured, and every request needs a credential.
    apis: Option<(Table, Vec<Protected>)>,
    /// What is asked for where nothing is said: a token, or, without issuers, any other credential.
    usual: Vec<Requirement>,
    /// Names of the issuers, as [`Verified::issuer`] counts them.
    issuers: Vec<String>,
    offered: Offered,
}

/// What callers can show beside tokens.
#[derive(Debug, Default)]
pub struct Offered {
    /// API keys: names of their schemes.
    pub key_schemes: Vec<String>,
    /// Names and passwords.
    pub basic: bool,
    pub certificates: bool,
}

/// An API, and what is published of its operations once they are called.
#[derive(Debug)]
struct Protected {
    api: Api,
    /// Of each operation.
    called: Vec<OnceCell<Part<Called>>>,
    /// Of an API without operations.
    whole: OnceCell<Part<Called>>,
}

/// A matched operation: positions in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    api: Option<usize>,
    operation: Option<usize>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Wanted {
    Operation(Target),
    /// OPTIONS, on a path that does not define it: the value of `Allow`.
    Options(String),
    Refused(Refusal),
}

/// The alternatives of one operation.
#[derive(Debug, Clone, Copy)]
pub struct Alternatives<'a>(&'a [Requirement]);

impl<'a> Alternatives<'a> {
    /// Nothing is asked for (`security: []`).
    pub fn is_open(self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(self) -> impl Iterator<Item = &'a Requirement> {
        self.0.iter()
    }
}

impl Requirement {
    /// Nothing is asked for by this alternative (`security: [{}, ...]`).
    pub fn is_anonymous(&self) -> bool {
        *self == Self::default()
    }
}

impl Scopes {
    /// Whether these are enough.
    pub fn hold(&self, scopes: &[String]) -> bool {
        match self {
            Self::AllOf(wanted) => wanted.iter().all(|scope| scopes.contains(scope)),
            Self::AnyOf(wanted) => wanted.iter().any(|scope| scopes.contains(scope)),
        }
    }
}

impl Offered {
    /// Any one of them.
    fn each(&self) -> Vec<Requirement> {
        let key = |name: &String| Requirement { api_keys: vec![name.clone()], ..Requirement::default() };
        let basic = self.basic.then(|| Requirement { basic: true, ..Requirement::default() });
        let certificate =
            self.certificates.then(|| Requirement { certificate: true, ..Requirement::default() });
        self.key_schemes.iter().map(key).chain(basic).chain(certificate).collect()
    }
}

impl Policy {
    pub fn new(apis: Vec<Api>, issuers: &[Issuer], offered: Offered) -> Result<Self, ConfigError> {
        let token = Requirement { jwt: Some(JwtRequirement::default()), ..Requirement::default() };
        let policy = Self {
            apis: None,
            usual: if issuers.is_empty() { offered.each() } else { vec![token] },
            issuers: issuers.iter().map(|issuer| issuer.issuer.clone()).collect(),
            offered,
        };
        // Where everything says what it asks for, nothing is usual.
        if policy.usual.is_empty() && (apis.is_empty() || apis.iter().any(is_silent)) {
            return Err(ConfigError::at("issuers", "no issuer: nobody could call; name at least one"));
        }
        for (index, api) in apis.iter().enumerate() {
            policy.check_api(api).map_err(|error| error.under(&format!("apis[{index}]")))?;
        }
        if apis.is_empty() {
            return Ok(policy);
        }
        let table = Table::build(apis.iter().map(entry))?;
        let protected = apis.into_iter().map(|api| {
            let called = vec![OnceCell::new(); api.operations.len()];
            Protected { api, called, whole: OnceCell::new() }
        });
        Ok(Self { apis: Some((table, protected.collect())), ..policy })
    }

    /// An operation that asks for what nobody configured could never be called.
    fn check_api(&self, api: &Api) -> Result<(), ConfigError> {
        if api.clusters.as_ref().is_some_and(|both| both.production.is_none() && both.sandbox.is_none()) {
            return Err(ConfigError::at("clusters", "neither `production` nor `sandbox`: name one"));
        }
        self.check_security(api.security.as_deref()).map_err(|error| error.under("security"))?;
        for (index, operation) in api.operations.iter().enumerate() {
            self.check_security(operation.security.as_deref())
                .map_err(|error| error.under(&format!("operations[{index}].security")))?;
        }
        Ok(())
    }

    fn check_security(&self, security: Option<&[Requirement]>) -> Result<(), ConfigError> {
        for (index, requirement) in security.unwrap_or_default().iter().enumerate() {
            let mut accepted = requirement.jwt.iter().flat_map(|jwt| &jwt.issuers);
            if let Some(stranger) = accepted.find(|name| !self.issuers.contains(name)) {
                let problem = format!("`{stranger}` is not among `issuers`; add it there");
                return Err(ConfigError::at(format!("[{index}].jwt.issuers"), problem));
            }
            if requirement.jwt.is_some() && self.issuers.is_empty() {
                let problem = "nobody may issue tokens: name somebody in `issuers`";
                return Err(ConfigError::at(format!("[{index}].jwt"), problem));
            }
            let schemes = &self.offered.key_schemes;
            if let Some(stranger) = requirement.api_keys.iter().find(|name| !schemes.contains(name)) {
                let problem = format!("`{stranger}` is not among `api_keys.schemes`; add it there");
                return Err(ConfigError::at(format!("[{index}].api_keys"), problem));
            }
            if requirement.basic && !self.offered.basic {
                let problem = "nobody has a password: name somebody in `basic.htpasswd`";
                return Err(ConfigError::at(format!("[{index}].basic"), problem));
            }
            if requirement.certificate && !self.offered.certificates {
                let problem = "no certificate is known: name one in `client_certificates.known`";
                return Err(ConfigError::at(format!("[{index}].certificate"), problem));
            }
        }
        Ok(())
    }

    /// Finds the operation. A request that matches none is refused.
    pub fn find(&self, headers: &HeaderMap) -> Wanted {
        let Some((table, _)) = &self.apis else {
            return Wanted::Operation(Target { api: None, operation: None });
        };
        let path = match CanonicalPath::parse(headers.get(":path").unwrap_or_default()) {
            Ok(path) => path,
            Err(refusal) => return Wanted::Refused(Refusal::Path(refusal)),
        };
        let host = headers.get_str(":authority").unwrap_or_default();
        let method = headers.get_str(":method").unwrap_or_default();
        match table.find(host, &path, method) {
            Found::Operation { api, operation } => Wanted::Operation(Target { api: Some(api), operation }),
            Found::WrongMethod { allowed, .. } if method == "OPTIONS" => {
                Wanted::Options([&["OPTIONS"][..], &allowed].concat().join(", "))
            }
            Found::NoApi | Found::NoOperation { .. } | Found::WrongMethod { .. } => {
                Wanted::Refused(Refusal::NoOperation)
            }
        }
    }

    /// Whether the API is out of service.
    /// The API that has an operation for GET at this path, whatever the host.
    pub fn defining(&self, path: &str) -> Option<&str> {
        let (table, apis) = self.apis.as_ref()?;
        let path = CanonicalPath::parse(path.as_bytes()).ok()?;
        let hosts = apis.iter().flat_map(|one| &one.api.hosts).map(String::as_str);
        hosts.chain([""]).find_map(|host| match table.find(host, &path, "GET") {
            Found::Operation { api, operation: Some(_) } => Some(apis.get(api)?.api.name.as_str()),
            _ => None,
        })
    }

    pub fn is_blocked(&self, target: &Target) -> bool {
        self.api(target).is_some_and(|api| api.life_cycle == LifeCycle::Blocked)
    }

    /// What the operation asks for: its own security, else the API's, else the usual; nothing of a prototype.
    pub fn requirement(&self, target: &Target) -> Alternatives<'_> {
        let api = self.api(target);
        if api.is_some_and(|api| api.life_cycle == LifeCycle::Prototyped) {
            return Alternatives(&[]);
        }
        let operation = api.zip(target.operation).and_then(|(api, index)| api.operations.get(index));
        let own = operation.and_then(|operation| operation.security.as_ref());
        Alternatives(own.or_else(|| api?.security.as_ref()).unwrap_or(&self.usual))
    }

    /// All that can be called of the same API.
    pub fn beside(&self, target: &Target) -> impl Iterator<Item = Target> {
        let api = target.api;
        let operations = self.api(target).map_or(0, |api| api.operations.len());
        let whole = (operations == 0).then_some(None);
        whole.into_iter().chain((0..operations).map(Some)).map(move |operation| Target { api, operation })
    }

    /// Whether a verified token is what is asked for.
    pub fn check_token(
        &self,
        jwt: &JwtRequirement,
        target: &Target,
        verified: &Verified,
    ) -> Result<(), Refusal> {
        let issuer = self.issuers.get(verified.issuer).map_or("", String::as_str);
        if !jwt.issuers.is_empty() && !jwt.issuers.iter().any(|name| name == issuer) {
            return Err(Refusal::IssuerHere { expected: jwt.issuers.join(", ") });
        }
        let Some(wanted) = jwt.scopes.as_ref().filter(|wanted| !wanted.hold(&verified.caller.scopes)) else {
            return Ok(());
        };
        let (how_many, scopes) = match wanted {
            Scopes::AllOf(scopes) => ("all of", scopes),
            Scopes::AnyOf(scopes) => ("one of", scopes),
        };
        let template = self.operation_path(target).to_owned();
        Err(Refusal::Scope { template, how_many, scopes: scopes.join(" ") })
    }

    /// What a request calls, as later filters see it.
    pub fn called(&self, target: &Target) -> Part<Called> {
        let protected = target.api.and_then(|index| self.apis.as_ref()?.1.get(index));
        let Some(Protected { api, called, whole }) = protected else { return Part::default() };
        let called = target.operation.and_then(|index| called.get(index)).unwrap_or(whole);
        let called = called.get_or_init(|| {
            let operation = target.operation.and_then(|index| api.operations.get(index));
            let template = self.template(target);
            let id = operation.map_or("", |operation| operation.id.as_str());
            let operation = if id.is_empty() { template.clone() } else { id.to_owned() };
            Part::new(Called { api: api.name.clone(), version: api.version.clone(), operation, template })
        });
        called.clone()
    }

    /// Base path and template of the matched operation.
    fn template(&self, target: &Target) -> String {
        let base = self.api(target).map_or("", |api| api.base_path.trim_end_matches('/'));
        format!("{base}{}", self.operation_path(target))
    }

    /// Template of the matched operation, below the base path, as Choreo Connect shows it.
    fn operation_path(&self, target: &Target) -> &str {
        let operation = self.api(target).zip(target.operation);
        let operation = operation.and_then(|(api, index)| api.operations.get(index));
        operation.map_or("/*", |operation| operation.path.as_str())
    }

    /// The cluster for a credential of this type, where there is a choice.
    pub fn cluster(&self, target: &Target, key_type: KeyType) -> Result<Option<&str>, Refusal> {
        let clusters = self.api(target).and_then(|api| api.clusters.as_ref());
        let Some(clusters) = clusters else { return Ok(None) };
        let cluster = key_type.cluster(clusters)?;
        Ok((clusters.production.is_some() && clusters.sandbox.is_some()).then_some(cluster))
    }

    /// The API; `None` where none is configured.
    pub fn api(&self, target: &Target) -> Option<&Api> {
        Some(&self.apis.as_ref()?.1.get(target.api?)?.api)
    }
}

/// Something of it does not say what it asks for.
fn is_silent(api: &Api) -> bool {
    let silent = api.operations.is_empty() || api.operations.iter().any(|one| one.security.is_none());
    api.security.is_none() && silent
}

fn entry(api: &Api) -> ApiEntry<'_> {
    let operations = api.operations.iter();
    let operations =
        operations.map(|operation| OperationEntry { path: &operation.path, methods: &operation.methods });
    ApiEntry { hosts: &api.hosts, base_path: &api.base_path, operations: operations.collect() }
}

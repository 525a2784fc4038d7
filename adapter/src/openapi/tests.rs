use enforcer_auth::config::KeySource;

use super::*;
use crate::{
    model::{Access, Alternative, Backend, KeyTypes},
    settings,
    source::{Source, parse},
};

const HEAD: &str = "openapi: 3.1.0\ninfo: {title: The API, version: '1'}\n";
const SCHEMES: &str = "components:\n  securitySchemes:\n    \
    oauth: {type: oauth2}\n    oidc: {type: openIdConnect}\n    bearer: {type: http, scheme: Bearer}\n    \
    key: {type: apiKey, name: k, in: header}\n    basic: {type: http, scheme: basic}\n    tls: {type: mutualTLS}\n";

/// Reads a definition with settings; findings come as lines.
fn api(definition: &str, settings: &str) -> (Option<Api>, Vec<String>) {
    let mut findings = Diagnostics::default();
    let document = parse(&Source::new("enforcer.yaml", settings)).unwrap();
    let settings = settings::settings(&document, &mut findings).unwrap();
    let document = parse(&Source::new("api.yaml", definition)).unwrap();
    let library = Library::of(document, Path::new("api.yaml"));
    let backend = settings.defaults.backend.as_deref().map(|url| Url::parse(url).unwrap());
    let context = Context { settings: &settings, backend: backend.as_ref(), routed: true };
    let api = read_library(&library, context, &mut findings);
    (api, findings.iter().map(ToString::to_string).collect())
}

/// What `GET /a` needs, after inheritance.
fn access(api_level: &str, operation: &str, settings: &str) -> Access {
    let definition = format!(
        "{HEAD}servers: [{{url: 'https://x.example.com'}}]\n{api_level}\npaths: {{/a: {{get: {{{operation}}}}}}}\n{SCHEMES}"
    );
    let (api, findings) = api(&definition, settings);
    let mut api = api.unwrap_or_else(|| panic!("{findings:?}"));
    api.operations.remove(0).access.unwrap_or(api.access)
}

fn token(scopes: &[&str]) -> Alternative {
    Alternative::token(scopes.iter().map(|scope| (*scope).to_owned()).collect())
}

#[test]
fn silence_asks_for_a_token_unless_the_settings_say_otherwise() {
    assert_eq!(access("", "", ""), Access::valid_token());
    assert_eq!(access("", "", "auth: {default: open}"), Access::open());
    // What is said counts, whatever the default.
    assert_eq!(access("security: [{oauth: []}]", "", "auth: {default: open}"), Access::valid_token());
}

#[test]
fn requirements_are_an_or_of_ands() {
    assert_eq!(access("security: []", "", ""), Access::open());
    assert_eq!(access("security: [{oauth: [a]}]", "security: []", ""), Access::open());
    assert_eq!(access("security: [{oauth: [a]}]", "", ""), Access(vec![token(&["a"])]));
    assert_eq!(
        access("", "security: [{oauth: [a, b]}, {bearer: []}, {}]", ""),
        Access(vec![token(&["a", "b"]), token(&[]), Alternative::anonymous()])
    );
    // Together: one token with the scopes of both.
    assert_eq!(
        access("", "security: [{oauth: [a, b], oidc: [b, c]}]", ""),
        Access(vec![token(&["a", "b", "c"])])
    );
}

#[test]
fn what_cannot_be_verified_is_never_open() {
    // An AND with a part that cannot be verified falls away as a whole.
    assert_eq!(access("", "security: [{oauth: [a], key: []}, {oidc: [b]}]", ""), Access(vec![token(&["b"])]));
    for scheme in ["key", "basic", "tls"] {
        let definition = format!(
            "{HEAD}servers: [{{url: 'https://x.example.com'}}]\npaths: {{/a: {{get: {{security: [{{{scheme}: []}}]}}}}}}\n{SCHEMES}"
        );
        let (api, findings) = api(&definition, "");
        assert!(
            api.is_none() && findings.len() == 1 && findings[0].contains("cannot be verified"),
            "{findings:?}"
        );
    }
    assert_eq!(access("", "security: [{key: []}]", "auth: {schemes: {key: jwt}}"), Access::valid_token());
    assert_eq!(
        access("", "security: [{key: []}]", "auth: {schemes: {key: open}}"),
        Access(vec![Alternative::anonymous()])
    );
    assert_eq!(
        access("", "security: [{key: [], oauth: [a]}]", "auth: {schemes: {key: open}}"),
        Access(vec![token(&["a"])])
    );
}

#[test]
fn api_keys_are_asked_for_where_the_settings_say_which_there_are() {
    let keys = "keys: {hash_key: 0123456789abcdef0123456789abcdef, list: []}";
    let key = |source: KeySource| Alternative { keys: vec![source], ..Alternative::default() };
    let header = || KeySource::Header("k".to_owned());
    assert_eq!(access("security: [{key: []}]", "", keys), Access(vec![key(header())]));
    assert_eq!(
        access("", "security: [{key: []}, {oauth: [a]}, {}]", keys),
        Access(vec![key(header()), token(&["a"]), Alternative::anonymous()])
    );
    let together =
        Alternative { token: Some(vec!["a".to_owned()]), keys: vec![header()], ..Alternative::default() };
    assert_eq!(access("", "security: [{oauth: [a], key: []}]", keys), Access(vec![together]));
    let settings = format!("{keys}\nauth: {{schemes: {{key: jwt}}}}");
    assert_eq!(access("security: [{key: []}]", "", &settings), Access::valid_token());
}

#[test]
fn passwords_are_asked_for_where_the_settings_say_who_has_one() {
    let basic = "auth: {basic: {htpasswd: users.htpasswd}}";
    let password = Alternative { basic: true, ..Alternative::default() };
    assert_eq!(access("security: [{basic: []}]", "", basic), Access(vec![password.clone()]));
    let together = Alternative { token: Some(Vec::new()), ..password };
    assert_eq!(access("security: [{oauth: [], basic: []}]", "", basic), Access(vec![together]));
}

#[test]
fn certificates_are_asked_for_where_the_settings_say_which_are_known() {
    let known = "auth: {client_certificates: {known: []}}";
    let certificate = Alternative { certificate: true, ..Alternative::default() };
    assert_eq!(access("security: [{tls: []}]", "", known), Access(vec![certificate.clone()]));
    let together = Alternative { token: Some(Vec::new()), ..certificate };
    assert_eq!(access("security: [{oauth: [], tls: []}]", "", known), Access(vec![together]));
}

#[test]
fn mutual_tls_is_asked_for_beside_the_rest() {
    let known = "auth: {client_certificates: {known: []}}";
    let certificate = Alternative { certificate: true, ..Alternative::default() };
    let both = |scopes: &[&str]| Alternative { certificate: true, ..token(scopes) };
    let mandatory = "x-wso2-mutual-ssl: mandatory";
    let enough = "x-wso2-mutual-ssl: mandatory\nx-wso2-application-security: {security-types: [oauth2], optional: true}";
    assert_eq!(access(mandatory, "", known), Access(vec![both(&[])]));
    assert_eq!(
        access(mandatory, "security: [{oauth: [a]}, {tls: []}]", known),
        Access(vec![both(&["a"]), certificate.clone()])
    );
    assert_eq!(
        access(mandatory, "security: [{oauth: []}, {}]", known),
        Access(vec![both(&[]), certificate.clone()])
    );
    assert_eq!(access(enough, "", known), Access(vec![both(&[]), certificate]));
    assert_eq!(access("x-wso2-mutual-ssl: optional", "", known), Access::valid_token());
    for open in ["security: []", "x-auth-type: None", "x-wso2-disable-security: true"] {
        assert_eq!(access(enough, open, known), Access::open(), "{open}");
    }
    let refused = |extension: &str, settings: &str| {
        let definition = format!(
            "{HEAD}servers: [{{url: 'https://x.example.com'}}]\n{extension}\npaths: {{/a: {{get: {{}}}}}}\n"
        );
        let (api, findings) = api(&definition, settings);
        assert!(api.is_none(), "{extension}");
        format!("{findings:?}")
    };
    assert!(refused(mandatory, "").contains("none is known"));
    assert!(refused("x-wso2-mutual-ssl: true", known).contains("neither `mandatory` nor `optional`"));
}

#[test]
fn an_openid_scheme_means_its_own_issuer() {
    let settings =
        "issuers: [{issuer: 'https://staff.example.com/'}, {issuer: 'https://customers.example.com'}]";
    let read = |security: &str, other: &str| {
        let schemes = format!(
            "components:\n  securitySchemes:\n    \
             staff: {{type: openIdConnect, openIdConnectUrl: 'https://staff.example.com/.well-known/openid-configuration'}}\n    \
             other: {{type: openIdConnect, openIdConnectUrl: 'https://{other}/.well-known/openid-configuration'}}\n    \
             oauth: {{type: oauth2}}\n"
        );
        let definition = format!(
            "{HEAD}servers: [{{url: 'https://x.example.com'}}]\nsecurity: {security}\npaths: {{/a: {{get: {{}}}}}}\n{schemes}"
        );
        let (api, findings) = api(&definition, settings);
        (api.map(|api| api.access), findings)
    };
    let of = |issuer: Option<&str>, scopes: &[&str]| {
        Access(vec![Alternative { issuer: issuer.map(str::to_owned), ..token(scopes) }])
    };
    let customers = "customers.example.com";
    let staff = of(Some("https://staff.example.com/"), &["a", "b"]);
    assert_eq!(read("[{staff: [a], oauth: [b]}]", customers), (Some(staff), vec![]));
    let (access, findings) = read("[{staff: [], other: []}]", customers);
    assert_eq!((access, findings.len()), (None, 1), "{findings:?}");
    assert!(findings[0].contains("no token can be from two issuers"), "{findings:?}");
    let (access, findings) = read("[{other: [a]}]", "elsewhere.example.com");
    assert_eq!(access, Some(of(None, &["a"])));
    assert!(findings[0].contains("tokens of every issuer do"), "{findings:?}");
}

#[test]
fn choreo_connects_switches_inherit_and_override() {
    let off = "x-wso2-disable-security: true";
    let on = "x-wso2-disable-security: false";
    assert_eq!(access(off, "", ""), Access::open());
    assert_eq!(access("", off, ""), Access::open());
    assert_eq!(access(off, on, ""), Access::valid_token());
    assert_eq!(access(&format!("security: [{{oauth: [a]}}]\n{off}"), on, ""), Access(vec![token(&["a"])]));
    assert_eq!(
        access(off, "x-wso2-disable-security: false, security: [{oauth: [b]}]", ""),
        Access(vec![token(&["b"])])
    );
    assert_eq!(access("", "x-auth-type: None", ""), Access::open());
    assert_eq!(access("", "x-auth-type: Application", ""), Access::valid_token());
    let path = format!(
        "{HEAD}servers: [{{url: 'https://x.example.com'}}]\npaths: {{/a: {{{off}, get: {{}}, put: {{{on}}}}}}}\n"
    );
    let (api, _) = api(&path, "");
    let accesses: Vec<_> = api.unwrap().operations.into_iter().map(|operation| operation.access).collect();
    assert_eq!(accesses, [Some(Access::open()), None]);
}

/// Base path at the gateway, and servers.
fn location(servers: &str, settings: &str) -> (String, Vec<String>) {
    let (api, findings) = api(&format!("{HEAD}{servers}\npaths: {{/a: {{get: {{}}}}}}\n"), settings);
    let api = api.unwrap_or_else(|| panic!("{findings:?}"));
    (api.base_path, api.backend.servers.iter().map(ToString::to_string).collect())
}

#[test]
fn the_gateway_keeps_the_servers_path() {
    let at =
        |path: &str, servers: &[&str]| (path.to_owned(), servers.iter().map(|s| (*s).to_owned()).collect());
    assert_eq!(
        location("servers: [{url: 'https://X.example.com/v1/'}]", ""),
        at("/v1", &["https://x.example.com/v1"])
    );
    assert_eq!(
        location(
            "servers: [{url: 'https://{h}:{p}', variables: {h: {default: x.org}, p: {default: 8443}}}]",
            ""
        ),
        at("/", &["https://x.org:8443"])
    );
    assert_eq!(
        location(
            "servers: [{url: 'http://a.org/v1'}, {url: 'http://b.org:81/v1/'}, {url: 'http://a.org/v1'}]",
            ""
        ),
        at("/v1", &["http://a.org/v1"])
    );
    assert_eq!(
        location(
            "servers: [{url: 'http://a.org/v1'}, {url: 'https://b.org/v1'}, {url: 'https://a.org/v1'}]",
            ""
        ),
        at("/v1", &["https://a.org/v1"])
    );
    assert_eq!(
        location("servers: [{url: 'https://a.org/v1'}]\nx-wso2-basePath: /store/v2", ""),
        at("/store/v2", &["https://a.org/v1"])
    );
    assert_eq!(
        location("servers: [{url: /v1}]\nx-wso2-production-endpoints: {urls: ['http://b.org/x']}", ""),
        at("/v1", &["http://b.org/x"])
    );
    assert_eq!(
        location("x-wso2-production-endpoints: {urls: ['http://b.org/x', 'http://c.org/x']}", ""),
        at("/x", &["http://b.org/x", "http://c.org/x"])
    );
    let named = "x-wso2-endpoints: [{a: {urls: ['http://a.org']}}, {b: {urls: ['http://b.org']}}]\n\
                 x-wso2-production-endpoints: '#/x-wso2-endpoints/b'";
    assert_eq!(location(named, ""), at("/", &["http://b.org"]));
}

#[test]
fn endpoints_are_for_keys_of_a_type() {
    let types = |endpoints: &str, settings: &str| {
        let definition = format!("{HEAD}{endpoints}\npaths: {{/a: {{get: {{}}}}}}\n");
        let (api, findings) = api(&definition, settings);
        let api = api.unwrap_or_else(|| panic!("{findings:?}"));
        (api.backend.servers[0].to_string(), api.key_types)
    };
    let production = "x-wso2-production-endpoints: {urls: ['http://p.org/x']}";
    let sandbox = "x-wso2-sandbox-endpoints: {urls: ['http://s.org/y']}";
    let server = "servers: [{url: 'http://a.org/v1'}]";
    let beside = || KeyTypes::Both(Backend { servers: vec![Url::parse("http://s.org/y").unwrap()] });
    for (endpoints, backend, key_types) in [
        (server.to_owned(), "http://a.org/v1", KeyTypes::All),
        (production.to_owned(), "http://p.org/x", KeyTypes::Production),
        (sandbox.to_owned(), "http://s.org/y", KeyTypes::Sandbox),
        (format!("{production}\n{sandbox}"), "http://p.org/x", beside()),
        (format!("{server}\n{sandbox}"), "http://a.org/v1", beside()),
        (format!("servers: [{{url: /v1}}]\n{sandbox}"), "http://s.org/y", KeyTypes::Sandbox),
    ] {
        assert_eq!(types(&endpoints, ""), (backend.to_owned(), key_types), "{endpoints}");
    }
    let (_, key_types) = types(&format!("{production}\n{sandbox}"), "defaults: {backend: 'http://b.org'}");
    assert_eq!(key_types, KeyTypes::All);
}

#[test]
fn the_settings_backend_goes_before_the_servers() {
    let at = |path: &str, server: &str| (path.to_owned(), vec![server.to_owned()]);
    let backend = "defaults: {backend: 'http://localhost:3000'}";
    assert_eq!(
        location("servers: [{url: 'https://a.org/v1'}]", backend),
        at("/v1", "http://localhost:3000/v1")
    );
    assert_eq!(location("servers: [{url: /v2}]", backend), at("/v2", "http://localhost:3000/v2"));
    assert_eq!(location("", backend), at("/", "http://localhost:3000"));
    let elsewhere = "defaults: {backend: 'http://localhost:3000/other'}";
    assert_eq!(location("servers: [{url: /v2}]", elsewhere), at("/v2", "http://localhost:3000/other"));
}

#[test]
fn operations_have_ids_methods_and_shared_path_items() {
    let definition = format!(
        "{HEAD}servers: [{{url: 'https://x.org'}}]\npaths:\n  /a/{{id}}: {{get: {{operationId: one}}, x-other: 1, trace: {{}}}}\n  \
         /b: {{$ref: '#/components/pathItems/shared'}}\n  x-note: {{get: {{}}}}\ncomponents: {{pathItems: {{shared: {{put: {{}}, parameters: []}}}}}}\n"
    );
    let (api, findings) = api(&definition, "");
    assert_eq!(findings, Vec::<String>::new());
    let operations: Vec<String> = api
        .unwrap()
        .operations
        .into_iter()
        .map(|operation| format!("{}: {} {}", operation.id, operation.method, operation.template))
        .collect();
    assert_eq!(operations, ["one: GET /a/{id}", "TRACE /a/{id}: TRACE /a/{id}", "PUT /b: PUT /b"]);
}

/// What is said about `paths`, and whether there is an API all the same.
fn paths(paths: &str) -> (bool, Vec<String>) {
    let text = format!(
        "{HEAD}servers: [{{url: 'https://x.org'}}]\npaths: {{/ok: {{get: {{}}}}, {paths}}}\n{SCHEMES}\
         x-open: {{get: {{security: []}}}}\nx-chain: {{$ref: '#/x-open', put: {{}}}}\n"
    );
    let (api, findings) = api(&text, "");
    (api.is_some(), findings)
}

#[test]
fn nothing_gets_lost_beside_a_reference_or_in_the_wrong_place() {
    for (text, expected) in [
        ("/a: {$ref: '#/x-open', get: {security: [{oauth: [x]}]}}", "`get` beside `$ref`"),
        ("/a: {$ref: '#/x-open', security: [{oauth: [x]}]}", "`security` beside `$ref`"),
        ("/a: {$ref: '#/x-open', x-wso2-disable-security: false}", "`x-wso2-disable-security` beside"),
        ("/a: {$ref: '#/x-chain'}", "`put` beside `$ref`"),
        ("/a: {security: [{oauth: [x]}], get: {}}", "a path has no `security`"),
        ("/a: {GET: {}}", "`GET` is not a method"),
        ("/a: {get: {$ref: '#/x-open/get'}}", "an operation cannot be a `$ref`"),
        ("/a: []", "`/a` is a list"),
        ("/a: {get: {x-wso2-disable-security: 'true'}}", "neither `true` nor `false`"),
    ] {
        let (usable, findings) = paths(text);
        assert!(!usable && findings.len() == 1 && findings[0].contains(expected), "{text}: {findings:?}");
    }
}

#[test]
fn fields_that_mean_nothing_are_named() {
    for (text, expected) in
        [("/a: {gett: {}}", "unknown field `gett`"), ("/a: null", "`/a` has no operations")]
    {
        let (usable, findings) = paths(text);
        assert!(usable && findings.len() == 1 && findings[0].contains(expected), "{text}: {findings:?}");
    }
    let beside = "/a: {$ref: '#/x-open', summary: s, description: d, servers: [], parameters: [], x-a: 1}";
    assert_eq!(paths(beside), (true, vec![]));
}

/// Whatever operations need whose definition says nothing.
#[test]
fn a_misspelt_security_is_an_error_wherever_it_is() {
    for default in ["jwt", "open"] {
        for (root, path, expected) in [
            ("", "{get: {securty: [{oauth: [x]}]}}", "`securty`: what it asks for would not be asked"),
            ("", "{Security: [], get: {}}", "a path has no `security`"),
            ("sceurity: []\n", "{get: {}}", "`sceurity`: what it asks for would not be asked"),
        ] {
            let text = format!("{HEAD}{root}servers: [{{url: 'https://x.org'}}]\npaths: {{/a: {path}}}\n");
            let (api, findings) = api(&text, &format!("auth: {{default: {default}}}"));
            assert!(api.is_none() && findings.len() == 1, "{text}: {findings:?}");
            assert!(findings[0].contains(expected), "{findings:?}");
        }
    }
}

#[test]
fn cors_policies_of_both_spellings() {
    let cors = |extension: &str, settings: &str| {
        let text =
            format!("{HEAD}servers: [{{url: 'https://x.org'}}]\n{extension}\npaths: {{/a: {{get: {{}}}}}}\n");
        api(&text, settings).0.unwrap().cors
    };
    let general = "cors: {allow_origins: ['https://app.org']}";
    assert_eq!(cors("", ""), None);
    assert_eq!(cors("", general).unwrap().allow_origins, ["https://app.org"]);
    assert_eq!(cors("x-wso2-cors: {corsConfigurationEnabled: false}", general), None);
    let own =
        cors("x-wso2-cors: {accessControlAllowOrigins: ['*'], access-control-allow-methods: [PUT]}", general)
            .unwrap();
    assert_eq!((own.allow_origins, own.allow_methods), (vec!["*".to_owned()], vec!["PUT".to_owned()]));
    let own = cors("x-wso2-cors: {accessControlAllowHeaders: [x]}", general).unwrap();
    assert_eq!(
        (own.allow_origins, own.allow_headers),
        (vec!["https://app.org".to_owned()], vec!["x".to_owned()])
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Values where the readers expect others: the shapes that real mistakes have.
    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i8>().prop_map(Into::into),
            prop_oneof![
                "/[a-z{}*]{0,6}",
                "https?://[a-z.:/{}]{0,12}",
                "[a-z]{0,4}",
                "#/[a-z/]{0,9}",
                "3\\.[01]\\.0"
            ]
            .prop_map(Into::into),
        ];
        let key = prop::sample::select(vec![
            "openapi",
            "info",
            "title",
            "version",
            "servers",
            "url",
            "variables",
            "default",
            "paths",
            "/a",
            "/{b}/*",
            "get",
            "put",
            "security",
            "oauth",
            "key",
            "components",
            "securitySchemes",
            "type",
            "scheme",
            "$ref",
            "operationId",
            "x-wso2-basePath",
            "x-wso2-cors",
            "x-wso2-production-endpoints",
            "urls",
            "x-wso2-disable-security",
        ]);
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec((key.clone().prop_map(str::to_owned), inner), 0..6)
                    .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Any part of a good definition may be replaced by anything: the outcome is an API or a reason.
        #[test]
        fn damaged_definitions_are_read_or_refused(part in 0_usize..9, value in any_value()) {
            let mut root = serde_json::json!({
                "openapi": "3.1.0",
                "info": {"title": "A", "version": "1"},
                "servers": [{"url": "https://a.org/v1"}],
                "security": [{"oauth": ["a"]}],
                "paths": {"/a": {"get": {"security": []}}},
                "components": {"securitySchemes": {"oauth": {"type": "oauth2"}}},
                "x-wso2-cors": {"accessControlAllowOrigins": ["https://a.org"]},
            });
            let pointers = ["/info", "/servers", "/security", "/paths", "/paths/~1a", "/paths/~1a/get", "/components",
                            "/components/securitySchemes", "/x-wso2-cors"];
            *root.pointer_mut(pointers[part]).unwrap() = value;
            let (api, findings) = api(&root.to_string(), "");
            prop_assert!(api.is_some() || !findings.is_empty(), "{root}");
        }
    }
}

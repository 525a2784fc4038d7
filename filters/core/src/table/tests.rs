#[cfg(not(target_arch = "wasm32"))]
mod reference;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

/// An API as tests write it: `GET,POST /pets/{id}`, `* /files/*`.
#[derive(Debug, Clone)]
struct Api {
    hosts: Vec<String>,
    base_path: &'static str,
    operations: Vec<(Vec<String>, &'static str)>,
}

fn api(hosts: &[&str], base_path: &'static str, operations: &[&'static str]) -> Api {
    let operation = |text: &&'static str| {
        let (methods, path) = text.split_once(' ').unwrap();
        let methods =
            if methods == "*" { Vec::new() } else { methods.split(',').map(str::to_owned).collect() };
        (methods, path)
    };
    Api {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        base_path,
        operations: operations.iter().map(operation).collect(),
    }
}

fn build(apis: &[Api]) -> Result<Table, ConfigError> {
    Table::build(apis.iter().map(|api| ApiEntry {
        hosts: &api.hosts,
        base_path: api.base_path,
        operations: api.operations.iter().map(|(methods, path)| OperationEntry { path, methods }).collect(),
    }))
}

fn error(apis: &[Api]) -> String {
    build(apis).unwrap_err().to_string()
}

fn find<'t>(table: &'t Table, host: &str, path: &str, method: &str) -> Found<'t> {
    table.find(host, &CanonicalPath::parse(path.as_bytes()).unwrap(), method)
}

/// The template that a GET of `path` matches in an API of these templates.
fn matched(templates: &[&'static str], path: &str) -> Option<&'static str> {
    let operations: Vec<&'static str> = templates.iter().map(|path| &*format!("GET {path}").leak()).collect();
    let table = build(&[api(&[], "/", &operations)]).unwrap();
    match find(&table, "example.com", path, "GET") {
        Found::Operation { operation, .. } => Some(templates[operation.unwrap()]),
        _ => None,
    }
}

fn operation(api: usize, operation: usize) -> Found<'static> {
    Found::Operation { api, operation: Some(operation) }
}

#[test]
fn concrete_then_dotted_then_parameter_then_wildcard() {
    let templates = [
        "/*",
        "/pets/{id}",
        "/pets/*",
        "/pets/mine",
        "/pets/{id}.json",
        "/pets/report-{id}",
        "/pets/m*",
        "/pets/report-{id}.json",
        "/pets/{name}.{ext}",
        "/pets/{a}{b}.json",
    ];
    for (path, expected) in [
        ("/pets/mine", "/pets/mine"),
        ("/pets/5.json", "/pets/{id}.json"),
        ("/pets/5.xml", "/pets/{name}.{ext}"),
        ("/pets/report-5", "/pets/report-{id}"),
        ("/pets/report-5.json", "/pets/report-{id}.json"),
        ("/pets/report-", "/pets/{id}"),
        ("/pets/.json", "/pets/{id}"),
        ("/pets/5", "/pets/{id}"),
        ("/pets/mini/x", "/pets/m*"),
        ("/pets/5/x", "/pets/*"),
        ("/pets", "/pets/*"),
        ("/petsx", "/*"),
        ("/", "/*"),
    ] {
        assert_eq!(matched(&templates, path), Some(expected), "{path}");
    }
}

#[test]
fn a_choice_that_leads_nowhere_is_taken_back() {
    let templates = ["/a/{x}/c", "/{y}/b/d", "/{y}.z/b/e", "/{y}/*"];
    assert_eq!(matched(&templates, "/a/b/c"), Some("/a/{x}/c"));
    assert_eq!(matched(&templates, "/a/b/d"), Some("/{y}/b/d"));
    assert_eq!(matched(&templates, "/a.z/b/e"), Some("/{y}.z/b/e"));
    assert_eq!(matched(&templates, "/a.z/b/d"), Some("/{y}/b/d"));
    assert_eq!(matched(&templates, "/a/b/e"), Some("/{y}/*"));
    assert_eq!(matched(&["/a/{x}/c", "/{y}/b/d"], "/a/b/e"), None);
}

#[test]
fn a_trailing_slash_makes_no_difference() {
    for (template, path, matches) in [
        ("/pets", "/pets/", true),
        ("/pets/", "/pets", true),
        ("/pets/{id}/", "/pets/5", true),
        ("/pets/{id}", "/pets/", false),
        ("/pets/*", "/pets/", true),
        ("/", "/", true),
        ("/x/findByStatus", "/x/findByStatus/", true),
        ("/x/findByStatus", "/x/findByStatusabc", false),
    ] {
        assert_eq!(matched(&[template], path).is_some(), matches, "{template} {path}");
    }
}

#[test]
fn wildcards_match_below_and_prefixes_anything_that_begins_so() {
    for (template, path, matches) in [
        ("/x/*", "/x", true),
        ("/x/*", "/x/y/z", true),
        ("/x/*", "/xy", false),
        ("/x*", "/x", true),
        ("/x*", "/xy/z", true),
        ("/x*", "/y", false),
        ("/x/r*", "/x", false),
        ("/*", "/", true),
    ] {
        assert_eq!(matched(&[template], path).is_some(), matches, "{template} {path}");
    }
    assert_eq!(matched(&["/*", "/r*", "/report*"], "/reports"), Some("/report*"));
}

#[test]
fn parameters_take_what_is_not_empty_and_keep_escapes_whole() {
    for (template, path, matches) in [
        ("/{a}-{b}", "/1-2", true),
        ("/{a}-{b}", "/1-", false),
        ("/{a}-{b}", "/-2", false),
        ("/{a}--{b}", "/1---2", true),
        ("/{a}aa{b}", "/aaab", true),
        ("/{a}{b}", "/1", false),
        ("/{a}{b}", "/12", true),
        ("/{a}.{b}.{a}", "/1.2.3", true),
        ("/{a}.{b}.{a}", "/1.2", false),
        ("/{a}F", "/x%2F", false),
        ("/{a}2F{b}", "/x%2Fy", false),
        ("/{a}2F{b}", "/x%2F2Fy", true),
        ("/{a}{b}", "/%2F", false),
        ("/{a}", "/x%2Fy", true),
        ("/{a}/y", "/x%2Fy", false),
        ("/{a}:cancel", "/5%3Acancel", true),
        ("/caf\u{e9}", "/caf%c3%a9", true),
        ("/Users('{id}')", "/Users('5')", true),
        ("/Pets", "/pets", false),
    ] {
        assert_eq!(matched(&[template], path).is_some(), matches, "{template} {path}");
    }
}

#[test]
fn the_path_decides_before_the_method() {
    let table = build(&[api(
        &[],
        "/",
        &["GET,POST /pets/mine", "DELETE,GET /pets/{id}", "OPTIONS /pets/mine", "* /any", "GET /any"],
    )])
    .unwrap();
    assert_eq!(find(&table, "h", "/pets/5", "DELETE"), operation(0, 1));
    assert_eq!(
        find(&table, "h", "/pets/mine", "DELETE"),
        Found::WrongMethod { api: 0, allowed: vec!["GET", "OPTIONS", "POST"] }
    );
    assert_eq!(find(&table, "h", "/pets/mine", "OPTIONS"), operation(0, 2));
    assert_eq!(find(&table, "h", "/any", "GET"), operation(0, 4));
    assert_eq!(find(&table, "h", "/any", "BREW"), operation(0, 3));
    assert_eq!(find(&table, "h", "/pets", "GET"), Found::NoOperation { api: 0 });
    assert!(matches!(find(&table, "h", "/pets/mine", "get"), Found::WrongMethod { .. }));
}

#[test]
fn hosts_are_chosen_as_envoy_chooses_virtual_hosts() {
    let table = build(&[
        api(&["api.example.com"], "/", &[]),
        api(&["*.example.com"], "/", &[]),
        api(&["*.eu.example.com"], "/", &[]),
        api(&[], "/any", &[]),
        api(&["API2.example.com", "[::1]"], "/", &[]),
    ])
    .unwrap();
    for (host, path, expected) in [
        ("api.example.com", "/", Some(0)),
        ("API.Example.COM", "/", Some(0)),
        ("api.example.com:8443", "/", None),
        ("api.example.com:8443", "/any", Some(3)),
        ("api.example.com:", "/any", Some(3)),
        ("api.example.com.", "/any", Some(3)),
        ("www.example.com:80", "/any", Some(3)),
        ("www.example.com", "/", Some(1)),
        ("a.b.example.com", "/", Some(1)),
        ("a.eu.example.com", "/", Some(2)),
        ("eu.example.com", "/", Some(1)),
        ("example.com", "/any", Some(3)),
        (".example.com", "/any", Some(3)),
        ("", "/any", Some(3)),
        ("api2.example.com", "/", Some(4)),
        ("[::1]", "/", Some(4)),
        ("[::1]:80", "/any", Some(3)),
        ("example.com", "/", None),
        ("other.org", "/any/x", Some(3)),
    ] {
        let found = match find(&table, host, path, "GET") {
            Found::Operation { api, operation: None } => Some(api),
            _ => None,
        };
        assert_eq!(found, expected, "{host} {path}");
    }
}

#[test]
fn a_chosen_host_is_final() {
    let table = build(&[api(&["a.com"], "/a", &[]), api(&["*"], "/b", &[])]).unwrap();
    assert_eq!(find(&table, "a.com", "/b", "GET"), Found::NoApi);
    assert_eq!(find(&table, "b.com", "/b", "GET"), Found::Operation { api: 1, operation: None });
}

#[test]
fn the_longest_base_path_is_final() {
    let table = build(&[
        api(&[], "/shop", &["GET /v2/pets"]),
        api(&[], "/shop/v2/", &["GET /cats"]),
        api(&[], "/", &["GET /*"]),
    ])
    .unwrap();
    assert_eq!(find(&table, "h", "/shop/v2/cats", "GET"), operation(1, 0));
    assert_eq!(find(&table, "h", "/shop/v2/pets", "GET"), Found::NoOperation { api: 1 });
    assert_eq!(find(&table, "h", "/shop/v2", "GET"), Found::NoOperation { api: 1 });
    assert_eq!(find(&table, "h", "/shop/v22/pets", "GET"), Found::NoOperation { api: 0 });
    assert_eq!(find(&table, "h", "/shopping", "GET"), operation(2, 0));
    assert_eq!(find(&table, "h", "/", "GET"), operation(2, 0));
}

#[test]
fn an_escaped_base_path_is_no_base_path() {
    let table = build(&[api(&[], "/api", &["GET /x"]), api(&[], "/", &[])]).unwrap();
    assert_eq!(find(&table, "h", "/api/%78", "GET"), operation(0, 0));
    assert_eq!(find(&table, "h", "/%61pi/x", "GET"), Found::NoApi, "Envoy would take it for the other API's");
    assert_eq!(find(&table, "h", "/%61", "GET"), Found::Operation { api: 1, operation: None });
}

#[test]
fn without_apis_nothing_is_found() {
    assert_eq!(find(&Table::default(), "h", "/", "GET"), Found::NoApi);
}

#[test]
fn operations_that_no_request_can_tell_apart_are_an_error() {
    assert_eq!(
        error(&[api(&[], "/", &["GET /a", "GET,PUT /pets/{id}", "* /b", "POST,PUT /pets/{petId}/"])]),
        "apis[0].operations[3]: `PUT /pets/{petId}/` is the same as `/pets/{id}` of operations[1]; remove one of them"
    );
    assert_eq!(
        error(&[api(&[], "/", &["* /%70ets", "* /pets"])]),
        "apis[0].operations[1]: `* /pets` is the same as `/%70ets` of operations[0]; remove one of them"
    );
    assert_eq!(
        error(&[api(&["a.com"], "/v1", &[]), api(&["b.com", "A.com"], "/v1/", &[])]),
        "apis[1].base_path: `/v1/` on host `A.com` is that of apis[0] too; merge the two"
    );
}

#[test]
fn malformed_entries_are_named() {
    for (path, problem) in [
        ("pets", "`pets` does not start with `/`"),
        ("", "`` does not start with `/`"),
        ("/a//b", "bad template `/a//b`: it has an empty segment (`//`), and requests with one are refused"),
        (
            "/a/../b",
            "bad template `/a/../b`: it has a dot segment (`/./` or `/../`), and such requests are refused",
        ),
        ("/a;b", "bad template `/a;b`: it has a semicolon, and such requests are refused"),
        ("/a#b", "bad template `/a#b`: it has a fragment (`#`), and such requests are refused"),
        ("/a?b=c", "bad template `/a?b=c`: a template has no query; leave out what follows `?`"),
        ("/a/*/b", "bad template `/a/*/b`: `*` can only end the template, after a slash or plain text"),
        ("/{a}*", "bad template `/{a}*`: `*` can only end the template, after a slash or plain text"),
        ("/{a", "bad template `/{a`: every `{` needs a name and a `}`, within one segment"),
        ("/a}", "bad template `/a}`: every `{` needs a name and a `}`, within one segment"),
        ("/{a/b}", "bad template `/{a/b}`: every `{` needs a name and a `}`, within one segment"),
        ("/{}", "bad template `/{}`: every `{` needs a name and a `}`, within one segment"),
        ("/{a{b}}", "bad template `/{a{b}}`: every `{` needs a name and a `}`, within one segment"),
    ] {
        let path = format!("GET {path}").leak();
        assert_eq!(error(&[api(&[], "/", &[path])]), format!("apis[0].operations[0].path: {problem}"));
    }
    for (host, problem) in [
        ("a.com:80", "`a.com:80` has a port; leave it out, and let Envoy strip it from requests"),
        ("a.com.", "`a.com.` ends with a dot; leave it out, and let Envoy strip it from requests"),
        ("a.*", "`a.*` is no host pattern; use a name, `*.` and a name, or `*`"),
        ("*.", "`*.` is no host name"),
        ("", "`` is no host name"),
        ("a/b", "`a/b` is no host name"),
        ("m\u{fc}ller.de", "`m\u{fc}ller.de` is not ASCII; write it in punycode (`xn--...`)"),
    ] {
        assert_eq!(error(&[api(&["ok.com", host], "/", &[])]), format!("apis[0].hosts[1]: {problem}"));
    }
    for (base_path, problem) in [
        ("v1", "`v1` does not start with `/`"),
        ("/{v}", "`/{v}` has a parameter, wildcard or query; put it into the operations' paths"),
        ("/caf\u{e9}", "`/caf\u{e9}` is not in canonical form; write `/caf%C3%A9`"),
        ("//", "bad base path `//`: it has an empty segment (`//`)"),
        ("/a/..", "bad base path `/a/..`: it has a dot segment (`/./` or `/../`)"),
    ] {
        assert_eq!(error(&[api(&[], base_path, &[])]), format!("apis[0].base_path: {problem}"));
    }
    assert_eq!(
        error(&[api(&[], "/", &["PUT,get /"])]),
        "apis[0].operations[0].methods[1]: methods are upper case; write `GET`"
    );
}

#[test]
fn very_long_requests_find_their_way_out() {
    let table = build(&[api(&["*.example.com"], "/", &["GET /a/{x}/{y}.{z}/*", "GET /a/b*"])]).unwrap();
    let long = "b".repeat(100_000);
    assert_eq!(find(&table, &format!("{long}.example.com"), &format!("/a/{long}"), "GET"), operation(0, 1));
    let deep = "/a".repeat(50_000);
    assert_eq!(find(&table, "x.example.com", &deep, &long), Found::NoOperation { api: 0 });
}

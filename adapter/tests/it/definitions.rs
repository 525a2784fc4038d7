//! What the command says of definitions, word by word.

use insta::assert_snapshot;

use crate::{
    cli::{ISSUER, PETS, api, check, insta_name},
    folder::Folder,
};

#[test]
fn files_that_cannot_be_read() {
    let folder =
        Folder::new(&[("empty.yaml", ""), ("broken.yaml", "openapi: [3\ninfo: x\n"), ("text.yaml", "hello")]);
    folder.write("latin1.yaml", b"title: caf\xe9");
    let all = ["check", "absent.yaml", "empty.yaml", "broken.yaml", "text.yaml", "latin1.yaml", "/dev/zero"];
    assert_snapshot!(folder.transcript(&all));
}

#[test]
fn other_formats_are_named() {
    let folder = Folder::new(&[
        ("swagger.yaml", "swagger: '2.0'\ninfo: {}\n"),
        ("async.yaml", "asyncapi: 3.0.0\n"),
        ("future.yaml", "openapi: 3.2.0\n"),
    ]);
    assert_snapshot!(folder.transcript(&["check", "swagger.yaml", "async.yaml", "future.yaml"]));
}

#[test]
fn parts_that_are_missing() {
    assert_snapshot!(check("openapi: 3.1.0\ninfo: {version: 1}\nx: 1\n"));
    assert_snapshot!(check(&api("servers: [{url: https://x.example.com}]\npaths: {}\n")));
    assert_snapshot!(check("openapi: 3.1.0\ninfo: {title: '!', version: 1}\npaths: {/a: {get: {}}}\n"));
}

#[test]
fn servers_that_cannot_be_used() {
    for server in [
        "{}",
        "{url: /v1}",
        "{url: //x.example.com}",
        "{url: v1}",
        "{url: 'https://{region}.example.com'}",
        "{url: 'https://{region'}",
        "{url: 'https://x.example.com/a/../b'}",
        "{url: 'wss://x.example.com'}",
        "{description: none}",
    ] {
        let definition = api(&format!("servers: [{server}]\npaths: {{/a: {{get: {{}}}}}}\n"));
        insta::allow_duplicates! {
            insta::with_settings!({snapshot_suffix => insta_name(server)}, { assert_snapshot!("server", check(&definition)) });
        }
    }
    assert_snapshot!(check(&api("paths: {/a: {get: {}}}\n")));
    assert_snapshot!(check(&api(
        "servers:\n- url: http://a.example.com/v1\n- url: https://a.example.com/v1\n- url: https://b.example.com/v1\n\
         - url: https://c.example.com/v2\npaths: {/a: {get: {}}}\n"
    )));
}

#[test]
fn operations_that_cannot_be_told_apart_or_matched() {
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\npaths:\n  /a/{id}: {get: {}}\n  /a/{name}/: {get: {}, put: {}}\n  \
         b: {get: {}}\n  /c?d=1: {get: {}}\n  /{e: {get: {}}\n  /f//g: {get: {}}\n  /h: {get: {operationId: twice}, put: {operationId: twice}}\n"
    )));
}

#[test]
fn references_that_lead_nowhere() {
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\npaths:\n  /a: {$ref: '#/components/pathItems/a'}\n  \
         /b: {$ref: b.yaml}\n  /c: {$ref: '/etc/passwd'}\n  /d: {$ref: '#/paths/~1e'}\n  /e: {$ref: '#/paths/~1d'}\n  \
         /f: {$ref: 'https://example.com/f.yaml'}\n  /g:\n    get:\n      responses: {'200': {$ref: '#/components/responses/Ok'}}\n"
    )));
}

#[test]
fn security_that_cannot_be_verified() {
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\npaths:\n  /a:\n    get: {security: [{key: []}]}\n    \
         put: {security: [{key: []}, {token: [x]}]}\n    post: {security: [{key: [], token: []}]}\n  /b:\n    \
         get: {security: [{basic: []}, {token: [x]}]}\n    put: {security: [{toke: []}]}\n    post: {security: {token: []}}\n    \
         delete: {security: [token]}\n    head: {security: [{token: admin}]}\n    options: {security: [{token: [{}]}]}\n    patch: {x-wso2-disable-security: maybe}\n\
         components:\n  securitySchemes:\n    key: {type: apiKey, name: X-Key, in: header}\n    \
         basic: {type: http, scheme: basic}\n    token: {type: http, scheme: bearer}\n"
    )));
}

#[test]
fn extensions_that_are_not_read_or_bad() {
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\nx-wso2-basePath: 'a b'\nx-wso2-auth-header: 'X Token'\n\
         x-wso2-production-endpoints: {urls: []}\nx-wso2-throttling-tier: Gold\n\
         x-wso2-cors: {access-control-allow-origins: [x], accessControlAllowCredentials: true}\n\
         paths:\n  /a:\n    get: {x-wso2-request-interceptor: {}}\n    servers: [{url: https://y.example.com}]\n"
    )));
}

#[test]
fn tiers_that_do_not_exist_or_have_no_effect() {
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\npaths:\n  /a:\n    x-wso2-throttling-tier: Gold\n    \
         get: {x-wso2-throttling-tier: Glod}\n    put: {x-throttling-tier: Mine}\n    \
         delete: {x-throttling-tier: Unlimited}\n"
    )));
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\nx-wso2-throttling-tier: Bronze\npaths:\n  /a: {get: {x-throttling-tier: Gold}}\n"
    )));
    assert_snapshot!(check(&api(
        "servers: [{url: https://x.example.com}]\nx-wso2-throttling-tier: [Gold]\npaths:\n  /a: {get: {x-throttling-tier: 1}}\n"
    )));
}

#[test]
fn definitions_that_contradict_each_other() {
    let folder = Folder::new(&[("a.yaml", PETS), ("b.yaml", PETS), ("enforcer.yaml", ISSUER)]);
    folder.write("c.yaml", format!("{}x-wso2-auth-header: X-Token\n", PETS.replace("9000/v1", "9000/v2")));
    assert_snapshot!(folder.transcript(&["check", "a.yaml", "b.yaml", "c.yaml"]));
}

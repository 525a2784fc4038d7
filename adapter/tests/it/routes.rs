//! Many APIs on one host: a tree of base paths in place of a list, and the same routes found.

use enforcer_testbed::{EchoBackend, EnvoyBinary, Request};

use crate::{
    envoy::{KEYS, module},
    folder::Folder,
};

/// Base paths that begin alike, that hold each other, and whose names need care.
const PATHS: [&str; 10] =
    ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a.b", "/b/c", "/b/cd", "/b/c/d", "/service1"];

/// Paths of requests, and the base path that serves them.
const REQUESTS: [(&str, &str); 18] = [
    ("/a", "/a"),
    ("/a/", "/a"),
    ("/a?b/c", "/a"),
    ("/a/bc", "/a"),
    ("/a/b", "/a/b"),
    ("/a/b?x=1", "/a/b"),
    ("/a/b/cd", "/a/b"),
    ("/a/b/c/d", "/a/b/c"),
    ("/ab/x", "/ab"),
    ("/abc", "/"),
    ("/a.b/x", "/a.b"),
    ("/axb/x", "/"),
    ("/b/c/x", "/b/c"),
    ("/b/cd/x", "/b/cd"),
    ("/b/cde", "/"),
    ("/b/c/d?q", "/b/c/d"),
    ("/service1/x", "/service1"),
    ("/service12/x", "/service12"),
];

fn definition(number: usize, base_path: &str, backend: &EchoBackend) -> String {
    format!(
        "openapi: 3.1.0\ninfo: {{title: API {number}, version: '1'}}\nx-wso2-basePath: {base_path}\nsecurity: []\n\
         servers: [{{url: 'http://{}/api{number}'}}]\npaths: {{'/*': {{get: {{}}}}}}\n",
        backend.address()
    )
}

#[test]
fn many_apis_are_found_as_few_are() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let backend = EchoBackend::start().unwrap();
    let fillers: Vec<String> = (10..20).map(|number| format!("/service{number}")).collect();
    let paths: Vec<&str> = PATHS.into_iter().chain(fillers.iter().map(String::as_str)).collect();
    let folder = Folder::new(&[("keys.json", KEYS)]);
    let settings = format!(
        "issuers: [{{issuer: 'https://idp.example.com', jwks: keys.json}}]\n\
         listeners: [{{address: 127.0.0.1, port: 0}}]\ndefaults: {{modules: {}, admin: {{port: 0}}}}\n",
        module.display()
    );
    folder.write("enforcer.yaml", settings);
    for (number, path) in paths.iter().enumerate() {
        folder.write(&format!("api{number}.yaml"), definition(number, path, &backend));
    }
    for count in [PATHS.len(), paths.len()] {
        let files: Vec<String> = (0..count).map(|number| format!("api{number}.yaml")).collect();
        let mut arguments = vec!["build"];
        arguments.extend(files.iter().map(String::as_str));
        arguments.extend(["-t", "envoy", "-o", "out"]);
        let output = folder.run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bootstrap = folder.read("out/envoy.yaml");
        assert_eq!(bootstrap.contains("matcher_tree"), count > 16, "{bootstrap}");

        let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
        let client = envoy.client("enforcer_0").unwrap();
        for (path, base_path) in REQUESTS {
            let wanted = paths[..count].iter().position(|path| *path == base_path).unwrap_or(0);
            let answer = client.send(&Request::get(path)).unwrap();
            let echoed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            let reached = echoed["path"].as_str().unwrap_or_default();
            let reached = reached.split(['/', '?']).nth(1).unwrap_or_default();
            assert_eq!((answer.status, reached), (200, &*format!("api{wanted}")), "{path} of {count} APIs");
        }
    }
}

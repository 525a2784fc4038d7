//! A gateway that `enforcer build` made, for an API with a sandbox.

use enforcer_testbed::{EchoBackend, EnvoyBinary, Issuer, Request};

use crate::{envoy::module, folder::Folder};

#[test]
fn the_key_type_picks_the_backend_and_its_path() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let issuer = Issuer::start().unwrap();
    let [production, sandbox] = [(); 2].map(|()| EchoBackend::start().unwrap());
    let definition = format!(
        "openapi: 3.1.0\ninfo: {{title: T, version: '1'}}\nx-wso2-basePath: /t\n\
         x-wso2-production-endpoints: {{urls: ['http://{}/p']}}\nx-wso2-sandbox-endpoints: {{urls: ['http://{}/s/v1']}}\n\
         paths: {{/a: {{get: {{}}}}, /open: {{get: {{x-wso2-disable-security: true}}}}}}\n",
        production.address(),
        sandbox.address()
    );
    let settings = format!(
        "issuers: [{{issuer: '{}'}}]\nlisteners: [{{address: 127.0.0.1, port: 0}}]\n\
         defaults: {{modules: {}, admin: {{port: 0}}}}\n",
        issuer.url(),
        module.display()
    );
    let folder = Folder::new(&[("api.yaml", &definition), ("enforcer.yaml", &settings)]);
    let output = folder.run(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
    let client = envoy.client("enforcer_0").unwrap();
    let clusters = folder.read("out/envoy.yaml");
    let cluster = clusters.split("name: ").find(|rest| rest.starts_with("enforcer_sandbox_")).unwrap();
    let cluster = cluster.lines().next().unwrap();
    let token = |key_type: &str| issuer.token().claim("keytype", key_type).sign().unwrap();
    // Whatever a client says of clusters, before and after the filter has looked at it.
    for said in ["", cluster, "enforcer_api_t_1", "nonsense"] {
        for (token, path, backend, other, arrives) in [
            (Some(token("PRODUCTION")), "/t/a", &production, &sandbox, "/p/a"),
            (Some(token("SANDBOX")), "/t/a", &sandbox, &production, "/s/v1/a"),
            (None, "/t/open", &production, &sandbox, "/p/open"),
        ] {
            [backend, other].iter().for_each(|backend| backend.clear());
            let request = Request::get(path);
            let request =
                if said.is_empty() { request } else { request.header("x-wso2-cluster-header", said) };
            let request = token.iter().fold(request, |request, token| request.bearer(token));
            assert_eq!(client.send(&request).unwrap().status, 200, "{said} {path}");
            let [received] = &backend.received()[..] else { panic!("{said} {path}: not received once") };
            assert_eq!(received.path, arrives);
            assert!(!received.headers.contains("x-wso2-cluster-header"));
            assert!(other.received().is_empty());
        }
    }
}

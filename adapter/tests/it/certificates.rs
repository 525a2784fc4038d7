//! A gateway that `enforcer build` made, and callers with client certificates.

use enforcer_testbed::{EchoBackend, EnvoyBinary, Keys, Request};

use crate::{envoy::module, folder::Folder};

#[test]
fn who_shows_what_is_known_gets_in() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let backend = EchoBackend::start().unwrap();
    let [server, known, other] = [1, 2, 3].map(|number| Keys::generate(number).unwrap().certified().unwrap());
    let definition = format!(
        "openapi: 3.1.0\ninfo: {{title: T, version: '1'}}\nservers: [{{url: 'http://{}'}}]\nsecurity: [{{tls: []}}]\n\
         paths: {{/a: {{get: {{}}}}}}\ncomponents: {{securitySchemes: {{tls: {{type: mutualTLS}}}}}}\n",
        backend.address()
    );
    let folder = Folder::new(&[("api.yaml", &definition)]);
    for (name, text) in [("tls.crt", server.pem()), ("tls.key", server.key_pem()), ("known.crt", known.pem())]
    {
        folder.write(name, text);
    }
    let here = |name: &str| folder.file(name).display().to_string();
    for (ca, certificate) in [("", "file: known.crt"), ("known.crt", "subject: CN=ec-2")] {
        let ca = if ca.is_empty() { String::new() } else { format!(", client_ca: {}", here(ca)) };
        folder.write(
            "enforcer.yaml",
            format!(
                "listeners: [{{address: 127.0.0.1, port: 0, tls: {{certificate: {}, key: {}{ca}}}}}]\n\
                 auth: {{client_certificates: {{known: [{{{certificate}, consumer: acme}}]}}}}\n\
                 defaults: {{modules: {}, admin: {{port: 0}}}}\n",
                here("tls.crt"),
                here("tls.key"),
                module.display()
            ),
        );
        let output = folder.run(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
        let client = envoy.client("enforcer_0").unwrap();
        let status = |shown| {
            let mut connection = client.connect_tls(shown)?;
            connection.send(&Request::get("/a")).map(|response| response.status)
        };
        assert_eq!(status(Some(&known)).unwrap(), 200, "{certificate}");
        if ca.is_empty() {
            assert_eq!((status(None).unwrap(), status(Some(&other)).unwrap()), (401, 401));
        } else {
            // The listener lets nobody else connect.
            assert!(status(None).is_err() && status(Some(&other)).is_err());
        }
    }
    assert_eq!(backend.received().len(), 2);
}

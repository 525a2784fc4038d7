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
    folder.write("project/client_certificates.yaml", PROJECT);
    folder.write("project/acme.crt", known.pem());
    let known_by = |how: &str| format!("known: [{{{how}, consumer: acme}}]");
    for (ca, certificates) in [
        ("", known_by("file: known.crt")),
        ("known.crt", known_by("subject: CN=ec-2")),
        ("", "imports: [project/client_certificates.yaml]".to_owned()),
    ] {
        let ca = if ca.is_empty() { String::new() } else { format!(", client_ca: {}", here(ca)) };
        folder.write(
            "enforcer.yaml",
            format!(
                "listeners: [{{address: 127.0.0.1, port: 0, tls: {{certificate: {}, key: {}{ca}}}}}]\n\
                 auth: {{client_certificates: {{{certificates}}}}}\n\
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
        assert_eq!(status(Some(&known)).unwrap(), 200, "{certificates}");
        if ca.is_empty() {
            assert_eq!((status(None).unwrap(), status(Some(&other)).unwrap()), (401, 401));
        } else {
            // The listener lets nobody else connect.
            assert!(status(None).is_err() && status(Some(&other)).is_err());
        }
    }
    assert_eq!(backend.received().len(), 3);
}

/// As `apictl` exports it.
const PROJECT: &str = "type: client_certificates
version: v4.1.0
data:
- alias: acme
  certificate: acme.crt
  tierName: Gold
  apiIdentifier: {providerName: admin, apiName: T, version: '1', id: 0}
";

#[test]
fn certificates_of_a_project_are_for_their_apis() {
    let definition = "openapi: 3.0.3\ninfo: {title: T, version: '1'}\nservers: [{url: https://x.example.com}]\n\
                      x-wso2-mutual-ssl: mandatory\npaths: {/a: {get: {}}}\n";
    let settings = "issuers: [{issuer: https://a.example.com, jwks: https://a.example.com/jwks}]\n\
                    auth: {client_certificates: {imports: [client_certificates.yaml]}}\n\
                    listeners: [{port: 8443, tls: {certificate: tls.crt, key: tls.key}}]\n\
                    defaults: {modules: /opt/enforcer, ca_file: /x}\n";
    let folder = Folder::new(&[("a.yaml", definition), ("enforcer.yaml", settings)]);
    folder.write("acme.crt", Keys::generate(2).unwrap().certified().unwrap().pem());
    let two = format!(
        "{PROJECT}{}",
        PROJECT
            .split_once("data:\n")
            .unwrap()
            .1
            .replace("Gold", "Bronze")
            .replace("apiName: T", "apiName: My Other")
    );
    folder.write("client_certificates.yaml", two);
    let output = folder.run(&["build", "a.yaml", "-t", "envoy-filters", "-o", "out"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("`acme` of `client_certificates.yaml` is for My Other 1, which is not here"),
        "{said}"
    );
    let filters = folder.read("out/http_filters.yaml").split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        r#""consumer": "acme", "tier": "Gold", "apis": ["t"]"#,
        r#""consumer": "acme", "tier": "Bronze", "apis": ["my-other"]"#,
        r#"{"jwt": {}, "certificate": true}"#,
    ] {
        assert!(filters.contains(part), "{part} is not in\n{filters}");
    }
    folder.write("client_certificates.yaml", PROJECT.replace("acme.crt", "other.crt"));
    let transcript = folder.transcript(&["check", "a.yaml"]);
    assert!(
        transcript.contains("the certificate `other.crt` of `client_certificates.yaml` cannot be read"),
        "{transcript}"
    );
}

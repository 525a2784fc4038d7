//! A gateway that `enforcer build` made, which passes an issuer's endpoints through.

use enforcer_testbed::{EchoBackend, EnvoyBinary, Request};

use crate::{
    cli::PETS,
    envoy::{KEYS, module},
    folder::Folder,
};

#[test]
fn what_clients_send_to_the_issuer_arrives_as_it_is() {
    let (Some(envoy), Some(module)) = (EnvoyBinary::find_or_skip().unwrap(), module()) else { return };
    let [pets, issuer] = [(); 2].map(|()| EchoBackend::start().unwrap());
    let address = issuer.address();
    let settings = format!(
        "issuers:\n- issuer: https://idp.example.com\n  jwks: keys.json\n  endpoints:\n    base_path: /oauth2\n    \
         token: http://{address}/realms/a/token\n    userinfo: http://{address}/me\n\
         listeners: [{{address: 127.0.0.1, port: 0}}]\n\
         defaults: {{backend: 'http://{}', modules: {}, admin: {{port: 0}}}}\n",
        pets.address(),
        module.display()
    );
    let folder = Folder::new(&[("api.yaml", PETS), ("enforcer.yaml", &settings), ("keys.json", KEYS)]);
    let output = folder.run(&["build", "api.yaml", "-t", "envoy", "-o", "out"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let envoy = envoy.options(folder.file("out/envoy.yaml")).start().unwrap();
    let client = envoy.client("enforcer_0").unwrap();

    let form = "grant_type=client_credentials&scope=a%20b";
    let token = Request::new("POST", "/oauth2/token?x=1").header("authorization", "Basic YTpi").body(form);
    assert_eq!(client.send(&token).unwrap().status, 200);
    assert_eq!(client.send(&Request::get("/oauth2/userinfo").bearer("opaque")).unwrap().status, 200);
    let received = issuer.received();
    let seen: Vec<_> = received.iter().map(|one| (one.method.as_str(), one.path.as_str())).collect();
    assert_eq!(seen, [("POST", "/realms/a/token?x=1"), ("GET", "/me")]);
    assert_eq!(received[0].headers.get("authorization"), Some(&b"Basic YTpi"[..]));
    assert_eq!(received[0].headers.get("host"), Some(address.to_string().as_bytes()));
    assert_eq!(received[0].body, form.as_bytes());
    assert_eq!(received[1].headers.get("authorization"), Some(&b"Bearer opaque"[..]));

    for absent in
        [Request::get("/oauth2/token"), Request::get("/oauth2/jwks"), Request::new("POST", "/token")]
    {
        assert_eq!(client.send(&absent).unwrap().status, 404);
    }
    assert_eq!((issuer.received().len(), pets.received().len()), (2, 0));
}

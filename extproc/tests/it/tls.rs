//! A server that shows a certificate, and asks Envoy for one.

use enforcer_extproc::Tls;
use enforcer_testbed::{Certified, Keys, Request};
use serde_json::{Value, json};

use crate::{
    gateway::{Door, Gateway},
    talk::{PASS, World, module},
};

/// Envoy's side: whom it takes for the server, and what it shows.
fn socket(server: &Certified, shown: Option<&Certified>) -> Value {
    let shown = shown.map(|own| {
        json!({
            "certificate_chain": { "inline_string": own.pem() },
            "private_key": { "inline_string": own.key_pem() },
        })
    });
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": server.dns(),
            "common_tls_context": {
                "tls_certificates": shown.as_slice(),
                "validation_context": {
                    "trusted_ca": { "inline_string": server.pem() },
                    "match_typed_subject_alt_names": [
                        { "san_type": "DNS", "matcher": { "exact": server.dns() } },
                    ],
                },
            },
        },
    })
}

#[test]
fn only_an_envoy_with_a_certificate_of_the_right_authority_is_served() {
    let [server, known, stranger] =
        [0, 1, 2].map(|number| Keys::generate(number).unwrap().certified().unwrap());
    let tls = |clients: Option<&Certified>| Tls {
        certificate: server.pem().into_bytes(),
        key: server.key_pem().into_bytes(),
        clients: clients.map(|clients| clients.pem().into_bytes()),
    };
    let strict = World::start(&module(PASS), Some(tls(Some(&known))));
    let open = World::start(&module(PASS), Some(tls(None)));
    let (strict, open) = ([strict.bridge.address()], [open.bridge.address()]);
    let by_tls = |name, servers, socket| Door { tls: Some(socket), ..Door::new(name, servers) };
    let Some(gateway) = Gateway::start(&[
        by_tls("known", &strict, socket(&server, Some(&known))),
        by_tls("stranger", &strict, socket(&server, Some(&stranger))),
        by_tls("nobody", &strict, socket(&server, None)),
        by_tls("deceived", &strict, socket(&stranger, Some(&known))),
        Door::new("plain", &strict),
        by_tls("open", &open, socket(&server, None)),
    ]) else {
        return;
    };
    let status = |door: &str| gateway.ask(door, &Request::get("/")).status;
    assert_eq!((status("known"), status("open")), (200, 200));
    gateway.backend.clear();
    for door in ["stranger", "nobody", "deceived", "plain"] {
        assert_eq!(status(door), 500, "{door}");
    }
    assert!(gateway.backend.received().is_empty(), "what is not asked about does not pass");
}

//! Ten definitions that people really publish: one good request for each operation goes through a real Envoy
//! to the right operation and the right path of the backend.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use enforcer_testbed::EnvoyBinary;

use crate::{definition::Definition, running::Running};

/// APIs that live side by side on one Envoy.
pub(crate) struct Gateway {
    /// `defaults.backend` without its address. Empty: the paths of the definitions.
    pub(crate) backend_path: &'static str,
    pub(crate) apis: &'static [Api],
}

pub(crate) struct Api {
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    /// Where its `servers` say that it lives.
    pub(crate) base_path: &'static str,
    /// Handed to the adapter as YAML.
    pub(crate) yaml: bool,
}

const fn api(file: &'static str, name: &'static str, base_path: &'static str) -> Api {
    Api { file, name, base_path, yaml: false }
}

const GATEWAYS: [Gateway; 4] = [
    Gateway {
        backend_path: "",
        apis: &[
            // The largest.
            api("large-api.github.com", "github-v3-rest-api", ""),
            // A relative server, a path `/`.
            api("influxdata.com", "influx-oss-api-service", "/api/v2"),
            // Three servers with one path; `{geomarkId}.{fileFormatExtension}`.
            api("gov.bc.ca__geomark", "geomark-web-service-rest-api", "/pub/geomark"),
            // OpenAPI 3.1; basic or an API key.
            api("adyen.com__BalancePlatformService", "configuration-api", "/bcl/v2"),
            // Scopes on most operations.
            Api { yaml: true, ..api("spotify.com", "spotify-web-api", "/v1") },
        ],
    },
    Gateway {
        backend_path: "/internal/v9",
        apis: &[
            // OpenAPI 3.1, a second server with variables, `{id}.json`.
            Api { yaml: true, ..api("discourse.local", "discourse-api-documentation", "") },
            // No operation ids, `{id}.json` beside `{id}/...` and concrete names.
            api("jumpseller.com", "jumpseller-api", "/v1"),
        ],
    },
    Gateway {
        backend_path: "",
        apis: &[
            // Alternatives: app token, user token with scopes, OAuth 1.
            api("twitter.com__current", "twitter-api-v2", ""),
            // `{origin}-{destination}`, `{latitude},{longitude}`.
            api("lufthansa.com__public", "lh-public-api", "/v1"),
        ],
    },
    Gateway {
        backend_path: "/ml",
        apis: &[
            // A base path that is a server variable; OPTIONS operations without a `security`.
            api("webflow.com", "lucidtech-api", "/v1"),
        ],
    },
];

const OPERATIONS: usize = 1_619;
/// All of them together, on two cores with a compiler beside.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn real_definitions() {
    let Some(corpora) = std::env::var_os("ENFORCER_CORPORA").map(PathBuf::from) else {
        println!("skipped: ENFORCER_CORPORA is not set");
        return;
    };
    let specs = corpora.join("openapi/specs");
    assert!(specs.is_dir(), "ENFORCER_CORPORA is set, but `{}` is no folder", specs.display());
    let Some(envoy) = EnvoyBinary::find_or_skip().unwrap() else { return };
    let started = Instant::now();
    let (mut definitions, mut operations, mut failures) = (0, 0, Vec::new());
    for gateway in &GATEWAYS {
        let read = |api: &Api| Definition::read(&specs.join(format!("{}.json", api.file)));
        let apis: Vec<(&Api, Definition)> = gateway.apis.iter().map(|api| (api, read(api))).collect();
        let mut running = Running::start(gateway.backend_path, &apis, &envoy);
        for (api, definition) in &apis {
            definitions += 1;
            for call in definition.calls() {
                operations += 1;
                let failure = call.and_then(|call| running.make(api, call));
                failures.extend(failure.err().map(|why| format!("{}: {why}", api.file)));
            }
        }
        failures.extend(running.misread());
    }
    failures.iter().for_each(|failure| println!("  {failure}"));
    let outcome = match failures.len() {
        0 => "all reached".to_owned(),
        some => format!("{some} failures"),
    };
    let taken = started.elapsed();
    println!("real definitions: {definitions} definitions, {operations} operations, {outcome} ({taken:.1?})");
    assert!(failures.is_empty(), "{outcome}");
    assert_eq!((definitions, operations), (10, OPERATIONS));
    assert!(taken < LIMIT, "it took {taken:?}");
}

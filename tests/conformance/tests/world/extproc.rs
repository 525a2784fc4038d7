//! A real Envoy with the `ext_proc` filter in front of `enforcer-extproc`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use enforcer_extproc::{
    Bridge, Cluster, Config, Filter, Finished, Journal, Limits, Modules, Options, Source,
};
use enforcer_harness::Level;
use enforcer_testbed::{EnvoyBinary, Error, ReservedPort};
use serde_json::{Value, json};

use super::{
    Answer, Ask, Host, Plugin, Seen,
    envoy::{EnvoyHost, upstreams},
};

pub(crate) struct ExtProcHost {
    // Fields drop in this order: Envoy before what it talks to.
    envoy: EnvoyHost,
    bridge: Bridge,
    log: Arc<Log>,
    _down: ReservedPort,
}

impl ExtProcHost {
    pub(crate) fn start(binary: &EnvoyBinary, plugin: &Plugin) -> Result<Self, Error> {
        let (upstreams, down) = (upstreams()?, ReservedPort::new()?);
        let mut clusters: BTreeMap<String, SocketAddr> =
            upstreams.iter().map(|(name, upstream)| ((*name).to_owned(), upstream.address())).collect();
        clusters.insert("down".into(), down.address());
        let log = Arc::new(Log::default());
        let bridge = bridge(plugin, &clusters, &log);
        let more = [("ext_proc", Some(bridge.address()))];
        let envoy = EnvoyHost::start(binary, &filter(), upstreams, &more, plugin.workers)?;
        Ok(Self { envoy, bridge, log, _down: down })
    }
}

fn bridge(plugin: &Plugin, clusters: &BTreeMap<String, SocketAddr>, log: &Arc<Log>) -> Bridge {
    let filter = Filter {
        module: plugin.file().canonicalize().unwrap(),
        root_id: plugin.root_id.into(),
        allow_on_headers_stop_iteration: plugin.stop_iteration,
        configuration: plugin.configuration.to_string().into(),
    };
    let cluster = |address| Cluster { url: format!("http://{address}"), ca_file: None };
    let config = Config {
        filters: BTreeMap::from([("*".to_owned(), filter)]),
        clusters: clusters.iter().map(|(name, address)| (name.clone(), cluster(address))).collect(),
        limits: Limits::default(),
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let source = Source::Given(Box::new(config));
    let options = Options { listen: any, admin: any, workers: 1, source, tls: None };
    let modules = Modules::start(None).unwrap();
    let bridge = Bridge::start(&options, &modules, Arc::clone(log) as Arc<dyn Journal>);
    bridge.unwrap_or_else(|error| panic!("{error}; log: {:?}", log.0.lock()))
}

/// Envoy's filter with the cluster `ext_proc`. Bodies travel in mode `FULL_DUPLEX_STREAMED`: the server may hold,
/// replace and release them as it likes, which is what a proxy-wasm filter expects.
fn filter() -> Value {
    json!({
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": { "envoy_grpc": { "cluster_name": "ext_proc" } },
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND",
                "response_header_mode": "SEND",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "response_trailer_mode": "SEND",
            },
        },
    })
}

/// Lines of the module and the server.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<String>>);

impl Journal for Log {
    fn level(&self) -> Level {
        Level::Debug
    }

    fn line(&self, _level: Level, _source: &str, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }

    fn finished(&self, _request: &Finished) {}
}

impl Host for ExtProcHost {
    fn answer(&mut self, upstream: &str, answer: Answer) {
        self.envoy.answer(upstream, answer);
    }

    fn begin(&mut self, ask: &Ask) -> usize {
        self.envoy.begin(ask)
    }

    fn abandon(&mut self, request: usize) {
        self.envoy.abandon(request);
    }

    fn finish(&mut self, request: usize) -> Seen {
        self.envoy.finish(request)
    }

    fn received(&mut self, upstream: &str) -> Vec<Seen> {
        self.envoy.received(upstream)
    }

    fn wait_for(&mut self, upstream: &str, count: usize) {
        self.envoy.wait_for(upstream, count);
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.bridge.counters().get(name).copied().unwrap_or_default()
    }

    fn log(&mut self) -> Vec<String> {
        self.log.0.lock().unwrap().clone()
    }

    fn details(&mut self) -> Vec<String> {
        self.envoy.details()
    }

    fn has_empty_clusters(&self) -> bool {
        false
    }

    fn pass(&mut self, time: Duration) {
        self.envoy.pass(time);
    }

    fn died(&mut self) -> bool {
        self.envoy.died()
    }
}

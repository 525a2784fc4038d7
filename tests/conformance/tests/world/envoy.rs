//! A real Envoy as a host.

use std::{collections::BTreeMap, time::Duration};

use enforcer_testbed::{
    Connection, EchoBackend, Envoy, EnvoyBinary, Error, Fields, RawClient, Reply, Request, ReservedPort,
};
use serde_json::Value;

use super::{Answer, Ask, Host, Plugin, Seen, bootstrap};

pub(crate) struct EnvoyHost {
    // Fields drop in this order: Envoy before what it talks to.
    envoy: Envoy,
    upstreams: Upstreams,
    client: RawClient,
    open: BTreeMap<usize, (Connection, &'static str)>,
    begun: usize,
    _down: ReservedPort,
}

/// Longer than anything that Envoy is configured to wait for.
const LIMIT: Duration = Duration::from_secs(8);

/// The upstreams that answer, by their names.
pub(crate) type Upstreams = BTreeMap<&'static str, EchoBackend>;

pub(crate) fn upstreams() -> Result<Upstreams, Error> {
    ["backend", "side", "slow", "reset"].into_iter().map(|name| Ok((name, EchoBackend::start()?))).collect()
}

impl EnvoyHost {
    /// Runs the plugin in Envoy's Wasm filter.
    pub(crate) fn wasm(binary: &EnvoyBinary, plugin: &Plugin) -> Result<Self, Error> {
        let filter = bootstrap::wasm(plugin, &plugin.file());
        let upstreams = upstreams()?;
        for (name, answer) in &plugin.answers {
            upstream(&upstreams, name).answer(reply(answer));
        }
        Self::start(binary, &filter, upstreams, &[], plugin.workers)
    }

    /// Starts with any HTTP filter, and with more clusters.
    pub(crate) fn start(
        binary: &EnvoyBinary,
        filter: &Value,
        upstreams: Upstreams,
        more: bootstrap::Clusters<'_>,
        workers: u32,
    ) -> Result<Self, Error> {
        let mut clusters: Vec<_> =
            upstreams.iter().map(|(name, upstream)| (*name, Some(upstream.address()))).collect();
        let down = ReservedPort::new()?;
        clusters.push(("down", Some(down.address())));
        clusters.push(("empty", None));
        clusters.extend_from_slice(more);
        let config = bootstrap::bootstrap(filter, &clusters);
        let envoy = binary.options(config).concurrency(workers).start()?;
        let client = envoy.client("ingress")?.timeout(LIMIT);
        Ok(Self { envoy, upstreams, client, open: BTreeMap::new(), begun: 0, _down: down })
    }
}

fn upstream<'a>(upstreams: &'a Upstreams, name: &str) -> &'a EchoBackend {
    upstreams.get(name).unwrap_or_else(|| panic!("there is no upstream `{name}` that answers"))
}

fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Close => Reply::reset(),
        Answer::Reply { status, headers, body, trailers, after } => {
            let mut reply = Reply::status(*status).body(body).delay(*after);
            for (name, value) in headers.iter() {
                reply = reply.header(name, value);
            }
            match trailers {
                Some(trailers) => reply.chunked(trailers.clone()),
                None => reply,
            }
        }
    }
}

/// The oldest Envoy that we support: `$ENVOY_OLDER`, else what `make envoy-1.36` installs.
pub(crate) fn oldest() -> Option<EnvoyBinary> {
    const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/envoy-1.36.4/envoy");
    let path = std::env::var_os("ENVOY_OLDER").unwrap_or_else(|| INSTALLED.into());
    let found = EnvoyBinary::at(path);
    if let Err(error) = &found {
        println!("skipped: {error}");
    }
    found.ok()
}

impl Host for EnvoyHost {
    fn answer(&mut self, name: &str, answer: Answer) {
        upstream(&self.upstreams, name).answer(reply(&answer));
    }

    fn begin(&mut self, ask: &Ask) -> usize {
        let mut request = Request::new(ask.method, ask.path);
        for (name, value) in ask.headers.iter() {
            request = request.header(name, value);
        }
        if ask.is_chunked() {
            request = request.chunks(&ask.body, ask.trailers.clone());
        }
        let mut wire = request.to_wire();
        if !ask.is_chunked() {
            wire.extend(ask.body.concat());
        }
        let mut connection = self.client.connect().unwrap();
        connection.write(&wire).unwrap();
        self.begun += 1;
        self.open.insert(self.begun, (connection, ask.method));
        self.begun
    }

    fn abandon(&mut self, request: usize) {
        self.open.remove(&request).unwrap();
    }

    fn finish(&mut self, request: usize) -> Seen {
        let (mut connection, method) = self.open.remove(&request).unwrap();
        match connection.read(method) {
            Ok(answer) => Seen {
                status: answer.status,
                headers: answer.headers,
                body: answer.body,
                trailers: answer.trailers,
                complete: answer.complete,
            },
            Err(_) => Seen::default(),
        }
    }

    fn received(&mut self, name: &str) -> Vec<Seen> {
        let seen = |request: enforcer_testbed::Received| {
            let mut headers = Fields::new().with(":path", request.path);
            request.headers.iter().for_each(|(name, value)| headers.push(name, value));
            Seen { status: 0, headers, body: request.body, trailers: request.trailers, complete: true }
        };
        upstream(&self.upstreams, name).received().into_iter().map(seen).collect()
    }

    fn wait_for(&mut self, name: &str, count: usize) {
        upstream(&self.upstreams, name).wait_for(count, LIMIT).unwrap();
    }

    fn counter(&mut self, name: &str) -> u64 {
        self.envoy.stats().unwrap().get(&format!("wasmcustom.{name}")).copied().unwrap_or(0)
    }

    fn log(&mut self) -> Vec<String> {
        self.envoy.log().since(0)
    }

    fn pass(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn died(&mut self) -> bool {
        self.envoy.check_alive().is_err()
    }

    fn details(&mut self) -> Vec<String> {
        self.envoy.access_log().since(0)
    }
}

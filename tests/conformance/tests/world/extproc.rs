//! A real Envoy with the `ext_proc` filter in front of the harness' host.

use std::{collections::BTreeMap, time::Duration};

use enforcer_testbed::{EnvoyBinary, Error, ReservedPort};

use super::{
    Answer, Ask, Host, Plugin, Seen,
    envoy::{EnvoyHost, upstreams},
};
use crate::extproc::{self, Shim};

pub(crate) struct ExtProcHost {
    // Fields drop in this order: Envoy before what it talks to.
    envoy: EnvoyHost,
    shim: Shim,
    _down: ReservedPort,
}

impl ExtProcHost {
    pub(crate) fn start(binary: &EnvoyBinary, plugin: &Plugin) -> Result<Self, Error> {
        let (upstreams, down) = (upstreams()?, ReservedPort::new()?);
        let mut clusters: BTreeMap<_, _> =
            upstreams.iter().map(|(name, upstream)| ((*name).to_owned(), upstream.address())).collect();
        clusters.insert("down".into(), down.address());
        let shim = Shim::start(plugin, clusters);
        let more = [("ext_proc", Some(shim.address))];
        let envoy = EnvoyHost::start(binary, &extproc::filter(), upstreams, &more, plugin.workers)?;
        Ok(Self { envoy, shim, _down: down })
    }
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
        self.shim.metrics.counter(name)
    }

    fn log(&mut self) -> Vec<String> {
        self.shim.log.lock().unwrap().clone()
    }

    fn details(&mut self) -> Vec<String> {
        self.envoy.details()
    }

    fn pass(&mut self, time: Duration) {
        self.envoy.pass(time);
    }

    fn died(&mut self) -> bool {
        self.envoy.died()
    }
}

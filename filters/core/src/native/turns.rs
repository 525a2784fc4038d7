//! Workers that touch shared data in a given order, to try every order there is.

use std::{
    collections::BTreeSet,
    fmt,
    panic::resume_unwind,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::NativeHost;
use crate::{
    headers::HeaderMap,
    host::{Conflict, Expected, Hash, Host, Level, MapKind, Version},
};

/// Lets actors make one access to shared data at a time, in a given order.
#[derive(Debug)]
struct Turns {
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Debug)]
struct Progress {
    /// Whose turns are to come, the next one last.
    order: Vec<usize>,
    done: BTreeSet<usize>,
}

impl Turns {
    fn new(order: &[usize]) -> Self {
        let order = order.iter().rev().copied().collect();
        Self { state: Mutex::new(Progress { order, done: BTreeSet::new() }), changed: Condvar::new() }
    }

    /// Makes one access when it is the actor's turn. Turns of actors that are done already are skipped, and
    /// after the last turn everybody may go.
    fn take<T>(&self, actor: usize, access: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while state.order.last().is_some_and(|next| state.done.contains(next)) {
                state.order.pop();
            }
            if state.order.last().is_none_or(|next| *next == actor) {
                let result = access();
                state.order.pop();
                self.changed.notify_all();
                return result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, actor: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).done.insert(actor);
        self.changed.notify_all();
    }
}

/// An actor that fails must not leave the others waiting for its turns.
impl Drop for Actor<'_> {
    fn drop(&mut self) {
        self.turns.finish(self.id);
    }
}

/// A worker that waits for its turn before it touches shared data.
struct Actor<'a> {
    id: usize,
    host: NativeHost,
    turns: &'a Turns,
}

impl Host for Actor<'_> {
    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, Version)> {
        self.turns.take(self.id, || self.host.shared_get(key))
    }
    fn shared_set(&self, key: &str, value: &[u8], expected: Expected) -> Result<(), Conflict> {
        self.turns.take(self.id, || self.host.shared_set(key, value, expected))
    }

    fn now(&self) -> Duration {
        self.host.now()
    }
    fn monotonic(&self) -> Duration {
        self.host.monotonic()
    }
    fn random(&self) -> u64 {
        self.host.random()
    }
    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>> {
        self.host.attribute(path)
    }
    fn headers(&self, map: MapKind) -> HeaderMap {
        self.host.headers(map)
    }
    fn body(&self, message: MapKind, size: usize) -> Vec<u8> {
        self.host.body(message, size)
    }
    fn identity(&self) -> Option<Vec<u8>> {
        self.host.identity()
    }
    fn verify_signature(&self, hash: Hash, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
        self.host.verify_signature(hash, key, signature, text)
    }
    fn count(&self, metric: &'static str, by: u64) {
        self.host.count(metric, by);
    }
    fn logs(&self, level: Level) -> bool {
        self.host.logs(level)
    }
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.host.log(level, line);
    }
}

/// Every order of `turns` turns for each of `actors` actors.
pub fn orders(actors: usize, turns: usize) -> Vec<Vec<usize>> {
    fn extend(left: &mut [usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.iter().all(|turns| *turns == 0) {
            all.push(order.clone());
        }
        for actor in 0..left.len() {
            let Some(rest) = left.get(actor).and_then(|turns| turns.checked_sub(1)) else { continue };
            if let Some(turns) = left.get_mut(actor) {
                *turns = rest;
            }
            order.push(actor);
            extend(left, order, all);
            order.pop();
            if let Some(turns) = left.get_mut(actor) {
                *turns = rest.saturating_add(1);
            }
        }
    }
    let mut all = Vec::new();
    extend(&mut vec![turns; actors], &mut Vec::new(), &mut all);
    all
}

/// Runs one actor a thread, whose accesses to shared data happen in the given order, and returns what each of
/// them came to. A panic of an actor goes on in the caller.
pub fn run<T: Send>(
    world: &NativeHost,
    order: &[usize],
    act: impl Fn(usize, &dyn Host) -> T + Sync,
) -> Vec<T> {
    let turns = Turns::new(order);
    let actors = order.iter().max().map_or(0, |last| last.saturating_add(1));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..actors)
            .map(|id| {
                let (turns, act, host) = (&turns, &act, world.sibling());
                scope.spawn(move || act(id, &Actor { id, host, turns }))
            })
            .collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.map(|end| end.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

//! What will happen on a thread, in order of time.

use std::{collections::BTreeMap, time::Duration};

use crate::host::{Frame, GrpcCallResult, HttpCallResult, StreamId};

/// Something that happens at a time on the monotonic clock.
#[derive(Debug)]
pub(crate) enum Due {
    HttpCall(u32, HttpCallResult),
    GrpcCall(u32, GrpcCallResult),
    Backend(StreamId, Vec<Frame>),
    Tick,
}

/// A queue by time, and by order of planning within one time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Duration, u64), Due>,
    planned: u64,
}

impl Timers {
    pub(crate) fn plan(&mut self, at: Duration, due: Due) {
        self.planned = self.planned.wrapping_add(1);
        self.queue.insert((at, self.planned), due);
    }

    /// When the next thing happens.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// The next thing, if its time has come.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Due> {
        if self.next()? > now { None } else { self.queue.pop_first().map(|(_, due)| due) }
    }

    pub(crate) fn cancel(&mut self, unwanted: impl Fn(&Due) -> bool) {
        self.queue.retain(|_, due| !unwanted(due));
    }
}

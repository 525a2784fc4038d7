//! Events that wait for a sink, in so much memory and no more.

use std::{collections::VecDeque, rc::Rc};

use crate::event::Event;

/// Oldest first. A batch stays here until it is settled, so that what is under way counts too.
#[derive(Debug)]
pub struct Queue {
    events: VecDeque<(Rc<Event>, usize)>,
    bytes: usize,
    budget: usize,
    /// So many of the oldest are under way.
    under_way: usize,
}

impl Queue {
    /// With a budget in bytes.
    pub fn new(budget: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, budget, under_way: 0 }
    }

    /// Adds an event, and says how many were dropped to make room: the oldest that are not under way, perhaps the new
    /// one itself.
    pub fn push(&mut self, event: Rc<Event>, weight: usize) -> u64 {
        self.events.push_back((event, weight));
        self.bytes = self.bytes.saturating_add(weight);
        let mut dropped = 0_u64;
        while self.bytes > self.budget {
            let Some((_, weight)) = self.events.remove(self.under_way) else { break };
            self.bytes = self.bytes.saturating_sub(weight);
            dropped = dropped.saturating_add(1);
        }
        dropped
    }

    /// The next batch: at most so many events and bytes, but at least one event. It is under way from now on.
    pub fn take(&mut self, most: usize, bytes: usize) -> Vec<Rc<Event>> {
        let mut left = bytes;
        let mut batch = Vec::new();
        for (event, weight) in self.events.iter().take(most.max(1)) {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None if batch.is_empty() => left = 0,
                None => break,
            }
            batch.push(Rc::clone(event));
        }
        self.under_way = batch.len();
        batch
    }

    /// The batch under way has arrived, or is given up: how many events it had.
    pub fn settle(&mut self) -> u64 {
        let settled = std::mem::take(&mut self.under_way).min(self.events.len());
        let weights: usize = self.events.drain(..settled).map(|(_, weight)| weight).sum();
        self.bytes = self.bytes.saturating_sub(weights);
        u64::try_from(settled).unwrap_or(u64::MAX)
    }

    /// The batch under way has not arrived: its events wait again.
    pub fn give_back(&mut self) {
        self.under_way = 0;
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Events under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn event(id: &str) -> Rc<Event> {
        Rc::new(Event { id: id.into(), ..Event::default() })
    }

    fn ids(batch: &[Rc<Event>]) -> String {
        batch.iter().map(|event| &*event.id).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_under_way_stays() {
        let mut queue = Queue::new(30);
        for id in ["a", "b", "c"] {
            assert_eq!(queue.push(event(id), 10), 0);
        }
        assert_eq!(queue.push(event("d"), 10), 1);
        assert_eq!(ids(&queue.take(1, 100)), "b");
        assert_eq!(queue.push(event("e"), 10), 1);
        assert_eq!((queue.settle(), queue.len()), (1, 2));
        assert_eq!(ids(&queue.take(9, 100)), "de");
    }

    #[test]
    fn what_comes_back_is_sent_again() {
        let mut queue = Queue::new(100);
        queue.push(event("a"), 10);
        assert_eq!(ids(&queue.take(1, 100)), "a");
        queue.give_back();
        assert_eq!(ids(&queue.take(1, 100)), "a");
        assert_eq!((queue.settle(), queue.is_empty()), (1, true));
        assert_eq!(queue.settle(), 0);
    }

    #[test]
    fn batches_are_bounded_by_number_and_bytes() {
        let mut queue = Queue::new(1000);
        for id in ["a", "b", "c", "d"] {
            queue.push(event(id), 10);
        }
        assert_eq!(ids(&queue.take(3, 100)), "abc");
        assert_eq!(ids(&queue.take(3, 25)), "ab");
        assert_eq!(ids(&queue.take(3, 1)), "a");
        assert_eq!(ids(&queue.take(0, 100)), "a");
    }

    #[test]
    fn an_event_larger_than_the_budget_is_dropped() {
        let mut queue = Queue::new(5);
        assert_eq!(queue.push(event("a"), 10), 1);
        assert!(queue.is_empty());
    }

    #[test]
    fn ten_thousand_events_fit_into_eight_megabytes() {
        use enforcer_core::identity::{Called, Caller, Part};
        let text = |length: usize| "x".repeat(length);
        let mut queue = Queue::new(8 << 20);
        let dropped: u64 = (0..10_000)
            .map(|_| {
                let called =
                    Called { api: text(16), version: text(5), operation: text(24), template: text(40) };
                let caller =
                    Caller { issuer: text(40), subject: text(36), consumer: text(36), ..Caller::default() };
                let event = Event {
                    called: Part::new(called),
                    caller: Part::new(caller),
                    id: text(36).into(),
                    destination: text(21).into(),
                    details: text(12).into(),
                    ..Event::default()
                };
                let weight = event.weight();
                queue.push(Rc::new(event), weight)
            })
            .sum();
        assert_eq!((dropped, queue.len()), (0, 10_000));
    }
}

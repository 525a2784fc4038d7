//! What goes over the wire: the fields of `envoy.service.ratelimit.v3` that are needed, and no others.

use std::time::Duration;

use enforcer_core::{
    protobuf::{Malformed, Message, Value, fields},
    units::Span,
};

use crate::{period::Period, rate::Rate};

/// `/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.
pub const SERVICE: &str = "envoy.service.ratelimit.v3.RateLimitService";
pub const METHOD: &str = "ShouldRateLimit";

/// `RateLimitDescriptor`: what is counted together, and how much of it there may be. A service that was told limits of
/// its own (Limitador) does not look at ours; envoyproxy/ratelimit does.
pub fn descriptor<'e>(entries: impl IntoIterator<Item = (&'e str, &'e str)>, rate: &Rate) -> Message {
    let entry =
        |(key, value): (&str, &str)| Message::default().bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
    let message =
        entries.into_iter().fold(Message::default(), |message, pair| message.bytes(1, entry(pair).as_ref()));
    match unit(rate.period).zip(u32::try_from(rate.limit).ok()) {
        Some((unit, limit)) => {
            message.bytes(2, Message::default().uint(1, limit.into()).uint(2, unit).as_ref())
        }
        None => message,
    }
}

/// `RateLimitUnit`, where a period is one.
fn unit(period: Period) -> Option<u64> {
    match period {
        Period::Months(1) => Some(5),
        Period::Months(_) => None,
        Period::Span(span) => [(1, 1), (2, 60), (3, 3_600), (4, 86_400)]
            .into_iter()
            .find_map(|(unit, seconds)| (span == Span::from_secs(seconds)).then_some(unit)),
    }
}

/// `RateLimitRequest`: so many hits on each descriptor.
pub fn request<'d>(domain: &str, descriptors: impl IntoIterator<Item = &'d Message>, hits: u32) -> Vec<u8> {
    let message = Message::default().bytes(1, domain.as_bytes());
    let message =
        descriptors.into_iter().fold(message, |message, descriptor| message.bytes(2, descriptor.as_ref()));
    message.uint(3, hits.into()).into_bytes()
}

/// `RateLimitResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    over: bool,
    statuses: Vec<Status>,
}

/// What the service says of one descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    pub over: bool,
    /// What is left in this window.
    pub remaining: Option<u32>,
    /// Until the window ends, at least. A service that speaks in whole seconds may have counted one that has begun.
    pub reset: Option<Duration>,
}

/// `RateLimitResponse.Code`.
const OVER_LIMIT: Value<'_> = Value::Uint(2);

impl Reply {
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut reply = Self::default();
        for field in fields(message) {
            match field? {
                (1, code) => reply.over = code == OVER_LIMIT,
                (2, Value::Bytes(status)) => reply.statuses.push(Status::read(status)?),
                _ => {}
            }
        }
        Ok(reply)
    }

    /// What is said of the descriptor at this place. Services may leave it at one word about all of them.
    pub fn status(&self, index: usize) -> Status {
        self.statuses.get(index).copied().unwrap_or(Status { over: self.over, ..Status::default() })
    }
}

impl Status {
    fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut status = Self::default();
        // Zero is not written.
        let mut remaining = 0;
        for field in fields(message) {
            match field? {
                (1, code) => status.over = code == OVER_LIMIT,
                (3, Value::Uint(left)) => remaining = u32::try_from(left).unwrap_or(u32::MAX),
                (4, Value::Bytes(duration)) => status.reset = Some(reset(duration)?),
                _ => {}
            }
        }
        // Who does not know how long the window lasts does not know what is left of it, either.
        status.remaining = status.reset.map(|_| remaining);
        Ok(status)
    }
}

/// `google.protobuf.Duration`, less the second that whole seconds may have been rounded up by.
fn reset(message: &[u8]) -> Result<Duration, Malformed> {
    let (mut seconds, mut nanos) = (0_u64, 0_u32);
    for field in fields(message) {
        match field? {
            (1, Value::Uint(value)) => seconds = value,
            (2, Value::Uint(value)) => nanos = u32::try_from(value).unwrap_or(0),
            _ => {}
        }
    }
    // Negative durations have the highest bit.
    let seconds = if seconds > i64::MAX.unsigned_abs() { 0 } else { seconds };
    Ok(match nanos {
        0 => Duration::from_secs(seconds.saturating_sub(1)),
        nanos => Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())),
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::rate::Algorithm;

    fn rate(limit: u64, per: &str) -> Rate {
        Rate::new(Algorithm::Gcra, limit, per.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_status_says_what_is_left_and_until_when() {
        let duration = |seconds, nanos| Message::default().uint(1, seconds).uint(2, nanos);
        let status = |code, left, duration: &Message| {
            let status = Message::default().uint(1, code).uint(3, left).bytes(4, duration.as_ref());
            Message::default().uint(1, code).bytes(2, status.as_ref()).into_bytes()
        };
        let read = |message: Vec<u8>| Reply::read(&message).unwrap().status(0);
        let (whole, exact) = (duration(30, 0), duration(30, 500_000_000));
        assert_eq!(
            read(status(1, 7, &whole)),
            Status { over: false, remaining: Some(7), reset: Some(Duration::from_secs(29)) }
        );
        assert_eq!(
            read(status(2, 0, &exact)),
            Status { over: true, remaining: Some(0), reset: Some(Duration::from_millis(30_500)) }
        );
        let negative = duration(u64::MAX, 0);
        assert_eq!(read(status(1, 1 << 40, &negative)).remaining, Some(u32::MAX));
        assert_eq!(read(status(1, 1, &negative)).reset, Some(Duration::ZERO));
    }

    #[test]
    fn one_word_about_all_is_enough() {
        let read = |code| Reply::read(Message::default().uint(1, code).as_ref()).unwrap().status(3);
        assert_eq!(read(1), Status::default());
        assert_eq!(read(2), Status { over: true, ..Status::default() });
        assert_eq!(Reply::read(b"").unwrap().status(0), Status::default(), "OK is not written");
        assert_eq!(Reply::read(b"\x12\x05\x08"), Err(Malformed));
        assert_eq!(Reply::read(b"\x12\x02\x08\x80"), Err(Malformed));
    }

    #[test]
    fn only_periods_that_are_units_are_told() {
        let told = |per| descriptor([], &rate(5, per)).into_bytes();
        for (per, unit) in [("1s", 1), ("60s", 2), ("1h", 3), ("24h", 4), ("1month", 5)] {
            assert_eq!(told(per), [0x12, 4, 0x08, 5, 0x10, unit], "{per}");
        }
        assert!(told("10s").is_empty() && told("2month").is_empty());
    }
}

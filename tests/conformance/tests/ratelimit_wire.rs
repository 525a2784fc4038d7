//! The rate limit protocol that the filter writes and reads by itself, against prost's code of Envoy's definitions.

use std::time::Duration;

use enforcer_core::protobuf::Message as Written;
use enforcer_ratelimit::{
    rate::{Algorithm, Rate},
    service::wire::{self, Status},
};
use envoy_types::pb::{
    envoy::{
        extensions::common::ratelimit::v3::{
            RateLimitDescriptor,
            rate_limit_descriptor::{Entry, RateLimitOverride},
        },
        service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse,
            rate_limit_response::{Code, DescriptorStatus},
            rate_limit_service_server::SERVICE_NAME,
        },
        r#type::v3::RateLimitUnit,
    },
    google::protobuf,
};
use proptest::prelude::*;
use prost::Message as _;

const PERIODS: [(&str, Option<RateLimitUnit>); 7] = [
    ("1s", Some(RateLimitUnit::Second)),
    ("1m", Some(RateLimitUnit::Minute)),
    ("1h", Some(RateLimitUnit::Hour)),
    ("1d", Some(RateLimitUnit::Day)),
    ("1month", Some(RateLimitUnit::Month)),
    ("10s", None),
    ("2month", None),
];

fn entries() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((".{0,12}", ".{0,200}"), 0..5)
}

fn status() -> impl Strategy<Value = DescriptorStatus> {
    let duration = (any::<i64>(), 0..1_000_000_000_i32);
    let code = prop::sample::select(vec![Code::Unknown, Code::Ok, Code::OverLimit]);
    (code, any::<u32>(), prop::option::of(duration)).prop_map(|(code, limit_remaining, duration)| {
        DescriptorStatus {
            code: code.into(),
            limit_remaining,
            duration_until_reset: duration.map(|(seconds, nanos)| protobuf::Duration { seconds, nanos }),
            ..DescriptorStatus::default()
        }
    })
}

/// What the filter is to make of a status: less the second that a service may have rounded up by.
fn expected(status: &DescriptorStatus) -> Status {
    let reset = status.duration_until_reset.map(|duration| {
        let seconds = Duration::from_secs(u64::try_from(duration.seconds).unwrap_or(0));
        match u64::try_from(duration.nanos).unwrap() {
            0 => seconds.saturating_sub(Duration::from_secs(1)),
            nanos => seconds.saturating_add(Duration::from_nanos(nanos)),
        }
    });
    let remaining = reset.map(|_| status.limit_remaining);
    Status { over: status.code == i32::from(Code::OverLimit), remaining, reset }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        domain in ".{0,40}",
        descriptors in prop::collection::vec(entries(), 0..4),
        hits: u32,
        limit in 1_u64..1 << 34,
        (per, unit) in prop::sample::select(PERIODS.to_vec()),
    ) {
        let Ok(rate) = Rate::new(Algorithm::Gcra, limit, per.parse().unwrap()) else { return Ok(()) };
        let pairs = |entries: &Vec<(String, String)>| -> Written {
            wire::descriptor(entries.iter().map(|(key, value)| (key.as_str(), value.as_str())), &rate)
        };
        let written: Vec<Written> = descriptors.iter().map(pairs).collect();
        let read = RateLimitRequest::decode(wire::request(&domain, &written, hits).as_slice()).unwrap();
        let limit = unit.zip(u32::try_from(limit).ok()).map(|(unit, requests_per_unit)| RateLimitOverride {
            requests_per_unit,
            unit: unit.into(),
        });
        let descriptors = descriptors.into_iter().map(|entries| RateLimitDescriptor {
            entries: entries.into_iter().map(|(key, value)| Entry { key, value }).collect(),
            limit,
            ..RateLimitDescriptor::default()
        });
        let expected = RateLimitRequest { domain, descriptors: descriptors.collect(), hits_addend: hits };
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn what_is_answered_is_understood(
        code in prop::sample::select(vec![Code::Unknown, Code::Ok, Code::OverLimit]),
        statuses in prop::collection::vec(status(), 0..4),
        raw_body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let response = RateLimitResponse {
            overall_code: code.into(),
            statuses,
            raw_body,
            ..RateLimitResponse::default()
        };
        let reply = wire::Reply::read(&response.encode_to_vec()).unwrap();
        for (index, status) in response.statuses.iter().enumerate() {
            prop_assert_eq!(reply.status(index), expected(status));
        }
        let overall = Status { over: code == Code::OverLimit, ..Status::default() };
        prop_assert_eq!(reply.status(response.statuses.len()), overall);
    }
}

#[test]
fn the_service_has_its_name() {
    assert_eq!(wire::SERVICE, SERVICE_NAME);
}

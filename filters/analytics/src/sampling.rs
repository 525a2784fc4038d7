//! Which calls make an event.
//!
//! A call's number is the lower 56 bits of its trace id, which W3C Trace Context level 2 calls random; a call is chosen when that number is
//! large enough, as OpenTelemetry's consistent samplers choose. So every gateway that a trace passes decides alike, and
//! a smaller rate chooses a part of what a larger one does. Without a trace, the request id stands in.

use enforcer_core::{config::ConfigError, identity::Called};

use crate::config::{ApiRate, Sampling};

/// Decides for each call.
#[derive(Debug)]
pub struct Sampler {
    rate: Rate,
    faults: Rate,
    apis: Vec<(ApiRate, Rate)>,
}

/// A part of all calls, and the smallest number that it chooses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub part: f64,
    threshold: u64,
}

/// One more than the largest number of a call.
const END: u64 = 1 << 56;

impl Rate {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "2^56 and its parts are exact in 64 bits"
    )]
    fn new(part: f64, path: &str) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&part) {
            let problem = format!("`{part}` is no part of the whole; give a number from 0 to 1");
            return Err(ConfigError::at(path, problem));
        }
        Ok(Self { part, threshold: ((1.0 - part) * END as f64) as u64 })
    }

    fn chooses(self, number: u64) -> bool {
        number >= self.threshold
    }
}

impl Sampler {
    pub fn new(config: &Sampling) -> Result<Self, ConfigError> {
        let apis = config.apis.iter().enumerate().map(|(index, api)| {
            Rate::new(api.rate, &format!("sampling.apis[{index}].rate")).map(|rate| (api.clone(), rate))
        });
        Ok(Self {
            rate: Rate::new(config.rate, "sampling.rate")?,
            faults: Rate::new(config.faults, "sampling.faults")?,
            apis: apis.collect::<Result<_, _>>()?,
        })
    }

    /// The rate at which this call was chosen; `None` if it was not.
    pub fn choose(&self, called: &Called, failed: bool, trace: Option<&[u8; 16]>, id: &[u8]) -> Option<f64> {
        let rate = if failed { self.faults } else { self.rate_of(called) };
        // Spares the number of a call where all are chosen.
        (rate.threshold == 0 || rate.chooses(number(trace, id))).then_some(rate.part)
    }

    fn rate_of(&self, called: &Called) -> Rate {
        let fits = |api: &ApiRate| {
            api.api == called.api && api.version.as_ref().is_none_or(|version| *version == called.version)
        };
        self.apis.iter().find(|(api, _)| fits(api)).map_or(self.rate, |(_, rate)| *rate)
    }
}

fn number(trace: Option<&[u8; 16]>, id: &[u8]) -> u64 {
    let number = match trace {
        Some(trace) => trace.iter().skip(8).fold(0, |number, byte| number << 8 | u64::from(*byte)),
        None => hash(id),
    };
    number & (END - 1)
}

/// FNV-1a, then the last step of SplitMix64: spreads ids that differ in one digit.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The trace id and the caller's span id in a `traceparent` (W3C Trace Context section 3.2), unless malformed.
pub fn trace(traceparent: &[u8]) -> Option<([u8; 16], [u8; 8])> {
    let mut parts = traceparent.split(|byte| *byte == b'-');
    let (_version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let (trace, span) = (hex(trace)?, hex(span)?);
    (trace != [0; 16]).then_some((trace, span))
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N.checked_mul(2)? {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = pair.iter().try_fold(0_u8, |byte, digit| Some(byte << 4 | nibble(*digit)?))?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn sampler(rate: f64, faults: f64) -> Sampler {
        let apis = vec![ApiRate { api: "loud".into(), version: None, rate: 0.0 }];
        Sampler::new(&Sampling { rate, faults, apis }).unwrap()
    }

    fn chosen(sampler: &Sampler, id: &str) -> bool {
        sampler.choose(&Called::default(), false, None, id.as_bytes()).is_some()
    }

    #[test]
    fn a_tenth_is_about_a_tenth_and_part_of_a_half() {
        let (tenth, half) = (sampler(0.1, 1.0), sampler(0.5, 1.0));
        let ids: Vec<String> = (0..10_000).map(|n| format!("0f6b1c1e-0000-4000-8000-{n:012}")).collect();
        let by_tenth: Vec<&String> = ids.iter().filter(|id| chosen(&tenth, id)).collect();
        assert!((900..1100).contains(&by_tenth.len()), "{}", by_tenth.len());
        assert!(by_tenth.iter().all(|id| chosen(&half, id)));
        assert!(ids.iter().all(|id| chosen(&sampler(1.0, 1.0), id) && !chosen(&sampler(0.0, 1.0), id)));
    }

    #[test]
    fn the_trace_decides_when_there_is_one() {
        let (low, _) = trace(b"00-0af7651916cd43dd0000000000000001-b7ad6b7169203331-01").unwrap();
        let (high, _) = trace(b"00-0af7651916cd43dd00ffffffffffffff-b7ad6b7169203331-01").unwrap();
        let half = sampler(0.5, 1.0);
        for id in [&b"a"[..], b"b", b"c", b"d", b""] {
            assert_eq!(half.choose(&Called::default(), false, Some(&low), id), None);
            assert_eq!(half.choose(&Called::default(), false, Some(&high), id), Some(0.5));
        }
    }

    #[test]
    fn faults_and_apis_have_rates_of_their_own() {
        let sampler = sampler(1.0, 0.0);
        let loud = Called { api: "loud".into(), ..Called::default() };
        assert_eq!(sampler.choose(&loud, false, None, b"x"), None);
        assert_eq!(sampler.choose(&Called::default(), false, None, b"x"), Some(1.0));
        assert_eq!(sampler.choose(&Called::default(), true, None, b"x"), None);
    }

    #[test]
    fn a_rate_is_a_part() {
        let error = Sampler::new(&Sampling { rate: 1.5, ..Sampling::default() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sampling.rate: `1.5` is no part of the whole; give a number from 0 to 1"
        );
        assert!(Rate::new(f64::NAN, "x").is_err());
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-1-2-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(trace(b"00-\xff\xff-\xff"), None);
    }
}

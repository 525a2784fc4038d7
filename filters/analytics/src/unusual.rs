//! Whether a consumer uses an API otherwise than usual.
//!
//! Of each consumer and API, the calls of a window of time are compared with those of the windows before: their number, the
//! part that failed, the networks that they came from, and their size. What is usual is the median of the history, how
//! far it varies its median absolute deviation (MAD), and unusual what is more than [`FAR`] of them away: the modified
//! z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), with a bound far above their 3.5,
//! because it is asked about thousands of windows. Neither is moved by less than half of the history, so that an attack
//! does not become usual while it lasts for less. Networks are counted by linear counting (Whang, Vander-Zanden and
//! Taylor, 1990).

use std::{collections::HashMap, time::Duration};

use enforcer_core::config::ConfigError;

use crate::config::UnusualUse as Config;

/// Windows that are remembered.
const HISTORY: usize = 48;
/// So many of them must be known before anything is unusual.
const KNOWN: usize = 12;
/// Deviations from the median.
const FAR: f32 = 9.0;
/// The shortest window; each costs a sorting of the history.
const SHORTEST: Duration = Duration::from_millis(100);
/// What makes the MAD of a normal distribution its standard deviation.
const NORMAL: f32 = 1.4826;
/// Fewer calls say nothing about their errors and size.
const ENOUGH: u32 = 20;

/// What is unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The number of calls in a window.
    Rate,
    /// Errors in percent of the calls.
    Errors,
    /// Networks that the calls come from.
    Networks,
    /// Bytes of a call, headers included.
    Size,
}

impl Kind {
    /// As events and counters call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Errors => "errors",
            Self::Networks => "networks",
            Self::Size => "size",
        }
    }

    /// The counter of this kind.
    pub fn counter(self) -> &'static str {
        match self {
            Self::Rate => "enforcer.analytics.unusual.rate",
            Self::Errors => "enforcer.analytics.unusual.errors",
            Self::Networks => "enforcer.analytics.unusual.networks",
            Self::Size => "enforcer.analytics.unusual.size",
        }
    }
}

/// Something unusual, noticed with the call in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusual {
    pub kind: Kind,
    /// In the window so far.
    pub value: u64,
    /// The median of the windows before.
    pub usual: u64,
}

/// A call, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// Empty: all who are not known, together.
    pub consumer: &'a str,
    pub api: &'a str,
    /// It ended with 400 or more, or with no answer.
    pub failed: bool,
    pub network: &'a str,
    /// Of request and response.
    pub bytes: u64,
}

/// All consumers that one worker sees.
#[derive(Debug)]
pub struct Watch {
    window: Duration,
    max: usize,
    watched: HashMap<String, Watched>,
    key: String,
    /// The window in which the forgotten were last looked for.
    cleared: u64,
}

impl Watch {
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let Config { window, max_consumers } = config;
        if window.duration() < SHORTEST {
            return Err(ConfigError::at("unusual_use.window", "give at least `100ms`"));
        }
        if max_consumers == 0 {
            let message = "give at least 1, or leave `unusual_use` out";
            return Err(ConfigError::at("unusual_use.max_consumers", message));
        }
        let (watched, key) = (HashMap::new(), String::new());
        Ok(Self { window: window.duration(), max: max_consumers, watched, key, cleared: 0 })
    }

    /// Counts a call; tells if it is the one by which its window has become unusual. `now` is the wall clock.
    pub fn see(&mut self, call: &Use<'_>, now: Duration) -> Option<Unusual> {
        let window = u64::try_from(now.as_nanos().checked_div(self.window.as_nanos())?).ok()?;
        self.key.clear();
        // No name has a line break in it: they come from the configuration and from claims.
        self.key.extend([call.api, "\n", call.consumer]);
        if !self.watched.contains_key(&self.key) {
            self.forget(window);
            if self.watched.len() >= self.max {
                return None;
            }
            self.watched.insert(self.key.clone(), Watched::new(window));
        }
        let watched = self.watched.get_mut(&self.key)?;
        watched.turn(window);
        watched.count(call);
        watched.judge()
    }

    /// Makes room by those who have not called for the length of a history, once a window.
    fn forget(&mut self, window: u64) {
        if self.watched.len() >= self.max && self.cleared != window {
            self.cleared = window;
            let recent = window.saturating_sub(HISTORY as u64);
            self.watched.retain(|_, watched| watched.window >= recent);
        }
    }
}

/// One consumer of one API: about a kilobyte.
#[derive(Debug)]
struct Watched {
    /// Its number since the Unix epoch.
    window: u64,
    calls: u32,
    failed: u32,
    networks: Networks,
    bytes: u64,
    histories: [History; 4],
}

const KINDS: [Kind; 4] = [Kind::Rate, Kind::Errors, Kind::Networks, Kind::Size];

impl Watched {
    fn new(window: u64) -> Self {
        let (calls, failed, bytes) = (0, 0, 0);
        Self { window, calls, failed, networks: Networks::default(), bytes, histories: Default::default() }
    }

    /// Goes on to the window that is now; what is over becomes history, also that nothing happened.
    fn turn(&mut self, window: u64) {
        let passed = window.saturating_sub(self.window);
        if passed == 0 {
            return;
        }
        self.window = window;
        for (kind, value) in KINDS.iter().zip(self.values()) {
            if let Some(history) = self.histories.get_mut(*kind as usize) {
                value.into_iter().for_each(|value| history.add(value));
                let quiet = usize::try_from(passed).unwrap_or(HISTORY).saturating_sub(1).min(HISTORY);
                if matches!(kind, Kind::Rate | Kind::Networks) {
                    (0..quiet).for_each(|_| history.add(0.0));
                }
                history.settle();
            }
        }
        (self.calls, self.failed, self.bytes) = (0, 0, 0);
        self.networks = Networks::default();
    }

    fn count(&mut self, call: &Use<'_>) {
        self.calls = self.calls.saturating_add(1);
        self.failed = self.failed.saturating_add(call.failed.into());
        self.bytes = self.bytes.saturating_add(call.bytes);
        self.networks.add(call.network);
    }

    /// Of each of [`KINDS`], in this window; `None` where that says nothing.
    fn values(&self) -> [Option<f32>; 4] {
        let calls = self.calls as f32;
        let enough = |value: f32| (self.calls >= ENOUGH).then_some(value);
        let errors = enough(self.failed as f32 / calls * 100.0);
        [Some(calls), errors, Some(self.networks.number()), enough(self.bytes as f32 / calls)]
    }

    fn judge(&mut self) -> Option<Unusual> {
        let values = self.values();
        let few_errors = self.failed < ENOUGH;
        KINDS.into_iter().zip(values).find_map(|(kind, value)| {
            let value = value?;
            let history = self.histories.get_mut(kind as usize)?;
            if matches!(kind, Kind::Errors) && few_errors || value <= history.bound(kind)? {
                return None;
            }
            // Told once, until a window has passed without it.
            let first = !std::mem::replace(&mut history.told, true);
            history.exceeded = true;
            first.then_some(Unusual { kind, value: value as u64, usual: history.median as u64 })
        })
    }
}

/// The last values of one kind.
#[derive(Debug)]
struct History {
    values: [f32; HISTORY],
    /// Where the next goes.
    next: usize,
    known: usize,
    median: f32,
    deviation: f32,
    /// The bound was exceeded, in this window, and this was told.
    exceeded: bool,
    told: bool,
}

impl Default for History {
    fn default() -> Self {
        let values = [0.0; HISTORY];
        Self { values, next: 0, known: 0, median: 0.0, deviation: 0.0, exceeded: false, told: false }
    }
}

impl History {
    fn add(&mut self, value: f32) {
        if let Some(place) = self.values.get_mut(self.next) {
            *place = value;
        }
        self.next = self.next.saturating_add(1).checked_rem(HISTORY).unwrap_or(0);
        self.known = self.known.saturating_add(1).min(HISTORY);
    }

    /// Works out what is usual, once a window.
    fn settle(&mut self) {
        let mut values = self.values;
        let values = values.get_mut(..self.known).unwrap_or_default();
        self.median = median(values);
        values.iter_mut().for_each(|value| *value = (*value - self.median).abs());
        self.deviation = NORMAL * median(values);
        self.told &= std::mem::take(&mut self.exceeded);
    }

    /// What is more than this is unusual; `None`: not enough is known.
    fn bound(&self, kind: Kind) -> Option<f32> {
        // What a count varies by itself (Poisson), and what nobody would look at.
        let (least, floor) = match kind {
            Kind::Rate => ((self.median + 1.0).sqrt(), 30.0_f32.max(self.median * 2.0)),
            Kind::Networks => ((self.median + 1.0).sqrt(), 10.0),
            Kind::Errors => (3.0, self.median + 25.0),
            Kind::Size => (self.median / 4.0, 0.0),
        };
        (self.known >= KNOWN)
            .then(|| (self.median + FAR * self.deviation.max(least)).max(floor).min(limit(kind)))
    }
}

/// What a kind cannot go far beyond: where half of the calls fail anyway, all of them failing is still unusual.
fn limit(kind: Kind) -> f32 {
    if matches!(kind, Kind::Errors) { 90.0 } else { f32::INFINITY }
}

fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len().div_euclid(2)).copied().unwrap_or(0.0)
}

/// How many different networks there were, by the bits that are still zero.
#[derive(Debug, Clone, Copy, Default)]
struct Networks([u64; 4]);

impl Networks {
    fn add(&mut self, network: &str) {
        // FNV-1a, and its upper bits, which depend on all bytes.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let bit = network.bytes().fold(0xcbf2_9ce4_8422_2325, mix).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        if let Some(word) = usize::try_from(bit >> 6).ok().and_then(|word| self.0.get_mut(word)) {
            *word |= 1 << (bit & 63);
        }
    }

    fn number(self) -> f32 {
        let zeros: u32 = self.0.iter().map(|word| word.count_zeros()).sum();
        256.0 * (256.0 / zeros.max(1) as f32).ln()
    }
}

#[cfg(test)]
mod tests;

//! Names and passwords (RFC 7617), checked against an `htpasswd` file.
//!
//! To check a password takes long, on purpose. So a pair that was checked is remembered, under a keyed hash whose key
//! this virtual machine alone has, and what remains is bounded: whoever sends wrong passwords as fast as they can
//! costs the worker a part of its time and no more.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use enforcer_core::{
    cache::{Cache, Weigh},
    config::ConfigError,
    cx::Cx,
    identity::{Caller, Part},
};
use hmac_sha256::HMAC;

use crate::{
    budget::Budget,
    config::{self, HeaderSource, TokenSource},
    htpasswd::{Hashed, LEAST_MICROS},
    refusal::{PasswordProblem, Refusal},
    source::Sources,
};

/// Who has a password.
#[derive(Debug)]
pub struct Basic {
    sources: Sources,
    users: Vec<User>,
    by_name: HashMap<String, usize>,
    /// The most costly hash: a name that nobody has costs as much as one that somebody has.
    decoy: Hashed,
    secret: Secret,
    right: Cache<Known>,
    wrong: Cache<Known>,
    budget: Budget,
    forward: bool,
}

#[derive(Debug)]
struct User {
    hashed: Hashed,
    caller: Part<Caller>,
}

/// Whose name and password a pair is, as a position among the users; of wrong ones it means nothing.
#[derive(Debug, Clone, Copy)]
struct Known(usize);

impl Weigh for Known {
    fn weight(&self) -> usize {
        0
    }
}

/// The key of the hash under which pairs are remembered, absorbed already.
struct Secret(HMAC);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Longest pair that is looked at, in base64.
const MAX_PAIR: usize = 1 << 10;
/// How long a wrong pair is remembered.
const WRONG_FOR: Duration = Duration::from_secs(300);

/// Some clients leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Basic {
    /// `memory`: for all that is remembered, in bytes.
    pub fn new(config: &config::Basic, memory: usize) -> Result<Self, ConfigError> {
        let header = HeaderSource { name: "authorization".to_owned(), scheme: "Basic".to_owned() };
        let (users, by_name) = users(&config.htpasswd).map_err(|p| ConfigError::at("htpasswd", p))?;
        let decoy = users.iter().map(|user| &user.hashed).max_by_key(|hashed| hashed.weight()).cloned();
        let per_second = config.budget.duration().as_micros().checked_div(LEAST_MICROS.into());
        let budget = Budget::new(per_second.and_then(|count| count.try_into().ok()).unwrap_or(u32::MAX));
        Ok(Self {
            sources: Sources::new(vec![TokenSource::Header(header)])?,
            users,
            by_name,
            decoy: decoy.ok_or_else(|| ConfigError::at("htpasswd", "nobody is in it: nobody could call"))?,
            secret: Secret::new(),
            right: Cache::new(memory),
            wrong: Cache::new(memory / 4),
            budget: budget.ok_or_else(|| {
                ConfigError::at("budget", "less than 1ms of a second: no password could be checked")
            })?,
            forward: config.forward,
        })
    }

    /// Who calls, by name and password.
    pub fn find(&mut self, cx: &Cx<'_>) -> Result<Part<Caller>, Refusal> {
        let carried = self.sources.find(cx.request_headers()).map_err(|_| Refusal::Repeated)?;
        let pair = carried.ok_or(PasswordProblem::Missing)?.text;
        // Envoy joins several values with commas, which base64 does not have.
        if pair.contains(&b',') {
            return Err(Refusal::Repeated);
        }
        if pair.len() > MAX_PAIR {
            return Err(PasswordProblem::Malformed.into());
        }
        let (key, now) = (self.secret.hash(pair), cx.host.monotonic());
        if self.wrong.get(&key, now).is_some() {
            return Err(PasswordProblem::Wrong.into());
        }
        let user = match self.right.get(&key, now) {
            Some(Known(user)) => *user,
            None => {
                let user = self.check(pair, now, cx)?.ok_or_else(|| {
                    self.wrong.insert(&key, Known(0), now.saturating_add(WRONG_FOR));
                    PasswordProblem::Wrong
                })?;
                // Good as long as this configuration is.
                self.right.insert(&key, Known(user), Duration::MAX);
                user
            }
        };
        Ok(self.users.get(user).map(|user| user.caller.clone()).unwrap_or_default())
    }

    /// Whose they are, if anybody's.
    fn check(&mut self, pair: &[u8], now: Duration, cx: &Cx<'_>) -> Result<Option<usize>, PasswordProblem> {
        let pair = LENIENT.decode(pair).map_err(|_| PasswordProblem::Malformed)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(PasswordProblem::Malformed)?;
        let (name, password) = pair.split_at_checked(colon).ok_or(PasswordProblem::Malformed)?;
        let password = password.split_first().map_or(password, |(_, password)| password);
        let name = std::str::from_utf8(name).map_err(|_| PasswordProblem::Malformed)?;
        let user = self.by_name.get(name).copied();
        let hashed = user.and_then(|user| self.users.get(user)).map_or(&self.decoy, |user| &user.hashed);
        if !self.budget.take(hashed.weight(), now) {
            return Err(PasswordProblem::Busy);
        }
        cx.host.count("enforcer.auth.password.checked", 1);
        Ok(user.filter(|_| hashed.is(password)))
    }

    /// Where the password is, unless it stays in the request.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        self.sources.places().filter(|_| !self.forward)
    }
}

/// The users of a file, and where each is among them.
fn users(file: &str) -> Result<(Vec<User>, HashMap<String, usize>), String> {
    let (mut users, mut by_name) = (Vec::new(), HashMap::new());
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) =
            line.split_once(':').ok_or_else(|| format!("line {number}: not a name, a colon and a hash"))?;
        let hashed = Hashed::parse(hash).map_err(|problem| {
            format!("line {number}, `{name}`: {problem}; `htpasswd -B -C 5` writes what is accepted")
        })?;
        if by_name.insert(name.to_owned(), users.len()).is_some() {
            return Err(format!("line {number}: `{name}` is there already"));
        }
        let (subject, consumer) = (name.to_owned(), name.to_owned());
        users.push(User { hashed, caller: Part::new(Caller { subject, consumer, ..Caller::default() }) });
    }
    Ok((users, by_name))
}

impl Secret {
    /// From where the hash tables of this virtual machine have theirs: its host's random numbers.
    fn new() -> Self {
        let random: Vec<u8> =
            (0_u8..4).flat_map(|number| RandomState::new().hash_one(number).to_ne_bytes()).collect();
        Self(HMAC::new(random))
    }

    fn hash(&self, pair: &[u8]) -> [u8; 32] {
        let mut hash = self.0.clone();
        hash.update(pair);
        hash.finalize()
    }
}

#[cfg(test)]
mod tests;

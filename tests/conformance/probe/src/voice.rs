//! One line of log for each call, the same on every host.

use std::fmt::{self, Display};

use crate::raw::{self, Answer, Value};

/// Says what happened in one phase.
pub(crate) struct Voice {
    /// Counts the instances of this module in the order of their start: the canary, the main thread, workers.
    pub(crate) instance: u32,
    pub(crate) phase: &'static str,
}

/// `proxy_log_level_t`.
const INFO: u32 = 2;
/// Longer values are cut; none that matters is.
const SHOWN: usize = 80;

impl Voice {
    /// The line `probe/<instance>: <phase> <text>`.
    pub(crate) fn say(&self, text: impl Display) {
        raw::log(INFO, &format!("probe/{}: {} {text}", self.instance, self.phase));
    }

    /// A call with its status and value.
    pub(crate) fn call(&self, call: impl Display, answer: Answer) -> Option<Value> {
        let Answer { status, value } = answer;
        self.say(format_args!("{call} -> {}{}", Status(status), Shown(&value)));
        (status == 0).then_some(value)
    }

    /// A call whose value differs from host to host or from run to run.
    pub(crate) fn status(&self, call: impl Display, answer: Answer) -> Option<Value> {
        self.say(format_args!("{call} -> {}", Status(answer.status)));
        (answer.status == 0).then_some(answer.value)
    }

    /// A call of WASI, whose errors are `errno`.
    pub(crate) fn wasi(&self, call: impl Display, answer: &Answer) {
        self.say(format_args!("{call} -> errno {}", answer.status));
    }

    /// A call that returns a header map: the headers that the test sent, and no others.
    pub(crate) fn pairs(&self, call: impl Display, answer: Answer) -> Option<Vec<u8>> {
        let Answer { status, value } = answer;
        let Value::Bytes(encoded) = value else {
            self.say(format_args!("{call} -> {}", Status(status)));
            return None;
        };
        let own: Vec<String> = decode(&encoded)
            .unwrap_or_default()
            .into_iter()
            .filter(|(name, _)| name.starts_with(b"x-probe"))
            .map(|(name, value)| format!("{}: {}", name.escape_ascii(), value.escape_ascii()))
            .collect();
        self.say(format_args!("{call} -> {} [{}]", Status(status), own.join(", ")));
        Some(encoded)
    }
}

/// A status of the ABI by its name.
struct Status(u32);

impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "Ok",
            1 => "NotFound",
            2 => "BadArgument",
            3 => "SerializationFailure",
            4 => "ParseFailure",
            5 => "BadExpression",
            6 => "InvalidMemoryAccess",
            7 => "Empty",
            8 => "CasMismatch",
            9 => "ResultMismatch",
            10 => "InternalFailure",
            11 => "BrokenConnection",
            12 => "Unimplemented",
            other => return write!(f, "status {other}"),
        })
    }
}

struct Shown<'a>(&'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Nothing => Ok(()),
            Value::Number(number) => write!(f, " {number}"),
            Value::Bytes(bytes) if bytes.len() > SHOWN => write!(f, " {} bytes", bytes.len()),
            Value::Bytes(bytes) => write!(f, " \"{}\"", bytes.escape_ascii()),
        }
    }
}

/// Names and values of the pairs encoding: a count, the lengths, then names and values each ended by a zero byte.
/// `None` where the encoding is broken.
fn decode(encoded: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (count, mut lengths) = split_number(encoded)?;
    let mut data = lengths.get(count.checked_mul(8)?..)?;
    let mut text = |length: usize| {
        let (text, rest) = data.split_at_checked(length)?;
        data = rest.strip_prefix(&[0])?;
        Some(text)
    };
    let mut pairs = Vec::new();
    for _ in 0..count {
        let (name, rest) = split_number(lengths)?;
        let (value, rest) = split_number(rest)?;
        lengths = rest;
        pairs.push((text(name)?, text(value)?));
    }
    Some(pairs)
}

fn split_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// The pairs encoding of a header map.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut out = size(pairs.len()).to_vec();
    for (name, value) in pairs {
        out.extend(size(name.len()));
        out.extend(size(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(text.as_bytes());
        out.push(0);
    }
    out
}

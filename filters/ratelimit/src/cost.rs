//! What a request costs, where that is more than one: named in the request, or by its response.
//!
//! A response is read as it streams past and is never held back; what it costs is counted when it is over.

pub mod json;

use std::{borrow::Cow, sync::Arc};

use enforcer_core::{config::ConfigError, headers::HeaderMap};

use self::json::{Events, Finder, Piece};
use crate::{
    config::{self, CostSource},
    parts::Request,
    rate::MOST,
};

/// Where the cost of a request is found.
#[derive(Debug)]
pub struct Cost {
    from: CostSource,
    otherwise: u64,
}

impl Cost {
    pub fn new(config: &config::Cost) -> Result<Self, ConfigError> {
        let mut from = config.from.clone();
        let nameless = match &mut from {
            CostSource::RequestHeader(name) | CostSource::ResponseHeader(name) => {
                name.make_ascii_lowercase();
                name.is_empty()
            }
            CostSource::Claim(name) => name.is_empty(),
            CostSource::Json(paths) => {
                paths.is_empty() || paths.iter().any(|path| path.split('.').any(str::is_empty))
            }
        };
        if nameless {
            let problem = "no name: say where the cost is, as in `{json: [usage.total_tokens]}`";
            return Err(ConfigError::at("from", problem));
        }
        Ok(Self { from, otherwise: config.otherwise })
    }

    /// Whether only the response can tell.
    pub fn comes_later(&self) -> bool {
        matches!(self.from, CostSource::ResponseHeader(_) | CostSource::Json(_))
    }

    /// What the request costs, unless only the response can tell.
    pub fn known(&self, request: &Request<'_>) -> Option<u64> {
        (!self.comes_later()).then(|| self.named(request).unwrap_or(self.otherwise))
    }

    /// What the request says, if it does.
    fn named(&self, request: &Request<'_>) -> Option<u64> {
        match &self.from {
            CostSource::RequestHeader(name) => once(request.headers, name),
            CostSource::Claim(name) => number(request.caller?.claims.get(name)?.as_bytes()),
            CostSource::ResponseHeader(_) | CostSource::Json(_) => None,
        }
    }
}

/// The cost of one request, as far as it is known.
#[derive(Debug)]
pub struct Meter {
    cost: Arc<Cost>,
    named: Option<u64>,
    /// The answer is an error.
    failed: bool,
    finders: Vec<Finder>,
    events: Option<Events>,
}

impl Meter {
    pub fn new(cost: &Arc<Cost>, request: &Request<'_>) -> Self {
        let named = cost.named(request);
        Self { cost: Arc::clone(cost), named, failed: false, finders: Vec::new(), events: None }
    }

    /// Whether the response's headers are needed.
    pub fn reads_response(&self) -> bool {
        self.cost.comes_later()
    }

    /// Whether the response's body may be needed, and so must not be compressed.
    pub fn reads_body(&self) -> bool {
        matches!(self.cost.from, CostSource::Json(_))
    }

    /// Looks at the response's headers, and says whether its body is needed.
    pub fn on_head(&mut self, headers: &HeaderMap) -> bool {
        self.failed = headers.get_str(":status").is_some_and(|status| status >= "400");
        match &self.cost.from {
            CostSource::ResponseHeader(name) => self.named = once(headers, name),
            CostSource::Json(paths) => {
                let kind = headers
                    .get_str("content-type")
                    .map_or(Cow::Borrowed(""), |kind| kind.to_ascii_lowercase().into());
                let events = kind.starts_with("text/event-stream");
                if events || kind.is_empty() || kind.contains("json") {
                    self.finders = paths.iter().map(|path| Finder::new(path)).collect();
                    self.events = events.then(Events::default);
                }
            }
            CostSource::RequestHeader(_) | CostSource::Claim(_) => {}
        }
        !self.finders.is_empty()
    }

    /// Looks at a piece of the response's body.
    pub fn on_body(&mut self, bytes: &[u8]) {
        let Some(events) = &mut self.events else {
            return self.finders.iter_mut().for_each(|finder| finder.read(bytes));
        };
        for byte in bytes {
            match events.step(*byte) {
                Piece::Data(byte) => self.finders.iter_mut().for_each(|finder| finder.read(&[byte])),
                Piece::End => self.finders.iter_mut().for_each(Finder::restart),
                Piece::Other => {}
            }
        }
    }

    /// What the request has cost, and false where its response should have said so and did not.
    pub fn total(&self) -> (u64, bool) {
        let found = self.finders.iter().filter_map(Finder::found).reduce(u64::saturating_add);
        match self.named.or(found) {
            Some(cost) => (cost.min(MOST), true),
            None if self.failed => (0, true),
            None => (self.cost.otherwise, !self.cost.comes_later()),
        }
    }
}

/// The number in a header that comes once.
fn once(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.single(name).ok().flatten().and_then(number)
}

/// A decimal number that is not negative; what is behind the point is a whole unit more.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    let begun = u64::from(part.bytes().any(|digit| digit != b'0'));
    Some(whole.parse::<u64>().unwrap_or(MOST).saturating_add(begun).min(MOST))
}

#[cfg(test)]
mod tests;

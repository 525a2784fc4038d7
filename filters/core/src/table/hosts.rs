//! Choosing by host name, as Envoy chooses a virtual host.

use std::{borrow::Cow, collections::HashMap};

/// Host patterns, numbered in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<str>, usize>,
    /// `*.example.com` as `.example.com`.
    suffixes: HashMap<Box<str>, usize>,
    /// Lengths of the suffixes, longest first.
    suffix_lengths: Vec<usize>,
    any: Option<usize>,
}

impl Hosts {
    /// The number of a pattern, new or known.
    pub(super) fn add(&mut self, pattern: &str) -> Result<usize, String> {
        let next = self.exact.len().saturating_add(self.suffixes.len()).saturating_add(self.any.iter().len());
        if pattern == "*" {
            return Ok(*self.any.get_or_insert(next));
        }
        let wildcard = pattern.strip_prefix("*.");
        let name = check(pattern, wildcard.unwrap_or(pattern))?;
        if wildcard.is_none() {
            return Ok(*self.exact.entry(name.into()).or_insert(next));
        }
        let suffix = format!(".{name}");
        let place = self.suffix_lengths.partition_point(|length| *length > suffix.len());
        if self.suffix_lengths.get(place) != Some(&suffix.len()) {
            self.suffix_lengths.insert(place, suffix.len());
        }
        Ok(*self.suffixes.entry(suffix.into()).or_insert(next))
    }

    /// The pattern that Envoy would choose for this `:authority`.
    pub(super) fn find(&self, authority: &str) -> Option<usize> {
        let host = normalise(authority);
        if let Some(found) = self.exact.get(&*host) {
            return Some(*found);
        }
        // `*` stands for at least one character: `*.example.com` is not `.example.com`.
        let beginnings = self.suffix_lengths.iter().filter_map(|length| host.len().checked_sub(*length));
        let suffixes = beginnings.filter(|start| *start > 0).filter_map(|start| host.get(start..));
        suffixes.filter_map(|suffix| self.suffixes.get(suffix)).next().copied().or(self.any)
    }
}

/// Lower case. Port and trailing dot stay, as in Envoy, which compares what its `strip_any_host_port` and
/// `strip_trailing_host_dot` have left: cutting more here than there would judge a request by one API and route
/// it to another.
fn normalise(authority: &str) -> Cow<'_, str> {
    if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(authority.to_ascii_lowercase())
    } else {
        Cow::Borrowed(authority)
    }
}

fn check<'a>(pattern: &str, name: &'a str) -> Result<Cow<'a, str>, String> {
    if !name.is_ascii() {
        return Err(format!("`{pattern}` is not ASCII; write it in punycode (`xn--...`)"));
    }
    if name.contains('*') {
        return Err(format!("`{pattern}` is no host pattern; use a name, `*.` and a name, or `*`"));
    }
    let strange = |byte: u8| !byte.is_ascii_graphic() || b"/\\?#@,".contains(&byte);
    if name.is_empty() || name.starts_with('.') || name.contains("..") || name.bytes().any(strange) {
        return Err(format!("`{pattern}` is no host name"));
    }
    // The last colon of a bare IPv6 address is no port.
    if name.rsplit_once(':').is_some_and(|(_, after)| !after.contains(']')) {
        return Err(format!("`{pattern}` has a port; leave it out, and let Envoy strip it from requests"));
    }
    if name.ends_with('.') {
        return Err(format!(
            "`{pattern}` ends with a dot; leave it out, and let Envoy strip it from requests"
        ));
    }
    Ok(normalise(name))
}

//! Where in a request a credential is, and how it is kept from the backend.

use std::borrow::Cow;

use enforcer_core::{
    config::ConfigError,
    edits::{Edits, HeaderEdit},
    headers::{HeaderMap, is_token, is_token_byte},
};

use crate::config::{HeaderSource, TokenSource};

/// The configured places, in order.
#[derive(Debug)]
pub struct Sources(Vec<TokenSource>);

/// There are two credentials: it cannot be said which counts (RFC 6750 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Several;

/// What a request carries in a credential's place, not looked at yet: who knows it already need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried<'a> {
    pub text: &'a [u8],
    /// Which of the places.
    source: usize,
}

impl Sources {
    pub fn new(mut sources: Vec<TokenSource>) -> Result<Self, ConfigError> {
        if sources.is_empty() {
            return Err(ConfigError::at("", "no place to look for a credential; name one"));
        }
        for index in 0..sources.len() {
            let (known, rest) = sources.split_at_mut_checked(index).unwrap_or_default();
            let Some(source) = rest.first_mut() else { break };
            let at = |problem: String| ConfigError::at(format!("[{index}]"), problem);
            normalise(source).map_err(at)?;
            if known.contains(source) {
                return Err(at("this place is named twice".to_owned()));
            }
        }
        Ok(Self(sources))
    }

    /// The credential, if there is one. One of another scheme (`Basic`) is none.
    pub fn find<'a>(&self, headers: &'a HeaderMap) -> Result<Option<Carried<'a>>, Several> {
        let mut found = None;
        for (source, place) in self.0.iter().enumerate() {
            let text = match place {
                TokenSource::Header(header) => in_header(headers, header)?,
                TokenSource::Query(name) => in_query(headers, name)?,
                TokenSource::Cookie(name) => in_cookies(headers, name)?,
            };
            match text {
                Some(_) if found.is_some() => return Err(Several),
                Some(text) => found = Some(Carried { text, source }),
                None => {}
            }
        }
        Ok(found)
    }

    /// Where a credential was found.
    pub fn place(&self, carried: Carried<'_>) -> Option<&TokenSource> {
        self.0.get(carried.source)
    }

    /// All of the places.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        self.0.iter()
    }
}

/// What is to be taken out of a request.
#[derive(Debug)]
pub struct Removal<'s> {
    edits: &'s mut Edits,
    parameters: Vec<&'s str>,
    cookies: Vec<&'s str>,
}

impl<'s> Removal<'s> {
    /// Nothing yet. What is to be removed goes into these edits.
    pub fn new(edits: &'s mut Edits) -> Self {
        Self { edits, parameters: Vec::new(), cookies: Vec::new() }
    }

    /// What is in this place, where a credential was found.
    pub fn add(&mut self, place: &'s TokenSource) {
        match place {
            TokenSource::Header(header) => self.edits.headers.push(HeaderEdit::Remove(header.name.clone())),
            TokenSource::Query(name) => self.parameters.push(name),
            TokenSource::Cookie(name) => self.cookies.push(name),
        }
    }

    /// What is in this place, if anything is.
    pub fn add_if_held(&mut self, place: &'s TokenSource, headers: &HeaderMap) {
        match place {
            TokenSource::Header(header) if !holds(headers, header) => {}
            place => self.add(place),
        }
    }

    /// Parameters and cookies go together: each of them is part of one header.
    pub fn finish(self, headers: &HeaderMap) {
        if !self.parameters.is_empty()
            && let Some(target) = without_parameters(headers, &self.parameters)
        {
            self.edits.headers.push(HeaderEdit::Set(":path".to_owned(), target.into_bytes()));
        }
        if !self.cookies.is_empty()
            && let Some(cookies) = without_cookies(headers, &self.cookies)
        {
            let name = "cookie".to_owned();
            self.edits.headers.push(match cookies.is_empty() {
                true => HeaderEdit::Remove(name),
                false => HeaderEdit::Set(name, cookies),
            });
        }
    }
}

/// Whether any of the header's values is a credential of this scheme.
fn holds(headers: &HeaderMap, source: &HeaderSource) -> bool {
    headers.get_all(&source.name).any(|value| credential(value, &source.scheme).is_some())
}

/// Names as they are compared: headers in lower case.
fn normalise(source: &mut TokenSource) -> Result<(), String> {
    match source {
        TokenSource::Header(HeaderSource { name, scheme }) => {
            name.make_ascii_lowercase();
            if !is_token(name) || name == "cookie" || name == "host" {
                return Err(format!("`{name}` is not a header that can carry a token"));
            }
            if !scheme.is_empty() && !is_token(scheme) {
                return Err(format!(
                    "`{scheme}` is not an authentication scheme: one word, such as `Bearer`"
                ));
            }
        }
        TokenSource::Query(name) if name.is_empty() || name.contains(['&', '=', '#', '%', '+', ' ']) => {
            return Err(format!("`{name}` is not the name of a query parameter, unescaped"));
        }
        TokenSource::Cookie(name) if !is_token(name) => {
            return Err(format!("`{name}` is not the name of a cookie"));
        }
        TokenSource::Query(_) | TokenSource::Cookie(_) => {}
    }
    Ok(())
}

/// A header name (RFC 9110 section 5.1) that neither routes nor frames the request.
pub fn may_be_written(name: &str) -> bool {
    const TAKEN: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade"];
    is_token(name) && !TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken))
}

fn in_header<'a>(headers: &'a HeaderMap, source: &HeaderSource) -> Result<Option<&'a [u8]>, Several> {
    let Some(value) = headers.single(&source.name).map_err(|_| Several)? else { return Ok(None) };
    let found = credential(value, &source.scheme);
    // Envoy joins several values of a well-known header with commas: the second may be the one a backend takes.
    let is_one = |part: &[u8]| credential(part.trim_ascii(), &source.scheme).is_some();
    if found.is_none() && value.split(|byte| *byte == b',').skip(1).any(is_one) {
        return Err(Several);
    }
    Ok(found)
}

/// What follows the scheme (RFC 6750 section 2.1). `None`: some other scheme, or nothing.
fn credential<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let rest = if scheme.is_empty() {
        value
    } else {
        let (given, rest) = value.split_at_checked(scheme.len())?;
        // Backends differ in what they take for a space: a tab, for one. Only a space is taken off here, so that
        // with anything else it is a credential, and none that is good.
        let spaced = rest.first().is_some_and(|byte| !is_token_byte(*byte));
        (spaced && given.eq_ignore_ascii_case(scheme.as_bytes())).then_some(rest)?
    };
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    rest.get(blanks..).map(<[u8]>::trim_ascii_end).filter(|text| !text.is_empty())
}

/// The value is taken as it is: nothing that a token consists of needs an escape, and escaped it is none.
fn in_query<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Several> {
    let target = headers.get_str(":path").unwrap_or_default();
    let Some((_, query)) = target.split_once('?') else { return Ok(None) };
    only(parameters(query).filter_map(|(given, value)| is_named(given, name).then_some(value.as_bytes())))
}

/// Name and value of each parameter. Some servers take `;` for `&`; a token holds neither.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a backend would read this name, escapes undone, as that one.
fn is_named(given: &str, name: &str) -> bool {
    given == name || (given.contains('%') && unescape(given) == name.as_bytes())
}

/// With every valid percent-encoding undone.
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let byte =
            escaped.and_then(|(digits, _)| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (byte, escaped) {
            (Some(byte), Some((_, after))) => {
                bytes.push(byte);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes.into()
}

fn in_cookies<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Several> {
    only(cookies(headers).filter_map(|cookie| value_of(cookie, name)))
}

/// Each cookie (RFC 6265 section 5.4), as it is.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let all = headers.get_all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    all.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}

/// The value of a cookie, if it has this name.
fn value_of<'a>(cookie: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = cookie.iter().position(|byte| *byte == b'=')?;
    let (given, value) = cookie.split_at_checked(equals)?;
    let value = value.split_first().map_or(value, |(_, value)| value);
    (given.trim_ascii_end() == name.as_bytes()).then(|| value.trim_ascii_start())
}

/// The only one that is not empty.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Several> {
    let first = values.next();
    if values.next().is_some() {
        return Err(Several);
    }
    Ok(first.filter(|value| !value.is_empty()))
}

/// The request's target without these parameters; `None`: it has none of them.
fn without_parameters(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    let (path, query) = headers.get_str(":path")?.split_once('?')?;
    let is_kept = |pair: &&str| {
        let (given, _) = pair.split_once('=').unwrap_or((pair, ""));
        !names.iter().any(|name| is_named(given, name))
    };
    let kept: Vec<_> = query.split('&').filter(is_kept).collect();
    let all = query.split('&').count() == kept.len();
    let target = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    (!all).then_some(target)
}

/// The cookies but these, in one line; `None`: there are none of these.
fn without_cookies(headers: &HeaderMap, names: &[&str]) -> Option<Vec<u8>> {
    let is_one = |cookie: &[u8]| names.iter().any(|name| value_of(cookie, name).is_some());
    if !cookies(headers).any(is_one) {
        return None;
    }
    let kept: Vec<&[u8]> = cookies(headers).filter(|cookie| !is_one(cookie)).collect();
    Some(kept.join(&b"; "[..]))
}

#[cfg(test)]
mod tests;

//! Client certificates: of the connection, or as a trusted proxy tells of them.
//!
//! That a certificate was shown says nothing of who shows it: Envoy's `connection.mtls` is true for one that anybody
//! made. So it is never looked at, and a certificate counts by its fingerprint, or by a name in it where somebody is
//! configured to have verified it.

mod xfcc;

use std::{collections::HashMap, str};

use enforcer_core::{
    config::ConfigError,
    cx::Cx,
    identity::{Caller, Part},
};

use crate::{
    config::{Api, CertificateSource, ClientCertificates, HeaderSource, KnownCertificate, TokenSource},
    pem::Block,
    refusal::{CertificateProblem, Refusal},
    source::{Sources, unescape},
};

/// SHA-256 of a certificate in DER.
pub type Fingerprint = [u8; 32];

/// Where certificates are, and whose they are.
#[derive(Debug, Default)]
pub struct Certificates {
    from: Origin,
    known: Vec<Known>,
    /// Positions among them: a certificate may be one thing to one API and another to another.
    by_fingerprint: HashMap<Fingerprint, Vec<usize>>,
    by_name: HashMap<Name, Vec<usize>>,
}

/// Where a certificate is.
#[derive(Debug, Default)]
enum Origin {
    #[default]
    Connection,
    Xfcc(Header),
    Pem(Header),
}

/// A header that some proxies may write.
#[derive(Debug)]
struct Header {
    sources: Sources,
    /// None: any that can connect.
    proxies: Vec<Fingerprint>,
}

/// What a certificate can be known by beside its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Name {
    Alternative(String),
    Subject(String),
}

/// Whose a certificate is.
#[derive(Debug)]
struct Known {
    caller: Part<Caller>,
    /// Names; none stands for all.
    apis: Vec<String>,
}

/// Longest header that is looked at.
const MAX_HEADER: usize = 16 << 10;

impl Certificates {
    pub fn new(config: ClientCertificates) -> Result<Self, ConfigError> {
        let mut this = Self { from: Origin::new(config.from)?, ..Self::default() };
        if config.known.is_empty() {
            return Err(ConfigError::at("known", "no certificate is known: nobody could call; name one"));
        }
        let has_names = !matches!(this.from, Origin::Pem(_));
        for (index, known) in config.known.into_iter().enumerate() {
            let added = this.add(known, config.verified, has_names);
            added.map_err(|problem| ConfigError::at(format!("known[{index}]"), problem))?;
        }
        Ok(this)
    }

    /// `verified`: somebody has verified the names in certificates; `has_names`: they can be seen.
    fn add(&mut self, one: KnownCertificate, verified: bool, has_names: bool) -> Result<(), String> {
        let KnownCertificate { sha256, san, subject, consumer, application, tier, apis } = one;
        let index = self.known.len();
        let name = match (&sha256, san, subject) {
            (Some(_), None, None) => None,
            (None, Some(san), None) => Some(Name::Alternative(san)),
            (None, None, Some(subject)) => Some(Name::Subject(subject)),
            _ => return Err("name it by one of `sha256`, `san` and `subject`".to_owned()),
        };
        if name.is_some() && !has_names {
            return Err("of a certificate in PEM only `sha256` is known".to_owned());
        }
        if name.is_some() && !verified {
            return Err("anybody can make a certificate with this name: give its `sha256`, or say with `verified: true` \
                        that a CA vouches for every one that comes this far"
                .to_owned());
        }
        let same = match (sha256, name) {
            (Some(text), _) => {
                let fingerprint = fingerprint_of_hex(&text).ok_or_else(|| no_fingerprint(&text))?;
                self.by_fingerprint.entry(fingerprint).or_default()
            }
            (_, Some(name)) => self.by_name.entry(name).or_default(),
            (None, None) => return Ok(()),
        };
        let mut others = same.iter().filter_map(|other| self.known.get(*other));
        if others.any(|other| overlap(&other.apis, &apis)) {
            return Err("this certificate is there already, for the same API".to_owned());
        }
        same.push(index);
        let caller = Caller { subject: consumer.clone(), consumer, application, tier, ..Caller::default() };
        self.known.push(Known { caller: Part::new(caller), apis });
        Ok(())
    }

    /// Who calls, by their certificate.
    pub fn find(&self, api: Option<&Api>, cx: &Cx<'_>) -> Result<Part<Caller>, Refusal> {
        let shown = self.shown(cx)?.ok_or(CertificateProblem::Missing)?;
        let same = match self.by_fingerprint.get(&shown.fingerprint) {
            Some(same) => Some(same),
            None if self.by_name.is_empty() => None,
            None => shown.names(cx).iter().find_map(|name| self.by_name.get(name)),
        };
        let mut same =
            same.ok_or(CertificateProblem::Unknown)?.iter().filter_map(|index| self.known.get(*index));
        let is_here =
            |known: &&Known| known.apis.is_empty() || api.is_some_and(|api| known.apis.contains(&api.name));
        same.find(is_here).map(|known| known.caller.clone()).ok_or_else(|| CertificateProblem::Api.into())
    }

    /// Whether the caller showed the certificate with this fingerprint.
    pub fn is_shown(&self, fingerprint: &Fingerprint, cx: &Cx<'_>) -> bool {
        matches!(self.shown(cx), Ok(Some(shown)) if shown.fingerprint == *fingerprint)
    }

    fn shown<'h>(&self, cx: &Cx<'h>) -> Result<Option<Shown<'h>>, Refusal> {
        let header = match &self.from {
            Origin::Connection => {
                let fingerprint = of_connection(cx);
                return Ok(fingerprint.map(|fingerprint| Shown { fingerprint, element: None }));
            }
            Origin::Xfcc(header) | Origin::Pem(header) => header,
        };
        let Some(value) = header.value(cx)? else { return Ok(None) };
        let unreadable = CertificateProblem::Unreadable;
        match &self.from {
            Origin::Pem(_) => {
                let fingerprint = fingerprint_of_pem(value).ok_or(unreadable)?;
                Ok(Some(Shown { fingerprint, element: None }))
            }
            _ => {
                let element = xfcc::Element::last(value).ok_or(unreadable)?;
                let fingerprint = element.hash().and_then(fingerprint_of_hex).ok_or(unreadable)?;
                Ok(Some(Shown { fingerprint, element: Some(element) }))
            }
        }
    }

    /// The header that tells of certificates: the backend must not take a client's word for it.
    pub fn places(&self) -> impl Iterator<Item = &TokenSource> {
        let header = match &self.from {
            Origin::Connection => None,
            Origin::Xfcc(header) | Origin::Pem(header) => Some(header),
        };
        header.into_iter().flat_map(|header| header.sources.places())
    }
}

/// Whether two lists of APIs, of which an empty one stands for all, have one in common.
fn overlap(one: &[String], other: &[String]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|api| other.contains(api))
}

impl Origin {
    fn new(source: CertificateSource) -> Result<Self, ConfigError> {
        Ok(match source {
            CertificateSource::Connection => Self::Connection,
            CertificateSource::Xfcc(trusted) => Self::Xfcc(
                Header::new("x-forwarded-client-cert".to_owned(), &trusted.proxies)
                    .map_err(|error| error.under("from.xfcc"))?,
            ),
            CertificateSource::Pem(pem) => {
                Self::Pem(Header::new(pem.header, &pem.proxies).map_err(|error| error.under("from.pem"))?)
            }
        })
    }
}

impl Header {
    fn new(name: String, proxies: &[String]) -> Result<Self, ConfigError> {
        let source = TokenSource::Header(HeaderSource { name, scheme: String::new() });
        let sources = Sources::new(vec![source])
            .map_err(|error| ConfigError::at("header", error.problem.replace("a token", "a certificate")))?;
        let proxies = proxies.iter().enumerate().map(|(index, text)| {
            let at = || ConfigError::at(format!("proxies[{index}]"), no_fingerprint(text));
            fingerprint_of_hex(text).ok_or_else(at)
        });
        Ok(Self { sources, proxies: proxies.collect::<Result<_, _>>()? })
    }

    /// What a proxy wrote. From anybody else it is nothing.
    fn value<'h>(&self, cx: &Cx<'h>) -> Result<Option<&'h [u8]>, Refusal> {
        let carried = self.sources.find(cx.request_headers()).map_err(|_| Refusal::Repeated)?;
        let Some(carried) = carried else { return Ok(None) };
        let trusted = || of_connection(cx).is_some_and(|proxy| self.proxies.contains(&proxy));
        if !self.proxies.is_empty() && !trusted() {
            return Ok(None);
        }
        if carried.text.len() > MAX_HEADER {
            return Err(CertificateProblem::Unreadable.into());
        }
        Ok(Some(carried.text))
    }
}

/// A certificate that was shown.
struct Shown<'h> {
    fingerprint: Fingerprint,
    /// Of `x-forwarded-client-cert`; without it the connection is asked.
    element: Option<xfcc::Element<'h>>,
}

impl Shown<'_> {
    /// What it can be known by, the best first.
    fn names(&self, cx: &Cx<'_>) -> Vec<Name> {
        if let Some(element) = &self.element {
            return element.names();
        }
        let attribute = |name| String::from_utf8(cx.host.attribute(&["connection", name])?).ok();
        let alternatives = ["uri_san_peer_certificate", "dns_san_peer_certificate"].map(attribute);
        let alternatives = alternatives.into_iter().flatten().map(Name::Alternative);
        let subject = attribute("subject_peer_certificate").map(Name::Subject);
        alternatives.chain(subject).filter(|name| !name.is_empty()).collect()
    }
}

impl Name {
    fn is_empty(&self) -> bool {
        let (Self::Alternative(text) | Self::Subject(text)) = self;
        text.is_empty()
    }
}

/// Of the certificate that whoever is connected showed: they have its private key, or there were no connection.
fn of_connection(cx: &Cx<'_>) -> Option<Fingerprint> {
    let digest = cx.host.attribute(&["connection", "sha256_peer_certificate_digest"])?;
    fingerprint_of_hex(str::from_utf8(&digest).ok()?)
}

/// Reads hexadecimal digits, with colons between them or without.
pub fn fingerprint_of_hex(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let digits =
        <[u8; 64]>::try_from(digits).ok().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Of the first certificate in PEM, which may be in one line, or percent-encoded.
pub fn fingerprint_of_pem(value: &[u8]) -> Option<Fingerprint> {
    let text = unescape(str::from_utf8(value).ok()?);
    let blocks = Block::all(str::from_utf8(&text).ok()?).ok()?;
    let first = blocks.iter().find(|block| block.label() == "CERTIFICATE")?;
    Some(hmac_sha256::Hash::hash(&first.decode()?))
}

fn no_fingerprint(text: &str) -> String {
    format!("`{text}` is no SHA-256 fingerprint: 64 hexadecimal digits, with colons between them or without")
}

#[cfg(test)]
mod tests;

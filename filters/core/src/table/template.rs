//! Reading path templates, base paths and methods.

use std::borrow::Cow;

use crate::path::{canonical_text, check_segment, check_segments};

/// A segment of a template, its text in canonical spelling.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// `pets`
    Literal(Cow<'a, str>),
    /// `report-{year}.json`: text before the first parameter, and after each one.
    Dotted { prefix: Cow<'a, str>, texts: Vec<Cow<'a, str>> },
    /// `{id}`
    Parameter,
    /// `*` or `report*`: text before the star. Always the last one.
    Tail(Cow<'a, str>),
}

/// The segments of a template.
pub(super) fn segments<'a>(template: &'a str) -> impl Iterator<Item = Result<Segment<'a>, String>> {
    let (start, below) = match template.strip_prefix('/') {
        Some(below) => (None, below),
        None => (Some(Err(format!("`{template}` does not start with `/`"))), ""),
    };
    let below = below.strip_suffix('/').unwrap_or(below);
    let mut parts = (!below.is_empty()).then(|| below.split('/')).into_iter().flatten().peekable();
    let parts = std::iter::from_fn(move || {
        let part = parts.next()?;
        Some(segment(part, parts.peek().is_none()).map_err(|why| format!("bad template `{template}`: {why}")))
    });
    start.into_iter().chain(parts)
}

fn segment(text: &str, is_last: bool) -> Result<Segment<'_>, String> {
    // Most segments are plain text: one pass tells.
    if !text.bytes().any(|byte| matches!(byte, b'?' | b'*' | b'{' | b'}')) {
        return literal(text);
    }
    if text.contains('?') {
        return Err("a template has no query; leave out what follows `?`".to_owned());
    }
    let Some((before, after)) = text.split_once('*') else { return with_parameters(text) };
    if !is_last || !after.is_empty() || before.contains(['{', '}']) {
        return Err("`*` can only end the template, after a slash or plain text".to_owned());
    }
    Ok(Segment::Tail(canonical(before)?))
}

fn literal(text: &str) -> Result<Segment<'_>, String> {
    let literal = canonical(text)?;
    if literal.is_empty() {
        return Err("it has an empty segment (`//`), and requests with one are refused".to_owned());
    }
    check_segment(&literal).map_err(|refusal| format!("{refusal}, and such requests are refused"))?;
    Ok(Segment::Literal(literal))
}

fn with_parameters(text: &str) -> Result<Segment<'_>, String> {
    let braces = || "every `{` needs a name and a `}`, within one segment".to_owned();
    let (prefix, mut rest) = text.split_once('{').ok_or_else(braces)?;
    let mut texts = Vec::new();
    loop {
        let (name, after) = rest.split_once('}').ok_or_else(braces)?;
        if name.is_empty() || name.contains('{') {
            return Err(braces());
        }
        let Some((literal, next)) = after.split_once('{') else {
            texts.push(after);
            break;
        };
        texts.push(literal);
        rest = next;
    }
    if prefix.is_empty() && texts == [""] {
        return Ok(Segment::Parameter);
    }
    if prefix.contains('}') || texts.iter().any(|text| text.contains('}')) {
        return Err(braces());
    }
    let texts = texts.into_iter().map(canonical).collect::<Result<_, _>>()?;
    Ok(Segment::Dotted { prefix: canonical(prefix)?, texts })
}

fn canonical(text: &str) -> Result<Cow<'_, str>, String> {
    canonical_text(text).map_err(|refusal| format!("{refusal}, and such requests are refused"))
}

/// A base path without its trailing slash. It must be canonical as it stands, because it is also the prefix
/// of an Envoy route, which compares bytes.
pub(super) fn base_path(text: &str) -> Result<&str, String> {
    if text.contains(['{', '}', '*', '?']) {
        return Err(format!(
            "`{text}` has a parameter, wildcard or query; put it into the operations' paths"
        ));
    }
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!("`{text}` does not start with `/`"));
    }
    let base = text.strip_suffix('/').unwrap_or(text);
    let canonical = canonical_text(base).map_err(|refusal| format!("bad base path `{text}`: {refusal}"))?;
    if base.ends_with('/') {
        return Err(format!("bad base path `{text}`: it has an empty segment (`//`)"));
    }
    check_segments(&canonical).map_err(|refusal| format!("bad base path `{text}`: {refusal}"))?;
    if canonical == base {
        Ok(base)
    } else {
        Err(format!("`{text}` is not in canonical form; write `{canonical}`"))
    }
}

/// Methods are case-sensitive (RFC 9110 section 9.1), and all that are registered are upper case.
pub(super) fn method(text: &str) -> Result<(), String> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err(format!("methods are upper case; write `{}`", text.to_ascii_uppercase()));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text == "*" || !text.bytes().all(token) {
        return Err(format!("`{text}` is no method; leave the list out for all of them"));
    }
    Ok(())
}

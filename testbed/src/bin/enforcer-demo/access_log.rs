//! Lines of the access log that `enforcer build` configures.

/// What a line says about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'l> {
    /// `GET /pets HTTP/1.1`
    pub(crate) request: &'l str,
    pub(crate) status: &'l str,
    /// `%RESPONSE_CODE_DETAILS%`: who ended the request, and why.
    pub(crate) details: &'l str,
}

impl<'l> Entry<'l> {
    /// `[2026-01-31T12:00:00.000Z] 127.0.0.1 "GET /pets HTTP/1.1" 401 enforcer_auth_token_missing - ...`
    pub(crate) fn parse(line: &'l str) -> Option<Self> {
        let (_, rest) = line.split_once(" \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut words = rest.split(' ');
        Some(Self { request, status: words.next()?, details: words.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let line = r#"[2026-01-31T12:00:00.000Z] 127.0.0.1 "GET /pets HTTP/1.1" 200 via_upstream - 0 5"#;
        let entry = Entry { request: "GET /pets HTTP/1.1", status: "200", details: "via_upstream" };
        assert_eq!(Entry::parse(line), Some(entry));
        assert_eq!(Entry::parse("garbage"), None);
    }
}

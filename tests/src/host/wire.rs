use enforcer_testbed::{Certified, Fields};

/// A request as bytes, templates replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct WireRequest {
    pub(crate) method: String,
    pub(crate) path: Vec<u8>,
    pub(crate) host: Vec<u8>,
    pub(crate) headers: Fields,
    pub(crate) body: WireBody,
    /// What the client shows of itself.
    pub(crate) certificate: Option<Certified>,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum WireBody {
    #[default]
    None,
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>, Fields),
}

impl WireRequest {
    /// In HTTP/1.1 (RFC 9112), right or wrong.
    pub(crate) fn to_http1(&self) -> Vec<u8> {
        let mut out =
            [self.method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\nhost: ", &self.host, b"\r\n"].concat();
        let fields = |fields: &Fields, out: &mut Vec<u8>| {
            for (name, value) in fields.iter() {
                out.extend([name, b": ", value, b"\r\n"].concat());
            }
        };
        fields(&self.headers, &mut out);
        match &self.body {
            WireBody::None => out.extend(b"\r\n"),
            WireBody::Whole(body) => {
                out.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
                out.extend(body);
            }
            WireBody::Chunks(chunks, trailers) => {
                out.extend(b"transfer-encoding: chunked\r\n\r\n");
                for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                    out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    out.extend([chunk, &b"\r\n"[..]].concat());
                }
                out.extend(b"0\r\n");
                fields(trailers, &mut out);
                out.extend(b"\r\n");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_bytes() {
        let request = WireRequest {
            method: "GET".into(),
            path: b"/\xff".to_vec(),
            host: b"a".to_vec(),
            headers: Fields::new().with("x", b"\xfe"),
            ..WireRequest::default()
        };
        assert_eq!(request.to_http1(), b"GET /\xff HTTP/1.1\r\nhost: a\r\nx: \xfe\r\n\r\n");
    }

    #[test]
    fn trailers_follow_the_last_chunk() {
        let body = WireBody::Chunks(vec![b"ab".to_vec(), b"".to_vec()], Fields::new().with("t", "1"));
        let request =
            WireRequest { method: "PUT".into(), path: b"/".to_vec(), body, ..WireRequest::default() };
        let wire = String::from_utf8(request.to_http1()).unwrap();
        assert!(wire.ends_with("chunked\r\n\r\n2\r\nab\r\n0\r\nt: 1\r\n\r\n"), "{wire}");
    }
}

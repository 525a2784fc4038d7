//! In the words of Open Policy Agent. Source of the question: Choreo Connect's `OPADefaultRequestGenerator`; of the answer:
//! OPA's data API, `POST /v1/data/{path}`.

use serde_json::json;

use super::{Cx, DecisionProblem, Map, Opinion, Question, TokenSource, Value, net, path, text};

/// How it is asked.
#[derive(Debug)]
pub(super) struct Words {
    send_token: bool,
    /// Headers that are not shown to it, in lower case: they carry credentials.
    hidden: Vec<String>,
}

impl Words {
    pub(super) fn new<'c>(
        send_token: bool,
        credentials: impl Iterator<Item = &'c TokenSource>,
        secret: impl Iterator<Item = String>,
    ) -> Self {
        let hidden = credentials.filter_map(|source| match source {
            TokenSource::Header(header) => Some(header.name.to_ascii_lowercase()),
            TokenSource::Cookie(_) => Some("cookie".to_owned()),
            TokenSource::Query(_) => None,
        });
        let usual = ["authorization".to_owned(), "proxy-authorization".to_owned()];
        Self { send_token, hidden: hidden.chain(usual).chain(secret).collect() }
    }

    pub(super) fn question(&self, question: Question<'_>, cx: &Cx<'_>) -> Value {
        let Question { caller, called, api, token } = question;
        let headers = cx.request_headers();
        let mut shown: Map<String, Value> = Map::new();
        for (name, value) in headers.iter() {
            let name = String::from_utf8_lossy(name).into_owned();
            if !name.starts_with(':') && !self.hidden.contains(&name) {
                shown.insert(name, String::from_utf8_lossy(value).into());
            }
        }
        let client = net::client(cx.host).map(|address| address.to_string());
        let mut input = json!({
            "transportHeaders": shown,
            "requestOrigin": client.unwrap_or_default(),
            "method": text(headers, ":method"),
            "path": String::from_utf8_lossy(path(headers)),
            "apiContext": {
                "apiName": called.api,
                "apiVersion": called.version,
                "vhost": text(headers, ":authority"),
                "basePath": api.map_or("", |api| &api.base_path),
                "pathTemplate": called.template,
            },
            "caller": caller,
        });
        if let (true, Some(token), Some(members)) = (self.send_token, token, input.as_object_mut()) {
            let token = String::from_utf8_lossy(token);
            members.insert("authenticationContext".to_owned(), json!({"token": token, "tokenType": "JWT"}));
        }
        json!({ "input": input })
    }
}

/// Without a `result`, the rule is not defined for this input, or not at all.
pub(super) fn answer(mut members: Map<String, Value>) -> Opinion {
    match members.remove("result") {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(DecisionProblem::Denied),
        _ => Err(DecisionProblem::Unreadable),
    }
}

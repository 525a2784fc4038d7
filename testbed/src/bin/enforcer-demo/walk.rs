//! The requests: what was asked, what came, and why.

use std::time::{Duration, SystemTime};

use enforcer_testbed::{RawClient, Request, Response};
use serde_json::Value;

use crate::Outcome;
use crate::access_log::Entry;
use crate::operations::Operation;
use crate::page::{self, Page, Style};
use crate::stage::Stage;
use crate::tokens::{Credential, Mint, forged};

const SOON: Duration = Duration::from_secs(10);

/// What is going to be asked.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The step that a caller in good standing takes.
    pub(crate) right: Option<Step>,
    /// What this definition gives no occasion to show.
    notes: Vec<&'static str>,
}

/// One request, and what must come of it.
#[derive(Clone)]
pub(crate) struct Step {
    title: &'static str,
    pub(crate) operation: Operation,
    pub(crate) credential: Option<Credential>,
    status: u16,
    /// `%RESPONSE_CODE_DETAILS%`
    details: &'static str,
    why: String,
}

impl Plan {
    /// Chooses the operations to call, and makes the tokens.
    pub(crate) fn of(stage: &Stage) -> Outcome<Self> {
        let mut plan = Self { steps: Vec::new(), right: None, notes: Vec::new() };
        match (stage.table.protected(), stage.table.open()) {
            (Some(protected), _) => plan.protect(stage, protected)?,
            (None, open) => {
                plan.notes.push("a refused token, because every operation of this definition is open");
                plan.steps.extend(open.map(open_step));
            }
        }
        let any = plan.steps.last().map(|step| step.operation.clone());
        match (stage.table.undeclared(), any) {
            (Some(path), Some(operation)) => plan.steps.push(Step {
                title: "An operation that nobody declared",
                operation: Operation { path, method: "GET".to_owned(), ..operation },
                credential: plan.right.as_ref().and_then(|step| step.credential.clone()),
                status: 404,
                details: "enforcer_no_operation",
                why: "The definition has no such operation, and what it does not name is closed.".to_owned(),
            }),
            _ => plan
                .notes
                .push("an undeclared operation, because a wildcard of this definition takes all paths"),
        }
        Ok(plan)
    }

    /// The steps at an operation that asks for a token, from bad to good.
    fn protect(&mut self, stage: &Stage, operation: &Operation) -> Outcome<()> {
        let mint = Mint { workshop: &stage.workshop, header: &stage.table.token_header };
        let alternatives = operation.access.alternatives();
        let needed = alternatives.first().map(|scopes| scopes.names.as_slice()).unwrap_or_default();
        let asks = asks(operation, needed);
        let other_scope = stage.table.wrong_scope(alternatives);
        let other = mint.token(std::slice::from_ref(&other_scope), &[])?;
        let step = |title, credential, (status, details), why: String| Step {
            title,
            operation: operation.clone(),
            credential,
            status,
            details,
            why,
        };
        let last = if needed.is_empty() {
            self.notes
                .push("a token with the wrong scope, because no operation of this definition names scopes");
            let expired = mint.token(&[], &[&format!("exp={}", an_hour_ago())])?;
            step(
                "A token that has expired",
                Some(mint.credential("expired", &expired)?),
                (401, "enforcer_auth_token_expired"),
                "The token is genuine, but it was valid until an hour ago.".to_owned(),
            )
        } else {
            step(
                "A genuine token with another scope",
                Some(mint.credential("other-scope", &other)?),
                (403, "enforcer_auth_scope_missing"),
                format!("The token is genuine, but its scope is `{other_scope}`: {asks}."),
            )
        };
        let right = step(
            "The right token",
            Some(mint.credential("right", &mint.token(needed, &[])?)?),
            (200, "via_upstream"),
            format!(
                "Signature, issuer{} are right. The token stays here; its claims go on.",
                if needed.is_empty() { " and lifetime" } else { ", lifetime and scope" }
            ),
        );
        let fake = forged(&other, &[("sub", "mallory"), ("scope", &needed.join(" "))])?;
        self.steps = vec![
            step("No token", None, (401, "enforcer_auth_token_missing"), format!("{asks}, and none came.")),
            step(
                "Something that is no token",
                Some(mint.credential("garbage", "let-me-in")?),
                (401, "enforcer_auth_token_malformed"),
                "`let-me-in` is not a JSON Web Token.".to_owned(),
            ),
            step(
                "A forged token: alice's, with other claims written into it",
                Some(mint.credential("forged", &fake)?),
                (401, "enforcer_auth_signature_invalid"),
                "The signature covers the claims, and only the issuer has the key to make another."
                    .to_owned(),
            ),
            last,
            right.clone(),
        ];
        self.right = Some(right);
        Ok(())
    }

    /// Takes the steps, printing each; an error names the first that went wrong.
    pub(crate) fn walk(&self, stage: &Stage, page: &mut Page) -> Outcome<()> {
        let mut mark = stage.envoy.access_log().mark();
        for (number, step) in (1..).zip(&self.steps) {
            step.take(stage, page, number, mark)?;
            mark = mark.saturating_add(1);
        }
        for note in &self.notes {
            page.line("")?;
            page.entry("note", &page::wrapped(&format!("Not shown: {note}.")))?;
        }
        Ok(())
    }
}

fn open_step(operation: &Operation) -> Step {
    Step {
        title: "No token, where none is needed",
        operation: operation.clone(),
        credential: None,
        status: 200,
        details: "via_upstream",
        why: format!("The definition says that everybody may call `{}`.", operation.id),
    }
}

impl Step {
    fn take(&self, stage: &Stage, page: &mut Page, number: u32, mark: usize) -> Outcome<()> {
        page.line("")?;
        page.line(&page.styled(&format!("{number}. {}", self.title), Style::Bold))?;
        page.entry("asked", &page::command(&self.curl(stage), page::TEXT))?;
        let answer = RawClient::new(stage.gateway).send(&self.request(stage))?;
        let logged = stage.envoy.access_log().wait_for(mark, |_| true, SOON)?;
        let details = Entry::parse(&logged).map_or(logged.as_str(), |entry| entry.details);

        let style = if answer.status < 400 { Style::Green } else { Style::Red };
        let mut came = vec![page.styled(&phrase(answer.status), style)];
        let echo = Echo::of(&answer);
        match &echo {
            Some(echo) => came.extend(echo.shown(&stage.table.token_header)),
            None => came.extend(page::body(&answer.text())),
        }
        page.entry("came", &came)?;
        page.entry("why", &page::wrapped(&self.why))?;
        page.entry("logged", &[details.to_owned()])?;
        self.check(&answer, details, echo.as_ref())
            .map_err(|problem| format!("step {number}: {problem}").into())
    }

    fn check(&self, answer: &Response, details: &str, echo: Option<&Echo>) -> Result<(), String> {
        if (answer.status, details) != (self.status, self.details) {
            return Err(format!(
                "expected {} and `{}`, but {} and `{details}` came",
                self.status, self.details, answer.status
            ));
        }
        if self.status != 200 || self.operation.method == "HEAD" {
            return Ok(());
        }
        let echo = echo.ok_or("the answer does not come from the backend")?;
        let Some(credential) = &self.credential else { return Ok(()) };
        if echo.header(&credential.name).is_some() {
            return Err("the token went on to the backend".to_owned());
        }
        match echo.header("x-user") {
            Some("alice") => Ok(()),
            other => Err(format!("the backend was told that the user is {other:?}")),
        }
    }

    fn request(&self, stage: &Stage) -> Request {
        let mut request = Request::new(&self.operation.method, &self.operation.path)
            .header("host", stage.gateway.to_string());
        if let Some(Credential { name, value, .. }) = &self.credential {
            request = request.header(name, value);
        }
        if has_body(&self.operation.method) {
            request = request.header("content-type", "application/x-www-form-urlencoded").body("{}");
        }
        request
    }

    /// The same request as a command line.
    pub(crate) fn curl(&self, stage: &Stage) -> Vec<String> {
        let header = self.credential.as_ref().map(|credential| format!("@{}", credential.file.display()));
        curl(stage, &self.operation, header.as_deref())
    }
}

/// A command that calls an operation, with a header or a file of headers.
pub(crate) fn curl(stage: &Stage, operation: &Operation, header: Option<&str>) -> Vec<String> {
    let Operation { method, path, .. } = operation;
    let mut words = vec!["curl".to_owned()];
    match method.as_str() {
        "GET" => words.push("-i".to_owned()),
        "HEAD" => words.push("-I".to_owned()),
        _ => words.push(format!("-i -X {method}")),
    }
    if has_body(method) {
        words.push("-d '{}'".to_owned());
    }
    words.extend(header.map(|header| format!("-H {}", quoted(header))));
    words.push(quoted(&format!("http://{}{path}", stage.gateway)));
    words
}

fn has_body(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
}

/// A word as a shell reads it; double quotes where it holds a variable.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-~".contains(c);
    match word {
        _ if word.chars().all(plain) => word.to_owned(),
        _ if word.contains('$') => format!("\"{word}\""),
        _ => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// What the backend says that it received.
struct Echo(Value);

impl Echo {
    fn of(answer: &Response) -> Option<Self> {
        let echo: Value = serde_json::from_slice(&answer.body).ok()?;
        echo.get("headers")?.as_array()?;
        Some(Self(echo))
    }

    fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.get("headers").and_then(Value::as_array).into_iter().flatten();
        pairs.filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The request and what the gateway made of the caller. The whole answer is what curl shows.
    fn shown(&self, token_header: &str) -> Vec<String> {
        let text = |key: &str| self.0.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut lines = vec![format!("the backend received: {} {}", text("method"), text("path"))];
        let telling = self.headers().filter(|(name, _)| !is_usual(name));
        lines.extend(telling.map(|(name, value)| format!("   {name}: {value}")));
        if self.header(token_header).is_none() {
            lines.push(format!("   (no {token_header}; the other headers are what every Envoy sends)"));
        }
        lines.iter().flat_map(|line| page::body(line)).collect()
    }
}

/// A header that is there with any Envoy, or because of the request's body.
fn is_usual(name: &str) -> bool {
    let prefixes = ["x-envoy-", "x-forwarded-", "content-"];
    matches!(name, "host" | "x-request-id") || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn asks(operation: &Operation, needed: &[String]) -> String {
    match needed {
        [] => format!("`{}` asks for a token", operation.id),
        scopes => format!("`{}` asks for a token with {}", operation.id, named(scopes)),
    }
}

/// `` the scope `a` ``, `` the scopes `a` and `b` ``
fn named(scopes: &[String]) -> String {
    let noun = if scopes.len() == 1 { "scope" } else { "scopes" };
    format!("the {noun} {}", page::quoted(scopes))
}

fn phrase(status: u16) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "",
    };
    format!("{status} {reason}").trim_end().to_owned()
}

fn an_hour_ago() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("http://127.0.0.1:8080/pets/1"), "http://127.0.0.1:8080/pets/1");
        assert_eq!(quoted("/pets?a=1&b=it's"), r"'/pets?a=1&b=it'\''s'");
        assert_eq!(quoted("Authorization: Bearer $TOKEN"), "\"Authorization: Bearer $TOKEN\"");
    }

    #[test]
    fn scopes_are_named() {
        assert_eq!(named(&["a".to_owned()]), "the scope `a`");
        assert_eq!(named(&["a".to_owned(), "b".to_owned()]), "the scopes `a` and `b`");
    }
}

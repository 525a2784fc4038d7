//! The case file, as it is written. `docs/cases.md` explains it to authors.

mod expect;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use enforcer_core::units::Span;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

pub(crate) use self::expect::{Deliveries, Expect, Field, Last, Seen};

use crate::Error;
use crate::tokens::TokenSpec;

/// One file of cases: a filter and its configuration, the world around them, and what must happen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFile {
    /// What the cases have in common, in a sentence.
    pub(crate) about: String,
    /// Name of the module's file, without `.wasm`.
    pub(crate) module: String,
    /// Which of the module's filters: Envoy's `root_id`. The module's name unless told otherwise.
    #[serde(default)]
    pub(crate) root_id: Option<String>,
    /// The plugin configuration. Strings may have templates.
    pub(crate) configuration: Value,
    /// How many worker threads serve the requests.
    #[serde(default = "one")]
    pub(crate) workers: usize,
    /// Clients come by TLS. The listener asks them for a certificate and takes any.
    #[serde(default)]
    pub(crate) tls: bool,
    /// Sets of public keys, for `${key_set.NAME}` and for services.
    #[serde(default)]
    pub(crate) key_sets: BTreeMap<String, Vec<Value>>,
    /// Tokens, for `${token.NAME}`.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, TokenSpec>,
    /// Services that the filters call, by the name of their Envoy cluster.
    #[serde(default)]
    pub(crate) services: BTreeMap<String, Service>,
    /// Every case starts with a filter that has seen nothing. Otherwise the cases follow one another on the same
    /// one, as requests do in a gateway, unless they have a configuration or services of their own.
    #[serde(default)]
    pub(crate) fresh: bool,
    /// The cases, in order.
    pub(crate) cases: Vec<Case>,
}

/// What a service does when it is asked. What is left out stays as it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// The name of the key set that it serves.
    pub(crate) key_set: Option<String>,
    /// A text that it serves. It may have templates.
    pub(crate) document: Option<String>,
    /// Header fields beside the document.
    pub(crate) headers: Option<BTreeMap<String, String>>,
    /// It is a rate limit service, spoken to by gRPC, and allows each descriptor so much.
    pub(crate) limit: Option<Allowance>,
    /// How it answers.
    pub(crate) answer: Option<Answer>,
}

/// So many requests in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowance {
    pub(crate) requests: u64,
    pub(crate) per: Span,
}

/// How a service answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Answer {
    /// As it should: with its key set; the backend with what it received.
    #[default]
    Ok,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with no body.
    Empty,
    /// 200 with 10 MiB of JSON.
    Huge,
    /// 200 with this body.
    Body(String),
    /// This status, the body as in `ok`.
    Status(u16),
    /// As in `ok`, after this long.
    Slow(Span),
    /// As in `ok`, but a byte of the body each time so long has passed.
    Drip(Span),
    /// Never.
    Hang,
    /// The connection is refused.
    Down,
}

/// One thing that must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Unique in its file.
    pub(crate) name: String,
    /// Where the expectation comes from.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) source: Vec<String>,
    /// Why it does not run anywhere.
    #[serde(default)]
    pub(crate) skip: Option<String>,
    /// The one host on which it runs.
    #[serde(default)]
    pub(crate) only: Option<Only>,
    /// The hosts on which it does not.
    #[serde(default, deserialize_with = "one_or_several")]
    pub(crate) except: Vec<Only>,
    /// The single step of a short case ...
    #[serde(default)]
    pub(crate) request: Option<Request>,
    /// ... and what must come of it.
    #[serde(default)]
    pub(crate) expect: Option<Expect>,
    /// The steps of a longer one.
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
    /// A configuration in place of the file's. The case starts with a filter of its own then.
    #[serde(default)]
    pub(crate) configuration: Option<Value>,
    /// Services that behave otherwise from the start. The case starts with a filter of its own then.
    #[serde(default)]
    pub(crate) services: BTreeMap<String, Service>,
    /// The configuration must be refused, and each of these texts be in the log.
    #[serde(default)]
    pub(crate) refused: Vec<String>,
}

/// A case that only one host can show, or that only one cannot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Only {
    /// Which.
    pub(crate) host: HostKind,
    /// Why.
    pub(crate) because: String,
}

/// The hosts that run cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostKind {
    /// The proxy-wasm host on wasmtime, with or without `verify_signature`.
    Harness,
    /// The same, as an Envoy that is too old for `verify_signature`, so that the filter verifies by itself.
    Rust,
    /// A real Envoy.
    Envoy,
    /// A real Envoy with somebody else's configuration, into which `enforcer attach` has put the filter.
    Attached,
    /// A real Envoy that is configured as kgateway does it, with the filter in `enforcer-extproc`.
    ExtProc,
}

/// Something happens: first to the world, then to the clock, then a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Services that behave otherwise from now on; `backend` is one of them.
    #[serde(default)]
    pub(crate) world: BTreeMap<String, Service>,
    /// Time that passes. The harness moves its clock; with Envoy it really passes.
    #[serde(default)]
    pub(crate) elapse: Option<Span>,
    /// What a client sends.
    #[serde(default)]
    pub(crate) request: Option<Request>,
    /// How many clients send it at the same time. Each must get what is expected.
    #[serde(default)]
    pub(crate) at_once: Option<usize>,
    /// The request is repeated for this long until it gets what is expected.
    #[serde(default)]
    pub(crate) within: Option<Span>,
    /// What must come of it.
    #[serde(default)]
    pub(crate) expect: Option<Expect>,
}

/// A request as it goes over the wire. In its strings each character is one byte (ISO 8859-1).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    #[serde(default = "get")]
    pub(crate) method: String,
    /// The request target with its query.
    pub(crate) path: String,
    /// The `Host` field.
    #[serde(default = "localhost")]
    pub(crate) host: String,
    /// The name of a token to send as `authorization: Bearer`.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The name of a key, `ec-2`, whose certificate the client shows.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// Further fields; a list stands for several fields of one name.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Values>,
    /// A body with its length.
    #[serde(default)]
    pub(crate) body: Option<String>,
    /// A body in chunks.
    #[serde(default)]
    pub(crate) chunks: Vec<String>,
    /// What follows the chunks.
    #[serde(default)]
    pub(crate) trailers: BTreeMap<String, Values>,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: get(),
            path: path.to_owned(),
            host: localhost(),
            token: None,
            certificate: None,
            headers: BTreeMap::new(),
            body: None,
            chunks: Vec::new(),
            trailers: BTreeMap::new(),
        }
    }
}

/// One value or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(pub Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        one_or_many(deserializer).map(Self)
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    strings(Value::deserialize(deserializer)?)
}

fn strings<E: de::Error>(value: Value) -> Result<Vec<String>, E> {
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    let string = |value| match value {
        Value::String(text) => Ok(text),
        other => Err(E::custom(format!("`{other}` is no string: put it in quotes"))),
    };
    values.into_iter().map(string).collect()
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Only>, D::Error> {
    let values = match Value::deserialize(deserializer)? {
        Value::Array(values) => values,
        value => vec![value],
    };
    values.into_iter().map(|value| Only::deserialize(value).map_err(de::Error::custom)).collect()
}

fn one() -> usize {
    1
}

fn get() -> String {
    "GET".to_owned()
}

fn localhost() -> String {
    "localhost".to_owned()
}

impl CaseFile {
    /// Reads a file and checks what serde cannot.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text =
            fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|problem| Error::Format { path: path.to_owned(), problem })
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        // YAML 1.2: `y` and `no` are words, only `true` and `false` are booleans.
        let options = serde_saphyr::options! { strict_booleans: true };
        let mut file: Self = serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?;
        if file.about.trim().is_empty() {
            return Err("say what the cases have in common, in `about`".into());
        }
        let mut names = BTreeSet::new();
        let shows = |step: &Step| step.request.as_ref().is_some_and(|request| request.certificate.is_some());
        for case in &mut file.cases {
            case.normalise().map_err(|problem| format!("case `{}`: {problem}", case.name))?;
            if !file.tls && case.steps.iter().any(shows) {
                return Err(format!("case `{}`: a certificate needs `tls: true` in the file", case.name));
            }
            if !names.insert(case.name.clone()) {
                return Err(format!("two cases are named `{}`", case.name));
            }
        }
        Ok(file)
    }
}

/// With a real Envoy time really passes, so a case may not take more of it than this.
const LONGEST_ON_ENVOY: Span = Span::from_secs(10);

impl Case {
    /// Turns the short form into the long one.
    fn normalise(&mut self) -> Result<(), String> {
        if self.source.iter().all(|source| source.trim().is_empty()) {
            return Err("say where the expectation comes from, in `source`".into());
        }
        let hosts = self.only.iter().chain(&self.except);
        let reasons = self.skip.iter().chain(hosts.map(|host| &host.because));
        if reasons.into_iter().any(|reason| reason.trim().is_empty()) {
            return Err("say why it does not run, in `skip` or `because`".into());
        }
        let forms = [
            self.request.is_some() || self.expect.is_some(),
            !self.steps.is_empty(),
            !self.refused.is_empty(),
        ];
        if forms.iter().filter(|form| **form).count() != 1 {
            return Err("give it either `request` and `expect`, or `steps`, or `refused`".into());
        }
        if self.request.is_some() || self.expect.is_some() {
            let (request, expect) = (self.request.take(), self.expect.take());
            self.steps.push(Step { request, expect, ..Step::default() });
        }
        self.steps.iter().try_for_each(Step::check)?;
        let elapsing = |step: &Step| step.elapse.unwrap_or_default().duration();
        if self.runs_on(HostKind::Envoy)
            && self.steps.iter().map(elapsing).sum::<std::time::Duration>() > LONGEST_ON_ENVOY.duration()
        {
            return Err(format!("more than {LONGEST_ON_ENVOY} elapse: leave it to the harness, by `only`"));
        }
        Ok(())
    }

    /// Whether this host can show it.
    pub(crate) fn runs_on(&self, host: HostKind) -> bool {
        // What is refused never gets as far as to meet anybody else's filters.
        let same = host == HostKind::Attached && !self.refused.is_empty();
        let excepted = self.except.iter().any(|except| host.is(except.host));
        !same && !excepted && self.only.as_ref().is_none_or(|only| host.is(only.host))
    }
}

impl HostKind {
    /// Whether what is said of the other kind holds for this one too.
    fn is(self, other: Self) -> bool {
        let variants =
            [(Self::Rust, Self::Harness), (Self::Attached, Self::Envoy), (Self::ExtProc, Self::Envoy)];
        self == other || variants.contains(&(self, other))
    }
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let Some(request) = &self.request else {
            let idle = self.world.is_empty() && self.elapse.is_none();
            return if idle { Err("a step does nothing".into()) } else { Ok(()) };
        };
        if self.expect.is_none() {
            return Err(format!("nothing is expected of `{} {}`", request.method, request.path));
        }
        if request.body.is_some() && !request.chunks.is_empty() {
            return Err("a request has either `body` or `chunks`".into());
        }
        if !request.trailers.is_empty() && request.chunks.is_empty() {
            return Err("trailers need `chunks` before them".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "about: x\nmodule: auth\nconfiguration: {}\ncases:\n";

    fn parse(cases: &str) -> Result<CaseFile, String> {
        CaseFile::parse(&format!("{HEAD}{cases}"))
    }

    #[test]
    fn a_short_case_is_one_step() {
        let file = parse(
            r#"
  - name: a
    source: cc/X.y
    request: {path: "/\xff", headers: {a: [x, y]}}
    expect: {status: 401, headers: {www-authenticate: true, b: "1"}, json: {code: "900901"}}
"#,
        )
        .unwrap();
        let step = &file.cases[0].steps[0];
        let request = step.request.as_ref().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/\u{ff}"));
        assert_eq!(request.headers["a"], Values(vec!["x".into(), "y".into()]));
        let expect = step.expect.as_ref().unwrap();
        assert_eq!(expect.headers["www-authenticate"], Field::There(true));
        assert_eq!(expect.json, Some(serde_json::json!({ "code": "900901" })));
    }

    #[test]
    fn answers_are_words_or_have_a_value() {
        let file = parse(
            "  - {name: a, source: b, steps: [{world: {idp: {answer: {slow: 2s}}, b: {answer: down}}}]}",
        )
        .unwrap();
        let world = &file.cases[0].steps[0].world;
        assert_eq!(world["idp"].answer, Some(Answer::Slow(Span::from_secs(2))));
        assert_eq!(world["b"].answer, Some(Answer::Down));
    }

    #[test]
    fn what_one_kind_of_host_shows_its_variants_show_too() {
        let file = parse(
            "  - {name: a, source: b, only: {host: envoy, because: c}, steps: [{elapse: 1s}]}\n  \
             - {name: b, source: b, except: {host: attached, because: c}, steps: [{elapse: 1s}]}\n  \
             - {name: c, source: b, refused: [x]}",
        )
        .unwrap();
        let all = [HostKind::Harness, HostKind::Rust, HostKind::Envoy, HostKind::Attached];
        let shown = |case: usize| all.map(|host| file.cases[case].runs_on(host));
        assert_eq!(shown(0), [false, false, true, true]);
        assert_eq!(shown(1), [true, true, true, false]);
        assert_eq!(shown(2), [true, true, true, false]);
    }

    #[test]
    fn mistakes_are_named() {
        for (cases, problem) in [
            ("  - {name: a, source: b}", "case `a`: give it either"),
            ("  - {name: a, source: b, request: {path: /}}", "nothing is expected of `GET /`"),
            ("  - {name: a, source: '', request: {path: /}, expect: {}}", "say where the expectation"),
            ("  - {name: a, source: b, request: {path: /}, expect: {stat: 1}}", "stat"),
            ("  - {name: a, source: b, steps: [{elapse: 11s}]}", "leave it to the harness"),
            ("  - {name: a, source: b, configuration: {}}", "give it either"),
            ("  - {name: a, source: b, steps: [{}]}", "does nothing"),
            ("  - {name: a, source: b, skip: ' ', steps: [{elapse: 1s}]}", "say why"),
        ] {
            let error = parse(cases).unwrap_err();
            assert!(error.contains(problem), "{cases}: {error}");
        }
    }
}

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::{cell::RefCell, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    cx::FetchKey,
    edits::HeaderEdit,
    fault::Detail,
    filter::Response,
    identity::{Caller, Identity, Part},
    native::NativeHost,
};

/// Does what its configuration says, and writes down what it was told.
#[derive(Debug)]
struct Scripted {
    config: Script,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Script {
    name: String,
    #[serde(default)]
    on_head: Vec<Does>,
    #[serde(default)]
    body: Option<usize>,
    #[serde(default)]
    response: bool,
}

/// One step at the request's head, then at what follows a wait.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
enum Does {
    Go,
    Wait,
    Hold,
    Refuse,
    Rename(String),
}

thread_local!(static HEARD: RefCell<Vec<String>> = RefCell::default());

/// What the filters were told since this was last asked.
fn heard() -> Vec<String> {
    HEARD.with(RefCell::take)
}

impl Filter for Scripted {
    const NAME: &'static str = "scripted";
    type Config = Script;
    type Exchange = usize;

    fn new(config: Script, _capabilities: Capabilities) -> Result<Self, ConfigError> {
        match config.name.as_str() {
            "" => Err(ConfigError::at("name", "it is empty")),
            _ => Ok(Self { config }),
        }
    }

    fn needs(&self) -> Needs {
        Needs { clusters: vec![self.config.name.clone()], ..Needs::default() }
    }

    fn on_event(&mut self, steps: &mut usize, event: Event<'_>, cx: &mut Cx<'_>) -> Step {
        let seen = cx.request_headers().get_str("x").unwrap_or("-").to_owned();
        let line = format!("{} {event:?} x={seen}", self.config.name);
        HEARD.with(|heard| heard.borrow_mut().push(line));
        let next = Next {
            request_body: self.config.body.map_or(BodyMode::Skip, BodyMode::Buffer),
            response_head: self.config.response,
            ..Next::default()
        };
        if !matches!(event, Event::RequestHead | Event::Woken) {
            return Step::proceed();
        }
        let does = self.config.on_head.get(*steps).cloned().unwrap_or(Does::Go);
        *steps = steps.wrapping_add(1);
        match does {
            Does::Go => Step::Continue(Edits::next(next)),
            Does::Wait => {
                let on = FetchKey { filter: Self::NAME, id: 0 };
                Step::Wait { on, deadline: Duration::from_secs(1) }
            }
            Does::Hold => Step::Hold { limit: 10, head: true },
            Does::Refuse => Step::Respond(Response {
                status: 403,
                headers: Vec::new(),
                body: Vec::new(),
                detail: Detail::new("no"),
                identity: None,
            }),
            Does::Rename(value) => {
                let caller = Part::new(Caller { subject: value.clone(), ..Caller::default() });
                let identity = Identity { caller, ..Identity::default() };
                let edits = Edits { identity: Some(identity), ..Edits::next(next) };
                Step::Continue(edits.set("x", value))
            }
        }
    }
}

type Pair = Chain<Scripted, Scripted>;

struct Run {
    chain: Pair,
    exchange: <Pair as Filter>::Exchange,
    host: NativeHost,
    messages: Messages,
}

fn run(first: Script, second: Script) -> Run {
    heard();
    let first = Script { name: "a".into(), ..first };
    let second = Script { name: "b".into(), ..second };
    Run {
        chain: Chain::new((first, second), Capabilities::default()).unwrap(),
        exchange: ChainExchange::default(),
        host: NativeHost::new(),
        messages: Messages::of_request([("x", "client")].into_iter().collect()),
    }
}

impl Run {
    fn tell(&mut self, event: Event<'_>) -> Step {
        let mut wishes = Wishes::default();
        let mut cx = Cx::new(&self.host, &self.messages, &mut wishes);
        self.chain.on_event(&mut self.exchange, event, &mut cx)
    }

    /// The edits of a step that must be Continue.
    fn edits(&mut self, event: Event<'_>) -> Edits {
        match self.tell(event) {
            Step::Continue(edits) => edits,
            other => panic!("{other:?}"),
        }
    }
}

fn does(steps: &[Does]) -> Script {
    Script { on_head: steps.to_vec(), ..Script::default() }
}

fn body(size: usize) -> Event<'static> {
    Event::RequestBody(Body { size, end: true })
}

#[test]
fn the_second_sees_what_the_first_left() {
    let mut run = run(does(&[Does::Rename("first".into())]), does(&[]));
    let edits = run.edits(Event::RequestHead);
    assert_eq!(edits.headers, [HeaderEdit::Set("x".into(), b"first".to_vec())]);
    assert_eq!(edits.identity.unwrap().caller.subject, "first");
    assert_eq!(heard(), ["a RequestHead x=client", "b RequestHead x=first"]);
}

#[test]
fn a_refusal_ends_the_chain() {
    let mut run = run(does(&[Does::Refuse]), does(&[]));
    assert!(matches!(run.tell(Event::RequestHead), Step::Respond(_)));
    assert_eq!(heard(), ["a RequestHead x=client"]);
}

#[test]
fn the_second_may_refuse_what_the_first_let_pass() {
    let mut run = run(does(&[Does::Rename("first".into())]), does(&[Does::Refuse]));
    assert!(matches!(run.tell(Event::RequestHead), Step::Respond(_)));
}

#[test]
fn whoever_waits_is_woken_and_the_other_follows() {
    let mut run = run(does(&[Does::Wait, Does::Rename("late".into())]), does(&[Does::Wait]));
    assert!(matches!(run.tell(Event::RequestHead), Step::Wait { .. }));
    assert!(matches!(run.tell(Event::Woken), Step::Wait { .. }));
    let edits = run.edits(Event::Woken);
    assert_eq!(edits.headers, [HeaderEdit::Set("x".into(), b"late".to_vec())]);
    let told = heard();
    assert_eq!(
        told,
        ["a RequestHead x=client", "a Woken x=client", "b RequestHead x=late", "b Woken x=late"]
    );
}

#[test]
fn only_who_asked_hears_of_a_body() {
    let mut run = run(does(&[]), Script { body: Some(100), ..does(&[]) });
    let next = run.edits(Event::RequestHead).next.unwrap();
    assert_eq!(next.request_body, BodyMode::Buffer(100));
    heard();
    run.edits(body(3));
    assert_eq!(heard(), ["b RequestBody(Body { size: 3, end: true }) x=client"]);
}

#[test]
fn a_head_that_the_first_holds_reaches_the_second_with_the_body() {
    let mut run = run(does(&[Does::Hold]), Script { body: Some(100), ..does(&[]) });
    assert!(matches!(run.tell(Event::RequestHead), Step::Hold { limit: 10, head: true }));
    run.edits(body(3));
    let told = heard();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[1].starts_with("a RequestBody") && told[2].starts_with("b RequestHead"), "{told:?}");
    assert!(told[3].starts_with("b RequestBody"), "{told:?}");
}

#[test]
fn both_may_hold_and_the_body_is_told_once_each() {
    let mut run = run(does(&[Does::Hold]), does(&[Does::Hold]));
    assert!(matches!(run.tell(Event::RequestHead), Step::Hold { .. }));
    run.edits(body(3));
    let told = heard();
    assert_eq!(told.iter().filter(|line| line.contains("RequestBody")).count(), 2, "{told:?}");
}

#[test]
fn responses_pass_the_other_way_round() {
    let wanted = || Script { response: true, ..does(&[]) };
    let mut run = run(wanted(), wanted());
    run.edits(Event::RequestHead);
    heard();
    run.edits(Event::ResponseHead);
    assert_eq!(heard(), ["b ResponseHead x=client", "a ResponseHead x=client"]);
}

#[test]
fn a_configuration_error_says_whose_it_is() {
    let named = Script { name: "a".into(), ..Script::default() };
    let error = Pair::new((named, Script::default()), Capabilities::default()).unwrap_err();
    assert_eq!(error.to_string(), "[1].name: it is empty");
}

#[test]
fn the_needs_of_both_are_met() {
    assert_eq!(run(does(&[]), does(&[])).chain.needs().clusters, ["a", "b"]);
}

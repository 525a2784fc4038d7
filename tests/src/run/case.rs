//! One case file on one host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use enforcer_testbed::Fields;
use serde_json::Value;

use super::Outcome;
use crate::Error;
use crate::check::{self, Observed};
use crate::format::{Case, CaseFile, Expect, Request, Service, Step, Values};
use crate::host::{BACKEND, Behaviour, Host, LimitService, Plugin, Scene, Stage, WireBody, WireRequest};
use crate::keys::{self, Key};
use crate::packing::{Packed, Packing};
use crate::template::{self, Names};
use crate::tokens::{TokenSpec, latin1};

/// Between two attempts of a step that has `within`.
const RETRY: Duration = Duration::from_millis(100);

/// How long the log may lag behind an answer.
const LOG_LIMIT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(5);

/// How long what is sent in the background may take to arrive.
const DELIVERY_LIMIT: Duration = Duration::from_secs(4);

/// How many filters of their own run at the same time: most of their time is waiting.
const AT_ONCE: usize = 4;

/// The outcome of each case, in order.
pub(super) fn run(host: &dyn Host, file: &CaseFile, cases: &[&Case]) -> Result<Vec<Outcome>, Error> {
    let (refused, played): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| !case.refused.is_empty());
    let mut refused = refuse(host, file, &refused)?.into_iter();
    let mut played = play(host, file, &played)?.into_iter();
    let next = |case: &&Case| if case.refused.is_empty() { played.next() } else { refused.next() };
    Ok(cases.iter().filter_map(next).collect())
}

fn play(host: &dyn Host, file: &CaseFile, cases: &[&Case]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::with_capacity(cases.len());
    let mut shared = None;
    // Neighbours that have filters of their own do not mind each other; the others follow one another.
    for neighbours in cases.chunk_by(|a, b| is_alone(file, a) && is_alone(file, b)) {
        for group in neighbours.chunks(AT_ONCE) {
            outcomes.extend(match group {
                [case] => vec![run_case(host, file, case, &mut shared)],
                several => run_at_once(host, file, several),
            });
        }
    }
    let failed = |outcome| match outcome {
        // Every other case would say the same.
        Err(error @ Error::NoModule { .. }) => Err(error),
        Err(error) => Ok(Outcome::Failed(vec![error.to_string()])),
        outcome => outcome,
    };
    outcomes.into_iter().map(failed).collect()
}

/// Whether the case has a filter of its own.
fn is_alone(file: &CaseFile, case: &Case) -> bool {
    file.fresh || case.configuration.is_some() || !case.services.is_empty()
}

fn run_at_once(host: &dyn Host, file: &CaseFile, cases: &[&Case]) -> Vec<Result<Outcome, Error>> {
    std::thread::scope(|scope| {
        let run = |case| scope.spawn(move || run_case(host, file, case, &mut None));
        let running: Vec<_> = cases.iter().copied().map(run).collect();
        let gone = |_| Err(Error::Case("the case's thread panicked".into()));
        running.into_iter().map(|case| case.join().unwrap_or_else(gone)).collect()
    })
}

fn run_case(
    host: &dyn Host,
    file: &CaseFile,
    case: &Case,
    shared: &mut Option<Actors>,
) -> Result<Outcome, Error> {
    if let Some(outcome) = left_out(host, file, case) {
        return Ok(outcome);
    }
    let differences = if is_alone(file, case) {
        Actors::gather(host, file, case)?.play(file, case)
    } else {
        let actors = match shared.take() {
            Some(actors) => actors,
            None => Actors::gather(host, file, case)?,
        };
        shared.insert(actors).play(file, case)
    };
    Ok(judged(differences))
}

fn left_out(host: &dyn Host, file: &CaseFile, case: &Case) -> Option<Outcome> {
    // What is refused by one filter of several is refused whole.
    let parted = host.packing() == Packing::Separate && !case.refused.is_empty();
    let runs = case.runs_on(host.kind()) && host.packing().concerns(file) && !parted;
    match &case.skip {
        Some(reason) => Some(Outcome::Skipped(reason.clone())),
        None => (!runs).then_some(Outcome::Elsewhere),
    }
}

fn judged(differences: Vec<String>) -> Outcome {
    if differences.is_empty() { Outcome::Passed } else { Outcome::Failed(differences) }
}

/// The outcomes of cases whose configurations must be refused, all of them on one start of the host.
fn refuse(host: &dyn Host, file: &CaseFile, cases: &[&Case]) -> Result<Vec<Outcome>, Error> {
    let asked = cases.iter().filter(|case| left_out(host, file, case).is_none());
    let scenes: Vec<Scene> = asked
        .map(|case| {
            scene(
                host.packing(),
                file,
                case.configuration.as_ref().unwrap_or(&file.configuration),
                &case.services,
            )
        })
        .collect::<Result<_, _>>()?;
    let mut logs = Vec::new().into_iter();
    if !scenes.is_empty() {
        logs = host
            .refusals(&scene(host.packing(), file, &file.configuration, &BTreeMap::new())?, &scenes)?
            .into_iter();
    }
    let outcome =
        |case: &&Case| left_out(host, file, case).or_else(|| Some(judged(unlike(case, logs.next()?))));
    Ok(cases.iter().filter_map(outcome).collect())
}

fn unlike(case: &Case, log: Option<String>) -> Vec<String> {
    let Some(log) = log else { return vec!["the configuration was accepted".into()] };
    let missing = case.refused.iter().filter(|text| !log.contains(text.as_str()));
    missing.map(|text| format!("refused without `{text}`:\n{log}")).collect()
}

fn scene(
    packing: Packing,
    file: &CaseFile,
    configuration: &Value,
    own: &BTreeMap<String, Service>,
) -> Result<Scene, Error> {
    let names = CaseNames::new(file, SystemTime::now());
    let mut services = BTreeMap::<_, Behaviour>::new();
    for (name, service) in file.services.iter().chain(own) {
        change(services.entry(name.clone()).or_default(), service, &names)?;
    }
    let plugin = |Packed { module: name, root_id, configuration }| {
        Ok(Plugin { wasm: module(&name)?, root_id, configuration })
    };
    let packed = packing.pack(file, template::json(configuration, &names)?).into_iter();
    let plugins = packed.map(plugin).collect::<Result<_, Error>>()?;
    Ok(Scene { plugins, workers: file.workers, tls: file.tls, services })
}

fn change(behaviour: &mut Behaviour, service: &Service, names: &CaseNames<'_>) -> Result<(), Error> {
    if let Some(name) = &service.key_set {
        behaviour.document = Some(find_key_set(names.file, name)?.to_string());
    }
    if let Some(text) = &service.document {
        behaviour.document = Some(template::text(text, names)?);
    }
    if let Some(headers) = &service.headers {
        behaviour.headers.clone_from(headers);
    }
    if let Some(allowance) = service.limit {
        behaviour.limits = Some(LimitService::new(allowance));
    }
    if let Some(answer) = &service.answer {
        behaviour.answer = answer.clone();
    }
    Ok(())
}

fn find_key_set(file: &CaseFile, name: &str) -> Result<Value, Error> {
    match file.key_sets.get(name) {
        Some(entries) => keys::key_set(entries),
        None => Err(Error::Case(format!("there is no key set `{name}` in this file"))),
    }
}

/// Where `make wasm` puts a module.
fn module(name: &str) -> Result<PathBuf, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let path = root.join(target).join("wasm32-wasip1/wasm").join(format!("{name}.wasm"));
    path.canonicalize().map_err(|_| Error::NoModule { path })
}

/// Running filters, and what their world is like at the moment.
struct Actors {
    stage: Box<dyn Stage>,
    world: BTreeMap<String, Behaviour>,
    /// How many requests each service had received when the case began.
    received: BTreeMap<String, usize>,
    /// The counters when the case began.
    counters: BTreeMap<String, u64>,
}

impl Actors {
    fn gather(host: &dyn Host, file: &CaseFile, case: &Case) -> Result<Self, Error> {
        let scene = scene(
            host.packing(),
            file,
            case.configuration.as_ref().unwrap_or(&file.configuration),
            &case.services,
        )?;
        let mut world = scene.services.clone();
        world.insert(BACKEND.to_owned(), Behaviour::default());
        Ok(Self { stage: host.start(&scene)?, world, received: BTreeMap::new(), counters: BTreeMap::new() })
    }

    /// Plays the steps of a case, up to the first that differs.
    fn play(&mut self, file: &CaseFile, case: &Case) -> Vec<String> {
        let names = CaseNames::new(file, self.stage.now());
        let mark = self.stage.log_mark();
        self.counters = self.stage.counters().unwrap_or_default();
        for service in self.world.keys() {
            self.received.insert(service.clone(), self.stage.received(service).len());
        }
        let mut differences = Vec::new();
        for (number, step) in (1..).zip(&case.steps) {
            let found = self.step(step, &names).unwrap_or_else(|error| vec![error.to_string()]);
            let place = |difference| match case.steps.len() {
                1 => difference,
                _ => format!("step {number}: {difference}"),
            };
            differences.extend(found.into_iter().map(place));
            if !differences.is_empty() {
                break;
            }
        }
        differences.extend(check::forbidden_lines(&self.stage.log_since(mark), &names.minted()));
        differences
    }

    fn step(&mut self, step: &Step, names: &CaseNames<'_>) -> Result<Vec<String>, Error> {
        let before = Before::look(self.stage.as_ref())?;
        for (name, service) in &step.world {
            let behaviour = self.world.entry(name.clone()).or_default();
            change(behaviour, service, names)?;
            self.stage.change(name, behaviour)?;
        }
        if let Some(time) = step.elapse {
            self.stage.elapse(time.duration())?;
        }
        let expect = step.expect.clone().unwrap_or_default();
        let request = step.request.as_ref().map(|request| wire(request, names)).transpose()?;
        let mut left = step.within.unwrap_or_default().duration();
        loop {
            let mut observed = Observed::default();
            if let Some(request) = &request {
                observed.exchanges = self.stage.send(request, step.at_once.unwrap_or(1))?;
            }
            for path in expect.backend.iter().flat_map(|seen| seen.signed_by.values()) {
                observed.key_sets.insert(path.clone(), self.key_set(path, names)?);
            }
            let differences = self.look(&before, &expect, &mut observed, names)?;
            if differences.is_empty() || left.is_zero() {
                return Ok(differences);
            }
            self.stage.elapse(RETRY.min(left))?;
            left = left.saturating_sub(RETRY);
        }
    }

    /// What the gateway answers at a path.
    fn key_set(&mut self, path: &str, names: &CaseNames<'_>) -> Result<Value, Error> {
        let answers = self.stage.send(&wire(&Request::get(path), names)?, 1)?.answers;
        let body = answers.first().map_or(&[][..], |answer| &answer.body);
        Ok(serde_json::from_slice(body).unwrap_or_default())
    }

    /// What differs. Deliveries are waited for, and so is all that is looked at beside them.
    fn look(
        &mut self,
        before: &Before,
        expect: &Expect,
        observed: &mut Observed,
        names: &CaseNames<'_>,
    ) -> Result<Vec<String>, Error> {
        let asked = Instant::now();
        let expected = expect.log.iter().map(|text| template::text(text, names));
        let expected = expected.collect::<Result<Vec<_>, _>>()?;
        loop {
            let counters = self.stage.counters()?;
            observed.counters = growth(&before.counters, &counters);
            observed.totals = growth(&self.counters, &counters);
            observed.log = before.log_with(self.stage.as_ref(), &expected);
            for name in expect.fetches.keys() {
                observed.fetches.insert(name.clone(), self.stage.fetches(name));
            }
            for (name, earlier) in self.received.iter().filter(|(name, _)| *name != BACKEND) {
                let received = self.stage.received(name).into_iter().skip(*earlier);
                observed.received.insert(name.clone(), received.collect());
            }
            let differences = check::differences(expect, observed, names)?;
            let background = !expect.received.is_empty() || !expect.totals.is_empty();
            let awaited = background && asked.elapsed() < DELIVERY_LIMIT;
            if differences.is_empty() || !awaited {
                return Ok(differences);
            }
            std::thread::sleep(POLL);
        }
    }
}

/// What grows, as it was before a step.
struct Before {
    counters: BTreeMap<String, u64>,
    log: usize,
}

impl Before {
    fn look(stage: &dyn Stage) -> Result<Self, Error> {
        Ok(Self { counters: stage.counters()?, log: stage.log_mark() })
    }

    /// What was logged since. An answer may be here before the lines that were logged on the way to it.
    fn log_with(&self, stage: &dyn Stage, expected: &[String]) -> Vec<String> {
        let asked = Instant::now();
        loop {
            let lines = stage.log_since(self.log);
            let is_there = |text: &String| lines.iter().any(|line| line.contains(text));
            if expected.iter().all(is_there) || asked.elapsed() > LOG_LIMIT {
                return lines;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// By how much counters have grown.
fn growth(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = |name: &String, now: u64| now.saturating_sub(before.get(name).copied().unwrap_or(0));
    now.iter().map(|(name, now)| (name.clone(), grown(name, *now))).collect()
}

fn wire(request: &Request, names: &CaseNames<'_>) -> Result<WireRequest, Error> {
    let bytes = |text: &str| latin1(&template::text(text, names)?);
    let mut headers = Fields::new();
    if let Some(token) = &request.token {
        headers.push("authorization", format!("Bearer {}", names.token(token)?));
    }
    push_all(&mut headers, &request.headers, &bytes)?;
    let body = match &request.body {
        Some(body) => WireBody::Whole(bytes(body)?),
        None if request.chunks.is_empty() => WireBody::None,
        None => {
            let chunks = request.chunks.iter().map(|chunk| bytes(chunk)).collect::<Result<_, _>>()?;
            let mut trailers = Fields::new();
            push_all(&mut trailers, &request.trailers, &bytes)?;
            WireBody::Chunks(chunks, trailers)
        }
    };
    let (path, host) = (bytes(&request.path)?, bytes(&request.host)?);
    let certified = |name: &String| Ok::<_, Error>(Key::named(name)?.keys.certified()?);
    let certificate = request.certificate.as_ref().map(certified).transpose()?;
    Ok(WireRequest { method: request.method.clone(), path, host, headers, body, certificate })
}

fn push_all(
    fields: &mut Fields,
    described: &BTreeMap<String, Values>,
    bytes: &impl Fn(&str) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    for (name, Values(values)) in described {
        for value in values {
            fields.push(name, bytes(value)?);
        }
    }
    Ok(())
}

/// What templates can name in a case: `token.NAME`, `key_set.NAME`, and a key by its form, as in `pem.rsa-1`. A token
/// is minted once a case, as of the moment at which the case began.
struct CaseNames<'a> {
    file: &'a CaseFile,
    now: SystemTime,
    tokens: RefCell<BTreeMap<String, String>>,
    /// Tokens whose text is being put together, to notice circles.
    open: RefCell<Vec<String>>,
}

impl<'a> CaseNames<'a> {
    fn new(file: &'a CaseFile, now: SystemTime) -> Self {
        Self { file, now, tokens: RefCell::default(), open: RefCell::default() }
    }

    fn token(&self, name: &str) -> Result<String, Error> {
        if let Some(token) = self.tokens.borrow().get(name) {
            return Ok(token.clone());
        }
        if self.open.borrow().iter().any(|open| open == name) {
            return Err(Error::Case(format!("the text of token `{name}` contains itself")));
        }
        self.open.borrow_mut().push(name.to_owned());
        let token = TokenSpec::find(name, &self.file.tokens)?.mint(self.now, self)?;
        self.open.borrow_mut().pop();
        self.tokens.borrow_mut().insert(name.to_owned(), token.clone());
        Ok(token)
    }

    fn minted(&self) -> Vec<String> {
        self.tokens.borrow().values().cloned().collect()
    }
}

impl Names for CaseNames<'_> {
    fn value(&self, name: &str) -> Result<Option<Value>, Error> {
        Ok(match name.split_once('.') {
            Some(("token", name)) => Some(Value::String(self.token(name)?)),
            Some(("key_set", name)) => Some(find_key_set(self.file, name)?),
            Some((form, name)) => match Key::named(name) {
                Ok(key) => key.in_form(form).transpose()?,
                Err(_) => None,
            },
            None => None,
        })
    }
}

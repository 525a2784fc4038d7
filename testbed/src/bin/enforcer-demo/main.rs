//! `make demo`: a real Envoy that runs the real filter over an API made from an OpenAPI file.
//!
//! Nothing here is a shortcut: the configuration comes from `enforcer build`, the tokens from `enforcer token`,
//! and the backend is a process of its own that answers with what it received.

mod access_log;
mod invitation;
mod operations;
mod page;
mod report;
mod stage;
mod tokens;
mod walk;
mod workshop;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use page::Page;
use stage::Stage;
use workshop::Complaint;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: enforcer-demo --module BUNDLE_WASM [--once] [OPENAPI_FILE]";

struct Arguments {
    /// bundle.wasm
    module: PathBuf,
    /// The user's own definition.
    definition: Option<PathBuf>,
    /// End after the walk.
    once: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let (mut module, mut definition, mut once) = (None, None, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--module" => module = Some(words.next()?.into()),
                "--once" => once = true,
                flag if flag.starts_with('-') => return None,
                file => definition = Some(file.into()),
            }
        }
        Some(Self { module: module?, definition, once })
    }
}

fn main() -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A flag and no more: what was started stops when it is dropped, whatever it was doing.
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stopping)) {
            eprintln!("enforcer-demo: cannot react to Ctrl-C: {error}");
            return ExitCode::from(3);
        }
    }
    match run(&arguments, &stopping) {
        Ok(()) => ExitCode::SUCCESS,
        // Ctrl-C reaches Envoy and the backend too: what fails then is no failure of theirs.
        Err(_) if stopping.load(Ordering::SeqCst) => ExitCode::from(130),
        Err(error) => {
            let prefix = if error.is::<Complaint>() { "" } else { "enforcer-demo: " };
            eprintln!("{prefix}{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, stopping: &AtomicBool) -> Outcome<()> {
    let mut page = Page::standard_output();
    let mut stage = Stage::set_up(&mut page, &arguments.module, arguments.definition.as_deref())?;
    let plan = walk::Plan::of(&stage)?;
    plan.walk(&stage, &mut page)?;
    let report = report::make(&stage, &mut page)?;
    if arguments.once {
        report.keep()?;
        return Ok(());
    }
    stage.watch()?;
    invitation::print(&plan, &stage, &mut page)?;
    invitation::attend(&mut stage, &mut page, stopping)?;
    drop((stage, report));
    page.line("\nStopped: no process and no file is left behind.")
}

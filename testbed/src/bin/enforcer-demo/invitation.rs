//! After the walk: what the user can try, and what comes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::access_log::Entry;
use crate::operations::{Access, Operation};
use crate::page::{self, Page, Style};
use crate::stage::Stage;
use crate::walk::{Plan, curl};

/// Columns for a command.
const COLUMNS: usize = 95;
const POLL: Duration = Duration::from_millis(100);

/// Prints commands that work when they are pasted.
pub(crate) fn print(plan: &Plan, stage: &Stage, page: &mut Page) -> Outcome<()> {
    page.line("")?;
    page.line(&page.styled("It keeps running. To paste into another terminal:", Style::Bold))?;
    page.line("")?;
    if let Some(right) = &plan.right {
        paste(page, &right.curl(stage))?;
    }
    if let Some(open) = stage.table.open() {
        paste(page, &curl(stage, open, None))?;
    }
    if let Some(other) = other_operation(plan, stage) {
        page.line("\nAnother operation, with a token of its own:\n")?;
        let alternatives = other.access.alternatives();
        let scopes = alternatives.first().map(|scopes| scopes.names.join(" ")).unwrap_or_default();
        paste(
            page,
            &[
                format!("TOKEN=$({} token", stage.workshop.enforcer.display()),
                format!("--key-dir {}", stage.workshop.folder().join(".enforcer").display()),
                format!("--scope '{scopes}')"),
            ],
        )?;
        let header = format!("{}: Bearer $TOKEN", stage.table.token_header);
        paste(page, &curl(stage, other, Some(&header)))?;
    }
    let definition = stage.workshop.definition.display();
    if stage.workshop.petstore {
        page.line(
            "\nAnother scope, without a restart: after this, the first command above is answered 403.\n",
        )?;
        page.line(&format!("   sed -i 's/\\[read:pets\\]/[write:pets]/' {definition}"))?;
    } else {
        page.line("\nWhat you change in the definition takes effect at once, without a restart:\n")?;
        page.line(&format!("   {definition}"))?;
    }
    page.line("\nWhat happens is shown here. Ctrl-C ends it and leaves nothing behind.\n")
}

/// One that needs other scopes than the walk's.
fn other_operation<'s>(plan: &Plan, stage: &'s Stage) -> Option<&'s Operation> {
    let shown = &plan.right.as_ref()?.operation.access;
    let scoped = |access: &Access| matches!(access, Access::Scopes(_)) && access != shown;
    stage.table.operations.iter().find(|operation| scoped(&operation.access))
}

fn paste(page: &mut Page, words: &[String]) -> Outcome<()> {
    page.line(&format!("   {}", page::command(words, COLUMNS).join("\n     ")))
}

/// Shows requests and builds as they happen, until a signal comes.
pub(crate) fn attend(stage: &mut Stage, page: &mut Page, stopping: &AtomicBool) -> Outcome<()> {
    let mut requests = stage.envoy.access_log().mark();
    let mut builds = stage.watcher.as_ref().map_or(0, |watcher| watcher.stderr().mark());
    while !stopping.load(Ordering::SeqCst) {
        std::thread::sleep(POLL);
        let lines = stage.envoy.access_log().since(requests);
        requests = requests.saturating_add(lines.len());
        for Entry { request, status, details } in lines.iter().filter_map(|line| Entry::parse(line)) {
            page.line(&format!("   {request}  {status}  {details}"))?;
        }
        let lines = stage.watcher.as_ref().map_or_else(Vec::new, |watcher| watcher.stderr().since(builds));
        builds = builds.saturating_add(lines.len());
        for line in lines.iter().filter(|line| !line.starts_with("watching")) {
            page.line(&format!("   {line}"))?;
        }
        // Ctrl-C reaches them too, and may reach them first.
        let ended = stage.check_alive();
        if ended.is_err() && !stopping.load(Ordering::SeqCst) {
            std::thread::sleep(POLL);
            if !stopping.load(Ordering::SeqCst) {
                return ended;
            }
        }
    }
    Ok(())
}

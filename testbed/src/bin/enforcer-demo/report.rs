//! What the requests looked like, as a page.

use std::fs;

use tempfile::{Builder, TempPath};

use crate::Outcome;
use crate::page::{Page, Style};
use crate::stage::Stage;
use crate::workshop::succeed;

/// Makes the page of everything that the access log has so far. It goes away when it is dropped.
pub(crate) fn make(stage: &Stage, page: &mut Page) -> Outcome<TempPath> {
    let log = stage.workshop.folder().join("access.log");
    fs::write(&log, stage.envoy.access_log().since(0).join("\n"))?;
    let path = Builder::new().prefix("enforcer-demo-").suffix(".html").tempfile()?.into_temp_path();
    succeed(stage.workshop.enforcer().arg("report").arg(&log).arg("-o").arg(&path))?;
    page.line("")?;
    page.line(&page.styled("These requests as a page, to open in a browser:", Style::Bold))?;
    page.line(&format!("\n   {}", path.display()))?;
    Ok(path)
}

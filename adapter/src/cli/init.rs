//! `enforcer init`

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use super::Shell;
use crate::{
    diagnostic::Diagnostic,
    fetch,
    issuers::PLACEHOLDER_ISSUER,
    output::plain,
    source::{Library, Source, View, parse},
    url::Url,
};

/// Start a gateway: write enforcer.yaml, and a small openapi.yaml if no definition is given
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// OpenAPI definition to start from; one that is downloaded is saved here
    #[arg(value_name = "URL|FILE")]
    definition: Option<String>,
}

const SETTINGS: &str = "enforcer.yaml";
const EXAMPLE: &str = include_str!("init/openapi.yaml");

pub(super) fn run(arguments: &Arguments, shell: &Shell) -> ExitCode {
    match init(arguments, shell) {
        Ok(()) => ExitCode::SUCCESS,
        Err(finding) => shell.fail(finding),
    }
}

fn init(arguments: &Arguments, shell: &Shell) -> Result<(), Diagnostic> {
    absent(Path::new(SETTINGS))?;
    let definition = definition(arguments.definition.as_deref(), shell)?;
    let source = Source::read(&definition)?;
    let library = Library::of(parse(&source)?, &definition);
    let settings = library.root().map(settings).unwrap_or_default();
    create(Path::new(SETTINGS), &settings, shell)?;
    let file = definition.display();
    shell.say(format_args!(
        "next: name your issuer in {SETTINGS}, then `enforcer build {file} -t envoy -o out`"
    ));
    Ok(())
}

/// The definition as a file here: the one that is named, the one that is downloaded, or the example.
fn definition(named: Option<&str>, shell: &Shell) -> Result<PathBuf, Diagnostic> {
    let Some(named) = named else {
        let path = PathBuf::from("openapi.yaml");
        create(&path, EXAMPLE, shell)?;
        return Ok(path);
    };
    if let Some(file) = named.strip_prefix("file://") {
        return Ok(PathBuf::from(file));
    }
    if !named.contains("://") {
        return Ok(PathBuf::from(named));
    }
    let bytes = fetch::get(named, None).map_err(|problem| {
        Diagnostic::environment(format!("cannot download `{named}`: {problem}"))
            .help("download it by other means, and give the file: `enforcer init openapi.yaml`")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Diagnostic::error(format!("what `{named}` holds is not text"))
            .help("give the URL of an OpenAPI definition")
    })?;
    if !is_definition(named, &text) {
        return Err(Diagnostic::error(format!("what `{named}` holds is no OpenAPI definition"))
            .help("open it in a browser: perhaps it is a page about the definition, or asks who you are"));
    }
    let last = named.split(['?', '#']).next().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    let named_like_one =
        [".yaml", ".yml", ".json"].iter().any(|end| last.ends_with(end) && last.len() > end.len());
    let path = PathBuf::from(match (named_like_one, text.trim_start().starts_with('{')) {
        (true, _) if last != SETTINGS => last,
        (_, true) => "openapi.json",
        (_, false) => "openapi.yaml",
    });
    create(&path, &text, shell)?;
    Ok(path)
}

/// Whether a text says that it is one; what is wrong with one that does is told later.
fn is_definition(name: &str, text: &str) -> bool {
    let document = parse(&Source::new(name, text));
    document.is_ok_and(|document| ["openapi", "swagger"].iter().any(|key| document.view().get(key).is_some()))
}

/// A commented enforcer.yaml. What the definition says about its issuer is taken over.
fn settings(root: View<'_>) -> String {
    let schemes = root.descend(["components", "securitySchemes"]);
    let discovery = schemes.entries().find_map(|(_, scheme)| scheme.get("openIdConnectUrl")?.text());
    let issuer = discovery
        .map(|url| url.split("/.well-known/").next().unwrap_or(url))
        .filter(|issuer| Url::parse(issuer).is_ok())
        .unwrap_or(PLACEHOLDER_ISSUER);
    // The definition may be a stranger's: in quotes, it cannot add settings of its own.
    let issuer = serde_json::Value::from(issuer);
    let others: Vec<&str> = schemes
        .entries()
        .filter(|(_, scheme)| {
            let text = |key| scheme.get(key).and_then(|view| view.text()).unwrap_or_default();
            matches!(text("type"), "apiKey" | "mutualTLS")
                || (text("type") == "http" && text("scheme") != "bearer")
        })
        .map(|(name, _)| name)
        .collect();
    let mut out = format!(
        "# Settings of the gateway. `enforcer schema enforcer.yaml` lists everything that can be set.\n\n\
         # Who may issue tokens. Their keys are found by discovery, unless `jwks:` names them.\n\
         issuers:\n- issuer: {issuer}\n"
    );
    if !others.is_empty() {
        out.push_str(
            "\n# The definition asks for more than tokens. Until it is said here who has an API key (`keys`), a password\n\
             # (`auth: {basic: ...}`) or a client certificate (`auth: {client_certificates: ...}`), a token stands for each.\n\
             auth:\n  schemes:\n",
        );
        for name in others {
            let name = serde_json::Value::from(name);
            out.push_str(&format!("    {name}: jwt\n"));
        }
    }
    out
}

fn create(path: &Path, text: &str, shell: &Shell) -> Result<(), Diagnostic> {
    absent(path)?;
    let written = fs::OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
        use io::Write as _;
        file.write_all(text.as_bytes())
    });
    written.map_err(|error| {
        Diagnostic::environment(format!("cannot write `{}`: {}", path.display(), plain(&error)))
            .help("run the command in a folder that you may write to")
    })?;
    shell.say(format_args!("wrote {}", path.display()));
    Ok(())
}

fn absent(path: &Path) -> Result<(), Diagnostic> {
    if path.exists() {
        return Err(Diagnostic::error(format!("`{}` is there already", path.display()))
            .help("move it away, or run the command in another folder"));
    }
    Ok(())
}

//! The command line. What it promises about exit codes: 0 for success, 1 for input that cannot be used, 2 for
//! a wrong call, 3 for surroundings that did not play along.

mod attach;
mod build;
mod check;
mod init;
mod report;
mod schema;
mod shell;
mod token;
mod watch;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

pub use shell::Shell;

/// API definitions in, Envoy configuration out.
#[derive(Debug, Parser)]
#[command(name = "enforcer", version, about, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// Settings of the gateway [default: enforcer.yaml, if it is there]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How findings are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// Say nothing but what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say what is read and written
    #[arg(short, long, global = true)]
    verbose: bool,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people, with the lines of the file
    Text,
    /// One JSON object a line
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    Check(check::Arguments),
    Build(build::Arguments),
    Attach(attach::Arguments),
    Token(token::Arguments),
    Report(report::Arguments),
    Schema(schema::Arguments),
}

/// Runs the command and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // `--help` and `--version` come this way too, with the exit code 0.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let shell = Shell::new(&cli.global);
    match cli.command {
        Command::Init(arguments) => init::run(&arguments, &shell),
        Command::Check(arguments) => check::run(&arguments, &shell),
        Command::Build(arguments) => build::run(&arguments, &shell),
        Command::Attach(arguments) => attach::run(&arguments, &shell),
        Command::Token(arguments) => token::run(&arguments, &shell),
        Command::Report(arguments) => report::run(&arguments, &shell),
        Command::Schema(arguments) => schema::run(&arguments, &shell),
    }
}

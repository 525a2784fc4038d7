//! `enforcer-echo [PORT]`: the backend of the demo, as a process of its own. Port 0 (the default) takes a free
//! one. Prints the address it listens on, then serves until it is stopped.

use std::process::ExitCode;

use enforcer_testbed::EchoBackend;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let Ok(port) = argument.parse() else {
        eprintln!("enforcer-echo: `{argument}` is no port; give a number from 0 to 65535");
        return ExitCode::from(2);
    };
    match EchoBackend::start_on(port) {
        Ok(backend) => {
            println!("{}", backend.address());
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("enforcer-echo: {error}");
            ExitCode::from(3)
        }
    }
}

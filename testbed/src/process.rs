use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, LogCapture};

/// Between SIGTERM and SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

/// A child process with its output captured. Dropping it stops it: SIGTERM, then SIGKILL after five seconds.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: LogCapture,
    stderr: LogCapture,
}

impl Process {
    /// Starts it, with standard output and standard error captured.
    pub fn spawn(command: &mut Command) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(format!("run `{program}`")))?;
        let stdout = child.stdout.take().map(LogCapture::follow).unwrap_or_default();
        let stderr = child.stderr.take().map(LogCapture::follow).unwrap_or_default();
        Ok(Self { child, stdout, stderr })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.child.try_wait().map_err(Error::io("ask whether a process has ended"))
    }

    /// What it printed on standard output.
    pub fn stdout(&self) -> &LogCapture {
        &self.stdout
    }

    /// What it printed on standard error.
    pub fn stderr(&self) -> &LogCapture {
        &self.stderr
    }

    fn terminate(&self) {
        // Not yet waited for, so the id cannot belong to another process.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(Some(_))) {
            return;
        }
        self.terminate();
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if matches!(self.ended(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

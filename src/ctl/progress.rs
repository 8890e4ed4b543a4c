//! Progress on standard error, of what takes longer than a second.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::{Duration, Instant};

/// What is faster needs no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a terminal's line changes.
const ON_A_TERMINAL: Duration = Duration::from_millis(100);

/// How often a line is added elsewhere.
const IN_A_LOG: Duration = Duration::from_secs(10);

/// One line that says how far something is. It disappears with it.
pub(super) struct Progress {
    next: Instant,
    is_terminal: bool,
    is_shown: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now() + PATIENCE,
            is_terminal: stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Says how far it is, if it is time to.
    pub(super) fn show(&mut self, how_far: impl FnOnce() -> String) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // Progress that cannot be written is no reason to stop.
        let _ = match self.is_terminal {
            true => write!(stderr(), "\r\x1b[K{}", how_far()),
            false => writeln!(stderr(), "{}", how_far()),
        };
        let _ = stderr().flush();
        self.is_shown = true;
        self.next = now + if self.is_terminal { ON_A_TERMINAL } else { IN_A_LOG };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown && self.is_terminal {
            // As above.
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

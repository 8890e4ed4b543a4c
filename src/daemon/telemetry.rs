//! Logs: native fields to the journal, plain lines to standard error.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use assay_verify::untrusted::one_line;
use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::daemon::config::LogTarget;

/// The longest line on standard error. Values are bounded where they are made; this bounds their sum.
const MAX_LINE_LENGTH: usize = 2048;

/// What is logged, unless the environment says otherwise. sigstore-verify logs what strangers wrote as they wrote it.
const FILTER: &str = "info,sigstore_verify=off,sigstore_tsa=off";

/// Starts logging for the process. `RUST_LOG` selects what is logged; `info` is the default.
///
/// # Errors
///
/// When the journal is asked for by name and cannot be reached.
pub fn start(target: LogTarget) -> io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let journal = match target {
        LogTarget::Stderr => None,
        LogTarget::Journald => Some(journald()?),
        LogTarget::Auto if stderr_is_the_journal() => journald().ok(),
        LogTarget::Auto => None,
    };
    let registry = tracing_subscriber::registry().with(filter);
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let lines = tracing_subscriber::fmt::layer()
                .event_format(Lines)
                .with_writer(io::stderr);
            registry.with(lines.with_ansi(io::stderr().is_terminal())).init();
        }
    }
    Ok(())
}

/// Fields keep the names they have in the code, so `assay_image` is `ASSAY_IMAGE` and `message_id` is `MESSAGE_ID`.
fn journald() -> io::Result<tracing_journald::Layer> {
    Ok(tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("assayd".to_owned()))
}

/// systemd says in `JOURNAL_STREAM` which device and inode it connected (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// One readable line an event: level, message, then what the message does not already say.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let (name, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", "31"),
            Level::WARN => ("warning", "33"),
            Level::INFO => ("info", "32"),
            _ => ("debug", "36"),
        };
        // The level has the program's own colour; what is logged is escaped and brings none.
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[{colour}m{name}\x1b[0m: ")?;
        } else {
            write!(writer, "{name}: ")?;
        }
        writeln!(
            writer,
            "{}",
            one_line(&format!("{}{}", line.message, line.fields), MAX_LINE_LENGTH)
        )
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            // The catalog's key says nothing to a reader of lines.
            "message_id" => Ok(()),
            name => write!(self.fields, " {}={value}", name.strip_prefix("assay_").unwrap_or(name)),
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

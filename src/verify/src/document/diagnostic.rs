//! One problem of a document, as a person reads it.

use std::fmt;

use crate::untrusted::Untrusted;

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The document is refused.
    Error,
    /// The document is used; it may not mean what its author believes. A strict check refuses it.
    Warning,
}

impl Severity {
    /// The word in a message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in a text file, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// One problem: where it is, what is wrong, and the way out. It is displayed like a compiler's message,
/// `policy.toml:12:3: error: …`, so that editors and people find the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the document is refused.
    pub severity: Severity,
    /// The file, as it was named when it was loaded.
    pub file: Box<str>,
    /// Where in the file; nowhere when the problem is the file as a whole, for example that it is missing.
    pub place: Option<Place>,
    /// What is wrong. Text of the document is already escaped in it.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error about the file as a whole.
    pub fn error(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            place: None,
            message: message.into(),
            help: None,
        }
    }

    /// A warning about the file as a whole.
    pub fn warning(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, message)
        }
    }

    /// The same, with the way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, at a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

impl Diagnostic {
    /// The problem in one line, for logs and reasons.
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _: fmt::Result = self.write(&mut line, "; help: ");
        line
    }

    fn write(&self, f: &mut impl fmt::Write, before_help: &str) -> fmt::Result {
        write!(f, "{}:", Untrusted::from(&*self.file))?;
        if let Some(place) = self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}: {}", self.severity.as_str(), self.message)?;
        match &self.help {
            Some(help) => write!(f, "{before_help}{help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "\n  help: ")
    }
}

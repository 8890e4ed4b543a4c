//! The keys that a table may have: one list for the reader and for the manual.

use super::tree::{Entry, Node, Table};

/// The keys of one kind of table, in the order in which the manual has them.
#[derive(Debug)]
pub(crate) struct Section {
    /// How the table is called in the manual: `[[rule]]`.
    pub(crate) title: &'static str,
    /// What it is for.
    pub(crate) about: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key, as the manual explains it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What it may be.
    pub(crate) value: Kind,
    /// What holds where it is absent.
    pub(crate) absent: Absent,
    /// What it means, as Markdown that stands in a table.
    pub(crate) meaning: &'static str,
}

/// What may be written for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// One of these words.
    Words(&'static [&'static str]),
    /// Anything else, in words.
    Described(&'static str),
}

/// What holds where a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It has to be there.
    Mandatory,
    /// Nothing.
    Nothing,
    /// This other key has to be there.
    Instead(&'static str),
    /// As if this was written.
    Default(&'static str),
    /// It never may be there: what it would mean cannot be kept. The reason is its meaning.
    Refused,
}

impl Section {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// A table whose keys are all known. Only what the section has can be read from it: who adds a key to a reader adds it to the manual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'n> {
    table: &'n Table,
    section: &'static Section,
}

impl<'n> Known<'n> {
    /// Unknown keys are still in the table: [`super::Report::known`] makes it, and refuses them.
    pub(super) fn new(table: &'n Table, section: &'static Section) -> Self {
        Self { table, section }
    }

    pub(crate) fn get(self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.node)
    }

    pub(crate) fn entry(self, name: &str) -> Option<&'n Entry> {
        let known = self.section.has(name);
        debug_assert!(known, "{} has no entry for {name}", self.section.title);
        self.table.entry(name).filter(|_| known)
    }
}

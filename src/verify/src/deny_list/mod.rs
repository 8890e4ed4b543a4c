//! Deny-lists: what counts no longer, whoever vouches for it.
//!
//! An entry names an image, a signature, a key, a certificate or an identity, each with a reason, a reference and the time
//! at which it was put on the list. A signature that an entry names does not count; others may still satisfy a rule, so
//! judging stays monotone. An image that an entry names is denied whatever is signed. `docs/deny-list.md` describes the
//! document.
//!
//! [`DenyList::find`] is the only place in which anything is compared with entries. The judgement of a signature asks it with
//! the signature's digests and its [`SignerFacts`], and a verdict that is remembered asks it with all that it rests on:
//! they cannot differ.
//!
//! What an entry names by a digest is compared by that digest alone: a digest means one thing, so an entry counts also
//! where it calls a signature's manifest an image, or a certificate a key.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::Timestamp;
use crate::digest::Digest;
use crate::document::Diagnostic;
use crate::untrusted::Untrusted;
use crate::x509::distinguished_name::DistinguishedName;

mod facts;
mod read;

pub use facts::{Made, SignerFacts};

use facts::Name;

/// A deny-list. The default has no entries and denies nothing.
#[derive(Clone, Default)]
pub struct DenyList {
    issued: Option<Timestamp>,
    slots: Vec<Slot>,
    /// For each name the first slot of those that are found by it.
    index: HashMap<Name, usize>,
}

/// An entry, and the next one that is found by the same name.
#[derive(Clone, Debug)]
struct Slot {
    entry: Arc<Entry>,
    next: Option<usize>,
}

/// What reading a document gives. There is a list if and only if there are no errors.
#[derive(Clone, Debug)]
pub struct ParsedDenyList {
    /// The list.
    pub list: Option<DenyList>,
    /// Every problem, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

/// One entry. Its display is the line that a denial shows:
/// `key sha256:… is on the deny-list since 2026-11-28T09:00:00Z: leaked (INC-4711)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    denied: Denied,
    names: Names,
    reason: Untrusted,
    reference: Untrusted,
    at: Timestamp,
}

/// What an entry names, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// An image: an index, or one of its children.
    Image(Digest),
    /// A signature: the digest of its manifest, or of its envelope, bundle or layer.
    Signature(Digest),
    /// A key: the SHA-256 of its `SubjectPublicKeyInfo`, whether it signs by itself or is a certificate's.
    Key(Digest),
    /// A certificate anywhere in a chain: the SHA-256 of its DER.
    Certificate(Digest),
    /// A certificate anywhere in a chain, by who issued it.
    SerialNumber {
        /// The issuer's name.
        issuer: Untrusted,
        /// The serial number, in lower-case hexadecimal digits without leading zeros.
        serial: Box<str>,
    },
    /// Everybody with an identity, in a window of time.
    Identity(Box<DeniedIdentity>),
}

/// An identity and its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedIdentity {
    /// Who.
    pub who: Who,
    /// When a signature has to be made to be denied.
    pub window: Window,
}

/// Whom an entry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Signers whose certificate's subject has these attributes, among others.
    CertificateSubject(DistinguishedName),
    /// Signers whom an identity provider vouches for.
    Keyless {
        /// The identity provider.
        issuer: Untrusted,
        /// The subject.
        subject: Untrusted,
    },
}

/// From its start to just before its end. An end that is not given is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first moment that is in it.
    pub from: Option<Timestamp>,
    /// The first moment that is no longer in it.
    pub until: Option<Timestamp>,
}

/// Everything that one signer has to have for an entry to name it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    One(Name),
    Every(Box<[Name]>),
}

impl DenyList {
    /// Reads a document. `file` is its name in the diagnostics.
    pub fn parse(file: &str, text: &str) -> ParsedDenyList {
        read::read(file, text)
    }

    fn new(issued: Option<Timestamp>, entries: Vec<Arc<Entry>>) -> Self {
        // Several names are found by the one that the fewest entries have: then few are looked at in vain.
        let mut shared: HashMap<Name, usize> = HashMap::new();
        for names in entries.iter().filter_map(|entry| entry.names.several()) {
            for name in names {
                *shared.entry(*name).or_default() += 1;
            }
        }
        let mut index = HashMap::with_capacity(entries.len());
        let mut slots: Vec<_> = entries.into_iter().map(|entry| Slot { entry, next: None }).collect();
        // From the last to the first, so that the first of those with one name is found first.
        for (position, slot) in slots.iter_mut().enumerate().rev() {
            let names = slot.entry.names.as_slice();
            let rarest = names.iter().min_by_key(|name| shared.get(name));
            slot.next = rarest.and_then(|name| index.insert(*name, position));
        }
        Self { issued, slots, index }
    }

    /// When the list was issued, by its own word. Nothing for a list that was not read.
    pub fn issued(&self) -> Option<Timestamp> {
        self.issued
    }

    /// The entries, in the order of the document.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.slots.iter().map(|slot| &*slot.entry)
    }

    /// Whether it denies nothing.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What either of both denies, this one's entries first. It was issued when the later of them was.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let slots = self.slots.iter().chain(&other.slots);
        Self::new(
            self.issued.max(other.issued),
            slots.map(|slot| slot.entry.clone()).collect(),
        )
    }

    /// The entry that names an image: an index or one of its children.
    pub fn image(&self, digest: &Digest) -> Option<&Entry> {
        self.find([digest], [])
    }

    /// The first entry that names one of these digests or one of these signers. The time does not depend on how many entries
    /// there are, as long as few of them differ in nothing but their window.
    pub fn find<'a>(
        &self,
        digests: impl IntoIterator<Item = &'a Digest>,
        signers: impl IntoIterator<Item = &'a SignerFacts>,
    ) -> Option<&Entry> {
        if self.is_empty() {
            return None;
        }
        let of_digests = digests.into_iter().filter_map(|digest| {
            let name = Name::of_digest(digest);
            self.position(std::slice::from_ref(&name), None)
        });
        let of_signers = signers
            .into_iter()
            .filter_map(|signer| self.position(signer.names(), signer.made()));
        let first = of_digests.chain(of_signers).min()?;
        self.slots.get(first).map(|slot| &*slot.entry)
    }

    /// The position of the first entry that names whoever has these names. They are sorted.
    fn position(&self, names: &[Name], made: Option<Made>) -> Option<usize> {
        let found_by = |name| {
            let mut next = self.index.get(name).copied();
            std::iter::from_fn(move || {
                let position = next?;
                let slot = self.slots.get(position)?;
                next = slot.next;
                Some((position, &slot.entry))
            })
        };
        names
            .iter()
            .filter_map(|name| {
                let mut entries = found_by(name);
                entries.find_map(|(position, entry)| entry.is_about(names, made).then_some(position))
            })
            .min()
    }
}

impl fmt::Debug for DenyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyList")
            .field("issued", &self.issued)
            .field("entries", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// What it names.
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    /// Why.
    pub fn reason(&self) -> &Untrusted {
        &self.reason
    }

    /// Where more is written about it, for example the number of an incident.
    pub fn reference(&self) -> &Untrusted {
        &self.reference
    }

    /// When it was put on the list.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether who has these names is meant, with a signature that was made then.
    fn is_about(&self, names: &[Name], made: Option<Made>) -> bool {
        let has = |name: &Name| names.binary_search(name).is_ok();
        let window = match &self.denied {
            Denied::Identity(identity) => identity.window,
            _ => Window::default(),
        };
        self.names.as_slice().iter().all(has) && window.may_contain(made)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            denied,
            names: _,
            reason,
            reference,
            at,
        } = self;
        write!(f, "{denied} is on the deny-list since {at}: {reason} ({reference})")
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(digest) => write!(f, "image {digest}"),
            Self::Signature(digest) => write!(f, "signature {digest}"),
            Self::Key(digest) => write!(f, "key {digest}"),
            Self::Certificate(digest) => write!(f, "certificate {digest}"),
            Self::SerialNumber { issuer, serial } => write!(f, "certificate {serial} of {issuer}"),
            Self::Identity(identity) => write!(f, "identity {}{}", identity.who, identity.window),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CertificateSubject(name) => name.fmt(f),
            Self::Keyless { issuer, subject } => write!(f, "{subject} ({issuer})"),
        }
    }
}

/// For people: behind whom it is about, and nothing where it is always.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.until) {
            (Some(from), Some(until)) => write!(f, " from {from} until {until}"),
            (Some(from), None) => write!(f, " from {from} on"),
            (None, Some(until)) => write!(f, " until {until}"),
            (None, None) => Ok(()),
        }
    }
}

impl Window {
    /// Whether a signature may have been made in it. One of which nothing says when it was made may have been made whenever.
    fn may_contain(self, made: Option<Made>) -> bool {
        let Some(made) = made else {
            return true;
        };
        self.from.is_none_or(|from| made.by >= from) && self.until.is_none_or(|until| made.after < until)
    }
}

impl Names {
    fn as_slice(&self) -> &[Name] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Every(names) => names,
        }
    }

    fn several(&self) -> Option<&[Name]> {
        match self {
            Self::One(_) => None,
            Self::Every(names) => Some(names),
        }
    }
}

#[cfg(test)]
mod tests;

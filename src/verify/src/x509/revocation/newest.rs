//! Which of several answers counts: the newest of those that are usable, and whether it still does.

use std::collections::BTreeSet;

use super::Context;
use super::status::{OnGrace, Source, UnknownReason};
use crate::Timestamp;
use crate::code::Code;
use crate::limits::GRACE_VERDICT_LIFETIME;
use crate::query::Query;

/// A usable answer: proven, about the certificate, and not of the future.
#[derive(Clone, Debug)]
pub(super) struct Usable<T> {
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    /// The last moment at which it may count, whatever nextUpdate says.
    pub(super) until: Timestamp,
    /// Whether it says something against the certificate.
    pub(super) is_adverse: bool,
    pub(super) content: T,
}

impl<T> Usable<T> {
    /// Whether it counts rather than another one. Responders round their times, so two answers may be of one moment; then
    /// the adverse one counts, because the other may be a replay.
    fn beats(&self, other: &Self) -> bool {
        (self.this_update, self.is_adverse) > (other.this_update, other.is_adverse)
    }
}

/// The answers to the same question, from wherever they come.
pub(super) struct Newest<'a, T> {
    context: Context<'a>,
    found: Option<(Source, Usable<T>)>,
    unasked: BTreeSet<Query>,
    live: bool,
    replayed: bool,
    failure: Option<UnknownReason>,
    /// Why an endpoint was not heard, where the endpoint is not what was away.
    hindered: Option<UnknownReason>,
}

/// What the newest answer is worth.
pub(super) enum Standing<T> {
    /// It has not lapsed.
    Current(Counting<T>),
    /// It has lapsed, and counts on grace.
    OnGrace(Counting<T>),
    /// It has lapsed. Only what it says against a certificate counts.
    Lapsed(Source, T, UnknownReason),
    /// Somebody has to be asked first.
    Needs(BTreeSet<Query>),
    /// There is none; why, where anybody was asked.
    None(Option<UnknownReason>),
}

/// An answer that counts.
pub(super) struct Counting<T> {
    pub(super) by: Source,
    pub(super) content: T,
    /// The first moment at which it no longer does.
    pub(super) until: Timestamp,
    pub(super) on_grace: Option<OnGrace>,
}

impl<'a, T> Newest<'a, T> {
    pub(super) const fn new(context: Context<'a>) -> Self {
        Self {
            context,
            found: None,
            unasked: BTreeSet::new(),
            live: false,
            replayed: false,
            failure: None,
            hindered: None,
        }
    }

    /// Takes what became of a query. `read` proves an answer; `refused` says why one is not usable. What may be stored for
    /// the query goes to `proven`.
    pub(super) fn ask<E>(
        &mut self,
        query: Query,
        by: &Source,
        read: impl Fn(&'a [u8]) -> Result<Usable<T>, E>,
        refused: impl Fn(Source, E) -> UnknownReason,
        proven: &mut BTreeSet<Query>,
    ) {
        let answers = self.context.answers;
        let Some(answered) = answers.get(&query) else {
            self.unasked.insert(query);
            return;
        };
        let kept = answered.kept.as_deref().and_then(|bytes| read(bytes).ok());
        match &answered.now {
            Ok(bytes) => {
                self.live = true;
                match read(bytes) {
                    Ok(usable) => {
                        self.replayed = true;
                        if !kept.as_ref().is_some_and(|kept| kept.beats(&usable)) {
                            proven.insert(query);
                        }
                        self.consider(by, usable);
                    }
                    Err(error) => {
                        self.failure.get_or_insert_with(|| refused(by.clone(), error));
                    }
                }
            }
            Err(unanswered) => {
                let why = UnknownReason::Unanswered {
                    by: by.clone(),
                    unanswered: unanswered.clone(),
                };
                if unanswered.code != Code::RevocationUnknown {
                    self.hindered.get_or_insert_with(|| why.clone());
                }
                self.failure.get_or_insert(why);
            }
        }
        if let Some(kept) = kept {
            self.consider(by, kept);
        }
    }

    /// Takes one more answer.
    pub(super) fn consider(&mut self, by: &Source, usable: Usable<T>) {
        if self.found.as_ref().is_none_or(|(_, known)| usable.beats(known)) {
            self.found = Some((by.clone(), usable));
        }
    }

    pub(super) fn settle(self) -> Standing<T> {
        let Context { now, grace, .. } = self.context;
        let Some((by, usable)) = self.found else {
            return match self.unasked.is_empty() {
                true => Standing::None(self.failure),
                false => Standing::Needs(self.unasked),
            };
        };
        let lapsed = usable.next_update;
        if now < lapsed {
            return Standing::Current(Counting {
                by,
                content: usable.content,
                until: lapsed.min(usable.until),
                on_grace: None,
            });
        }
        if !self.unasked.is_empty() {
            return Standing::Needs(self.unasked);
        }
        // Who has only old answers while the endpoint answers is on nobody's grace: old answers are what an attacker has.
        if self.live {
            let why = match self.failure {
                Some(failure) if !self.replayed => failure,
                _ => UnknownReason::Replayed { by: by.clone(), lapsed },
            };
            return Standing::Lapsed(by, usable.content, why);
        }
        // Grace is for an endpoint that is away. A bound of this node can be reached on purpose, by asking for other images.
        if let Some(why) = self.hindered {
            return Standing::Lapsed(by, usable.content, why);
        }
        let end = lapsed.checked_add(grace).unwrap_or(Timestamp::MAX);
        if now >= end {
            let why = UnknownReason::Lapsed { by: by.clone(), lapsed };
            return Standing::Lapsed(by, usable.content, why);
        }
        let soon = now.checked_add(GRACE_VERDICT_LIFETIME).unwrap_or(Timestamp::MAX);
        Standing::OnGrace(Counting {
            on_grace: Some(OnGrace { by: by.clone(), lapsed }),
            by,
            content: usable.content,
            until: end.min(soon).min(usable.until),
        })
    }
}

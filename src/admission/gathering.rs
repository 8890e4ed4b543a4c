//! Where evidence is gathered: in registries, or from what somebody brings.

use std::sync::Arc;

use assay_verify::evidence::Signature;
use assay_verify::limits::MAX_OPENED_REFERRERS;

use super::bundle::{Brought, Bundle, End, Next, THE_BUNDLE};
use super::children::Children;
use super::pipeline::Inner;
use super::question::Question;
use super::respondents::Reach;
use crate::fetch::{Batch, Budget, FetchError, FetchedIndex, Held, Judged, Place, Search, Summary};

/// Where evidence is looked for that is not stored.
#[derive(Clone, Copy)]
pub(super) enum Source<'w> {
    /// In registries, and whoever can answer is asked; who waits for it.
    Registries(Waiting),
    /// In what somebody brings. Nobody else is asked.
    Bundle(&'w dyn Bundle),
}

impl<'w> Source<'w> {
    pub(super) fn reach(self) -> Reach<'w> {
        match self {
            Self::Registries(_) => Reach::World,
            Self::Bundle(bundle) => Reach::Bundle(bundle),
        }
    }

    pub(super) fn is_bundle(self) -> bool {
        matches!(self, Self::Bundle(_))
    }
}

/// Who waits for a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// An asker, with a deadline of his own.
    Asker,
    /// Nobody: a verdict that still holds is looked at again.
    Nobody,
}

/// The children of an index, and what pays for its bytes.
pub(super) async fn fetch_index(
    world: &Inner,
    question: &Question,
    source: Source<'_>,
    budget: &Budget,
) -> (Children, Option<PaidIndex>) {
    let (repository, descriptor) = (&question.repository, &question.descriptor);
    match source {
        Source::Registries(_) => match world.registries.index(repository, descriptor, budget).await {
            Ok(fetched) => {
                let children = Children::Known(Arc::clone(&fetched.index));
                (children, Some(PaidIndex::Fetched { _index: fetched }))
            }
            Err(error) => (Children::Unknown(error), None),
        },
        Source::Bundle(bundle) => {
            let (bytes, paid) = match bundle.manifest(descriptor).await {
                Ok(Some(Brought { what, held })) => (Some(what.into()), Some(PaidIndex::Brought { _held: held })),
                Ok(None) => (None, None),
                Err(error) => return (Children::Unknown(error), None),
            };
            (Children::of(bytes.as_ref(), descriptor, THE_BUNDLE), paid)
        }
    }
}

/// What pays for the bytes of an index while it is used.
pub(super) enum PaidIndex {
    Fetched { _index: FetchedIndex },
    Brought { _held: Held },
}

/// A search for the signatures of an image.
pub(super) enum Seeking<'w> {
    Registries(Box<Search>),
    Bundle(Unpacking<'w>),
}

/// Signatures that arrived, and what pays for them.
pub(super) enum Arrived {
    Fetched(Batch),
    Brought(Box<Brought<Signature>>),
}

impl Arrived {
    pub(super) fn signatures(&self) -> &[Signature] {
        match self {
            Self::Fetched(batch) => &batch.signatures,
            Self::Brought(brought) => std::slice::from_ref(&brought.what),
        }
    }
}

impl<'w> Seeking<'w> {
    /// Begins a search in these places. Without any it finds nothing.
    pub(super) fn begin(
        world: &Inner,
        question: &'w Question,
        source: Source<'w>,
        places: Vec<Place>,
        budget: &Budget,
    ) -> Self {
        match source {
            Source::Registries(_) => {
                let search = world.registries.search(places, &question.descriptor, budget.clone());
                Self::Registries(Box::new(search))
            }
            // What is brought comes from all places in one.
            Source::Bundle(bundle) => Self::Bundle(Unpacking {
                bundle,
                question,
                count: 0,
                ended: places.is_empty(),
                incomplete: None,
                newest_demanded: false,
            }),
        }
    }

    /// Demands the newest attestation: see [`Search::demand_the_newest`].
    pub(super) fn demand_the_newest(&mut self) {
        match self {
            Self::Registries(search) => search.demand_the_newest(),
            Self::Bundle(unpacking) => unpacking.newest_demanded = true,
        }
    }

    /// The next signatures that were not judged; none when there is nothing left.
    pub(super) async fn next_batch(&mut self, judged: &Judged) -> Option<Arrived> {
        match self {
            Self::Registries(search) => search.next_batch(judged).await.map(Arrived::Fetched),
            Self::Bundle(unpacking) => unpacking.next(judged).await.map(Arrived::Brought),
        }
    }

    /// Ends the search and says what it came to.
    pub(super) fn finish(self) -> Summary {
        match self {
            Self::Registries(search) => search.finish(),
            Self::Bundle(unpacking) => Summary {
                incomplete: unpacking.incomplete,
                ..Summary::default()
            },
        }
    }
}

/// The signatures of an image, as somebody brings them.
pub(super) struct Unpacking<'w> {
    bundle: &'w dyn Bundle,
    question: &'w Question,
    /// How many came.
    count: usize,
    ended: bool,
    incomplete: Option<FetchError>,
    newest_demanded: bool,
}

impl Unpacking<'_> {
    async fn next(&mut self, judged: &Judged) -> Option<Box<Brought<Signature>>> {
        while !self.ended {
            let next = self.bundle.next(&self.question.descriptor.digest).await;
            self.count += 1;
            match next {
                Ok(Next::Signature(_)) if self.count > MAX_OPENED_REFERRERS => {
                    self.end(Some(too_many(self.question)));
                }
                Ok(Next::Signature(brought)) if judged.knows(&brought.what.id()) => {}
                Ok(Next::Signature(brought)) => return Some(brought),
                Ok(Next::End(End { incomplete, unread })) => {
                    let cause = incomplete.or(unread.filter(|_| self.newest_demanded));
                    self.end(cause.map(|cause| FetchError::NotWhole { cause }));
                }
                Err(error) => self.end(Some(error)),
            }
        }
        None
    }

    fn end(&mut self, incomplete: Option<FetchError>) {
        self.ended = true;
        self.incomplete = incomplete;
    }
}

/// There is more than the judge looks at.
pub(super) fn too_many(question: &Question) -> FetchError {
    FetchError::TooManySignatures {
        registry: question.repository.host().into(),
        what: question.descriptor.digest.to_string().into(),
    }
}

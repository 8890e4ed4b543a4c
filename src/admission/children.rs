//! The children of what is judged. A verdict about an index is one about them.

use std::sync::Arc;

use assay_verify::code::Code;
use assay_verify::deny_list::DenyList;
use assay_verify::descriptor::Descriptor;
use assay_verify::index::ImageIndex;
use assay_verify::judge::{Judgement, Permit, Rejection};

use crate::fetch::FetchError;

/// What is known of the children of what is judged. A deny-list may name any of them, so without them an index is not
/// admitted; containerd could not pull it either.
pub(super) enum Children {
    /// There are none: it is no index.
    None,
    Known(Arc<ImageIndex>),
    /// The index could not be had, for this reason.
    Unknown(FetchError),
}

impl Children {
    /// Those of an image whose bytes may be at hand, wherever they come from.
    pub(super) fn of(bytes: Option<&Arc<[u8]>>, image: &Descriptor, place: &'static str) -> Self {
        if !image.media_type.is_index() {
            return Self::None;
        }
        let Some(bytes) = bytes else {
            return Self::Unknown(FetchError::Missing {
                registry: place.into(),
                what: image.digest.to_string().into(),
            });
        };
        match ImageIndex::open(image, Arc::clone(bytes)) {
            Ok(index) => Self::Known(Arc::new(index)),
            Err(cause) => Self::Unknown(FetchError::Index {
                registry: place.into(),
                cause,
            }),
        }
    }

    /// What a judgement is worth with these children. The judge knows which signers are denied, and not the children.
    pub(super) fn bound_to(&self, judgement: Judgement, denials: &DenyList) -> Judgement {
        let Judgement::Admit(mut permit) = judgement else {
            return judgement;
        };
        match self {
            Self::Unknown(error) => return undecided(permit, error),
            Self::Known(index) if !permit.rest_on_children(index) => {
                let reason = "the children are those of another index".to_owned();
                return rejected(permit, Code::Internal, reason);
            }
            Self::Known(_) | Self::None => {}
        }
        match permit.rests_on().denied_by(denials).map(ToString::to_string) {
            Some(entry) => rejected(permit, Code::DeniedByList, entry),
            None => Judgement::Admit(permit),
        }
    }

    pub(super) fn index(&self) -> Option<&Arc<ImageIndex>> {
        match self {
            Self::Known(index) => Some(index),
            Self::None | Self::Unknown(_) => None,
        }
    }
}

/// The statement that would decide, or a child that is denied, may be what is not there to be judged.
pub(super) fn undecided(permit: Box<Permit>, error: &FetchError) -> Judgement {
    rejected(permit, error.code(), error.to_string())
}

/// A permit that is not given, for a reason beside the evidence.
fn rejected(mut permit: Box<Permit>, code: Code, reason: String) -> Judgement {
    Judgement::Reject(Rejection {
        code,
        reason,
        reports: permit.take_reports(),
    })
}

//! The search for a path of certificates: from a leaf over intermediates to a trust anchor.
//!
//! The search follows names, asks the cheap rules before it verifies a signature, and pays for each signature from a
//! budget: so it ends soon, whatever the certificates are. What the rules are is the caller's business.

use thiserror::Error;

use crate::limits::{MAX_CHAIN_LENGTH, MAX_TIMESTAMP_VERIFICATIONS};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, NotIssuedBy};

/// No signature may be verified any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// How many signatures may still be verified.
#[derive(Debug)]
pub struct Budget(usize);

/// For one timestamp token.
impl Default for Budget {
    fn default() -> Self {
        Self(MAX_TIMESTAMP_VERIFICATIONS)
    }
}

impl Budget {
    /// A budget of so many signatures.
    pub const fn new(signatures: usize) -> Self {
        Self(signatures)
    }

    /// Pays for one signature.
    ///
    /// # Errors
    ///
    /// When there is nothing left.
    pub fn spend(&mut self) -> Result<(), Exhausted> {
        self.0 = self.0.checked_sub(1).ok_or(Exhausted)?;
        Ok(())
    }
}

/// What an issuer is in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Its end, which is trusted as it stands.
    Anchor,
    /// Somebody has to have issued it.
    Intermediate,
}

/// Why a certificate has no issuer. Positions count from the leaf, which is 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LinkError {
    /// The certificate with its issuer's name did not sign it.
    #[error("certificate {position} is not issued by the one with its issuer's name: {cause}")]
    NotIssuedBy { position: usize, cause: NotIssuedBy },
    /// No certificate has its issuer's name.
    #[error("nobody issued certificate {position} ({subject})")]
    NoIssuer { position: usize, subject: Untrusted },
    /// More than [`MAX_CHAIN_LENGTH`].
    #[error("the chain has more than {MAX_CHAIN_LENGTH} certificates")]
    TooLong,
}

/// Where a search ended in vain: the longest path, and why it goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadEnd<E> {
    pub(crate) length: usize,
    pub(crate) cause: E,
}

/// Finds a path from `leaf` over `intermediates`, in any order, to one of `anchors`. An anchor is trusted as it stands:
/// its own signature is not computed. A self-issued certificate among the intermediates is passed over: it leads
/// nowhere that an anchor would not. `check_issuer` has the rules of every certificate but the leaf, with its position.
///
/// # Errors
///
/// [`Exhausted`] when the budget ends before the search; otherwise the inner error when there is no path.
pub(crate) fn find<'a, E: From<LinkError>>(
    leaf: &Certificate,
    intermediates: impl IntoIterator<Item = &'a Certificate> + Clone,
    anchors: impl IntoIterator<Item = &'a Certificate> + Clone,
    check_issuer: &dyn Fn(&Certificate, usize, Place) -> Result<(), E>,
    budget: &mut Budget,
) -> Result<Result<Vec<Certificate>, DeadEnd<E>>, Exhausted> {
    let mut search = Search {
        intermediates,
        anchors,
        check_issuer,
        budget,
        dead_end: None,
        path: vec![leaf.clone()],
    };
    if search.extend()? {
        return Ok(Ok(search.path));
    }
    Ok(Err(search.dead_end.unwrap_or_else(|| DeadEnd {
        length: 0,
        cause: LinkError::TooLong.into(),
    })))
}

struct Search<'s, I, A, E> {
    intermediates: I,
    anchors: A,
    check_issuer: &'s dyn Fn(&Certificate, usize, Place) -> Result<(), E>,
    budget: &'s mut Budget,
    dead_end: Option<DeadEnd<E>>,
    path: Vec<Certificate>,
}

impl<'a, I, A, E: From<LinkError>> Search<'_, I, A, E>
where
    I: IntoIterator<Item = &'a Certificate> + Clone,
    A: IntoIterator<Item = &'a Certificate> + Clone,
{
    /// Extends the path to an anchor, or leaves it as it is. The path grows by one with each call, and no longer than
    /// a chain may be.
    fn extend(&mut self) -> Result<bool, Exhausted> {
        let Some(last) = self.path.last().cloned() else {
            return Ok(false);
        };
        if self.path.len() == MAX_CHAIN_LENGTH {
            self.fail(LinkError::TooLong.into());
            return Ok(false);
        }
        let named = |issuer: &Certificate| issuer.subject_der() == last.issuer_der();
        let mut any = false;
        // Anchors first: the shortest chain, and the one whose last certificate the operator chose.
        for anchor in self.anchors.clone() {
            if named(anchor) {
                any = true;
                if self.accepts(&last, anchor, Place::Anchor)? {
                    self.path.push(anchor.clone());
                    return Ok(true);
                }
            }
        }
        for issuer in self.intermediates.clone() {
            if named(issuer) && !issuer.is_self_issued() && !self.path.contains(issuer) {
                any = true;
                if self.accepts(&last, issuer, Place::Intermediate)? {
                    self.path.push(issuer.clone());
                    if self.extend()? {
                        return Ok(true);
                    }
                    self.path.pop();
                }
            }
        }
        if !any {
            let no_issuer = LinkError::NoIssuer {
                position: self.path.len() - 1,
                subject: last.subject().to_string().into(),
            };
            self.fail(no_issuer.into());
        }
        Ok(false)
    }

    /// Whether `issuer` may follow `last` and signed it.
    fn accepts(&mut self, last: &Certificate, issuer: &Certificate, place: Place) -> Result<bool, Exhausted> {
        let position = self.path.len();
        if let Err(error) = (self.check_issuer)(issuer, position, place) {
            self.fail(error);
            return Ok(false);
        }
        self.budget.spend()?;
        match last.check_issued_by(issuer) {
            Ok(()) => Ok(true),
            Err(cause) => {
                let not_issued_by = LinkError::NotIssuedBy {
                    position: position - 1,
                    cause,
                };
                self.fail(not_issued_by.into());
                Ok(false)
            }
        }
    }

    fn fail(&mut self, cause: E) {
        let length = self.path.len();
        if self.dead_end.as_ref().is_none_or(|longest| length > longest.length) {
            self.dead_end = Some(DeadEnd { length, cause });
        }
    }
}

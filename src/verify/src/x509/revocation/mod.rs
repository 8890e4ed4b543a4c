//! Whether a certificate of a chain is revoked (RFC 5280 §6.3, RFC 6960;
//! notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation).
//!
//! An OCSP responder is asked first; where it has no answer, every CRL distribution point of the certificate. What counts
//! is signed by the certificate's issuer, covers the certificate and has not lapsed; of several answers the newest.
//! Every reason for which a status is not known has its own words, and none of them passes.
//!
//! Stricter than the reference implementation: a responder must be authorised and not be revoked itself, all of `CertID`
//! must match, thisUpdate must not be in the future, and what a CRL covers is honoured. More lenient: several addresses of
//! one distribution point are ways to one CRL (RFC 5280 §4.2.1.13), so one that answers is enough; and a delta CRL that
//! only the certificate names is asked for. Every distribution point needs its CRL, where the specification is content
//! with the first that answers: each may cover what no other does.

mod certificate;
mod crl;
mod local;
mod newest;
mod ocsp;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::Timestamp;
use crate::query::{Answers, Query};
use crate::x509::certificate::Certificate;

use certificate::{Finding, Judge};
pub use local::{LocalRevocation, LocalRevocationError};
pub use status::{
    ChainStatus, Checked, CheckedBy, CrlError, NotRevoked, OcspError, OnGrace, Outcome, Reason, ResponderError,
    Revoked, Scope, Source, Unknown, UnknownReason,
};

/// What a judgement knows beside the chain.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What was asked, and what came back.
    pub answers: &'a Answers,
    /// CRLs and OCSP responses from files, for disconnected nodes. Where one of them is good and has not lapsed, nobody is
    /// asked; a CRL of them that revokes beats what anybody else says.
    pub local: &'a LocalRevocation,
    /// The time.
    pub now: Timestamp,
    /// How far past its nextUpdate an answer may count while its endpoint is away.
    pub grace: Duration,
    /// When the signature was made, where an authority vouches for that. Only then an invalidity date counts
    /// (notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation).
    pub authentic_signing_time: Option<Timestamp>,
}

/// When an answer was given, and when there will be a newer one. It says nothing about authenticity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When.
    pub this_update: Timestamp,
    /// The first moment at which it no longer counts.
    pub next_update: Option<Timestamp>,
}

/// Checks every certificate of a chain but the last: that is a root, of which only its own key could say anything, or
/// what was put into a trust store. The leaf is first; the chain is well-formed and anchored.
///
/// What is asked about all certificates comes in one go. A certificate that is known to be revoked needs no more.
pub fn check<'a>(chain: impl IntoIterator<Item = &'a Certificate>, context: &Context<'_>) -> ChainStatus {
    let mut judge = Judge::new(*context);
    let mut revoked = None;
    let mut needs = BTreeSet::new();
    let mut unknown = None;
    let mut good = NotRevoked {
        until: Timestamp::MAX,
        on_grace: None,
        checked: Vec::new(),
    };
    let mut chain = chain.into_iter().peekable();
    while let Some(certificate) = chain.next() {
        let Some(issuer) = chain.peek() else {
            break;
        };
        let subject = || certificate.subject().to_string().into();
        match judge.certificate(certificate, issuer) {
            Finding::Good(found) => {
                good.until = good.until.min(found.until);
                good.on_grace = good.on_grace.or(found.on_grace);
                good.checked.push(Checked {
                    subject: subject(),
                    by: CheckedBy::Sources(found.by),
                });
            }
            Finding::NoSource => good.checked.push(Checked {
                subject: subject(),
                by: CheckedBy::NoSource,
            }),
            Finding::Revoked { entry, by } => {
                revoked.get_or_insert(Revoked {
                    subject: subject(),
                    at: entry.at,
                    reason: entry.reason,
                    by,
                });
            }
            Finding::Needs(queries) => needs.extend(queries),
            Finding::Silent => {
                unknown.get_or_insert(Unknown {
                    subject: subject(),
                    why: UnknownReason::NoAddress,
                });
            }
            Finding::Unknown(why) => {
                unknown.get_or_insert(Unknown {
                    subject: subject(),
                    why,
                });
            }
        }
    }
    let outcome = match (revoked, unknown) {
        (Some(revoked), _) => Outcome::Revoked(revoked),
        _ if !needs.is_empty() => Outcome::Needs(needs),
        (_, Some(unknown)) => Outcome::Unknown(unknown),
        _ => Outcome::NotRevoked(good),
    };
    ChainStatus {
        outcome,
        proven: judge.into_proven(),
    }
}

/// When the bytes that came back for a query were made, for whoever refreshes them. None where they are no answer to the
/// query at all, and for queries to plugins.
pub fn validity(query: &Query, bytes: &[u8]) -> Option<Validity> {
    match query {
        Query::Crl(_) => {
            let crl = crl::Unproven::read(bytes).ok()?;
            Some(Validity {
                this_update: crl.this_update(),
                next_update: crl.next_update(),
            })
        }
        Query::Ocsp { request, .. } => {
            let id = ocsp::CertificateId::of_request(request)?;
            let answer = ocsp::Unproven::read(bytes).ok()?.find(&id, None).ok()?;
            Some(Validity {
                this_update: answer.this_update,
                next_update: answer.next_update,
            })
        }
        Query::PluginMetadata(_) | Query::PluginVerdict { .. } => None,
    }
}

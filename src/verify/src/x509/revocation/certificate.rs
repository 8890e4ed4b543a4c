//! Whether one certificate is revoked: which sources are asked, in which order, and whose word counts.

use std::collections::BTreeSet;

use super::Context;
use super::crl::{self, Crl, Entry};
use super::local::File;
use super::newest::{Counting, Newest, Standing, Usable};
use super::ocsp::{self, CertificateId, Status};
use super::status::{CrlError, OcspError, OnGrace, Reason, ResponderError, Source, UnknownReason};
use crate::Timestamp;
use crate::limits::MAX_CLOCK_SKEW;
use crate::query::Query;
use crate::x509::certificate::Certificate;
use crate::x509::revocation_sources::DistributionPoint;

/// What is found about one certificate.
pub(super) enum Finding {
    /// It names no source, and no file revokes it.
    NoSource,
    /// Nobody who can be asked says anything.
    Silent,
    /// It is not revoked.
    Good(Good),
    /// It is revoked.
    Revoked {
        /// Since when, and why.
        entry: Entry,
        /// Who says so.
        by: Source,
    },
    /// Somebody has to be asked.
    Needs(BTreeSet<Query>),
    /// It is not known.
    Unknown(UnknownReason),
}

/// A certificate is not revoked.
pub(super) struct Good {
    /// The first moment at which that must be asked again.
    pub(super) until: Timestamp,
    /// The answer that has lapsed, if there is one.
    pub(super) on_grace: Option<OnGrace>,
    /// Who says so.
    pub(super) by: Vec<Source>,
}

impl Good {
    fn by<T>(counting: Counting<T>) -> Self {
        Self {
            until: counting.until,
            on_grace: counting.on_grace,
            by: vec![counting.by],
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.until = self.until.min(other.until);
        self.on_grace = self.on_grace.or(other.on_grace);
        self.by.extend(other.by);
        self
    }
}

/// Judges certificates, and collects what may be stored.
pub(super) struct Judge<'a> {
    context: Context<'a>,
    proven: BTreeSet<Query>,
}

/// Where CRLs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// From files alone.
    Files,
    /// From the addresses that the certificate names, and from files.
    Everywhere,
}

impl<'a> Judge<'a> {
    pub(super) const fn new(context: Context<'a>) -> Self {
        Self {
            context,
            proven: BTreeSet::new(),
        }
    }

    pub(super) fn into_proven(self) -> BTreeSet<Query> {
        self.proven
    }

    /// Judges a certificate that `issuer` issued.
    pub(super) fn certificate(&mut self, certificate: &Certificate, issuer: &Certificate) -> Finding {
        let files = self.crls(certificate, issuer, Reach::Files);
        if matches!(files, Finding::Revoked { .. }) {
            return files;
        }
        if certificate.extensions().revocation_sources.is_empty() {
            return Finding::NoSource;
        }
        let ocsp = self.ocsp(certificate, issuer);
        let is_current = |finding: &Finding| matches!(finding, Finding::Good(Good { on_grace: None, .. }));
        if matches!(ocsp, Finding::Revoked { .. }) || is_current(&ocsp) {
            return ocsp;
        }
        if is_current(&files) {
            return files;
        }
        if matches!(ocsp, Finding::Needs(_)) {
            return ocsp;
        }
        match (self.crls(certificate, issuer, Reach::Everywhere), ocsp) {
            (Finding::Unknown(_) | Finding::Silent, ocsp @ Finding::Good(_)) => ocsp,
            (Finding::Silent, Finding::Unknown(why)) => Finding::Unknown(why),
            (crls, _) => crls,
        }
    }

    /// What OCSP responders say.
    fn ocsp(&mut self, certificate: &Certificate, issuer: &Certificate) -> Finding {
        let Context { now, local, .. } = self.context;
        let signed_at = self.context.authentic_signing_time;
        let read = |bytes: &[u8]| {
            let proven = ocsp::Unproven::read(bytes)?.prove(certificate, issuer, now, signed_at)?;
            Ok(Usable {
                this_update: proven.this_update,
                next_update: proven.next_update,
                until: proven.responder.as_ref().map_or(Timestamp::MAX, Certificate::not_after),
                is_adverse: proven.status != Status::Good,
                content: (proven.status, proven.responder),
            })
        };
        let mut newest = Newest::new(self.context);
        let responders = certificate.extensions().revocation_sources.ocsp();
        if !responders.is_empty() {
            let query = Query::Ocsp {
                responders: responders.to_vec(),
                request: CertificateId::of(certificate, issuer).request(),
            };
            let by = Source::Ocsp(responders.to_vec());
            let refused = |by, cause| UnknownReason::Ocsp { by, cause };
            newest.ask(query, &by, read, refused, &mut self.proven);
        }
        for file in local.ocsp() {
            if let Ok(usable) = read(&file.der) {
                newest.consider(&file.source(), usable);
            }
        }
        let (by, (status, responder), otherwise) = match newest.settle() {
            Standing::Needs(queries) => return Finding::Needs(queries),
            Standing::None(why) => return why.map_or(Finding::Silent, Finding::Unknown),
            Standing::Current(counting) | Standing::OnGrace(counting) => (
                counting.by.clone(),
                counting.content.clone(),
                Finding::Good(Good::by(counting)),
            ),
            Standing::Lapsed(by, content, why) => (by, content, Finding::Unknown(why)),
        };
        match (status, otherwise, responder) {
            (Status::Revoked { at, reason }, ..) => Finding::Revoked {
                entry: Entry { at, reason },
                by,
            },
            (Status::Unknown, ..) => Finding::Unknown(UnknownReason::NotKnown { by }),
            (Status::Good, Finding::Good(good), Some(responder)) => self.responder(good, &responder, issuer, by),
            (Status::Good, otherwise, _) => otherwise,
        }
    }

    /// Whether a responder's good word still counts: its own certificate may be revoked. The CRLs that it names are asked,
    /// and no further responder, unless its issuer says that this is not needed
    /// (notation spec: trust-store-trust-policy.md#revocation-checking-with-ocsp; RFC 6960 §4.2.2.2.1). One that names no
    /// CRL cannot be checked, like any certificate that names no source.
    fn responder(&mut self, good: Good, responder: &Certificate, issuer: &Certificate, by: Source) -> Finding {
        let extensions = responder.extensions();
        if extensions.ocsp_no_check || extensions.revocation_sources.crl().is_empty() {
            return Finding::Good(good);
        }
        let subject = || responder.subject().to_string().into();
        let cause = match self.crls(responder, issuer, Reach::Everywhere) {
            Finding::Good(more) => return Finding::Good(good.and(more)),
            Finding::Needs(queries) => return Finding::Needs(queries),
            Finding::Revoked { .. } => OcspError::Responder {
                subject: subject(),
                cause: ResponderError::Revoked,
            },
            Finding::Unknown(why) => OcspError::ResponderUnknown {
                subject: subject(),
                why: why.into(),
            },
            Finding::Silent | Finding::NoSource => OcspError::ResponderUnknown {
                subject: subject(),
                why: UnknownReason::NoAddress.into(),
            },
        };
        Finding::Unknown(UnknownReason::Ocsp { by, cause })
    }

    /// What CRLs say. Every distribution point has to have one: each may cover what no other does (RUSTSEC-2026-0049 is
    /// what becomes of looking at the first alone).
    fn crls(&mut self, certificate: &Certificate, issuer: &Certificate, reach: Reach) -> Finding {
        let points = certificate.extensions().revocation_sources.crl();
        if points.iter().all(|point| point.addresses().is_empty()) {
            // There is nobody to ask; a file can still cover the certificate.
            let finding = match points {
                [] => self.crl(certificate, issuer, None, Reach::Files),
                points => self.all(certificate, issuer, points, Reach::Files),
            };
            return match finding {
                Finding::Unknown(_) => Finding::Silent,
                finding => finding,
            };
        }
        self.all(certificate, issuer, points, reach)
    }

    fn all(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        points: &[DistributionPoint],
        reach: Reach,
    ) -> Finding {
        let findings = points
            .iter()
            .map(|point| self.crl(certificate, issuer, Some(point), reach));
        findings.reduce(Finding::and).unwrap_or(Finding::Silent)
    }

    /// What the CRL of one distribution point says, together with its deltas.
    fn crl(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        point: Option<&DistributionPoint>,
        reach: Reach,
    ) -> Finding {
        let context = self.context;
        let read = |bytes| {
            let crl = prove(bytes, issuer, context.now)?;
            crl.check_complete(certificate, point)?;
            let entry = crl.find(certificate.serial_number(), context.authentic_signing_time)?;
            if entry.is_some_and(|entry| entry.reason == Reason::RemoveFromCrl) {
                return Err(CrlError::Malformed("removeFromCRL, which only deltas may have".into()));
            }
            Ok(usable(crl, entry))
        };
        let (counting, entry) = match self.newest(issuer, point, reach, read) {
            Standing::Needs(queries) => return Finding::Needs(queries),
            Standing::None(why) => return Finding::Unknown(why.unwrap_or(UnknownReason::CrlWithoutAddress)),
            Standing::Lapsed(by, (_, Some(entry)), _) => return Finding::Revoked { entry, by },
            Standing::Lapsed(_, (_, None), why) => return Finding::Unknown(why),
            Standing::Current(counting) | Standing::OnGrace(counting) => {
                let entry = counting.content.1;
                (counting, entry)
            }
        };
        let by = counting.by.clone();
        let revoked = |entry| Finding::Revoked { entry, by: by.clone() };
        // Only a hold ends; for any other reason no delta has to be asked.
        let hold = match entry {
            Some(entry) if entry.reason != Reason::CertificateHold => return revoked(entry),
            hold => hold,
        };
        let mut released = false;
        let base = counting.content.0.clone();
        // RFC 5280 §6.3.3 (a): the complete CRL says where its deltas are, or else the certificate does.
        let points = match base.freshest_crl() {
            [] => certificate.extensions().revocation_sources.freshest_crl(),
            points => points,
        };
        let deltas: Vec<_> = points
            .iter()
            .map(|point| self.delta(certificate, issuer, &base, &by, point, reach, &mut released))
            .collect();
        let deltas = deltas.into_iter().reduce(Finding::and);
        match (deltas, hold) {
            (Some(revoked @ Finding::Revoked { .. }), _) => revoked,
            (Some(needs @ Finding::Needs(_)), _) => needs,
            (_, Some(hold)) if !released => revoked(hold),
            (Some(Finding::Good(delta)), _) => Finding::Good(Good::by(counting).and(delta)),
            (Some(other), _) => other,
            (None, _) => Finding::Good(Good::by(counting)),
        }
    }

    /// What a delta CRL says. Where the complete CRL has one, it is not complete without it.
    #[expect(
        clippy::too_many_arguments,
        reason = "a delta depends on all that the complete CRL does, and on that"
    )]
    fn delta(
        &mut self,
        certificate: &Certificate,
        issuer: &Certificate,
        base: &Crl<'_>,
        base_by: &Source,
        point: &DistributionPoint,
        reach: Reach,
        released: &mut bool,
    ) -> Finding {
        let context = self.context;
        let read = |bytes| {
            let crl = prove(bytes, issuer, context.now)?;
            crl.check_delta(base)?;
            let entry = crl.find(certificate.serial_number(), context.authentic_signing_time)?;
            Ok(usable(crl, entry))
        };
        let (by, entry, otherwise) = match self.newest(issuer, Some(point), reach, read) {
            Standing::Needs(queries) => return Finding::Needs(queries),
            Standing::None(why) => {
                let without = || UnknownReason::DeltaWithoutAddress { base: base_by.clone() };
                return Finding::Unknown(why.unwrap_or_else(without));
            }
            Standing::Current(counting) | Standing::OnGrace(counting) => (
                counting.by.clone(),
                counting.content.1,
                Finding::Good(Good::by(counting)),
            ),
            Standing::Lapsed(by, (_, entry), why) => (by, entry, Finding::Unknown(why)),
        };
        match entry {
            Some(entry) if entry.reason != Reason::RemoveFromCrl => Finding::Revoked { entry, by },
            Some(_) => {
                *released |= matches!(otherwise, Finding::Good(_));
                otherwise
            }
            None => otherwise,
        }
    }

    /// The newest usable CRL of a distribution point.
    fn newest<T>(
        &mut self,
        issuer: &Certificate,
        point: Option<&DistributionPoint>,
        reach: Reach,
        read: impl Fn(&'a [u8]) -> Result<Usable<T>, CrlError>,
    ) -> Standing<T> {
        let mut newest = Newest::new(self.context);
        if reach == Reach::Everywhere {
            for url in point.map_or(&[][..], DistributionPoint::addresses) {
                let by = Source::Crl(url.clone());
                let refused = |by, cause| UnknownReason::Crl { by, cause };
                newest.ask(Query::Crl(url.clone()), &by, &read, refused, &mut self.proven);
            }
        }
        for file in self.context.local.crls_by(issuer.subject_der()) {
            if let Ok(usable) = read(&file.der) {
                newest.consider(&file.source(), usable);
            }
        }
        newest.settle()
    }
}

impl Finding {
    /// What two sources say that both have to be asked.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (revoked @ Self::Revoked { .. }, _) | (_, revoked @ Self::Revoked { .. }) => revoked,
            (Self::Needs(mut queries), Self::Needs(more)) => {
                queries.extend(more);
                Self::Needs(queries)
            }
            (needs @ Self::Needs(_), _) | (_, needs @ Self::Needs(_)) => needs,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Good(good), Self::Good(more)) => Self::Good(good.and(more)),
            (silent @ (Self::Silent | Self::NoSource), _) | (_, silent @ (Self::Silent | Self::NoSource)) => silent,
        }
    }
}

impl File {
    fn source(&self) -> Source {
        Source::File(self.name.clone())
    }
}

/// Proves a CRL, and that it is not of the future.
fn prove<'a>(bytes: &'a [u8], issuer: &Certificate, now: Timestamp) -> Result<Crl<'a>, CrlError> {
    let crl = crl::Unproven::read(bytes)?.prove(issuer)?;
    let latest = now.checked_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    if crl.this_update > latest {
        return Err(CrlError::Future(crl.this_update));
    }
    Ok(crl)
}

fn usable<'a>(crl: Crl<'a>, entry: Option<Entry>) -> Usable<(Crl<'a>, Option<Entry>)> {
    Usable {
        this_update: crl.this_update,
        next_update: crl.next_update,
        until: Timestamp::MAX,
        is_adverse: entry.is_some_and(|entry| entry.reason != Reason::RemoveFromCrl),
        content: (crl, entry),
    }
}

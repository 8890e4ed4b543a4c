//! How long a trusted root lasts: who in it can vouch for a signature that is made now, and until when.

use std::fmt;

use jiff::SignedDuration;

use super::{Authority, TransparencyLog, TrustedRoot};
use crate::Timestamp;
use crate::limits::TRUSTED_ROOT_NOTICE;
use crate::sigstore::window::Window;

/// What a party of a trusted root does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A transparency log for signatures.
    Log,
    /// A certificate transparency log.
    CertificateLog,
    /// A certificate authority.
    CertificateAuthority,
    /// A timestamp authority.
    TimestampAuthority,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [
        Self::Log,
        Self::CertificateLog,
        Self::CertificateAuthority,
        Self::TimestampAuthority,
    ];

    /// Its name for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "transparency log",
            Self::CertificateLog => "certificate transparency log",
            Self::CertificateAuthority => "certificate authority",
            Self::TimestampAuthority => "timestamp authority",
        }
    }
}

/// A log or an authority, and when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party<'a> {
    /// What it does.
    pub role: Role,
    /// Who runs it, as the root names it.
    pub operator: &'a str,
    /// When it counts: what the root says, and within that, when all of its certificates are valid.
    pub window: Window,
}

/// Whether a party can vouch for what is signed at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not yet.
    Announced,
    /// It can.
    Current,
    /// No longer. It still vouches for what was signed in its time.
    Lapsed,
}

/// How long there is somebody who can vouch for new signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// There is nobody now.
    None,
    /// Until this moment, and then nobody.
    Until(Timestamp),
    /// Without an end.
    Open,
}

/// A role of a trusted root that nobody can fill for new signatures, now or soon. What was signed in time stays good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// The role.
    pub role: Role,
    /// After which moment; none where nobody can now.
    pub after: Option<Timestamp>,
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} that counts ", self.role.as_str())?;
        match self.after {
            Some(end) => write!(f, "after {end}"),
            None => f.write_str("now"),
        }
    }
}

impl Party<'_> {
    /// Its standing at `moment`.
    pub fn standing(&self, moment: Timestamp) -> Standing {
        if self.window.contains(moment) {
            Standing::Current
        } else if self.window.start.is_some_and(|start| moment < start) {
            Standing::Announced
        } else {
            Standing::Lapsed
        }
    }
}

impl TrustedRoot {
    /// Every log and authority.
    pub fn parties(&self) -> Vec<Party<'_>> {
        let logs = self.logs.iter().map(|log| Party::log(Role::Log, log));
        let certificate_logs = self
            .certificate_logs
            .iter()
            .map(|log| Party::log(Role::CertificateLog, log));
        let authorities = self.certificate_authorities.iter();
        let authorities = authorities.map(|authority| Party::authority(Role::CertificateAuthority, authority));
        let timestamps = self.timestamp_authorities.iter();
        let timestamps = timestamps.map(|authority| Party::authority(Role::TimestampAuthority, authority));
        logs.chain(certificate_logs)
            .chain(authorities)
            .chain(timestamps)
            .collect()
    }

    /// The roles that somebody in the root has, and nobody can fill for new signatures now, or once
    /// [`TRUSTED_ROOT_NOTICE`] is over.
    pub fn lapses(&self, now: Timestamp) -> Vec<Lapse> {
        let notice = SignedDuration::try_from(TRUSTED_ROOT_NOTICE).unwrap_or(SignedDuration::MAX);
        let soon = now.checked_add(notice).unwrap_or(Timestamp::MAX);
        let parties = self.parties();
        let present = |role: &Role| parties.iter().any(|party| party.role == *role);
        let lapse = |role| match self.coverage(role, now) {
            Coverage::None => Some(Lapse { role, after: None }),
            Coverage::Until(end) if end <= soon => Some(Lapse { role, after: Some(end) }),
            Coverage::Until(_) | Coverage::Open => None,
        };
        Role::ALL.into_iter().filter(present).filter_map(lapse).collect()
    }

    /// How long from `now` on somebody of a role can vouch for new signatures, when one who ends is followed by another.
    pub fn coverage(&self, role: Role, now: Timestamp) -> Coverage {
        let parties = self.parties();
        let windows: Vec<Window> = parties
            .iter()
            .filter(|party| party.role == role)
            .map(|party| party.window)
            .collect();
        let mut covered = Coverage::None;
        let mut moment = now;
        // Every round ends with a later window's end, so there are at most as many as windows.
        loop {
            let ends = windows
                .iter()
                .filter(|window| window.contains(moment))
                .map(|window| window.end);
            // An open end is the latest.
            let latest = ends.max_by_key(|end| end.unwrap_or(Timestamp::MAX));
            let end = match latest {
                None => return covered,
                Some(None) => return Coverage::Open,
                Some(Some(end)) => end,
            };
            covered = Coverage::Until(end);
            moment = match end.checked_add(SignedDuration::from_nanos(1)) {
                Ok(next) => next,
                Err(_) => return Coverage::Open,
            };
        }
    }
}

impl<'a> Party<'a> {
    fn log(role: Role, log: &'a TransparencyLog) -> Self {
        Self {
            role,
            operator: &log.operator,
            window: log.window,
        }
    }

    fn authority(role: Role, authority: &'a Authority) -> Self {
        let chain = &authority.certificates;
        let start = chain
            .iter()
            .map(|certificate| certificate.not_before())
            .chain(authority.window.start)
            .max();
        let end = chain
            .iter()
            .map(|certificate| certificate.not_after())
            .chain(authority.window.end)
            .min();
        Self {
            role,
            operator: &authority.operator,
            window: Window { start, end },
        }
    }
}

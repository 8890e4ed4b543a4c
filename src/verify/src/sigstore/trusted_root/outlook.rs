//! How long a trusted root lasts: who in it can vouch for a signature that is made now, and until when.

use super::{Authority, TransparencyLog, TrustedRoot};
use crate::Timestamp;
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
            moment = match end.checked_add(jiff::SignedDuration::from_nanos(1)) {
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

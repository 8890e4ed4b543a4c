//! Why something could not be fetched. None of these says that an image is unsigned, and all of it is inconclusive, but for
//! an image's own bytes that are proved and no index.

use std::time::Duration;

use thiserror::Error;

use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::index::NotAnIndex;
use assay_verify::limits::{CONNECT_TIMEOUT, MAX_OPENED_REFERRERS, MAX_REDIRECTS, MAX_REFERRERS, MAX_REFERRERS_PAGES};
use assay_verify::manifest::ParseManifestError;
use assay_verify::untrusted::Untrusted;

use crate::credential::CredentialError;

/// A failure to fetch, with its facts. `registry` is always the canonical host that was asked,
/// which may be a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The registry wants credentials, or refuses those it got.
    #[error("{registry} refused access ({status}{}){}", said(.detail.as_ref()), withheld(.withheld_from.as_deref()))]
    AccessRefused {
        /// Who refused.
        registry: Box<str>,
        /// 401 or 403.
        status: u16,
        /// What it said.
        detail: Option<Untrusted>,
        /// The token server that got none of the configured credentials, because they are not bound to it.
        withheld_from: Option<Box<str>>,
    },
    /// The token server gave no token.
    #[error("the token server {realm} of {registry} gave no token ({status}{}){}", said(.detail.as_ref()), withheld(.withheld_from.as_deref()))]
    TokenRefused {
        /// The registry.
        registry: Box<str>,
        /// The token server's host.
        realm: Untrusted,
        /// Its status.
        status: u16,
        /// What it said.
        detail: Option<Untrusted>,
        /// As for `AccessRefused`.
        withheld_from: Option<Box<str>>,
    },
    /// The token server's answer holds no usable token.
    #[error("the token server {realm} of {registry} answered without a usable token")]
    TokenMalformed {
        /// The registry.
        registry: Box<str>,
        /// The token server's host.
        realm: Untrusted,
    },
    /// Credentials are configured, and cannot be had.
    #[error("the credentials for {registry} cannot be had: {cause}")]
    Credentials {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: CredentialError,
    },
    /// The registry names a token server, or asks in a way, that is not followed.
    #[error("{registry} asks for authentication that is not given: {cause}")]
    Challenge {
        /// The registry.
        registry: Box<str>,
        /// What is wrong with it.
        cause: Untrusted,
    },
    /// A status that says nothing about the image.
    #[error("{registry} answered {status}{}", said(.detail.as_ref()))]
    Status {
        /// The registry.
        registry: Box<str>,
        /// The status.
        status: u16,
        /// What it said.
        detail: Option<Untrusted>,
    },
    /// The registry asks for fewer requests.
    #[error("{registry} asks to wait (429){}", .retry_after.map(|wait| format!(": {} s", wait.as_secs())).unwrap_or_default())]
    TooManyRequests {
        /// The registry.
        registry: Box<str>,
        /// For how long, where it says so.
        retry_after: Option<Duration>,
    },
    /// No connection.
    #[error("{registry} cannot be reached: {cause}")]
    Connect {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: Untrusted,
    },
    /// No connection, and nobody who refuses one. TCP has asked several times.
    #[error("{registry} cannot be reached: no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    NoConnection {
        /// The registry.
        registry: Box<str>,
    },
    /// The answer broke off.
    #[error("the answer of {registry} broke off: {cause}")]
    Interrupted {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: Untrusted,
    },
    /// No answer came, or one that stopped without an end.
    #[error("{registry} went silent")]
    Silent {
        /// The registry.
        registry: Box<str>,
    },
    /// An address in an answer that is not followed.
    #[error("{registry} names an address that is not followed: {cause}")]
    Address {
        /// The registry.
        registry: Box<str>,
        /// Which, and why.
        cause: Untrusted,
    },
    /// More redirects than the limit.
    #[error("{registry} redirects more than {MAX_REDIRECTS} times")]
    Redirects {
        /// The registry.
        registry: Box<str>,
    },
    /// What was asked for is not there.
    #[error("{registry} has no {what}")]
    Missing {
        /// The registry.
        registry: Box<str>,
        /// What was asked for.
        what: Untrusted,
    },
    /// The bytes are not those that were asked for.
    #[error("{registry} gave other bytes than those of {digest}")]
    WrongBytes {
        /// The registry.
        registry: Box<str>,
        /// What was asked for.
        digest: Digest,
    },
    /// Another kind of document than asked for.
    #[error("{registry} answered with content type {content_type}")]
    ContentType {
        /// The registry.
        registry: Box<str>,
        /// Which.
        content_type: Untrusted,
    },
    /// A listing that cannot be read.
    #[error("the listing of {registry} cannot be read: {cause}")]
    Listing {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: ParseManifestError,
    },
    /// A manifest that cannot be read.
    #[error("the manifest of {registry} cannot be read: {cause}")]
    Manifest {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: ParseManifestError,
    },
    /// The image is an index by its descriptor, and its bytes are none whose children are known.
    #[error("{registry}: {cause}")]
    Index {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: NotAnIndex,
    },
    /// More bytes than the limit.
    #[error("the answer of {registry} is larger than {limit} bytes")]
    TooLarge {
        /// The registry.
        registry: Box<str>,
        /// The limit.
        limit: usize,
    },
    /// More pages than the limit.
    #[error("{registry} lists referrers on more than {MAX_REFERRERS_PAGES} pages")]
    TooManyPages {
        /// The registry.
        registry: Box<str>,
    },
    /// More referrers than the limit.
    #[error("{registry} lists more than {MAX_REFERRERS} referrers")]
    TooManyReferrers {
        /// The registry.
        registry: Box<str>,
    },
    /// A manifest holds more signatures than are looked at.
    #[error("{what} in {registry} holds more signatures than are looked at")]
    TooManySignatures {
        /// The registry.
        registry: Box<str>,
        /// The manifest, or the tag that names it.
        what: Untrusted,
    },
    /// Something that may be the newest statement, or name it, is there and larger than what is read, or took too long.
    #[error("{what} in {registry} is too large to be read, or took too long, and may be the newest")]
    Unread {
        /// The registry.
        registry: Box<str>,
        /// What.
        what: Untrusted,
    },
    /// Referrers were left unopened.
    #[error("{MAX_OPENED_REFERRERS} referrers were opened and {registry} lists more")]
    TooManyOpened {
        /// The registry.
        registry: Box<str>,
    },
    /// The verification would hold more than its memory.
    #[error("the verification would hold more memory than its limit")]
    VerificationMemory,
    /// The process, or the registry's share of it, is full.
    #[error("other verifications hold all the memory")]
    ProcessMemory,
    /// What was brought in place of a registry lacks something, or what it has cannot be read.
    #[error("what was brought is not whole: {cause}")]
    NotWhole {
        /// What lacks.
        cause: Untrusted,
    },
    /// Nobody was to be asked.
    #[error("{registry} was not asked")]
    NotAsked {
        /// The registry.
        registry: Box<str>,
    },
    /// No time is left.
    #[error("{registry} did not answer in time")]
    Deadline {
        /// The registry.
        registry: Box<str>,
    },
    /// The registry cannot be asked as it is named or configured.
    #[error("{registry} cannot be asked: {cause}")]
    Unusable {
        /// The registry.
        registry: Box<str>,
        /// Why.
        cause: Untrusted,
    },
}

impl FetchError {
    /// Whether the registry said nothing, rather than something that cannot be used: it is away, refuses access or is too
    /// slow. Whoever writes into a repository cannot bring this about by what he puts there, as he can with wrong bytes, a
    /// malformed listing or more than the limits; what is listed and takes too long is [`FetchError::Unread`] to a search
    /// for the newest.
    pub fn is_silence(&self) -> bool {
        match self {
            Self::AccessRefused { .. }
            | Self::TokenRefused { .. }
            | Self::Credentials { .. }
            | Self::TooManyRequests { .. }
            | Self::Connect { .. }
            | Self::NoConnection { .. }
            | Self::Interrupted { .. }
            | Self::Silent { .. }
            | Self::NotAsked { .. }
            | Self::Deadline { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether a host could not be reached, or did not begin to answer.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::NoConnection { .. } | Self::Silent { .. }
        )
    }

    /// Whether it is about the host that was asked, so that another may have what was asked for. What breaks a limit, or the
    /// memory, or the deadline, is about the question.
    pub(super) fn is_one_hosts(&self) -> bool {
        matches!(
            self,
            Self::AccessRefused { .. }
                | Self::TokenRefused { .. }
                | Self::TokenMalformed { .. }
                | Self::Credentials { .. }
                | Self::Challenge { .. }
                | Self::Status { .. }
                | Self::TooManyRequests { .. }
                | Self::Connect { .. }
                | Self::NoConnection { .. }
                | Self::Interrupted { .. }
                | Self::Silent { .. }
                | Self::Address { .. }
                | Self::Redirects { .. }
                | Self::ContentType { .. }
                | Self::Unusable { .. }
        )
    }

    /// The stable code of a denial for this reason.
    pub fn code(&self) -> Code {
        match self {
            Self::AccessRefused { .. }
            | Self::TokenRefused { .. }
            | Self::TokenMalformed { .. }
            | Self::Credentials { .. }
            | Self::Challenge { .. } => Code::RegistryAuth,
            Self::Status { .. }
            | Self::TooManyRequests { .. }
            | Self::Connect { .. }
            | Self::NoConnection { .. }
            | Self::Interrupted { .. }
            | Self::Silent { .. }
            | Self::NotAsked { .. }
            | Self::NotWhole { .. }
            | Self::Address { .. }
            | Self::Missing { .. }
            | Self::WrongBytes { .. }
            | Self::ContentType { .. }
            | Self::Listing { .. }
            | Self::Manifest { .. }
            | Self::Unusable { .. } => Code::RegistryUnavailable,
            Self::Redirects { .. }
            | Self::TooLarge { .. }
            | Self::TooManyPages { .. }
            | Self::TooManyReferrers { .. }
            | Self::TooManyOpened { .. }
            | Self::TooManySignatures { .. }
            | Self::Unread { .. }
            | Self::VerificationMemory
            | Self::ProcessMemory => Code::LimitExceeded,
            Self::Index { cause, .. } => cause.code(),
            Self::Deadline { .. } => Code::Deadline,
        }
    }
}

fn said(detail: Option<&Untrusted>) -> String {
    detail.map(|text| format!(": {text}")).unwrap_or_default()
}

fn withheld(host: Option<&str>) -> String {
    host.map(|host| {
        format!("; the configured credentials were not sent to {host}, which is not among its token_realms")
    })
    .unwrap_or_default()
}

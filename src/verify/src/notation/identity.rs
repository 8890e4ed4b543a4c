//! Trusted identities: whose certificates a statement accepts
//! (notation spec: trust-store-trust-policy.md#trusted-identities).

use std::fmt;

use thiserror::Error;
use x509_cert::name::Name;

use crate::limits::MAX_TRUSTED_IDENTITIES;
use crate::notation::certificate_identity::{CertificateIdentity, CertificateIdentityError};
use crate::query::PluginName;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;
use crate::x509::distinguished_name::{DistinguishedName, DistinguishedNameError};

/// The only kind of identity in a trust policy that needs no plugin.
const X509_SUBJECT: &str = "x509.subject";

/// The wildcard.
const ANY: &str = "*";

/// Whose certificates are accepted, among those that lead to a trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedIdentities {
    /// Everyone whom the trust stores vouch for.
    Any,
    /// Whom the list names. Nobody, where it is empty.
    Listed(IdentityList),
}

/// A list of trusted identities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityList {
    /// Every item as it was written: a plugin is told them all.
    texts: Vec<Box<str>>,
    /// Subjects that have all attributes of one of these names are recognised.
    subjects: Vec<DistinguishedName>,
    /// Certificates that are one of these are recognised.
    certificates: Vec<CertificateIdentity>,
}

/// Which kinds of identities a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityKinds {
    /// Those of the Notary Project: subjects, and what plugins judge.
    Standard,
    /// Beside them those of [`CertificateIdentity`].
    Extended,
}

impl IdentityList {
    /// The names of the items that need no plugin.
    pub fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }
}

/// Why a list of trusted identities is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustedIdentitiesError {
    /// An empty item.
    #[error("a trusted identity is empty")]
    Empty,
    /// No kind before a colon.
    #[error("trusted identity \"{0}\" is missing the separator ':': expected x509.subject: C=…, ST=…, O=…")]
    NoKind(Untrusted),
    /// `*` beside others.
    #[error("the wildcard \"*\" cannot be used together with other trusted identities")]
    WildcardNotAlone,
    /// The distinguished name is not one, or cannot be compared.
    #[error("trusted identity \"{text}\": {cause}")]
    Name {
        /// The identity.
        text: Untrusted,
        /// What is wrong with it.
        cause: DistinguishedNameError,
    },
    /// Not an identity of a certificate.
    #[error("trusted identity \"{text}\": {cause}")]
    Certificate {
        /// The identity.
        text: Untrusted,
        /// What is wrong with it.
        cause: CertificateIdentityError,
    },
    /// One identity includes another.
    #[error("trusted identities overlap: \"{0}\" includes \"{1}\"")]
    Overlap(Untrusted, Untrusted),
    /// No items.
    #[error("there are no trusted identities")]
    None,
    /// More items than the limit.
    #[error("{0} trusted identities are more than {MAX_TRUSTED_IDENTITIES}")]
    TooMany(usize),
}

/// A problem and the item that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIdentityProblem {
    /// The item's index in the list.
    pub index: usize,
    /// What is wrong.
    pub error: TrustedIdentitiesError,
}

/// Why a certificate's subject is no trusted identity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The subject cannot be compared.
    #[error("the signer's subject cannot be compared with trusted identities: {0}")]
    Subject(#[from] DistinguishedNameError),
    /// The list has only identities that a plugin judges.
    #[error("the policy lists no x509.subject identity, and no plugin judges the others")]
    OnlyForPlugins,
    /// The subject is not in the list.
    #[error("the signer {0} is no trusted identity")]
    NotListed(DistinguishedName),
    /// The list names certificates only, and this is none of them.
    #[error("the certificate of the signer {0} is no trusted identity")]
    NoneOfTheListed(Untrusted),
}

/// Whom a certificate's subject was recognised as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecognisedIdentity {
    /// Nobody in particular: every identity is accepted. This is the subject, for people.
    Any(Untrusted),
    /// This trusted identity, as the policy names it.
    Listed(DistinguishedName),
    /// The certificate that the policy names by itself, its key or an alternative name.
    Certificate(CertificateIdentity),
    /// Somebody whom a plugin recognises.
    ByPlugin {
        /// The subject, for people.
        subject: Untrusted,
        /// The plugin.
        plugin: PluginName,
    },
}

impl fmt::Display for RecognisedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(subject) => subject.fmt(f),
            Self::Listed(name) => name.fmt(f),
            Self::Certificate(identity) => identity.fmt(f),
            Self::ByPlugin { subject, plugin } => write!(f, "{subject} by the plugin {plugin}"),
        }
    }
}

impl TrustedIdentities {
    /// The wildcard `*`.
    pub const fn any() -> Self {
        Self::Any
    }

    /// Nobody: the list of a statement that asks for no signature.
    pub fn nobody() -> Self {
        Self::Listed(IdentityList::default())
    }

    /// The items as they were written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (any, listed) = match self {
            Self::Any => (Some(ANY), None),
            Self::Listed(list) => (None, Some(list)),
        };
        let listed = listed.into_iter().flat_map(|list| &list.texts).map(|text| &**text);
        any.into_iter().chain(listed)
    }

    /// Reads a list. Every problem is returned.
    ///
    /// Identities of kinds that are not known are for plugins; without one they recognise nobody.
    ///
    /// # Errors
    ///
    /// When an item is invalid, items overlap, or there are none.
    pub fn parse(items: &[&str], kinds: IdentityKinds) -> Result<Self, Vec<TrustedIdentityProblem>> {
        if items.len() > MAX_TRUSTED_IDENTITIES {
            let error = TrustedIdentitiesError::TooMany(items.len());
            return Err(vec![TrustedIdentityProblem { index: 0, error }]);
        }
        let mut problems = Vec::new();
        let mut names: Vec<(usize, DistinguishedName)> = Vec::new();
        let mut certificates = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let mut problem = |error| problems.push(TrustedIdentityProblem { index, error });
            match read(item, kinds) {
                Ok(Item::Any) if items.len() == 1 => return Ok(Self::Any),
                Ok(Item::Any) => problem(TrustedIdentitiesError::WildcardNotAlone),
                Ok(Item::ForPlugins) => {}
                Ok(Item::Subject(name)) => names.push((index, name)),
                Ok(Item::Certificate(identity)) => certificates.push(identity),
                Err(error) => problem(error),
            }
        }
        let text = |index: usize| Untrusted::from(items.get(index).copied().unwrap_or_default());
        for (position, (index, name)) in names.iter().enumerate() {
            let earlier = names.iter().take(position);
            for (other_index, other) in earlier {
                let error = if name.is_subset_of(other) {
                    TrustedIdentitiesError::Overlap(text(*index), text(*other_index))
                } else if other.is_subset_of(name) {
                    TrustedIdentitiesError::Overlap(text(*other_index), text(*index))
                } else {
                    continue;
                };
                problems.push(TrustedIdentityProblem { index: *index, error });
                break;
            }
        }
        if items.is_empty() {
            let error = TrustedIdentitiesError::None;
            problems.push(TrustedIdentityProblem { index: 0, error });
        }
        if problems.is_empty() {
            Ok(Self::Listed(IdentityList {
                texts: items.iter().copied().map(Box::from).collect(),
                subjects: names.into_iter().map(|(_, name)| name).collect(),
                certificates,
            }))
        } else {
            Err(problems)
        }
    }

    /// Whether an item is of a kind that only plugins judge.
    pub fn is_for_plugins(item: &str, kinds: IdentityKinds) -> bool {
        matches!(read(item, kinds), Ok(Item::ForPlugins))
    }

    /// Recognises a signer by its own certificate.
    ///
    /// # Errors
    ///
    /// When the certificate is nobody of the list, or its subject cannot be compared.
    pub fn recognises(&self, certificate: &Certificate) -> Result<RecognisedIdentity, IdentityError> {
        if let Self::Listed(list) = self
            && let Some(identity) = list.certificates.iter().find(|one| one.recognises(certificate))
        {
            return Ok(RecognisedIdentity::Certificate(identity.clone()));
        }
        self.recognises_subject(certificate.subject())
    }

    fn recognises_subject(&self, subject: &Name) -> Result<RecognisedIdentity, IdentityError> {
        let Self::Listed(list) = self else {
            return Ok(RecognisedIdentity::Any(subject.to_string().into()));
        };
        if list.subjects.is_empty() && !list.certificates.is_empty() {
            return Err(IdentityError::NoneOfTheListed(subject.to_string().into()));
        }
        if list.subjects.is_empty() && !list.texts.is_empty() {
            return Err(IdentityError::OnlyForPlugins);
        }
        let subject = DistinguishedName::from_name(subject)?;
        match list.subjects.iter().find(|name| name.is_subset_of(&subject)) {
            Some(name) => Ok(RecognisedIdentity::Listed(name.clone())),
            None => Err(IdentityError::NotListed(subject)),
        }
    }
}

/// One item of a list.
enum Item {
    Any,
    ForPlugins,
    Subject(DistinguishedName),
    Certificate(CertificateIdentity),
}

fn read(item: &str, kinds: IdentityKinds) -> Result<Item, TrustedIdentitiesError> {
    if item == ANY {
        return Ok(Item::Any);
    }
    if item.is_empty() {
        return Err(TrustedIdentitiesError::Empty);
    }
    let (kind, value) = item
        .split_once(':')
        .ok_or_else(|| TrustedIdentitiesError::NoKind(item.into()))?;
    if kind != X509_SUBJECT {
        let native = match kinds {
            IdentityKinds::Standard => None,
            IdentityKinds::Extended => CertificateIdentity::read(kind, value),
        };
        return match native {
            None => Ok(Item::ForPlugins),
            Some(Ok(identity)) => Ok(Item::Certificate(identity)),
            Some(Err(cause)) => Err(TrustedIdentitiesError::Certificate {
                text: item.into(),
                cause,
            }),
        };
    }
    DistinguishedName::parse(value)
        .map(Item::Subject)
        .map_err(|cause| TrustedIdentitiesError::Name {
            text: item.into(),
            cause,
        })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    const RELEASE: &str = "x509.subject: C=US, ST=WA, O=Corp, CN=release";

    #[track_caller]
    fn refused(items: &[&str], expected: &[&str]) {
        let problems = TrustedIdentities::parse(items, IdentityKinds::Standard).unwrap_err();
        let found: Vec<String> = problems
            .iter()
            .map(|problem| format!("{} {}", problem.index, problem.error))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn recognises_a_subject_that_has_every_attribute() {
        let identities =
            TrustedIdentities::parse(&["x509.subject: C=US,ST=WA,O=Other", RELEASE], IdentityKinds::Standard).unwrap();
        let subject = Name::from_str("CN=release,OU=x,O=Corp,ST=WA,C=US").unwrap();
        assert_eq!(
            identities.recognises_subject(&subject).unwrap().to_string(),
            "C=US, CN=release, O=Corp, ST=WA"
        );
    }

    #[test]
    fn denies_a_stranger_and_says_who_it_is() {
        let identities = TrustedIdentities::parse(&[RELEASE], IdentityKinds::Standard).unwrap();
        let subject = Name::from_str("CN=stranger,O=Corp,ST=WA,C=US").unwrap();
        assert_eq!(
            identities.recognises_subject(&subject).unwrap_err().to_string(),
            "the signer C=US, CN=stranger, O=Corp, ST=WA is no trusted identity"
        );
    }

    #[test]
    fn denies_a_subject_that_cannot_be_compared_unless_everyone_is_trusted() {
        let subject = Name::from_str("CN=release,O=Corp").unwrap();
        let listed = TrustedIdentities::parse(&[RELEASE], IdentityKinds::Standard).unwrap();
        assert!(matches!(
            listed.recognises_subject(&subject),
            Err(IdentityError::Subject(_))
        ));
        let any = TrustedIdentities::parse(&["*"], IdentityKinds::Standard).unwrap();
        let expected = RecognisedIdentity::Any("CN=release,O=Corp".into());
        assert_eq!(any.recognises_subject(&subject), Ok(expected));
    }

    #[test]
    fn an_empty_list_recognises_nobody() {
        let subject = Name::from_str("CN=release,O=Corp,ST=WA,C=US").unwrap();
        assert!(TrustedIdentities::nobody().recognises_subject(&subject).is_err());
    }

    #[test]
    fn reports_every_problem_of_a_list() {
        refused(
            &["", "*", "x509.subject C=US", "x509.subject: C=US,ST=WA"],
            &[
                "0 a trusted identity is empty",
                "1 the wildcard \"*\" cannot be used together with other trusted identities",
                "2 trusted identity \"x509.subject C=US\" is missing the separator ':': expected x509.subject: C=…, ST=…, O=…",
                "3 trusted identity \"x509.subject: C=US,ST=WA\": the attribute O is mandatory: a name needs C, ST and O",
            ],
        );
        refused(&[], &["0 there are no trusted identities"]);
    }

    #[test]
    fn refuses_overlap_in_either_order() {
        let wide = "x509.subject: C=US, ST=WA, O=Corp";
        let message = format!("1 trusted identities overlap: \"{wide}\" includes \"{RELEASE}\"");
        refused(&[RELEASE, wide], &[&message]);
        refused(&[wide, RELEASE], &[&message]);
        let twice = format!("1 trusted identities overlap: \"{RELEASE}\" includes \"{RELEASE}\"");
        refused(&[RELEASE, RELEASE], &[&twice]);
    }

    #[test]
    fn identities_for_plugins_trust_nobody() {
        let arn = "com.amazonaws.signer:arn:aws:signer:x";
        let subject = Name::from_str("CN=release,O=Corp,ST=WA,C=US").unwrap();
        let alone = TrustedIdentities::parse(&[arn], IdentityKinds::Standard).unwrap();
        assert_eq!(alone.recognises_subject(&subject), Err(IdentityError::OnlyForPlugins));
        let both = TrustedIdentities::parse(&[arn, RELEASE], IdentityKinds::Standard).unwrap();
        assert!(matches!(
            both.recognises_subject(&subject),
            Ok(RecognisedIdentity::Listed(_))
        ));
    }

    #[test]
    fn every_item_is_kept_as_it_was_written() {
        let arn = "com.amazonaws.signer:arn:aws:signer:x";
        for items in [&["*"][..], &[arn], &[RELEASE, arn]] {
            let identities = TrustedIdentities::parse(items, IdentityKinds::Standard).unwrap();
            assert_eq!(identities.texts().collect::<Vec<_>>(), items);
        }
        assert_eq!(TrustedIdentities::nobody().texts().count(), 0);
    }

    #[test]
    fn refuses_more_identities_than_can_be_compared_with_each_other() {
        let items: Vec<String> = (0..=MAX_TRUSTED_IDENTITIES)
            .map(|number| format!("x509.subject:C=US,ST=WA,O={number}"))
            .collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        let problem = TrustedIdentityProblem {
            index: 0,
            error: TrustedIdentitiesError::TooMany(items.len()),
        };
        assert_eq!(
            TrustedIdentities::parse(&items, IdentityKinds::Standard),
            Err(vec![problem])
        );
        assert!(TrustedIdentities::parse(&items[1..], IdentityKinds::Standard).is_ok());
    }
}

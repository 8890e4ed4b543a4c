//! What a judgement lacks and only the world outside can tell, and what the world told.
//!
//! A judgement never fetches. Where it needs the word of a certificate authority or a plugin, it says so with a [`Query`];
//! whoever gathers asks, and judges again with the [`Answers`]. A query exists only about a signature whose integrity and
//! authenticity hold, so no stranger chooses what a node fetches or runs. An answer is bytes that nobody has looked at:
//! the judgement proves them each time.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::code::Code;
use crate::digest::hex;
use crate::limits::{
    MAX_OCSP_REQUEST_SIZE, MAX_PLUGIN_NAME_LENGTH, MAX_QUERY_TEXT_LENGTH, MAX_REVOCATION_URL_LENGTH,
    MAX_REVOCATION_URLS,
};
use crate::untrusted::Untrusted;

/// Something to ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Query {
    /// The certificate revocation list at an address (RFC 5280 §5).
    Crl(RevocationUrl),
    /// The status of a certificate at the first responder that answers (RFC 6960).
    Ocsp {
        /// Where, in the order of the certificate.
        responders: Vec<RevocationUrl>,
        /// The encoded `OCSPRequest`.
        request: Arc<[u8]>,
    },
    /// What a plugin is and can do (notation spec: plugin-extensibility.md#plugin-contract).
    PluginMetadata(PluginName),
    /// What a plugin says about a signature.
    PluginVerdict {
        /// The plugin.
        plugin: PluginName,
        /// The request of `verify-signature` as JSON, without the plugin's own configuration: that is the node's.
        request: Arc<str>,
    },
}

impl Query {
    /// The query's name in stores and records: two queries have the same if and only if they ask the same.
    pub fn id(&self) -> QueryId {
        let mut hash = Sha256::new();
        // Every part with its length before it, so that no two queries hash the same bytes.
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        match self {
            Self::Crl(url) => {
                add(b"crl");
                add(url.as_str().as_bytes());
            }
            Self::Ocsp { responders, request } => {
                add(b"ocsp");
                add(request);
                for url in responders {
                    add(url.as_str().as_bytes());
                }
            }
            Self::PluginMetadata(plugin) => {
                add(b"plugin-metadata");
                add(plugin.as_str().as_bytes());
            }
            Self::PluginVerdict { plugin, request } => {
                add(b"plugin-verdict");
                add(plugin.as_str().as_bytes());
                add(request.as_bytes());
            }
        }
        QueryId(hash.finalize().into())
    }
}

/// Why text is no query about revocation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseQueryError {
    /// Longer than the limit.
    #[error("the query has {0} bytes, more than {MAX_QUERY_TEXT_LENGTH}")]
    TooLong(usize),
    /// Not the JSON of a query, or of neither kind.
    #[error("the query is malformed: {0}")]
    Malformed(Untrusted),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] ParseRevocationUrlError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kind: WireKind,
    addresses: Vec<String>,
    /// The OCSP request in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireKind {
    Crl,
    Ocsp,
}

impl Query {
    /// A query about revocation as JSON, so that it can stand beside its answer; none for a question to a plugin, whose
    /// word nobody signs.
    pub fn to_json(&self) -> Option<String> {
        let text = |url: &RevocationUrl| url.as_str().to_owned();
        let wire = match self {
            Self::Crl(url) => Wire {
                kind: WireKind::Crl,
                addresses: vec![text(url)],
                request: None,
            },
            Self::Ocsp { responders, request } => Wire {
                kind: WireKind::Ocsp,
                addresses: responders.iter().map(text).collect(),
                request: Some(STANDARD.encode(request)),
            },
            Self::PluginMetadata(_) | Self::PluginVerdict { .. } => return None,
        };
        serde_json::to_string(&wire).ok()
    }

    /// Reads it back. It names an answer, and is never asked.
    ///
    /// # Errors
    ///
    /// When it is longer than any, malformed, or names what is no address of revocation data.
    pub fn from_json(text: &str) -> Result<Self, ParseQueryError> {
        if text.len() > MAX_QUERY_TEXT_LENGTH {
            return Err(ParseQueryError::TooLong(text.len()));
        }
        let malformed = |cause: &str| ParseQueryError::Malformed(cause.into());
        let wire: Wire = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        if wire.addresses.len() > MAX_REVOCATION_URLS {
            return Err(malformed("it has too many addresses"));
        }
        let addresses = wire.addresses.iter().map(|address| address.parse());
        let mut addresses: Vec<RevocationUrl> = addresses.collect::<Result<_, _>>()?;
        match (wire.kind, wire.request) {
            (WireKind::Crl, None) => match (addresses.pop(), addresses.is_empty()) {
                (Some(address), true) => Ok(Self::Crl(address)),
                _ => Err(malformed("a CRL has one address")),
            },
            (WireKind::Ocsp, Some(request)) if !addresses.is_empty() => {
                let request = STANDARD
                    .decode(request)
                    .map_err(|error| malformed(&error.to_string()))?;
                if request.is_empty() || request.len() > MAX_OCSP_REQUEST_SIZE {
                    return Err(malformed("its request is empty or too large"));
                }
                Ok(Self::Ocsp {
                    responders: addresses,
                    request: request.into(),
                })
            }
            _ => Err(malformed("kind, addresses and request do not fit")),
        }
    }
}

/// For people: what is asked, and where.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crl(url) => write!(f, "the CRL {url}"),
            Self::Ocsp { responders, .. } => {
                f.write_str("the OCSP responder")?;
                for (index, url) in responders.iter().enumerate() {
                    write!(f, "{} {url}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::PluginMetadata(plugin) | Self::PluginVerdict { plugin, .. } => write!(f, "the plugin {plugin}"),
        }
    }
}

/// The SHA-256 over all of a query.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId([u8; 32]);

impl QueryId {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryId({self})")
    }
}

/// The address of a CRL or an OCSP responder: plain HTTP, as RFC 5280 §4.2.1.13 and RFC 6960 §A.1 have it. The answers
/// are signed, and checking a server's certificate would need the answers of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationUrl(Box<str>);

/// Why text is no address of revocation data.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseRevocationUrlError {
    /// Another scheme than http.
    #[error("{0} is not an http address")]
    Scheme(Untrusted),
    /// Longer than the limit.
    #[error("the address has {0} bytes, more than {MAX_REVOCATION_URL_LENGTH}")]
    TooLong(usize),
    /// A character that no address has, or no host.
    #[error("{0} is not an address")]
    Malformed(Untrusted),
}

impl RevocationUrl {
    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RevocationUrl {
    type Err = ParseRevocationUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_REVOCATION_URL_LENGTH {
            return Err(ParseRevocationUrlError::TooLong(text.len()));
        }
        let malformed = || ParseRevocationUrlError::Malformed(text.into());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(ParseRevocationUrlError::Scheme(text.into()));
        }
        // The rest of the grammar is the HTTP client's, which refuses what it cannot ask.
        if rest.is_empty() || rest.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RevocationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Untrusted::new(&*self.0).fmt(f)
    }
}

/// The name of a plugin: `[a-zA-Z0-9_.-]+`, and neither `.` nor `..`. Only names of the node's configuration lead to a
/// program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Box<str>);

/// Text that is no name of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not the name of a plugin: expected at most {MAX_PLUGIN_NAME_LENGTH} letters, digits, '_', '.' and '-'"
)]
pub struct ParsePluginNameError(Untrusted);

impl PluginName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PluginName {
    type Err = ParsePluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=MAX_PLUGIN_NAME_LENGTH).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && text != "."
            && text != "..";
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(ParsePluginNameError(text.into()))
        }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a query.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What the world says now, or why it says nothing. An answer of earlier that has not lapsed counts as one of now.
    pub now: Result<Arc<[u8]>, Unanswered>,
    /// What an earlier judgement rested on, if that is something else. It counts where it is newer than what the world
    /// says now, and where the world says nothing.
    pub kept: Option<Arc<[u8]>>,
}

/// Why a query has no answer. It is never a reason to believe anything about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// An inconclusive code: [`Code::RevocationUnknown`], [`Code::PluginUnavailable`], [`Code::LimitExceeded`].
    pub code: Code,
    /// Why, for a person.
    pub reason: Untrusted,
}

/// The answers in hand.
#[derive(Clone, Debug, Default)]
pub struct Answers(BTreeMap<Query, Answered>);

impl Answers {
    /// What became of a query; none where it has not been asked.
    pub fn get(&self, query: &Query) -> Option<&Answered> {
        self.0.get(query)
    }

    /// Adds an answer, in place of an earlier one.
    pub fn insert(&mut self, query: Query, answered: Answered) {
        self.0.insert(query, answered);
    }

    /// Everything that was asked, and what became of it.
    pub fn iter(&self) -> impl Iterator<Item = (&Query, &Answered)> {
        self.0.iter()
    }

    /// Whether nothing has been asked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the world says now, as far as a judgement found it to be signed by those who may: only this is worth keeping.
pub type Proven = BTreeMap<Query, Arc<[u8]>>;

impl Extend<(Query, Answered)> for Answers {
    fn extend<T: IntoIterator<Item = (Query, Answered)>>(&mut self, answers: T) {
        self.0.extend(answers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_addresses_of_a_host_are_asked() {
        for (text, good) in [
            ("http://crl.example/a.crl", true),
            ("HTTP://crl.example", true),
            ("https://crl.example/a.crl", false),
            ("ldap://crl.example/cn=a", false),
            ("file:///etc/passwd", false),
            ("http:///a.crl", false),
            ("http://", false),
            ("http://crl.example/a b", false),
            ("http://crl.example/\u{e9}", false),
            ("crl.example/a.crl", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<RevocationUrl>().is_ok(), good, "{text}");
        }
        let long = format!("http://{}", "a".repeat(MAX_REVOCATION_URL_LENGTH));
        assert!(matches!(
            long.parse::<RevocationUrl>(),
            Err(ParseRevocationUrlError::TooLong(_))
        ));
    }

    #[test]
    fn a_plugin_s_name_is_one_path_component() {
        for (text, good) in [
            ("com.amazonaws.signer.notation.plugin", true),
            ("e2e-plugin", true),
            ("..", false),
            ("a/b", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(text.parse::<PluginName>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(MAX_PLUGIN_NAME_LENGTH + 1).parse::<PluginName>().is_err());
    }

    #[test]
    fn a_query_about_revocation_reads_back_from_its_text() {
        let url = |text: &str| text.parse::<RevocationUrl>().unwrap();
        let queries = [
            Query::Crl(url("http://crl.example/a.crl")),
            Query::Ocsp {
                responders: vec![url("http://a.example"), url("http://b.example/\"x")],
                request: b"\x30\x00".as_slice().into(),
            },
        ];
        for query in queries {
            let text = query.to_json().unwrap();
            assert_eq!(Query::from_json(&text), Ok(query), "{text}");
        }
        assert_eq!(Query::PluginMetadata("p".parse().unwrap()).to_json(), None);
    }

    #[test]
    fn refuses_what_is_no_query_about_revocation() {
        let many = [r#""http://a""#; MAX_REVOCATION_URLS + 1].join(",");
        for text in [
            "",
            "{}",
            r#"{"kind":"crl","addresses":[]}"#,
            r#"{"kind":"crl","addresses":["http://a","http://b"]}"#,
            r#"{"kind":"crl","addresses":["https://a"]}"#,
            r#"{"kind":"crl","addresses":["http://a"],"request":"MAA="}"#,
            r#"{"kind":"crl","addresses":["http://a"],"x":1}"#,
            r#"{"kind":"crl","kind":"crl","addresses":["http://a"]}"#,
            r#"{"kind":"ocsp","addresses":["http://a"]}"#,
            r#"{"kind":"ocsp","addresses":[],"request":"MAA="}"#,
            r#"{"kind":"ocsp","addresses":["http://a"],"request":""}"#,
            r#"{"kind":"ocsp","addresses":["http://a"],"request":"?"}"#,
            r#"{"kind":"plugin","addresses":["http://a"]}"#,
            &format!(r#"{{"kind":"ocsp","addresses":[{many}],"request":"MAA="}}"#),
        ] {
            assert!(Query::from_json(text).is_err(), "{text}");
        }
        let long = " ".repeat(MAX_QUERY_TEXT_LENGTH + 1);
        assert_eq!(Query::from_json(&long), Err(ParseQueryError::TooLong(long.len())));
    }

    #[test]
    fn different_queries_have_different_ids() {
        let url = |text: &str| text.parse::<RevocationUrl>().unwrap();
        let ocsp = |urls: &[&str], request: &[u8]| Query::Ocsp {
            responders: urls.iter().map(|text| url(text)).collect(),
            request: request.into(),
        };
        let plugin: PluginName = "p".parse().unwrap();
        let queries = [
            Query::Crl(url("http://a")),
            Query::Crl(url("http://b")),
            ocsp(&["http://a"], b"x"),
            ocsp(&["http://a", "http://b"], b"x"),
            ocsp(&["http://a"], b"y"),
            Query::PluginMetadata(plugin.clone()),
            Query::PluginVerdict {
                plugin: plugin.clone(),
                request: "{}".into(),
            },
            Query::PluginVerdict {
                plugin,
                request: "".into(),
            },
        ];
        let ids: std::collections::BTreeSet<_> = queries.iter().map(Query::id).collect();
        assert_eq!(ids.len(), queries.len());
    }
}

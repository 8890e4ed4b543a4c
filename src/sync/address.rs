//! Where a policy repository is, parsed once from the configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use url::Url;

use assay_verify::reference::{ParseReferenceError, Reference};
use assay_verify::untrusted::Untrusted;

/// The address of a policy repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryAddress {
    /// A folder: `file:///media/usb/policy`.
    Folder(Box<Path>),
    /// An artifact in a registry: `oci://registry.corp.example/policy:stable`.
    Registry(Reference),
    /// A folder that a web server or a store serves: `https://policy.corp.example/assayd`. It ends with a slash.
    Web(Url),
}

/// Why text is not such an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseAddressError {
    /// No scheme that is known.
    #[error("{0} is not the address of a policy repository: expected https://, file:/// or oci://")]
    Scheme(Untrusted),
    /// HTTP without leave.
    #[error("{0} is not HTTPS: set plain_http = true to allow it")]
    PlainHttp(Untrusted),
    /// Not a URL, or one with parts that have no meaning here.
    #[error("{text} is not the address of a policy repository: {cause}")]
    Malformed {
        /// What was given.
        text: Untrusted,
        /// What is wrong with it.
        cause: Box<str>,
    },
    /// Not a reference to an artifact.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
}

impl RepositoryAddress {
    /// Parses an address. `plain_http` allows `http://`.
    ///
    /// # Errors
    ///
    /// When the text is no such address.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, ParseAddressError> {
        let malformed = |cause: &str| ParseAddressError::Malformed {
            text: text.into(),
            cause: cause.into(),
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ParseAddressError::Scheme(text.into()));
        };
        match scheme {
            // Taken as it stands: a path has no escapes and no host.
            "file" if rest.starts_with('/') => Ok(Self::Folder(PathBuf::from(rest).into())),
            "file" => Err(malformed(
                "a folder has three slashes and an absolute path: file:///path",
            )),
            "oci" => {
                let reference: Reference = rest.parse()?;
                if reference.tag.is_none() && reference.digest.is_none() {
                    return Err(malformed("it names no tag"));
                }
                Ok(Self::Registry(reference))
            }
            "http" if !plain_http => Err(ParseAddressError::PlainHttp(text.into())),
            "http" | "https" => {
                let mut url = Url::parse(text).map_err(|error| malformed(&error.to_string()))?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(malformed(
                        "it carries a user name; the repository needs none, it proves itself",
                    ));
                }
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(malformed("a query or fragment would be lost"));
                }
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Ok(Self::Web(url))
            }
            _ => Err(ParseAddressError::Scheme(text.into())),
        }
    }
}

impl fmt::Display for RepositoryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Registry(reference) => {
                let Reference {
                    repository,
                    tag,
                    digest,
                } = reference;
                write!(f, "oci://{repository}")?;
                if let Some(tag) = tag {
                    write!(f, ":{tag}")?;
                }
                if let Some(digest) = digest {
                    write!(f, "@{digest}")?;
                }
                Ok(())
            }
            Self::Web(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_repository_has_its_scheme() {
        for (text, shown) in [
            (
                "https://policy.corp.example/assayd",
                "https://policy.corp.example/assayd/",
            ),
            ("https://policy.corp.example", "https://policy.corp.example/"),
            (
                "https://policy.corp.example:8443/a/",
                "https://policy.corp.example:8443/a/",
            ),
            ("file:///media/usb stick/100%", "file:///media/usb stick/100%"),
            (
                "oci://registry.corp.example/policy:stable",
                "oci://registry.corp.example/policy:stable",
            ),
        ] {
            assert_eq!(RepositoryAddress::parse(text, false).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn plain_http_has_to_be_allowed() {
        assert!(matches!(
            RepositoryAddress::parse("http://policy.corp.example/", false),
            Err(ParseAddressError::PlainHttp(_))
        ));
        assert!(RepositoryAddress::parse("http://policy.corp.example/", true).is_ok());
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        for text in [
            "",
            "policy.corp.example",
            "ftp://policy.corp.example/",
            "file://host/path",
            "file://relative",
            "https://",
            "https://user:secret@policy.corp.example/",
            "https://policy.corp.example/?version=1",
            "https://policy.corp.example/#x",
            "oci://registry.corp.example/policy",
            "oci://registry.corp.example/Policy:stable",
        ] {
            assert!(RepositoryAddress::parse(text, true).is_err(), "{text}");
        }
    }
}

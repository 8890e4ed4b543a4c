//! CRLs and OCSP responses from files: what a disconnected node knows about revocation.

use std::sync::Arc;

use der::Tag;
use thiserror::Error;
use x509_cert::der::pem;

use super::{crl, ocsp};
use crate::limits::{MAX_CRL_SIZE, MAX_LOCAL_REVOCATION_FILE_SIZE, MAX_LOCAL_REVOCATION_FILES, MAX_REVOCATION_MEMORY};
use crate::untrusted::Untrusted;
use crate::x509::walk::Walk;

/// CRLs and OCSP responses from files. A file is nobody's word: signature, scope and times are judged whenever it is used,
/// like those of what is fetched. Cloning shares the bytes.
#[derive(Clone, Debug, Default)]
pub struct LocalRevocation(Arc<Files>);

#[derive(Debug, Default)]
struct Files {
    crls: Vec<File>,
    ocsp: Vec<File>,
}

/// A file's name and what it has in DER.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: Untrusted,
    pub(super) der: Box<[u8]>,
}

/// Why files are not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LocalRevocationError {
    /// More than [`MAX_LOCAL_REVOCATION_FILES`].
    #[error("there are more than {MAX_LOCAL_REVOCATION_FILES} files with revocation data")]
    TooManyFiles,
    /// All together more than [`MAX_REVOCATION_MEMORY`].
    #[error("{file}: with it the files have more than {MAX_REVOCATION_MEMORY} bytes")]
    TooLarge {
        /// The file that is too much.
        file: Untrusted,
    },
    /// PEM of something else, or malformed.
    #[error("{file} is PEM, but not of an X509 CRL: {cause}")]
    Pem {
        /// The file.
        file: Untrusted,
        /// What is wrong.
        cause: Untrusted,
    },
    /// It is not a CRL.
    #[error("{file} is not a CRL: {cause}")]
    Crl {
        /// The file.
        file: Untrusted,
        /// Why not.
        cause: super::CrlError,
    },
    /// It is not an OCSP response.
    #[error("{file} is not an OCSP response: {cause}")]
    Ocsp {
        /// The file.
        file: Untrusted,
        /// Why not.
        cause: super::OcspError,
    },
}

impl LocalRevocation {
    /// Takes the contents of files, each with its name: a CRL in DER or PEM, or an OCSP response in DER. The next one is
    /// asked for when this one is taken in, so who reads them on the way holds one at a time; beyond a bound none is.
    ///
    /// # Errors
    ///
    /// The first file that is neither: an operator who put it there relies on it.
    pub fn from_files<Name, Content>(
        files: impl IntoIterator<Item = (Name, Content)>,
    ) -> Result<Self, LocalRevocationError>
    where
        Name: AsRef<str>,
        Content: AsRef<[u8]>,
    {
        let mut read = Files::default();
        let mut size = 0;
        for (index, (name, content)) in files.into_iter().enumerate() {
            if index >= MAX_LOCAL_REVOCATION_FILES {
                return Err(LocalRevocationError::TooManyFiles);
            }
            let file = File::read(name.as_ref(), content.as_ref())?;
            drop(content);
            size += file.der.len();
            if size > MAX_REVOCATION_MEMORY {
                return Err(LocalRevocationError::TooLarge { file: file.name });
            }
            match file.is_ocsp() {
                true => read.ocsp.push(file),
                false => read.crls.push(file),
            }
        }
        Ok(Self(Arc::new(read)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.crls.is_empty() && self.0.ocsp.is_empty()
    }

    /// The CRLs, complete and delta, that name this issuer.
    pub(super) fn crls_by<'a, 'b>(&'a self, issuer: &'b [u8]) -> impl Iterator<Item = &'a File> + use<'a, 'b> {
        self.0
            .crls
            .iter()
            .filter(move |file| crl::Unproven::read(&file.der).is_ok_and(|crl| crl.issuer() == issuer))
    }

    pub(super) fn ocsp(&self) -> impl Iterator<Item = &File> {
        self.0.ocsp.iter()
    }
}

impl File {
    fn read(name: &str, content: &[u8]) -> Result<Self, LocalRevocationError> {
        let mut file = Self {
            name: name.into(),
            der: Box::default(),
        };
        file.der = match content.starts_with(b"-----BEGIN ") {
            true if content.len() <= MAX_LOCAL_REVOCATION_FILE_SIZE => file.decode_pem(content)?,
            _ if content.len() > MAX_CRL_SIZE => return Err(LocalRevocationError::TooLarge { file: file.name }),
            _ => content.into(),
        };
        let file_name = file.name.clone();
        match file.is_ocsp() {
            true => {
                let read = ocsp::Unproven::read(&file.der).map(drop);
                read.map_err(|cause| LocalRevocationError::Ocsp { file: file_name, cause })?;
            }
            false => {
                let read = crl::Unproven::read(&file.der).map(drop);
                read.map_err(|cause| LocalRevocationError::Crl { file: file_name, cause })?;
            }
        }
        Ok(file)
    }

    fn decode_pem(&self, content: &[u8]) -> Result<Box<[u8]>, LocalRevocationError> {
        let refuse = |cause: Untrusted| LocalRevocationError::Pem {
            file: self.name.clone(),
            cause,
        };
        let malformed = |error: pem::Error| refuse(error.to_string().into());
        let mut decoder = pem::Decoder::new_detect_wrap(content).map_err(malformed)?;
        if decoder.type_label() != "X509 CRL" {
            return Err(refuse(decoder.type_label().into()));
        }
        let mut der = Vec::new();
        decoder.decode_to_end(&mut der).map_err(malformed)?;
        Ok(der.into())
    }

    /// A response begins with a number, a list with what is signed.
    fn is_ocsp(&self) -> bool {
        Walk::sequence(&self.der)
            .and_then(|mut walk| walk.required())
            .is_ok_and(|first| first.tag() == Tag::Enumerated)
    }
}

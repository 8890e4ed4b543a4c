//! A repository that is kept as one artifact in a registry.
//!
//! Each layer of the artifact is a file, named by an annotation. The tag is resolved once per refresh, so that all files are
//! those of one artifact; what the digests prove is only that. The files prove themselves.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::reference::Reference;

use super::{Counters, TransportError};
use crate::fetch::{Client, FetchError};
use crate::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT};
use crate::sync::role::Role;

/// The artifact.
pub(super) struct RegistryRepository {
    reference: Reference,
    client: Client,
    /// The timestamp metadata as it was last read: between two artifacts it mostly is the same.
    timestamp: Mutex<Option<(Digest, Vec<u8>)>>,
}

/// The files of the artifact that the tag names now.
pub(super) struct Listed(BTreeMap<Box<str>, Descriptor>);

impl RegistryRepository {
    pub(super) fn new(reference: &Reference, client: Client) -> Self {
        Self {
            reference: reference.clone(),
            client,
            timestamp: Mutex::default(),
        }
    }

    /// Looks up which files there are.
    pub(super) async fn list(&self, deadline: Instant, counters: &Counters) -> Result<Listed, TransportError> {
        const FILE: &str = "artifact";
        counters.request();
        let budget = self.client.budget(deadline);
        let unreadable = |cause: String| TransportError::Unreadable {
            file: FILE.into(),
            cause: cause.into(),
        };
        let (_, manifest) = match self.client.artifact(&self.reference, &budget).await {
            Ok(found) => found,
            Err(error) => {
                return Err(TransportError::Registry {
                    file: FILE.into(),
                    error,
                });
            }
        };
        match &manifest.artifact_type {
            Some(kind) if *kind == REPOSITORY_ARTIFACT => {}
            other => {
                let found = other.as_ref().map_or("none", |kind| kind.as_str());
                return Err(unreadable(format!(
                    "its artifact type is {found} and not {REPOSITORY_ARTIFACT}"
                )));
            }
        }
        let mut files = BTreeMap::new();
        for layer in manifest.layers {
            let Some(path) = layer.annotations.get(FILE_ANNOTATION) else {
                continue;
            };
            if files.insert(path.as_str().into(), layer.descriptor).is_some() {
                return Err(unreadable(format!("two layers are the file {path}")));
            }
        }
        Ok(Listed(files))
    }

    pub(super) async fn read(
        &self,
        listed: &Listed,
        path: &str,
        limit: usize,
        deadline: Instant,
        counters: &Counters,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        let Some(descriptor) = listed.0.get(path) else {
            return Ok(None);
        };
        let is_timestamp = path == Role::Timestamp.document();
        if is_timestamp
            && let Some((digest, bytes)) = &*self.timestamp()
            && *digest == descriptor.digest
        {
            counters.not_modified();
            return Ok(Some(bytes.clone()));
        }
        counters.request();
        let budget = self.client.budget(deadline);
        let fetched = self
            .client
            .blob(&self.reference.repository, &descriptor.digest, limit, &budget)
            .await;
        let bytes = match fetched {
            Ok(bytes) => bytes,
            Err(FetchError::TooLarge { .. }) => {
                return Err(TransportError::TooLarge {
                    file: path.into(),
                    limit,
                });
            }
            Err(error) => {
                return Err(TransportError::Registry {
                    file: path.into(),
                    error,
                });
            }
        };
        counters.came(bytes.len());
        if is_timestamp {
            *self.timestamp() = Some((descriptor.digest.clone(), bytes.clone()));
        }
        Ok(Some(bytes))
    }

    fn timestamp(&self) -> std::sync::MutexGuard<'_, Option<(Digest, Vec<u8>)>> {
        self.timestamp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

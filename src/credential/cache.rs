//! What programs said, for as long as it counts. Whoever asks for the same meanwhile waits for the one who asked first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use assay_verify::limits::{CREDENTIAL_FAILURE_LIFETIME, MAX_CACHED_CREDENTIALS, MAX_CREDENTIAL_LIFETIME};
use tokio::time::Instant;

use super::{CredentialError, Identity};

type Said = Result<Option<Identity>, CredentialError>;
type Slot = Arc<tokio::sync::Mutex<Option<(Instant, Said)>>>;

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<String, Slot>>);

impl Cache {
    /// What was said under this key, or what `ask` brings now, with how long that counts.
    pub(super) async fn get(
        &self,
        key: String,
        ask: impl Future<Output = Result<(Option<Identity>, Duration), CredentialError>>,
    ) -> Said {
        let slot = self.slot(key);
        let mut said = slot.lock().await;
        if let Some((until, said)) = &*said
            && *until > Instant::now()
        {
            return said.clone();
        }
        let (new, lifetime) = match ask.await {
            Ok((identity, lifetime)) => (Ok(identity), lifetime.min(MAX_CREDENTIAL_LIFETIME)),
            Err(error) => (Err(error), CREDENTIAL_FAILURE_LIFETIME),
        };
        *said = Some((Instant::now() + lifetime, new.clone()));
        new
    }

    pub(super) fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn slot(&self, key: String) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_CACHED_CREDENTIALS {
            // Those in use stay; the others cost one question each when they are needed again.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

//! What the evidence store holds and how large it is, by its own account.

use std::collections::HashMap;

use super::record::{BlobKey, ImageKey, ImageRecord};

/// What a key, sled's own framing and the accounting cost for each record, roughly.
const RECORD_OVERHEAD: u64 = 128;

/// What the store holds, counted in memory. It is read from the image records when the store is opened.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) images: HashMap<ImageKey, Account>,
    pub(super) blobs: HashMap<BlobKey, BlobAccount>,
    pub(super) bytes: u64,
    /// What the imported ones take; a blob that two of them share is counted twice.
    imported_bytes: u64,
    imported_images: u64,
    /// How often anything was used: the store's own clock, which nobody can set.
    uses: u64,
}

#[derive(Debug)]
pub(super) struct Account {
    record_size: u64,
    pub(super) used: u64,
    pub(super) used_on_disk: u64,
    pub(super) imported: bool,
    pub(super) blobs: Box<[BlobKey]>,
    /// What it takes with all its blobs.
    cost: u64,
}

#[derive(Debug)]
pub(super) struct BlobAccount {
    references: u32,
    size: u64,
}

impl Accounts {
    /// What an image takes with all its blobs.
    pub(super) fn cost(record: &ImageRecord, record_size: usize) -> u64 {
        let blobs: HashMap<_, _> = record.content().collect();
        let blobs = blobs.into_values().map(|size| size + RECORD_OVERHEAD).sum::<u64>();
        record_size as u64 + RECORD_OVERHEAD + blobs
    }

    /// How many images are imported.
    pub(super) fn imported_images(&self) -> u64 {
        self.imported_images
    }

    /// What the imported images but one take.
    pub(super) fn imported_beside(&self, key: &ImageKey) -> u64 {
        let own = self.images.get(key).filter(|account| account.imported);
        self.imported_bytes - own.map_or(0, |account| account.cost)
    }

    /// Adds an image, in place of its older record. Returns the blobs that nothing refers to any more. `key` is the record's: whoever
    /// reads or writes one has it, and hashing it again for every image would be felt at opening.
    pub(super) fn add(&mut self, key: ImageKey, record: &ImageRecord, record_size: usize) -> Vec<BlobKey> {
        let mut cost = record_size as u64 + RECORD_OVERHEAD;
        let mut blobs = Vec::new();
        for (blob, size) in record.blobs() {
            if blobs.contains(&blob) {
                continue;
            }
            blobs.push(blob);
            cost += size + RECORD_OVERHEAD;
            let account = self.blobs.entry(blob).or_insert(BlobAccount { references: 0, size });
            if account.references == 0 {
                self.bytes += account.size + RECORD_OVERHEAD;
            }
            account.references += 1;
        }
        // Added before the old one is removed, so that what both refer to stays.
        let released = self.remove(&key);
        self.bytes += record_size as u64 + RECORD_OVERHEAD;
        if record.imported {
            self.imported_bytes += cost;
            self.imported_images += 1;
        }
        self.uses = self.uses.max(record.used);
        self.images.insert(
            key,
            Account {
                record_size: record_size as u64,
                used: record.used,
                used_on_disk: record.used,
                imported: record.imported,
                blobs: blobs.into(),
                cost,
            },
        );
        released
    }

    pub(super) fn remove(&mut self, key: &ImageKey) -> Vec<BlobKey> {
        let Some(account) = self.images.remove(key) else {
            return Vec::new();
        };
        self.bytes -= account.record_size + RECORD_OVERHEAD;
        if account.imported {
            self.imported_bytes -= account.cost;
            self.imported_images -= 1;
        }
        let mut released = Vec::new();
        for key in account.blobs {
            if let Some(blob) = self.blobs.get_mut(&key) {
                blob.references -= 1;
                if blob.references == 0 {
                    self.bytes -= blob.size + RECORD_OVERHEAD;
                    self.blobs.remove(&key);
                    released.push(key);
                }
            }
        }
        released
    }

    pub(super) fn next_use(&mut self) -> u64 {
        // A record that claims the last number costs the order of uses, and nothing else.
        self.uses = self.uses.saturating_add(1);
        self.uses
    }
}

#[cfg(test)]
mod tests {
    use assay_verify::Timestamp;
    use assay_verify::descriptor::{Descriptor, MediaType};
    use assay_verify::digest::Digest;

    use super::*;
    use crate::cache::record::{Extent, SignatureEntry};

    fn record(repository: &str, envelopes: &[&str]) -> ImageRecord {
        let descriptor = |content: &str| Descriptor {
            media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
            digest: Digest::sha256(content.as_bytes()),
            size: 10,
        };
        let entry = |envelope: &&str| SignatureEntry {
            manifest: descriptor(&format!("manifest of {envelope}")),
            position: 0,
            envelope: Digest::sha256(envelope.as_bytes()),
            envelope_size: 100,
        };
        ImageRecord {
            repository: repository.parse().unwrap(),
            descriptor: descriptor("image"),
            recorded: Timestamp::UNIX_EPOCH,
            used: 1,
            extent: Extent::Enough,
            index: false,
            imported: false,
            signatures: envelopes.iter().map(entry).collect(),
        }
    }

    fn add(accounts: &mut Accounts, record: &ImageRecord, record_size: usize) -> Vec<BlobKey> {
        accounts.add(record.key(), record, record_size)
    }

    #[test]
    fn counts_a_shared_blob_once_and_releases_it_with_its_last_image() {
        let mut accounts = Accounts::default();
        let (first, second) = (record("a.example/b", &["x"]), record("a.example/c", &["x", "y"]));
        assert!(add(&mut accounts, &first, 50).is_empty());
        assert_eq!(accounts.bytes, 50 + 110 + 3 * RECORD_OVERHEAD);
        assert!(add(&mut accounts, &second, 60).is_empty());
        assert_eq!(accounts.bytes, 50 + 60 + 2 * 110 + 6 * RECORD_OVERHEAD);
        assert!(accounts.remove(&first.key()).is_empty(), "the other image needs it");
        assert_eq!(accounts.remove(&second.key()).len(), 4);
        assert_eq!((accounts.bytes, accounts.blobs.len()), (0, 0));
    }

    #[test]
    fn a_new_list_in_place_of_an_old_one_releases_what_only_the_old_one_named() {
        let mut accounts = Accounts::default();
        add(&mut accounts, &record("a.example/b", &["x", "y"]), 50);
        let released = add(&mut accounts, &record("a.example/b", &["y", "z"]), 50);
        let old: Vec<_> = record("a.example/b", &["x"]).signatures[0]
            .blobs()
            .map(|(key, _)| key)
            .into();
        assert_eq!(released, old);
        assert_eq!(add(&mut accounts, &record("a.example/b", &["y", "z"]), 50), []);
    }

    #[test]
    fn counts_what_imported_images_take_as_if_they_shared_nothing() {
        let mut accounts = Accounts::default();
        let imported = |repository: &str, envelopes: &[&str]| ImageRecord {
            imported: true,
            ..record(repository, envelopes)
        };
        let (first, second) = (
            imported("a.example/b", &["x", "x"]),
            imported("a.example/c", &["x", "y"]),
        );
        add(&mut accounts, &first, 50);
        add(&mut accounts, &second, 60);
        add(&mut accounts, &record("a.example/d", &["z"]), 70);
        let (one, other) = (50 + 110 + 3 * RECORD_OVERHEAD, 60 + 220 + 5 * RECORD_OVERHEAD);
        let none = record("a.example/none", &[]);
        assert_eq!(accounts.imported_beside(&none.key()), one + other);
        assert_eq!(accounts.imported_beside(&first.key()), other);
        add(&mut accounts, &record("a.example/b", &["x"]), 50);
        assert_eq!(accounts.imported_beside(&none.key()), other);
        accounts.remove(&second.key());
        assert_eq!(accounts.imported_beside(&none.key()), 0);
    }

    #[test]
    fn an_envelope_listed_twice_is_one() {
        let mut accounts = Accounts::default();
        let twice = record("a.example/b", &["x", "x"]);
        add(&mut accounts, &twice, 50);
        assert_eq!(accounts.remove(&twice.key()).len(), 2);
        assert_eq!(accounts.bytes, 0);
    }
}

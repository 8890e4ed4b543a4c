//! The evidence store on disks that are full, read-only, damaged, put back or in use, under processes that die.
//!
//! The full and the read-only disk are tmpfs mounts, so their tests run as root.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{DSSE_ENVELOPE, NOTATION_SIGNATURE, SIMPLE_SIGNING, Signature, SignatureManifest};
use assay_verify::index::ImageIndex;
use assay_verify::limits::{MAX_ATTESTATION_SIZE, MAX_SIGNATURES_MANIFEST_SIZE};
use assay_verify::reference::Repository;
use assayd::cache::evidence::{EvidenceOptions, EvidenceState, EvidenceStore, Extent, ImageKey, Page, Stored};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

/// The size of an envelope in these tests: that of a real one.
const ENVELOPE_SIZE: usize = 4096;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn repository() -> Repository {
    "registry.example/app".parse().unwrap()
}

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: MediaType::parse(media_type).unwrap(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
    }
}

fn image(number: usize) -> Descriptor {
    descriptor(MediaType::OCI_MANIFEST, format!("image {number}").as_bytes())
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn signature(subject: &Descriptor, seed: u64, size: usize) -> Signature {
    let mut random = Random::seeded(seed);
    let envelope: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
    let json = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": NOTATION_SIGNATURE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": Digest::sha256(b"{}").to_string(),
            "size": 2,
        },
        "layers": [{
            "mediaType": "application/jose+json",
            "digest": Digest::sha256(&envelope).to_string(),
            "size": size,
        }],
        "subject": {
            "mediaType": subject.media_type.as_str(),
            "digest": subject.digest.to_string(),
            "size": subject.size,
        },
    });
    let json: Arc<[u8]> = serde_json::to_vec(&json).unwrap().into();
    let manifest = SignatureManifest::open(&descriptor(MediaType::OCI_MANIFEST, &json), json).unwrap();
    Signature::new(manifest.into(), 0, envelope.into()).unwrap()
}

/// Signatures of one manifest, as they hang on one of cosign's tags, each with a blob of this size; the annotations make
/// the manifest this much larger.
fn signatures_of_one_manifest(sizes: &[usize], media_type: &str, padding: usize) -> Vec<Signature> {
    let mut random = Random::seeded(sizes.len() as u64);
    let blobs: Vec<Vec<u8>> = sizes
        .iter()
        .map(|size| (0..*size).map(|_| random.next() as u8).collect())
        .collect();
    let layers: Vec<_> = blobs
        .iter()
        .map(|blob| json!({ "mediaType": media_type, "digest": Digest::sha256(blob).to_string(), "size": blob.len() }))
        .collect();
    let json = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
        "layers": layers,
        "annotations": { "padding": "x".repeat(padding) },
    });
    let json: Arc<[u8]> = serde_json::to_vec(&json).unwrap().into();
    let manifest = SignatureManifest::open(&descriptor(MediaType::OCI_MANIFEST, &json), json).unwrap();
    let manifest = Arc::new(manifest);
    let signature = |(position, blob): (usize, Vec<u8>)| Signature::new(Arc::clone(&manifest), position, blob.into());
    blobs
        .into_iter()
        .enumerate()
        .map(|blob| signature(blob).unwrap())
        .collect()
}

/// What these tests store for an image.
fn evidence(number: usize) -> Vec<Signature> {
    vec![signature(&image(number), number as u64, ENVELOPE_SIZE)]
}

/// Signatures as they are stored under a rule that any good evidence satisfies.
fn of(signatures: &[Signature]) -> Stored {
    Stored {
        signatures: signatures.to_vec(),
        ..Stored::default()
    }
}

/// What they store for it later.
fn later_evidence(number: usize) -> Vec<Signature> {
    vec![signature(&image(number), 1_000_000 + number as u64, ENVELOPE_SIZE)]
}

fn options(directory: &Path) -> EvidenceOptions {
    EvidenceOptions {
        retry_after: Duration::from_millis(50),
        ..EvidenceOptions::new(directory)
    }
}

fn open(directory: &Path) -> EvidenceStore {
    open_with(options(directory))
}

fn open_with(options: EvidenceOptions) -> EvidenceStore {
    quiet_panics();
    let store = EvidenceStore::open(options).unwrap();
    // A reader waits for 2 s, and sled for the disk when it opens: that a busy machine takes longer is no finding of these tests.
    let until = Instant::now() + Duration::from_secs(30);
    let is_opening = |state| match state {
        EvidenceState::Opening => true,
        EvidenceState::Unavailable(why) => why.starts_with("busy"),
        EvidenceState::Ready | EvidenceState::ReadOnly(_) => false,
    };
    while is_opening(store.stats().state) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    store
}

/// Damaged files make sled panic, hundreds of times here: printing that would hide a test's own panic.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            let of_the_store = |name: &str| name.starts_with("evidence") || name.starts_with("sled");
            if !thread.name().is_some_and(of_the_store) {
                default(info);
            }
        }));
    });
}

async fn fill(store: &EvidenceStore, images: std::ops::Range<usize>) {
    for number in images {
        store
            .store(&repository(), &image(number), of(&evidence(number)), now())
            .await
            .unwrap();
    }
}

/// Reads every image: its evidence is there whole or not at all. Returns how many have it.
async fn check(store: &EvidenceStore, images: std::ops::Range<usize>) -> usize {
    let mut found = 0;
    for number in images {
        let signatures = store.load(&repository(), &image(number)).await.signatures;
        if !signatures.is_empty() {
            assert_eq!(signatures, evidence(number), "image {number}");
            found += 1;
        }
    }
    found
}

/// Whatever happened to it, the store takes new evidence and gives it back.
async fn check_works(store: &EvidenceStore, number: usize) {
    store
        .store(&repository(), &image(number), of(&evidence(number)), now())
        .await
        .unwrap();
    assert_eq!(check(store, number..number + 1).await, 1, "{:?}", store.stats());
    assert_eq!(store.stats().state, EvidenceState::Ready);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

fn damaged_copies(directory: &Path) -> usize {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("evidence.damaged-"))
        .count()
}

/// A store with evidence of `images`, closed.
async fn stored(images: std::ops::Range<usize>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, images).await;
    store.shut_down().await;
    directory
}

/// A disk of its own, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("mounting a tmpfs: this test needs to run as root");
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, flags: MsFlags) {
        mount(
            None::<&str>,
            self.path(),
            None::<&str>,
            MsFlags::MS_REMOUNT | flags,
            None::<&str>,
        )
        .expect("remounting the tmpfs");
    }

    /// Writes until nothing more fits; removing the file makes room again.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn returns_what_was_stored_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(store.load(&repository(), &image(0)).await.signatures.is_empty());
    fill(&store, 0..20).await;
    assert_eq!(check(&store, 0..20).await, 20);
    assert_eq!(store.stats().images, 20);
    store.shut_down().await;

    let store = open(directory.path());
    assert_eq!(check(&store, 0..20).await, 20);
    let stats = store.stats();
    assert_eq!((stats.images, stats.damaged_records, stats.damaged_stores), (20, 0, 0));
    assert_eq!(stats.state, EvidenceState::Ready);
}

#[tokio::test]
async fn keeps_one_digest_apart_under_another_repository_and_media_type() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, 0..1).await;
    let other: Repository = "registry.example/other".parse().unwrap();
    let mut index = image(0);
    index.media_type = MediaType::parse(MediaType::OCI_INDEX).unwrap();
    assert!(store.load(&other, &image(0)).await.signatures.is_empty());
    assert!(store.load(&repository(), &index).await.signatures.is_empty());
    assert_eq!(check(&store, 0..1).await, 1);
}

#[tokio::test]
async fn removes_an_image_and_keeps_the_blobs_that_another_shares() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let other: Repository = "mirror.example/app".parse().unwrap();
    fill(&store, 0..1).await;
    let bytes = store.stats().bytes;
    store.store(&other, &image(0), of(&evidence(0)), now()).await.unwrap();
    assert!(
        store.stats().bytes < bytes + ENVELOPE_SIZE as u64,
        "the blobs are shared"
    );

    store.remove(&repository(), &image(0)).await.unwrap();
    assert!(store.load(&repository(), &image(0)).await.signatures.is_empty());
    assert_eq!(store.load(&other, &image(0)).await.signatures, evidence(0));
    store.remove(&other, &image(0)).await.unwrap();
    assert_eq!((store.stats().images, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn replaces_the_list_of_an_image_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, 0..1).await;
    let bytes = store.stats().bytes;
    store
        .store(&repository(), &image(0), of(&later_evidence(0)), now())
        .await
        .unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, later_evidence(0));
    assert!(
        store.stats().bytes < bytes + ENVELOPE_SIZE as u64,
        "what was replaced is gone"
    );
    store.store(&repository(), &image(0), of(&[]), now()).await.unwrap();
    assert_eq!((store.stats().images, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn keeps_the_first_signatures_within_the_limits_of_one_verification() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let many: Vec<_> = (0..150).map(|seed| signature(&image(0), seed, 16)).collect();
    store.store(&repository(), &image(0), of(&many), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, many[..100]);

    let large: Vec<_> = (0..10).map(|seed| signature(&image(1), seed, 1024 * 1024)).collect();
    store.store(&repository(), &image(1), of(&large), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(1)).await.signatures, large[..7]);
}

#[tokio::test]
async fn remembers_whether_everything_was_looked_at_and_forgets_it_when_something_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let extent = async |store: &EvidenceStore| store.load(&repository(), &image(0)).await.extent;
    assert_eq!(extent(&store).await, Extent::Enough);
    let many: Vec<_> = (0..150).map(|seed| signature(&image(0), seed, 16)).collect();
    let large: Vec<_> = (0..10).map(|seed| signature(&image(0), seed, 1024 * 1024)).collect();
    for (signatures, stored, expected) in [
        (&many[..1], Extent::Everything, Extent::Everything),
        (&many[..100], Extent::Everything, Extent::Everything),
        (&many[..1], Extent::Enough, Extent::Enough),
        (&many[..], Extent::Everything, Extent::Enough),
        (&large[..], Extent::Everything, Extent::Enough),
        (&large[..2], Extent::Everything, Extent::Everything),
    ] {
        let (repository, image) = (repository(), image(0));
        let evidence = Stored {
            extent: stored,
            ..of(signatures)
        };
        let storing = store.store(&repository, &image, evidence, now());
        storing.await.unwrap();
        assert_eq!(extent(&store).await, expected, "{} {stored:?}", signatures.len());
    }
    store.shut_down().await;
    assert_eq!(extent(&open(directory.path())).await, Extent::Everything);
}

#[tokio::test]
async fn keeps_each_signature_of_a_manifest_under_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let all = signatures_of_one_manifest(&[100, 200, 300], SIMPLE_SIGNING, 0);
    let kept = [all[2].clone(), all[0].clone()];
    store.store(&repository(), &image(0), of(&kept), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, kept);
    store.shut_down().await;
    let store = open(directory.path());
    let loaded = store.load(&repository(), &image(0)).await.signatures;
    assert_eq!(loaded, kept);
    assert_eq!(loaded.iter().map(Signature::position).collect::<Vec<_>>(), [2, 0]);
    // Read once, and held once.
    assert!(Arc::ptr_eq(loaded[0].manifest().json(), loaded[1].manifest().json()));
    // The same signature twice is one.
    let twice = [all[1].clone(), all[1].clone()];
    store.store(&repository(), &image(0), of(&twice), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, twice[..1]);
}

#[tokio::test]
async fn equal_blobs_at_two_positions_are_two_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let blob = b"payload".as_slice();
    let layer = json!({ "mediaType": SIMPLE_SIGNING, "digest": Digest::sha256(blob).to_string(), "size": blob.len() });
    let json = json!({
        "schemaVersion": 2,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
        "layers": [layer, layer],
    });
    let json: Arc<[u8]> = serde_json::to_vec(&json).unwrap().into();
    let manifest = Arc::new(SignatureManifest::open(&descriptor(MediaType::OCI_MANIFEST, &json), json).unwrap());
    let both = [0, 1].map(|position| Signature::new(Arc::clone(&manifest), position, blob.into()).unwrap());
    store.store(&repository(), &image(0), of(&both), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, both);
}

#[tokio::test]
async fn counts_a_manifest_once_whatever_number_of_its_signatures_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let manifest_size = MAX_SIGNATURES_MANIFEST_SIZE - 16 * 1024;
    let all = signatures_of_one_manifest(&[10; 20], SIMPLE_SIGNING, manifest_size);
    store
        .store(&repository(), &image(0), of(&all[..1]), now())
        .await
        .unwrap();
    let one = store.stats().bytes;
    store.store(&repository(), &image(0), of(&all), now()).await.unwrap();
    let many = store.stats().bytes;
    assert!(one > manifest_size as u64);
    assert!(many < one + 16 * 1024, "{one} {many}");
    // Twenty times the manifest would be more than one verification may hold.
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, all);
    store.remove(&repository(), &image(0)).await.unwrap();
    assert_eq!(store.stats().bytes, 0);
}

#[tokio::test]
async fn keeps_attestations_up_to_what_one_verification_may_hold() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let sizes = [MAX_ATTESTATION_SIZE - 4096, MAX_ATTESTATION_SIZE, 1024];
    let all = signatures_of_one_manifest(&sizes, DSSE_ENVELOPE, 0);
    store.store(&repository(), &image(0), of(&all), now()).await.unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, all);
    let sizes = [MAX_ATTESTATION_SIZE, MAX_ATTESTATION_SIZE, 1024];
    let all = signatures_of_one_manifest(&sizes, DSSE_ENVELOPE, 0);
    store.store(&repository(), &image(0), of(&all), now()).await.unwrap();
    // The two large ones and their manifest are too much; the small one fits beside the first.
    let expected = [all[0].clone(), all[2].clone()];
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, expected);
}

fn index(number: usize, padding: usize) -> Arc<ImageIndex> {
    let child = image(number);
    let json = json!({
        "schemaVersion": 2,
        "manifests": [{ "mediaType": child.media_type.as_str(), "digest": child.digest.to_string(), "size": child.size }],
        "annotations": { "padding": "x".repeat(padding) },
    });
    let json: Arc<[u8]> = serde_json::to_vec(&json).unwrap().into();
    Arc::new(ImageIndex::open(&descriptor(MediaType::OCI_INDEX, &json), json).unwrap())
}

#[tokio::test]
async fn keeps_the_bytes_of_an_index_beside_its_signatures_and_without_any() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (signed, bare) = (index(0, 0), index(1, 0));
    for (index, signatures) in [(&signed, evidence(0)), (&bare, vec![])] {
        let stored = Stored {
            index: Some(Arc::clone(index)),
            ..of(&signatures)
        };
        let image = index.descriptor();
        store.store(&repository(), image, stored.clone(), now()).await.unwrap();
        assert_eq!(store.load(&repository(), image).await, stored);
    }
    assert_eq!((store.stats().images, store.stats().hits), (2, 2));
    store.shut_down().await;
    let store = open(directory.path());
    let loaded = store.load(&repository(), signed.descriptor()).await;
    assert_eq!((loaded.index, loaded.signatures), (Some(signed), evidence(0)));
    // Of another index nothing is kept.
    let other = Stored {
        index: Some(index(2, 0)),
        ..of(&evidence(0))
    };
    store
        .store(&repository(), bare.descriptor(), other, now())
        .await
        .unwrap();
    assert_eq!(store.load(&repository(), bare.descriptor()).await, of(&evidence(0)));
    for image in [bare.descriptor(), index(0, 0).descriptor()] {
        store.remove(&repository(), image).await.unwrap();
    }
    assert_eq!((store.stats().images, store.stats().bytes), (0, 0));
}

#[tokio::test]
async fn an_index_takes_its_part_of_what_one_verification_may_hold() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let index = index(0, 2 * 1024 * 1024);
    let large: Vec<_> = (0..10).map(|seed| signature(&image(0), seed, 1024 * 1024)).collect();
    let stored = Stored {
        index: Some(Arc::clone(&index)),
        ..of(&large)
    };
    store
        .store(&repository(), index.descriptor(), stored, now())
        .await
        .unwrap();
    let loaded = store.load(&repository(), index.descriptor()).await;
    assert_eq!((loaded.index, loaded.signatures), (Some(index), large[..5].to_vec()));
}

#[tokio::test]
async fn clear_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, 0..50).await;
    store.clear().await.unwrap();
    assert_eq!(check(&store, 0..50).await, 0);
    assert_eq!((store.stats().images, store.stats().bytes), (0, 0));
    check_works(&store, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_many_readers_and_writers_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let tasks: Vec<_> = (0..500)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                fill(&store, number % 50..number % 50 + 1).await;
                check(&store, 0..50).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() >= 1);
    }
    assert_eq!(store.stats().damaged_records, 0);
}

#[tokio::test]
async fn eviction_keeps_the_bound_and_the_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 512 * 1024;
    let small = EvidenceOptions {
        limit,
        ..options(directory.path())
    };
    let store = open_with(small.clone());
    fill(&store, 0..10).await;
    let pinned = (0..10).map(|number| ImageKey::new(&repository(), &image(number)));
    store.pin(pinned.collect::<HashSet<_>>()).await;
    for number in 10..400 {
        fill(&store, number..number + 1).await;
        assert!(store.stats().bytes <= limit, "{:?}", store.stats());
        assert_eq!(check(&store, number..number + 1).await, 1, "the newest is there");
        assert_eq!(check(&store, 10..11).await, 1, "what is used is there after {number}");
    }
    assert_eq!(check(&store, 0..10).await, 10);
    let stats = store.stats();
    assert!(stats.evicted > 200, "{stats:?}");

    store.shut_down().await;
    let store = open_with(small);
    assert_eq!(check(&store, 0..10).await, 10);
    let again = store.stats();
    assert_eq!((again.images, again.bytes), (stats.images, stats.bytes));
}

#[tokio::test]
async fn what_was_imported_makes_room_for_nothing_that_is_gathered() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 64 * 1024;
    let small = EvidenceOptions {
        limit,
        ..options(directory.path())
    };
    let store = open_with(small.clone());
    let imported = |number: usize| Stored {
        imported: true,
        ..of(&evidence(number))
    };
    fill(&store, 100..103).await;
    for number in 0..3 {
        store
            .store(&repository(), &image(number), imported(number), now())
            .await
            .unwrap();
    }
    // Pinned is only second to it, and newer evidence in its place stays imported.
    store
        .pin(HashSet::from([ImageKey::new(&repository(), &image(100))]))
        .await;
    store
        .store(&repository(), &image(0), of(&later_evidence(0)), now())
        .await
        .unwrap();
    assert!(store.load(&repository(), &image(0)).await.imported);
    fill(&store, 200..300).await;
    assert!(store.stats().bytes <= limit && store.stats().evicted > 0);
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, later_evidence(0));
    assert_eq!(check(&store, 1..3).await, 2);
    assert_eq!((store.stats().imported, check(&store, 100..101).await), (3, 1));

    // Full of it, it takes no more, and says so; evidence that is gathered is not kept then.
    let mut number = 3;
    let refused = loop {
        let (repository, image) = (repository(), image(number));
        match store.store(&repository, &image, imported(number), now()).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.to_string().contains("full of imported evidence"), "{refused}");
    assert_eq!(store.stats().imported, number as u64);
    fill(&store, 400..420).await;
    assert_eq!(store.stats().imported, number as u64);
    assert_eq!(check(&store, 1..number).await, number - 1);
    assert!(store.stats().bytes <= limit);

    store.shut_down().await;
    let store = open_with(small);
    assert_eq!(check(&store, 1..number).await, number - 1);
    assert_eq!(store.stats().imported, number as u64);
}

#[tokio::test]
async fn lists_every_image_once_a_part_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!(store.list(None).await.unwrap(), Page::default());
    fill(&store, 0..250).await;
    let (mut found, mut after, mut parts) = (HashSet::new(), None, 0);
    loop {
        let page = store.list(after).await.unwrap();
        parts += 1;
        for listed in page.images {
            assert_eq!((listed.recorded, listed.imported), (now(), false));
            assert!(found.insert(ImageKey::new(&listed.repository, &listed.descriptor)));
        }
        // What goes meanwhile is missed, and nothing else.
        store.remove(&repository(), &image(parts)).await.unwrap();
        match page.next {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    assert_eq!(parts, 3);
    assert!((247..=250).contains(&found.len()), "{}", found.len());
    store.shut_down().await;
    assert!(store.list(None).await.is_err());
}

#[tokio::test]
async fn a_look_is_no_use_and_keeps_nothing_from_being_evicted() {
    for looks in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let store = open_with(EvidenceOptions {
            limit: 64 * 1024,
            ..options(directory.path())
        });
        fill(&store, 0..5).await;
        let read = match looks {
            true => store.peek(&repository(), &image(0)).await,
            false => store.load(&repository(), &image(0)).await,
        };
        assert_eq!(read.signatures, evidence(0));
        let mut next = 5;
        while store.stats().evicted == 0 {
            fill(&store, next..next + 1).await;
            next += 1;
        }
        assert_eq!(check(&store, 0..1).await, usize::from(!looks));
    }
}

#[tokio::test]
async fn eviction_takes_the_pinned_too_when_there_is_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 256 * 1024;
    let store = open_with(EvidenceOptions {
        limit,
        ..options(directory.path())
    });
    let pinned = (0..100).map(|number| ImageKey::new(&repository(), &image(number)));
    store.pin(pinned.collect::<HashSet<_>>()).await;
    fill(&store, 0..100).await;
    assert!(store.stats().bytes <= limit);
    assert_eq!(check(&store, 99..100).await, 1);
}

#[tokio::test]
async fn the_file_stays_small_while_evidence_comes_and_goes() {
    let directory = tempfile::tempdir().unwrap();
    let limit = 2 * 1024 * 1024;
    let store = open_with(EvidenceOptions {
        limit,
        ..options(directory.path())
    });
    let images = 2500;
    let mut largest = 0;
    for number in 0..images {
        fill(&store, number..number + 1).await;
        largest = largest.max(store.stats().bytes_on_disk);
    }
    let stats = store.stats();
    println!("at most {} KiB on disk; {stats:?}", largest >> 10);
    // Twice the limit and 16 MiB, and what sled writes between two looks at the file.
    assert!(largest < 2 * limit + 32 * 1024 * 1024, "{largest}");
    assert_eq!((stats.damaged_records, stats.damaged_stores), (0, 0));
    let live = stats.images as usize;
    assert_eq!(check(&store, images - live..images).await, live);
}

/// Set for the process that is to be killed: the directory, and the first image it stores.
const VICTIM: &str = "ASSAY_CACHE_VICTIM";

#[tokio::test]
async fn loses_nothing_acknowledged_when_its_process_is_killed() {
    if let Ok(victim) = std::env::var(VICTIM) {
        let (first, directory) = victim.split_once(':').unwrap();
        return store_until_killed(Path::new(directory), first.parse().unwrap()).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::seeded(9);
    let mut acknowledged = 0;
    for round in 0..24 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "loses_nothing_acknowledged_when_its_process_is_killed"])
            .args(["--nocapture", "--test-threads=1"])
            .env(VICTIM, format!("{acknowledged}:{}", directory.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let enough = 1 + random.below(60);
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut stored = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("stored ")?.parse().ok());
        for number in stored.by_ref().take(enough) {
            acknowledged = 1 + usize::max(acknowledged, number);
        }
        // At any moment of the next writes.
        std::thread::sleep(Duration::from_micros(random.next() % 5000));
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it could still print before it died is acknowledged, too.
        for number in stored {
            acknowledged = 1 + usize::max(acknowledged, number);
        }

        let store = open(directory.path());
        assert_eq!(check(&store, 0..acknowledged).await, acknowledged, "round {round}");
        let stats = store.stats();
        assert_eq!((stats.damaged_records, stats.damaged_stores), (0, 0), "round {round}");
        store.shut_down().await;
    }
    assert!(acknowledged >= 24);
}

async fn store_until_killed(directory: &Path, first: usize) {
    let store = open(directory);
    for number in first.. {
        fill(&store, number..number + 1).await;
        println!("stored {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_anywhere_costs_work_and_nothing_else() {
    let original = stored(0..40).await;
    let mut random = Random::seeded(7);
    let (mut whole, mut lost, mut set_aside) = (0, 0, 0);
    for round in 0..200 {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let candidates: Vec<_> = files(directory.path())
            .into_iter()
            .filter(|path| fs::metadata(path).unwrap().len() > 0)
            .collect();
        // Half of the rounds hit the small files, which are opened first.
        let path = match round % 2 {
            0 => directory.path().join("evidence/db"),
            _ => candidates[random.below(candidates.len())].clone(),
        };
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let position = random.below(used);
        bytes[position] ^= 1 << random.below(8);
        fs::write(&path, bytes).unwrap();

        let store = open(directory.path());
        let found = check(&store, 0..40).await;
        let stats = store.stats();
        let shown = format!("round {round}, byte {position} of {}: {stats:?}", path.display());
        check_works(&store, 1000).await;
        match found {
            40 => whole += 1,
            _ if stats.damaged_stores > 0 => {
                set_aside += 1;
                assert_eq!(damaged_copies(directory.path()), 1, "{shown}");
            }
            _ => lost += 1,
        }
        store.shut_down().await;
    }
    println!("of 200 flipped bits: {whole} lost nothing, {lost} some evidence, {set_aside} the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_cut_off_anywhere_costs_work_and_nothing_else() {
    let original = stored(0..40).await;
    let length = fs::metadata(original.path().join("evidence/db")).unwrap().len();
    let lengths = [0, 1, 19, 20, 511, 512, 4096, length - 1];
    let mut random = Random::seeded(5);
    let anywhere: Vec<_> = (0..32).map(|_| random.next() % length).collect();
    for length in lengths.into_iter().chain(anywhere) {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let file = fs::OpenOptions::new()
            .write(true)
            .open(directory.path().join("evidence/db"))
            .unwrap();
        file.set_len(length).unwrap();
        let store = open(directory.path());
        check(&store, 0..40).await;
        check_works(&store, 1000).await;
        store.shut_down().await;
    }
}

#[tokio::test]
async fn an_old_copy_put_back_is_older_evidence_and_nothing_else() {
    let old = stored(0..20).await;
    let directory = tempfile::tempdir().unwrap();
    copy(old.path(), directory.path());
    let store = open(directory.path());
    for number in 0..40 {
        store
            .store(&repository(), &image(number), of(&later_evidence(number)), now())
            .await
            .unwrap();
    }
    store.shut_down().await;

    fs::remove_dir_all(directory.path().join("evidence")).unwrap();
    copy(&old.path().join("evidence"), &directory.path().join("evidence"));
    let store = open(directory.path());
    assert_eq!(check(&store, 0..40).await, 20);
    store
        .store(&repository(), &image(0), of(&later_evidence(0)), now())
        .await
        .unwrap();
    assert_eq!(store.load(&repository(), &image(0)).await.signatures, later_evidence(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_pages_among_new_ones_cost_work_and_nothing_else() {
    let old = stored(0..20).await;
    let new = tempfile::tempdir().unwrap();
    copy(old.path(), new.path());
    let store = open(new.path());
    for number in 0..20 {
        store
            .store(&repository(), &image(number), of(&later_evidence(number)), now())
            .await
            .unwrap();
    }
    store.shut_down().await;

    let old = fs::read(old.path().join("evidence/db")).unwrap();
    let mut random = Random::seeded(3);
    for round in 0..40 {
        let directory = tempfile::tempdir().unwrap();
        copy(new.path(), directory.path());
        let path = directory.path().join("evidence/db");
        let mut bytes = fs::read(&path).unwrap();
        let pages = old.len().min(bytes.len()) / 4096;
        // The whole old file over the new one first, then single pages of it.
        for page in if round == 0 {
            0..pages
        } else {
            random.below(pages)..pages
        }
        .take(if round == 0 { pages } else { 4 })
        {
            let range = page * 4096..(page + 1) * 4096;
            bytes[range.clone()].copy_from_slice(&old[range]);
        }
        fs::write(&path, bytes).unwrap();
        let store = open(directory.path());
        for number in 0..20 {
            let found = store.load(&repository(), &image(number)).await.signatures;
            assert!(
                found.is_empty() || found == evidence(number) || found == later_evidence(number),
                "round {round}, image {number}"
            );
        }
        check_works(&store, 1000).await;
        store.shut_down().await;
    }
}

#[tokio::test]
async fn foreign_files_in_its_place_are_moved_aside() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 5] = [
        ("a file instead of the folder", |path| {
            fs::remove_dir_all(path).unwrap();
            fs::write(path, "not a store").unwrap();
        }),
        ("noise instead of the data", |path| {
            let mut random = Random::seeded(1);
            let noise: Vec<u8> = (0..1 << 20).map(|_| random.next() as u8).collect();
            fs::write(path.join("db"), noise).unwrap();
        }),
        ("a folder instead of the data", |path| {
            fs::remove_file(path.join("db")).unwrap();
            fs::create_dir(path.join("db")).unwrap();
        }),
        ("noise instead of the settings", |path| {
            fs::write(path.join("conf"), "segment_size: 18446744073709551615\nx").unwrap();
        }),
        ("a file instead of the blobs", |path| {
            fs::remove_dir_all(path.join("blobs")).unwrap();
            fs::write(path.join("blobs"), "").unwrap();
        }),
    ];
    for (name, spoil) in cases {
        let directory = stored(0..10).await;
        spoil(&directory.path().join("evidence"));
        let store = open(directory.path());
        let found = check(&store, 0..10).await;
        let stats = store.stats();
        assert!(found == 10 || stats.damaged_stores == 1, "{name}: {stats:?}");
        check_works(&store, 1000).await;
        store.shut_down().await;
    }
}

#[tokio::test]
async fn keeps_one_damaged_copy_only() {
    let directory = stored(0..1).await;
    for round in 0..3 {
        fs::write(directory.path().join("evidence/conf"), "damaged by this test, and long").unwrap();
        fs::write(directory.path().join("evidence/db"), [round; 4096]).unwrap();
        fs::create_dir_all(directory.path().join(format!("evidence.damaged-{round}"))).unwrap();
        let store = open(directory.path());
        check_works(&store, 1).await;
        assert_eq!(store.stats().damaged_stores, 1, "round {round}");
        assert_eq!(damaged_copies(directory.path()), 1, "round {round}");
        store.shut_down().await;
    }
}

#[tokio::test]
async fn moves_a_store_aside_that_three_processes_in_a_row_died_opening() {
    let directory = stored(0..10).await;
    let mark = directory.path().join("evidence.opening");
    fs::write(&mark, "..").unwrap();
    let store = open(directory.path());
    assert_eq!(check(&store, 0..10).await, 10, "two may be chance");
    assert!(!mark.exists());
    store.shut_down().await;

    fs::write(&mark, "...").unwrap();
    let store = open(directory.path());
    assert_eq!(check(&store, 0..10).await, 0);
    assert_eq!(store.stats().damaged_stores, 1);
    check_works(&store, 0).await;
}

#[tokio::test]
async fn an_interrupted_rebuild_loses_nothing() {
    let directory = stored(0..10).await;
    let path = |name: &str| directory.path().join(name);
    // Died while copying: the copy is incomplete.
    fs::create_dir(path("evidence.new")).unwrap();
    let store = open(directory.path());
    assert_eq!(check(&store, 0..10).await, 10);
    store.shut_down().await;
    // Died between the two renames.
    copy(&path("evidence"), &path("evidence.new"));
    fs::rename(path("evidence"), path("evidence.old")).unwrap();
    let store = open(directory.path());
    assert_eq!(check(&store, 0..10).await, 10);
    store.shut_down().await;
    // Died before the original was removed.
    copy(&path("evidence"), &path("evidence.old"));
    let store = open(directory.path());
    assert_eq!(check(&store, 0..10).await, 10);
    assert!(!path("evidence.old").exists() && !path("evidence.new").exists());
}

#[tokio::test]
async fn a_second_process_is_told_so_and_takes_over_later() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    fill(&first, 0..1).await;
    let second = open(directory.path());
    assert_eq!(check(&second, 0..1).await, 0);
    let refused = second
        .store(&repository(), &image(1), of(&evidence(1)), now())
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("another process uses the evidence store"),
        "{refused}"
    );
    assert!(second.stats().state.is_degraded());
    assert_eq!(check(&first, 0..1).await, 1, "the first is left alone");
    assert_eq!(damaged_copies(directory.path()), 0);

    first.shut_down().await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(check(&second, 0..1).await, 1);
    check_works(&second, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_survived_and_nothing_stored_is_lost() {
    let disk = Disk::new("24m");
    let store = open(disk.path());
    fill(&store, 0..20).await;
    let ballast = disk.fill();
    let mut refused = None;
    for number in 20..2000 {
        let stored = store
            .store(&repository(), &image(number), of(&evidence(number)), now())
            .await;
        if let Err(cause) = stored {
            refused = Some((number, cause));
            break;
        }
    }
    let (number, cause) = refused.expect("a full disk refuses evidence");
    println!("image {number}: {cause}; {:?}", store.stats());
    assert!(store.stats().state.is_degraded(), "{:?}", store.stats());
    // After a failed write sled may not find all that it has, until it is opened anew. What it finds is right.
    assert!(check(&store, 0..number).await > 0, "{:?}", store.stats());

    fs::remove_file(ballast).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    check_works(&store, 5000).await;
    assert_eq!(check(&store, 0..number).await, number);
    assert_eq!(store.stats().damaged_stores, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_said_and_survived() {
    let disk = Disk::new("24m");
    let store = open(disk.path());
    fill(&store, 0..10).await;
    store.shut_down().await;

    disk.remount(MsFlags::MS_RDONLY);
    let store = open(disk.path());
    assert_eq!(check(&store, 0..10).await, 0);
    let refused = store
        .store(&repository(), &image(1), of(&evidence(1)), now())
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("Read-only file system"), "{refused}");
    assert!(store.stats().state.is_degraded());

    disk.remount(MsFlags::empty());
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(check(&store, 0..10).await, 10);
    check_works(&store, 10).await;
    assert_eq!((store.stats().damaged_stores, damaged_copies(disk.path())), (0, 0));
}

#[tokio::test]
async fn answers_nothing_after_it_was_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store, 0..1).await;
    store.shut_down().await;
    let start = Instant::now();
    assert_eq!(check(&store, 0..1).await, 0);
    assert!(
        store
            .store(&repository(), &image(0), of(&evidence(0)), now())
            .await
            .is_err()
    );
    println!("answered after {:?}", start.elapsed());
}

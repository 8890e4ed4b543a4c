//! A disk that fails, is full, may only be read, or forgets: never half a generation, never an older one.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use assayd::sync::{Client, Intercept, Operation, Refreshed, Store};
use nix::mount::{MsFlags, mount, umount};

use crate::lab::{Lab, Way, content, open};
use crate::policy_repository::{Authority, SNAPSHOT, TARGETS, TIMESTAMP};

const POLICY: &str = "channels/stable/policy.toml";

/// Lets this many operations pass, and then fails one of them or, as if the process were killed there, all that follow.
fn failing(passes: usize, for_ever: bool) -> (Arc<Intercept>, Arc<Mutex<Vec<Operation>>>) {
    let (count, log) = (AtomicUsize::new(0), Arc::<Mutex<Vec<Operation>>>::default());
    let seen = Arc::clone(&log);
    let intercept = move |operation: Operation, _: &Path| {
        seen.lock().unwrap().push(operation);
        let number = count.fetch_add(1, Ordering::SeqCst);
        let fails = if for_ever { number >= passes } else { number == passes };
        if fails {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        }
        Ok(())
    };
    (Arc::new(intercept), log)
}

fn opened(lab: &Lab, intercept: Arc<Intercept>) -> Client {
    Client::open(
        &lab.repository.pinned(),
        "stable".parse().unwrap(),
        Store::with_intercept(lab.state(), intercept),
    )
    .unwrap()
}

/// What a node that dies here would find: the policy, if there is one.
fn after_restart(lab: &Lab) -> Option<String> {
    let client = open(&lab.repository, &lab.state());
    client.current().map(|current| content(current, POLICY))
}

/// Goes through an update with the operation after so many failing. Says whether there was one.
async fn update_with_failure(passes: usize, for_ever: bool, rotate: bool, seen: &mut BTreeSet<Operation>) -> bool {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.put(TARGETS, "channels/stable/keys/new.pub", "new key");
    if rotate {
        lab.repository.rotate(|authorities| {
            for role in [TIMESTAMP, SNAPSHOT] {
                authorities.insert(role, Authority::new(1, 1));
            }
        });
    }
    lab.repository.update("2");
    lab.upload();
    let (intercept, log) = failing(passes, for_ever);
    lab.client = opened(&lab, intercept);
    let survives = lab.client.current().is_some();

    let outcome = match lab.refresh().await.unwrap() {
        Refreshed::Candidate(candidate) => {
            // Whatever the disk does, what is denied now can be told.
            assert_eq!(content(candidate.generation(), "revocation/deny.json"), "deny 2");
            lab.client.commit(*candidate).await
        }
        Refreshed::Unchanged => panic!("nothing new"),
    };
    let in_memory = lab.client.current().map(|current| content(current, POLICY));
    let on_disk = after_restart(&lab);
    match &outcome {
        Ok(_) => {
            assert_eq!(in_memory.as_deref(), Some("policy 2"));
            assert_eq!(
                on_disk.as_deref(),
                Some("policy 2"),
                "{passes}: it says that it is stored"
            );
        }
        Err(error) => {
            assert_eq!(error.word(), "storage", "{error}");
            assert!(error.to_string().contains("No space left"), "{error}");
            assert_eq!(in_memory.is_some(), survives);
            assert_ne!(in_memory.as_deref(), Some("policy 2"));
            // Put in place is put in place, even if nothing could be said about it any more.
            assert!(
                matches!(on_disk.as_deref(), Some("policy 1" | "policy 2")),
                "{passes}: {on_disk:?}"
            );
            assert!(lab.client.degraded().is_some());
        }
    }
    let operations = log.lock().unwrap().clone();
    seen.extend(&operations);

    // The disk has room again: the same process goes on, and so does the next one.
    if !for_ever {
        match lab.refresh().await.unwrap() {
            Refreshed::Candidate(candidate) => drop(lab.client.commit(*candidate).await.unwrap()),
            Refreshed::Unchanged => assert!(outcome.is_ok()),
        }
        assert_eq!(lab.client.degraded(), None);
    }
    lab.restart();
    match lab.refresh().await.unwrap() {
        Refreshed::Candidate(candidate) => drop(lab.client.commit(*candidate).await.unwrap()),
        Refreshed::Unchanged => {}
    }
    assert_eq!(after_restart(&lab).as_deref(), Some("policy 2"));
    lab.restart();
    assert_eq!(lab.client.damage(), []);
    lab.recovers().await;
    // Nothing is left lying about.
    let names: BTreeSet<String> = lab.on_disk().into_keys().collect();
    assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
    let digests: BTreeSet<String> = lab
        .client
        .current()
        .unwrap()
        .digests()
        .values()
        .map(|digest| format!("targets/{}", digest.hex()))
        .collect();
    let targets: BTreeSet<String> = names.into_iter().filter(|name| name.starts_with("targets/")).collect();
    assert_eq!(targets, digests);
    operations.len() > passes
}

#[tokio::test]
async fn every_single_file_operation_of_an_update_may_fail() {
    for rotate in [false, true] {
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        while update_with_failure(count, false, rotate, &mut seen).await {
            count += 1;
        }
        assert!(count > 20, "{count}");
        // None was forgotten: what an update does to a disk are these.
        let expected = [
            Operation::CreateFolder,
            Operation::Create,
            Operation::List,
            Operation::Read,
            Operation::Remove,
            Operation::Rename,
            Operation::Sync,
            Operation::SyncFolder,
            Operation::Write,
        ];
        assert_eq!(seen, BTreeSet::from(expected));
    }
}

#[tokio::test]
async fn an_update_may_end_at_every_single_file_operation() {
    for rotate in [false, true] {
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        while update_with_failure(count, true, rotate, &mut seen).await {
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}

#[tokio::test]
async fn the_first_start_may_end_at_every_single_file_operation() {
    for passes in 0.. {
        let mut lab = Lab::fresh(Way::Folder).await;
        let (intercept, log) = failing(passes, true);
        lab.client = opened(&lab, intercept);
        let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
            panic!("nothing new");
        };
        let committed = lab.client.commit(*candidate).await;
        let on_disk = after_restart(&lab);
        if committed.is_ok() {
            assert_eq!(on_disk.as_deref(), Some("policy 1"));
        }
        lab.restart();
        assert_eq!(lab.client.damage(), []);
        if lab.client.current().is_none() {
            lab.follows().await;
        }
        lab.recovers().await;
        if log.lock().unwrap().len() <= passes {
            assert!(passes > 20, "{passes}");
            return;
        }
    }
}

/// The order is what makes it safe: files, then the generation, then the floor; each flushed before it gets its name, and
/// its folder afterwards.
#[tokio::test]
async fn what_is_put_in_place_is_on_the_disk_and_in_order() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.update("2");
    lab.upload();
    let log = Arc::<Mutex<Vec<(Operation, String)>>>::default();
    let seen = Arc::clone(&log);
    let intercept = move |operation: Operation, path: &Path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        seen.lock().unwrap().push((operation, name));
        Ok(())
    };
    lab.client = opened(&lab, Arc::new(intercept));
    log.lock().unwrap().clear();
    lab.follows().await;
    let log = log.lock().unwrap().clone();

    let position = |wanted: (Operation, &str)| {
        let found = log
            .iter()
            .position(|(operation, name)| (*operation, name.as_str()) == wanted);
        found.unwrap_or_else(|| panic!("{wanted:?} in {log:?}"))
    };
    let last_sync_of_targets = log
        .iter()
        .rposition(|(operation, name)| *operation == Operation::SyncFolder && name == "targets");
    let last_target = log
        .iter()
        .rposition(|(operation, name)| *operation == Operation::Rename && name.len() == 64);
    assert!(last_target < last_sync_of_targets);
    assert!(last_sync_of_targets < Some(position((Operation::Rename, "generation"))));
    for name in ["generation", "floor"] {
        let unfinished = format!("{name}.new");
        assert!(position((Operation::Write, &unfinished)) < position((Operation::Sync, &unfinished)));
        assert!(position((Operation::Sync, &unfinished)) < position((Operation::Rename, name)));
    }
    let synced: Vec<usize> = log
        .iter()
        .enumerate()
        .filter(|(_, (operation, name))| *operation == Operation::SyncFolder && name == "fleet")
        .map(|(at, _)| at)
        .collect();
    let (generation, floor) = (
        position((Operation::Rename, "generation")),
        position((Operation::Rename, "floor")),
    );
    assert!(synced.iter().any(|at| (generation..floor).contains(at)), "{log:?}");
    assert!(synced.iter().any(|at| *at > floor), "{log:?}");
    let first_removed = log
        .iter()
        .position(|(operation, name)| *operation == Operation::Remove && name.len() == 64);
    assert!(first_removed > Some(floor));
}

#[tokio::test]
async fn whatever_bit_of_the_state_is_flipped_nothing_wrong_is_taken_up() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.rotate(|_| ());
    lab.repository.update("2");
    lab.upload();
    let generation = lab.follows().await;
    for (name, bytes) in lab.on_disk() {
        // Every byte of a small file, every so many of a large one, and its ends.
        let step = (bytes.len() / 64).max(1);
        let places = (0..bytes.len()).step_by(step).chain([bytes.len() - 1]);
        for place in places {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            check_damaged(&lab, &name, &damaged, &generation);
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            check_damaged(&lab, &name, &bytes[..length], &generation);
        }
        let mut longer = bytes.clone();
        longer.push(b' ');
        check_damaged(&lab, &name, &longer, &generation);
        std::fs::write(lab.state().join(&name), &bytes).unwrap();
    }
    lab.restart();
    assert_eq!(lab.client.damage(), []);
    lab.finds_nothing_new().await;
}

fn check_damaged(lab: &Lab, name: &str, damaged: &[u8], generation: &assayd::sync::Generation) {
    let path = lab.state().join(name);
    std::fs::write(&path, damaged).unwrap();
    let client = open(&lab.repository, &lab.state());
    assert_eq!(client.damage().len(), 1, "{name} {:?}", client.damage());
    match client.current() {
        // Without the floor, the generation is what it was, and the floor is written anew.
        Some(current) => {
            assert_eq!(name, "floor");
            assert_eq!(current.versions(), generation.versions());
            assert_eq!(current.files(), generation.files());
        }
        None => assert_ne!(name, "floor"),
    }
    assert_eq!(client.trusted_time(), generation.signed_at().unwrap());
}

#[tokio::test]
async fn a_file_of_the_state_that_is_something_else_is_as_good_as_lost() {
    for name in ["generation", "floor"] {
        let mut lab = Lab::new(Way::Folder).await;
        let path = lab.state().join(name);
        for kind in 0..3 {
            std::fs::remove_file(&path).unwrap();
            match kind {
                0 => std::fs::create_dir(&path).unwrap(),
                1 => std::os::unix::fs::symlink("/etc/hostname", &path).unwrap(),
                _ => std::fs::write(&path, vec![b'x'; 17 * 1024 * 1024]).unwrap(),
            }
            lab.restart();
            assert_eq!(lab.client.damage().len(), 1, "{name} {kind}");
            if kind == 0 {
                std::fs::remove_dir(&path).unwrap();
            }
            if lab.client.current().is_none() {
                lab.follows().await;
            }
            lab.restart();
            if !path.exists() || path.is_symlink() {
                lab.repository.update("2");
                lab.upload();
                lab.follows().await;
            }
            lab.restart();
            assert_eq!(lab.client.damage(), [], "{name} {kind}");
        }
    }
}

/// A file system of so many bytes, until it is dropped. `None` where this user may not mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn new(bytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let none: Option<&str> = None;
        mount(
            none,
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .ok()?;
        Some(Self(folder))
    }

    fn remount(&self, flags: MsFlags) {
        let none: Option<&str> = None;
        mount(none, self.0.path(), none, MsFlags::MS_REMOUNT | flags, none).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount(self.0.path());
    }
}

#[tokio::test]
async fn a_full_disk_keeps_the_generation_and_an_empty_one_takes_the_next() {
    let Some(disk) = Small::new(256 * 1024) else {
        eprintln!("not tested: mounting a file system takes root");
        return;
    };
    let mut lab = Lab::new(Way::Https).await;
    lab.client = open(&lab.repository, &disk.0.path().join("fleet"));
    lab.follows().await;
    let ballast = disk.0.path().join("ballast");
    let mut size = 256 * 1024;
    while std::fs::write(&ballast, vec![0; size]).is_err() {
        size -= 4096;
    }
    lab.repository.rotate(|_| ());
    lab.repository.update(&"2".repeat(8192));
    lab.upload();
    for _ in 0..3 {
        let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
            panic!("nothing new");
        };
        let error = lab.client.commit(*candidate).await.unwrap_err();
        assert_eq!(error.word(), "storage");
        assert!(lab.client.degraded().is_some());
        assert_eq!(content(lab.client.current().unwrap(), POLICY), "policy 1");
        let reopened = open(&lab.repository, &disk.0.path().join("fleet"));
        assert_eq!(content(reopened.current().unwrap(), POLICY), "policy 1");
    }
    std::fs::remove_file(ballast).unwrap();
    lab.follows().await;
    assert_eq!(lab.client.degraded(), None);
    let reopened = open(&lab.repository, &disk.0.path().join("fleet"));
    assert_eq!(reopened.damage(), []);
    assert_eq!(reopened.current().unwrap().versions().root.version, 2);
    drop((reopened, lab));
}

#[tokio::test]
async fn a_disk_that_may_only_be_read_serves_what_is_on_it() {
    let Some(disk) = Small::new(1024 * 1024) else {
        eprintln!("not tested: mounting a file system takes root");
        return;
    };
    let mut lab = Lab::new(Way::Https).await;
    let folder = disk.0.path().join("fleet");
    lab.client = open(&lab.repository, &folder);
    lab.follows().await;
    disk.remount(MsFlags::MS_RDONLY);
    lab.client = open(&lab.repository, &folder);
    assert_eq!(lab.client.damage(), []);
    lab.finds_nothing_new().await;
    lab.repository.update("2");
    lab.upload();
    let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
        panic!("nothing new");
    };
    let error = lab.client.commit(*candidate).await.unwrap_err();
    assert!(error.to_string().contains("Read-only file system"), "{error}");
    assert_eq!(content(lab.client.current().unwrap(), POLICY), "policy 1");
    disk.remount(MsFlags::empty());
    lab.follows().await;
    assert_eq!(lab.client.degraded(), None);
    drop(lab);
}

/// A disk is as it should be again once what is in memory is on it, whatever could not be written meanwhile.
#[tokio::test]
async fn an_update_that_was_withdrawn_leaves_no_trouble_behind() {
    let mut failures = 0;
    for passes in 0..30 {
        let mut lab = Lab::new(Way::Folder).await;
        let first = lab.repository.files.clone();
        lab.repository.update("2");
        lab.upload();
        let (intercept, _) = failing(passes, false);
        lab.client = opened(&lab, intercept);
        let survives = lab.client.current().is_some();
        let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
            panic!("nothing new");
        };
        if lab.client.commit(*candidate).await.is_ok() || !survives {
            continue;
        }
        failures += 1;
        assert!(lab.client.degraded().is_some());
        lab.serve(&first);
        lab.finds_nothing_new().await;
        assert_eq!(lab.client.degraded(), None);
        assert_eq!(after_restart(&lab).as_deref(), Some("policy 1"), "{passes}");
    }
    assert!(failures > 5, "{failures}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_said_and_not_fatal() {
    let mut lab = Lab::fresh(Way::Folder).await;
    let nowhere = lab.state().join("missing/fleet");
    lab.client = open(&lab.repository, &nowhere);
    assert_eq!(lab.client.damage(), []);
    let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
        panic!("nothing new");
    };
    let error = lab.client.commit(*candidate).await.unwrap_err();
    assert_eq!(error.word(), "storage");
    assert!(error.to_string().starts_with("cannot make the folder "), "{error}");
}

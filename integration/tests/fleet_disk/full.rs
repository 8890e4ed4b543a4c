//! A disk that is full, or may only be read: what is in force stays, what is denied counts, and it is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use assay_verify::digest::Digest;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use serde_json::Value;

use crate::daemon::{DENIED, LISTED, LISTING, Node, OTHER, image};

const NOTHING: Option<&str> = None;

/// What a disk runs out of.
#[derive(Clone, Copy, Debug)]
enum Room {
    Pages,
    Files,
}

/// A small file system in memory that only this thread sees and what it starts.
struct Disk(PathBuf);

impl Disk {
    /// Mounts it where a daemon keeps what it knows of the repository.
    fn of(node: &Node) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests run as root");
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).unwrap();
        let folder = node.state();
        fs::create_dir(&folder).unwrap();
        let options = Some("size=256k,nr_inodes=64,mode=0700");
        mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        Self(folder)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves so much of it.
    fn leave(&self, room: Room, left: u64) {
        fs::create_dir(self.ballast()).unwrap();
        let free = statvfs(&self.0).unwrap();
        match room {
            Room::Pages => {
                let bytes = (free.blocks_free() - left) * free.block_size();
                fs::write(self.ballast().join("bytes"), vec![0; usize::try_from(bytes).unwrap()]).unwrap();
            }
            Room::Files => {
                for number in left..free.files_free() {
                    fs::write(self.ballast().join(number.to_string()), []).unwrap();
                }
            }
        }
    }

    /// Removes everything.
    fn clear(&self) {
        for entry in fs::read_dir(&self.0).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => fs::remove_dir_all(entry.path()).unwrap(),
                false => fs::remove_file(entry.path()).unwrap(),
            }
        }
    }

    fn make_room(&self) {
        fs::remove_dir_all(self.ballast()).unwrap();
    }

    fn remount(&self, flags: MsFlags) {
        mount(NOTHING, &self.0, NOTHING, MsFlags::MS_REMOUNT | flags, NOTHING).unwrap();
    }

    /// How many files there are.
    fn files(&self) -> usize {
        let targets = fs::read_dir(self.0.join("targets")).map_or(0, Iterator::count);
        fs::read_dir(&self.0).unwrap().count() + targets
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the daemon has files open here.
        let _: nix::Result<()> = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The targets of this node that are not on the disk, in the order in which they are written.
fn unwritten(node: &Node) -> Vec<String> {
    let contents = node.repository.targets.values().flat_map(BTreeMap::values);
    let mut names: Vec<String> = contents
        .map(|content| Digest::sha256(content).hex().to_owned())
        .collect();
    names.sort();
    names.retain(|name| !node.state().join("targets").join(name).exists());
    names
}

/// Which file a status says could not be written, of those that were to be.
fn missed(unwritten: &[String], status: &Value) -> String {
    let degraded = status["degraded"].as_str().unwrap();
    if let Some(number) = unwritten.iter().position(|name| degraded.contains(name)) {
        return format!("target {number}");
    }
    let own = ["generation", "floor"]
        .into_iter()
        .find(|name| degraded.contains(&format!("/{name}.new")));
    own.unwrap_or_else(|| panic!("{degraded}")).to_owned()
}

/// Sees to it that an update which could not be stored is not in force, that its denials are, and that all of it is said.
async fn keeps(node: &Node, policy: &str, denied: &str, cause: &str) {
    let (code, status) = node.status().await;
    assert_eq!(
        (code, status["error_class"].as_str()),
        (Some(1), Some("storage")),
        "{status}"
    );
    for field in ["degraded", "error"] {
        assert!(status[field].as_str().unwrap().contains(cause), "{status}");
    }
    let told = node.told().await;
    assert!(told.contains("  DEGRADED   cannot ") && told.contains(cause), "{told}");
    assert!(
        told.contains("  FAILING    since ") && told.contains(": storage: "),
        "{told}"
    );
    assert_eq!(node.policy().await, policy);
    assert_eq!(node.code(LISTING, LISTED).await, "admitted");
    for image in [denied, DENIED] {
        assert_eq!(node.code(LISTING, image).await, "denied-by-list", "{image}");
    }
}

/// Sees to it that it follows and has nothing to complain of.
async fn is_well(node: &Node, policy: &str, denied: &str) {
    let (code, status) = node.status().await;
    assert_eq!((code, status["degraded"].as_str()), (Some(0), Some("")), "{status}");
    assert_eq!(node.policy().await, policy);
    assert_eq!(node.code(LISTING, denied).await, "denied-by-list");
    assert_eq!(node.code(LISTING, LISTED).await, "admitted");
}

/// Goes through updates with ever more room, until one fits. Says which files met the end of it.
async fn updates_with_ever_more(room: Room) -> BTreeSet<String> {
    let mut node = Node::prepare(toml::Table::new(), None, |builder| builder);
    let disk = Disk::of(&node);
    node.start().await;
    node.follows("first").await;
    let (mut in_force, mut met) = ("first".to_owned(), BTreeSet::new());
    let files = disk.files();
    for left in 0.. {
        let (name, denied) = (format!("with-{left}"), image(usize::try_from(left).unwrap()));
        disk.leave(room, left);
        node.publish(&name, &[DENIED, &denied]);
        let unwritten = unwritten(&node);
        let (code, status) = node.ask().await;
        if code == Some(0) {
            println!("{left} {room:?} are enough; before that, there was no room for {met:?}");
            break;
        }
        met.insert(missed(&unwritten, &status));
        keeps(&node, &in_force, &denied, "No space left on device").await;
        // What came to nothing takes no room.
        assert_eq!(disk.files(), files + 1);
        disk.make_room();
        let (code, status) = node.ask().await;
        assert_eq!(code, Some(0), "{status}");
        is_well(&node, &name, &denied).await;
        assert_eq!(disk.files(), files);
        in_force = name;
    }
    met
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
async fn an_update_is_not_in_force_however_little_its_files_lack_to_fit() {
    let met = updates_with_ever_more(Room::Pages).await;
    assert_eq!(met, set(["generation", "target 0", "target 1"]));
}

#[tokio::test]
async fn an_update_is_not_in_force_however_few_files_the_disk_can_take() {
    let met = updates_with_ever_more(Room::Files).await;
    assert_eq!(met, set(["generation", "target 0", "target 1"]));
}

#[tokio::test]
async fn the_first_generation_is_not_in_force_however_little_it_lacks_to_fit() {
    let mut node = Node::prepare(toml::Table::new(), None, |builder| builder);
    let disk = Disk::of(&node);
    let mut met = BTreeSet::new();
    for left in 0.. {
        disk.clear();
        disk.leave(Room::Pages, left);
        let unwritten = unwritten(&node);
        node.start().await;
        node.wait_for("attempt", async || !node.status().await.1["last_attempt"].is_null())
            .await;
        let (code, status) = node.status().await;
        if code == Some(0) {
            println!("{left} pages are enough; before that, there was no room for {met:?}");
            break;
        }
        let missed = missed(&unwritten, &status);
        let in_force = missed == "floor";
        if in_force {
            // The generation is on the disk, and the next start takes it up: what guards it is written then.
            assert_eq!(status["error"], "", "{status}");
            assert_eq!(node.policy().await, "first");
        } else {
            assert_eq!(status["error_class"], "storage", "{status}");
            assert_eq!(status["staleness"], "none", "{status}");
            assert_eq!(node.code(LISTING, LISTED).await, "policy-invalid");
        }
        let told = node.told().await;
        assert!(told.contains("  DEGRADED   cannot write "), "{told}");
        assert_ne!(node.code(LISTING, DENIED).await, "admitted");
        met.insert(missed);
        disk.make_room();
        assert_eq!(node.ask().await.0, Some(0));
        is_well(&node, "first", DENIED).await;
        node.daemon.kill();
        node.start().await;
        is_well(&node, "first", DENIED).await;
        node.daemon.kill();
    }
    assert_eq!(met, set(["floor", "generation", "target 0", "target 1", "target 2"]));
}

#[tokio::test]
async fn a_node_recovers_by_itself_when_there_is_room_again() {
    let often = toml::toml! { poll_interval = "5s" };
    let mut node = Node::prepare(often, None, |builder| builder);
    let disk = Disk::of(&node);
    node.start().await;
    node.follows("first").await;
    let denied = image(1);
    for restart in [false, true] {
        let (before, after) = if restart {
            ("second", "third")
        } else {
            ("first", "second")
        };
        disk.leave(Room::Pages, 1);
        node.publish(after, &[DENIED, &denied]);
        node.ask().await;
        keeps(&node, before, &denied, "No space left on device").await;
        if restart {
            node.daemon.kill();
            node.start().await;
            node.ask().await;
            keeps(&node, before, &denied, "No space left on device").await;
        }
        disk.make_room();
        node.follows(after).await;
        is_well(&node, after, &denied).await;
    }
}

#[tokio::test]
async fn a_disk_that_may_only_be_read_serves_what_is_on_it_and_what_is_denied_counts() {
    let mut node = Node::prepare(toml::toml! { poll_interval = "5s" }, None, |builder| builder);
    let disk = Disk::of(&node);
    node.start().await;
    node.follows("first").await;
    disk.remount(MsFlags::MS_RDONLY);
    // Nothing new is nothing to write.
    assert_eq!(node.ask().await.0, Some(0));
    let denied = image(1);
    node.publish("second", &[DENIED, &denied]);
    assert_eq!(node.ask().await.0, Some(1));
    keeps(&node, "first", &denied, "Read-only file system").await;
    node.daemon.kill();
    node.start().await;
    assert_eq!(node.policy().await, "first");
    assert_eq!(node.ask().await.0, Some(1));
    keeps(&node, "first", &denied, "Read-only file system").await;
    // A new root is followed all the same.
    node.repository.rotate(|_| ());
    node.publish("third", &[DENIED, &denied, OTHER]);
    assert_eq!(node.ask().await.0, Some(1));
    keeps(&node, "first", OTHER, "Read-only file system").await;
    disk.remount(MsFlags::empty());
    node.follows("third").await;
    is_well(&node, "third", OTHER).await;
}

//! Killed at every system call that changes the state: afterwards there is the old generation or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use assay_integration::strace::{Call, was_killed};
use assay_integration::{Peers, Strace};
use assay_verify::Timestamp;
use assayd::sync::{Client, Refreshed};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::node::{Place, Said, policy_of, signed_at};
use crate::policy_repository::{Authority, Files, ROOT, Repository, SNAPSHOT, TARGETS, TIMESTAMP, at};
use crate::random::Random;

/// What a kill interrupts.
struct Update {
    /// The node as it is before, with the new files to be read.
    place: Place,
    /// The repository as it is now.
    repository: Repository,
    /// What it served before, where the node had read that.
    before: Option<Files>,
    /// How that is refused by who has the new generation.
    refusal: &'static str,
    /// The policies before and after.
    old: Option<&'static str>,
    new: &'static str,
}

impl Update {
    /// The first generation ever.
    fn first() -> Self {
        let mut repository = Repository::new();
        repository.update("1");
        Self {
            place: Place::new(&repository),
            repository,
            before: None,
            refusal: "rollback",
            old: None,
            new: "policy 1",
        }
    }

    /// Another policy and another deny-list, a file more and a file less.
    async fn usual() -> Self {
        Self::after(|_| ()).await
    }

    /// The same after a rotation of keys, so that the old generation is signed by none that counts.
    async fn with_rotation() -> Self {
        let update = Self::after(rotate).await;
        // It is signed by keys that no longer count, whatever its version.
        let refusal = "threshold";
        Self { refusal, ..update }
    }

    async fn after(change: impl FnOnce(&mut Repository)) -> Self {
        let mut repository = Repository::new();
        repository.put(TARGETS, "channels/stable/keys/old.pub", "old key");
        repository.update("1");
        let place = Place::new(&repository);
        place.follow().await.unwrap();
        let before = Some(repository.files.clone());
        change(&mut repository);
        repository.signed_at = json!("2026-12-01T00:00:00Z");
        repository
            .targets
            .get_mut(TARGETS)
            .unwrap()
            .remove("channels/stable/keys/old.pub");
        repository.put(TARGETS, "channels/stable/keys/new.pub", "new key");
        repository.update("2");
        place.serve(&repository.files);
        Self {
            place,
            repository,
            before,
            refusal: "rollback",
            old: Some("policy 1"),
            new: "policy 2",
        }
    }

    /// Goes through it once for each call that changes something, and dies there. Says how often that was.
    async fn killed_everywhere(&self, strace: &Strace) -> usize {
        let (points, after) = self.undisturbed(strace);
        for point in &points {
            let place = self.place.copy();
            let paths = place.paths(&self.repository);
            let output = strace.kill(&place.command(), &paths, point).unwrap();
            assert!(was_killed(&output), "{}: {output:?}", point.shown);
            self.check(&place, &Said::read(&output.stdout), &after, &point.shown)
                .await;
        }
        points.len()
    }

    fn undisturbed(&self, strace: &Strace) -> (Vec<Call>, BTreeMap<String, Vec<u8>>) {
        undisturbed(strace, &self.place, &self.repository)
    }

    /// Sees to it that nothing is lost and nothing goes back, and that the next process brings the new generation.
    async fn check(&self, place: &Place, said: &Said, after: &BTreeMap<String, Vec<u8>>, at: &str) {
        // What is there is complete, and the one or the other.
        let looked_at = place.copy();
        let client = looked_at.open();
        assert_eq!(client.damage(), [], "{at}");
        let found = policy_of(&client);
        if said.committed.is_some() {
            assert_eq!(found.as_deref(), Some(self.new), "{at}: it said that this is stored");
        }
        assert!(
            [self.old, Some(self.new)].contains(&found.as_deref()),
            "{at}: {found:?}"
        );
        assert!(Some(client.root_version()) >= said.root, "{at}: {said:?}");
        if found.as_deref() == Some(self.new) {
            assert!(client.trusted_time() >= signed_at(&self.repository), "{at}");
        }
        self.refuses_what_was_before(&looked_at, client, said, at).await;

        // Nothing is left lying about that the next process does not use or remove.
        let before = self.place.on_disk();
        for name in place.on_disk().keys() {
            let known = name.strip_suffix(".new").unwrap_or(name);
            assert!(before.contains_key(known) || after.contains_key(known), "{at}: {name}");
        }
        let client = place.follow().await.unwrap();
        assert_eq!(policy_of(&client).as_deref(), Some(self.new), "{at}");
        assert_eq!(client.degraded(), None, "{at}");
        let mended = place.on_disk();
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&mended), names(after), "{at}");
        assert!(
            mended == *after,
            "{at}: other than after an update that nothing disturbed"
        );
    }

    /// The old repository is refused by who has the new generation, and by who has nothing but its floor.
    async fn refuses_what_was_before(&self, place: &Place, mut client: Client, said: &Said, at: &str) {
        let Some(before) = &self.before else {
            return;
        };
        place.serve(before);
        let found = policy_of(&client);
        let refreshed = place.refresh(&mut client).await;
        if found.as_deref() == Some(self.new) {
            let error = refreshed.unwrap_err();
            assert_eq!(error.word(), self.refusal, "{at}: {error}");
        } else {
            // With a root that has taken the keys away, not even that.
            assert!(!matches!(refreshed, Ok(Refreshed::Candidate(_))), "{at}: {refreshed:?}");
        }
        assert_eq!(policy_of(&client), found, "{at}");
        if said.committed.is_none() {
            return;
        }
        fs::remove_file(place.state().join("generation")).unwrap();
        let mut client = place.open();
        assert!(client.trusted_time() >= signed_at(&self.repository), "{at}");
        let error = place.refresh(&mut client).await.unwrap_err();
        assert_eq!(error.word(), "rollback", "{at}: {error}");
        place.serve(&self.repository.files);
        let client = place.follow().await.unwrap();
        assert_eq!(policy_of(&client).as_deref(), Some(self.new), "{at}");
    }
}

/// What a node does next if nothing is wrong: the calls that change something, and what is on the disk afterwards.
fn undisturbed(strace: &Strace, place: &Place, repository: &Repository) -> (Vec<Call>, BTreeMap<String, Vec<u8>>) {
    let place = place.copy();
    let mut points = strace.calls(&place.command(), &place.paths(repository)).unwrap();
    points.retain(Call::changes);
    (points, place.on_disk())
}

/// Takes the keys away that sign most often.
fn rotate(repository: &mut Repository) {
    repository.rotate(|authorities| {
        for role in [TIMESTAMP, SNAPSHOT] {
            authorities.insert(role, Authority::new(1, 1));
        }
    });
}

fn strace() -> Strace {
    let peers = Peers::fetch().expect("peers");
    Strace::find(&peers).expect("strace")
}

#[tokio::test]
async fn a_node_may_be_killed_at_every_write_of_its_first_generation() {
    let points = Update::first().killed_everywhere(&strace()).await;
    println!("{points} kills");
    assert!(points > 25, "{points}");
}

#[tokio::test]
async fn a_node_may_be_killed_at_every_write_of_an_update() {
    let points = Update::usual().await.killed_everywhere(&strace()).await;
    println!("{points} kills");
    assert!(points > 25, "{points}");
}

#[tokio::test]
async fn a_node_may_be_killed_at_every_write_of_an_update_with_a_rotation_of_keys() {
    let points = Update::with_rotation().await.killed_everywhere(&strace()).await;
    println!("{points} kills");
    assert!(points > 40, "{points}");
}

/// The calls above are all that there are.
#[tokio::test]
async fn nothing_but_the_calls_that_are_watched_changes_the_state() {
    const HARMLESS: [&str; 12] = [
        "close",
        "fcntl",
        "fstat",
        "getdents64",
        "lseek",
        "newfstatat",
        "openat",
        "openat2",
        "pread64",
        "read",
        "stat",
        "statx",
    ];
    let strace = strace();
    for update in [Update::first(), Update::usual().await, Update::with_rotation().await] {
        let count = |calls: &[Call]| {
            let mut counts = BTreeMap::<String, usize>::new();
            for call in calls {
                if !HARMLESS.contains(&call.name.as_str()) || call.shown.contains("O_CREAT") {
                    *counts.entry(call.name.clone()).or_default() += 1;
                }
            }
            counts
        };
        let (watched, _) = update.undisturbed(&strace);
        let place = update.place.copy();
        let all = strace.every_call_on(&place.command(), &place.state()).unwrap();
        assert_eq!(count(&all), count(&watched));
    }
}

/// Not between two calls, but within one: the kernel ends who writes more than it may, and what fits is in the file.
#[tokio::test]
async fn a_node_may_die_in_the_middle_of_a_write() {
    let strace = strace();
    let mut deaths = 0;
    for update in [Update::first(), Update::usual().await, Update::with_rotation().await] {
        let (_, after) = update.undisturbed(&strace);
        for blocks in 0.. {
            let place = update.place.copy();
            let output = limited(&place.command(), blocks).output().unwrap();
            if output.status.success() {
                break;
            }
            assert_eq!(output.status.signal(), Some(Signal::SIGXFSZ as i32), "{output:?}");
            deaths += 1;
            update
                .check(&place, &Said::read(&output.stdout), &after, &format!("{blocks} blocks"))
                .await;
        }
    }
    println!("{deaths} deaths");
    assert!(deaths > 30, "{deaths}");
}

/// The same command, which may write files of so many blocks of 512 bytes (dash(1), `ulimit -f`).
fn limited(command: &Command, blocks: usize) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// What a node with an endless series of bad luck has, and may have.
struct Luckless {
    place: Place,
    repository: Repository,
    /// The number of the newest policy that is published.
    published: u64,
    /// The number of the newest policy that this node had.
    reached: u64,
    /// The version of the root when each was published, from 0 on.
    roots: Vec<u64>,
    random: Random,
}

impl Luckless {
    fn new() -> Self {
        let repository = Repository::new();
        Self {
            place: Place::new(&repository),
            repository,
            published: 0,
            reached: 0,
            roots: vec![1],
            random: Random::seeded(),
        }
    }

    /// When a policy is signed: one second after the one before.
    fn signed_at(number: u64) -> Timestamp {
        at("2026-11-30T00:00:00Z") + Duration::from_secs(number)
    }

    fn publish(&mut self) {
        self.published += 1;
        self.roots.push(self.repository.versions[ROOT]);
        self.repository.signed_at = json!(Self::signed_at(self.published).to_string());
        self.repository.update(&self.published.to_string());
        self.place.serve(&self.repository.files);
    }

    /// Dies at this call, if it comes to it.
    fn run(&mut self, strace: &Strace, point: &Call) -> bool {
        let paths = self.place.paths(&self.repository);
        let output = strace.kill(&self.place.command(), &paths, point).unwrap();
        let said = Said::read(&output.stdout);
        if let Some(committed) = said.committed {
            self.reached = number(&committed);
        }
        let killed = was_killed(&output);
        assert!(killed || output.status.success(), "{output:?}");
        killed
    }

    /// Sees to it that it has what it had, or something newer, and little else.
    async fn check(&mut self) {
        let contents = self.repository.targets.values().map(BTreeMap::len).sum::<usize>();
        let files = self.place.on_disk();
        // Two generations, each with all its files, the floor, and one file that is being written.
        assert!(files.len() <= 2 * (contents + 1) + 2, "{:?}", files.keys());

        let looked_at = self.place.copy();
        let mut client = looked_at.open();
        assert_eq!(client.damage(), []);
        let found = policy_of(&client).map_or(0, |policy| number(&policy));
        assert!(
            (self.reached..=self.published).contains(&found),
            "{found} after {}",
            self.reached
        );
        self.reached = found;
        // What was signed by keys that are taken away proves nothing, a time neither.
        let root = self.roots[usize::try_from(found).unwrap()];
        if found > 0 && client.root_version() == root {
            assert!(client.trusted_time() >= Self::signed_at(found));
        }
        // The next one would go on.
        if let Refreshed::Candidate(candidate) = looked_at.refresh(&mut client).await.unwrap() {
            client.commit(*candidate).await.unwrap();
        }
        assert_eq!(number(&policy_of(&client).unwrap()), self.published);
    }

    /// Sees to it that what was published before is refused.
    async fn refuses(&self, before: &Files) {
        let looked_at = self.place.copy();
        looked_at.serve(before);
        let mut client = looked_at.open();
        let refreshed = looked_at.refresh(&mut client).await;
        assert!(refreshed.is_err(), "{refreshed:?}");
        assert_eq!(number(&policy_of(&client).unwrap()), self.reached);
    }
}

fn number(policy: &str) -> u64 {
    policy.strip_prefix("policy ").unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_hundred_kills_in_a_row_lose_nothing() {
    const KILLS: usize = 200;
    let strace = strace();
    let mut points = Update::usual().await.undisturbed(&strace).0;
    points.extend(Update::with_rotation().await.undisturbed(&strace).0);
    let mut node = Luckless::new();
    node.publish();
    let (mut kills, mut rounds, mut finished) = (0, 0, 0);
    while kills < KILLS {
        rounds += 1;
        let before = node.repository.files.clone();
        let was = node.published;
        match node.random.next() % 8 {
            // Nothing new: what is not finished is.
            0 => {}
            1 => {
                rotate(&mut node.repository);
                node.publish();
            }
            _ => node.publish(),
        }
        let point = node.random.one_of(&points).clone();
        match node.run(&strace, &point) {
            true => kills += 1,
            false => finished += 1,
        }
        node.check().await;
        if node.published > was && node.reached == node.published {
            node.refuses(&before).await;
        }
    }
    println!(
        "{kills} kills in {rounds} rounds, {finished} of which came to their end; policy {}",
        node.reached
    );
    assert!(
        node.reached > 10,
        "it was killed so often, and got nowhere: {}",
        node.reached
    );
    node.place.follow().await.unwrap();
    node.check().await;
    let contents = node.repository.targets.values().map(BTreeMap::len).sum::<usize>();
    let files = node.place.on_disk();
    // The canary's policy is not this node's.
    assert_eq!(files.len(), contents - 1 + 2, "{:?}", files.keys());
}

/// Each time it finds something else to download, and each time it dies before that counts.
#[tokio::test]
async fn a_node_that_never_gets_to_its_first_generation_does_not_fill_its_disk() {
    let strace = strace();
    let generation = |call: &&Call| call.name.starts_with("rename") && call.shown.contains("generation.new");
    let mut node = Luckless::new();
    for _ in 0..20 {
        node.publish();
        let (points, _) = undisturbed(&strace, &node.place, &node.repository);
        assert!(node.run(&strace, points.iter().find(generation).unwrap()));
        node.check().await;
        assert_eq!(node.reached, 0);
    }
}

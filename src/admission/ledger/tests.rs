use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A digest whose last figure tells it from others.
fn digest(figure: char) -> Digest {
    format!("sha256:{}{figure}", "a".repeat(63)).parse().unwrap()
}

fn image(name: &str, figure: char) -> Named {
    Named::parse(name, digest(figure))
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn open(directory: &Path) -> Ledger {
    Ledger::open(LedgerOptions {
        directory: directory.into(),
        bootstrap_list: directory.join("bootstrap.list"),
    })
    .unwrap()
}

/// A ledger that has been told that nothing is there.
fn watching() -> (TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    assert!(all(&ledger, &[]).is_empty());
    (folder, ledger)
}

fn all(ledger: &Ledger, images: &[&Named]) -> Vec<(Named, Past)> {
    ledger.report(images.iter().copied().cloned().collect(), true, |_| false, at(1))
}

fn appears(ledger: &Ledger, images: &[&Named]) -> Vec<(Named, Past)> {
    ledger.report(images.iter().copied().cloned().collect(), false, |_| false, at(2))
}

fn past(ledger: &Ledger) -> [usize; 3] {
    ledger.presence().past
}

#[test]
fn what_a_hook_admitted_is_no_news_and_what_nobody_asked_about_is_said_once() {
    let (_folder, ledger) = watching();
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(1));
    assert_eq!(appears(&ledger, &[&image("r.example/app:v1", '1')]), []);
    let stray = image("r.example/stray:v1", '2');
    assert_eq!(appears(&ledger, &[&stray]), [(stray.clone(), Past::NeverAsked)]);
    assert_eq!(appears(&ledger, &[&stray]), []);
    assert_eq!(all(&ledger, &[&stray, &image("r.example/app:v1", '1')]), []);
    assert_eq!((ledger.presence().images, past(&ledger)), (2, [1, 0, 0]));
    assert_eq!(ledger.asked(&stray), Some(Asked::Never));
}

#[test]
fn what_was_there_before_anybody_watched_is_no_news_until_it_went_and_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let old = image("r.example/old:v1", '1');
    // Nothing can be said of what appears while it is not known what was there.
    assert_eq!(appears(&ledger, &[&old]), []);
    assert_eq!((ledger.presence().images, ledger.asked(&old)), (0, None));
    assert_eq!(all(&ledger, &[&old]), []);
    assert_eq!((ledger.asked(&old), past(&ledger)), (Some(Asked::Before), [0; 3]));
    assert_eq!(all(&ledger, &[]), []);
    assert_eq!(all(&ledger, &[&old]), [(old, Past::NeverAsked)]);
}

#[test]
fn an_image_is_judged_under_its_name_and_another_name_was_never_judged() {
    let (_folder, ledger) = watching();
    ledger.admitted(&repository("r.example/dev"), &digest('1'), at(1));
    let renamed = image("r.example/prod:v1", '1');
    let reported = [&image("r.example/dev:v1", '1'), &renamed];
    assert_eq!(all(&ledger, &reported), [(renamed.clone(), Past::OtherName)]);
    assert_eq!(ledger.asked(&renamed), Some(Asked::UnderAnotherName));
    // A tag is no part of what was asked.
    assert_eq!(appears(&ledger, &[&image("r.example/dev:v2", '1')]), []);
}

#[test]
fn an_image_that_was_denied_and_is_here_all_the_same_is_said() {
    let (_folder, ledger) = watching();
    ledger.denied(&repository("r.example/app"), &digest('1'), at(1));
    assert_eq!(past(&ledger), [0; 3]);
    let here = image("r.example/app:v1", '1');
    assert_eq!(all(&ledger, &[&here]), [(here.clone(), Past::Denied)]);
    // Another denial of what is here changes nothing, an admission ends it.
    ledger.denied(&repository("r.example/app"), &digest('1'), at(2));
    assert_eq!((past(&ledger), ledger.asked(&here)), ([0, 1, 0], Some(Asked::Denied)));
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(3));
    assert_eq!((past(&ledger), ledger.asked(&here)), ([0; 3], Some(Asked::Admitted)));
}

#[test]
fn a_denial_of_what_is_here_by_an_earlier_admission_takes_nothing_back() {
    let (_folder, ledger) = watching();
    let here = image("r.example/app:v1", '1');
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(1));
    all(&ledger, &[&here]);
    ledger.denied(&repository("r.example/app"), &digest('1'), at(2));
    assert_eq!(all(&ledger, &[&here]), []);
    // Once it is gone, the denial counts.
    all(&ledger, &[]);
    ledger.denied(&repository("r.example/app"), &digest('1'), at(3));
    assert_eq!(all(&ledger, &[&here]), [(here, Past::Denied)]);
}

#[test]
fn an_id_of_cri_is_one_more_name_of_an_image_and_alone_it_is_the_image() {
    let (_folder, ledger) = watching();
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(1));
    let id = format!("sha256:{}", "c".repeat(64));
    assert_eq!(image(&id, '1').repository, None);
    let names = [&image(&id, '1'), &image("r.example/app:v1", '1')];
    assert_eq!(all(&ledger, &names), []);
    assert_eq!(ledger.presence().images, 1);
    // The id can be told first.
    assert_eq!(appears(&ledger, &[&image(&id, '1')]), []);
    assert_eq!(
        appears(&ledger, &[&image(&id, '2')]),
        [(image(&id, '2'), Past::NeverAsked)]
    );
}

#[test]
fn a_denial_takes_nothing_back_until_it_is_told_what_is_here() {
    let (folder, ledger) = watching();
    let (app, old) = (image("r.example/app:v1", '1'), image("r.example/old:v1", '2'));
    let [app_name, old_name] = ["r.example/app", "r.example/old"].map(repository);
    // Admitted since everything was last told: it may be here.
    ledger.admitted(&app_name, &digest('1'), at(2));
    ledger.denied(&app_name, &digest('1'), at(3));
    assert_eq!(all(&ledger, &[&app]), []);
    appears(&ledger, &[&old]);
    ledger.shut_down();
    // After a restart everything may.
    let ledger = open(folder.path());
    ledger.denied(&app_name, &digest('1'), at(4));
    ledger.denied(&old_name, &digest('2'), at(4));
    assert_eq!(all(&ledger, &[&app, &old]), []);
    assert_eq!(past(&ledger), [1, 0, 0]);
}

#[test]
fn a_denial_of_what_may_be_here_counts_once_it_is_known_to_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let names = ["r.example/a", "r.example/b", "r.example/c"];
    let [denied, admitted_again, stays] = names.map(repository);
    for (name, figure) in [(&denied, '1'), (&admitted_again, '2'), (&stays, '3')] {
        ledger.admitted(name, &digest(figure), at(1));
        ledger.denied(name, &digest(figure), at(2));
        // A second time, which is no other.
        ledger.denied(name, &digest(figure), at(3));
    }
    ledger.admitted(&admitted_again, &digest('2'), at(4));
    // Over a restart, by the changes, and over another, by the whole that the first change writes.
    ledger.shut_down();
    let ledger = open(folder.path());
    ledger.admitted(&repository("r.example/d"), &digest('4'), at(4));
    ledger.shut_down();
    let ledger = open(folder.path());

    let [first, second, third] = ["a:v1", "b:v1", "c:v1"].map(|name| format!("r.example/{name}"));
    let (first, second, third) = (image(&first, '1'), image(&second, '2'), image(&third, '3'));
    assert_eq!(all(&ledger, &[&third]), []);
    assert_eq!(appears(&ledger, &[&first, &second]), [(first.clone(), Past::Denied)]);
    // What is still here stays what it is, until it goes.
    assert_eq!(ledger.asked(&third), Some(Asked::Admitted));
    assert_eq!(all(&ledger, &[&first, &second]), []);
    assert_eq!(appears(&ledger, &[&third]), [(third, Past::Denied)]);
}

#[test]
fn an_id_that_stays_when_the_names_go_is_what_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let id = format!("sha256:{}", "c".repeat(64));
    let (old, stray) = (image("r.example/old:v1", '1'), image("r.example/stray:v1", '2'));
    all(&ledger, &[&old, &image(&id, '1')]);
    assert_eq!(appears(&ledger, &[&stray]), [(stray, Past::NeverAsked)]);
    assert_eq!(all(&ledger, &[&image(&id, '1'), &image(&id, '2')]), []);
    assert_eq!(ledger.asked(&image(&id, '1')), Some(Asked::Before));
    assert_eq!((ledger.presence().images, past(&ledger)), (2, [1, 0, 0]));
}

#[test]
fn what_the_hook_admits_without_asking_is_admitted() {
    let (_folder, ledger) = watching();
    let pause = image("registry.k8s.io/pause:3.10", '1');
    assert_eq!(
        ledger.report(vec![pause.clone()], false, |image| *image == pause, at(1)),
        []
    );
    assert_eq!(ledger.asked(&pause), Some(Asked::Admitted));
}

#[test]
fn it_is_remembered_over_a_restart_what_was_told_what_was_there_and_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let (before, stray) = (image("r.example/old:v1", '1'), image("r.example/stray:v1", '2'));
    all(&ledger, &[&before]);
    ledger.admitted(&repository("r.example/app"), &digest('3'), at(1));
    ledger.denied(&repository("r.example/bad"), &digest('4'), at(1));
    appears(&ledger, &[&stray]);
    ledger.shut_down();

    let ledger = open(folder.path());
    // Nothing is known to be here until that is told.
    assert_eq!(
        (ledger.presence().images, ledger.presence().reported_at),
        (0, Some(at(1)))
    );
    let (app, bad) = (image("r.example/app:v1", '3'), image("r.example/bad:v1", '4'));
    let told = all(&ledger, &[&before, &stray, &app, &bad]);
    assert_eq!(told, [(bad, Past::Denied)]);
    assert_eq!(past(&ledger), [1, 1, 0]);
    // What went is forgotten over a restart, too.
    all(&ledger, &[&app]);
    ledger.shut_down();
    let ledger = open(folder.path());
    assert_eq!(all(&ledger, &[&app, &before]), [(before, Past::NeverAsked)]);
}

#[test]
fn that_it_is_watched_is_on_disk_once_it_has_been_told_what_is_here() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    all(&ledger, &[&image("r.example/old:v1", '1')]);
    // It dies here.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("ledger.jsonl"), copy.path().join("ledger.jsonl")).unwrap();
    let ledger = open(copy.path());
    let stray = image("r.example/stray:v1", '2');
    let told = all(&ledger, &[&image("r.example/old:v1", '1'), &stray]);
    assert_eq!(told, [(stray, Past::NeverAsked)]);
}

#[test]
fn half_a_line_costs_what_it_says_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    all(&ledger, &[]);
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(1));
    ledger.shut_down();
    let path = folder.path().join("ledger.jsonl");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"image\":{\"digest\":\"sha2");
    fs::write(&path, text).unwrap();
    let ledger = open(folder.path());
    assert_eq!(all(&ledger, &[&image("r.example/app:v1", '1')]), []);
    ledger.admitted(&repository("r.example/app"), &digest('2'), at(1));
    ledger.shut_down();
    // The next change wrote the whole.
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 3, "{text}");
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_memory_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // Whoever writes there is told that the disk is full.
    symlink("/dev/full", folder.path().join("ledger.jsonl.new")).unwrap();
    let ledger = open(folder.path());
    all(&ledger, &[]);
    ledger.admitted(&repository("r.example/app"), &digest('1'), at(1));
    while ledger.degraded().is_none() {
        thread::yield_now();
    }
    assert_eq!(appears(&ledger, &[&image("r.example/app:v1", '1')]), []);
    // It is shut down without waiting for the disk.
    ledger.shut_down();
}

#[test]
fn the_oldest_that_are_not_here_make_room() {
    let mut state = State::default();
    let numbered = |number: usize| Named {
        digest: format!("sha256:{number:064x}").parse().unwrap(),
        repository: Some(repository("r.example/app")),
    };
    let seconds = |number: usize| at(i64::try_from(number).unwrap());
    for number in 0..MAX_LEDGER_IMAGES {
        // The very first is here.
        state.set(numbered(number), Standing::Admitted, seconds(number), number == 0);
    }
    state.set(numbered(MAX_LEDGER_IMAGES), Standing::Admitted, seconds(0), false);
    assert_eq!(state.images.len(), MAX_LEDGER_IMAGES - LEDGER_ROOM + 1);
    assert!(state.images.contains_key(&numbered(0)));
    assert!(!state.images.contains_key(&numbered(LEDGER_ROOM)));
    assert!(state.images.contains_key(&numbered(LEDGER_ROOM + 1)));
}

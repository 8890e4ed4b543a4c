//! Answers on disk: what is damaged costs a request, and what belongs to others is left alone.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use assay_verify::query::Query;
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use tempfile::TempDir;

use crate::words::{HOUR, at, crl, crl_query, ocsp, ocsp_query};

fn query(number: usize) -> Query {
    crl_query(&format!("http://crl.example/{number}.crl"))
}

fn name(query: &Query) -> String {
    query.id().to_string()
}

fn file(state: &TempDir, query: &Query) -> PathBuf {
    state.path().join("revocation").join(name(query))
}

fn open(state: &TempDir) -> AnswerStore {
    AnswerStore::open(AnswerOptions::new(state.path()))
}

async fn put(store: &AnswerStore, query: &Query) {
    store.store(query.clone(), at(0), crl(0, HOUR)).await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_answer_comes_back_with_its_query_after_a_restart() {
    let state = TempDir::new().unwrap();
    let ocsp_query = ocsp_query(&["http://a.example/".to_owned(), "http://b.example/".to_owned()], &[1]);
    for (query, bytes) in [(query(1), crl(0, HOUR)), (ocsp_query, ocsp(&[1], 0, HOUR))] {
        open(&state).store(query.clone(), at(5), bytes.clone()).await;
        let answer = open(&state).load(&name(&query)).await.unwrap();
        assert_eq!((answer.query, answer.since, &*answer.bytes), (query, at(5), &*bytes));
    }
}

#[tokio::test]
async fn only_the_daemon_may_read_the_files() {
    let state = TempDir::new().unwrap();
    let directory = state.path().join("revocation");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    put(&open(&state), &query(1)).await;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&file(&state, &query(1))), 0o600);
}

#[tokio::test]
async fn a_file_with_any_bit_flipped_is_no_answer_and_is_removed() {
    let state = TempDir::new().unwrap();
    let query = query(1);
    put(&open(&state), &query).await;
    let path = file(&state, &query);
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(&path, bytes).unwrap();
        let store = open(&state);
        assert!(store.load(&name(&query)).await.is_none(), "{position}");
        assert!(!path.exists(), "{position}");
        assert_eq!((store.names().len(), store.bytes()), (0, 0));
    }
}

#[tokio::test]
async fn a_truncated_or_lengthened_file_is_no_answer_and_is_removed() {
    let state = TempDir::new().unwrap();
    let query = query(1);
    put(&open(&state), &query).await;
    let path = file(&state, &query);
    let good = fs::read(&path).unwrap();
    for length in [0, 1, 31, 32, 33, 100, good.len() - 1, good.len() + 1, 16 * 1024 * 1024] {
        let mut bytes = good.clone();
        bytes.resize(length, 0);
        fs::write(&path, bytes).unwrap();
        assert!(open(&state).load(&name(&query)).await.is_none(), "{length}");
        assert!(!path.exists(), "{length}");
    }
}

#[tokio::test]
async fn a_file_under_the_name_of_another_query_is_no_answer() {
    let state = TempDir::new().unwrap();
    put(&open(&state), &query(1)).await;
    fs::rename(file(&state, &query(1)), file(&state, &query(2))).unwrap();
    assert!(open(&state).load(&name(&query(2))).await.is_none());
    assert!(!file(&state, &query(2)).exists());
}

#[tokio::test]
async fn what_belongs_to_others_is_neither_read_nor_removed() {
    let state = TempDir::new().unwrap();
    let directory = state.path().join("revocation");
    let elsewhere = state.path().join("elsewhere");
    put(&open(&state), &query(1)).await;
    fs::rename(file(&state, &query(1)), &elsewhere).unwrap();
    symlink(&elsewhere, file(&state, &query(1))).unwrap();
    fs::create_dir(file(&state, &query(2))).unwrap();
    fs::write(directory.join("README"), "mine").unwrap();
    let store = open(&state);
    assert!(store.names().is_empty());
    assert!(store.load(&name(&query(1))).await.is_none());
    store.clear().await;
    for path in [
        elsewhere,
        file(&state, &query(1)),
        file(&state, &query(2)),
        directory.join("README"),
    ] {
        assert!(path.symlink_metadata().is_ok(), "{}", path.display());
    }
}

#[tokio::test]
async fn a_symbolic_link_put_in_place_of_an_answer_is_not_followed() {
    let state = TempDir::new().unwrap();
    let store = open(&state);
    put(&store, &query(1)).await;
    let elsewhere = state.path().join("elsewhere");
    fs::rename(file(&state, &query(1)), &elsewhere).unwrap();
    symlink(&elsewhere, file(&state, &query(1))).unwrap();
    assert!(store.load(&name(&query(1))).await.is_none());
    // A new answer replaces the link, not what it leads to.
    let before = fs::read(&elsewhere).unwrap();
    store.store(query(1), at(9), crl(0, 2 * HOUR)).await;
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
    assert_eq!(store.load(&name(&query(1))).await.unwrap().since, at(9));
}

#[tokio::test]
async fn an_unfinished_file_of_a_writer_that_died_is_removed() {
    let state = TempDir::new().unwrap();
    put(&open(&state), &query(1)).await;
    let unfinished = file(&state, &query(1)).with_extension("new");
    fs::write(&unfinished, "half").unwrap();
    let store = open(&state);
    assert!(!unfinished.exists());
    assert_eq!(store.names(), [name(&query(1)).into()]);
    // And one that appears later does not stop a write.
    fs::write(&unfinished, "half").unwrap();
    store.store(query(1), at(7), crl(0, HOUR)).await;
    assert_eq!(store.load(&name(&query(1))).await.unwrap().since, at(7));
}

#[tokio::test]
async fn what_was_written_longest_ago_makes_room() {
    let state = TempDir::new().unwrap();
    let unbounded = open(&state);
    put(&unbounded, &query(0)).await;
    let size = unbounded.bytes();
    unbounded.clear().await;
    let by_bytes = AnswerOptions {
        limit: 3 * size + size / 2,
        ..AnswerOptions::new(state.path())
    };
    let by_count = AnswerOptions {
        count: 3,
        ..AnswerOptions::new(state.path())
    };
    for options in [by_bytes, by_count] {
        let store = AnswerStore::open(options);
        for number in [1, 2, 3, 1, 4] {
            put(&store, &query(number)).await;
        }
        assert_eq!(store.names(), [3, 1, 4].map(|number| name(&query(number)).into()));
        assert_eq!(fs::read_dir(state.path().join("revocation")).unwrap().count(), 3);
        assert!(store.bytes() <= 3 * size + size / 2);
        store.clear().await;
    }
}

#[tokio::test]
async fn a_smaller_limit_is_kept_from_the_start() {
    let state = TempDir::new().unwrap();
    let store = open(&state);
    for number in 0..5 {
        put(&store, &query(number)).await;
    }
    let options = AnswerOptions {
        count: 2,
        ..AnswerOptions::new(state.path())
    };
    assert_eq!(AnswerStore::open(options).names().len(), 2);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_costs_answers_and_nothing_else() {
    let state = TempDir::new().unwrap();
    fs::write(state.path().join("revocation"), "a file").unwrap();
    let store = open(&state);
    put(&store, &query(1)).await;
    assert!(store.load(&name(&query(1))).await.is_none());
    assert_eq!(store.bytes(), 0);
}

#[tokio::test]
async fn a_directory_that_was_removed_is_made_again() {
    let state = TempDir::new().unwrap();
    let store = open(&state);
    put(&store, &query(1)).await;
    fs::remove_dir_all(state.path().join("revocation")).unwrap();
    assert!(store.load(&name(&query(1))).await.is_none());
    put(&store, &query(1)).await;
    assert!(store.load(&name(&query(1))).await.is_some());
}

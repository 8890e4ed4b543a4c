//! Promises, proofs and checkpoints: who vouches for an entry, and for which time.

use super::super::*;
use super::fixture::*;
use crate::code::Code;
use crate::sigstore::window::Window;

#[test]
fn an_entry_with_a_promise_and_a_proof_verifies_at_the_promised_time() {
    let log = Log::rekor_v1();
    assert_eq!(judge(&log, &log.entry_v1(&good_v1())), Ok(Some(at(TIME))));
}

#[test]
fn a_promise_is_enough() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.proof = None;
    assert_eq!(judge(&log, &entry), Ok(Some(at(TIME))));
}

#[test]
fn a_proof_is_enough_and_has_no_time() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.promise = None;
    assert_eq!(judge(&log, &entry), Ok(None));
    let log = Log::rekor_v2();
    assert_eq!(judge(&log, &log.entry_v2(&good_v2())), Ok(None));
}

#[test]
fn refuses_an_entry_that_nobody_vouches_for() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    (entry.promise, entry.proof) = (None, None);
    assert_eq!(judge(&log, &entry), Err(LogError::NoEvidence));
}

#[test]
fn passes_over_the_entry_of_a_log_that_is_not_trusted() {
    let (log, other) = (Log::rekor_v1(), Log::rekor_v1());
    let error = judge(&other, &log.entry_v1(&good_v1())).unwrap_err();
    assert_eq!(error, LogError::UnknownLog(crate::digest::hex(&log.id()).into()));
    assert!(error.is_unknown());
    assert_eq!(error.code(), Code::LogEntryInvalid);
    assert!(!LogError::NoEvidence.is_unknown());
}

/// Everything that a promise is of, changed after it was made.
#[test]
fn refuses_a_promise_of_anything_else() {
    let log = Log::rekor_v1();
    let mut good = log.entry_v1(&good_v1());
    good.proof = None;
    let change = |change: fn(&mut LogEntry)| {
        let mut entry = good.clone();
        change(&mut entry);
        judge(&log, &entry)
    };
    let refused = Err(LogError::Promise(PromiseError::Signature));
    assert_eq!(change(|entry| entry.integrated_time = Some(at(TIME + 1))), refused);
    assert_eq!(change(|entry| entry.log_index += 1), refused);
    assert_eq!(
        change(|entry| entry.body = format!("{} ", good_v1()).as_bytes().into()),
        refused
    );
    assert_eq!(change(|entry| entry.promise.as_mut().unwrap()[9] ^= 1), refused);
    assert_eq!(change(|entry| entry.promise = Some([].into())), refused);
    let no_time = Err(LogError::Promise(PromiseError::NoTime));
    assert_eq!(change(|entry| entry.integrated_time = None), no_time);
}

#[test]
fn refuses_a_promise_by_another_key_under_the_log_s_name() {
    let (log, other) = (Log::rekor_v1(), Log::rekor_v1());
    let mut entry = log.entry_v1(&good_v1());
    entry.promise = Some(other.promise(&entry));
    assert_eq!(judge(&log, &entry), Err(LogError::Promise(PromiseError::Signature)));
}

#[test]
fn refuses_a_promise_of_numbers_without_a_canonical_form() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.proof = None;
    entry.log_index = (1 << 53) - 1;
    entry.promise = Some(log.promise(&entry));
    assert_eq!(judge(&log, &entry), Ok(Some(at(TIME))));
    let number = Err(LogError::Promise(PromiseError::Number));
    entry.log_index += 1;
    entry.promise = Some(log.promise(&entry));
    assert_eq!(judge(&log, &entry), number);
    let mut entry = log.entry_v1(&good_v1());
    entry.integrated_time = Some(Timestamp::new(TIME, 1).unwrap());
    assert_eq!(judge(&log, &entry), number);
}

/// The window is closed: its first and its last second are in it.
#[test]
fn refuses_a_promise_at_a_time_at_which_the_log_s_key_does_not_count() {
    let log = Log::rekor_v1();
    let window = log.root().logs[0].window;
    for (second, is_inside) in [
        (TIME - 3601, false),
        (TIME - 3600, true),
        (TIME + 3600, true),
        (TIME + 3601, false),
    ] {
        let mut entry = log.entry_v1(&good_v1());
        entry.integrated_time = Some(at(second));
        entry.promise = Some(log.promise(&entry));
        let expected = match is_inside {
            true => Ok(Some(at(second))),
            false => Err(LogError::Promise(PromiseError::OutsideWindow {
                at: at(second),
                window,
            })),
        };
        assert_eq!(judge(&log, &entry), expected);
    }
}

#[test]
fn a_good_promise_excuses_no_bad_proof() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    proof(&mut entry).hashes[0][0] ^= 1;
    assert_eq!(judge(&log, &entry), Err(LogError::Inclusion(InclusionError::Root)));
    let mut entry = log.entry_v1(&good_v1());
    proof(&mut entry).checkpoint = Some(Log::rekor_v1().checkpoint_v1(7, &proof(&mut entry.clone()).root_hash));
    assert_eq!(
        judge(&log, &entry),
        Err(LogError::Checkpoint(CheckpointError::Unsigned))
    );
}

#[test]
fn a_good_proof_excuses_no_bad_promise() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.promise.as_mut().unwrap()[9] ^= 1;
    assert_eq!(judge(&log, &entry), Err(LogError::Promise(PromiseError::Signature)));
}

/// The first bundles had such proofs. They add nothing to a promise, and must not be wrong.
#[test]
fn a_proof_without_a_checkpoint_counts_beside_a_promise_only() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    proof(&mut entry).checkpoint = None;
    assert_eq!(judge(&log, &entry), Ok(Some(at(TIME))));
    let mut wrong = entry.clone();
    proof(&mut wrong).root_hash[0] ^= 1;
    assert_eq!(judge(&log, &wrong), Err(LogError::Inclusion(InclusionError::Root)));
    entry.promise = None;
    assert_eq!(
        judge(&log, &entry),
        Err(LogError::Inclusion(InclusionError::NoCheckpoint))
    );
}

/// A proof and a checkpoint that are both good, of two trees.
#[test]
fn refuses_the_checkpoint_of_another_tree() {
    type Make = (Log, fn(&Log) -> LogEntry, fn(&Log, u64, &[u8]) -> Box<str>);
    let logs: [Make; 2] = [
        (Log::rekor_v1(), |log| log.entry_v1(&good_v1()), Log::checkpoint_v1),
        (Log::rekor_v2(), |log| log.entry_v2(&good_v2()), Log::checkpoint_v2),
    ];
    for (log, entry, checkpoint) in logs {
        let mut of_size = entry(&log);
        let root = proof(&mut of_size).root_hash.clone();
        proof(&mut of_size).checkpoint = Some(checkpoint(&log, 8, &root));
        let size = CheckpointError::Size {
            checkpoint: 8,
            proof: 7,
        };
        assert_eq!(judge(&log, &of_size), Err(LogError::Checkpoint(size)));
        let mut of_root = entry(&log);
        proof(&mut of_root).checkpoint = Some(checkpoint(&log, 7, &[7; 32]));
        assert_eq!(judge(&log, &of_root), Err(LogError::Checkpoint(CheckpointError::Root)));
    }
}

#[test]
fn rekor_v2_needs_its_proof_and_has_no_promise() {
    let log = Log::rekor_v2();
    let good = log.entry_v2(&good_v2());
    let mut without = good.clone();
    without.proof = None;
    assert_eq!(judge(&log, &without), Err(LogError::NoProof));
    let mut unsigned = good.clone();
    proof(&mut unsigned).checkpoint = None;
    assert_eq!(
        judge(&log, &unsigned),
        Err(LogError::Inclusion(InclusionError::NoCheckpoint))
    );
    let mut promised = good.clone();
    promised.integrated_time = Some(at(TIME));
    assert_eq!(judge(&log, &promised), Ok(None), "a time that nobody promises is none");
    promised.promise = Some(log.promise(&promised));
    assert_eq!(judge(&log, &promised), Err(LogError::PromiseOfRekorV2));
    let mut elsewhere = good.clone();
    elsewhere.log_index = 4;
    let position = InclusionError::Position { proof: 3, entry: 4 };
    assert_eq!(judge(&log, &elsewhere), Err(LogError::Inclusion(position)));
    let mut flipped = good;
    proof(&mut flipped).hashes[2][31] ^= 1;
    assert_eq!(judge(&log, &flipped), Err(LogError::Inclusion(InclusionError::Root)));
}

/// Which Rekor it is, checkpoint and body have to agree on: the rules of the one are not those of the other.
#[test]
fn refuses_an_entry_of_one_rekor_under_the_checkpoint_of_the_other() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    let root = proof(&mut entry).root_hash.clone();
    proof(&mut entry).checkpoint = Some(log.checkpoint_v2(7, &root));
    assert_eq!(judge(&log, &entry), Err(LogError::Generation { log: 2, entry: 1 }));
    let log = Log::rekor_v2();
    let mut entry = log.entry_v2(&good_v2());
    let root = proof(&mut entry).root_hash.clone();
    proof(&mut entry).checkpoint = Some(log.checkpoint_v1(7, &root));
    assert_eq!(judge(&log, &entry), Err(LogError::Generation { log: 1, entry: 2 }));
}

#[test]
fn rekor_v2_signs_with_every_kind_of_key() {
    for pair in [Pair::p256(), Pair::p384(), Pair::ed25519(), Pair::rsa()] {
        let log = Log {
            pair,
            host: "log2025.test",
        };
        assert_eq!(judge(&log, &log.entry_v2(&good_v2())), Ok(None));
    }
}

/// An entry may name its log by the name of its key in checkpoints, whole or four bytes of it.
#[test]
fn finds_the_log_by_the_name_of_its_key_in_checkpoints() {
    let log = Log::rekor_v2();
    let mut entry = log.entry_v2(&good_v2());
    entry.log_id = log.key_id(log.host).as_slice().into();
    assert_eq!(judge(&log, &entry), Ok(None));
    entry.log_id = log.key_id("other.test").as_slice().into();
    assert!(judge(&log, &entry).unwrap_err().is_unknown());
}

#[test]
fn an_entry_without_a_time_counts_where_the_log_s_key_does_at_every_verified_time() {
    let log = Log::rekor_v2();
    let (root, content) = (log.root(), simple_signing());
    let entry = log.entry_v2(&good_v2());
    let verified = verify(&entry, &logged(&content, SIGNER.key()), &root).unwrap();
    assert_eq!(verified.log_index, 3);
    let window = verified.log.window;
    assert_eq!(verified.check_window(&[at(TIME)]), Ok(()));
    assert_eq!(verified.check_window(&[at(TIME - 3600), at(TIME + 3600)]), Ok(()));
    for late in [TIME - 3601, TIME + 3601] {
        let outside = Err(LogError::OutsideWindow { at: at(late), window });
        assert_eq!(verified.check_window(&[at(TIME), at(late)]), outside);
    }
    assert_eq!(verified.check_window(&[]), Err(LogError::NoTime));
    let mut open = root.clone();
    open.logs[0].window = Window::default();
    let verified = verify(&entry, &logged(&content, SIGNER.key()), &open).unwrap();
    assert_eq!(verified.check_window(&[]), Err(LogError::NoTime));
}

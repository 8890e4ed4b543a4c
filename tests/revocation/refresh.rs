//! Answers that are fetched anew before they lapse. Time is tokio's, paused; the endpoint is a script.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::limits::{MAX_CRL_SIZE, MAX_REVOCATION_RETRY, MIN_REVOCATION_RETRY, REVOCATION_USE_WINDOW};
use assay_verify::query::{Answered, Query, QueryId, Unanswered};
use assayd::admission::answers::{Random, RevocationAnswers, World};
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::fetch::revocation::{AnswerMemory, RevocationEndpoints, Source};
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::words::{HOUR, START, at, crl, crl_of, crl_query};

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The paused time as a wall clock, which shows [`START`] when the test begins.
fn clock() -> Timestamp {
    let began = BEGAN.get().expect("the test has begun");
    at(i64::try_from(began.elapsed().as_secs()).unwrap())
}

/// What the world says, and when it was asked.
#[derive(Default)]
struct Script {
    answer: Mutex<Option<Arc<[u8]>>>,
    asked: Mutex<Vec<(i64, Source)>>,
    panics: AtomicBool,
}

impl RevocationEndpoints for Script {
    fn ask<'a>(&'a self, _: &'a Query, source: Source, _: Instant) -> BoxFuture<'a, Result<Arc<[u8]>, Unanswered>> {
        self.asked.lock().unwrap().push((clock().as_second() - START, source));
        assert!(!self.panics.load(Ordering::Relaxed), "as the test wants it");
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move {
            answer.ok_or(Unanswered {
                code: Code::RevocationUnknown,
                reason: "away".into(),
            })
        })
    }
}

struct Lab {
    script: Arc<Script>,
    changed: Arc<Mutex<Vec<QueryId>>>,
    answers: RevocationAnswers,
    query: Query,
    refreshing: tokio::task::JoinHandle<()>,
    state: Arc<TempDir>,
}

impl Lab {
    /// With an answer that lives from hour 0 to hour 8: its last quarter begins at hour 6.
    async fn new() -> Self {
        let lab = Self::with(|| 0.5);
        lab.keep(&first()).await;
        lab
    }

    fn with(random: Random) -> Self {
        BEGAN.set(Some(Instant::now()));
        Self::start(Arc::new(TempDir::new().unwrap()), random)
    }

    fn start(state: Arc<TempDir>, random: Random) -> Self {
        let (script, changed) = (Arc::new(Script::default()), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&changed);
        let answers = RevocationAnswers::new(World {
            endpoints: Arc::clone(&script) as _,
            memory: AnswerMemory::default(),
            store: AnswerStore::open(AnswerOptions::new(state.path())),
            clock,
            random,
            changed: Box::new(move |id| heard.lock().unwrap().push(id)),
        });
        let fresh = answers.clone();
        Self {
            script,
            changed,
            answers,
            query: crl_query("http://crl.example/a.crl"),
            refreshing: tokio::spawn(async move { fresh.keep_fresh().await }),
            state,
        }
    }

    async fn keep(&self, bytes: &Arc<[u8]>) {
        self.answers.keep([(self.query.clone(), Arc::clone(bytes))]).await;
        self.answers.flush().await;
    }

    async fn answer(&self) -> Answered {
        let mut all = self
            .answers
            .answer(&BTreeSet::from([self.query.clone()]), clock())
            .await;
        all.pop().unwrap().1
    }

    /// What a judgement would be given: now, and beside it.
    async fn offered(&self) -> (Option<Arc<[u8]>>, Option<Arc<[u8]>>) {
        let answered = self.answer().await;
        (answered.now.ok(), answered.kept)
    }

    fn says(&self, bytes: Option<&Arc<[u8]>>) {
        *self.script.answer.lock().unwrap() = bytes.cloned();
    }

    fn asked(&self) -> Vec<i64> {
        self.script.asked.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }

    fn changes(&self) -> usize {
        let changed = self.changed.lock().unwrap();
        assert!(changed.iter().all(|id| *id == self.query.id()));
        changed.len()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

fn first() -> Arc<[u8]> {
    crl(0, 8 * HOUR)
}

async fn until(second: i64) {
    let passed = clock().as_second() - START;
    sleep(Duration::from_secs((second - passed).try_into().unwrap())).await;
}

#[tokio::test(start_paused = true)]
async fn the_next_answer_is_at_hand_before_the_kept_one_lapses() {
    let (lab, next) = (Lab::new().await, crl(6 * HOUR, 14 * HOUR));
    lab.says(Some(&next));
    until(6 * HOUR).await;
    assert_eq!((lab.asked().len(), lab.changes()), (0, 0));
    until(7 * HOUR).await;
    assert_eq!((lab.asked().len(), lab.changes()), (1, 1));
    assert_eq!(lab.script.asked.lock().unwrap()[0].1, Source::Authority);
    // The judgement sees both, until it proves the next one.
    assert_eq!(lab.offered().await, (Some(next.clone()), Some(first())));
    lab.keep(&next).await;
    assert_eq!(lab.offered().await, (Some(next.clone()), None));
    until(9 * HOUR).await;
    assert_eq!(lab.offered().await, (Some(next), None));
    assert_eq!(lab.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refreshes_are_spread_over_the_first_half_of_the_last_quarter() {
    let points: [(Random, i64); 3] = [(|| 0.0, 7 * HOUR), (|| 0.5, 13 * HOUR / 2), (|| 0.999, 6 * HOUR)];
    for (random, expected) in points {
        let lab = Lab::with(random);
        lab.keep(&first()).await;
        until(8 * HOUR).await;
        let asked = lab.asked()[0];
        assert!((asked - expected).abs() <= 120, "{asked} {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_made_up_refresh_is_dropped_when_a_judgement_proves_the_kept_answer() {
    let (lab, made_up) = (Lab::new().await, crl(HOUR, 1000 * HOUR));
    lab.says(Some(&made_up));
    until(7 * HOUR).await;
    assert_eq!(lab.offered().await, (Some(made_up.clone()), Some(first())));
    let next = crl(6 * HOUR, 14 * HOUR);
    lab.says(Some(&next));
    lab.keep(&first()).await;
    assert_eq!(lab.offered().await, (Some(first()), None));
    // And the true one is fetched soon, long before the made-up one would have lapsed.
    until(7 * HOUR + 60).await;
    assert_eq!(lab.offered().await, (Some(next), Some(first())));
    assert_eq!(lab.changes(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_made_up_refresh_that_nobody_judged_is_seen_once_after_the_kept_answer_lapsed() {
    let (lab, made_up) = (Lab::new().await, crl(HOUR, 1000 * HOUR));
    lab.says(Some(&made_up));
    until(7 * HOUR).await;
    assert_eq!(lab.changes(), 1);
    lab.refreshing.abort();
    until(9 * HOUR).await;
    let next = crl(8 * HOUR, 16 * HOUR);
    lab.says(Some(&next));
    assert_eq!(lab.offered().await, (Some(made_up), Some(first())));
    // It was not proved: from then on the world is asked.
    assert_eq!(lab.offered().await, (Some(next), Some(first())));
}

#[tokio::test(start_paused = true)]
async fn a_made_up_refresh_does_not_stand_for_an_endpoint_that_is_away() {
    let (lab, made_up) = (Lab::new().await, crl(HOUR, 1000 * HOUR));
    lab.says(Some(&made_up));
    until(7 * HOUR).await;
    assert_eq!(lab.offered().await, (Some(made_up), Some(first())));
    lab.refreshing.abort();
    lab.says(None);
    until(9 * HOUR).await;
    // Nothing but the kept answer: a rule's grace applies.
    for _ in 0..2 {
        assert_eq!(lab.offered().await, (None, Some(first())));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_answer_again_is_news_to_nobody() {
    let lab = Lab::new().await;
    lab.says(Some(&first()));
    until(8 * HOUR - 1).await;
    assert!(lab.asked().len() > 1);
    assert_eq!(lab.changes(), 0);
    assert_eq!(lab.offered().await, (Some(first()), None));
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_or_one_of_the_future_is_no_refresh() {
    let lab = Lab::new().await;
    for bytes in [crl(-HOUR, 100 * HOUR), crl(50 * HOUR, 100 * HOUR), crl(1, 2)] {
        lab.says(Some(&bytes));
        until(clock().as_second() - START + 2 * HOUR).await;
    }
    assert_eq!(lab.changes(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_away_is_asked_again_less_and_less_often_while_the_query_is_in_use() {
    let lab = Lab::new().await;
    let window = i64::try_from(REVOCATION_USE_WINDOW.as_secs()).unwrap();
    until(window + 24 * HOUR).await;
    let asked = lab.asked();
    let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = i64::try_from(MIN_REVOCATION_RETRY.as_secs() / 2).unwrap();
    let most = i64::try_from(MAX_REVOCATION_RETRY.as_secs() + 60).unwrap();
    assert!(gaps.iter().all(|gap| (least..=most).contains(gap)), "{gaps:?}");
    assert!(gaps[0] < gaps[3] && gaps[3] < gaps[6], "{gaps:?}");
    let last = *asked.last().unwrap();
    assert!((window - 2 * HOUR..=window).contains(&last), "{last}");
    let statistics = lab.answers.statistics();
    assert_eq!(statistics.soonest_lapse, None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_comes_back_is_found_by_the_next_refresh() {
    let lab = Lab::new().await;
    until(20 * HOUR).await;
    assert_eq!(lab.answers.statistics().failing.len(), 1);
    let next = crl(19 * HOUR, 30 * HOUR);
    lab.says(Some(&next));
    until(21 * HOUR + 120).await;
    assert!(lab.answers.statistics().failing.is_empty());
    let asked = lab.asked().len();
    assert_eq!(lab.offered().await, (Some(next), Some(first())));
    assert_eq!(lab.asked().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_disk_is_kept_fresh_after_a_restart() {
    let lab = Lab::new().await;
    let state = Arc::clone(&lab.state);
    drop(lab);
    until(5 * HOUR).await;
    let lab = Lab::start(state, || 0.5);
    let next = crl(5 * HOUR, 20 * HOUR);
    lab.says(Some(&next));
    until(7 * HOUR).await;
    assert_eq!((lab.asked().len(), lab.changes()), (1, 1));
    assert_eq!(lab.offered().await, (Some(next), Some(first())));
}

#[tokio::test(start_paused = true)]
async fn a_newer_answer_that_came_with_another_image_is_news_once() {
    let lab = Lab::new().await;
    assert_eq!(lab.changes(), 0);
    let next = crl(HOUR, 9 * HOUR);
    for _ in 0..2 {
        lab.keep(&next).await;
        lab.keep(&first()).await;
        assert_eq!(lab.changes(), 1);
    }
    // One that a refresh brought was announced before it was proved.
    let last = crl(7 * HOUR, 15 * HOUR);
    lab.says(Some(&last));
    until(8 * HOUR).await;
    assert_eq!(lab.changes(), 2);
    lab.keep(&last).await;
    assert_eq!(lab.changes(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_announced_answer_is_news_again_when_a_judgement_saw_it_before_another_proved_it() {
    let (lab, next) = (Lab::new().await, crl(HOUR, 9 * HOUR));
    lab.says(Some(&next));
    until(7 * HOUR).await;
    assert_eq!(lab.changes(), 1);
    // Whoever began before may have inserted a verdict since that rests on the answer before.
    assert_eq!(lab.offered().await, (Some(next.clone()), Some(first())));
    lab.keep(&next).await;
    assert_eq!(lab.changes(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_largest_answers_are_refreshed_too() {
    let lab = Lab::with(|| 0.5);
    let size = MAX_CRL_SIZE - 1024;
    let (kept, next) = (crl_of(size, 0, 8 * HOUR), crl_of(size, HOUR, 9 * HOUR));
    lab.keep(&kept).await;
    lab.says(Some(&next));
    until(7 * HOUR).await;
    assert!(lab.offered().await == (Some(next), Some(kept)));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_panics_is_tried_again() {
    let lab = Lab::new().await;
    lab.script.panics.store(true, Ordering::Relaxed);
    until(13 * HOUR / 2 + 1).await;
    let next = crl(6 * HOUR, 14 * HOUR);
    lab.says(Some(&next));
    lab.script.panics.store(false, Ordering::Relaxed);
    until(7 * HOUR).await;
    assert_eq!(lab.changes(), 1);
    assert_eq!(lab.offered().await, (Some(next), Some(first())));
}

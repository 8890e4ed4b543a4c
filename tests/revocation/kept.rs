//! Answers from memory, disk and network, against real endpoints.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::limits::MAX_KEPT_REVOCATION_MEMORY;
use assay_verify::query::{Answered, Query};
use assayd::admission::answers::{RevocationAnswers, World};
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::fetch::revocation::{AnswerMemory, Client};
use tempfile::TempDir;

use crate::endpoint::{Endpoint, Reply, allowing};
use crate::words::{HOUR, at, crl, crl_query, large_crl, ocsp, ocsp_query};

struct Lab {
    endpoint: Endpoint,
    state: TempDir,
    answers: RevocationAnswers,
    query: Query,
}

impl Lab {
    async fn new(reply: Reply) -> Self {
        let endpoint = Endpoint::that(reply).await;
        let state = TempDir::new().unwrap();
        Self {
            answers: start(&endpoint, &state),
            query: crl_query(&endpoint.url("/a.crl")),
            endpoint,
            state,
        }
    }

    async fn answer(&self, now: Timestamp) -> Answered {
        answer(&self.answers, &self.query, now).await
    }

    async fn keep(&self, bytes: &Arc<[u8]>) {
        self.answers.keep([(self.query.clone(), Arc::clone(bytes))]).await;
        self.answers.flush().await;
    }

    /// A daemon that starts anew on the same state.
    fn restart(&mut self) {
        self.answers = start(&self.endpoint, &self.state);
    }

    fn requests(&self) -> usize {
        self.endpoint.asked().len()
    }
}

fn start(endpoint: &Endpoint, state: &TempDir) -> RevocationAnswers {
    let memory = AnswerMemory::default();
    RevocationAnswers::new(World {
        endpoints: Arc::new(Client::new(allowing(&[endpoint]), memory.clone())),
        memory,
        store: AnswerStore::open(AnswerOptions::new(state.path())),
        clock: || at(0),
        random: || 0.5,
        changed: Box::new(|_| ()),
    })
}

async fn answer(answers: &RevocationAnswers, query: &Query, now: Timestamp) -> Answered {
    let mut all = answers.answer(&BTreeSet::from([query.clone()]), now).await;
    let (asked, answered) = all.pop().unwrap();
    assert!(all.is_empty() && asked == *query);
    answered
}

fn fresh(reply: &Arc<[u8]>) -> Reply {
    Reply::Answer(reply.to_vec())
}

#[tokio::test]
async fn a_hundred_askers_send_one_request() {
    let list = crl(0, HOUR);
    let lab = Arc::new(Lab::new(fresh(&list)).await);
    let askers: Vec<_> = (0..100)
        .map(|_| {
            let lab = Arc::clone(&lab);
            tokio::spawn(async move { lab.answer(at(1)).await })
        })
        .collect();
    for asker in askers {
        assert_eq!(asker.await.unwrap().now.unwrap(), list);
    }
    assert_eq!(lab.requests(), 1);
}

#[tokio::test]
async fn several_queries_are_answered_each_by_its_own() {
    let (list, response) = (crl(0, HOUR), ocsp(&[1], 0, HOUR));
    let both = (list.to_vec(), response.to_vec());
    let endpoint = Endpoint::new(move |asked| {
        Reply::Answer(if asked.target == "/a.crl" {
            both.0.clone()
        } else {
            both.1.clone()
        })
    })
    .await;
    let state = TempDir::new().unwrap();
    let answers = start(&endpoint, &state);
    let queries = [
        crl_query(&endpoint.url("/a.crl")),
        ocsp_query(&[endpoint.url("/ocsp")], &[1]),
    ];
    let answered = answers.answer(&queries.clone().into(), at(1)).await;
    assert_eq!(answered.len(), 2);
    for (query, answered) in answered {
        let expected = if query == queries[0] { &list } else { &response };
        assert_eq!(answered.now.unwrap(), *expected);
        assert_eq!(answered.kept, None);
    }
}

#[tokio::test]
async fn a_proven_answer_asks_nobody_until_it_lapses() {
    let list = crl(0, HOUR);
    let lab = Lab::new(fresh(&list)).await;
    lab.keep(&lab.answer(at(1)).await.now.unwrap()).await;
    for now in [at(1), at(HOUR - 1)] {
        let answered = lab.answer(now).await;
        assert_eq!((answered.now.unwrap(), answered.kept), (list.clone(), None));
    }
    assert_eq!(lab.requests(), 1);
    // At its nextUpdate it no longer counts; what comes then is beside it.
    let next = crl(HOUR, 2 * HOUR);
    lab.endpoint.now(fresh(&next));
    let answered = lab.answer(at(HOUR)).await;
    assert_eq!((answered.now.unwrap(), answered.kept), (next, Some(list)));
    assert_eq!(lab.requests(), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_proved_is_not_kept() {
    let made_up = crl(0, 1000 * HOUR);
    let mut lab = Lab::new(fresh(&made_up)).await;
    assert_eq!(lab.answer(at(1)).await.now.unwrap(), made_up);
    let list = crl(0, HOUR);
    lab.endpoint.now(fresh(&list));
    let answered = lab.answer(at(1)).await;
    assert_eq!((answered.now.unwrap(), answered.kept), (list, None));
    lab.restart();
    assert_eq!(lab.answers.statistics().disk, 0);
    lab.answer(at(1)).await;
    assert_eq!(lab.requests(), 3);
}

#[tokio::test]
async fn a_restart_asks_nobody() {
    let list = crl(0, HOUR);
    let mut lab = Lab::new(fresh(&list)).await;
    lab.keep(&lab.answer(at(1)).await.now.unwrap()).await;
    lab.restart();
    assert_eq!(lab.answer(at(2)).await.now.unwrap(), list);
    assert_eq!(lab.requests(), 1);
}

#[tokio::test]
async fn damage_on_disk_costs_a_request_and_nothing_else() {
    let list = crl(0, HOUR);
    let mut lab = Lab::new(fresh(&list)).await;
    lab.keep(&lab.answer(at(1)).await.now.unwrap()).await;
    let path = lab.state.path().join("revocation").join(lab.query.id().to_string());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    lab.restart();
    assert_eq!(lab.answer(at(2)).await.now.unwrap(), list);
    assert_eq!(lab.requests(), 2);
}

#[tokio::test]
async fn what_was_kept_is_there_while_the_endpoint_is_away() {
    let list = crl(0, HOUR);
    let mut lab = Lab::new(fresh(&list)).await;
    lab.keep(&lab.answer(at(1)).await.now.unwrap()).await;
    lab.endpoint.now(Reply::Status(503));
    for _ in 0..2 {
        let answered = lab.answer(at(2 * HOUR)).await;
        assert_eq!(answered.now.unwrap_err().code, Code::RevocationUnknown);
        assert_eq!(answered.kept, Some(list.clone()));
        lab.restart();
    }
}

#[tokio::test]
async fn an_older_answer_never_replaces_a_newer_one() {
    let (older, newer) = (crl(0, 4 * HOUR), crl(HOUR, 2 * HOUR));
    let mut lab = Lab::new(Reply::Silence).await;
    lab.keep(&newer).await;
    lab.keep(&older).await;
    assert_eq!(lab.answer(at(HOUR)).await.now.unwrap(), newer);
    // Nor when the newer one is on disk and nobody looked yet.
    lab.restart();
    lab.keep(&older).await;
    lab.restart();
    assert_eq!(lab.answer(at(HOUR)).await.now.unwrap(), newer);
    assert_eq!(lab.requests(), 0);
}

#[tokio::test]
async fn an_answer_of_the_future_is_not_relied_on() {
    let lab = Lab::new(Reply::Status(404)).await;
    lab.keep(&crl(HOUR, 2 * HOUR)).await;
    assert!(lab.answer(at(0)).await.now.is_err());
    assert_eq!(lab.requests(), 1);
    // Within the skew of clocks it is.
    assert!(lab.answer(at(HOUR - 299)).await.now.is_ok());
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_moment() {
    let lab = Lab::new(Reply::Status(404)).await;
    for _ in 0..100 {
        let unanswered = lab.answer(at(1)).await.now.unwrap_err();
        assert_eq!(unanswered.code, Code::RevocationUnknown);
        assert!(unanswered.reason.to_string().contains("answered 404"));
    }
    assert_eq!(lab.requests(), 1);
    let failing = lab.answers.statistics().failing;
    assert_eq!((failing.len(), &failing[0].query), (1, &lab.query));
}

#[tokio::test]
async fn an_asker_that_gives_up_cancels_nobody() {
    let list = crl(0, HOUR);
    let lab = Arc::new(Lab::new(fresh(&list)).await);
    let first = {
        let lab = Arc::clone(&lab);
        tokio::spawn(async move { lab.answer(at(1)).await })
    };
    while lab.requests() == 0 && !first.is_finished() {
        tokio::task::yield_now().await;
    }
    let second = {
        let lab = Arc::clone(&lab);
        tokio::spawn(async move { lab.answer(at(1)).await })
    };
    first.abort();
    assert_eq!(second.await.unwrap().now.unwrap(), list);
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_costs_the_next_start_and_nothing_else() {
    let list = crl(0, HOUR);
    let endpoint = Endpoint::that(fresh(&list)).await;
    let state = TempDir::new().unwrap();
    fs::write(state.path().join("revocation"), "a file").unwrap();
    let answers = start(&endpoint, &state);
    let query = crl_query(&endpoint.url("/a.crl"));
    let bytes = answer(&answers, &query, at(1)).await.now.unwrap();
    answers.keep([(query.clone(), bytes)]).await;
    assert_eq!(answer(&answers, &query, at(2)).await.now.unwrap(), list);
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test]
async fn statistics_say_what_is_kept_and_when_it_lapses() {
    let (list, other) = (crl(0, 2 * HOUR), crl(0, HOUR));
    let lab = Lab::new(Reply::Silence).await;
    lab.keep(&list).await;
    lab.answers
        .keep([(crl_query("http://other.example/"), other.clone())])
        .await;
    lab.answers.flush().await;
    let statistics = lab.answers.statistics();
    assert_eq!((statistics.kept, statistics.memory), (2, list.len() + other.len()));
    assert!(statistics.disk > (list.len() + other.len()) as u64);
    assert_eq!(statistics.soonest_lapse, Some(at(HOUR)));
    assert!(statistics.failing.is_empty());
    lab.answers.clear().await;
    let statistics = lab.answers.statistics();
    assert_eq!((statistics.kept, statistics.memory, statistics.disk), (0, 0, 0));
}

#[tokio::test]
async fn what_is_no_revocation_query_is_neither_asked_nor_kept() {
    let lab = Lab::new(Reply::Silence).await;
    let plugin = Query::PluginMetadata("p".parse().unwrap());
    let answered = answer(&lab.answers, &plugin, at(0)).await;
    assert_eq!(answered.now.unwrap_err().code, Code::PluginUnavailable);
    lab.answers.keep([(plugin, crl(0, HOUR))]).await;
    assert_eq!(lab.answers.statistics().kept, 0);
}

#[tokio::test]
async fn what_memory_does_not_hold_comes_from_disk() {
    let list = large_crl(0, HOUR);
    assert!(list.len() > 900_000, "{}", list.len());
    let lab = Lab::new(Reply::Status(404)).await;
    let queries: Vec<_> = (0..2 + MAX_KEPT_REVOCATION_MEMORY / list.len())
        .map(|number| crl_query(&lab.endpoint.url(&format!("/{number}"))))
        .collect();
    for query in &queries {
        lab.answers.keep([(query.clone(), Arc::clone(&list))]).await;
        lab.answers.flush().await;
        assert!(lab.answers.statistics().memory <= MAX_KEPT_REVOCATION_MEMORY);
    }
    assert_eq!(lab.answers.statistics().kept, queries.len());
    for query in queries.iter().chain(&queries) {
        assert_eq!(answer(&lab.answers, query, at(1)).await.now.unwrap(), list);
        assert!(lab.answers.statistics().memory <= MAX_KEPT_REVOCATION_MEMORY);
    }
    assert_eq!(lab.requests(), 0);
}

#[tokio::test]
async fn an_answer_that_a_cache_on_the_way_kept_too_long_is_asked_for_past_it() {
    let (stale, list) = (crl(0, HOUR), crl(HOUR, 2 * HOUR));
    let both = (stale.to_vec(), list.to_vec());
    let endpoint = Endpoint::new(move |asked| {
        let past = asked.head.contains("cache-control: no-cache");
        Reply::Answer(if past { both.1.clone() } else { both.0.clone() })
    })
    .await;
    let state = TempDir::new().unwrap();
    let query = crl_query(&endpoint.url("/a.crl"));
    let answered = answer(&start(&endpoint, &state), &query, at(HOUR)).await;
    assert_eq!(answered.now.unwrap(), list);
    assert_eq!(endpoint.asked().len(), 2);
}

#[tokio::test]
async fn an_authority_that_has_only_a_lapsed_answer_gives_that() {
    let stale = crl(0, HOUR);
    let lab = Lab::new(fresh(&stale)).await;
    assert_eq!(lab.answer(at(HOUR)).await.now.unwrap(), stale);
    assert_eq!(lab.requests(), 2);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_and_gets_the_newest_answer() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (older, newer) = (crl(0, 4 * HOUR), crl(HOUR, 2 * HOUR));
        let mut lab = Lab::new(Reply::Silence).await;
        // The only thread for the disk waits for this test.
        let (mended, hanging) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || hanging.recv());
        for bytes in [&newer, &older] {
            let keeping = lab.answers.keep([(lab.query.clone(), Arc::clone(bytes))]);
            let limit = std::time::Duration::from_secs(10);
            tokio::time::timeout(limit, keeping)
                .await
                .expect("it waits for the disk");
        }
        assert_eq!(lab.answer(at(HOUR)).await.now.unwrap(), newer);
        drop(mended);
        lab.answers.flush().await;
        lab.restart();
        assert_eq!(lab.answer(at(HOUR)).await.now.unwrap(), newer);
    });
}

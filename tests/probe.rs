//! The probe that feeds the watchdog stops where questions stop.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use assay_verify::Timestamp;
use assayd::admission::Admission;
use assayd::admission::answers::{RevocationAnswers, World};
use assayd::admission::respondents::Respondents;
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::cache::evidence::{EvidenceOptions, EvidenceStore};
use assayd::fetch::revocation::{self, AnswerMemory};
use assayd::fetch::{Client, FetchConfig, ProcessMemory};
use assayd::plugin::Plugins;
use assayd::trust::TrustState;
use tempfile::TempDir;

const NOTHING_MATCHES: &str = "version = 1\nunmatched = \"deny\"\n";
const EVERYTHING_NEEDS_EVIDENCE: &str = "version = 1\nunmatched = \"deny\"\n[authority.corp]\ntype = \"cosign\"\n\
    keys = [\"corp.pub\"]\n[[rule]]\nname = \"all\"\nimages = [\"**\"]\nrequire = { all = [\"corp\"] }\n";

fn now() -> Timestamp {
    "2026-11-18T00:00:00Z".parse().unwrap()
}

fn admission(directory: &TempDir, policy: &str) -> Admission {
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("policy.toml"), policy).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(at("corp.pub"), key.public_key_pem()).unwrap();
    let trust = TrustState::new(at("policy.toml"), nix::unistd::geteuid().as_raw());
    // What is broken stays without a policy.
    let _ = trust.reload(now());
    let memory = AnswerMemory::default();
    let respondents = Respondents {
        revocation: RevocationAnswers::new(World {
            endpoints: Arc::new(revocation::Client::new(Default::default(), memory.clone())),
            memory,
            store: AnswerStore::open(AnswerOptions::new(directory.path())),
            clock: now,
            random: || 0.5,
            changed: Box::new(|_| ()),
        }),
        plugins: Arc::new(Plugins::new(BTreeMap::new())),
    };
    Admission::new(
        Arc::new(trust),
        Client::new(FetchConfig::default(), ProcessMemory::default()).unwrap(),
        EvidenceStore::open(EvidenceOptions::new(directory.path())).unwrap(),
        respondents,
        now,
        assayd::sync::Status::new(None, Timestamp::UNIX_EPOCH),
    )
}

#[tokio::test]
async fn a_probe_is_answered_whatever_the_policy_and_leaves_no_trace() {
    for policy in [NOTHING_MATCHES, EVERYTHING_NEEDS_EVIDENCE, "broken"] {
        let directory = TempDir::new().unwrap();
        let admission = admission(&directory, policy);
        assert_eq!(admission.trust().current().is_some(), policy != "broken");
        admission.probe().await.unwrap();
        assert_eq!(admission.cached_verdicts(), 0);
        assert_eq!(admission.evidence().stats().images, 0);
        let decided = &admission.statistics().denied;
        assert_eq!(decided.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}

#[test]
fn a_probe_waits_where_no_thread_is_left_to_judge() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    for policy in [NOTHING_MATCHES, EVERYTHING_NEEDS_EVIDENCE] {
        let directory = TempDir::new().unwrap();
        runtime.block_on(async {
            let admission = admission(&directory, policy);
            let (release, stuck) = mpsc::channel::<()>();
            let judging = tokio::task::spawn_blocking(move || stuck.recv().is_err());
            let mut probe = Box::pin(admission.probe());
            let waiting = tokio::time::timeout(Duration::from_millis(100), &mut probe).await;
            assert!(waiting.is_err(), "it was answered while nothing could be judged");
            drop(release);
            probe.await.unwrap();
            assert!(judging.await.unwrap());
        });
    }
}

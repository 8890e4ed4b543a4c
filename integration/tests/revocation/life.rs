//! How often endpoints are asked, what their absence does, and what a newer answer ends.

use std::time::{Duration, Instant, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::crl::CrlProfile;
use assay_integration::ocsp::Responder;
use assay_integration::registry::When;
use assay_integration::{Crl, OcspResponder, Question, WebServer};
use assay_proto::v1::CacheState;
use futures_util::future::join_all;

use crate::lab::{
    HOOK_LIMIT, Lab, Policy, RECOVERY, SHORT, admits, admitted, ask, denied, eventually, good_for, past, revoking,
    signer_with_list,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_is_asked_once_and_not_again_after_a_restart() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
        .await
        .unwrap();
    let below = Profile::named("intermediate").ocsp(responder.url());
    let intermediate = root.intermediate(&below).unwrap();
    responder.good([&intermediate.serial().unwrap()]).await.unwrap();
    lab.publish("/leaf.crl", &intermediate, &CrlProfile::default()).await;
    let release = intermediate
        .issue(&Profile::named("release").crl(lab.web.url("/leaf.crl")))
        .unwrap();
    let mut assayd = lab.strict(&root).await;
    let asked = |responder: &OcspResponder| (lab.web.requests("/leaf.crl"), responder.requests());

    let question = lab.signed("first", &release);
    admitted(&assayd, &question).await;
    assert_eq!(asked(&responder), (1, 1));
    let again = admitted(&assayd, &question).await;
    assert_eq!(again.cache(), CacheState::Verdict);
    admitted(&assayd, &lab.signed("second", &release)).await;
    assert_eq!(asked(&responder), (1, 1), "another image of the same signer");

    assayd.stop().await.unwrap();
    assayd.start().await.unwrap();
    let again = admitted(&assayd, &question).await;
    assert_eq!(again.cache(), CacheState::Evidence);
    admitted(&assayd, &lab.signed("third", &release)).await;
    assert_eq!(asked(&responder), (1, 1), "after a restart");
    assayd.kill();
    assayd.start().await.unwrap();
    admitted(&assayd, &lab.signed("fourth", &release)).await;
    assert_eq!(asked(&responder), (1, 1), "after kill -9");

    // What is forgotten is asked for again, and the endpoints are needed for it.
    assayd
        .assayctl(&["cache", "clear"])
        .await
        .unwrap()
        .successful()
        .unwrap();
    responder.web().stop().await;
    denied(&assayd, &question, "revocation-unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_images_of_one_signer_at_once_ask_each_endpoint_once() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let below = Profile::named("intermediate").crl(lab.web.url("/root.crl"));
    let intermediate = root.intermediate(&below).unwrap();
    lab.publish("/root.crl", &root, &CrlProfile::default()).await;
    let how = Responder::default();
    let mut leaf = OcspResponder::start(&lab.openssl, &intermediate, &how).await.unwrap();
    let release = intermediate.issue(&Profile::named("release").ocsp(leaf.url())).unwrap();
    leaf.good([&release.serial]).await.unwrap();

    let delay = Duration::from_millis(300);
    lab.web.add_latency(delay);
    leaf.web().add_latency(delay);
    let assayd = lab.strict(&root).await;
    let questions: Vec<_> = (0..40)
        .map(|number| lab.signed(&format!("app{number}"), &release))
        .collect();
    let answers = join_all(questions.iter().map(|question| ask(&assayd, question))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| !admits(answer)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!((lab.web.requests("/root.crl"), leaf.requests()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_endpoint_is_unknown_within_the_hooks_time_and_the_retry_admits_once_it_speaks() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    lab.publish("/leaf.crl", &root, &CrlProfile::default()).await;
    lab.web.hang(When::always());
    let list = Profile::named("list").crl(lab.web.url("/leaf.crl"));
    // A responder and then a list, both silent, at a host of its own: together longer than a pull has.
    let other = WebServer::start().await.unwrap();
    let crl = Crl::sign(&lab.openssl, &root, &CrlProfile::default()).await.unwrap();
    other.serve_crl("/leaf.crl", &crl.der);
    other.hang(When::always());
    let responder = WebServer::start().await.unwrap();
    responder.hang(When::always());
    let both = Profile::named("both")
        .ocsp(responder.url("/ocsp"))
        .crl(other.url("/leaf.crl"));
    let assayd = lab.strict(&root).await;
    let questions = [list, both].map(|profile| lab.signed(&profile.name, &root.issue(&profile).unwrap()));

    let refused = async |question: &Question| {
        let started = Instant::now();
        let hook = question.hook(&assayd).await.unwrap();
        let took = started.elapsed();
        assert_eq!(hook.code, Some(1), "{hook:?}");
        let unknown = ["DENY revocation-unknown: ", "DENY deadline: "];
        assert!(unknown.iter().any(|start| hook.stdout.starts_with(start)), "{hook:?}");
        assert!(
            took < HOOK_LIMIT,
            "containerd would have killed the hook after {took:?}"
        );
    };
    join_all(questions.iter().map(refused)).await;
    lab.web.behave();
    other.behave();
    let answered = |question| eventually(&assayd, question, "admitted", admits);
    join_all(questions.iter().map(answered)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_denies_until_it_is_back() {
    let mut lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    lab.publish("/leaf.crl", &root, &CrlProfile::default()).await;
    lab.web.stop().await;
    let assayd = lab.strict(&root).await;
    let question = lab.signed("app", &release);
    let reason = denied(&assayd, &question, "revocation-unknown").await;
    assert!(reason.contains("/leaf.crl"), "{reason}");
    lab.web.restart().await.unwrap();
    eventually(&assayd, &question, "admitted", admits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_with_a_private_address_is_asked_only_if_the_configuration_names_it() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    lab.publish("/leaf.crl", &root, &CrlProfile::default()).await;
    let question = lab.signed("app", &release);
    let hosts = |host: String| toml::Table::from_iter([("hosts".to_owned(), toml::Value::from(vec![host]))]);
    for (revocation, allowed) in [
        (None, false),
        (Some(hosts("127.0.0.1:1".to_owned())), false),
        (Some(hosts(lab.web.host())), true),
    ] {
        let mut daemon = lab.sheltered_daemon(&root.certificate_pem(), &Policy::default());
        if let Some(table) = revocation {
            daemon = daemon.setting("revocation", table);
        }
        let assayd = daemon.start().await.unwrap();
        if allowed {
            admitted(&assayd, &question).await;
            continue;
        }
        let reason = denied(&assayd, &question, "revocation-unknown").await;
        for part in ["not a public address", "[revocation] hosts"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert_eq!(lab.web.requests("/leaf.crl"), 0);
    }
    assert_eq!(lab.web.requests("/leaf.crl"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admit_ends_with_the_answer_that_it_rests_on() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    let assayd = lab.strict(&root).await;
    let question = lab.signed("app", &release);
    let short = good_for(SHORT);
    lab.publish("/leaf.crl", &root, &short).await;
    admitted(&assayd, &question).await;
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    past(short.next_update).await;
    denied(&assayd, &question, "certificate-revoked").await;
    assert_eq!(lab.web.requests("/leaf.crl"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_fetched_before_the_old_one_lapses_revokes_at_once() {
    let lab = Lab::start().await;
    let (root, release) = signer_with_list(&lab.web);
    // The shortest life in which a refresh surely comes before the end: it may be put off for half a minute.
    let first = good_for(Duration::from_secs(37));
    lab.publish("/leaf.crl", &root, &first).await;
    let mut assayd = lab.strict(&root).await;
    let questions: [Question; 2] = ["app", "other"].map(|name| lab.signed(name, &release));
    for question in &questions {
        admitted(&assayd, question).await;
    }
    lab.publish("/leaf.crl", &root, &revoking(&release.serial)).await;
    let cached = admitted(&assayd, &questions[0]).await;
    assert_eq!(cached.cache(), CacheState::Verdict, "nobody has told it yet");

    let started = Instant::now();
    while lab.web.requests("/leaf.crl") < 2 {
        assert!(started.elapsed() < 2 * RECOVERY, "no refresh");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let revoked = |answer: &assay_proto::v1::VerifyResponse| answer.code == "certificate-revoked";
    for question in &questions {
        eventually(&assayd, question, "revoked", revoked).await;
    }
    assert!(SystemTime::now() < first.next_update, "the old list has not lapsed");
    assert_eq!(lab.web.requests("/leaf.crl"), 2);

    // It stays so when the old list comes again, and across a restart without any endpoint.
    lab.publish("/leaf.crl", &root, &good_for(Duration::from_secs(60)))
        .await;
    assayd.stop().await.unwrap();
    assayd.start().await.unwrap();
    denied(&assayd, &questions[0], "certificate-revoked").await;
}

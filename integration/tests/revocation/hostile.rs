//! Endpoints that break, mislead or never end.

use std::time::Duration;

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::crl::CrlProfile;
use assay_integration::ocsp::{Responder, Signer};
use assay_integration::registry::{Fault, When};
use assay_integration::{Assayd, Crl, OcspResponder, Question, WebServer};
use futures_util::future::join_all;
use http::StatusCode;

use crate::lab::{Lab, Policy, admits, admitted, denied, eventually, revoking, signer_with_list};

const MEBIBYTE: u64 = 1024 * 1024;

/// An endpoint with a good list at `/leaf.crl` and a signer who names it.
async fn endpoint(lab: &Lab, root: &Authority) -> (WebServer, SigningIdentity) {
    let web = WebServer::start().await.expect("a web server");
    let list = Crl::sign(&lab.openssl, root, &CrlProfile::default())
        .await
        .expect("a list");
    web.serve_crl("/leaf.crl", &list.der);
    let release = root.issue(&Profile::named("release").crl(web.url("/leaf.crl")));
    (web, release.expect("a signer"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_endpoint_does_is_unknown_at_worst_and_good_again_when_it_behaves() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    // Idle endpoints of the same length: what the process needs anyhow.
    let (_web, sound) = endpoint(&lab, &root).await;
    admitted(&assayd, &lab.signed("sound", &sound)).await;
    let before = assayd.memory().unwrap().peak;

    let faults = [
        ("huge", Fault::Huge { bytes: 256 * MEBIBYTE }),
        ("slow", Fault::Slow { bytes_per_second: 10 }),
        ("truncated", Fault::Truncate { after: 20 }),
        ("wrong", Fault::WrongBytes),
        ("loop", Fault::RedirectLoop),
        ("reset", Fault::Reset),
        ("status", Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)),
        (
            "patience",
            Fault::TooManyRequests {
                retry_after: Duration::from_secs(3600),
            },
        ),
        ("login", Fault::Challenge("Basic realm=\"pki\"".to_owned())),
    ];
    let judge = async |(name, fault): (&str, Fault)| {
        let (web, release) = endpoint(&lab, &root).await;
        web.misbehave(When::always(), fault);
        let question = lab.signed(name, &release);
        let answer = crate::lab::ask(&assayd, &question).await;
        let is_unknown = ["revocation-unknown", "limit-exceeded", "deadline"].contains(&&*answer.code);
        assert!(is_unknown && !admits(&answer), "{name}: {answer:?}");
        // The daemon gives no credentials, and asks no second time for what it was refused.
        let requests = web.log().requests();
        assert!(requests.iter().all(|request| request.authorization.is_none()), "{name}");
        web.behave();
        eventually(&assayd, &question, "admitted", admits).await;
    };
    join_all(faults.map(judge)).await;
    let grown = assayd.memory().unwrap().peak - before;
    assert!(grown < 64 * MEBIBYTE, "it took {grown} bytes more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_to_no_private_address_that_the_configuration_does_not_name() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let (target, _) = endpoint(&lab, &root).await;
    let release = root
        .issue(&Profile::named("release").crl(lab.web.url("/leaf.crl")))
        .unwrap();
    lab.web
        .misbehave(When::always(), Fault::RedirectTo(format!("http://{}", target.host())));
    let question = lab.signed("app", &release);
    let daemon = async |hosts: Vec<String>| -> Assayd {
        let table = toml::Table::from_iter([("hosts".to_owned(), toml::Value::from(hosts))]);
        let daemon = lab.sheltered_daemon(&root.certificate_pem(), &Policy::default());
        daemon.setting("revocation", table).start().await.unwrap()
    };
    let reason = denied(&daemon(vec![lab.web.host()]).await, &question, "revocation-unknown").await;
    assert!(reason.contains("not a public address"), "{reason}");
    assert_eq!((lab.web.requests("/leaf.crl"), target.requests("/leaf.crl")), (1, 0));
    admitted(&daemon(vec![lab.web.host(), target.host()]).await, &question).await;
    assert_eq!(target.requests("/leaf.crl"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_whose_own_certificate_is_revoked_is_not_believed() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    let profile = |name: &str| Profile {
        ocsp_no_check: false,
        ..Profile::responder(name).crl(lab.web.url("/responders.crl"))
    };
    let (revoked, sound) = (
        root.issue(&profile("revoked")).unwrap(),
        root.issue(&profile("sound")).unwrap(),
    );
    lab.publish("/responders.crl", &root, &revoking(&revoked.serial)).await;
    for (name, delegate, believed) in [("revoked", revoked, false), ("sound", sound, true)] {
        let how = Responder::signed_by(Signer::Identity(delegate));
        let mut responder = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
        let release = root.issue(&Profile::named("release").ocsp(responder.url())).unwrap();
        responder.good([&release.serial]).await.unwrap();
        let question = lab.signed(name, &release);
        if believed {
            admitted(&assayd, &question).await;
        } else {
            let reason = denied(&assayd, &question, "revocation-unknown").await;
            assert!(
                reason.contains("CN=revoked") && reason.contains("it is revoked"),
                "{reason}"
            );
        }
    }
}

/// RUSTSEC-2026-0049: the first of two distribution points is not all.
#[tokio::test(flavor = "multi_thread")]
async fn every_distribution_point_counts() {
    let lab = Lab::start().await;
    let root = Authority::root(&Profile::named("root")).unwrap();
    let assayd = lab.strict(&root).await;
    let issue = |name: &str| {
        let url = |number: u32| lab.web.url(&format!("/{name}{number}.crl"));
        root.issue(&Profile::named(name).crl(url(1)).crl(url(2))).unwrap()
    };
    for (name, second, expected) in [
        ("good", Some(false), None),
        ("revoked", Some(true), Some("certificate-revoked")),
        ("absent", None, Some("revocation-unknown")),
    ] {
        let release = issue(name);
        lab.publish(&format!("/{name}1.crl"), &root, &CrlProfile::default())
            .await;
        if let Some(revoked) = second {
            let profile = if revoked {
                revoking(&release.serial)
            } else {
                CrlProfile::default()
            };
            lab.publish(&format!("/{name}2.crl"), &root, &profile).await;
        }
        let question: Question = lab.signed(name, &release);
        match expected {
            None => drop(admitted(&assayd, &question).await),
            Some(code) => drop(denied(&assayd, &question, code).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_responder_leaves_time_for_the_list() {
    let lab = Lab::start().await;
    let (root, _) = signer_with_list(&lab.web);
    let silent = WebServer::start().await.unwrap();
    silent.hang(When::always());
    let profile = Profile::named("release")
        .ocsp(silent.url("/ocsp"))
        .crl(lab.web.url("/leaf.crl"));
    let release = root.issue(&profile).unwrap();
    lab.publish("/leaf.crl", &root, &CrlProfile::default()).await;
    let assayd = lab.strict(&root).await;
    let hook = lab.signed("app", &release).hook(&assayd).await.unwrap();
    assert!(hook.success && hook.stdout.starts_with("ADMIT"), "{hook:?}");
    assert!(!silent.log().requests().is_empty(), "it was asked");
}

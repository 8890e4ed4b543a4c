//! What is stored, judged without a network.

use std::time::{Duration, SystemTime};

use assay_verify::code::Code;

use crate::lab::{Lab, assert_admitted, assert_denied};

const BY_BOTH: &str = "require = { all = [\"corp\", \"release\"] }";
const BY_CORP: &str = "require = { all = [\"corp\"] }";
const BY_RELEASE: &str = "require = { all = [\"release\"] }";

#[tokio::test]
async fn what_was_admitted_is_admitted_again_and_nobody_is_asked() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    lab.sign_by_release(&image);
    let node = lab.node(BY_BOTH).await;
    let question = lab.question(&image);
    assert_denied(&node.judge_stored(&question).await, Code::RegistryUnavailable);
    assert_eq!((node.requests(), lab.endpoints.asked()), (0, 0));

    assert_admitted(&node.judge(&question).await);
    let node = node.restart(&lab, BY_BOTH).await;
    let asked = lab.endpoints.asked();
    assert_admitted(&node.judge_stored(&question).await);
    assert_eq!((node.requests(), lab.endpoints.asked()), (0, asked));
}

#[tokio::test]
async fn a_signer_that_is_revoked_since_is_a_conclusive_denial() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    let node = lab.node(BY_CORP).await;
    let question = lab.question(&image);
    assert_admitted(&node.judge(&question).await);
    node.bring(&lab.crl(true));
    assert_denied(&node.judge_stored(&question).await, Code::CertificateRevoked);
}

#[tokio::test]
async fn a_signature_that_nobody_looked_for_so_far_leaves_it_undecided() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    lab.sign_by_release(&image);
    let node = lab.node(BY_CORP).await;
    let question = lab.question(&image);
    assert_admitted(&node.judge(&question).await);
    node.follow(&lab, BY_RELEASE);
    let verdict = node.judge_stored(&question).await;
    assert_denied(&verdict, Code::RegistryUnavailable);
    assert!(verdict.finding().contains("was not asked"), "{}", verdict.finding());
    assert!(Code::RegistryUnavailable.is_inconclusive());
    // The registry has it.
    assert_admitted(&node.judge(&question).await);
}

#[tokio::test]
async fn a_rule_that_denies_needs_no_evidence() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    let node = lab.node("deny = \"withdrawn\"").await;
    assert_denied(&node.judge_stored(&lab.question(&image)).await, Code::DeniedByRule);
}

#[tokio::test]
async fn an_answer_that_lapsed_leaves_it_undecided_unless_the_rule_grants_grace() {
    let lab = Lab::new().await;
    let image = lab.image("app");
    lab.sign_by_corp(&image);
    let soon = SystemTime::now() + Duration::from_secs(2);
    lab.endpoints.serve(Some(lab.crl_until(false, soon)));
    let node = lab.node(BY_CORP).await;
    let question = lab.question(&image);
    assert_admitted(&node.judge(&question).await);
    assert_admitted(&node.judge_stored(&question).await);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked = lab.endpoints.asked();
    assert_denied(&node.judge_stored(&question).await, Code::RevocationUnknown);
    node.follow(
        &lab,
        &format!("{BY_CORP}\non_inconclusive = \"admit_if_seen\"\nrevocation_grace = \"1h\""),
    );
    let verdict = node.judge_stored(&question).await;
    assert_admitted(&verdict);
    assert!(
        verdict.finding().contains("on revocation grace"),
        "{}",
        verdict.finding()
    );
    assert_eq!(lab.endpoints.asked(), asked);
}

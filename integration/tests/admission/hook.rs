//! What the hook decides by itself: observe mode, and the bootstrap list while the daemon is away.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use crate::lab::{Lab, PRODUCTION, assert_denial, layers_since, run_hook};

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_of_roots_admits_everything_and_prints_what_the_verdict_would_be() {
    let mut lab = Lab::start(PRODUCTION).await;
    let image = lab.push("prod/unsigned");
    let name = lab.reference("prod/unsigned");
    let flag = lab.assayd.observe_flag();
    fs::write(&flag, "").unwrap();

    // A flag that somebody else could have written is not obeyed, and the event says so.
    chown(&flag, Some(65534), None).unwrap();
    let event = lab.denied("prod/unsigned", "unsigned").await;
    assert!(event.contains("is not obeyed"), "{event}");
    chown(&flag, Some(0), None).unwrap();
    fs::set_permissions(&flag, fs::Permissions::from_mode(0o666)).unwrap();
    lab.denied("prod/unsigned", "unsigned").await;

    fs::set_permissions(&flag, fs::Permissions::from_mode(0o644)).unwrap();
    let answer = run_hook(&lab.assayd, &name, &image.descriptor()).await;
    assert_eq!(answer.code, Some(0));
    assert!(answer.stdout.starts_with("OBSERVE would DENY unsigned: "), "{answer:?}");
    lab.admitted("prod/unsigned").await;
    assert!(lab.containerd.log().contains("OBSERVE would DENY unsigned: "));

    lab.assayd.kill();
    let answer = run_hook(&lab.assayd, &name, &image.descriptor()).await;
    assert_eq!(answer.code, Some(0));
    assert!(
        answer.stdout.starts_with("OBSERVE would DENY daemon-unavailable: "),
        "{answer:?}"
    );
    fs::remove_file(&flag).unwrap();
    let answer = run_hook(&lab.assayd, &name, &image.descriptor()).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_list_admits_what_it_names_while_the_daemon_is_away_and_only_then() {
    let mut lab = Lab::start(PRODUCTION).await;
    let listed = lab.push("prod/pause");
    lab.push("prod/other");
    // The digest counts, and so does the repository.
    listed.store(lab.registry.content(), "prod/other-name", "v1");
    let list = lab.assayd.bootstrap_list();
    let lines = format!(
        "# what a node starts with\n{}@{}\n",
        lab.registry.repository("prod/pause"),
        listed.digest()
    );
    fs::write(&list, lines).unwrap();

    lab.denied("prod/pause", "unsigned").await;
    lab.assayd.kill();
    let refused = async |lab: &Lab, repository: &str| {
        let mark = lab.registry.log().mark();
        let refusal = lab.containerd.pull_cri(&lab.reference(repository)).await;
        let event = refusal.expect_err(repository).to_string();
        assert!(event.contains("DENY daemon-unavailable: "), "{event}");
        assert!(layers_since(lab.registry.log(), mark).is_empty());
        event
    };
    refused(&lab, "prod/other").await;
    refused(&lab, "prod/other-name").await;
    fs::set_permissions(&list, fs::Permissions::from_mode(0o666)).unwrap();
    let event = refused(&lab, "prod/pause").await;
    assert!(event.contains("is not used"), "{event}");
    fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).unwrap();
    lab.admitted("prod/pause").await;
    assert!(lab.containerd.log().contains("ADMIT bootstrap: "));

    lab.assayd.start().await.unwrap();
    lab.containerd.remove(&lab.reference("prod/pause")).await.unwrap();
    let refusal = lab.containerd.pull_cri(&lab.reference("prod/pause")).await;
    assert_denial(
        &refusal.expect_err("a denial").to_string(),
        "unsigned",
        &lab.assayd.log(),
    );
}

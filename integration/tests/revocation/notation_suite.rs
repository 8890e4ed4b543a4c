//! The CRL and OCSP cases of notation's own end-to-end suite, for assayd and beside the real notation.

use std::fs;
use std::time::Duration;

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::notation::Statement;
use assay_integration::ocsp::Responder;
use assay_integration::{Assayd, Notation, OcspResponder, Reason};
use futures_util::future::join_all;

use crate::lab::{AWAY, Lab, Policy, SHORT, admits, ask, good_for, past, revoking};

const CASES: &str = include_str!("../revocation_peers/cases.tsv");
const ASSAYD: &str = include_str!("assayd_cases.tsv");

/// How the chain is revoked, and what notation's own suite says of it.
#[derive(Clone, Copy)]
struct Chain {
    leaf_list: &'static str,
    intermediate_list: &'static str,
    responder: &'static str,
    notation: &'static str,
}

struct Row {
    id: &'static str,
    chain: Chain,
    state: &'static str,
    verdicts: [&'static str; 2],
    fetches: &'static str,
}

fn lines(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

fn rows() -> Vec<Row> {
    let chain = |case: &str| {
        let line = lines(CASES).find(|fields| fields[0] == case);
        let line = line.unwrap_or_else(|| panic!("no case {case}"));
        Chain {
            leaf_list: line[1],
            intermediate_list: line[2],
            responder: line[4],
            notation: line[5],
        }
    };
    let row = |fields: Vec<&'static str>| {
        let [id, case, state, first, second, fetches, _why] = fields[..] else {
            panic!("not seven fields: {fields:?}")
        };
        Row {
            id,
            chain: chain(case),
            state,
            verdicts: [first, second],
            fetches,
        }
    };
    lines(ASSAYD).map(row).collect()
}

/// Who signs, and where that is looked up.
struct Signer {
    root: Authority,
    intermediate: Option<Authority>,
    release: SigningIdentity,
    responder: Option<OcspResponder>,
    paths: [String; 2],
}

impl Signer {
    async fn new(lab: &Lab, row: &Row) -> Self {
        let paths = ["leaf", "intermediate"].map(|name| format!("/{}/{name}.crl", row.id));
        let root = Authority::root(&Profile::named("root")).unwrap();
        if row.chain.responder == "-" {
            let below = Profile::named("intermediate").crl(lab.web.url(&paths[1])).ocsp(AWAY);
            let intermediate = root.intermediate(&below).unwrap();
            let release = Profile::named("release").crl(lab.web.url(&paths[0]));
            let release = intermediate.issue(&release).unwrap();
            return Self {
                root,
                intermediate: Some(intermediate),
                release,
                responder: None,
                paths,
            };
        }
        let mut responder = OcspResponder::start(&lab.openssl, &root, &Responder::default())
            .await
            .unwrap();
        let release = root.issue(&Profile::named("release").ocsp(responder.url())).unwrap();
        match row.chain.responder {
            "good" => responder.good([&release.serial]).await.unwrap(),
            "revoked" => responder.revoke(&release.serial, Reason::KeyCompromise).await.unwrap(),
            "unknown" => (),
            other => panic!("{}: {other}", row.id),
        }
        Self {
            root,
            intermediate: None,
            release,
            responder: Some(responder),
            paths,
        }
    }

    /// Serves the lists of the case.
    async fn publish(&self, lab: &Lab, chain: Chain) {
        let Some(intermediate) = &self.intermediate else { return };
        let serial = intermediate.serial().unwrap();
        let leaf = (&self.paths[0], intermediate, chain.leaf_list, &self.release.serial);
        let above = (&self.paths[1], &self.root, chain.intermediate_list, &serial);
        for (path, authority, list, serial) in [leaf, above] {
            let profile = match list {
                "revoked" => revoking(serial),
                // Newer than the one that lapses in between.
                "good" => good_for(Duration::from_secs(60 * 60)),
                other => panic!("{path}: {other}"),
            };
            lab.publish(path, authority, &profile).await;
        }
    }

    fn fetches(&self, lab: &Lab) -> usize {
        let lists: usize = self.paths.iter().map(|path| lab.web.requests(path)).sum();
        lists + self.responder.as_ref().map_or(0, OcspResponder::requests)
    }

    /// Puts what the row names into the folder of kept answers, and starts the daemon.
    async fn start(&self, lab: &Lab, row: &Row, assayd: &mut Assayd) {
        let folder = assayd.state_directory().join("revocation");
        match row.state {
            "-" => (),
            "no folder" => fs::write(&folder, "a file where the folder would be").unwrap(),
            "unreadable" | "rubbish" => {
                assayd.start().await.unwrap();
                self.ask_and_stop(lab, row, assayd).await;
                let kept: Vec<_> = fs::read_dir(&folder)
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                assert!(!kept.is_empty(), "{}: nothing is kept", row.id);
                for path in kept {
                    if row.state == "rubbish" {
                        fs::write(path, "rubbish").unwrap();
                    } else {
                        // Permissions stop no root: a folder where the file would be stops everybody.
                        fs::remove_file(&path).unwrap();
                        fs::create_dir(&path).unwrap();
                    }
                }
            }
            "expired" => {
                assayd.start().await.unwrap();
                let short = good_for(SHORT);
                let intermediate = self.intermediate.as_ref().expect("a chain with lists");
                lab.publish(&self.paths[0], intermediate, &short).await;
                lab.publish(&self.paths[1], &self.root, &short).await;
                self.ask_and_stop(lab, row, assayd).await;
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "{}: not kept", row.id);
                past(short.next_update).await;
                self.publish(lab, row.chain).await;
            }
            other => panic!("{}: {other}", row.id),
        }
        assayd.start().await.unwrap();
    }

    /// One question to the daemon, which ends after it and keeps what it was answered.
    async fn ask_and_stop(&self, lab: &Lab, row: &Row, assayd: &mut Assayd) {
        ask(assayd, &lab.signed(&format!("{}/before", row.id), &self.release)).await;
        assayd.stop().await.unwrap();
    }
}

/// `2`, or `1-2`.
fn between(text: &str) -> std::ops::RangeInclusive<usize> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    least.parse().unwrap()..=most.parse().unwrap()
}

/// What is not as the row says.
async fn judge(lab: &Lab, row: &Row) -> Vec<String> {
    let signer = Signer::new(lab, row).await;
    signer.publish(lab, row.chain).await;
    let daemon = lab.daemon(&signer.root.certificate_pem(), &Policy::default());
    let mut assayd = daemon.prepare().unwrap();
    signer.start(lab, row, &mut assayd).await;

    let mut wrong = vec![];
    let mut fetches = vec![];
    for (turn, expected) in row.verdicts.into_iter().enumerate() {
        let before = signer.fetches(lab);
        let question = lab.signed(&format!("{}/turn{turn}", row.id), &signer.release);
        let answer = ask(&assayd, &question).await;
        fetches.push(signer.fetches(lab) - before);
        let verdict = if admits(&answer) { "admit" } else { &answer.code };
        if verdict != expected {
            wrong.push(format!(
                "{} turn {turn}: {verdict}, not {expected}: {}",
                row.id, answer.reason
            ));
        }
    }
    let expected = row.fetches.split('+').map(between);
    if !expected.zip(&fetches).all(|(expected, count)| expected.contains(count)) {
        wrong.push(format!("{}: fetches {fetches:?}, not {}", row.id, row.fetches));
    }

    // The real notation, on the very image that assayd was asked about.
    let notation = Notation::new(&lab.peers).unwrap();
    notation.trust("ca", "corp", &signer.root.certificate_pem()).unwrap();
    let statement = Statement::strict(&["ca:corp"], &["*"]);
    notation.write_policy(&statement.policy()).unwrap();
    let image = lab.push(&format!("{}/turn0", row.id));
    let reference = lab.reference(&format!("{}/turn0", row.id), &image);
    let verdict = notation.verify(&reference).await.unwrap();
    let says = if verdict.success { "accept" } else { "refuse" };
    if says != row.chain.notation || verdict.success != (row.verdicts[0] == "admit") {
        wrong.push(format!("{}: notation: {says}: {}", row.id, verdict.stderr));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn assayd_comes_to_the_verdicts_of_notations_own_suite_with_no_more_requests() {
    let lab = Lab::start().await;
    let rows = rows();
    for fields in lines(CASES) {
        assert!(rows.iter().any(|row| row.id == fields[0]), "no row for {}", fields[0]);
    }
    let wrong = join_all(rows.iter().map(|row| judge(&lab, row))).await.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

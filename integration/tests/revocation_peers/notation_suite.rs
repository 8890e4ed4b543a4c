//! The cases of `cases.tsv`, each verified twice by the real notation.

use std::fs;

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::crl::CrlProfile;
use assay_integration::notation::Sign;
use assay_integration::ocsp::Responder;
use assay_integration::registry::sha256;
use assay_integration::{Crl, Notation, OcspResponder, Reason, Revoked, WebServer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::Lab;

const CASES: &str = include_str!("cases.tsv");
/// Nobody listens there.
const AWAY: &str = "http://127.0.0.1:1/ocsp";

struct Case {
    id: &'static str,
    leaf_list: &'static str,
    intermediate_list: &'static str,
    cache: &'static str,
    responder: &'static str,
    verdicts: [bool; 2],
    fetches: &'static str,
    says: Vec<&'static str>,
}

impl Case {
    fn all() -> Vec<Self> {
        let lines = CASES.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| Self::new(&line.split('\t').collect::<Vec<_>>()))
            .collect()
    }

    fn new(fields: &[&'static str]) -> Self {
        let &[
            id,
            leaf_list,
            intermediate_list,
            cache,
            responder,
            first,
            second,
            fetches,
            says,
        ] = fields
        else {
            panic!("not nine fields: {fields:?}")
        };
        let accepts = |word| match word {
            "accept" => true,
            "refuse" => false,
            _ => panic!("{id}: {word}"),
        };
        Self {
            id,
            leaf_list,
            intermediate_list,
            cache,
            responder,
            verdicts: [accepts(first), accepts(second)],
            fetches,
            says: says.split('|').collect(),
        }
    }
}

/// A chain of three whose lists are at `web`, or of two with a responder.
struct Signer {
    root: Authority,
    /// What issued the leaf, and the serial number of its certificate, where it is not the root.
    intermediate: Option<Authority>,
    release: SigningIdentity,
}

impl Signer {
    fn with_lists(web: &WebServer) -> Self {
        let root = Authority::root(&Profile::named("root")).unwrap();
        let below = Profile::named("intermediate")
            .crl(web.url("/intermediate.crl"))
            .ocsp(AWAY);
        let intermediate = root.intermediate(&below).unwrap();
        let release = intermediate
            .issue(&Profile::named("release").crl(web.url("/leaf.crl")))
            .unwrap();
        Self {
            root,
            intermediate: Some(intermediate),
            release,
        }
    }

    async fn publish(&self, lab: &Lab, web: &WebServer, case: &Case) {
        let Some(intermediate) = &self.intermediate else { return };
        let profile = |list: &str, serial| match list {
            "revoked" => CrlProfile::revoking([Revoked::new(serial, Reason::KeyCompromise)]),
            "good" => CrlProfile::default(),
            _ => panic!("{}: {list}", case.id),
        };
        let leaf = profile(case.leaf_list, &self.release.serial);
        let leaf = Crl::sign(&lab.openssl, intermediate, &leaf).await.unwrap();
        let serial = intermediate.serial().unwrap();
        let above = profile(case.intermediate_list, &serial);
        let above = Crl::sign(&lab.openssl, &self.root, &above).await.unwrap();
        web.serve_crl("/leaf.crl", &leaf.der);
        web.serve_crl("/intermediate.crl", &above.der);
    }

    /// Puts what the case names into the way of notation's cache; returns what must be done between the verifications.
    async fn prepare_cache(&self, lab: &Lab, web: &WebServer, notation: &Notation, case: &Case) {
        let folder = notation.cache().join("crl");
        let name = sha256(web.url("/leaf.crl").as_bytes()).replace("sha256:", "");
        match case.cache {
            "-" => (),
            "no folder" => fs::write(notation.cache(), "a file where the folder would be").unwrap(),
            // Permissions stop no root: a folder where the file would be stops everybody.
            "unreadable" => fs::create_dir_all(folder.join(name)).unwrap(),
            "expired" => {
                let intermediate = self.intermediate.as_ref().expect("a chain with lists");
                let expired = CrlProfile::default().expired();
                let expired = Crl::sign(&lab.openssl, intermediate, &expired).await.unwrap();
                fs::create_dir_all(&folder).unwrap();
                let entry = json!({ "baseCRL": STANDARD.encode(&expired.der) });
                fs::write(folder.join(name), entry.to_string()).unwrap();
            }
            other => panic!("{}: {other}", case.id),
        }
    }
}

#[tokio::test]
async fn notation_comes_to_the_verdicts_of_its_own_suite() {
    let lab = Lab::start().await;
    let web = WebServer::start().await.unwrap();
    let mut wrong = vec![];
    let cases = Case::all();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let mut responder = None;
        let signer = if case.responder == "-" {
            let signer = Signer::with_lists(&web);
            signer.publish(&lab, &web, &case).await;
            signer
        } else {
            let root = Authority::root(&Profile::named("root")).unwrap();
            let how = Responder::default();
            let mut started = OcspResponder::start(&lab.openssl, &root, &how).await.unwrap();
            let release = root.issue(&Profile::named("release").ocsp(started.url())).unwrap();
            match case.responder {
                "good" => started.good([&release.serial]).await.unwrap(),
                "revoked" => started.revoke(&release.serial, Reason::KeyCompromise).await.unwrap(),
                "unknown" => (),
                other => panic!("{}: {other}", case.id),
            }
            responder = Some(started);
            Signer {
                root,
                intermediate: None,
                release,
            }
        };
        let repository = format!("suite/{}", case.id);
        let (notation, image) = lab.signed(&repository, &signer.release, &Sign::with("release")).await;
        signer.prepare_cache(&lab, &web, &notation, &case).await;

        let mut fetches = vec![];
        for (turn, expected) in case.verdicts.into_iter().enumerate() {
            let mark = web.log().mark();
            let verdict = notation.verify_with(&image, &["--debug"]).await.unwrap();
            fetches.push(web.log().requests_since(mark).len().to_string());
            let said = verdict.stdout.clone() + &verdict.stderr;
            let silent = case.says.iter().find(|text| turn == 0 && !said.contains(**text));
            if verdict.success != expected || silent.is_some() {
                wrong.push(format!("{} turn {turn}: not {silent:?} in:\n{said}", case.id));
            }
        }
        let fetches = fetches.join("+");
        if fetches != case.fetches {
            wrong.push(format!("{}: fetches {fetches}, not {}", case.id, case.fetches));
        }
        if let Some(responder) = responder {
            assert_eq!(responder.requests(), 2, "{}: one question a verification", case.id);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

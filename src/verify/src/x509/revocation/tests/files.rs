//! CRLs and OCSP responses from files.

use super::*;

#[test]
fn a_file_that_is_good_is_asked_instead_of_anybody_else() {
    for names in [Names::crl(), Names::ocsp(), Names::both()] {
        let good = Case::new(chain(&names)).file(&List::new().signed()).good();
        assert_eq!(good.until, time(LATER));
        assert_eq!(good.checked[0].to_string(), "CN=leaf: not revoked by the file file");
    }
    for names in [Names::ocsp(), Names::both()] {
        let good = Case::new(chain(&names)).file(&Response::new(&GOOD).signed()).good();
        assert_eq!(good.until, time(LATER));
    }
}

#[test]
fn a_list_for_all_certificates_covers_one_whose_sources_nobody_can_ask() {
    let names = Names::crls(&["ldap://crl.example/cn=ca"]);
    Case::new(chain(&names)).file(&List::new().signed()).good();
    let https = Names {
        ocsp: vec!["https://ocsp.example"],
        ..Names::default()
    };
    Case::new(chain(&https)).file(&List::new().signed()).good();
    Case::new(chain(&https)).file(&Response::new(&GOOD).signed()).good();
}

#[test]
fn a_file_revokes_whatever_else_is_known() {
    let revoking = List::new().revoking(&SERIAL, &[]).signed();
    let revoked = Case::new(chain(&Names::crl())).file(&revoking).revoked();
    assert_eq!(revoked.by, Source::File("file".into()));
    Case::new(chain(&Names::default())).file(&revoking).revoked();
    let newer = List::new().between(NOW, LATER).signed();
    Case::new(chain(&Names::crl()))
        .file(&revoking)
        .crl(CRL, newer)
        .revoked();
    let good = Response::new(&GOOD).signed();
    Case::new(chain(&Names::ocsp())).ocsp(good).file(&revoking).revoked();
    let response = Response::new(&revoked_status()).signed();
    Case::new(chain(&Names::ocsp())).file(&response).revoked();
}

fn revoked_status() -> Vec<u8> {
    revoked(Some(1))
}

#[test]
fn a_file_that_the_issuer_did_not_sign_says_nothing() {
    for file in [
        List::new().revoking(&SERIAL, &[]).signed_by(&LEAF_KEY),
        List::new().signed_by(&LEAF_KEY),
        List::new().of(&leaf(&Names::crl())).signed(),
        Response::new(&GOOD).signed_by(&LEAF_KEY),
    ] {
        let case = Case::new(chain(&Names::crl())).file(&file);
        assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(CRL))]));
    }
}

#[test]
fn a_file_for_some_certificates_covers_those_only() {
    let list = |name| List::new().with(issuing(&[&named(&[name])])).signed();
    Case::new(chain(&Names::crl())).file(&list(CRL)).good();
    Case::new(chain(&Names::crl())).file(&list(OTHER_CRL)).needs();
    // A certificate without a distribution point is in none of the parts.
    let case = Case::new(chain(&Names::ocsp())).file(&list(CRL));
    assert_eq!(case.needs(), [case.ocsp_query()].into());
    // The first distribution point has a file, the second has to be asked.
    let case = Case::new(chain(&Names::crls(&[CRL, OTHER_CRL]))).file(&list(CRL));
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(OTHER_CRL))]));
}

#[test]
fn a_file_that_has_lapsed_counts_on_grace_when_nobody_answers() {
    let lapsed = List::new().between(EARLIER, LATELY).signed();
    let case = || Case::new(chain(&Names::crl())).file(&lapsed).grace(2);
    assert_eq!(case().needs(), BTreeSet::from([Query::Crl(url(CRL))]));
    let good = case().answered(Query::Crl(url(CRL)), None, None).good();
    assert_eq!(good.on_grace.unwrap().by, Source::File("file".into()));
    let current = case().crl(CRL, List::new().signed()).good();
    assert_eq!(current.on_grace, None);
}

#[test]
fn a_list_from_a_file_needs_its_delta_too() {
    let base = List::new().with_delta().signed();
    let case = Case::new(chain(&Names::crl())).file(&base);
    // The list itself is there.
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(DELTA))]));
    let delta = List::delta(6, 5);
    let mut case = Case::new(chain(&Names::crl()));
    case.local = LocalRevocation::from_files([("base", &*base), ("delta", &*delta.signed())]).unwrap();
    case.good();
    let delta = delta.revoking(&SERIAL, &[]).signed();
    case.local = LocalRevocation::from_files([("base", &*base), ("delta", &*delta)]).unwrap();
    assert_eq!(case.revoked().by, Source::File("delta".into()));
}

#[test]
fn the_newest_of_several_files_counts() {
    let held = List::new()
        .between(EARLIER, LATER)
        .revoking(&SERIAL, &[reason(6)])
        .signed();
    let released = List::new().signed();
    let mut case = Case::new(chain(&Names::crl()));
    case.local = LocalRevocation::from_files([("one", &*held), ("two", &*released)]).unwrap();
    case.good();
}

#[test]
fn a_list_may_be_pem() {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(List::new().signed());
    let lines: Vec<String> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = |label: &str| {
        let body = lines.join("\n");
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    Case::new(chain(&Names::crl())).file(pem("X509 CRL").as_bytes()).good();
    let error = LocalRevocation::from_files([("a.pem", pem("CERTIFICATE").as_bytes())]).unwrap_err();
    assert_eq!(error.to_string(), "a.pem is PEM, but not of an X509 CRL: CERTIFICATE");
}

#[test]
fn a_file_that_is_neither_is_named() {
    let nothing: [(&str, &[u8]); 0] = [];
    assert!(LocalRevocation::from_files(nothing).unwrap().is_empty());
    let error = LocalRevocation::from_files([("a.crl", &b"garbage"[..])]).unwrap_err();
    assert!(
        error.to_string().starts_with("a.crl is not a CRL: it is malformed"),
        "{error}"
    );
    let refusal = sequence(&[&[0x0a, 1, 3]]);
    let error = LocalRevocation::from_files([("b.der", &*refusal)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.der is not an OCSP response: the responder says try later"
    );
}

#[test]
fn files_are_bounded_in_number_and_size() {
    let list = List::new().signed();
    let files = |count| (0..count).map(|_| ("file", &*list));
    assert!(LocalRevocation::from_files(files(1_000)).is_ok());
    assert_eq!(
        LocalRevocation::from_files(files(1_001)).unwrap_err(),
        LocalRevocationError::TooManyFiles
    );
    let huge = vec![0x30; crate::limits::MAX_CRL_SIZE + 1];
    assert!(matches!(
        LocalRevocation::from_files([("file", &*huge)]),
        Err(LocalRevocationError::TooLarge { .. })
    ));
}

//! What an OCSP response must be, and what it says.

use super::*;
use crate::crypto::BadSignature;

#[test]
fn the_request_names_the_certificate_and_nothing_else() {
    let case = Case::new(chain(&Names::ocsp()));
    let Query::Ocsp { responders, request } = case.ocsp_query() else {
        panic!("no OCSP");
    };
    assert_eq!(responders, [url(RESPONDER)]);
    let expected = sequence(&[&sequence(&[&sequence(&[&sequence(&[&leaf_id()])])])]);
    assert_eq!(*request, *expected);
}

#[test]
fn the_issuer_s_word_counts_until_its_next_update() {
    let good = with_ocsp(&Response::new(&GOOD)).good();
    assert_eq!(good.until, time(LATER));
    assert_eq!(
        good.checked[0].to_string(),
        "CN=leaf: not revoked by the OCSP responder http://ocsp.example/"
    );
    let revoked = with_ocsp(&Response::new(&revoked(Some(1)))).revoked();
    assert_eq!((revoked.reason, revoked.at), (Reason::KeyCompromise, time(EARLIER)));
    let revoked = with_ocsp(&Response::new(&super::revoked(None))).revoked();
    assert_eq!(revoked.reason, Reason::Unspecified);
    let hold = with_ocsp(&Response::new(&super::revoked(Some(6)))).revoked();
    assert_eq!(hold.reason, Reason::CertificateHold);
}

#[test]
fn the_responder_is_named_by_name_or_by_key() {
    let mut response = Response::new(&GOOD);
    let hash = Sha1::digest(root().public_key().bytes);
    response.responder = der(0xa2, &[&der(0x04, &[&hash])]);
    response.version = der(0xa0, &[&integer(&[0])]);
    with_ocsp(&response).good();
    response.responder = der(0xa2, &[&der(0x04, &[&[0; 20]])]);
    assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::NoSigner);
    response.responder = der(0xa1, &[leaf(&Names::ocsp()).subject_der()]);
    assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::NoSigner);
    let mut response = Response::new(&GOOD);
    response.version = der(0xa0, &[&integer(&[1])]);
    assert!(matches!(with_ocsp(&response).ocsp_error(), OcspError::Malformed(_)));
}

/// The reference implementation accepts any certificate of the same issuer.
#[test]
fn a_sibling_of_the_certificate_is_no_responder() {
    for (purposes, usages) in [
        (vec![], vec![KeyUsagePurpose::DigitalSignature]),
        (
            vec![ExtendedKeyUsagePurpose::CodeSigning],
            vec![KeyUsagePurpose::DigitalSignature],
        ),
        (vec![ExtendedKeyUsagePurpose::Any], vec![]),
    ] {
        let mut params = responder();
        params.extended_key_usages = purposes;
        params.key_usages = usages;
        assert_eq!(by(&params), Err(ResponderError::NoOcspSigning));
    }
    // The leaf speaks for itself.
    let leaf = leaf(&Names::ocsp());
    let response = Response::new(&GOOD).by(&leaf).signed_by(&LEAF_KEY);
    let error = Case::new(chain(&Names::ocsp())).ocsp(response).ocsp_error();
    assert!(matches!(
        error,
        OcspError::Responder {
            cause: ResponderError::NoOcspSigning,
            ..
        }
    ));
}

/// What becomes of a response by a responder that the root issued.
fn by(params: &CertificateParams) -> Result<Timestamp, ResponderError> {
    let response = Response::new(&GOOD).by(&issued(params)).signed_by(&OTHER_KEY);
    let case = Case::new(chain(&Names::ocsp())).ocsp(response);
    match case.outcome() {
        Outcome::NotRevoked(good) => Ok(good.until),
        Outcome::Unknown(unknown) => match unknown.why {
            UnknownReason::Ocsp {
                cause: OcspError::Responder { cause, .. },
                ..
            } => Err(cause),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_responder_that_the_issuer_authorised_may_answer() {
    assert_eq!(by(&responder()), Ok(time(LATER)));
    // It may answer no longer than it is valid.
    let mut params = responder();
    params.not_after = date_time_ymd(2026, 6, 3);
    assert_eq!(by(&params), Ok(time("2026-06-03T00:00:00Z")));
    // The key usage is optional.
    let mut params = responder();
    params.key_usages = vec![];
    assert_eq!(by(&params), Ok(time(LATER)));
}

/// `id-pkix-ocsp-nocheck`.
fn no_check(critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
    extension.set_criticality(critical);
    extension
}

#[test]
fn a_responder_that_names_a_list_is_looked_up_in_it() {
    let mut params = responder();
    Names::crl().put(&mut params);
    let answered = |params: &CertificateParams, status: &[u8]| {
        let response = Response::new(status).by(&issued(params)).signed_by(&OTHER_KEY);
        Case::new(chain(&Names::ocsp())).ocsp(response)
    };
    let case = || answered(&params, &GOOD);
    assert_eq!(case().needs(), BTreeSet::from([Query::Crl(url(CRL))]));
    let good = case().crl(CRL, List::new().between(LATELY, SOON).signed()).good();
    assert_eq!(good.until, time(SOON));
    let revoking = List::new().revoking(&[0x33], &[]).signed();
    assert!(matches!(
        case().crl(CRL, revoking).ocsp_error(),
        OcspError::Responder {
            cause: ResponderError::Revoked,
            ..
        }
    ));
    let away = case().answered(Query::Crl(url(CRL)), None, None);
    assert!(matches!(away.ocsp_error(), OcspError::ResponderUnknown { .. }));
    // What it says against the certificate counts in any case.
    answered(&params, &revoked(None)).revoked();
    for critical in [true, false] {
        let mut params = params.clone();
        params.custom_extensions.push(no_check(critical));
        answered(&params, &GOOD).good();
    }
    let mut unaskable = responder();
    Names::crls(&["ldap://crl.example/cn=ca"]).put(&mut unaskable);
    assert!(matches!(
        answered(&unaskable, &GOOD).ocsp_error(),
        OcspError::ResponderUnknown { .. }
    ));
}

#[test]
fn a_responder_must_be_valid_now_and_when_it_answered() {
    let mut params = responder();
    params.not_after = date_time_ymd(2026, 5, 31);
    assert_eq!(by(&params), Err(ResponderError::NotValid(time(NOW))));
    let mut params = responder();
    params.not_before = date_time_ymd(2026, 6, 1);
    assert_eq!(by(&params), Err(ResponderError::NotValid(time(LATELY))));
}

#[test]
fn a_responder_must_be_allowed_to_sign_and_be_understood() {
    let mut params = responder();
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(by(&params), Err(ResponderError::NoDigitalSignature));
    let mut params = responder();
    let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
    unknown.set_criticality(true);
    params.custom_extensions = vec![unknown];
    assert!(matches!(by(&params), Err(ResponderError::UnknownCriticalExtension(_))));
}

#[test]
fn a_responder_of_another_issuer_may_not_answer() {
    let issue = |name: &str, issuer_key| certificate(&responder(), &OTHER_KEY, &ca(name, &[1]), issuer_key);
    // Another name; and the right name with another key.
    for responder in [issue("other", &*ROOT_KEY), issue("root", &*INTERMEDIATE_KEY)] {
        let response = Response::new(&GOOD).by(&responder).signed_by(&OTHER_KEY);
        let error = Case::new(chain(&Names::ocsp())).ocsp(response).ocsp_error();
        assert!(matches!(
            error,
            OcspError::Responder {
                cause: ResponderError::NotIssued,
                ..
            }
        ));
    }
    // One that a responder issued: the issuer must have done that itself.
    let mut middle = ca("middle", &[9]);
    middle.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    let below = certificate(&responder(), &OTHER_KEY, &middle, &INTERMEDIATE_KEY);
    let middle = certificate(&middle, &INTERMEDIATE_KEY, &ca("root", &[1]), &ROOT_KEY);
    let mut response = Response::new(&GOOD).by(&below);
    response.certificates.push(middle.der().to_vec());
    let case = Case::new(chain(&Names::ocsp())).ocsp(response.signed_by(&OTHER_KEY));
    assert!(matches!(
        case.ocsp_error(),
        OcspError::Responder {
            cause: ResponderError::NotIssued,
            ..
        }
    ));
}

#[test]
fn an_authorised_responder_must_be_the_one_that_is_named() {
    let mut response = Response::new(&GOOD).by(&issued(&responder()));
    response.responder = der(0xa1, &[leaf(&Names::ocsp()).subject_der()]);
    let case = Case::new(chain(&Names::ocsp())).ocsp(response.signed_by(&OTHER_KEY));
    assert_eq!(case.ocsp_error(), OcspError::NoSigner);
}

#[test]
fn an_authorised_responder_must_have_signed() {
    let response = Response::new(&GOOD).by(&issued(&responder())).signed_by(&LEAF_KEY);
    let case = Case::new(chain(&Names::ocsp())).ocsp(response);
    assert_eq!(case.ocsp_error(), OcspError::Signature(BadSignature));
    // Neither does the issuer's name help.
    let response = Response::new(&GOOD).signed_by(&LEAF_KEY);
    let case = Case::new(chain(&Names::ocsp())).ocsp(response);
    assert_eq!(case.ocsp_error(), OcspError::Signature(BadSignature));
    assert!(case.check().proven.is_empty());
}

#[test]
fn a_response_with_many_certificates_is_refused() {
    let certificate = issued(&responder());
    let mut response = Response::new(&GOOD).by(&certificate);
    response.certificates = vec![root().der().to_vec(); 7];
    response.certificates.push(certificate.der().to_vec());
    Case::new(chain(&Names::ocsp()))
        .ocsp(response.signed_by(&OTHER_KEY))
        .good();
    response.certificates.insert(0, root().der().to_vec());
    let case = Case::new(chain(&Names::ocsp())).ocsp(response.signed_by(&OTHER_KEY));
    assert_eq!(case.ocsp_error(), OcspError::TooManyCertificates);
}

#[test]
fn a_response_about_another_certificate_says_nothing() {
    let root = root();
    let (name, key) = (root.subject_der(), root.public_key().bytes);
    let with_sha_256 = {
        const SHA_256: [u8; 13] = [
            0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        ];
        let hash = |bytes: &[u8]| der(0x04, &[&Sha1::digest(bytes)]);
        sequence(&[&SHA_256, &hash(name), &hash(key), &integer(&SERIAL)])
    };
    for id in [
        certificate_id(name, key, &[0x10]),
        certificate_id(b"other", key, &SERIAL),
        certificate_id(name, b"other", &SERIAL),
        with_sha_256,
    ] {
        let mut response = Response::new(&GOOD);
        response.id = id;
        assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::OtherCertificate);
        // Beside one about it, it does not matter.
        let other = response.single();
        let mut response = Response::new(&revoked(None));
        response.more = other;
        with_ocsp(&response).revoked();
    }
}

#[test]
fn of_two_words_about_the_certificate_the_newer_counts_and_then_the_worse() {
    let mut response = Response::new(&GOOD);
    response.more = Response::new(&revoked(None)).single();
    with_ocsp(&response).revoked();
    let mut response = Response::new(&revoked(None));
    response.more = Response::new(&GOOD).single();
    with_ocsp(&response).revoked();
    response.more = Response::new(&GOOD).between(NOW, LATER).single();
    with_ocsp(&response).good();
}

#[test]
fn an_answer_must_have_times_that_make_sense() {
    let mut response = Response::new(&GOOD);
    response.next_update = None;
    assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::NoNextUpdate);
    let response = Response::new(&GOOD).between(SOON, LATER);
    assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::Future(time(SOON)));
    let mut response = Response::new(&GOOD);
    response.produced_at = SOON;
    assert_eq!(with_ocsp(&response).ocsp_error(), OcspError::Future(time(SOON)));
    with_ocsp(&Response::new(&GOOD).between("2026-06-01T00:05:00Z", LATER)).good();
}

#[test]
fn a_lapsed_answer_of_a_live_responder_is_a_replay() {
    let case = with_ocsp(&Response::new(&GOOD).between(EARLIER, LATELY)).grace(30);
    let lapsed = time(LATELY);
    let by = Source::Ocsp(vec![url(RESPONDER)]);
    assert_eq!(case.unknown(), UnknownReason::Replayed { by, lapsed });
    with_ocsp(&Response::new(&revoked(None)).between(EARLIER, LATELY)).revoked();
}

#[test]
fn a_responder_that_does_not_know_the_certificate_leaves_it_unknown() {
    let case = with_ocsp(&Response::new(&UNKNOWN));
    assert!(matches!(case.unknown(), UnknownReason::NotKnown { .. }));
}

#[test]
fn a_critical_extension_makes_a_response_unusable() {
    for critical in [true, false] {
        let extensions = der(0xa1, &[&sequence(&[&extension(99, critical, &[5, 0])])]);
        let mut one = Response::new(&GOOD);
        one.extensions = extensions.clone();
        let mut other = Response::new(&GOOD);
        other.single_extensions = extensions;
        for response in [one, other] {
            match critical {
                true => assert!(matches!(
                    with_ocsp(&response).ocsp_error(),
                    OcspError::CriticalExtension(_)
                )),
                false => drop(with_ocsp(&response).good()),
            }
        }
    }
}

#[test]
fn an_invalidity_date_counts_only_with_an_authentic_signing_time() {
    let mut response = Response::new(&revoked(Some(1)));
    let date = extension(INVALIDITY_DATE, false, &generalized_time(EARLIER));
    response.single_extensions = der(0xa1, &[&sequence(&[&date])]);
    with_ocsp(&response).revoked();
    with_ocsp(&response).signed_at(LONG_AGO).good();
    with_ocsp(&response).signed_at(LATELY).revoked();
}

#[test]
fn a_refusal_is_no_answer() {
    for (status, words) in [
        (1, "malformed"),
        (2, "internal"),
        (3, "later"),
        (5, "signed"),
        (6, "unauthorized"),
    ] {
        let response = sequence(&[&[0x0a, 1, status]]);
        let error = Case::new(chain(&Names::ocsp())).ocsp(response.into()).ocsp_error();
        assert!(matches!(error, OcspError::Refused(text) if text.contains(words)));
    }
    for response in [sequence(&[&[0x0a, 1, 0]]), sequence(&[&[0x0a, 1, 4]])] {
        let error = Case::new(chain(&Names::ocsp())).ocsp(response.into()).ocsp_error();
        assert!(matches!(error, OcspError::Malformed(_)));
    }
}

#[test]
fn weak_signatures_do_not_count() {
    let mut response = Response::new(&GOOD);
    response.algorithm = SHA_1_WITH_RSA.to_vec();
    assert!(matches!(with_ocsp(&response).ocsp_error(), OcspError::Algorithm(_)));
}

#[test]
fn a_changed_response_says_nothing() {
    let good = Response::new(&GOOD).by(&issued(&responder())).signed_by(&OTHER_KEY);
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        let case = Case::new(chain(&Names::ocsp())).ocsp(bytes.into());
        assert!(matches!(case.outcome(), Outcome::Unknown(_)), "byte {at}");
    }
    for end in 0..good.len() {
        let case = Case::new(chain(&Names::ocsp())).ocsp(good[..end].into());
        assert!(matches!(case.ocsp_error(), OcspError::Malformed(_)), "cut at {end}");
    }
}

#[test]
fn lists_are_asked_only_where_the_responder_does_not_tell() {
    let names = Names::both;
    let case = |response: &Response| Case::new(chain(&names())).ocsp(response.signed());
    assert!(
        Case::new(chain(&names()))
            .needs()
            .iter()
            .all(|query| matches!(query, Query::Ocsp { .. }))
    );
    case(&Response::new(&GOOD)).good();
    case(&Response::new(&revoked(None))).revoked();
    let lists = BTreeSet::from([Query::Crl(url(CRL))]);
    let mut other = Response::new(&GOOD);
    other.id = certificate_id(b"other", b"other", &SERIAL);
    for response in [
        Response::new(&UNKNOWN),
        Response::new(&GOOD).between(EARLIER, LATELY),
        other,
    ] {
        assert_eq!(case(&response).needs(), lists);
        case(&response).crl(CRL, List::new().signed()).good();
        let revoking = List::new().revoking(&SERIAL, &[]).signed();
        case(&response).crl(CRL, revoking).revoked();
        let unknown = case(&response).crl(CRL, b"garbage"[..].into());
        assert!(matches!(unknown.unknown(), UnknownReason::Crl { .. }));
    }
    let query = Case::new(chain(&names())).ocsp_query();
    let case = Case::new(chain(&names())).answered(query, None, None);
    assert_eq!(case.needs(), lists);
}

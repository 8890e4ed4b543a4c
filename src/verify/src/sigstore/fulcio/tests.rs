//! Signers' certificates with one defect each.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, OtherNameValue, SanType, date_time_ymd,
};

use super::testing::*;
use super::*;
use crate::Timestamp;
use crate::limits::MAX_PATH_VERIFICATIONS;
use crate::sigstore::trusted_root as trusted;
use crate::sigstore::window::Window;
use crate::x509::certificate::NotIssuedBy;
use crate::x509::chain::IssuerError;

fn make(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = leaf();
    change(&mut params);
    Chain::new(&root(), &intermediate(), &params).leaf
}

fn read(change: impl FnOnce(&mut CertificateParams)) -> Result<Holder, CertificateError> {
    holder(&make(change))
}

#[track_caller]
fn check_profile(change: impl FnOnce(&mut CertificateParams), error: ProfileError) {
    let leaf = make(change);
    let error = CertificateError::Profile(error);
    assert_eq!(holder(&leaf), Err(error.clone()));
    assert_eq!(error.code(), Code::SignatureInvalid);
}

#[test]
fn reads_a_workflow_with_its_claims() {
    let holder = read(|leaf| {
        leaf.custom_extensions.extend([
            raw(2, "push"),
            raw(5, "corp/app"),
            utf8(11, "github-hosted"),
            utf8(12, "https://github.com/corp/app"),
            utf8(14, "refs/heads/main"),
            utf8(23, ""),
            utf8(24, "repo:corp/app"),
        ]);
    })
    .unwrap();
    assert_eq!((&*holder.subject, holder.subject_kind), (SUBJECT, SubjectKind::Uri));
    assert_eq!(holder.issuer.as_deref(), Some(PROVIDER));
    let claims: Vec<_> = holder
        .claims
        .iter()
        .map(|(claim, text)| (claim.name(), &**text))
        .collect();
    assert_eq!(
        claims,
        [
            ("github_workflow_trigger", "push"),
            ("github_workflow_repository", "corp/app"),
            ("runner_environment", "github-hosted"),
            ("source_repository", "https://github.com/corp/app"),
            ("source_repository_ref", "refs/heads/main"),
            ("deployment_environment", ""),
            ("token_subject", "repo:corp/app"),
        ]
    );
}

#[test]
fn reads_people_and_user_names() {
    let email = read(|leaf| leaf.subject_alt_names = vec![SanType::Rfc822Name("a@corp.example".try_into().unwrap())]);
    let email = email.unwrap();
    assert_eq!(
        (&*email.subject, email.subject_kind),
        ("a@corp.example", SubjectKind::Email)
    );

    let name = SanType::OtherName((
        vec![1, 3, 6, 1, 4, 1, 57264, 1, 7],
        OtherNameValue::Utf8String("jos\u{e9}!corp".into()),
    ));
    let user = read(|leaf| leaf.subject_alt_names = vec![name]).unwrap();
    assert_eq!(
        (&*user.subject, user.subject_kind),
        ("jos\u{e9}!corp", SubjectKind::UserName)
    );
}

#[test]
fn refuses_a_certificate_that_does_not_name_one_subject() {
    let uri = || SanType::URI("https://corp.example/".try_into().unwrap());
    check_profile(|leaf| leaf.subject_alt_names.clear(), ProfileError::SubjectCount(0));
    check_profile(|leaf| leaf.subject_alt_names.push(uri()), ProfileError::SubjectCount(2));
    // One of them is of a kind that a reader of URIs would pass over.
    check_profile(
        |leaf| {
            leaf.subject_alt_names
                .push(SanType::IpAddress("192.0.2.1".parse().unwrap()));
        },
        ProfileError::SubjectCount(2),
    );
    check_profile(
        |leaf| leaf.subject_alt_names = vec![SanType::DnsName("corp.example".try_into().unwrap())],
        ProfileError::SubjectKind,
    );
    let other = |arc| {
        SanType::OtherName((
            vec![1, 3, 6, 1, 4, 1, 57264, 1, arc],
            OtherNameValue::Utf8String("x".into()),
        ))
    };
    check_profile(
        |leaf| leaf.subject_alt_names = vec![other(6)],
        ProfileError::SubjectKind,
    );
    check_profile(
        |leaf| leaf.subject_alt_names = vec![SanType::URI("".try_into().unwrap())],
        ProfileError::Length {
            extension: rfc5280::ID_CE_SUBJECT_ALT_NAME,
            length: 0,
        },
    );
    check_profile(
        |leaf| leaf.subject_alt_names = vec![SanType::URI("x".repeat(MAX_CLAIM_LENGTH + 1).try_into().unwrap())],
        ProfileError::Length {
            extension: rfc5280::ID_CE_SUBJECT_ALT_NAME,
            length: MAX_CLAIM_LENGTH + 1,
        },
    );
}

#[test]
fn refuses_a_certificate_that_is_not_for_signing_code() {
    check_profile(
        |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        ProfileError::IsCa,
    );
    check_profile(
        |leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        ProfileError::NoDigitalSignature,
    );
    check_profile(|leaf| leaf.key_usages.clear(), ProfileError::NoDigitalSignature);
    check_profile(|leaf| leaf.extended_key_usages.clear(), ProfileError::NoCodeSigning);
    check_profile(
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
        ProfileError::NoCodeSigning,
    );
    let mut critical = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, 99], vec![5, 0]);
    critical.set_criticality(true);
    check_profile(
        |leaf| leaf.custom_extensions.push(critical),
        ProfileError::UnknownCriticalExtension(ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.99")),
    );
}

#[test]
fn the_two_issuers_agree_and_either_is_enough() {
    let issuer = |extensions: Vec<CustomExtension>| {
        read(|leaf| leaf.custom_extensions = extensions).map(|holder| holder.issuer.map(String::from))
    };
    assert_eq!(issuer(vec![raw(1, PROVIDER)]), Ok(Some(PROVIDER.to_owned())));
    assert_eq!(issuer(vec![utf8(8, PROVIDER)]), Ok(Some(PROVIDER.to_owned())));
    assert_eq!(issuer(vec![]), Ok(None));
    assert_eq!(
        issuer(vec![utf8(8, PROVIDER), raw(1, "https://evil.example")]),
        Err(ProfileError::TwoIssuers.into())
    );
}

#[test]
fn refuses_claims_that_are_not_text() {
    let extension = |arc: u64| ObjectIdentifier::new_unwrap(&format!("1.3.6.1.4.1.57264.1.{arc}"));
    let content = |arc: u64, content: &[u8]| {
        let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1, arc], content.to_vec());
        move |leaf: &mut CertificateParams| leaf.custom_extensions.push(extension)
    };
    // Raw where DER has to be, another string type, bytes behind it, and what is not UTF-8.
    check_profile(content(12, b"https"), ProfileError::Malformed(extension(12)));
    check_profile(content(12, &[0x13, 1, b'a']), ProfileError::Malformed(extension(12)));
    check_profile(content(12, &[0x0c, 1, b'a', 0]), ProfileError::Malformed(extension(12)));
    check_profile(content(12, &[0x0c, 1, 0xff]), ProfileError::Malformed(extension(12)));
    check_profile(content(5, &[0xff]), ProfileError::Malformed(extension(5)));
    check_profile(
        content(5, &[b'x'; MAX_CLAIM_LENGTH + 1]),
        ProfileError::Length {
            extension: extension(5),
            length: MAX_CLAIM_LENGTH + 1,
        },
    );
}

/// A path of three at the usual moment, or why there is none.
#[track_caller]
fn check_path(chain: &Chain, intermediates: &[Certificate], authority: &trusted::Authority) -> Result<(), PathError> {
    let moments = [time(SIGNED_AT)];
    match find_path(&chain.leaf, intermediates, std::slice::from_ref(authority), &moments) {
        Ok(path) => {
            let expected = [&chain.leaf, &chain.intermediate, &chain.root];
            assert!(path.certificates.iter().eq(expected), "{:?}", path.certificates);
            Ok(())
        }
        Err(CertificateError::Path(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn finds_a_path_over_the_authoritys_certificates_or_the_signatures() {
    let chain = Chain::default();
    assert_eq!(check_path(&chain, &[], &chain.authority()), Ok(()));
    let only_root = authority([&chain.root], Window::default());
    assert_eq!(
        check_path(&chain, std::slice::from_ref(&chain.intermediate), &only_root),
        Ok(())
    );
    // A root among the intermediates is of no use and no harm.
    let junk = [chain.root.clone(), chain.intermediate.clone()];
    assert_eq!(check_path(&chain, &junk, &only_root), Ok(()));
    assert_eq!(
        check_path(&chain, &[], &only_root),
        Err(PathError::NoIssuer {
            position: 0,
            subject: "".into()
        })
    );
}

#[test]
fn an_intermediate_may_be_the_anchor() {
    let chain = Chain::default();
    let authorities = [authority([&chain.intermediate], Window::default())];
    let path = find_path(&chain.leaf, &[], &authorities, &[time(SIGNED_AT)]).unwrap();
    assert!(path.certificates.iter().eq([&chain.leaf, &chain.intermediate]));
}

#[test]
fn refuses_a_forged_authority_of_the_same_name() {
    let chain = Chain::default();
    let mallory = KeyPair::generate().unwrap();
    let params = root();
    let issuer = Issuer::from_params(&params, &mallory);
    let forged = parse(&intermediate().signed_by(&*INTERMEDIATE_KEY, &issuer).unwrap());
    let only_root = authority([&chain.root], Window::default());
    let error = check_path(&chain, &[forged], &only_root).unwrap_err();
    assert!(
        matches!(
            error,
            PathError::NotIssuedBy {
                position: 1,
                cause: NotIssuedBy::Signature(_)
            }
        ),
        "{error}"
    );
    assert_eq!(error.code(), Code::UntrustedSigner);
    // The root that would vouch for it is the signature's own.
    let own = parse(&params.self_signed(&mallory).unwrap());
    let signed = parse(&leaf().signed_by(&*LEAF_KEY, &issuer).unwrap());
    let refused = find_path(&signed, &[own], &[chain.authority()], &[time(SIGNED_AT)]).unwrap_err();
    assert_eq!(refused.code(), Code::UntrustedSigner);
}

#[test]
fn refuses_issuers_that_may_not_issue() {
    fn check(change: impl FnOnce(&mut CertificateParams), error: PathError) {
        let mut params = intermediate();
        change(&mut params);
        let chain = Chain::new(&root(), &params, &leaf());
        assert_eq!(check_path(&chain, &[], &chain.authority()), Err(error.clone()));
        assert_eq!(error.code(), Code::UntrustedSigner);
    }
    let issuer = |cause| PathError::Issuer { position: 1, cause };
    check(|ca| ca.is_ca = IsCa::ExplicitNoCa, issuer(IssuerError::NotCa));
    check(|ca| ca.is_ca = IsCa::NoCa, issuer(IssuerError::NotCa));
    check(
        |ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        issuer(IssuerError::NoKeyCertSign),
    );
    check(
        |ca| ca.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping],
        PathError::IssuerNotForCodeSigning { position: 1 },
    );
    for critical in [false, true] {
        let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 30], vec![0x30, 0]);
        constraints.set_criticality(critical);
        check(
            |ca| ca.custom_extensions.push(constraints),
            PathError::NameConstraints { position: 1 },
        );
    }
    let mut critical = CustomExtension::from_oid_content(&[2, 5, 29, 36], vec![0x30, 0]);
    critical.set_criticality(true);
    check(
        |ca| ca.custom_extensions.push(critical),
        PathError::UnknownCriticalExtension {
            position: 1,
            extension: rfc5280::ID_CE_POLICY_CONSTRAINTS,
        },
    );
}

#[test]
fn accepts_private_authorities_that_say_less() {
    let mut bare = intermediate();
    bare.extended_key_usages.clear();
    bare.key_usages.clear();
    bare.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut plain = root();
    plain.key_usages.clear();
    plain.is_ca = IsCa::NoCa;
    let chain = Chain::new(&plain, &bare, &leaf());
    assert_eq!(check_path(&chain, &[], &chain.authority()), Ok(()));
}

#[test]
fn a_root_that_says_that_it_may_not_issue_is_believed() {
    for (change, error) in [
        (
            (|root| root.is_ca = IsCa::ExplicitNoCa) as fn(&mut CertificateParams),
            PathError::Issuer {
                position: 2,
                cause: IssuerError::NotCa,
            },
        ),
        (
            |root| root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            PathError::Issuer {
                position: 2,
                cause: IssuerError::PathLength { allowed: 0, below: 1 },
            },
        ),
        (
            |root| root.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            PathError::IssuerNotForCodeSigning { position: 2 },
        ),
    ] {
        let mut params = root();
        change(&mut params);
        let chain = Chain::new(&params, &intermediate(), &leaf());
        assert_eq!(check_path(&chain, &[], &chain.authority()), Err(error));
    }
}

/// CVE-2026-24122: cosign accepted an intermediate that had expired before the signature was made.
#[test]
fn cve_2026_24122_denies_when_an_intermediate_had_expired_at_signing() {
    let mut expired = intermediate();
    expired.not_after = date_time_ymd(2026, 4, 1);
    let mut expired_root = root();
    expired_root.not_after = date_time_ymd(2026, 4, 1);
    for (root, intermediate, position) in [(root(), expired, 1), (expired_root, intermediate(), 2)] {
        let chain = Chain::new(&root, &intermediate, &leaf());
        let error = PathError::NotValidAt {
            position,
            moment: time(SIGNED_AT),
            not_before: time("2026-01-01T00:00:00Z"),
            not_after: time("2026-04-01T00:00:00Z"),
        };
        assert_eq!(check_path(&chain, &[], &chain.authority()), Err(error.clone()));
        assert_eq!(error.code(), Code::CertificateExpired);
    }
}

/// TOB-SIGSTORE-4: the earliest of several times won, so that one bad timestamp authority could date a signature back.
#[test]
fn tob_sigstore_4_denies_when_the_chain_is_not_valid_at_every_verified_time() {
    let mut short = leaf();
    short.not_after = date_time_ymd(2026, 2, 1);
    let chain = Chain::new(&root(), &intermediate(), &short);
    let authorities = [chain.authority()];
    let (inside, outside) = (time("2026-01-15T00:00:00Z"), time(SIGNED_AT));
    let find = |moments: &[Timestamp]| find_path(&chain.leaf, &[], &authorities, moments).map(|_| ());
    assert_eq!(find(&[inside]), Ok(()));
    let error = CertificateError::Path(PathError::NotValidAt {
        position: 0,
        moment: outside,
        not_before: time("2026-01-01T00:00:00Z"),
        not_after: time("2026-02-01T00:00:00Z"),
    });
    assert_eq!(error.code(), Code::CertificateExpired);
    for moments in [&[outside][..], &[inside, outside], &[outside, inside]] {
        assert_eq!(find(moments), Err(error.clone()));
    }
    // Both ends are inside.
    assert_eq!(
        find(&[time("2026-01-01T00:00:00Z"), time("2026-02-01T00:00:00Z")]),
        Ok(())
    );
    assert!(find(&[time("2025-12-31T23:59:59.999999999Z")]).is_err());
    assert!(find(&[time("2026-02-01T00:00:00.000000001Z")]).is_err());
}

#[test]
fn denies_when_the_authority_did_not_count_at_every_moment() {
    let chain = Chain::default();
    let window = Window {
        start: Some(time("2026-03-01T00:00:00Z")),
        end: Some(time(SIGNED_AT)),
    };
    let authorities = [authority([&chain.intermediate, &chain.root], window)];
    let find = |moments: &[&str]| {
        let moments: Vec<_> = moments.iter().map(|text| time(text)).collect();
        find_path(&chain.leaf, &[], &authorities, &moments).map(|_| ())
    };
    assert_eq!(find(&["2026-03-01T00:00:00Z", SIGNED_AT]), Ok(()));
    for moment in ["2026-02-28T23:59:59Z", "2026-05-01T00:00:01Z"] {
        let error = CertificateError::Path(PathError::OutsideWindow {
            moment: time(moment),
            window,
        });
        assert_eq!(error.code(), Code::CertificateExpired);
        assert_eq!(find(&[SIGNED_AT, moment]), Err(error));
    }
}

/// The path of one authority and the window of another are nobody's word.
#[test]
fn one_authority_has_the_whole_path_and_the_window() {
    let chain = Chain::default();
    let past = Window {
        end: Some(time("2026-03-01T00:00:00Z")),
        ..Window::default()
    };
    let mut other = root();
    other.distinguished_name.push(rcgen::DnType::OrganizationName, "other");
    let other = parse(&other.self_signed(&*ROOT_KEY).unwrap());
    let authorities = [
        authority([&chain.intermediate, &chain.root], past),
        authority([&other], Window::default()),
    ];
    let moments = [time(SIGNED_AT)];
    let error = find_path(&chain.leaf, &[], &authorities, &moments).unwrap_err();
    assert!(
        matches!(error, CertificateError::Path(PathError::OutsideWindow { .. })),
        "{error}"
    );
    // The same certificates in a window that holds are another authority, and enough.
    let both = [authorities[0].clone(), chain.authority()];
    assert!(find_path(&chain.leaf, &[], &both, &moments).is_ok());
}

#[test]
fn refuses_without_a_moment_or_an_authority() {
    let chain = Chain::default();
    let find = |authorities: &[trusted::Authority], moments: &[Timestamp]| {
        find_path(&chain.leaf, &[], authorities, moments).map(|_| ())
    };
    assert_eq!(find(&[chain.authority()], &[]), Err(PathError::NoMoment.into()));
    assert_eq!(find(&[], &[time(SIGNED_AT)]), Err(PathError::NoAuthority.into()));
    let empty = authority([], Window::default());
    assert_eq!(
        find(&[empty], &[time(SIGNED_AT)]).unwrap_err().code(),
        Code::UntrustedSigner
    );
}

#[test]
fn a_path_is_asked_the_profile_of_the_leaf_too() {
    let chain = Chain::new(&root(), &intermediate(), &{
        let mut params = leaf();
        params.extended_key_usages.clear();
        params
    });
    let error = find_path(&chain.leaf, &[], &[chain.authority()], &[time(SIGNED_AT)]).unwrap_err();
    assert_eq!(error, ProfileError::NoCodeSigning.into());
}

/// Intermediates of the right name that did not sign: each costs a signature to find out.
#[test]
fn a_strangers_intermediates_cannot_buy_endless_work() {
    let chain = Chain::default();
    let params = root();
    let issuer = Issuer::from_params(&params, &*ROOT_KEY);
    let junk: Vec<_> = (0..=MAX_PATH_VERIFICATIONS)
        .map(|_| {
            parse(
                &intermediate()
                    .signed_by(&KeyPair::generate().unwrap(), &issuer)
                    .unwrap(),
            )
        })
        .collect();
    let only_root = authority([&chain.root], Window::default());
    let error = check_path(&chain, &junk, &only_root).unwrap_err();
    assert_eq!(error, PathError::TooManyVerifications);
    assert_eq!(error.code(), Code::LimitExceeded);
    // The authority's own certificates are tried first, so junk does not stand in their way.
    assert_eq!(check_path(&chain, &junk, &chain.authority()), Ok(()));
}

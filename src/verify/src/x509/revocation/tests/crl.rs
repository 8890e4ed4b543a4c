//! What a CRL must be, and what it says.

use super::*;

#[test]
fn a_certificate_that_is_on_no_list_is_not_revoked_until_the_next_list() {
    let good = with_crl(&List::new().revoking(&[0x10], &[])).good();
    assert_eq!(good.until, time(LATER));
    assert_eq!(good.on_grace, None);
    assert_eq!(good.checked.len(), 1);
    assert_eq!(
        good.checked[0].to_string(),
        "CN=leaf: not revoked by the CRL http://crl.example/one.crl"
    );
}

#[test]
fn a_certificate_on_the_list_is_revoked_for_the_reason_that_is_there() {
    for (number, reason_read) in [
        (0, Reason::Unspecified),
        (1, Reason::KeyCompromise),
        (2, Reason::CaCompromise),
        (3, Reason::AffiliationChanged),
        (4, Reason::Superseded),
        (5, Reason::CessationOfOperation),
        (9, Reason::PrivilegeWithdrawn),
        (10, Reason::AaCompromise),
    ] {
        let list = List::new().revoking(&[0x10], &[]).revoking(&SERIAL, &[reason(number)]);
        let revoked = with_crl(&list).revoked();
        assert_eq!(revoked.reason, reason_read);
        assert_eq!(revoked.at, time(EARLIER));
        assert_eq!(revoked.by, source());
    }
    let revoked = with_crl(&List::new().revoking(&SERIAL, &[])).revoked();
    assert_eq!(
        revoked.to_string(),
        "the certificate CN=leaf was revoked at 2026-05-01T00:00:00Z (unspecified), says the CRL \
         http://crl.example/one.crl"
    );
}

#[test]
fn a_certificate_on_hold_is_revoked() {
    let revoked = with_crl(&List::new().revoking(&SERIAL, &[reason(6)])).revoked();
    assert_eq!(revoked.reason, Reason::CertificateHold);
}

#[test]
fn of_two_entries_for_one_certificate_the_worse_counts() {
    for reasons in [[6, 1], [1, 6]] {
        let [first, second] = reasons.map(reason);
        let list = List::new().revoking(&SERIAL, &[first]).revoking(&SERIAL, &[second]);
        assert_eq!(with_crl(&list).revoked().reason, Reason::KeyCompromise);
    }
}

#[test]
fn a_serial_number_that_only_begins_or_ends_alike_is_another() {
    for other in [&[0xa0, 0x10][..], &[0x10, 0x07], &[0xa0, 0x10, 0x07, 0x00]] {
        with_crl(&List::new().revoking(other, &[])).good();
    }
}

#[test]
fn a_revoked_intermediate_revokes_the_chain() {
    let names = Names::crls(&[OTHER_CRL]);
    let chain = long_chain(&Names::crl(), &names);
    let of_leaf = List::new().of(&chain[1]).signed_by(&INTERMEDIATE_KEY);
    let of_intermediate = List::new().revoking(&INTERMEDIATE_SERIAL, &[]).signed();
    let case = Case::new(chain).crl(CRL, of_leaf).crl(OTHER_CRL, of_intermediate);
    assert_eq!(case.revoked().subject, Untrusted::from("CN=intermediate"));
}

#[test]
fn a_certificate_that_names_no_source_cannot_be_revoked() {
    let good = Case::new(chain(&Names::default())).good();
    assert_eq!(good.until, Timestamp::MAX);
    assert_eq!(good.checked[0].by, CheckedBy::NoSource);
}

#[test]
fn a_certificate_whose_sources_nobody_can_ask_is_unknown() {
    let unaskable = ["ldap://crl.example/cn=ca", "https://crl.example/one.crl"];
    for address in unaskable {
        let case = Case::new(chain(&Names::crls(&[address])));
        assert_eq!(case.unknown(), UnknownReason::NoAddress, "{address}");
        let names = Names {
            ocsp: vec!["https://ocsp.example"],
            ..Names::default()
        };
        assert_eq!(Case::new(chain(&names)).unknown(), UnknownReason::NoAddress);
        let names = Names {
            freshest: vec![point(&[address])],
            ..Names::default()
        };
        assert_eq!(Case::new(chain(&names)).unknown(), UnknownReason::NoAddress);
    }
}

#[test]
fn only_the_http_address_of_a_distribution_point_is_asked() {
    let names = Names {
        crl: vec![point(&["ldap://crl.example/cn=ca", CRL])],
        ..Names::default()
    };
    let case = Case::new(chain(&names));
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(CRL))]));
    case.crl(CRL, List::new().signed()).good();
}

/// RUSTSEC-2026-0049: only the first distribution point was considered.
#[test]
fn the_second_of_two_distribution_points_revokes() {
    let chain = chain(&Names::crls(&[CRL, OTHER_CRL]));
    let needs = Case::new(chain.clone()).needs();
    assert_eq!(needs, [CRL, OTHER_CRL].map(|address| Query::Crl(url(address))).into());
    for (first, second) in [(CRL, OTHER_CRL), (OTHER_CRL, CRL)] {
        let revoking = List::new().revoking(&SERIAL, &[]).signed();
        let case = Case::new(chain.clone())
            .crl(first, List::new().signed())
            .crl(second, revoking);
        assert_eq!(case.revoked().by, Source::Crl(url(second)));
    }
}

#[test]
fn every_distribution_point_needs_a_list() {
    let chain = chain(&Names::crls(&[CRL, OTHER_CRL]));
    let case = Case::new(chain.clone()).crl(CRL, List::new().signed());
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(OTHER_CRL))]));
    let case = case.answered(Query::Crl(url(OTHER_CRL)), None, None);
    assert!(matches!(case.unknown(), UnknownReason::Unanswered { .. }));
    let case = case.crl(OTHER_CRL, List::new().signed());
    case.good();
}

#[test]
fn one_address_of_a_distribution_point_is_enough_and_the_newest_list_counts() {
    let names = Names {
        crl: vec![point(&[CRL, OTHER_CRL])],
        ..Names::default()
    };
    let away = Query::Crl(url(CRL));
    let good = List::new().signed();
    let case = Case::new(chain(&names)).answered(away.clone(), None, None);
    case.crl(OTHER_CRL, good).good();
    let revoking = List::new().revoking(&SERIAL, &[]).signed();
    let case = Case::new(chain(&names)).crl(OTHER_CRL, revoking);
    let older = List::new().between(EARLIER, LATER).signed();
    case.crl(CRL, older).revoked();
}

/// RUSTSEC-2026-0048: a list for a part of the certificates was taken for one of the others.
#[test]
fn a_list_of_another_distribution_point_says_nothing() {
    let list = List::new().with(issuing(&[&named(&[OTHER_CRL])]));
    assert_eq!(
        with_crl(&list).crl_error(),
        CrlError::Scope(Scope::OtherDistributionPoint)
    );
    with_crl(&List::new().with(issuing(&[&named(&[OTHER_CRL, CRL])]))).good();
    // A name relative to the issuer is not that of the point.
    let relative = der(0xa0, &[&der(0xa1, &[])]);
    assert_eq!(
        with_crl(&List::new().with(issuing(&[&relative]))).crl_error(),
        CrlError::Scope(Scope::OtherDistributionPoint)
    );
}

#[test]
fn a_list_of_the_other_distribution_point_of_the_same_certificate_is_not_taken_twice() {
    let list = List::new().with(issuing(&[&named(&[CRL])])).signed();
    let case = Case::new(chain(&Names::crls(&[CRL, OTHER_CRL])))
        .crl(CRL, list.clone())
        .crl(OTHER_CRL, list);
    assert_eq!(case.crl_error(), CrlError::Scope(Scope::OtherDistributionPoint));
}

#[test]
fn a_list_says_nothing_about_what_it_does_not_cover() {
    const FLAG: [u8; 2] = [1, 0xff];
    let flag = |number: u8| [&[0x80 | number][..], &FLAG].concat();
    for (part, error) in [
        (flag(2), CrlError::Scope(Scope::Authorities)),
        (flag(5), CrlError::Scope(Scope::Attributes)),
        (flag(4), CrlError::Indirect),
        (vec![0x83, 2, 1, 0x40], CrlError::SomeReasons),
    ] {
        assert_eq!(with_crl(&List::new().with(issuing(&[&part]))).crl_error(), error);
        // Nor that a certificate is revoked.
        let list = List::new().with(issuing(&[&part])).revoking(&SERIAL, &[]);
        assert_eq!(with_crl(&list).crl_error(), error);
    }
    with_crl(&List::new().with(issuing(&[&flag(1)]))).good();

    let chain = long_chain(&Names::default(), &Names::crl());
    let of_users = List::new().with(issuing(&[&flag(1)])).signed();
    assert_eq!(
        Case::new(chain.clone()).crl(CRL, of_users).crl_error(),
        CrlError::Scope(Scope::EndEntities)
    );
    let of_authorities = List::new().with(issuing(&[&flag(2)])).signed();
    Case::new(chain).crl(CRL, of_authorities).good();
}

#[test]
fn a_list_is_the_issuer_s_own() {
    let by_name = List::new().of(&leaf(&Names::crl()));
    assert_eq!(with_crl(&by_name).crl_error(), CrlError::Issuer);
    // The leaf signs in the issuer's name; so would a sibling.
    let by_leaf = List::new().signed_by(&LEAF_KEY);
    let case = Case::new(chain(&Names::crl())).crl(CRL, by_leaf);
    assert_eq!(case.crl_error(), CrlError::Signature(crate::crypto::BadSignature));
    assert!(case.check().proven.is_empty());
}

#[test]
fn a_changed_list_says_nothing() {
    let good = List::new().revoking(&[0x10], &[]).signed();
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        let case = Case::new(chain(&Names::crl())).crl(CRL, bytes.into());
        assert!(matches!(case.unknown(), UnknownReason::Crl { .. }), "byte {at}");
        assert!(case.check().proven.is_empty(), "byte {at}");
    }
}

#[test]
fn the_issuer_must_be_allowed_to_sign_lists() {
    let mut authority = ca("root", &[1]);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let case = Case::new(vec![leaf(&Names::crl()), root_of(&authority)]).crl(CRL, List::new().signed());
    assert_eq!(case.crl_error(), CrlError::NoCrlSign);
}

#[test]
fn a_list_that_names_another_key_of_the_issuer_says_nothing() {
    let root = root();
    let own = root.extensions().subject_key_identifier.clone().unwrap();
    let naming = |key: &[u8]| List::new().with(extension(AUTHORITY_KEY, false, &sequence(&[&der(0x80, &[key])])));
    with_crl(&naming(&own)).good();
    assert_eq!(with_crl(&naming(b"other")).crl_error(), CrlError::AuthorityKey);
}

#[test]
fn a_critical_extension_that_is_not_known_makes_a_list_unusable() {
    let list = List::new().with(extension(99, true, &[5, 0]));
    assert!(matches!(
        with_crl(&list).crl_error(),
        CrlError::UnknownCriticalExtension(_)
    ));
    with_crl(&List::new().with(extension(99, false, &[5, 0]))).good();
    // In the entry of any certificate (RFC 5280 §5.3).
    for id in [99, CERTIFICATE_ISSUER] {
        let list = List::new().revoking(&[0x10], &[extension(id, true, &[5, 0])]);
        assert!(matches!(
            with_crl(&list).crl_error(),
            CrlError::UnknownCriticalExtension(_)
        ));
    }
    with_crl(&List::new().revoking(&[0x10], &[extension(99, false, &[5, 0])])).good();
}

#[test]
fn a_list_must_say_when_there_will_be_a_new_one() {
    let mut list = List::new();
    list.next_update = None;
    assert_eq!(with_crl(&list).crl_error(), CrlError::NoNextUpdate);
}

#[test]
fn a_list_of_the_future_says_nothing_unless_clocks_differ_a_little() {
    let list = List::new().between(SOON, LATER);
    assert_eq!(with_crl(&list).crl_error(), CrlError::Future(time(SOON)));
    with_crl(&List::new().between("2026-06-01T00:05:00Z", LATER)).good();
    let list = List::new().between("2026-06-01T00:05:01Z", LATER);
    assert!(matches!(with_crl(&list).crl_error(), CrlError::Future(_)));
}

#[test]
fn a_list_counts_until_just_before_its_next_update() {
    let list = List::new().between(LATELY, NOW);
    let lapsed = time(NOW);
    assert_eq!(
        with_crl(&list).unknown(),
        UnknownReason::Replayed { by: source(), lapsed }
    );
    with_crl(&List::new().between(LATELY, "2026-06-01T00:00:01Z")).good();
}

#[test]
fn weak_signatures_do_not_count() {
    let mut list = List::new();
    list.algorithm = SHA_1_WITH_RSA.to_vec();
    assert!(matches!(with_crl(&list).crl_error(), CrlError::Algorithm(_)));
}

#[test]
fn a_list_names_one_signature_algorithm() {
    let list = List::new().signed();
    let outer = list
        .windows(ECDSA_WITH_SHA_256.len())
        .rposition(|window| window == ECDSA_WITH_SHA_256)
        .unwrap();
    let mut bytes = list.to_vec();
    // ecdsa-with-SHA384.
    bytes[outer + ECDSA_WITH_SHA_256.len() - 1] = 3;
    let case = Case::new(chain(&Names::crl())).crl(CRL, bytes.into());
    assert_eq!(case.crl_error(), CrlError::TwoSignatureAlgorithms);
}

#[test]
fn a_list_of_the_first_version_is_read_and_others_are_not() {
    let mut list = List::new();
    list.version = Vec::new();
    list.extensions = Vec::new();
    with_crl(&list).good();
    with_crl(&list.revoking(&SERIAL, &[])).revoked();
    let mut list = List::new();
    list.version = integer(&[2]);
    assert!(matches!(with_crl(&list).crl_error(), CrlError::Malformed(_)));
}

#[test]
fn an_extension_that_is_there_twice_makes_a_list_unusable() {
    let list = List::new().with(extension(CRL_NUMBER, false, &integer(&[6])));
    assert!(matches!(with_crl(&list).crl_error(), CrlError::Malformed(_)));
}

/// RUSTSEC-2026-0104: a list that nobody signed crashed who parsed it.
#[test]
fn garbage_is_no_list() {
    let good = List::new().revoking(&SERIAL, &[reason(1)]).signed();
    let mut garbage: Vec<Vec<u8>> = vec![Vec::new(), b"<html>".to_vec(), vec![0x30, 0x80], vec![0x30; 4096]];
    garbage.extend((0..good.len()).map(|end| good[..end].to_vec()));
    garbage.push([&good[..], &[0]].concat());
    for bytes in garbage {
        let case = Case::new(chain(&Names::crl())).crl(CRL, bytes.into());
        assert!(matches!(case.crl_error(), CrlError::Malformed(_)));
    }
    let huge = vec![0; crate::limits::MAX_CRL_SIZE + 1];
    let case = Case::new(chain(&Names::crl())).crl(CRL, huge.into());
    assert!(matches!(case.crl_error(), CrlError::TooLarge(_)));
}

#[test]
fn an_entry_that_cannot_be_read_makes_a_list_unusable() {
    // A serial number with a superfluous octet would be overlooked.
    let padded = sequence(&[&der(0x02, &[&[0, 0], &SERIAL]), &generalized_time(EARLIER)]);
    for entry in [
        padded,
        vec![0x02, 1, 1],
        sequence(&[&integer(&SERIAL)]),
        vec![0x30, 5, 2],
    ] {
        let mut list = List::new();
        list.entries = entry;
        assert!(matches!(with_crl(&list).crl_error(), CrlError::Malformed(_)));
    }
}

#[test]
fn a_hundred_thousand_entries_are_walked() {
    let mut list = List::new();
    for number in 0..100_000_u32 {
        let serial = [&[0x01][..], &number.to_be_bytes()].concat();
        list.entries.extend(entry(&serial, &[reason(4)]));
    }
    with_crl(&list).good();
    with_crl(&list.revoking(&SERIAL, &[reason(1)])).revoked();
}

#[test]
fn an_invalidity_date_counts_only_with_an_authentic_signing_time() {
    let date = |text| extension(INVALIDITY_DATE, false, &generalized_time(text));
    let list = List::new().revoking(&SERIAL, &[reason(1), date(EARLIER)]);
    with_crl(&list).revoked();
    with_crl(&list).signed_at(LONG_AGO).good();
    with_crl(&list).signed_at(EARLIER).revoked();
    with_crl(&list).signed_at(LATELY).revoked();
    // Without the date, it does not matter when.
    with_crl(&List::new().revoking(&SERIAL, &[reason(1)]))
        .signed_at(LONG_AGO)
        .revoked();
    // One that excuses does not hide one that does not.
    let list = list.revoking(&SERIAL, &[reason(6)]);
    with_crl(&list).signed_at(LONG_AGO).revoked();
}

#[test]
fn a_delta_is_asked_for_where_the_list_names_one() {
    let case = with_crl(&List::new().with_delta());
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(DELTA))]));
    let good = case.crl(DELTA, List::delta(6, 5).between(LATELY, SOON).signed()).good();
    assert_eq!(good.until, time(SOON));
    assert_eq!(
        good.checked[0].to_string(),
        "CN=leaf: not revoked by the CRL http://crl.example/one.crl and the CRL http://crl.example/delta.crl"
    );
}

#[test]
fn a_delta_revokes() {
    let delta = List::delta(6, 5).revoking(&SERIAL, &[reason(1)]).signed();
    let case = with_crl(&List::new().with_delta()).crl(DELTA, delta);
    assert_eq!(case.revoked().by, Source::Crl(url(DELTA)));
}

#[test]
fn no_delta_is_asked_about_a_certificate_that_is_revoked() {
    with_crl(&List::new().with_delta().revoking(&SERIAL, &[reason(1)])).revoked();
}

#[test]
fn a_delta_releases_a_hold_and_nothing_else() {
    let release = List::delta(6, 5).revoking(&SERIAL, &[reason(8)]).signed();
    let case = |number| with_crl(&List::new().with_delta().revoking(&SERIAL, &[reason(number)]));
    assert_eq!(case(6).needs(), BTreeSet::from([Query::Crl(url(DELTA))]));
    case(6).crl(DELTA, release.clone()).good();
    case(1).crl(DELTA, release.clone()).revoked();
    // A delta that says nothing about it, or that is not there, releases nothing.
    case(6).crl(DELTA, List::delta(6, 5).signed()).revoked();
    case(6).answered(Query::Crl(url(DELTA)), None, None).revoked();
    // One that has lapsed neither.
    let lapsed = List::delta(6, 5)
        .revoking(&SERIAL, &[reason(8)])
        .between(EARLIER, LATELY);
    case(6).crl(DELTA, lapsed.signed()).revoked();
    // In a complete list there is nothing to release.
    let list = List::new().revoking(&SERIAL, &[reason(8)]);
    assert!(matches!(with_crl(&list).crl_error(), CrlError::Malformed(_)));
}

#[test]
fn a_delta_that_cannot_be_had_leaves_the_status_unknown() {
    let case = with_crl(&List::new().with_delta()).answered(Query::Crl(url(DELTA)), None, None);
    assert!(matches!(case.unknown(), UnknownReason::Unanswered { by, .. } if by == Source::Crl(url(DELTA))));
    let list = List::new().with(extension(FRESHEST_CRL, false, &points(&[point(&["ldap://x/y"])])));
    assert_eq!(
        with_crl(&list).unknown(),
        UnknownReason::DeltaWithoutAddress { base: source() }
    );
}

#[test]
fn a_delta_must_be_one_to_the_list() {
    let scope = issuing(&[&named(&[CRL])]);
    let mut unnumbered = List::delta(6, 5);
    unnumbered.extensions.remove(0);
    for (delta, usable) in [
        (List::delta(6, 5), true),
        (List::delta(6, 3), true),
        // Issued with the complete list, so the same as it (RFC 5280 §5.2.3).
        (List::delta(5, 3), true),
        (List::delta(4, 3), false),
        (List::delta(7, 6), false),
        (List::delta(6, 5).with(scope.clone()), false),
        (List::new(), false),
        (unnumbered, false),
    ] {
        let case = with_crl(&List::new().with_delta()).crl(DELTA, delta.signed());
        match usable {
            true => drop(case.good()),
            false => assert!(matches!(case.crl_error(), CrlError::OtherBase(_) | CrlError::IsNoDelta)),
        }
    }
    let case = with_crl(&List::new().with(scope.clone()).with_delta());
    case.crl(DELTA, List::delta(6, 5).with(scope).signed()).good();
    // Numbers are not text: 256 follows 255.
    let mut base = List::new().with_delta();
    base.extensions[0] = extension(CRL_NUMBER, false, &integer(&[0xff]));
    let mut delta = List::delta(6, 5);
    delta.extensions[0] = extension(CRL_NUMBER, false, &integer(&[1, 0]));
    with_crl(&base).crl(DELTA, delta.signed()).good();
}

#[test]
fn a_delta_is_no_complete_list() {
    let delta = List::delta(6, 5).signed();
    let case = Case::new(chain(&Names::crl())).crl(CRL, delta);
    assert_eq!(case.crl_error(), CrlError::IsDelta);
}

#[test]
fn a_delta_that_only_the_certificate_names_is_asked_for_too() {
    let names = Names {
        freshest: vec![point(&[DELTA])],
        ..Names::crl()
    };
    let case = Case::new(chain(&names)).crl(CRL, List::new().signed());
    assert_eq!(case.needs(), BTreeSet::from([Query::Crl(url(DELTA))]));
    let delta = List::delta(6, 5).revoking(&SERIAL, &[]).signed();
    case.crl(DELTA, delta).revoked();
}

#[test]
fn a_distribution_point_of_another_issuer_is_not_asked() {
    let other = sequence(&[&named(&[CRL]), &der(0xa2, &[&der(0xa4, &[root().subject_der()])])]);
    let names = Names {
        crl: vec![other],
        ..Names::default()
    };
    assert_eq!(Case::new(chain(&names)).unknown(), UnknownReason::NoAddress);
}

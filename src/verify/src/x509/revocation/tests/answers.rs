//! Which answer counts: now, kept, lapsed, on grace; and what is asked and may be stored.

use super::*;
use crate::limits::GRACE_VERDICT_LIFETIME;

fn query() -> Query {
    Query::Crl(url(CRL))
}

fn case(now: Option<Arc<[u8]>>, kept: Option<&List>) -> Case {
    Case::new(chain(&Names::crl())).answered(query(), now, kept.map(List::signed))
}

fn current() -> List {
    List::new()
}

fn lapsed() -> List {
    List::new().between(EARLIER, LATELY)
}

fn older() -> List {
    List::new().between(EARLIER, LATER)
}

fn revoking(list: List) -> List {
    list.revoking(&SERIAL, &[])
}

#[test]
fn what_is_not_asked_is_needed_of_all_certificates_at_once() {
    let case = Case::new(long_chain(&Names::ocsp(), &Names::crls(&[OTHER_CRL])));
    let needs = case.needs();
    assert_eq!(needs.len(), 2);
    assert!(needs.contains(&Query::Crl(url(OTHER_CRL))));
}

#[test]
fn nothing_is_needed_where_a_certificate_is_revoked() {
    let chain = long_chain(&Names::ocsp(), &Names::crl());
    let list = List::new().revoking(&INTERMEDIATE_SERIAL, &[]).signed();
    Case::new(chain.clone()).crl(CRL, list).revoked();
    // What is unknown can wait for what is asked.
    let case = Case::new(chain).answered(query(), None, None);
    assert_eq!(case.needs().len(), 1);
}

/// CVE-2024-56138: the chain of a timestamp authority was not looked up. There is one check for every chain, whatever its
/// certificates are for.
#[test]
fn a_chain_of_a_timestamp_authority_is_checked_like_any_other() {
    let mut authority = params("timestamps", &SERIAL);
    authority.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    authority.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping];
    Names::crl().put(&mut authority);
    let authority = certificate(&authority, &LEAF_KEY, &ca("root", &[1]), &ROOT_KEY);
    let case = || Case::new(vec![authority.clone(), root()]);
    assert_eq!(case().needs(), [query()].into());
    case().crl(CRL, current().signed()).good();
    case().crl(CRL, revoking(current()).signed()).revoked();
}

#[test]
fn revoked_beats_unknown_and_unknown_beats_good() {
    let chain = long_chain(&Names::crl(), &Names::crls(&[OTHER_CRL]));
    let of_leaf = List::new().of(&chain[1]);
    let leaf_good = of_leaf.signed_by(&INTERMEDIATE_KEY);
    let leaf_revoked = of_leaf.revoking(&SERIAL, &[]).signed_by(&INTERMEDIATE_KEY);
    let unanswered = |list| {
        Case::new(chain.clone())
            .crl(CRL, list)
            .answered(Query::Crl(url(OTHER_CRL)), None, None)
    };
    unanswered(leaf_revoked).revoked();
    assert!(matches!(
        unanswered(leaf_good).unknown(),
        UnknownReason::Unanswered { .. }
    ));
}

#[test]
fn an_endpoint_that_is_away_leaves_the_status_unknown() {
    let case = case(None, None);
    let Outcome::Unknown(unknown) = case.outcome() else {
        panic!("{:?}", case.outcome());
    };
    assert_eq!(
        unknown.to_string(),
        "the revocation status of the certificate CN=leaf is not known: the CRL http://crl.example/one.crl did not \
         answer: connection refused"
    );
    assert_eq!(unknown.code(), Code::RevocationUnknown);
}

#[test]
fn a_kept_answer_that_has_not_lapsed_counts_while_the_endpoint_is_away() {
    let status = case(None, Some(&current())).check();
    assert!(matches!(
        status.outcome,
        Outcome::NotRevoked(NotRevoked { on_grace: None, .. })
    ));
    assert!(status.proven.is_empty());
    case(None, Some(&revoking(current()))).revoked();
}

#[test]
fn the_newest_answer_counts() {
    case(Some(current().signed()), Some(&revoking(older()))).good();
    case(Some(revoking(current()).signed()), Some(&older())).revoked();
    // Somebody replays what was good before the certificate was revoked.
    let replayed = case(Some(older().signed()), Some(&revoking(current())));
    replayed.revoked();
    assert!(replayed.check().proven.is_empty());
    case(Some(revoking(older()).signed()), Some(&current())).good();
}

#[test]
fn of_two_answers_of_one_moment_the_adverse_counts() {
    case(Some(revoking(current()).signed()), Some(&current())).revoked();
    let replayed = case(Some(current().signed()), Some(&revoking(current())));
    replayed.revoked();
    assert!(replayed.check().proven.is_empty());
}

#[test]
fn what_is_proven_and_no_older_than_what_is_kept_may_be_stored() {
    let proven = |case: Case| case.check().proven;
    assert_eq!(proven(case(Some(current().signed()), None)), [query()].into());
    assert_eq!(proven(case(Some(current().signed()), Some(&older()))), [query()].into());
    assert_eq!(proven(case(Some(revoking(current()).signed()), None)), [query()].into());
    assert!(proven(case(Some(older().signed()), Some(&current()))).is_empty());
    assert!(proven(case(Some(b"garbage"[..].into()), Some(&current()))).is_empty());
    assert!(proven(case(Some(List::delta(6, 5).signed()), None)).is_empty());
}

#[test]
fn garbage_beside_a_kept_answer_does_not_harm_it() {
    let garbage: Arc<[u8]> = b"<html>log in to the network</html>"[..].into();
    case(Some(garbage.clone()), Some(&current())).good();
    case(Some(garbage.clone()), Some(&revoking(current()))).revoked();
    // But the endpoint is not away, so there is no grace.
    let case = case(Some(garbage), Some(&lapsed())).grace(30);
    assert!(matches!(case.crl_error(), CrlError::Malformed(_)));
}

#[test]
fn a_lapsed_answer_counts_on_grace_while_the_endpoint_is_away() {
    let good = case(None, Some(&lapsed())).grace(2).good();
    let on_grace = good.on_grace.unwrap();
    assert_eq!(on_grace.lapsed, time(LATELY));
    assert_eq!(
        on_grace.to_string(),
        "the CRL http://crl.example/one.crl has lapsed at 2026-05-31T00:00:00Z and counts on grace: there is no newer one"
    );
    // It is asked again soon, or when the grace ends.
    assert_eq!(good.until, time(NOW).checked_add(GRACE_VERDICT_LIFETIME).unwrap());
    let mut late = case(None, Some(&lapsed())).grace(2);
    late.now = "2026-06-01T23:59:00Z";
    assert_eq!(late.good().until, time("2026-06-02T00:00:00Z"));
}

#[test]
fn a_bound_of_this_node_is_no_endpoint_that_is_away() {
    let mut case = case(None, Some(&lapsed())).grace(30);
    let unanswered = Unanswered {
        code: Code::LimitExceeded,
        reason: "256 other questions are being worked on already".into(),
    };
    let answered = Answered {
        now: Err(unanswered.clone()),
        kept: Some(lapsed().signed()),
    };
    case.answers.insert(query(), answered);
    let by = source();
    assert_eq!(case.unknown(), UnknownReason::Unanswered { by, unanswered });
}

#[test]
fn grace_ends() {
    let unknown = UnknownReason::Lapsed {
        by: source(),
        lapsed: time(LATELY),
    };
    assert_eq!(case(None, Some(&lapsed())).unknown(), unknown);
    assert_eq!(case(None, Some(&lapsed())).grace(1).unknown(), unknown);
}

#[test]
fn a_lapsed_answer_of_a_live_endpoint_has_no_grace() {
    let lapsed_at = time(LATELY);
    for kept in [None, Some(lapsed())] {
        let case = case(Some(lapsed().signed()), kept.as_ref()).grace(30);
        let by = source();
        assert_eq!(case.unknown(), UnknownReason::Replayed { by, lapsed: lapsed_at });
    }
    // What was kept and has not lapsed is newer than the replay.
    case(Some(lapsed().signed()), Some(&current())).good();
}

#[test]
fn a_lapsed_answer_still_revokes() {
    case(None, Some(&revoking(lapsed()))).revoked();
    case(Some(revoking(lapsed()).signed()), None).revoked();
}

#[test]
fn a_delta_can_be_on_grace_too() {
    let delta = Query::Crl(url(DELTA));
    let base = List::new().with_delta().signed();
    let kept = List::delta(6, 5).between(EARLIER, LATELY);
    let case = |kept: List| {
        Case::new(chain(&Names::crl()))
            .crl(CRL, base.clone())
            .answered(delta.clone(), None, Some(kept.signed()))
    };
    assert!(case(kept.clone()).grace(2).good().on_grace.is_some());
    assert!(matches!(case(kept.clone()).unknown(), UnknownReason::Lapsed { .. }));
    case(kept.revoking(&SERIAL, &[])).revoked();
}

#[test]
fn grace_is_no_longer_than_the_responder_s_certificate() {
    let mut params = responder();
    params.not_after = date_time_ymd(2026, 6, 2);
    let kept = Response::new(&GOOD)
        .by(&issued(&params))
        .between(EARLIER, LATELY)
        .signed_by(&OTHER_KEY);
    let query = Case::new(chain(&Names::ocsp())).ocsp_query();
    let mut case = Case::new(chain(&Names::ocsp()))
        .answered(query, None, Some(kept))
        .grace(30);
    case.now = "2026-06-01T23:59:00Z";
    assert_eq!(case.good().until, time("2026-06-02T00:00:00Z"));
    case.now = "2026-06-02T00:00:01Z";
    assert!(matches!(case.unknown(), UnknownReason::Unanswered { .. }));
}

#[test]
fn a_list_beats_a_responder_on_grace() {
    let query = Case::new(chain(&Names::both())).ocsp_query();
    let kept = Response::new(&GOOD).between(EARLIER, LATELY).signed();
    let case = || {
        Case::new(chain(&Names::both()))
            .answered(query.clone(), None, Some(kept.clone()))
            .grace(2)
    };
    assert_eq!(case().needs(), BTreeSet::from([Query::Crl(url(CRL))]));
    assert_eq!(case().crl(CRL, List::new().signed()).good().on_grace, None);
    case().crl(CRL, List::new().revoking(&SERIAL, &[]).signed()).revoked();
    let good = case().answered(Query::Crl(url(CRL)), None, None).good();
    assert!(good.on_grace.is_some_and(|grace| matches!(grace.by, Source::Ocsp(_))));
}

#[test]
fn the_earliest_end_of_all_answers_counts() {
    let chain = long_chain(&Names::crl(), &Names::crls(&[OTHER_CRL]));
    let of_leaf = List::new().of(&chain[1]).signed_by(&INTERMEDIATE_KEY);
    let of_intermediate = List::new().between(LATELY, SOON).signed();
    let good = Case::new(chain)
        .crl(CRL, of_leaf)
        .crl(OTHER_CRL, of_intermediate)
        .good();
    assert_eq!(good.until, time(SOON));
    assert_eq!(good.checked.len(), 2);
}

#[test]
fn the_validity_of_bytes_is_read_without_believing_them() {
    let expected = Validity {
        this_update: time(LATELY),
        next_update: Some(time(LATER)),
    };
    assert_eq!(validity(&query(), &List::new().signed_by(&LEAF_KEY)), Some(expected));
    assert_eq!(validity(&query(), b"garbage"), None);
    assert_eq!(validity(&query(), &Response::new(&GOOD).signed()), None);

    let ocsp = Case::new(chain(&Names::ocsp())).ocsp_query();
    let response = Response::new(&GOOD);
    assert_eq!(validity(&ocsp, &response.signed_by(&LEAF_KEY)), Some(expected));
    let mut other = response.clone();
    other.id = certificate_id(b"other", b"other", &SERIAL);
    assert_eq!(validity(&ocsp, &other.signed()), None);
    let mut endless = response;
    endless.next_update = None;
    let next_update = None;
    assert_eq!(
        validity(&ocsp, &endless.signed()),
        Some(Validity {
            next_update,
            ..expected
        })
    );
    assert_eq!(validity(&ocsp, &sequence(&[&[0x0a, 1, 3]])), None);
    let broken = Query::Ocsp {
        responders: vec![url(RESPONDER)],
        request: b"request"[..].into(),
    };
    assert_eq!(validity(&broken, &Response::new(&GOOD).signed()), None);
    let plugin = Query::PluginMetadata("plugin".parse().unwrap());
    assert_eq!(validity(&plugin, &List::new().signed()), None);
}

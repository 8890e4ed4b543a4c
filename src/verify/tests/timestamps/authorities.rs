//! Tokens by the authorities of a sigstore trusted root: it lists their certificates, and says when they count.

use std::sync::LazyLock;

use assay_verify::sigstore::timestamp::{VerifiedTimestamp, verify};
use assay_verify::sigstore::trusted_root::Authority;
use assay_verify::sigstore::window::Window;
use assay_verify::timestamp::{SignerError, TimestampError};
use assay_verify::x509::chain::LeafError;
use assay_verify::x509::timestamping::TimestampingChainError;
use rcgen::{BasicConstraints, CustomExtension, DnType, IsCa, date_time_ymd};

use crate::support::{ChainParts, ca};
use crate::token::*;

/// The leaf first, the root last.
static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| parts().build());

/// Another authority of other names, with the same keys.
static OTHER: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut root = ca("other root");
    root.distinguished_name.push(DnType::OrganizationName, "Other");
    ChainParts {
        root,
        intermediate: Some(ca("other intermediate")),
        leaf: authority("other timestamp authority"),
        ..ChainParts::default()
    }
    .build()
});

fn listed(certificates: &[Vec<u8>], window: Window) -> Authority {
    Authority {
        certificates: certificates.iter().map(|der| certificate(der)).collect(),
        window,
        operator: "corp".into(),
    }
}

fn always(certificates: &[Vec<u8>]) -> Authority {
    listed(certificates, Window::default())
}

/// A token with no certificate in it.
fn bare(chain: &[Vec<u8>]) -> Vec<u8> {
    let mut token = Token::new(chain);
    token.certificates.clear();
    token.build()
}

/// `TimeStampResp` (RFC 3161 §2.4.2).
fn response(status: u8, token: &[u8]) -> Vec<u8> {
    sequence([&sequence([&integer(status)]), token])
}

fn check(timestamp: &[u8], authority: Authority) -> Result<VerifiedTimestamp<'static>, TimestampError> {
    verify(timestamp, MESSAGE, vec![authority].leak())
}

#[track_caller]
fn accepted(timestamp: &[u8], authority: Authority, length: usize) {
    let verified = check(timestamp, authority).unwrap();
    assert_eq!(verified.at, at("2026-05-01T00:00:00Z"));
    let chain: Vec<_> = CHAIN.iter().map(|der| certificate(der)).collect();
    assert_eq!(verified.chain, chain[..length]);
}

#[track_caller]
fn signer_refused(timestamp: &[u8], authority: Authority, cause: SignerError) {
    let error = check(timestamp, authority).unwrap_err();
    assert_eq!(error, TimestampError::Signers { count: 1, cause });
}

#[test]
fn accepts_tokens_with_and_without_certificates_whatever_the_root_lists() {
    let whole = Token::new(&CHAIN).build();
    accepted(&whole, always(&CHAIN), 3);
    accepted(&bare(&CHAIN), always(&CHAIN), 3);
    // The list may start with a CA: then the token names its signer.
    accepted(&whole, always(&CHAIN[1..]), 3);
    accepted(&whole, always(&CHAIN[2..]), 3);
    signer_refused(&bare(&CHAIN), always(&CHAIN[1..]), SignerError::CertificateNotFound);
    // An anchor need not be a root: it is trusted as it stands, be it a CA or the signing certificate itself.
    accepted(&whole, always(&CHAIN[1..2]), 2);
    accepted(&bare(&CHAIN), always(&CHAIN[..2]), 2);
    accepted(&bare(&CHAIN), always(&CHAIN[..1]), 1);
}

#[test]
fn accepts_whole_responses_that_are_granted() {
    let token = Token::new(&CHAIN).build();
    accepted(&response(0, &token), always(&CHAIN), 3);
    accepted(&to_ber(&response(0, &token)), always(&CHAIN), 3);
    for status in 1..=5 {
        let error = check(&response(status, &token), always(&CHAIN)).unwrap_err();
        assert_eq!(error, TimestampError::NotGranted(status.into()));
    }
    let refused = check(&response(2, &[]), always(&CHAIN)).unwrap_err();
    assert_eq!(refused, TimestampError::NotGranted(2));
    for malformed in [
        response(0, &[]),
        response(0, &[&token[..], &[5, 0]].concat()),
        sequence([&sequence([])]),
        sequence([]),
        sequence([&sequence([&octets(b"0")]), &token]),
    ] {
        let error = check(&malformed, always(&CHAIN)).unwrap_err();
        assert!(matches!(error, TimestampError::Malformed { .. }), "{error}");
    }
}

#[test]
fn denies_when_the_token_is_of_another_message() {
    let authorities = [always(&CHAIN)];
    let error = verify(&bare(&CHAIN), b"another message", &authorities).unwrap_err();
    assert_eq!(error, TimestampError::Imprint);
}

#[test]
fn denies_when_no_authority_signed() {
    let whole = Token::new(&OTHER).build();
    let subject = certificate(&OTHER[1]).to_string().as_str().into();
    signer_refused(
        &whole,
        always(&CHAIN[1..]),
        SignerError::Chain(TimestampingChainError::NoIssuer { position: 1, subject }),
    );
    signer_refused(&whole, always(&CHAIN), SignerError::OtherCertificate);
    signer_refused(&bare(&OTHER), always(&CHAIN), SignerError::CertificateNotFound);
    assert_eq!(verify(&whole, MESSAGE, &[]).unwrap_err(), TimestampError::NoAuthority);
    assert_eq!(check(&whole, always(&[])).unwrap_err(), TimestampError::NoAuthority);
}

/// CVE-2026-39984: a chain was verified for another certificate than the one that signed.
#[test]
fn cve_2026_39984_denies_when_another_certificate_of_the_authority_signed() {
    // The same intermediate issued a second certificate for timestamping; the trusted root lists the first.
    let mut sibling = parts();
    sibling.leaf = authority("second timestamp authority");
    let sibling = sibling.build();
    let token = Token::new(&sibling).build();
    signer_refused(&token, always(&CHAIN), SignerError::OtherCertificate);
    assert!(check(&token, always(&CHAIN[1..])).is_ok(), "the root lists no signer");
}

#[test]
fn the_window_is_closed_and_has_fractions() {
    let moment = |text: &str| Some(at(text));
    let window = Window {
        start: moment("2026-05-01T00:00:00Z"),
        end: moment("2026-05-01T00:00:00.5Z"),
    };
    let of = |generated_at: &str| {
        let mut token = Token::new(&CHAIN);
        token.info.generated_at = generated_at.to_owned();
        check(&token.build(), listed(&CHAIN, window))
    };
    assert_eq!(of("20260501000000Z").unwrap().at, at("2026-05-01T00:00:00Z"));
    assert_eq!(of("20260501000000.5Z").unwrap().at, at("2026-05-01T00:00:00.5Z"));
    for (outside, generated_at) in [
        ("20260501000000.501Z", "2026-05-01T00:00:00.501Z"),
        ("20260430235959.999Z", "2026-04-30T23:59:59.999Z"),
    ] {
        let generated_at = at(generated_at);
        assert_eq!(
            of(outside).unwrap_err(),
            TimestampError::OutsideWindow { generated_at, window }
        );
    }
}

/// TOB-SIGSTORE-11: a token of one authority counted in the window of another.
#[test]
fn tob_sigstore_11_denies_when_only_another_authority_counted_at_the_time() {
    let past = Window {
        end: Some(at("2026-04-01T00:00:00Z")),
        ..Window::default()
    };
    let retired = listed(&CHAIN, past);
    for authorities in [[retired.clone(), always(&OTHER)], [always(&OTHER), retired]] {
        let error = verify(&bare(&CHAIN), MESSAGE, &authorities).unwrap_err();
        let generated_at = at("2026-05-01T00:00:00Z");
        assert_eq!(
            error,
            TimestampError::OutsideWindow {
                generated_at,
                window: past
            }
        );
    }
}

#[test]
fn names_the_authority_that_signed() {
    let authorities = [always(&OTHER), always(&CHAIN)];
    let verified = verify(&bare(&CHAIN), MESSAGE, &authorities).unwrap();
    assert!(std::ptr::eq(verified.authority, &authorities[1]));
}

#[test]
fn denies_when_a_certificate_was_not_valid_at_the_time() {
    let mut short = parts();
    short.leaf.not_after = date_time_ymd(2026, 4, 1);
    let chain = short.build();
    let error = check(&bare(&chain), always(&chain)).unwrap_err();
    let expected = TimestampingChainError::NotValidAt {
        position: 0,
        moment: at("2026-05-01T00:00:00Z"),
        not_before: at("2026-01-01T00:00:00Z"),
        not_after: at("2026-04-01T00:00:00Z"),
    };
    let cause = SignerError::Chain(expected);
    assert_eq!(error, TimestampError::Signers { count: 1, cause });
}

/// What the trusted root lists is asked the rules of its role, too: nobody may timestamp with a CA's certificate, or
/// with one for other purposes.
#[test]
fn denies_when_the_signing_certificate_is_not_for_timestamping() {
    let mut authority_is_ca = parts();
    authority_is_ca.leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let chain = authority_is_ca.build();
    signer_refused(
        &Token::new(&chain).build(),
        always(&chain[1..]),
        SignerError::Chain(LeafError::IsCa.into()),
    );
    for (extension, error) in [
        (
            purposes(false, &["1.3.6.1.5.5.7.3.8"]),
            TimestampingChainError::ExtendedKeyUsageNotCritical,
        ),
        (
            purposes(true, &["1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.3"]),
            TimestampingChainError::NotForTimestampingAlone,
        ),
    ] {
        let mut other = parts();
        let extensions: Vec<CustomExtension> = vec![extension];
        other.leaf.custom_extensions = extensions;
        let chain = other.build();
        signer_refused(&bare(&chain), always(&chain), SignerError::Chain(error.clone()));
        signer_refused(&bare(&chain), always(&chain[..1]), SignerError::Chain(error));
    }
}

#[test]
fn an_authority_lends_its_certificates_to_no_other() {
    // The token leaves the intermediate out; only the other authority lists it.
    let mut token = Token::new(&CHAIN);
    token.certificates.truncate(1);
    let root = CHAIN.last().unwrap().clone();
    let lone = always(&[root]);
    let foreign = always(&CHAIN[1..2]);
    let token = token.build();
    assert!(check(&token, lone.clone()).is_err());
    let authorities = [lone, foreign];
    let verified = verify(&token, MESSAGE, &authorities).unwrap();
    assert!(std::ptr::eq(verified.authority, &authorities[1]));
    assert_eq!(verified.chain.len(), 2);
}

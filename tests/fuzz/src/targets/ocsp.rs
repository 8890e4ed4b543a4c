//! OCSP responses.

use assay_verify::query::{Answers, Query};
use assay_verify::x509::revocation::{LocalRevocation, Outcome, validity};
use der::{Reader as _, SliceReader};

use crate::authority::{AUTHORITY, Authority, SERIAL, answered, contains, element};
use crate::{Target, shown};

/// OCSP responses, and what is signed of them.
pub const TARGET: Target = Target {
    name: "ocsp",
    seeds: || {
        let mut seeds = responses();
        let whole: Vec<_> = seeds.iter().map(|data| response(&AUTHORITY.signed(data))).collect();
        seeds.extend(whole);
        seeds.extend((1..=6).map(|status| vec![0x30, 3, 0x0a, 1, status]));
        seeds
    },
    words: super::DER,
    check,
    inputs: 4_000,
};

/// An `OCSPResponse` with a basic response.
fn response(basic: &[u8]) -> Vec<u8> {
    let kind = b"\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
    let bytes = element(0x30, &[kind, &element(0x04, &[basic])]);
    element(0x30, &[b"\x0a\x01\x00", &element(0xa0, &[&bytes])])
}

/// The `CertID` that the authority is asked about.
fn certificate_id() -> Vec<u8> {
    let Query::Ocsp { request, .. } = AUTHORITY.question(&Answers::default()) else {
        panic!("no responder is asked");
    };
    let inside = |bytes: &[u8]| {
        let mut reader = SliceReader::new(bytes).expect("short");
        reader
            .sequence(|reader| Ok::<_, der::Error>(reader.tlv_bytes()?.to_vec()))
            .expect("a request")
    };
    (0..4).fold(request.to_vec(), |bytes, _| inside(&bytes))
}

/// Data of responses, before they are signed.
fn responses() -> Vec<Vec<u8>> {
    let time = |text: &str| element(0x18, &[text.as_bytes()]);
    let name = element(0xa1, &[AUTHORITY.root().subject_der()]);
    let invalidity = element(
        0xa1,
        &[&element(
            0x30,
            &[&element(
                0x30,
                &[b"\x06\x03\x55\x1d\x18", &element(0x04, &[&time("20260501000000Z")])],
            )],
        )],
    );
    let revoked = element(0xa1, &[&time("20260501000000Z")]);
    let revoked_for = element(0xa1, &[&time("20260501000000Z"), b"\xa0\x03\x0a\x01\x06"]);
    let mut responses = Vec::new();
    for status in [b"\x80\x00".as_slice(), b"\x82\x00", &revoked, &revoked_for] {
        for extensions in [b"".as_slice(), &invalidity] {
            let single = element(
                0x30,
                &[
                    &certificate_id(),
                    status,
                    &time("20260531000000Z"),
                    &element(0xa0, &[&time("20260608000000Z")]),
                    extensions,
                ],
            );
            for version in [b"".as_slice(), b"\xa0\x03\x02\x01\x00"] {
                let data = [version, &name, &time("20260531000000Z"), &element(0x30, &[&single])];
                responses.push(element(0x30, &data));
            }
        }
    }
    responses
}

/// A response that the issuer did not sign says nothing. One that it signed says something only if the certificate is
/// named in it.
pub fn check(input: &[u8]) -> String {
    let question = AUTHORITY.question(&Answers::default());
    let times = validity(&question, input);
    if let Err(error) = LocalRevocation::from_files([("file", input)]) {
        assert!(times.is_none());
        shown::error(&error);
    }
    // The seeds are signed, so only what was changed is not.
    let strange = judge(&AUTHORITY, input);
    assert!(strange == "Needs" || contains(input, &SERIAL));
    let signed = judge(&AUTHORITY, &response(&AUTHORITY.signed(input)));
    assert!(signed == "Needs" || contains(input, &certificate_id()), "{signed}");
    format!("{strange} {signed} {}", times.is_some())
}

/// What becomes of the chain when its responder says this. Where that tells nothing, the list is asked.
fn judge(authority: &Authority, response: &[u8]) -> String {
    let mut answers = Answers::default();
    answers.insert(authority.question(&answers), answered(response));
    let status = authority.judge(&answers);
    match &status.outcome {
        Outcome::NotRevoked(_) => {
            assert!(!status.proven.is_empty());
            "NotRevoked".to_owned()
        }
        Outcome::Revoked(revoked) => {
            assert!(!status.proven.is_empty());
            format!("Revoked {}", shown::error(revoked))
        }
        Outcome::Needs(queries) => {
            assert!(queries.iter().all(|query| matches!(query, Query::Crl(_))));
            "Needs".to_owned()
        }
        Outcome::Unknown(unknown) => panic!("a list can be asked: {unknown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_reach_every_outcome() {
        let outcomes: Vec<String> = (TARGET.seeds)().iter().map(|seed| check(seed)).collect();
        for outcome in ["NotRevoked", "Revoked ", "Needs"] {
            let reached = outcomes.iter().any(|one| one.contains(&format!(" {outcome}")));
            assert!(reached, "{outcome}: {outcomes:#?}");
        }
    }
}

//! CRLs.

use assay_verify::code::Code;
use assay_verify::query::{Answered, Answers, Query, Unanswered};
use assay_verify::x509::revocation::{LocalRevocation, Outcome, validity};
use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::crl::TbsCertList;

use crate::authority::{AUTHORITY, Authority, SERIAL, answered, contains, element, now};
use crate::{Target, seeds, shown};

/// CRLs, and what is signed of them.
pub const TARGET: Target = Target {
    name: "crl",
    seeds: || {
        let files = seeds::files("", |path, _| path.extension().is_some_and(|kind| kind == "crl"));
        let signed = files.iter().filter_map(|file| to_be_signed(file));
        let mut seeds: Vec<Vec<u8>> = signed.collect();
        seeds.extend(files);
        seeds.extend(lists());
        seeds
    },
    words: super::DER,
    check,
    inputs: 4_000,
};

/// Lists of the authority, before they are signed: with and without the certificate, and with what they may say about
/// themselves.
fn lists() -> Vec<Vec<u8>> {
    let extension = |id: u8, critical: bool, value: &[u8]| {
        let flag: &[u8] = if critical { b"\x01\x01\xff" } else { b"" };
        element(0x30, &[&[0x06, 0x03, 0x55, 0x1d, id], flag, &element(0x04, &[value])])
    };
    let address = element(0x86, &[b"http://crl.example/a.crl"]);
    let name = element(0xa0, &[&element(0xa0, &[&address])]);
    let delta = element(0x86, &[b"http://crl.example/delta.crl"]);
    let point = element(0xa0, &[&element(0xa0, &[&delta])]);
    let point = element(0x30, &[&element(0x30, &[&point])]);
    let number = extension(20, false, b"\x02\x01\x05");
    let extensions = [
        vec![],
        number.clone(),
        [number.clone(), extension(28, true, &element(0x30, &[&name]))].concat(),
        [number.clone(), extension(28, true, b"\x30\x03\x82\x01\xff")].concat(),
        [number.clone(), extension(46, false, &point)].concat(),
        [number.clone(), extension(27, true, b"\x02\x01\x04")].concat(),
        [number, extension(35, false, b"\x30\x04\x80\x02\x01\x02")].concat(),
    ];
    let entry = |serial: &[u8], extensions: &[u8]| {
        element(0x30, &[&element(0x02, &[serial]), b"\x17\x0d260501000000Z", extensions])
    };
    let hold = element(0x30, &[&extension(21, false, b"\x0a\x01\x06")]);
    let date = element(0x30, &[&extension(24, false, b"\x18\x0f20260501000000Z")]);
    let entries = [
        vec![],
        entry(b"\x01\x02\x03\x04", &hold),
        [entry(b"\x01\x02", &date), entry(&SERIAL, b"")].concat(),
        entry(&SERIAL, &hold),
    ];
    let mut lists = Vec::new();
    for extensions in &extensions {
        for entries in &entries {
            let mut parts: Vec<&[u8]> = vec![
                b"\x02\x01\x01",
                b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
                AUTHORITY.root().subject_der(),
                b"\x17\x0d260531000000Z",
                b"\x17\x0d260608000000Z",
            ];
            let entries = element(0x30, &[entries]);
            if entries.len() > 2 {
                parts.push(&entries);
            }
            let extensions = element(0xa0, &[&element(0x30, &[extensions])]);
            if extensions.len() > 4 {
                parts.push(&extensions);
            }
            lists.push(element(0x30, &parts));
        }
    }
    lists
}

/// The first element inside.
fn to_be_signed(der: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(der).ok()?;
    reader
        .sequence(|reader| {
            let first = reader.tlv_bytes()?.to_vec();
            while !reader.is_finished() {
                reader.tlv_bytes()?;
            }
            Ok::<_, der::Error>(first)
        })
        .ok()
}

/// A list that the issuer did not sign says nothing. One that it signed says that the certificate is not revoked only if
/// another parser does not find it there, and that it is revoked only if its number is there.
pub fn check(input: &[u8]) -> String {
    let (strange, unproven) = judge(&AUTHORITY, input);
    assert!(
        strange.starts_with("Unknown") && unproven,
        "nobody signed it: {strange}"
    );
    let query = Query::Crl("http://crl.example/a.crl".parse().expect("an address"));
    let times = validity(&query, input);
    match LocalRevocation::from_files([("file", input)]) {
        Ok(_) => assert!(times.is_some() || input.starts_with(b"-----") || strange.contains("Malformed")),
        Err(error) => drop(shown::error(&error)),
    }
    let (signed, unproven) = judge(&AUTHORITY, &AUTHORITY.signed(input));
    assert!(signed.starts_with("Unknown") || !unproven);
    let listed = <TbsCertList>::from_der(input).ok();
    let revoked = listed.as_ref().map(|list| {
        let entries = list.revoked_certificates.iter().flatten();
        entries.filter(|entry| entry.serial_number.as_bytes() == SERIAL).count() > 0
    });
    if signed.starts_with("NotRevoked") {
        assert_ne!(revoked, Some(true), "it is on the list");
        let next_update = listed.and_then(|list| list.next_update);
        assert!(
            next_update.is_none_or(|time| {
                time.to_unix_duration().as_secs() > u64::try_from(now().as_second()).unwrap_or(0)
            })
        );
    }
    if signed.starts_with("Revoked") {
        assert_ne!(revoked, Some(false), "it is not on the list");
        assert!(contains(input, &SERIAL));
    }
    format!("{strange} {signed} {}", times.is_some())
}

/// What becomes of the chain when the responder is away and its list is this, and whether nothing may be stored.
fn judge(authority: &Authority, list: &[u8]) -> (String, bool) {
    let mut answers = Answers::default();
    let away = Unanswered {
        code: Code::RevocationUnknown,
        reason: "away".into(),
    };
    let (now, kept) = (Err(away), None);
    answers.insert(authority.question(&answers), Answered { now, kept });
    answers.insert(authority.question(&answers), answered(list));
    let status = authority.judge(&answers);
    let told = match &status.outcome {
        Outcome::NotRevoked(good) => {
            good.checked
                .iter()
                .for_each(|checked| shown::line(&checked.to_string()));
            "NotRevoked".to_owned()
        }
        Outcome::Revoked(revoked) => format!("Revoked {}", shown::error(revoked)),
        Outcome::Unknown(unknown) => format!("Unknown {}", shown::error(unknown)),
        Outcome::Needs(queries) => {
            queries.iter().for_each(|query| shown::line(&query.to_string()));
            "Needs".to_owned()
        }
    };
    (told, status.proven.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_reach_every_outcome() {
        let outcomes: Vec<String> = (TARGET.seeds)().iter().map(|seed| check(seed)).collect();
        for outcome in ["NotRevoked", "Revoked ", "Unknown", "Needs"] {
            let reached = outcomes.iter().any(|one| one.contains(&format!(" {outcome}")));
            assert!(reached, "{outcome}: {outcomes:#?}");
        }
    }
}

//! Queries, and answers to them with a life of their own. Their signatures are somebody's: here nobody judges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::query::Query;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600;

pub(crate) const HOUR: i64 = 3600;

/// The moment `seconds` after [`START`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

pub(crate) fn crl_query(address: &str) -> Query {
    Query::Crl(address.parse().unwrap())
}

/// The CRL made at `from` that lapses at `to`, both in seconds after [`START`]: the same bytes each time.
pub(crate) fn crl(from: i64, to: i64) -> Arc<[u8]> {
    type Made = BTreeMap<(i64, i64), Arc<[u8]>>;
    static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    Arc::clone(made.entry((from, to)).or_insert_with(|| sign_crl(from, to, 0)))
}

/// A CRL of about a mebibyte.
pub(crate) fn large_crl(from: i64, to: i64) -> Arc<[u8]> {
    sign_crl(from, to, 40_000)
}

/// A CRL of a bit more than `size` bytes: the one certificate on it has a number of that many.
pub(crate) fn crl_of(size: usize, from: i64, to: i64) -> Arc<[u8]> {
    sign_crl_of(from, to, [SerialNumber::from(vec![1; size])])
}

fn sign_crl(from: i64, to: i64, revoked: u64) -> Arc<[u8]> {
    sign_crl_of(
        from,
        to,
        (0..revoked).map(|serial| SerialNumber::from(serial | 1 << 62)),
    )
}

fn sign_crl_of(from: i64, to: i64, revoked: impl IntoIterator<Item = SerialNumber>) -> Arc<[u8]> {
    static ISSUER: OnceLock<Issuer<'static, KeyPair>> = OnceLock::new();
    let issuer = ISSUER.get_or_init(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        Issuer::new(params, KeyPair::generate().unwrap())
    });
    let time = |seconds: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs((START + seconds).try_into().unwrap());
    let params = CertificateRevocationListParams {
        this_update: time(from),
        next_update: time(to),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .into_iter()
            .map(|serial| RevokedCertParams {
                serial_number: serial,
                revocation_time: time(from),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().to_vec().into()
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        length @ ..128 => out.push(length as u8),
        length @ ..256 => out.extend([0x81, length as u8]),
        length => {
            out.push(0x82);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend(content);
    out
}

fn certificate_id(serial: &[u8]) -> Vec<u8> {
    let sha1 = element(0x30, &[&[0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a], &[0x05, 0x00]]);
    let hash = element(0x04, &[&[0x11; 20]]);
    element(0x30, &[&sha1, &hash, &hash, &element(0x02, &[serial])])
}

/// A query about the certificate with a serial number.
pub(crate) fn ocsp_query(addresses: &[String], serial: &[u8]) -> Query {
    let request = element(0x30, &[&certificate_id(serial)]);
    let request = element(0x30, &[&element(0x30, &[&element(0x30, &[&request])])]);
    Query::Ocsp {
        responders: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        request: request.into(),
    }
}

/// A response that says "good" about it.
pub(crate) fn ocsp(serial: &[u8], from: i64, to: i64) -> Arc<[u8]> {
    let time = |seconds: i64| {
        let text = at(seconds).strftime("%Y%m%d%H%M%SZ").to_string();
        element(0x18, &[text.as_bytes()])
    };
    let responder = element(0xa2, &[&element(0x04, &[&[0x22; 20]])]);
    let next = element(0xa0, &[&time(to)]);
    let single = element(0x30, &[&certificate_id(serial), &[0x80, 0x00], &time(from), &next]);
    let data = element(0x30, &[&responder, &time(from), &element(0x30, &[&single])]);
    // ecdsa-with-SHA256
    let algorithm = element(0x30, &[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]]);
    let basic = element(0x30, &[&data, &algorithm, &element(0x03, &[&[0; 65]])]);
    // id-pkix-ocsp-basic
    let kind = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
    let bytes = element(0x30, &[&kind, &element(0x04, &[&basic])]);
    element(0x30, &[&[0x0a, 0x01, 0x00], &element(0xa0, &[&bytes])]).into()
}

/// The responder's "try later" (RFC 6960 §4.2.1).
pub(crate) fn try_later() -> Vec<u8> {
    element(0x30, &[&[0x0a, 0x01, 0x03]])
}

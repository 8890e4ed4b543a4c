//! Chains, CRLs and OCSP responses, made with every part open to change.

mod answers;
mod crl;
mod files;
mod ocsp;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, SigningKey as _, date_time_ymd,
};
use sha1::{Digest as _, Sha1};

use super::*;
use crate::code::Code;
use crate::query::{Answered, RevocationUrl, Unanswered};
use crate::untrusted::Untrusted;

/// The moments of all tests, in their order.
const LONG_AGO: &str = "2026-02-01T00:00:00Z";
const EARLIER: &str = "2026-05-01T00:00:00Z";
const LATELY: &str = "2026-05-31T00:00:00Z";
const NOW: &str = "2026-06-01T00:00:00Z";
const SOON: &str = "2026-06-02T00:00:00Z";
const LATER: &str = "2026-06-08T00:00:00Z";

const CRL: &str = "http://crl.example/one.crl";
const OTHER_CRL: &str = "http://crl.example/two.crl";
const DELTA: &str = "http://crl.example/delta.crl";
const RESPONDER: &str = "http://ocsp.example/";

/// The leaf's serial number; its first bit is set, so it is encoded with one more octet.
const SERIAL: [u8; 3] = [0xa0, 0x10, 0x07];
const INTERMEDIATE_SERIAL: [u8; 1] = [0x42];

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

static ROOT_KEY: LazyLock<KeyPair> = LazyLock::new(key);
static INTERMEDIATE_KEY: LazyLock<KeyPair> = LazyLock::new(key);
static LEAF_KEY: LazyLock<KeyPair> = LazyLock::new(key);
static OTHER_KEY: LazyLock<KeyPair> = LazyLock::new(key);

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn url(text: &str) -> RevocationUrl {
    text.parse().unwrap()
}

/// An element of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let head = match content.len() {
        0..=0x7f => vec![tag, length[3]],
        0x80..=0xff => vec![tag, 0x81, length[3]],
        0x100..=0xffff => vec![tag, 0x82, length[2], length[3]],
        _ => vec![tag, 0x83, length[1], length[2], length[3]],
    };
    [head, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

/// An unsigned number.
fn integer(octets: &[u8]) -> Vec<u8> {
    match octets[0] {
        0x80.. => der(0x02, &[&[0], octets]),
        _ => der(0x02, &[octets]),
    }
}

fn generalized_time(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|character| !"-:T".contains(*character)).collect();
    der(0x18, &[digits.as_bytes()])
}

const TRUE: [u8; 3] = [0x01, 0x01, 0xff];
const ECDSA_WITH_SHA_256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const SHA_1_WITH_RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00,
];

/// Extensions of lists and entries: 2.5.29.x.
const CRL_NUMBER: u8 = 20;
const REASON: u8 = 21;
const INVALIDITY_DATE: u8 = 24;
const DELTA_INDICATOR: u8 = 27;
const ISSUING_DISTRIBUTION_POINT: u8 = 28;
const CERTIFICATE_ISSUER: u8 = 29;
const AUTHORITY_KEY: u8 = 35;
const FRESHEST_CRL: u8 = 46;

fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let id = [0x06, 0x03, 0x55, 0x1d, number];
    let flag: &[u8] = if critical { &TRUE } else { &[] };
    sequence(&[&id, flag, &der(0x04, &[value])])
}

fn uri(text: &str) -> Vec<u8> {
    der(0x86, &[text.as_bytes()])
}

/// A distribution point with several names.
fn point(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| uri(name)).collect();
    sequence(&[&der(0xa0, &[&der(0xa0, &[&names])])])
}

fn points(points: &[Vec<u8>]) -> Vec<u8> {
    sequence(&[&points.concat()])
}

fn params(name: &str, serial: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params
}

fn ca(name: &str, serial: &[u8]) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What a certificate names.
#[derive(Default)]
struct Names {
    crl: Vec<Vec<u8>>,
    freshest: Vec<Vec<u8>>,
    ocsp: Vec<&'static str>,
}

impl Names {
    fn crl() -> Self {
        Self::crls(&[CRL])
    }

    /// One distribution point for each address.
    fn crls(addresses: &[&str]) -> Self {
        Self {
            crl: addresses.iter().map(|address| point(&[address])).collect(),
            ..Self::default()
        }
    }

    fn ocsp() -> Self {
        Self {
            ocsp: vec![RESPONDER],
            ..Self::default()
        }
    }

    fn both() -> Self {
        Self {
            ocsp: vec![RESPONDER],
            ..Self::crl()
        }
    }

    fn put(&self, params: &mut CertificateParams) {
        let mut put = |id: &[u64], content: Vec<u8>| {
            let extension = CustomExtension::from_oid_content(id, content);
            params.custom_extensions.push(extension);
        };
        if !self.crl.is_empty() {
            put(&[2, 5, 29, 31], points(&self.crl));
        }
        if !self.freshest.is_empty() {
            put(&[2, 5, 29, 46], points(&self.freshest));
        }
        if !self.ocsp.is_empty() {
            const ID_AD_OCSP: [u8; 10] = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
            let descriptions = self.ocsp.iter().map(|address| sequence(&[&ID_AD_OCSP, &uri(address)]));
            let descriptions: Vec<u8> = descriptions.flatten().collect();
            put(&[1, 3, 6, 1, 5, 5, 7, 1, 1], sequence(&[&descriptions]));
        }
    }
}

fn certificate(params: &CertificateParams, key: &KeyPair, issuer: &CertificateParams, by: &KeyPair) -> Certificate {
    let issuer = Issuer::from_params(issuer, by);
    Certificate::from_der(params.signed_by(key, &issuer).unwrap().der()).unwrap()
}

fn root() -> Certificate {
    root_of(&ca("root", &[1]))
}

fn root_of(params: &CertificateParams) -> Certificate {
    Certificate::from_der(params.self_signed(&*ROOT_KEY).unwrap().der()).unwrap()
}

fn leaf(names: &Names) -> Certificate {
    let mut params = params("leaf", &SERIAL);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    names.put(&mut params);
    certificate(&params, &LEAF_KEY, &ca("root", &[1]), &ROOT_KEY)
}

/// A leaf and its root.
fn chain(names: &Names) -> Vec<Certificate> {
    vec![leaf(names), root()]
}

/// A leaf, an intermediate and a root.
fn long_chain(names_of_leaf: &Names, names_of_intermediate: &Names) -> Vec<Certificate> {
    let mut intermediate = ca("intermediate", &INTERMEDIATE_SERIAL);
    names_of_intermediate.put(&mut intermediate);
    let mut leaf = params("leaf", &SERIAL);
    names_of_leaf.put(&mut leaf);
    vec![
        certificate(&leaf, &LEAF_KEY, &intermediate, &INTERMEDIATE_KEY),
        certificate(&intermediate, &INTERMEDIATE_KEY, &ca("root", &[1]), &ROOT_KEY),
        root(),
    ]
}

/// An entry of a list.
fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = match extensions {
        [] => Vec::new(),
        extensions => sequence(&[&extensions.concat()]),
    };
    sequence(&[&integer(serial), &generalized_time(EARLIER), &extensions])
}

fn reason(number: u8) -> Vec<u8> {
    extension(REASON, false, &[0x0a, 1, number])
}

/// A list before it is signed.
#[derive(Clone)]
struct List {
    version: Vec<u8>,
    issuer: Vec<u8>,
    this_update: &'static str,
    next_update: Option<&'static str>,
    entries: Vec<u8>,
    extensions: Vec<Vec<u8>>,
    algorithm: Vec<u8>,
}

impl List {
    /// By the root, from lately until later, number 5, with no entry.
    fn new() -> Self {
        Self {
            version: integer(&[1]),
            issuer: root().subject_der().to_vec(),
            this_update: LATELY,
            next_update: Some(LATER),
            entries: Vec::new(),
            extensions: vec![extension(CRL_NUMBER, false, &integer(&[5]))],
            algorithm: ECDSA_WITH_SHA_256.to_vec(),
        }
    }

    fn delta(number: u8, base: u8) -> Self {
        let mut list = Self::new();
        list.extensions = vec![
            extension(CRL_NUMBER, false, &integer(&[number])),
            extension(DELTA_INDICATOR, true, &integer(&[base])),
        ];
        list
    }

    fn of(mut self, issuer: &Certificate) -> Self {
        self.issuer = issuer.subject_der().to_vec();
        self
    }

    fn between(mut self, this_update: &'static str, next_update: &'static str) -> Self {
        self.this_update = this_update;
        self.next_update = Some(next_update);
        self
    }

    fn revoking(mut self, serial: &[u8], extensions: &[Vec<u8>]) -> Self {
        self.entries.extend(entry(serial, extensions));
        self
    }

    fn with(mut self, extension: Vec<u8>) -> Self {
        self.extensions.push(extension);
        self
    }

    fn with_delta(self) -> Self {
        self.with(extension(FRESHEST_CRL, false, &points(&[point(&[DELTA])])))
    }

    fn signed(&self) -> Arc<[u8]> {
        self.signed_by(&ROOT_KEY)
    }

    fn signed_by(&self, key: &KeyPair) -> Arc<[u8]> {
        let next_update = self.next_update.map(generalized_time).unwrap_or_default();
        let entries = match &self.entries[..] {
            [] => Vec::new(),
            entries => sequence(&[entries]),
        };
        let extensions = match &self.extensions[..] {
            [] => Vec::new(),
            extensions => der(0xa0, &[&sequence(&[&extensions.concat()])]),
        };
        let list = sequence(&[
            &self.version,
            &self.algorithm,
            &self.issuer,
            &generalized_time(self.this_update),
            &next_update,
            &entries,
            &extensions,
        ]);
        let signature = der(0x03, &[&[0], &key.sign(&list).unwrap()]);
        sequence(&[&list, &self.algorithm, &signature]).into()
    }
}

/// `IssuingDistributionPoint` of these parts.
fn issuing(parts: &[&[u8]]) -> Vec<u8> {
    extension(ISSUING_DISTRIBUTION_POINT, true, &sequence(parts))
}

/// The name part of one.
fn named(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| uri(name)).collect();
    der(0xa0, &[&der(0xa0, &[&names])])
}

const GOOD: [u8; 2] = [0x80, 0];
const UNKNOWN: [u8; 2] = [0x82, 0];

fn revoked(reason: Option<u8>) -> Vec<u8> {
    let reason = reason.map_or_else(Vec::new, |number| der(0xa0, &[&[0x0a, 1, number]]));
    der(0xa1, &[&generalized_time(EARLIER), &reason])
}

/// `CertID` with SHA-1.
fn certificate_id(name: &[u8], key: &[u8], serial: &[u8]) -> Vec<u8> {
    const SHA_1: [u8; 11] = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
    let hash = |bytes: &[u8]| der(0x04, &[&Sha1::digest(bytes)]);
    sequence(&[&SHA_1, &hash(name), &hash(key), &integer(serial)])
}

fn leaf_id() -> Vec<u8> {
    let root = root();
    certificate_id(root.subject_der(), root.public_key().bytes, &SERIAL)
}

/// A response before it is signed.
#[derive(Clone)]
struct Response {
    version: Vec<u8>,
    responder: Vec<u8>,
    produced_at: &'static str,
    id: Vec<u8>,
    status: Vec<u8>,
    this_update: &'static str,
    next_update: Option<&'static str>,
    single_extensions: Vec<u8>,
    extensions: Vec<u8>,
    algorithm: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    more: Vec<u8>,
}

impl Response {
    /// By the root about the leaf, from lately until later.
    fn new(status: &[u8]) -> Self {
        Self {
            version: Vec::new(),
            responder: der(0xa1, &[root().subject_der()]),
            produced_at: LATELY,
            id: leaf_id(),
            status: status.to_vec(),
            this_update: LATELY,
            next_update: Some(LATER),
            single_extensions: Vec::new(),
            extensions: Vec::new(),
            algorithm: ECDSA_WITH_SHA_256.to_vec(),
            certificates: Vec::new(),
            more: Vec::new(),
        }
    }

    /// By somebody else, whose certificate is in the response.
    fn by(mut self, responder: &Certificate) -> Self {
        self.responder = der(0xa1, &[responder.subject_der()]);
        self.certificates = vec![responder.der().to_vec()];
        self
    }

    fn between(mut self, this_update: &'static str, next_update: &'static str) -> Self {
        self.this_update = this_update;
        self.produced_at = this_update;
        self.next_update = Some(next_update);
        self
    }

    fn single(&self) -> Vec<u8> {
        let next_update = self.next_update.map(|time| der(0xa0, &[&generalized_time(time)]));
        sequence(&[
            &self.id,
            &self.status,
            &generalized_time(self.this_update),
            &next_update.unwrap_or_default(),
            &self.single_extensions,
        ])
    }

    fn signed(&self) -> Arc<[u8]> {
        self.signed_by(&ROOT_KEY)
    }

    fn signed_by(&self, key: &KeyPair) -> Arc<[u8]> {
        let data = sequence(&[
            &self.version,
            &self.responder,
            &generalized_time(self.produced_at),
            &sequence(&[&self.single(), &self.more]),
            &self.extensions,
        ]);
        let certificates = match &self.certificates[..] {
            [] => Vec::new(),
            certificates => der(0xa0, &[&sequence(&[&certificates.concat()])]),
        };
        let signature = der(0x03, &[&[0], &key.sign(&data).unwrap()]);
        let basic = sequence(&[&data, &self.algorithm, &signature, &certificates]);
        const ID_PKIX_OCSP_BASIC: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
        let bytes = sequence(&[&ID_PKIX_OCSP_BASIC, &der(0x04, &[&basic])]);
        sequence(&[&[0x0a, 1, 0], &der(0xa0, &[&bytes])]).into()
    }
}

/// The certificate of a responder that the root authorises.
fn responder() -> CertificateParams {
    let mut params = params("responder", &[0x33]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    params
}

fn issued(params: &CertificateParams) -> Certificate {
    certificate(params, &OTHER_KEY, &ca("root", &[1]), &ROOT_KEY)
}

fn away() -> Unanswered {
    Unanswered {
        code: Code::RevocationUnknown,
        reason: "connection refused".into(),
    }
}

/// A chain and what is known about it.
struct Case {
    chain: Vec<Certificate>,
    answers: Answers,
    local: LocalRevocation,
    now: &'static str,
    grace: Duration,
    signed_at: Option<&'static str>,
}

impl Case {
    fn new(chain: Vec<Certificate>) -> Self {
        Self {
            chain,
            answers: Answers::default(),
            local: LocalRevocation::default(),
            now: NOW,
            grace: Duration::ZERO,
            signed_at: None,
        }
    }

    fn grace(mut self, days: u64) -> Self {
        self.grace = Duration::from_secs(days * 86_400);
        self
    }

    fn signed_at(mut self, signed_at: &'static str) -> Self {
        self.signed_at = Some(signed_at);
        self
    }

    fn file(mut self, content: &[u8]) -> Self {
        self.local = LocalRevocation::from_files([("file", content)]).unwrap();
        self
    }

    fn answered(mut self, query: Query, now: Option<Arc<[u8]>>, kept: Option<Arc<[u8]>>) -> Self {
        let now = now.ok_or_else(away);
        self.answers.insert(query, Answered { now, kept });
        self
    }

    fn crl(self, address: &str, now: Arc<[u8]>) -> Self {
        self.answered(Query::Crl(url(address)), Some(now), None)
    }

    fn ocsp(self, now: Arc<[u8]>) -> Self {
        let query = self.ocsp_query();
        self.answered(query, Some(now), None)
    }

    /// The one question that is asked about the leaf first.
    fn ocsp_query(&self) -> Query {
        let chain = Self::new(self.chain.clone());
        match chain.outcome() {
            Outcome::Needs(queries) => queries
                .into_iter()
                .find(|query| matches!(query, Query::Ocsp { .. }))
                .unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) -> ChainStatus {
        let context = Context {
            answers: &self.answers,
            local: &self.local,
            now: time(self.now),
            grace: self.grace,
            authentic_signing_time: self.signed_at.map(time),
        };
        check(&self.chain, &context)
    }

    fn outcome(&self) -> Outcome {
        self.check().outcome
    }

    #[track_caller]
    fn good(&self) -> NotRevoked {
        match self.outcome() {
            Outcome::NotRevoked(good) => good,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn revoked(&self) -> Revoked {
        match self.outcome() {
            Outcome::Revoked(revoked) => revoked,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn unknown(&self) -> UnknownReason {
        match self.outcome() {
            Outcome::Unknown(unknown) => unknown.why,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn needs(&self) -> BTreeSet<Query> {
        match self.outcome() {
            Outcome::Needs(needs) => needs,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn crl_error(&self) -> CrlError {
        match self.unknown() {
            UnknownReason::Crl { cause, .. } => cause,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn ocsp_error(&self) -> OcspError {
        match self.unknown() {
            UnknownReason::Ocsp { cause, .. } => cause,
            other => panic!("{other:?}"),
        }
    }
}

fn with_crl(list: &List) -> Case {
    Case::new(chain(&Names::crl())).crl(CRL, list.signed())
}

fn with_ocsp(response: &Response) -> Case {
    Case::new(chain(&Names::ocsp())).ocsp(response.signed())
}

fn source() -> Source {
    Source::Crl(url(CRL))
}

//! Trusted roots.

use assay_verify::Timestamp;
use assay_verify::limits::MAX_CHAIN_LENGTH;
use assay_verify::sigstore::trusted_root::{Coverage, Role, Standing, TransparencyLog, TrustedRoot};

use crate::{Target, seeds, shown};

/// `trusted_root.json`.
pub const TARGET: Target = Target {
    name: "trusted_root",
    seeds: || {
        seeds::sigstore_files("", |path, content| {
            path.ends_with("trusted_root.json") && content.len() < 16 * 1024
        })
    },
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b"null",
        b"\"\"",
        b"\\u202e",
        b"\"start\":\"2025-01-01T00:00:00Z\",",
        b"\"end\":\"9999-12-31T23:59:59Z\"",
        b"\"end\":\"-009999-01-01T00:00:00Z\"",
        b"\"PKIX_ED25519\"",
        b"\"PKCS1_RSA_PKCS1V5\"",
        b"\"operator\":\"a\",",
        b"\"checkpointKeyId\":{\"keyId\":\"AAAAAA==\"},",
        b"\"tlogs\":[],",
        b"\"baseUrl\":\"http://[::1\",",
        b"\"v0.2\"",
    ],
    check,
    inputs: 1_500,
};

/// A root that is read names every log once, says when each log's key begins, and its end can be told.
pub fn check(input: &[u8]) -> String {
    match TrustedRoot::parse(input) {
        Ok(root) => {
            serde_json::from_slice::<serde_json::Value>(input).expect("JSON");
            for logs in [&root.logs, &root.certificate_logs] {
                logs.iter().for_each(check_log);
                for (index, log) in logs.iter().enumerate() {
                    let is_same = |other: &TransparencyLog| other.log_id == log.log_id || other.key == log.key;
                    assert!(!logs.iter().take(index).any(is_same));
                }
            }
            for log in &root.logs {
                assert!(root.log(&log.log_id).is_some_and(|found| found.key == log.key));
            }
            for authority in root.certificate_authorities.iter().chain(&root.timestamp_authorities) {
                assert!((1..=MAX_CHAIN_LENGTH).contains(&authority.certificates.len()));
                assert!(!authority.operator.is_empty());
            }
            let parties = root.parties();
            assert!(!parties.is_empty());
            for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                for role in Role::ALL {
                    let mut own = parties.iter().filter(|party| party.role == role);
                    let is_current = own.any(|party| party.standing(now) == Standing::Current);
                    match root.coverage(role, now) {
                        Coverage::None => assert!(!is_current),
                        Coverage::Until(end) => assert!(is_current && end >= now),
                        Coverage::Open => assert!(is_current),
                    }
                }
            }
            let again = TrustedRoot::parse(input).map(|again| format!("{again:?}"));
            assert_eq!(again, Ok(format!("{root:?}")));
            format!("{} {} parties", parties.len(), root.logs.len())
        }
        Err(error) => shown::error(&error),
    }
}

fn check_log(log: &TransparencyLog) {
    assert!(log.window.start.is_some());
    assert!(
        log.window
            .end
            .is_none_or(|end| log.window.start.is_some_and(|start| start <= end))
    );
    assert!(log.is(&log.log_id) && !log.log_id.is_empty() && !log.operator.is_empty());
    assert!(log.host().is_none_or(|host| log.base_url.contains(host)));
}

//! Signed entry timestamps: a Rekor v1 log's promise to include an entry, and the only word on its time.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PromiseError;
use crate::Timestamp;
use crate::crypto::Hash;
use crate::digest::hex;
use crate::sigstore::material::LogEntry;
use crate::sigstore::trusted_root::TransparencyLog;

/// Beyond it, numbers of JSON are not exact, and their canonical form is another (RFC 8785 §3.2.2.3).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// Verifies a promise, and gives the time that it covers. The log's key has to count at that time (closed interval).
pub(super) fn verify(entry: &LogEntry, promise: &[u8], log: &TransparencyLog) -> Result<Timestamp, PromiseError> {
    let at = entry.integrated_time.ok_or(PromiseError::NoTime)?;
    let signed = canonical(entry, at)?;
    // SHA-256 on every curve (sigstore-go pkg/tlog/entry.go, `VerifySET`).
    let verified = log.key.verify_with(Hash::Sha256, signed.as_bytes(), promise);
    verified.map_err(|_| PromiseError::Signature)?;
    let window = log.window;
    match window.contains(at) {
        true => Ok(at),
        false => Err(PromiseError::OutsideWindow { at, window }),
    }
}

/// What is signed: the canonical JSON of the entry (RFC 8785). No member needs escapes: they are numbers, base64 and
/// hexadecimal digits, under names in their order.
fn canonical(entry: &LogEntry, at: Timestamp) -> Result<String, PromiseError> {
    let seconds = at.as_second();
    let is_exact = at.subsec_nanosecond() == 0 && seconds.unsigned_abs() <= MAX_EXACT && entry.log_index <= MAX_EXACT;
    if !is_exact {
        return Err(PromiseError::Number);
    }
    Ok(format!(
        r#"{{"body":"{}","integratedTime":{seconds},"logID":"{}","logIndex":{}}}"#,
        STANDARD.encode(&entry.body),
        hex(&entry.log_id),
        entry.log_index,
    ))
}

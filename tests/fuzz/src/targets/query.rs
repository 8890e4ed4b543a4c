//! Queries about revocation, as they stand beside their answers in a bundle.

use assay_verify::limits::{MAX_OCSP_REQUEST_SIZE, MAX_REVOCATION_URL_LENGTH, MAX_REVOCATION_URLS};
use assay_verify::query::Query;

use super::{JSON, text};
use crate::{Target, seeds, shown};

/// Queries about revocation.
pub const TARGET: Target = Target {
    name: "query",
    seeds: || {
        seeds::texts(&[
            r#"{"kind":"crl","addresses":["http://crl.example/a.crl"]}"#,
            r#"{"kind":"ocsp","addresses":["http://ocsp.example","http://b.example/x"],"request":"MAA="}"#,
        ])
    },
    words: JSON,
    check,
    inputs: 3_000,
};

/// Whatever is read is within the limits, and reads back as the same query under the same name.
pub fn check(input: &[u8]) -> String {
    let Some(text) = text(input) else {
        return "not text".to_owned();
    };
    let query = match Query::from_json(text) {
        Ok(query) => query,
        Err(error) => return shown::error(&error).replace('"', ""),
    };
    let kind = match &query {
        Query::Crl(url) => {
            assert!(url.as_str().len() <= MAX_REVOCATION_URL_LENGTH);
            "crl"
        }
        Query::Ocsp { responders, request } => {
            assert!((1..=MAX_REVOCATION_URLS).contains(&responders.len()));
            assert!((1..=MAX_OCSP_REQUEST_SIZE).contains(&request.len()));
            "ocsp"
        }
        Query::PluginMetadata(_) | Query::PluginVerdict { .. } => panic!("{query} is no query about revocation"),
    };
    let again = Query::from_json(&query.to_json().expect("it is about revocation")).expect("it was written here");
    assert_eq!((again.id(), &again), (query.id(), &query));
    kind.to_owned()
}

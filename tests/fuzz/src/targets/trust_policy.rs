//! Notation's trust policies.

use assay_verify::notation::blob_policy::BlobTrustPolicy;
use assay_verify::notation::statement::Level;
use assay_verify::notation::trust_policy::{Scopes, TrustPolicy};

use crate::{Target, seeds, shown};

/// Notation's trust policies.
pub const TARGET: Target = Target {
    name: "trust_policy",
    seeds: || {
        seeds::files("notation/config/trustpolicies", |path, _| {
            path.extension().is_some_and(|kind| kind == "json")
        })
    },
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\u0000",
        b"\\u212a",
        b"\\u202e",
        b"\"*\"",
        b"\"skip\"",
        b"\"audit\"",
        b"\"version\":\"1.0\",",
        b"\"VERSION\":1,",
        b"\"override\":{\"revocation\":\"skip\"},",
        b"\"ca:a\",",
        b"\"x509.subject:C=US,ST=WA,O=a\",",
        b"\"globalPolicy\":true,",
        b"\"registryScopes\":[\"a.example/b\"],",
        b"\xe2\x80\xae",
        b"\xc5\xbf",
        b"//",
        b"/*",
        b"\n",
        b"1e400",
        b"\"name\":\"n\",",
        b"[[[[",
        b"{\"a\":",
    ],
    check,
    inputs: 3_000,
};

/// A policy that is read is JSON, finds for each repository the statement that names it, and has trust stores wherever it
/// verifies.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    check_blob(text);
    let parsed = TrustPolicy::parse("trustpolicy.json", text);
    if let Some(policy) = &parsed.policy {
        serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(TrustPolicy::parse("again", text).policy.as_ref(), Some(policy));
        assert!(!policy.statements().is_empty());
        for statement in policy.statements() {
            assert_eq!(statement.level == Level::Skip, statement.trust_stores.is_empty());
            if let Scopes::Repositories(repositories) = &statement.scopes {
                assert!(!repositories.is_empty());
                assert!(
                    repositories
                        .iter()
                        .all(|repository| policy.applicable(repository) == Some(statement))
                );
            }
        }
    }
    shown::diagnostics(text, parsed.policy.is_some(), &parsed.diagnostics)
}

/// The same of a policy for files: no document is one of both kinds, and at most one statement is global and verifies.
fn check_blob(text: &str) {
    let parsed = BlobTrustPolicy::parse("trustpolicy.blob.json", text);
    if let Some(policy) = &parsed.policy {
        assert!(TrustPolicy::parse("trustpolicy.json", text).policy.is_none());
        let statements = policy.statements();
        assert!(!statements.is_empty());
        for statement in statements {
            assert_eq!(statement.terms().is_none(), statement.trust_stores.is_empty());
            assert_eq!(policy.applicable(Some(&statement.name)), Ok(statement));
        }
        let global: Vec<_> = statements.iter().filter(|statement| statement.global).collect();
        assert!(global.len() <= 1);
        assert_eq!(policy.applicable(None).ok(), global.first().copied());
        assert!(global.iter().all(|statement| statement.terms().is_some()));
    }
    shown::diagnostics(text, parsed.policy.is_some(), &parsed.diagnostics);
}

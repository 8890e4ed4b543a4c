//! Lists of trusted identities, names of trust stores and of authorities.

use assay_verify::notation::identity::{IdentityKinds, TrustedIdentities};
use assay_verify::notation::statement::TrustStoreName;
use assay_verify::policy::AuthorityName;

use crate::{Target, seeds, shown};

/// Lines, each an identity or a name.
pub const TARGET: Target = Target {
    name: "identities",
    seeds: || {
        seeds::texts(&[
            "*",
            "x509.subject: C=US, ST=WA, O=a\nx509.subject:C=US,ST=WA,O=b",
            "x509.subject:C=US,ST=WA,O=a\nx509.subject:C=US,ST=WA,O=a,CN=b\nother:c",
            "ca:corp\ntsa:a.b\nsigningAuthority:..",
            "corp-1\ncorp_2",
        ])
    },
    words: &[
        b"x509.subject:",
        b"*",
        b"\n",
        b":",
        b"C=US,ST=WA,O=a",
        b",CN=b",
        b"..",
        b"/",
        b"\\",
        b"ca:",
        b"tsa:",
        b"\0",
        b"\xe2\x80\xae",
    ],
    check,
    inputs: 6_000,
};

/// A list that is accepted keeps its items, no item of it includes another, and a store's name is safe in a path.
pub fn check(input: &[u8]) -> String {
    let lines: Vec<&str> = super::text(input).unwrap_or_default().lines().take(16).collect();
    for line in &lines {
        match line.parse::<TrustStoreName>() {
            Ok(name) => {
                assert_eq!(name.to_string(), *line);
                assert!(!name.name().contains(['/', '\\', '\0']) && !["", ".", ".."].contains(&name.name()));
            }
            Err(error) => drop(shown::error(&error)),
        }
        match line.parse::<AuthorityName>() {
            Ok(name) => assert_eq!(name.as_str(), *line),
            Err(error) => shown::line(&error.to_string()),
        }
    }
    match TrustedIdentities::parse(&lines, IdentityKinds::Extended) {
        Ok(identities) => assert!(identities.texts().eq(lines.iter().copied())),
        Err(problems) => problems
            .iter()
            .take(4)
            .for_each(|problem| drop(shown::error(&problem.error))),
    }
    match TrustedIdentities::parse(&lines, IdentityKinds::Standard) {
        Ok(identities) => {
            assert!(identities.texts().eq(lines));
            let TrustedIdentities::Listed(list) = identities else {
                return "any".to_owned();
            };
            let names = list.subjects();
            for (position, name) in names.iter().enumerate() {
                assert!(
                    names[position + 1..]
                        .iter()
                        .all(|other| !name.is_subset_of(other) && !other.is_subset_of(name))
                );
            }
            format!("listed {}", !names.is_empty())
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| problem.index < lines.len().max(1)));
            problems
                .iter()
                .take(4)
                .map(|problem| shown::error(&problem.error))
                .collect()
        }
    }
}

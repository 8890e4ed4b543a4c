//! Image patterns.

use assay_verify::policy::Pattern;
use assay_verify::reference::Repository;

use crate::{Target, seeds, shown};

/// Lines: a wide pattern, another pattern, a repository.
pub const TARGET: Target = Target {
    name: "pattern",
    seeds: || {
        seeds::texts(&[
            "**\nalpine\nalpine",
            "registry.example/**\nregistry.example/team/**\nregistry.example/team/app",
            "*.corp.example:5000/**/a*b/*\n*.corp.example:5000/x/a-*-b/c\neu.corp.example:5000/x/a-1-b/c",
            "docker.io/*\ndocker.io/library/a*\nalpine",
            "a.example/*a*a*\na.example/aa*\na.example/aaa",
            "a.example:443:443/*\na.example./*\na.example/a",
            "host:443/app\nhost:443/app\nhost:443/app",
            "a.example/**/b/**/b\na.example/x/b/*/b\na.example/x/b/y/b",
            "registry-1.docker.io/alpine\nDOCKER.IO/alpine\nregistry-1.docker.io/alpine",
        ])
    },
    words: &[
        b"**",
        b"*",
        b"/**",
        b"/*",
        b"*.",
        b"\n",
        b":443",
        b":5000",
        b"docker.io/",
        b"library/",
        b"*a",
        b"localhost",
    ],
    check,
    inputs: 4_000,
};

/// A pattern reads as itself when it is shown, every repository is a pattern for itself alone, and what a covered pattern
/// matches, the covering one matches.
pub fn check(input: &[u8]) -> String {
    let mut lines = super::text(input).unwrap_or_default().lines();
    let wide = pattern(lines.next());
    let narrow = pattern(lines.next());
    let repository = lines.next().and_then(|line| line.parse::<Repository>().ok());
    let outcome = format!("{wide:?} {narrow:?}").replace('"', "");
    if let Some(repository) = &repository {
        let itself = pattern(Some(&repository.to_string())).expect("a repository is a pattern");
        assert!(itself.is_exact() && itself.matches(repository));
        for one in [&wide, &narrow].into_iter().flatten() {
            assert_eq!(one.matches(repository), one.covers(&itself), "{one} {repository}");
        }
    }
    if let (Ok(wide), Ok(narrow), Some(repository)) = (&wide, &narrow, &repository) {
        let (matched, covers) = (narrow.matches(repository), wide.covers(narrow));
        assert!(
            !(covers && matched) || wide.matches(repository),
            "{wide} covers {narrow}, but {repository}"
        );
        return format!("{matched} {covers} {} {}", wide.matches(repository), wide.is_exact());
    }
    outcome
        .chars()
        .filter(|character| !character.is_ascii_lowercase())
        .collect()
}

fn pattern(text: Option<&str>) -> Result<Pattern, String> {
    let pattern = text
        .unwrap_or_default()
        .parse::<Pattern>()
        .map_err(|error| shown::error(&error))?;
    shown::line(&pattern.to_string());
    assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
    assert!(pattern.covers(&pattern), "{pattern} does not cover itself");
    Ok(pattern)
}

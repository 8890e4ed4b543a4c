//! SLSA provenance: who built an image, and from what (slsa.dev/provenance/v0.2 and v1).

use serde_json::Value;

use super::predicate_type::PredicateType;
use super::{field, text};
use crate::untrusted::Untrusted;

/// What was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// The repository's URI, without the prefix that names the tool.
    pub(super) repository: &'a str,
    reference: Option<&'a str>,
}

impl<'a> Source<'a> {
    /// A URI as SPDX writes download locations: `git+https://host/path@refs/heads/main`, of which the tool and the ref may
    /// be absent (SPDX 2.3 §7.7). The ref begins at the first `@refs/`: git takes an `@` in the name of a branch, so whoever
    /// may push one writes what stands behind it.
    fn of_uri(uri: &'a str) -> Self {
        const REFS: &str = "@refs/";
        let uri = uri.strip_prefix("git+").unwrap_or(uri);
        match uri.split_once(REFS) {
            Some((repository, _)) => Self {
                repository,
                reference: uri.get(repository.len() + 1..),
            },
            None => Self {
                repository: uri,
                reference: None,
            },
        }
    }

    /// The branch or tag.
    pub(super) fn reference(self) -> Result<&'a str, Untrusted> {
        self.reference.ok_or_else(|| "the provenance names no ref".into())
    }
}

/// The builder's identifier: `builder.id`, in version 1 below `runDetails`.
pub(super) fn builder<'a>(kind: &PredicateType, statement: &'a Value) -> Result<&'a str, Untrusted> {
    let path: &[&str] = if kind.is_provenance_1() {
        &["runDetails", "builder", "id"]
    } else {
        &["builder", "id"]
    };
    text(statement, path)
}

/// The source. In 0.2 it is the URI of `invocation.configSource`. In 1 the type of the build decides where it is: GitHub's
/// workflows say `workflow` with `repository` and `ref`, other builders `source`, a URI or an object with one. Where both
/// are there, nobody knows which one was built.
pub(super) fn source<'a>(kind: &PredicateType, statement: &'a Value) -> Result<Source<'a>, Untrusted> {
    if !kind.is_provenance_1() {
        return text(statement, &["invocation", "configSource", "uri"]).map(Source::of_uri);
    }
    const PARAMETERS: [&str; 2] = ["buildDefinition", "externalParameters"];
    let at = |name| field(statement, &[&PARAMETERS[..], &[name]].concat());
    match (at("workflow"), at("source")) {
        (Some(workflow), None) => {
            let repository = workflow.get("repository").and_then(Value::as_str);
            Ok(Source {
                repository: repository.ok_or("its workflow names no repository")?,
                reference: workflow.get("ref").and_then(Value::as_str),
            })
        }
        (None, Some(source)) => {
            let uri = source.as_str().or_else(|| source.get("uri").and_then(Value::as_str));
            uri.map(Source::of_uri).ok_or_else(|| "its source is no URI".into())
        }
        (Some(_), Some(_)) => Err("it names both a workflow and a source".into()),
        (None, None) => Err("it names its source nowhere that is known: use equals or cel".into()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(name: &str) -> PredicateType {
        name.parse().unwrap()
    }

    #[test]
    fn reads_the_builder_of_both_versions() {
        let old = json!({"predicate": {"builder": {"id": "b0"}}});
        let new = json!({"predicate": {"runDetails": {"builder": {"id": "b1"}}}});
        assert_eq!(builder(&kind("slsaprovenance"), &old), Ok("b0"));
        assert_eq!(builder(&kind("slsaprovenance1"), &new), Ok("b1"));
        assert!(builder(&kind("slsaprovenance1"), &old).is_err());
        assert!(builder(&kind("slsaprovenance"), &new).is_err());
        assert!(
            builder(
                &kind("slsaprovenance"),
                &json!({"predicate": {"builder": {"id": ["b0"]}}})
            )
            .is_err()
        );
    }

    #[track_caller]
    fn check_source(version: &str, predicate: Value, expected: Option<(&str, Option<&str>)>) {
        let statement = json!({ "predicate": predicate });
        let kind = kind(version);
        let found = source(&kind, &statement);
        assert_eq!(
            found.as_ref().ok().map(|one| (one.repository, one.reference)),
            expected,
            "{found:?}"
        );
    }

    #[test]
    fn reads_the_source_where_each_kind_of_build_names_it() {
        let old = |uri| json!({"invocation": {"configSource": {"uri": uri}}});
        check_source(
            "slsaprovenance",
            old("git+https://github.com/corp/app@refs/tags/v1"),
            Some(("https://github.com/corp/app", Some("refs/tags/v1"))),
        );
        check_source(
            "slsaprovenance",
            old("https://a.example/x"),
            Some(("https://a.example/x", None)),
        );
        check_source(
            "slsaprovenance",
            old("ssh://git@a.example/x"),
            Some(("ssh://git@a.example/x", None)),
        );
        // git takes an '@' in the name of a branch: what was built is not main.
        check_source(
            "slsaprovenance",
            old("git+https://github.com/corp/app@refs/heads/x@refs/heads/main"),
            Some(("https://github.com/corp/app", Some("refs/heads/x@refs/heads/main"))),
        );
        check_source("slsaprovenance", json!({}), None);
        let new = |parameters| json!({"buildDefinition": {"externalParameters": parameters}});
        check_source(
            "slsaprovenance1",
            new(json!({"workflow": {"repository": "https://github.com/corp/app", "ref": "refs/heads/main"}})),
            Some(("https://github.com/corp/app", Some("refs/heads/main"))),
        );
        check_source(
            "slsaprovenance1",
            new(json!({"source": {"uri": "git+https://github.com/corp/app@refs/heads/main"}})),
            Some(("https://github.com/corp/app", Some("refs/heads/main"))),
        );
        check_source(
            "slsaprovenance1",
            new(json!({"source": "https://gitlab.example/corp/app"})),
            Some(("https://gitlab.example/corp/app", None)),
        );
    }

    #[test]
    fn a_source_that_is_named_twice_or_nowhere_is_not_known() {
        let new = |parameters| json!({"buildDefinition": {"externalParameters": parameters}});
        check_source(
            "slsaprovenance1",
            new(json!({"workflow": {"repository": "a"}, "source": "b"})),
            None,
        );
        check_source("slsaprovenance1", new(json!({"workflow": {"ref": "a"}})), None);
        check_source("slsaprovenance1", new(json!({"source": {}})), None);
        check_source("slsaprovenance1", new(json!({})), None);
        check_source("slsaprovenance1", json!("text"), None);
    }
}

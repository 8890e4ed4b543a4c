//! What Fulcio's extensions say about a workload (fulcio docs/oid-info.md).

use std::fmt;

use const_oid::ObjectIdentifier;

/// What an identity provider said about a workload, as Fulcio wrote it into the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Claim {
    /// Deprecated: GitHub's event (.2).
    GithubWorkflowTrigger,
    /// Deprecated: GitHub's commit (.3).
    GithubWorkflowSha,
    /// Deprecated: the name of GitHub's workflow (.4).
    GithubWorkflowName,
    /// Deprecated: GitHub's repository, without a host (.5).
    GithubWorkflowRepository,
    /// Deprecated: GitHub's branch or tag (.6).
    GithubWorkflowRef,
    /// The build instructions that are responsible for signing, a reusable workflow for example (.9).
    BuildSignerUri,
    /// Their immutable version (.10).
    BuildSignerDigest,
    /// Whether the build ran on the platform's machines or on others (.11).
    RunnerEnvironment,
    /// The source repository's URI (.12).
    SourceRepository,
    /// The immutable version of the source (.13).
    SourceRepositoryDigest,
    /// The source's branch or tag (.14).
    SourceRepositoryRef,
    /// The immutable identifier of the source repository (.15).
    SourceRepositoryIdentifier,
    /// The URI of the source repository's owner (.16).
    SourceRepositoryOwner,
    /// The immutable identifier of the source repository's owner (.17).
    SourceRepositoryOwnerIdentifier,
    /// The build instructions that the build began with (.18).
    BuildConfigUri,
    /// Their immutable version (.19).
    BuildConfigDigest,
    /// What started the build (.20).
    BuildTrigger,
    /// The URI of the run (.21).
    RunInvocationUri,
    /// Whether the source repository was public when it was signed (.22).
    SourceRepositoryVisibility,
    /// What the build is deployed to (.23).
    DeploymentEnvironment,
    /// The subject of the identity token, as it came (.24).
    TokenSubject,
}

/// How a claim's extension holds its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// The bytes of the text are the extension's content.
    Raw,
    /// The extension's content is a DER `UTF8String`.
    Utf8String,
}

/// The arc of every extension, below 1.3.6.1.4.1.57264.1, and the claim's name in a policy.
const CLAIMS: [(Claim, u8, &str); 21] = [
    (Claim::GithubWorkflowTrigger, 2, "github_workflow_trigger"),
    (Claim::GithubWorkflowSha, 3, "github_workflow_sha"),
    (Claim::GithubWorkflowName, 4, "github_workflow_name"),
    (Claim::GithubWorkflowRepository, 5, "github_workflow_repository"),
    (Claim::GithubWorkflowRef, 6, "github_workflow_ref"),
    (Claim::BuildSignerUri, 9, "build_signer_uri"),
    (Claim::BuildSignerDigest, 10, "build_signer_digest"),
    (Claim::RunnerEnvironment, 11, "runner_environment"),
    (Claim::SourceRepository, 12, "source_repository"),
    (Claim::SourceRepositoryDigest, 13, "source_repository_digest"),
    (Claim::SourceRepositoryRef, 14, "source_repository_ref"),
    (Claim::SourceRepositoryIdentifier, 15, "source_repository_identifier"),
    (Claim::SourceRepositoryOwner, 16, "source_repository_owner"),
    (
        Claim::SourceRepositoryOwnerIdentifier,
        17,
        "source_repository_owner_identifier",
    ),
    (Claim::BuildConfigUri, 18, "build_config_uri"),
    (Claim::BuildConfigDigest, 19, "build_config_digest"),
    (Claim::BuildTrigger, 20, "build_trigger"),
    (Claim::RunInvocationUri, 21, "run_invocation_uri"),
    (Claim::SourceRepositoryVisibility, 22, "source_repository_visibility"),
    (Claim::DeploymentEnvironment, 23, "deployment_environment"),
    (Claim::TokenSubject, 24, "token_subject"),
];

/// An extension of Fulcio's: 1.3.6.1.4.1.57264.1.`arc`, for an arc below 128.
pub(super) fn extension(arc: u8) -> Option<ObjectIdentifier> {
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1")
        .push_arc(arc.into())
        .ok()
}

impl Claim {
    /// Every claim.
    pub fn all() -> impl Iterator<Item = Self> {
        CLAIMS.into_iter().map(|(claim, ..)| claim)
    }

    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        self.row().map_or("unknown", |(_, _, name)| name)
    }

    /// The claim of a name in a policy.
    pub fn from_name(name: &str) -> Option<Self> {
        CLAIMS
            .into_iter()
            .find_map(|(claim, _, known)| (known == name).then_some(claim))
    }

    /// The extension that makes it.
    pub fn extension(self) -> Option<ObjectIdentifier> {
        self.row().and_then(|(_, arc, _)| extension(arc))
    }

    /// .2 to .6 are raw, the others DER (fulcio docs/oid-info.md#extension-values).
    pub(super) fn encoding(self) -> Encoding {
        match self.row() {
            Some((_, 2..=6, _)) => Encoding::Raw,
            _ => Encoding::Utf8String,
        }
    }

    fn row(self) -> Option<(Self, u8, &'static str)> {
        CLAIMS.into_iter().find(|(claim, ..)| *claim == self)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_claim_has_one_name_and_one_extension() {
        let names: BTreeSet<_> = Claim::all().map(Claim::name).collect();
        let extensions: BTreeSet<_> = Claim::all().map(|claim| claim.extension().unwrap()).collect();
        assert_eq!((names.len(), extensions.len()), (CLAIMS.len(), CLAIMS.len()));
        for claim in Claim::all() {
            assert_eq!(Claim::from_name(claim.name()), Some(claim));
        }
        assert_eq!(Claim::from_name("unknown"), None);
        assert_eq!(Claim::from_name("Source_Repository"), None);
    }

    #[test]
    fn extensions_are_those_of_the_registry() {
        for (claim, extension) in [
            (Claim::GithubWorkflowTrigger, "1.3.6.1.4.1.57264.1.2"),
            (Claim::GithubWorkflowRef, "1.3.6.1.4.1.57264.1.6"),
            (Claim::BuildSignerUri, "1.3.6.1.4.1.57264.1.9"),
            (Claim::RunnerEnvironment, "1.3.6.1.4.1.57264.1.11"),
            (Claim::SourceRepository, "1.3.6.1.4.1.57264.1.12"),
            (Claim::SourceRepositoryRef, "1.3.6.1.4.1.57264.1.14"),
            (Claim::BuildConfigUri, "1.3.6.1.4.1.57264.1.18"),
            (Claim::TokenSubject, "1.3.6.1.4.1.57264.1.24"),
        ] {
            assert_eq!(claim.extension().unwrap().to_string(), extension);
        }
    }
}

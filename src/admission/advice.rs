//! What would make an image pass, in words for the person who runs it.

use assay_verify::code::Code;
use assay_verify::judge::AuthorityReport;

use super::verdict::{Outcome, Verdict};

/// Advice for a denied image: one sentence on the verdict, then one for every authority that is not satisfied for a
/// reason of its own.
pub(super) fn advice(verdict: &Verdict, authorities: &[AuthorityReport]) -> Vec<String> {
    let Some(denial) = verdict.outcome.denial() else {
        return Vec::new();
    };
    let mut sentences = vec![sentence(denial.code).to_owned()];
    for report in authorities {
        if let Some((code, _)) = report.shortcoming().filter(|(code, _)| *code != denial.code) {
            sentences.push(format!("Authority {}: {}", report.authority, sentence(code)));
        }
    }
    if matches!(verdict.outcome, Outcome::Audited(_)) {
        sentences.push("The rule is in audit mode: the image is admitted until it says mode = \"enforce\".".to_owned());
    }
    sentences
}

fn sentence(code: Code) -> &'static str {
    match code {
        Code::AnnotationMismatch => "Sign the image again, with the annotations that the rule asks for.",
        Code::CertificateRevoked => {
            "Do not run this image until it is known why: its signer's certificate was revoked. Have it signed again."
        }
        Code::PluginRefused => "The plugin refuses the signature: its reason says why.",
        Code::PluginUnavailable => "Install the plugin, and name it in config.toml: [plugin.NAME] path = \"…\".",
        Code::SignatureTooOld => {
            "Sign the image again, with a timestamp of an authority that the trust policy names: the rule has a minimum \
             signing time."
        }
        Code::TimestampInvalid => "Sign the image again, with a timestamp of an authority in the trust store.",
        Code::TimestampRequired => "Sign the image again with notation sign --timestamp-url, as the trust policy asks.",
        Code::CertificateExpired => {
            "Sign the image again with a certificate that is valid now; check the node's clock first."
        }
        Code::Deadline => {
            "Try again: gathering went on, and what it found is kept. If it repeats, the registry is too slow."
        }
        Code::DeniedByRule => "The policy denies this on purpose: use another image, or change the rule.",
        Code::IdentityMismatch => {
            "The signer is known and is not the one asked for: have the right signer sign, or add the identity to \
             trusted_identities."
        }
        Code::Internal => "This is a defect of assayd: report it with the journal's lines around the decision.",
        Code::LimitExceeded => {
            "There is more of something than assayd reads or does at once; the reason says of what. Remove junk referrers; what \
             is busy passes on a retry."
        }
        Code::NoMatchingRule => {
            "Add a rule whose images match this repository; where a rule does, add a statement whose registryScopes name it \
             to the trust policy of the rule's authority."
        }
        Code::PolicyInvalid => "Mend the policy: assayctl policy check names each error with its line.",
        Code::RegistryAuth => {
            "Give assayd credentials for the registry: [[registry]] username and password_file in config.toml."
        }
        Code::RegistryUnavailable => {
            "Mend the connection to the registry, or its configuration ([[registry]] in config.toml)."
        }
        Code::RequestMalformed => "Ask with a reference and its digest, e.g. registry.example/app@sha256:…",
        Code::RevocationUnknown => {
            "Let the node reach the certificate authority's revocation endpoint ([revocation] in config.toml), or bring its \
             CRL as a file into the folder revocation beside the policy."
        }
        Code::SignatureExpired => "Sign the image again, with a later expiry or none.",
        Code::SignatureInvalid => "The signature is damaged or forged: sign the image again.",
        Code::SignatureUnsupported => {
            "Sign without the critical attributes that nobody here understands, or install the plugin that does."
        }
        Code::SubjectMismatch => "The signature is for another artifact: sign this digest.",
        Code::Unsigned => "Sign this digest and push the signature to the same repository; no reload is needed.",
        Code::UntrustedSigner => {
            "If the signer is to be trusted, put its certificate authority into the trust store; otherwise do not run this \
             image."
        }
        _ => "See docs/codes.md.",
    }
}

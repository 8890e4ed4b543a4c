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
        sentences.push(match verdict.rule {
            Some(_) => "The rule is in audit mode: the image is admitted until it says mode = \"enforce\".".to_owned(),
            None => "No rule matches, and such images are audited: it is admitted until the policy says unmatched = \"deny\".".to_owned(),
        });
    }
    sentences
}

fn sentence(code: Code) -> &'static str {
    match code {
        Code::AnnotationMismatch => {
            "Sign the image again, with the annotations that the rule or its authority asks for (notation sign --user-metadata, \
             cosign sign --annotations)."
        }
        Code::AttestationMissing => {
            "Attest this digest as the rule asks, by an authority of the type cosign (cosign attest --type TYPE): signatures of \
             notation attest nothing."
        }
        Code::AttestationRefused => {
            "Make the attestation again so that it says what the rule asks for, the newest scan included, or change the \
             rule: the reason names the condition."
        }
        Code::LogEntryInvalid => {
            "Sign again with cosign and the logs of the authority's trusted root; with notation there is no log. If it was good \
             before, look for tampering."
        }
        Code::CertificateRevoked => {
            "Do not run this image until it is known why: its signer's certificate was revoked. Have it signed again."
        }
        Code::PluginRefused => "The plugin refuses the signature: its reason says why.",
        Code::PluginUnavailable => "Install the plugin, and name it in config.toml: [plugin.NAME] path = \"…\".",
        Code::SignatureTooOld => {
            "Sign the image again, with a timestamp of an authority that the trust policy names: the rule has a minimum \
             signing time."
        }
        Code::TimestampInvalid => {
            "Sign the image again, with a timestamp of an authority in the trust store, or in the trusted root of cosign's."
        }
        Code::TimestampRequired => {
            "Sign the image again with a timestamp: notation sign --timestamp-url, or cosign with a timestamp authority or a log \
             of the authority's trusted root."
        }
        Code::Canary => "Nothing: a denied canary shows that the hook works.",
        Code::CertificateExpired => {
            "Check the node's clock, then sign the image again: with notation by a certificate that is valid now, with cosign while \
             the certificate is valid, so that a log or a timestamp says so."
        }
        Code::Deadline => {
            "Try again: gathering went on, and what it found is kept. If it repeats, the registry is too slow."
        }
        Code::ClockUnsynchronised => "Set the node's clock: it is before a time that is known to have passed.",
        Code::DeniedByList => {
            "Do not run this image until it is known why: a deny-list names it, or who signed it. The reason has the list's \
             reference."
        }
        Code::DeniedByRule => "The policy denies this on purpose: use another image, or change the rule.",
        Code::IdentityMismatch => {
            "The signer is known and is not the one asked for: have the right signer sign, or add the identity to the \
             authority's trusted_identities (notation) or identities (cosign)."
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
        Code::TrustStale => {
            "Let the node reach the policy repository, or bring a copy of it (file://): assayctl sync status says what is \
             stale, and since when."
        }
        Code::Unsigned => "Sign this digest and push the signature to the same repository; no reload is needed.",
        Code::UntrustedSigner => {
            "If the signer is to be trusted, put its certificate authority into the trust store (notation), or its key or trusted \
             root into the authority (cosign); otherwise do not run this image."
        }
        _ => "See docs/codes.md.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_advice_of_its_own() {
        for code in Code::ALL {
            assert!(!sentence(code).contains("docs/codes.md"), "{code}");
        }
    }

    #[test]
    fn what_both_notation_and_cosign_can_lack_has_advice_for_both() {
        for code in [
            Code::AnnotationMismatch,
            Code::AttestationMissing,
            Code::CertificateExpired,
            Code::IdentityMismatch,
            Code::LogEntryInvalid,
            Code::TimestampInvalid,
            Code::TimestampRequired,
            Code::UntrustedSigner,
        ] {
            let sentence = sentence(code);
            let both =
                sentence.contains("cosign") && (sentence.contains("notation") || sentence.contains("trust store"));
            assert!(both, "{code}: {sentence}");
        }
    }
}

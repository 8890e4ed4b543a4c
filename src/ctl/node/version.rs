//! Which containerd it is, and what that means for image verifiers.

use std::fmt;

use assay_verify::untrusted::Untrusted;

/// Major and minor number of a release. Verifiers have never changed within one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ctl) struct Version {
    pub(in crate::ctl) major: u32,
    pub(in crate::ctl) minor: u32,
    /// As containerd says it.
    text: Untrusted,
}

/// Which pulls ask image verifiers (containerd, docs/image-verification.md and the releases' source).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ctl) enum Verifies {
    /// Before 2.0: none.
    Nothing,
    /// 2.0: those of clients that use the transfer service, such as `ctr`; not those of the kubelet.
    ClientsOnly,
    /// Since 2.1: those of the kubelet too, unless containerd falls back to local pulls.
    CriToo,
}

impl Version {
    /// Reads what `containerd --version` prints: `containerd github.com/containerd/containerd/v2 2.1.9+unknown …`.
    pub(in crate::ctl) fn parse(printed: &str) -> Option<Self> {
        let mut words = printed.split_whitespace();
        let text = (words.next() == Some("containerd")).then(|| words.nth(1)).flatten()?;
        let mut numbers = text.trim_start_matches('v').split(['.', '~', '-', '+']);
        let mut number = || numbers.next()?.parse().ok();
        Some(Self {
            major: number()?,
            minor: number()?,
            text: text.into(),
        })
    }

    pub(in crate::ctl) fn verifies(&self) -> Verifies {
        match (self.major, self.minor) {
            (0 | 1, _) => Verifies::Nothing,
            (2, 0) => Verifies::ClientsOnly,
            _ => Verifies::CriToo,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_by_its_own_words_what_a_containerd_verifies() {
        for (printed, verifies) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1",
                Verifies::Nothing,
            ),
            (
                "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6",
                Verifies::Nothing,
            ),
            (
                "containerd containerd.io v1.7.27 05044ec0a9a75232cad458027ca83437aae3f4da",
                Verifies::Nothing,
            ),
            (
                "containerd github.com/containerd/containerd/v2 v2.0.5 fb4c30d4",
                Verifies::ClientsOnly,
            ),
            (
                "containerd github.com/containerd/containerd/v2 2.1.9+unknown ",
                Verifies::CriToo,
            ),
            (
                "containerd github.com/k3s-io/containerd/v2 v2.1.5-k3s1 abc",
                Verifies::CriToo,
            ),
            (
                "containerd github.com/containerd/containerd/v2 v3.0.0 abc",
                Verifies::CriToo,
            ),
        ] {
            assert_eq!(Version::parse(printed).unwrap().verifies(), verifies, "{printed}");
        }
        for printed in [
            "",
            "containerd",
            "runc version 1.1.15",
            "containerd a b",
            "containerd a 2",
        ] {
            assert_eq!(Version::parse(printed), None, "{printed}");
        }
    }
}

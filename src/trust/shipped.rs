//! The trusted roots that assayd brings along: data with a date.

use assay_verify::policy::cosign::ShippedRoot;

/// A trusted root of `packaging/sigstore/`.
pub(crate) struct Shipped {
    /// The `trusted_root.json`.
    pub(crate) json: &'static [u8],
    /// The day on which it was the current one.
    pub(crate) date: &'static str,
}

/// The root of a name.
pub(crate) fn shipped(root: ShippedRoot) -> Shipped {
    match root {
        ShippedRoot::GitHub => Shipped {
            json: include_bytes!("../../packaging/sigstore/github.json"),
            date: "2026-10-01",
        },
        ShippedRoot::PublicGood => Shipped {
            json: include_bytes!("../../packaging/sigstore/public-good.json"),
            date: "2026-10-01",
        },
    }
}

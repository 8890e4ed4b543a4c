//! The table of cases.

use assay_integration::cosign::Series;

pub(crate) const CASES: &str = include_str!("cases.tsv");
pub(crate) const DIFFERENCES: &str = include_str!("differences.tsv");

/// One image.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The test that it belongs to.
    pub(crate) part: &'static str,
    pub(crate) id: &'static str,
    /// Which cosign signs, and verifies beside us.
    pub(crate) series: Series,
    /// The name of a key, `keyless`, `workflow`, `release`, or `-` for nobody.
    pub(crate) signer: &'static str,
    /// Services, joined by a plus sign: `v1`, `v2`, `time`; or `-`. After a colon is what they do
    /// wrong, and `other-` is the other sigstore's.
    pub(crate) services: &'static str,
    /// Where and how it is stored, or `-`.
    pub(crate) form: &'static str,
    /// What happens to it afterwards, or `-`.
    pub(crate) change: &'static str,
    /// Whom the policy asks for.
    pub(crate) authority: &'static str,
    /// `ADMIT` or `DENY code`.
    pub(crate) assayd: &'static str,
    /// Whether cosign accepts it.
    pub(crate) cosign: bool,
}

impl Case {
    pub(crate) fn parse(row: &[&'static str]) -> Self {
        let [
            part,
            id,
            series,
            signer,
            services,
            form,
            change,
            authority,
            assayd,
            cosign,
        ] = *row
        else {
            panic!("not ten columns: {row:?}")
        };
        Self {
            part,
            id,
            series: match series {
                "2" => Series::Two,
                "3" => Series::Three,
                _ => panic!("{id}: no cosign {series}"),
            },
            signer,
            services,
            form,
            change,
            authority,
            assayd,
            cosign: match cosign {
                "accepts" => true,
                "refuses" => false,
                _ => panic!("{id}: {cosign}"),
            },
        }
    }

    /// Whether one accepts what the other refuses.
    pub(crate) fn differs(&self) -> bool {
        (self.assayd == "ADMIT") != self.cosign
    }

    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.authority, self.id)
    }
}

pub(crate) fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split('\t').collect())
}

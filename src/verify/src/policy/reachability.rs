//! Rules that can never decide, because rules above them take all their images.

use std::collections::HashMap;

use super::document::Rule;
use super::pattern::Pattern;
use crate::digest::Digest;

/// What the search found.
pub(super) struct Unreachable {
    /// The position of each rule that can never decide, and of the lowest rule above that takes some of its images.
    pub(super) rules: Vec<(usize, usize)>,
    /// The first rule that was not looked at, because the search took too long.
    pub(super) unsearched: Option<usize>,
}

/// Searches for rules that can never decide.
///
/// Sound, not complete: a rule that is reported can never decide; that several patterns together happen to cover a
/// wildcard is not noticed.
pub(super) fn unreachable(rules: &[Rule], budget: usize) -> Unreachable {
    let mut above = Above {
        exact: HashMap::new(),
        wide: Vec::new(),
        remaining: budget,
    };
    let mut found = Vec::new();
    for (position, rule) in rules.iter().enumerate() {
        match above.cover(rule) {
            Ok(Some(covering)) => found.push((position, covering)),
            Ok(None) => {}
            Err(Exhausted) => {
                return Unreachable {
                    rules: found,
                    unsearched: Some(position),
                };
            }
        }
        above.push(position, rule);
    }
    Unreachable {
        rules: found,
        unsearched: None,
    }
}

/// No comparison is left.
struct Exhausted;

/// The rules above. Full names cover only themselves, so they are looked up; the rest is compared one by one.
struct Above<'a> {
    exact: HashMap<&'a Pattern, Vec<(usize, &'a Rule)>>,
    wide: Vec<(usize, &'a Rule)>,
    remaining: usize,
}

impl<'a> Above<'a> {
    fn push(&mut self, position: usize, rule: &'a Rule) {
        let images = rule.images().unwrap_or_default();
        for image in images.iter().filter(|image| image.is_exact()) {
            self.exact.entry(image).or_default().push((position, rule));
        }
        if rule.images().is_none() || !images.iter().all(Pattern::is_exact) {
            self.wide.push((position, rule));
        }
    }

    /// Whether rules above take every image of the rule, condition by condition; the lowest that is needed.
    fn cover(&mut self, rule: &Rule) -> Result<Option<usize>, Exhausted> {
        let digests: Vec<Option<&Digest>> = match rule.digests() {
            Some(digests) => digests.iter().map(Some).collect(),
            None => vec![None],
        };
        let images: Vec<Option<&Pattern>> = match rule.images() {
            Some(images) => images.iter().map(Some).collect(),
            None => vec![None],
        };
        let mut lowest = 0;
        for digest in &digests {
            for image in &images {
                match self.taker(*image, *digest)? {
                    Some(position) => lowest = lowest.max(position),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(lowest))
    }

    /// The first rule that takes all images of a pattern, or any image, with a digest, or with any.
    fn taker(&mut self, image: Option<&Pattern>, digest: Option<&Digest>) -> Result<Option<usize>, Exhausted> {
        let same = image
            .and_then(|image| self.exact.get(image))
            .map_or(&[][..], Vec::as_slice);
        let same = same
            .iter()
            .find(|(_, rule)| takes_digest(rule, digest))
            .map(|(position, _)| *position);
        for (position, rule) in &self.wide {
            self.remaining = self
                .remaining
                .checked_sub(rule.images().map_or(1, <[Pattern]>::len))
                .ok_or(Exhausted)?;
            if takes_digest(rule, digest) && takes_image(rule, image) {
                return Ok(Some(same.map_or(*position, |same| same.min(*position))));
            }
        }
        Ok(same)
    }
}

fn takes_digest(rule: &Rule, digest: Option<&Digest>) -> bool {
    match (rule.digests(), digest) {
        (None, _) => true,
        (Some(digests), Some(digest)) => digests.contains(digest),
        (Some(_), None) => false,
    }
}

fn takes_image(rule: &Rule, image: Option<&Pattern>) -> bool {
    match (rule.images(), image) {
        (None, _) => true,
        (Some(patterns), Some(image)) => patterns.iter().any(|pattern| pattern.covers(image)),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    #[test]
    fn stops_when_the_comparisons_are_used_up_and_says_where() {
        let rule = |number| {
            format!(
                "[[rule]]\nname=\"{number}\"\nimages=[\"a.example/{number}/*\", \"b.example/{number}/*\"]\ndeny=\"x\"\n"
            )
        };
        let text = format!(
            "version = 1\nunmatched = \"deny\"\n{}",
            (0..5).map(rule).collect::<String>()
        );
        let policy = Policy::parse("p", &text).policy.unwrap();
        assert_eq!(unreachable(policy.rules(), 100).unsearched, None);
        // Rule 1 is compared with two patterns, rule 2 with four, and rule 3 would be with six.
        assert_eq!(unreachable(policy.rules(), 10).unsearched, Some(3));
    }
}

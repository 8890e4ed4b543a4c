//! The commands of the manual's five minutes, read from the page that users read.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// The blocks of shell commands under a heading that are still to be followed.
pub(crate) struct Commands(VecDeque<String>);

impl Commands {
    /// Those of a page, under the heading `## …` of this name.
    pub(crate) fn of(page: &Path, heading: &str) -> Result<Self> {
        let text = fs::read_to_string(page).with_context(|| format!("{} cannot be read", page.display()))?;
        let section = text
            .split("\n## ")
            .find_map(|section| section.strip_prefix(heading)?.strip_prefix('\n'));
        let section = section.with_context(|| format!("{} has no section {heading:?}", page.display()))?;
        let mut blocks = VecDeque::new();
        let mut open: Option<String> = None;
        for line in section.lines().map(str::trim) {
            match (&mut open, line) {
                (None, "```sh") => open = Some(String::new()),
                (Some(_), "```") => blocks.extend(open.take()),
                (Some(block), line) => {
                    block.push_str(line);
                    block.push('\n');
                }
                (None, _) => {}
            }
        }
        ensure!(open.is_none(), "a block of commands under {heading:?} does not end");
        Ok(Self(blocks))
    }

    /// The next block, which has to begin so: a page that changed is followed by somebody who has read it.
    pub(crate) fn next(&mut self, begins: &str) -> Result<String> {
        let block = self.0.pop_front().context("the page has no more commands")?;
        ensure!(
            block.starts_with(begins),
            "the page's next commands begin with {block:?} and not with {begins:?}"
        );
        Ok(block)
    }

    /// Every command has been followed.
    pub(crate) fn end(&self) -> Result<()> {
        ensure!(self.0.is_empty(), "commands nobody followed: {:?}", self.0);
        Ok(())
    }
}

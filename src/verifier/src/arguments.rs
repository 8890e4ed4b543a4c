//! The command line, as containerd's `bindir` image verifier gives it:
//! `-name REF -digest ALG:HEX -stdin-media-type TYPE`, in the style of Go's flag package.

use std::ffi::OsString;

use crate::verdict::{Code, Denied};

/// What containerd asks about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The image's name: normalised by CRI, as typed by `ctr`.
    pub(crate) name: String,
    /// The digest that will be unpacked.
    pub(crate) digest: Option<String>,
    /// What standard input holds.
    pub(crate) stdin_media_type: Option<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A verdict.
    Verify(Arguments),
    /// A person typed `--help`.
    Help,
    /// A person typed `--version`.
    Version,
}

/// Reads the arguments that follow the program's name.
///
/// One dash or two, the value attached by `=` or in the next argument. Flags that a later containerd may add are passed
/// over, with or without a value. A flag given twice with different values is malformed: containerd never does that, and
/// picking one would be guessing which image is meant.
///
/// `--help` and `--version` count only when they stand alone, so that they too may become flags of containerd's.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Denied> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let [only] = arguments.as_slice() {
        match only.to_str() {
            Some("-h" | "-help" | "--help") => return Ok(Command::Help),
            Some("-V" | "-version" | "--version") => return Ok(Command::Version),
            _ => {}
        }
    }

    let mut name = None;
    let mut digest = None;
    let mut stdin_media_type = None;
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        // Not UTF-8: no flag of ours, nor the value of one.
        let Some(argument) = argument.to_str() else { continue };
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            continue;
        };
        let (flag, attached) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (flag, None),
        };
        let (flag, slot) = match flag {
            "name" => ("-name", &mut name),
            "digest" => ("-digest", &mut digest),
            "stdin-media-type" => ("-stdin-media-type", &mut stdin_media_type),
            // Its value, if it has one in the next argument, does not start with a dash and is passed over too.
            _ => continue,
        };
        let value = match attached {
            Some(value) => value,
            None => rest
                .next()
                .ok_or_else(|| malformed(format!("{flag} has no value")))?
                .into_string()
                .map_err(|_| malformed(format!("the value of {flag} is not UTF-8")))?,
        };
        if slot.as_ref().is_some_and(|earlier| *earlier != value) {
            return Err(malformed(format!("{flag} is given twice, with different values")));
        }
        *slot = Some(value);
    }

    let name = name
        .filter(|name| !name.is_empty())
        .ok_or_else(|| malformed("-name is missing"))?;
    let digest = digest.filter(|digest| !digest.is_empty());
    Ok(Command::Verify(Arguments {
        name,
        digest,
        stdin_media_type,
    }))
}

fn malformed(reason: impl Into<String>) -> Denied {
    Denied::new(Code::RequestMalformed, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(arguments: &[&str]) -> Option<(String, Option<String>, Option<String>)> {
        match parse(arguments.iter().map(OsString::from)) {
            Ok(Command::Verify(read)) => Some((read.name, read.digest, read.stdin_media_type)),
            _ => None,
        }
    }

    fn read(
        name: &str,
        digest: Option<&str>,
        media_type: Option<&str>,
    ) -> Option<(String, Option<String>, Option<String>)> {
        Some((name.into(), digest.map(Into::into), media_type.map(Into::into)))
    }

    #[test]
    fn reads_every_form_of_the_three_flags() {
        let expected = read("a/b:1", Some("sha256:00"), Some("t"));
        for arguments in [
            &["-name", "a/b:1", "-digest", "sha256:00", "-stdin-media-type", "t"][..],
            &["--name", "a/b:1", "--digest", "sha256:00", "--stdin-media-type", "t"],
            &["-name=a/b:1", "--digest=sha256:00", "-stdin-media-type=t"],
            &["-digest=sha256:00", "-stdin-media-type", "t", "-name", "a/b:1"],
            &[
                "-name",
                "a/b:1",
                "-name=a/b:1",
                "-digest",
                "sha256:00",
                "-stdin-media-type",
                "t",
            ],
        ] {
            assert_eq!(verify(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn passes_over_flags_it_does_not_know() {
        for arguments in [
            &["-operation", "pull", "-name", "a", "-digest", "d"][..],
            &["-verbose", "-name", "a", "--operation=run", "-digest", "d", "stray"],
            &["-name", "a", "-digest", "d", "-help"],
            &["-version", "2", "-name", "a", "-digest", "d", "--"],
            &["-name", "a", "-names", "b", "-digest", "d", "-"],
        ] {
            assert_eq!(verify(arguments), read("a", Some("d"), None), "{arguments:?}");
        }
    }

    #[test]
    fn refuses_what_does_not_say_which_image_is_meant() {
        for arguments in [
            &[][..],
            &["-digest", "d"],
            &["-name"],
            &["-name="],
            &["-name", "a", "-name", "b"],
            &["-name", "a", "-digest", "d", "-digest=e"],
        ] {
            assert!(parse(arguments.iter().map(OsString::from)).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn knows_a_person_by_the_lone_flag() {
        for (argument, command) in [
            ("--help", Command::Help),
            ("-h", Command::Help),
            ("-help", Command::Help),
            ("--version", Command::Version),
        ] {
            assert_eq!(parse([OsString::from(argument)]).ok(), Some(command), "{argument}");
        }
    }
}

//! `assayctl doctor --fix`: a drop-in of containerd's that mends what a drop-in can.
//!
//! A drop-in overrides single values. It takes nothing out of lists (`disabled_plugins`) nor out of tables
//! (`registry.mirrors`), so findings about those carry no settings and are left. Nothing is changed before containerd itself has said
//! that the new configuration is the old one with exactly these values, and it is asked again afterwards.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::limits::MAX_CONTAINERD_CONFIG;
use serde_json::{Value as Json, json};
use similar::TextDiff;
use toml::{Table, Value};

use super::distribution::Distribution;
use super::setting::Setting;
use super::{Examination, Report, look};
use crate::ctl::node::containerd::Containerd;
use crate::ctl::node::hook_files::exchangeable_by_others;
use crate::ctl::node::imports::{self, File, Pattern};
use crate::ctl::node::place;
use crate::ctl::publish::folder::{make_folder, read};
use crate::ctl::{Cli, Failure, Output};

/// Of two drop-ins that say different things, the later name counts.
const DROP_IN: &str = "99-assayd.toml";
const MARK: &str = "# Written by `assayctl doctor --fix`.";
const HEADER: &str = "# Written by `assayctl doctor --fix`. With other values than these, containerd unpacks images that assayd has not\n\
                      # judged, or denies those that it admits. Without this file, config.toml alone counts.\n\n";

/// The folder of drop-ins, beside config.toml, where there is none yet: the one that containerd 2.2 and later propose.
const FOLDER: &str = "conf.d";

/// A file before and after.
#[derive(Debug)]
struct Change {
    path: PathBuf,
    old: Option<String>,
    new: String,
}

impl Change {
    fn diff(&self) -> String {
        let path = self.path.display().to_string();
        let before = if self.old.is_some() { path.as_str() } else { "/dev/null" };
        let diff = TextDiff::from_lines(self.old.as_deref().unwrap_or_default(), &self.new);
        diff.unified_diff().context_radius(3).header(before, &path).to_string()
    }
}

/// What would be changed.
#[derive(Debug)]
struct Plan {
    drop_in: Change,
    /// The line in config.toml that has the drop-in read, where it is not there.
    import: Option<Change>,
    settings: Vec<Setting>,
}

impl Plan {
    /// In the order in which they are put in place: what is imported is there before it is imported.
    fn changes(&self) -> impl Iterator<Item = &Change> {
        std::iter::once(&self.drop_in).chain(&self.import)
    }
}

/// What came of it.
enum Done {
    /// There is nothing that a drop-in could mend.
    Nothing,
    /// It was shown, and this is why no more was done.
    Shown(Plan, String),
    /// It is in place; what was there before lies here.
    Written(Plan, Vec<PathBuf>),
    /// This is in the way.
    Refused(String),
}

pub(super) async fn run(cli: &Cli, asked: &Examination) -> Result<u8, Failure> {
    let socket = cli.socket.as_deref();
    let (before, containerd) = look(socket, &asked.doctor, false).await;
    let containerd = containerd.map_err(|error| Failure::Daemon(error.to_string()))?;
    if cli.output == Output::Human {
        before.print();
        println!();
    }
    let done = mend(cli, asked, &containerd, &before).await?;
    let after = match done {
        Done::Written(..) => look(socket, &asked.doctor, false).await.0,
        _ => before,
    };
    match cli.output {
        Output::Json => println!("{}", done.to_json(&after)),
        Output::Human => done.print(&after),
    }
    Ok(after.exit_code())
}

async fn mend(cli: &Cli, asked: &Examination, containerd: &Containerd, found: &Report) -> Result<Done, Failure> {
    let settings: Vec<_> = found
        .findings
        .iter()
        .flat_map(|finding| finding.settings.iter().cloned())
        .collect();
    if settings.is_empty() {
        return Ok(Done::Nothing);
    }
    let files = match imports::load(&containerd.config_file) {
        Ok(files) => files,
        Err(error) => return Ok(Done::Refused(error.to_string())),
    };
    let plan = match plan(&files, settings, Distribution::of(Path::new("/"))) {
        Ok(plan) => plan,
        Err(why) => return Ok(Done::Refused(why)),
    };
    let meant = match meant(containerd, &plan.settings).await {
        Ok(meant) => meant,
        Err(why) => return Ok(Done::Refused(why)),
    };
    if let Err(why) = try_out(containerd, &files, &plan, &meant).await {
        return Ok(Done::Refused(why));
    }
    if cli.output == Output::Human {
        for change in plan.changes() {
            print!("{}", change.diff());
        }
        println!();
    }
    if let Some(why) = not_told(cli, asked, &plan)? {
        return Ok(Done::Shown(plan, why));
    }
    let mut written = Written::default();
    let put = written.all(&plan);
    let took = match put {
        Ok(()) => effect(containerd, &containerd.config_file, &meant).await,
        Err(why) => Err(why),
    };
    if let Err(why) = took {
        return Err(Failure::Input(match written.undo() {
            Ok(()) => format!("{why}; everything is as it was before"),
            Err(undo) => format!("{why}; and it could not be undone: {undo}"),
        }));
    }
    let copies = written.copies();
    Ok(Done::Written(plan, copies))
}

/// What to write, and where.
fn plan(files: &[File], settings: Vec<Setting>, distribution: Distribution) -> Result<Plan, String> {
    let (main, imported) = files.split_first().ok_or("containerd has no configuration file")?;
    let shown = main.path.display();
    let (owns_drop_ins, owns_config) = distribution.owns();
    let instead = |what: &str| {
        let how = distribution.instead().unwrap_or_default();
        Err(format!("{what} here. {how}\n{}", Setting::lines(&settings)))
    };
    if owns_drop_ins {
        return instead("the distribution writes all of containerd's configuration");
    }
    let patterns = main.imports().unwrap_or_default();
    let takes = |import: &&str| {
        let pattern = Pattern::of(&imports::absolute(&main.path, import))?;
        // One that takes in everything would take in a copy of the drop-in, too.
        (import.ends_with(".toml") && pattern.takes(DROP_IN)).then_some(pattern.folder)
    };
    let (folder, import) = match patterns.iter().rev().find_map(takes) {
        Some(folder) => (folder, None),
        None if owns_config => return instead("the distribution writes config.toml, which imports no drop-ins,"),
        None => {
            let folder = main.path.parent().unwrap_or(Path::new("/")).join(FOLDER);
            let pattern = format!("{}/*.toml", folder.display());
            let by_hand =
                || format!("{shown} imports no folder of drop-ins: add {pattern:?} to its imports, and run this again");
            if !patterns.is_empty() {
                return Err(by_hand());
            }
            let new = with_import(main, &pattern).ok_or_else(by_hand)?;
            let change = Change {
                path: main.path.clone(),
                old: Some(main.text.clone()),
                new,
            };
            (folder, Some(change))
        }
    };
    let path = folder.join(DROP_IN);
    let failed = |why: String| format!("{}: {why}", path.display());
    let old = read(&path, MAX_CONTAINERD_CONFIG).map_err(|error| failed(error.to_string()))?;
    let old = old.map(String::from_utf8).transpose();
    let old = old.map_err(|error| failed(error.to_string()))?;
    let mut table = match &old {
        None => Table::new(),
        Some(text) if text.starts_with(MARK) => {
            toml::from_str(text).map_err(|error| failed(error.message().to_owned()))?
        }
        Some(_) => return Err(failed("it is there, and assayctl did not write it".to_owned())),
    };
    // containerd 2.1 takes the last version that is named for that of all files, and reads the others wrongly.
    let versions = std::iter::once(main).chain(imported).filter(|file| file.path != path);
    let version = versions.map(File::version).rfind(|version| *version >= 2).unwrap_or(3);
    table.insert("version".to_owned(), Value::Integer(version));
    for setting in &settings {
        setting.set_in_file(&mut table, version);
    }
    let new = toml::to_string(&table).map_err(|error| failed(error.to_string()))?;
    Ok(Plan {
        drop_in: Change {
            path,
            old,
            new: format!("{HEADER}{new}"),
        },
        import,
        settings,
    })
}

/// The main file with one line more, or another one; none where that is not certain to change nothing else.
fn with_import(main: &File, pattern: &str) -> Option<String> {
    let line = format!("imports = [{pattern:?}]\n");
    let key = |text: &str| text.split_once('=').map(|(key, _)| key.trim().to_owned());
    let lines: Vec<&str> = main.text.split_inclusive('\n').collect();
    // What comes after the first table belongs to it.
    let top = lines.iter().take_while(|line| !line.trim_start().starts_with('['));
    let find = |name: &str| top.clone().position(|line| key(line).as_deref() == Some(name));
    let (at, instead) = match (find("imports"), find("version")) {
        (Some(at), _) => (at, 1),
        (None, Some(at)) => (at + 1, 0),
        (None, None) => (0, 0),
    };
    let (before, after) = lines.split_at_checked(at)?;
    let after = after.get(instead..)?;
    let mut new = before.concat();
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    new.push_str(&line);
    new.push_str(&after.concat());
    let mut expected = main.table.clone();
    expected.insert("imports".to_owned(), Value::Array(vec![Value::from(pattern)]));
    (toml::from_str::<Table>(&new).ok()? == expected).then_some(new)
}

/// What containerd is to make of the configuration: what it makes of it now, with these values.
async fn meant(containerd: &Containerd, settings: &[Setting]) -> Result<Table, String> {
    let mut meant = dump(containerd, &containerd.config_file).await?;
    for setting in settings {
        setting.set_in_dump(&mut meant);
    }
    Ok(meant)
}

/// What containerd prints, without the names of the files that it comes from.
async fn dump(containerd: &Containerd, config: &Path) -> Result<Table, String> {
    let dumped = containerd.dump(config).await.map_err(|error| error.to_string())?;
    let mut table: Table = toml::from_str(&dumped).map_err(|error| error.message().to_owned())?;
    table.remove("imports");
    Ok(table)
}

/// Has containerd say what it makes of a configuration, and compares.
async fn effect(containerd: &Containerd, config: &Path, meant: &Table) -> Result<(), String> {
    let is = dump(containerd, config).await?;
    let mut differing = Vec::new();
    differences(meant, &is, "", &mut differing);
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "with this drop-in containerd's configuration would not be what is meant. It differs in {}: another file that it imports \
         may say so, or the files are of different versions",
        differing.join(", ")
    ))
}

/// The keys in which two tables differ. Never their values: there are passwords among them.
fn differences(meant: &Table, is: &Table, path: &str, differing: &mut Vec<String>) {
    let keys: std::collections::BTreeSet<_> = meant.keys().chain(is.keys()).collect();
    for key in keys {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (meant.get(key), is.get(key)) {
            (Some(Value::Table(meant)), Some(Value::Table(is))) => differences(meant, is, &path, differing),
            (meant, is) if meant == is => {}
            _ => differing.push(path),
        }
    }
}

/// The same with copies of the files elsewhere, before anything is changed.
async fn try_out(containerd: &Containerd, files: &[File], plan: &Plan, meant: &Table) -> Result<(), String> {
    let failed = |error: io::Error| format!("a copy to try it out cannot be made: {error}");
    // Nobody else may read it: a configuration may have passwords in it.
    let folder = tempfile::tempdir().map_err(failed)?;
    let copy = folder.path().join(DROP_IN);
    fs::write(&copy, &plan.drop_in.new).map_err(failed)?;
    let main = files.first().ok_or("containerd has no configuration file")?;
    let mut table = match &plan.import {
        Some(import) => toml::from_str(&import.new).map_err(|error| error.message().to_owned())?,
        None => main.table.clone(),
    };
    // Paths of the copy are relative to its own folder, and the drop-in is not yet in its own.
    let mut paths = Vec::new();
    let imports = table
        .get("imports")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for import in imports.iter().filter_map(Value::as_str) {
        let mut found = imports::resolve(&main.path, import).map_err(|error| format!("imports {import:?}: {error}"))?;
        let pattern = Pattern::of(&imports::absolute(&main.path, import));
        let takes =
            pattern.is_some_and(|pattern| pattern.folder.join(DROP_IN) == plan.drop_in.path && pattern.takes(DROP_IN));
        if takes && !found.contains(&plan.drop_in.path) {
            found.push(plan.drop_in.path.clone());
            found.sort();
        }
        for path in found {
            let path = if path == plan.drop_in.path { copy.clone() } else { path };
            paths.push(Value::from(path.to_string_lossy().into_owned()));
        }
    }
    table.insert("imports".to_owned(), Value::Array(paths));
    let config = folder.path().join("config.toml");
    let text = toml::to_string(&table).map_err(|error| error.to_string())?;
    fs::write(&config, text).map_err(failed)?;
    effect(containerd, &config, meant).await
}

/// Why it is only shown: nobody said that it shall be done. None where somebody did.
fn not_told(cli: &Cli, asked: &Examination, plan: &Plan) -> Result<Option<String>, Failure> {
    if let (Some(import), false) = (&plan.import, asked.edit_config) {
        let path = import.path.display();
        if asked.yes {
            return Ok(Some(format!(
                "the drop-in is read only with the new line in {path}: --edit-config writes that, too, or add it and run this again"
            )));
        }
    }
    if asked.yes {
        return Ok(None);
    }
    if cli.output == Output::Json || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let edit = if plan.import.is_some() { " --edit-config" } else { "" };
        return Ok(Some(format!("--yes{edit} puts it in place")));
    }
    let files: Vec<_> = plan.changes().map(|change| change.path.display().to_string()).collect();
    print!("Write {}? [y/N] ", files.join(" and "));
    let mut answer = String::new();
    let read = io::stdout().flush().and_then(|()| io::stdin().read_line(&mut answer));
    read.map_err(|error| Failure::Input(format!("no answer can be read: {error}")))?;
    let said = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Ok((!said).then(|| "you did not say yes".to_owned()))
}

/// What was put in place so far, and how it is taken back.
#[derive(Default)]
struct Written {
    files: Vec<Before>,
}

struct Before {
    path: PathBuf,
    old: Option<String>,
    /// A copy of what was there.
    copy: Option<PathBuf>,
}

impl Written {
    fn all(&mut self, plan: &Plan) -> Result<(), String> {
        for change in plan.changes() {
            self.one(change)
                .map_err(|error| format!("{}: {error}", change.path.display()))?;
        }
        Ok(())
    }

    fn one(&mut self, change: &Change) -> io::Result<()> {
        // A configuration is often a link to where it is kept.
        let path = match fs::canonicalize(&change.path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => change.path.clone(),
            Err(error) => return Err(error),
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        make_folder(folder)?;
        if let Some(fault) = exchangeable_by_others(folder) {
            return Err(io::Error::other(format!(
                "containerd runs as root what it says, and {fault}"
            )));
        }
        let copy = match &change.old {
            None => None,
            Some(old) => {
                let time = Timestamp::now().to_string().replace(':', "-");
                let mut name = path.clone().into_os_string();
                name.push(format!(".before-assayctl-{time}"));
                place::put(Path::new(&name), old.as_bytes(), 0o600)?;
                Some(PathBuf::from(name))
            }
        };
        self.files.push(Before {
            path: path.clone(),
            old: change.old.clone(),
            copy,
        });
        place::put(&path, change.new.as_bytes(), 0o644)
    }

    /// Takes all of it back, the last one first.
    fn undo(self) -> Result<(), String> {
        for before in self.files.into_iter().rev() {
            let failed = |error: io::Error| format!("{}: {error}", before.path.display());
            match &before.old {
                Some(old) => place::put(&before.path, old.as_bytes(), 0o644).map_err(failed)?,
                None => drop(place::remove(&before.path).map_err(failed)?),
            }
            if let Some(copy) = &before.copy {
                place::remove(copy).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn copies(self) -> Vec<PathBuf> {
        self.files.into_iter().filter_map(|before| before.copy).collect()
    }
}

impl Done {
    fn to_json(&self, after: &Report) -> Json {
        let changes = |plan: &Plan| {
            let change = |change: &Change| json!({ "path": change.path.display().to_string(), "diff": change.diff() });
            plan.changes().map(change).collect::<Vec<_>>()
        };
        let (written, changes, copies, why) = match self {
            Self::Nothing => (false, vec![], vec![], None),
            Self::Refused(why) => (false, vec![], vec![], Some(why)),
            Self::Shown(plan, why) => (false, changes(plan), vec![], Some(why)),
            Self::Written(plan, copies) => {
                let copies = copies.iter().map(|copy| copy.display().to_string()).collect();
                (true, changes(plan), copies, None)
            }
        };
        json!({
            "fix": { "written": written, "changes": changes, "copies": copies, "why_not": why },
            "left": after.to_json(),
        })
    }

    fn print(&self, after: &Report) {
        match self {
            Self::Nothing if after.findings.is_empty() => println!("Nothing has to be mended."),
            Self::Nothing => println!("Nothing of this can be mended by a drop-in of containerd's."),
            Self::Refused(why) | Self::Shown(_, why) => println!("Nothing is changed: {why}"),
            Self::Written(plan, copies) => {
                for change in plan.changes() {
                    println!("wrote {}", change.path.display());
                }
                for copy in copies {
                    println!("what was there before is in {}", copy.display());
                }
                println!(
                    "containerd reads it when it is restarted: systemctl restart containerd, then assayctl doctor"
                );
                if !after.findings.is_empty() {
                    println!("What is left then:\n");
                    after.print();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::node::effective::{CRI_IMAGES, VERIFIER_PLUGIN};

    struct Node(tempfile::TempDir);

    impl Node {
        fn new(files: &[(&str, &str)]) -> Self {
            let node = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                let path = node.path(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            node
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn plan(&self, distribution: Distribution) -> Result<Plan, String> {
            let settings = vec![
                Setting::new(CRI_IMAGES, "discard_unpacked_layers", false),
                Setting::new(VERIFIER_PLUGIN, "max_verifiers", 12),
            ];
            plan(
                &imports::load(&self.path("config.toml")).unwrap(),
                settings,
                distribution,
            )
        }
    }

    const IMPORTS: &str = "version = 3\nimports = ['conf.d/*.toml']\n";

    #[test]
    fn a_folder_that_is_imported_gets_the_drop_in_and_config_toml_stays() {
        let node = Node::new(&[("config.toml", IMPORTS)]);
        let plan = node.plan(Distribution::Other).unwrap();
        assert!(plan.import.is_none());
        assert_eq!(plan.drop_in.path, node.path("conf.d/99-assayd.toml"));
        let table: Table = toml::from_str(&plan.drop_in.new).unwrap();
        let expected = "version = 3\n[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = false\n\
                        [plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 12\n";
        assert_eq!(table, toml::from_str(expected).unwrap());
        let diff = plan.drop_in.diff();
        assert!(
            diff.starts_with("--- /dev/null\n+++ ") && diff.contains("+discard_unpacked_layers = false\n"),
            "{diff}"
        );
    }

    #[test]
    fn a_drop_in_has_the_version_that_is_named_last() {
        for (main, other, version) in [
            ("version = 2\nimports = ['conf.d/*.toml']\n", "", 2),
            (IMPORTS, "version = 2\n", 2),
            ("version = 2\nimports = ['conf.d/*.toml']\n", "version = 3\n", 3),
            ("imports = ['conf.d/*.toml']\n", "", 3),
            ("version = 4\nimports = ['conf.d/*.toml']\n", "", 4),
        ] {
            let node = Node::new(&[("config.toml", main), ("conf.d/10-other.toml", other)]);
            let plan = node.plan(Distribution::Other).unwrap();
            let table: Table = toml::from_str(&plan.drop_in.new).unwrap();
            assert_eq!(table["version"].as_integer(), Some(version), "{main}{other}");
        }
    }

    #[test]
    fn config_toml_gets_one_line_where_it_imports_nothing() {
        let table = "\n[plugins.'x']\n  imports = ['not these']\n  version = 9\n";
        for (main, line) in [
            (format!("# ours\nversion = 3\nroot = '/r'\n{table}"), 2),
            (format!("root = '/r'\n{table}"), 0),
            (format!("version = 3\nimports = []\nroot = '/r'\n{table}"), 1),
            ("version = 3".to_owned(), 1),
            (String::new(), 0),
        ] {
            let node = Node::new(&[("config.toml", &main)]);
            let plan = node.plan(Distribution::Other).unwrap();
            let new = plan.import.unwrap().new;
            let expected = format!("imports = [\"{}/*.toml\"]", node.path("conf.d").display());
            assert_eq!(new.lines().nth(line), Some(expected.as_str()), "{new}");
            assert!(new.lines().count() <= main.lines().count() + 1, "{new}");
        }
    }

    #[test]
    fn what_would_not_be_certain_is_refused_with_what_to_do() {
        let multiline = "version = 3\nimports = [\n  'one.toml',\n]\n";
        for (files, distribution, words) in [
            (
                &[("config.toml", multiline), ("one.toml", "")][..],
                Distribution::Other,
                "add \"",
            ),
            (
                &[("config.toml", IMPORTS), ("conf.d/99-assayd.toml", "version = 3\n")],
                Distribution::Other,
                "assayctl did not write it",
            ),
            (
                &[("config.toml", "version = 3\nimports = [\n]\n")],
                Distribution::Other,
                "add \"",
            ),
            (
                &[("config.toml", "version = 3\n")],
                Distribution::K3s,
                "config-v3.toml.tmpl",
            ),
            (
                &[("config.toml", "version = 3\n")],
                Distribution::Kind,
                "containerdConfigPatches",
            ),
            (&[("config.toml", IMPORTS)], Distribution::Eks, "NodeConfig"),
            (
                &[("config.toml", IMPORTS)],
                Distribution::Talos,
                "20-customization.part",
            ),
        ] {
            let said = Node::new(files).plan(distribution).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
        let node = Node::new(&[("config.toml", IMPORTS)]);
        assert!(node.plan(Distribution::K3s).unwrap().import.is_none());
    }

    #[test]
    fn what_an_earlier_drop_in_of_its_own_mends_stays_mended() {
        let before = format!("{HEADER}version = 2\n[plugins.'{CRI_IMAGES}']\nuse_local_image_pull = false\n");
        let node = Node::new(&[("config.toml", IMPORTS), ("conf.d/99-assayd.toml", &before)]);
        let plan = node.plan(Distribution::Other).unwrap();
        let table: Table = toml::from_str(&plan.drop_in.new).unwrap();
        assert_eq!(table["version"].as_integer(), Some(3));
        let images = table["plugins"][CRI_IMAGES].as_table().unwrap();
        assert_eq!(
            images.keys().collect::<Vec<_>>(),
            ["discard_unpacked_layers", "use_local_image_pull"]
        );
    }

    #[test]
    fn differences_are_keys_without_values() {
        let table = |text: &str| toml::from_str::<Table>(text).unwrap();
        let mut differing = Vec::new();
        let (meant, is) = (
            "a = 1\n[b.c]\nd = 'secret'\ne = 1\n",
            "[b.c]\nd = 'other'\ne = 1\nf = 2\n",
        );
        differences(&table(meant), &table(is), "", &mut differing);
        assert_eq!(differing, ["a", "b.c.d", "b.c.f"]);
    }

    #[test]
    fn what_was_written_is_taken_back_whole() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let node = Node::new(&[("config.toml", "version = 3\n")]);
        let plan = node.plan(Distribution::Other).unwrap();
        let mut written = Written::default();
        written.all(&plan).unwrap();
        assert_eq!(fs::read_to_string(&plan.drop_in.path).unwrap(), plan.drop_in.new);
        assert_ne!(fs::read_to_string(node.path("config.toml")).unwrap(), "version = 3\n");
        assert_eq!(fs::read_dir(node.0.path()).unwrap().count(), 3);
        written.undo().unwrap();
        assert!(!plan.drop_in.path.exists());
        assert_eq!(fs::read_to_string(node.path("config.toml")).unwrap(), "version = 3\n");
        assert_eq!(fs::read_dir(node.0.path()).unwrap().count(), 2);
    }
}

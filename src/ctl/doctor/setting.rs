//! A setting of one of containerd's plugins: what the doctor prints as the line to write is what `--fix` writes.

use std::fmt::Write as _;

use toml::{Table, Value};

use crate::ctl::node::effective::{CRI_IMAGES, CRI_SERVICE};

/// Settings of CRI's images that version 2 of the format has in `[plugins.'io.containerd.grpc.v1.cri']`, and in a table below it.
const OLD_NAMES: [(&str, Option<&str>); 4] = [
    ("disable_snapshot_annotations", Some("containerd")),
    ("discard_unpacked_layers", Some("containerd")),
    ("image_pull_with_sync_fs", None),
    ("max_concurrent_downloads", None),
];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    plugin: &'static str,
    key: &'static str,
    value: Value,
}

impl Setting {
    pub(super) fn new(plugin: &'static str, key: &'static str, value: impl Into<Value>) -> Self {
        Self {
            plugin,
            key,
            value: value.into(),
        }
    }

    /// Its lines in containerd's configuration.
    pub(super) fn lines(settings: &[Self]) -> String {
        let mut lines = String::new();
        let mut table = "";
        for setting in settings {
            if setting.plugin != table {
                // Writing to a String cannot fail.
                let _ = writeln!(lines, "[plugins.'{}']", setting.plugin);
                table = setting.plugin;
            }
            let _ = writeln!(lines, "  {} = {}", setting.key, setting.value);
        }
        lines.truncate(lines.trim_end().len());
        lines
    }

    /// Sets it in what containerd prints of itself.
    pub(super) fn set_in_dump(&self, dump: &mut Table) {
        set(dump, &["plugins", self.plugin], self.key, &self.value);
    }

    /// Sets it in a file of this version of the format.
    ///
    /// containerd translates the names of version 2. Where both names are there, it depends on the rest of the configuration which
    /// counts; so both are written.
    pub(super) fn set_in_file(&self, file: &mut Table, version: i64) {
        self.set_in_dump(file);
        let old = OLD_NAMES.iter().find(|(key, _)| *key == self.key);
        if let (2, CRI_IMAGES, Some((_, below))) = (version, self.plugin, old) {
            let path: Vec<_> = ["plugins", CRI_SERVICE].into_iter().chain(*below).collect();
            set(file, &path, self.key, &self.value);
        }
    }
}

/// Sets a value in a table below tables, which are made where they are not there.
fn set(table: &mut Table, path: &[&str], key: &str, value: &Value) {
    let Some((first, rest)) = path.split_first() else {
        table.insert(key.to_owned(), value.clone());
        return;
    };
    let below = table.entry(*first).or_insert_with(|| Value::Table(Table::new()));
    if !below.is_table() {
        *below = Value::Table(Table::new());
    }
    if let Value::Table(below) = below {
        set(below, rest, key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_one_plugin_stand_under_one_heading() {
        let settings = [
            Setting::new("a", "x", true),
            Setting::new("a", "y", "text"),
            Setting::new("b", "z", 3),
        ];
        assert_eq!(
            Setting::lines(&settings),
            "[plugins.'a']\n  x = true\n  y = \"text\"\n[plugins.'b']\n  z = 3"
        );
    }

    #[test]
    fn in_a_file_of_version_2_both_names_are_set() {
        let set = |version| {
            let mut file = Table::new();
            for key in [
                "discard_unpacked_layers",
                "max_concurrent_downloads",
                "use_local_image_pull",
            ] {
                Setting::new(CRI_IMAGES, key, 1).set_in_file(&mut file, version);
            }
            file
        };
        let new = "[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = 1\nmax_concurrent_downloads = 1\n\
                   use_local_image_pull = 1\n";
        let old = "[plugins.'io.containerd.grpc.v1.cri']\nmax_concurrent_downloads = 1\n\
                   [plugins.'io.containerd.grpc.v1.cri'.containerd]\ndiscard_unpacked_layers = 1\n";
        assert_eq!(set(3), toml::from_str(new).unwrap());
        assert_eq!(set(2), toml::from_str(&format!("{new}{old}")).unwrap());
    }
}

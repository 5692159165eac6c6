//! `coco node config`: a node's settings, without starting it.

use std::path::{Path, PathBuf};

use coco_node::NodeConfig;
use serde_json::json;
use toml::Value;

use crate::{
    codes::Code,
    fault::Fault,
    files,
    output::{Output, Table},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check a node's configuration as its start would
    #[command(after_help = "Example:\n  coco node config check --config node.toml")]
    Check(FileArgs),
    /// Show the settings that a node would start with
    #[command(
        after_help = "Examples:\n  coco node config show --config node.toml\n  coco node config show --config node.toml --origin"
    )]
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Say where each comes from
    #[arg(long)]
    origin: bool,
}

/// Where a setting comes from. Nothing else sets one: neither variables nor flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    File,
    Default,
}

/// A setting by its dotted name.
#[derive(Clone, Debug, PartialEq)]
struct Setting {
    name: String,
    value: Value,
    origin: Origin,
}

pub(super) fn run(command: &ConfigCommand, output: Output) -> Result<(), Fault> {
    match command {
        ConfigCommand::Check(arguments) => {
            let settings = read(&arguments.config)?;
            let told = settings.iter().filter(|one| one.origin == Origin::File).count();
            let all = settings.len();
            let details = json!({ "file": arguments.config, "settings": all, "in_file": told });
            output.print("node.config.check", details, || {
                let file = arguments.config.display();
                format!("ok  {file}: {told} settings, and {} by default", all - told)
            });
        }
        ConfigCommand::Show(arguments) => {
            let settings = read(&arguments.file.config)?;
            let details: Vec<_> = settings.iter().map(Setting::json).collect();
            output.print("node.config.show", json!({ "settings": details }), || {
                let mut table = Table::default();
                for Setting { name, value, origin } in &settings {
                    let value = value.to_string();
                    match arguments.origin {
                        true => table.row([name, &value, origin.word()]),
                        false => table.row([name, &value]),
                    }
                }
                table.to_string()
            });
        }
    }
    Ok(())
}

impl Setting {
    fn json(&self) -> serde_json::Value {
        let Self { name, value, origin } = self;
        json!({ "name": name, "value": value, "origin": origin.word() })
    }
}

impl Origin {
    const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// The configuration in a file, checked, and its text.
pub(super) fn load(path: &Path) -> Result<(NodeConfig, String), Fault> {
    let text = files::read_text(path)?;
    let config = NodeConfig::parse(path, &text).map_err(|error| unusable(path, &error))?;
    Ok((config, text))
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Fault {
    Fault::new(Code::ConfigUnusable, path.display().to_string()).because(error)
}

/// The settings of a file, checked, in the order of their names.
fn read(path: &Path) -> Result<Vec<Setting>, Fault> {
    let unusable = |error: &dyn std::error::Error| unusable(path, error);
    let (config, text) = load(path)?;
    let all = Value::try_from(&config).map_err(|error| unusable(&error))?;
    let told: Value = toml::from_str(&text).map_err(|error| unusable(&error))?;
    let mut settings = Vec::new();
    flatten(String::new(), &all, Some(&told), &mut settings);
    settings.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(settings)
}

/// Takes a value apart, down to what is neither a table nor a list.
fn flatten(name: String, value: &Value, told: Option<&Value>, settings: &mut Vec<Setting>) {
    match value {
        Value::Table(members) => {
            for (key, value) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(name, value, told.and_then(|told| told.get(key)), settings);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let told = told.and_then(|told| told.get(i));
                flatten(format!("{name}[{i}]"), item, told, settings);
            }
        }
        value => {
            let origin = if told.is_some() { Origin::File } else { Origin::Default };
            settings.push(Setting { name, value: value.clone(), origin });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "data_dir = \"n0\"\n[client]\nlisten = \"127.0.0.1:0\"\n[peer]\nlisten = \"127.0.0.1:0\"\n\
                        [[nodes]]\nid = \"00\"\npeer = \"a:1\"\nclient = \"a:2\"\n[limits]\nbatch_max = 7\n";

    fn written(text: &str) -> PathBuf {
        let path = tempfile::tempdir().unwrap().keep().join("node.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn each_setting_says_where_it_comes_from() {
        let path = written(FILE);
        let settings = read(&path).unwrap();
        let find = |name: &str| {
            let found = settings.iter().find(|setting| setting.name == name);
            found.map(|setting| (setting.value.to_string(), setting.origin))
        };
        assert_eq!(find("limits.batch_max"), Some(("7".to_owned(), Origin::File)));
        assert_eq!(find("nodes[0].client"), Some(("\"a:2\"".to_owned(), Origin::File)));
        assert_eq!(find("limits.queue_max"), Some(("65536".to_owned(), Origin::Default)));
        assert_eq!(find("consensus.restart"), Some(("\"rejoin\"".to_owned(), Origin::Default)));
        assert!(find("data_dir").unwrap().0.contains("n0"));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_setting_that_is_not_known_is_named_with_those_that_are() {
        let path = written(&FILE.replace("batch_max", "batch_mx"));
        let text = read(&path).unwrap_err().text(Output::Table);
        assert!(text.contains("batch_mx") && text.contains("batch_max"), "{text}");
        assert!(text.contains("line 11") || text.contains("node.toml"), "{text}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

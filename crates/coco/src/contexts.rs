//! The networks that somebody works with: where their nodes are, which service is trusted, whose key signs.
//!
//! They are kept in `coco/contexts.toml` below `$XDG_CONFIG_HOME`, or `~/.config` without it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    codes::Code,
    fault::Fault,
    files::{self, Rights},
    key_place::KeyPlace,
};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// Which is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Nodes, in the order in which they are asked.
    pub(crate) urls: Vec<String>,
    /// The certificate of the service, PEM: the one thing that is trusted.
    pub(crate) service_cert: String,
    /// The member's private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyPlace>,
    /// The member's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<PathBuf>,
}

impl Contexts {
    /// Reads the file; there are no contexts without one.
    pub(crate) fn load() -> Result<Self, Fault> {
        let path = path()?;
        if !path.exists() {
            return Ok(Self::default());
        }
        Self::parse(&files::read_text(&path)?).map_err(|error| error.with("file", shown(&path)))
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        toml::from_str(text)
            .map_err(|error| Fault::new(Code::ContextsUnreadable, error.message()).because(&error))
    }

    pub(crate) fn save(&self) -> Result<(), Fault> {
        let text = toml::to_string_pretty(self)
            .map_err(|error| Fault::new(Code::Failed, error.to_string()))?;
        files::replace(&path()?, text.as_bytes(), Rights::Private)
    }

    pub(crate) fn named(&self, name: &str) -> Result<&Context, Fault> {
        self.contexts.get(name).ok_or_else(|| Fault::new(Code::ContextUnknown, name))
    }

    /// The context of that name, or the one that is used without a name, if there is one.
    pub(crate) fn pick(&self, name: Option<&str>) -> Result<Option<(String, Context)>, Fault> {
        match name.or(self.current.as_deref()) {
            Some(name) => Ok(Some((name.to_owned(), self.named(name)?.clone()))),
            None => Ok(None),
        }
    }
}

/// Where the file is.
pub(crate) fn path() -> Result<PathBuf, Fault> {
    Ok(folder()?.join("contexts.toml"))
}

/// The folder of everything that this program keeps for somebody.
pub(crate) fn folder() -> Result<PathBuf, Fault> {
    home("XDG_CONFIG_HOME", ".config")
}

/// The folder of what it keeps in passing.
pub(crate) fn state_folder() -> Result<PathBuf, Fault> {
    home("XDG_STATE_HOME", ".local/state")
}

fn home(variable: &str, below_home: &str) -> Result<PathBuf, Fault> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (set(variable), set("HOME")) {
        (Some(base), _) => PathBuf::from(base),
        (None, Some(home)) => Path::new(&home).join(below_home),
        (None, None) => {
            let message = format!("neither {variable} nor HOME is set");
            return Err(Fault::new(Code::Failed, message).next("set HOME"));
        }
    };
    Ok(base.join("coco"))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let context = Context {
            urls: vec!["https://n1:8000".into()],
            service_cert: "-----BEGIN\nx\n".into(),
            key: Some("/k".to_owned().into()),
            cert: None,
        };
        let contexts = Contexts {
            current: Some("dev".into()),
            contexts: [("dev".to_owned(), context.clone())].into(),
        };
        let text = toml::to_string_pretty(&contexts).unwrap();
        assert_eq!(Contexts::parse(&text).unwrap(), contexts);
        assert_eq!(contexts.pick(None).unwrap(), Some(("dev".to_owned(), context)));
        assert_eq!(contexts.pick(Some("other")).unwrap_err().code(), Code::ContextUnknown);
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error() {
        let text = "[contexts.dev]\nurls = []\nservice_cert = \"\"\nurl = \"x\"\n";
        let error = Contexts::parse(text).unwrap_err();
        assert_eq!(error.code(), Code::ContextsUnreadable);
        let text = error.text(crate::output::Output::Table);
        assert!(text.contains("`url`") && text.contains("`urls`"), "{text}");
        assert_eq!(Contexts::parse("").unwrap(), Contexts::default());
    }
}

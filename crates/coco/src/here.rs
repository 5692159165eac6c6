//! `./coco.toml`: which network commands in this folder mean.
//!
//! A folder may come from others, by a repository for example. So its file chooses among the contexts that somebody has added,
//! and says neither where a network is, nor what is trusted, nor whose key signs.

use std::path::Path;

use serde::Deserialize;

use crate::{codes::Code, fault::Fault, files, session::SECONDS_MAX};

/// Its name.
const FILE: &str = "coco.toml";

/// What it says. The names are those of the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Here {
    /// The context to use, in place of the current one.
    #[serde(default)]
    pub(crate) context: Option<String>,
    /// How long to wait for an answer, in seconds.
    #[serde(default)]
    pub(crate) timeout: Option<u64>,
}

impl Here {
    /// Reads the file of the folder in which the command runs; nothing is said where there is none.
    pub(crate) fn load() -> Result<Self, Fault> {
        let path = Path::new(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        Self::parse(&files::read_text(path)?)
    }

    fn parse(text: &str) -> Result<Self, Fault> {
        let here: Self = toml::from_str(text)
            .map_err(|error| Fault::new(Code::HereUnusable, error.message()).because(&error))?;
        match here.timeout {
            Some(seconds) if !(1..=SECONDS_MAX).contains(&seconds) => {
                let message = format!("timeout is {seconds}, 1 to {SECONDS_MAX} are possible");
                Err(Fault::new(Code::HereUnusable, message))
            }
            _ => Ok(here),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_chooses_a_context_and_nothing_that_is_trusted() {
        let here = Here::parse("context = \"trade\"\ntimeout = 30\n").unwrap();
        assert_eq!(here, Here { context: Some("trade".to_owned()), timeout: Some(30) });
        for text in
            ["url = [\"https://evil:1\"]", "service-cert = \"x.pem\"", "key = \"k\"", "timeout = 0"]
        {
            assert_eq!(Here::parse(text).unwrap_err().code(), Code::HereUnusable, "{text}");
        }
    }
}

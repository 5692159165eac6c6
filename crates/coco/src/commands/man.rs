//! `coco man`: manual pages, one a command.

use std::path::{Path, PathBuf};

use crate::{codes::Code, fault::Fault, output::print_bytes};

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands into this folder; without it the first page is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the pages of `command`, all of the command line.
pub(crate) fn run(arguments: &ManArgs, command: clap::Command) -> Result<(), Fault> {
    match &arguments.out {
        Some(folder) => pages(folder, command),
        None => first_page(command),
    }
}

fn pages(folder: &Path, command: clap::Command) -> Result<(), Fault> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|error| Fault::file(Code::FileUnwritable, folder, &error))
}

fn first_page(command: clap::Command) -> Result<(), Fault> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Fault::new(Code::Failed, error.to_string()))?;
    print_bytes(&page);
    Ok(())
}

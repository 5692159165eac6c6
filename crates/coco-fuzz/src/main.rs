//! Says which targets there are, and writes out the inputs that were made by hand.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program's answer is its output")]

use std::{path::Path, process::ExitCode};

use coco_fuzz::{From, TARGETS, target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => {
            for target in &TARGETS {
                let from = match target.from {
                    From::Stranger => "stranger",
                    From::Insider => "insider",
                };
                println!("{} {from} {}", target.name, target.bytes_max);
            }
            ExitCode::SUCCESS
        }
        ["seeds", name, folder] => match seeds(name, Path::new(folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write the seeds of {name} to {folder}: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: coco-fuzz list | seeds TARGET FOLDER");
            ExitCode::from(2)
        }
    }
}

fn seeds(name: &str, folder: &Path) -> std::io::Result<()> {
    let target = target(name).ok_or_else(|| std::io::Error::other("there is no such target"))?;
    std::fs::create_dir_all(folder)?;
    for (n, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{n}")), seed)?;
    }
    Ok(())
}

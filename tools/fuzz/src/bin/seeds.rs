//! Writes the seeds of every target that are not yet in the corpus, prints the table of targets with `--list`. Never
//! changes a file that is there: what was once written stays readable.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ouzel_fuzz::{corpus, seeds, targets};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => write(),
        Some("--list") => {
            targets::TARGETS.iter().for_each(|target| println!("{}", target.name));
            ExitCode::SUCCESS
        }
        Some(_) => {
            eprintln!("usage: seeds [--list]\nwrites the seeds that are missing in the corpus, or lists the targets");
            ExitCode::from(2)
        }
    }
}

fn write() -> ExitCode {
    for target in targets::TARGETS {
        for input in seeds::of(target.name) {
            match corpus::add(target.name, &input) {
                Ok(true) => println!("{}/{}", target.name, input.name),
                Ok(false) => {}
                Err(error) => {
                    eprintln!("{}/{}: {error}", target.name, input.name);
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}

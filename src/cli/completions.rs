//! `pd completions` and `pd man`: what shells and `man` want to know of the command line.

use super::Cli;
use super::output::Results;
use crate::error::{Error, Result};
use crate::formats::atomic::write_atomic;
use crate::formats::scratch::remove_leftovers;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name of the program.
const PROGRAM: &str = "pd";

/// Print completions of commands and options for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd completions bash > ~/.local/share/bash-completion/completions/pd
  pd completions zsh > ~/.zfunc/_pd")]
pub(super) struct Completions {
    /// Shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), PROGRAM, &mut text);
        results.print(&String::from_utf8_lossy(&text))
    }
}

/// Write manual pages, one per command
#[derive(Args)]
#[command(after_help = "\
Examples:
  pd man ~/.local/share/man/man1 && man pd-score
  pd man man/")]
pub(super) struct Man {
    /// Directory to write pd.1, pd-score.1, … into; created if it does not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self, results: &Results) -> Result<()> {
        fs::create_dir_all(&self.directory).map_err(Error::io("create", &self.directory))?;
        remove_leftovers(&self.directory);
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        let pages = write_pages(&command, &self.directory)?;
        results.print(&format!("{pages} pages in {}\n", self.directory.display()))
    }
}

/// The page of a command and those of all below it; how many there are.
fn write_pages(command: &Command, directory: &Path) -> Result<usize> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    let path = directory.join(page.get_filename());
    page.render(&mut text).map_err(Error::io("write", &path))?;
    write_atomic(&path, |out| out.write_all(&text))?;
    let mut shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    shown.try_fold(1, |pages, below| Ok(pages + write_pages(below, directory)?))
}

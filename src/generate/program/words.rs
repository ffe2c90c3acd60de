//! The command that starts a program.

use crate::error::{Error, Result};
use std::path::Path;
use std::str::FromStr;

/// The words of a command: a program and its arguments. No shell runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramCommand {
    program: String,
    arguments: Vec<String>,
}

impl ProgramCommand {
    /// What is started: a name that is looked for in the search path, or a path.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// What it is given.
    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The command as one word of a shell.
    pub(crate) fn quoted(&self) -> String {
        let words = [&self.program].into_iter().chain(&self.arguments);
        shell_words::quote(&shell_words::join(words)).into_owned()
    }

    /// What the program is called before it has said its name: its file.
    pub(super) fn file_name(&self) -> String {
        let name = Path::new(&self.program).file_name();
        name.map_or_else(|| self.program.clone(), |name| name.to_string_lossy().into_owned())
    }
}

impl FromStr for ProgramCommand {
    type Err = Error;

    /// Splits a command into words as a POSIX shell does, quotes and backslashes included; variables and wildcards stay as they are.
    fn from_str(text: &str) -> Result<Self> {
        let words = shell_words::split(text)
            .map_err(|_| Error::usage(format!("`{text}` has a quote that does not end"), "close it"))?;
        let mut words = words.into_iter();
        match words.next().filter(|program| !program.is_empty()) {
            Some(program) => Ok(Self { program, arguments: words.collect() }),
            None => Err(Error::usage("the command names no program", "its first word is the program")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell_and_nothing_is_expanded() {
        let command: ProgramCommand =
            r#"/opt/my\ env/python "make it.py" --name 'a "b"' $HOME *"#.parse().unwrap();
        assert_eq!(command.program(), "/opt/my env/python");
        assert_eq!(command.arguments(), ["make it.py", "--name", "a \"b\"", "$HOME", "*"]);
        assert_eq!(command.file_name(), "python");
        let again = shell_words::split(&command.quoted()).unwrap().remove(0);
        assert_eq!(again.parse::<ProgramCommand>().unwrap(), command);
        for wrong in ["", "  ", "'' a", "python 'make.py"] {
            assert!(wrong.parse::<ProgramCommand>().is_err(), "{wrong}");
        }
    }
}

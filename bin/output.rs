//! Output to the terminal, and the exit of a command.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use pointsman::admin::client::ClientError;
use pointsman::config::ConfigError;
use pointsman::net;

use crate::log::is_journal;

/// The reason why a command failed. The text is one line.
#[derive(Debug)]
pub enum Failure {
    /// Not reachable or not healthy: exit code 1.
    Unhealthy(String),
    /// Wrong use, or a start that is not possible: exit code 2.
    Usage(String),
    /// A configuration that cannot be used: exit code 2, on a terminal with the text it speaks of.
    Config(ConfigError),
    /// The process that the command started has reported the reason itself, and ended with this code.
    Told(u8),
    /// The reader of the output has closed its pipe (`pointsman stat | head -1`). `head` does so by design, so exit
    /// code 0.
    ReaderGone,
}

impl Failure {
    /// Not reachable or not healthy.
    pub fn unhealthy(what: impl Display) -> Self {
        Failure::Unhealthy(what.to_string())
    }

    /// Wrong use, or a start that is not possible.
    pub fn usage(what: impl Display) -> Self {
        Failure::Usage(what.to_string())
    }

    /// Reports it on stderr, and returns the exit code.
    pub fn report(self) -> ExitCode {
        let (code, text) = match self {
            Failure::ReaderGone => return ExitCode::SUCCESS,
            Failure::Told(code) => return ExitCode::from(code),
            Failure::Unhealthy(text) => (1, format!("pointsman: {text}")),
            Failure::Usage(text) => (2, format!("pointsman: {text}")),
            Failure::Config(error) => (2, with_snippet(&error)),
        };
        // When stderr is gone as well, only the exit code is left to tell.
        let mark = if is_journal() { "<3>" } else { "" };
        net::log::last_words(format!("{mark}{text}\n").as_bytes());
        ExitCode::from(code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::unhealthy(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Config(error)
    }
}

/// Writes to stdout. A reader that has closed its pipe is no panic.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::unhealthy(format_args!("cannot write to stdout: {error}")),
    })
}

/// The first paragraph of a usage error as one line: the usage, which follows it, is shown by `--help`.
pub fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let mut paragraphs = text.split("\n\n");
    let mut line: String = paragraphs.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(tip) = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: ")) {
        let tip = tip.lines().next().unwrap_or_default().trim();
        line = format!("{line}; {tip}");
    }
    format!("{line}; see --help")
}

/// The error's line; on a terminal also the lines of the file that it is about.
fn with_snippet(error: &ConfigError) -> String {
    if error.line_and_column().is_some() && io::stderr().is_terminal() {
        let mut text = String::new();
        if miette::GraphicalReportHandler::new().render_report(&mut text, error).is_ok() {
            return text.trim_end().to_owned();
        }
    }
    format!("pointsman: {error}")
}

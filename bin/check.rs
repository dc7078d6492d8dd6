//! `pointsman check`: is this configuration fine?

use std::path::PathBuf;

use clap::Args;
use pointsman::config::{KEYS, TABLES};
use pointsman::net::lan::Credentials;
use pointsman::net::run_dir::RunDirError;
use pointsman::net::tls;

use crate::flags;
use crate::notes;
use crate::output::{Failure, print};

/// A configuration file, and flags over it as they would be given to the dispatcher.
#[derive(Args, Debug)]
#[command(after_help = AFTER, after_long_help = with_keys())]
pub struct Flags {
    /// The configuration file
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Show every key with the value in force, as it would be written in the file
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    dispatch: flags::Dispatch,
}

const AFTER: &str = "\
It reads the file, and those of certificates, and binds nothing: whether a port is free shows at the start.

Examples:
  pointsman check /etc/pointsman.toml
  pointsman check /etc/pointsman.toml --workers 8     would it be fine with eight workers?
  pointsman check --print                             every key with the value in force";

/// Text of `--help` below the flags: with the keys that are none of them.
fn with_keys() -> String {
    let mut text = format!("{AFTER}\n\nKeys that stand in the file alone:\n");
    for key in KEYS.iter().filter(|key| key.flag.is_none()) {
        text += &described(key.name, &format!("{} [default: {}]", flags::summary(key), key.default()));
    }
    for table in TABLES {
        let name = if table.is_list { format!("[[{}]]", table.name) } else { format!("[{}]", table.name) };
        text += &format!("\nKeys of {name}:\n");
        for key in table.keys {
            let default = key.default().map_or("[required]".to_owned(), |default| format!("[default: {default}]"));
            text += &described(&key.name(), &format!("{} {default}", key.description()));
        }
    }
    text
}

/// Width of the column of keys, and of the whole text.
const FIRST: usize = 20;
const WIDTH: usize = 98;

/// A key with its description, in two columns.
fn described(name: &str, words: &str) -> String {
    let (mut text, mut line) = (String::new(), format!("  {name:FIRST$}"));
    for word in words.replace('`', "").split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text += &line;
            line = format!("\n  {:FIRST$}", "");
        }
        line += &format!(" {word}");
    }
    text + &line + "\n"
}

/// Checks the configuration; settings that are allowed and probably not meant are shown as well.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let mut source = flags.dispatch.source;
    source.file = flags.file.or(source.file);
    let config = source.load()?;
    tls::check(&config).map_err(Failure::usage)?;
    if let Some(path) = config.run_dir.as_ref().filter(|path| path.exists() && !path.is_dir()) {
        return Err(Failure::usage(RunDirError::NotADirectory { path: path.clone() }));
    }
    if let Some(lan) = &config.lan {
        Credentials::of(lan).server().map_err(|error| Failure::usage(format!("lan: {error}")))?;
    }
    let mut text = String::new();
    if flags.print {
        for row in config.describe() {
            let comment = if row.value.starts_with('(') { "# " } else { "" };
            text += &format!("{comment}{} = {}\n", row.key, row.value);
        }
    }
    let name = source.file.as_ref().map_or_else(|| "command line".to_owned(), |file| file.display().to_string());
    // With --print the whole output is a configuration file: any other text is a comment in it.
    let comment = if flags.print { "# " } else { "" };
    for note in notes::of(&source, &config) {
        text += &format!("{comment}note: {note}\n");
    }
    text += &format!("{comment}{name}: fine\n");
    print(&text)
}

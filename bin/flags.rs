//! Flags that several subcommands share: those of the dispatcher, and those that find a running one.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use pointsman::admin::client::{Client, ClientError};
use pointsman::config::{Flag, KEYS, Key, Settings, Source};

/// The configuration of a dispatcher: `--config`, and a flag for each key that has one, which wins over the file.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The file and the flags over it.
    pub source: Source,
}

/// The flag that names the configuration file.
const CONFIG: &str = "config";

fn flags() -> impl Iterator<Item = (&'static Key, &'static Flag)> {
    KEYS.iter().filter_map(|key| Some((key, key.flag.as_ref()?)))
}

fn arg((key, flag): (&'static Key, &'static Flag)) -> Arg {
    let checked = |text: OsString| (flag.add)(&mut Settings::default(), &text).map(|()| text);
    let arg = Arg::new(key.name)
        .long(key.name)
        .value_name(flag.value)
        .value_parser(OsStringValueParser::new().try_map(checked))
        .allow_negative_numbers(true)
        .help(help(key, flag));
    let arg = if flag.is_list { arg.action(ArgAction::Append).value_delimiter(',') } else { arg };
    match flag.heading {
        Some(heading) => arg.help_heading(heading),
        None => arg,
    }
}

/// The first sentence of the key's description, and the default as it would be written on the command line.
fn help(key: &Key, flag: &Flag) -> String {
    let sentence = summary(key);
    let default = key.default().replace('"', "");
    let default = match default.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        Some(list) => list.replace(", ", ","),
        None => default,
    };
    let several = if flag.is_list { "; may be given several times" } else { "" };
    format!("{sentence}{several} [default: {default}]")
}

/// The first sentence of a key's description.
pub fn summary(key: &Key) -> String {
    let doc = key.doc.trim();
    doc.split_once(". ").map_or(doc, |(first, _)| first).trim_end_matches('.').replace('`', "")
}

impl Args for Dispatch {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file (TOML); a reload reads it again");
        command.arg(config).args(flags().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Dispatch {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Settings::default();
        for (key, flag) in flags() {
            for text in matches.get_many::<OsString>(key.name).into_iter().flatten() {
                (flag.add)(&mut settings, text)
                    .map_err(|words| clap::Error::raw(clap::error::ErrorKind::ValueValidation, words))?;
            }
        }
        Ok(Dispatch { source: Source { file: matches.get_one(CONFIG).cloned(), flags: settings } })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The dispatcher that a command is for.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// Run directory of the dispatcher [default: the first of /run/pointsman, $XDG_RUNTIME_DIR/pointsman,
    /// /tmp/pointsman-UID where one answers]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Its stats socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "run_dir")]
    stats: Option<PathBuf>,
}

impl Ask {
    /// Connects to it.
    pub fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(self.run_dir.as_deref(), self.stats.as_deref())
    }
}

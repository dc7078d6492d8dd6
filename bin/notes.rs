//! Notes on a configuration that is allowed and probably not meant so, a line each: on its settings, and on the file.

use std::os::unix::fs::PermissionsExt;

use pointsman::config::{Config, Source};

/// The permission to read of users who are neither the owner nor in the group.
const READ_BY_OTHERS: u32 = 0o004;

/// All notes, for `pointsman check` and the log at start.
pub fn of(source: &Source, config: &Config) -> Vec<String> {
    let mut notes = config.notes();
    notes.extend(open_secret(source, config));
    notes
}

fn open_secret(source: &Source, config: &Config) -> Option<String> {
    let is_secret = config.token_key.is_some() || config.previous_token_key.is_some();
    let path = source.file.as_ref().filter(|_| is_secret)?;
    // A file whose metadata cannot be read could not be read itself.
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & READ_BY_OTHERS != 0)
        .then(|| format!("token-key: every user of this host can read {path}, and with it make tokens; `chmod o-r` it"))
}

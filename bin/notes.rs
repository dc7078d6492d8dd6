//! Notes on a configuration that is allowed and probably not meant so, a line each: on its settings, and on the file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pointsman::config::{Config, Source};
use pointsman::net::tls;

/// The permission to read of users who are neither the owner nor in the group.
const READ_BY_OTHERS: u32 = 0o004;

/// All notes, for `pointsman check` and the log at start.
pub fn of(source: &Source, config: &Config) -> Vec<String> {
    let mut notes = config.notes();
    notes.extend(open_secret(source, config));
    // A file that cannot be used is a fault, which is told otherwise.
    notes.extend(tls::check(config).unwrap_or_default());
    let shown = config.proxies.iter().filter_map(|proxy| Some(proxy.tls_files.as_ref()?.1.as_path()));
    let keys = config.tls.iter().map(|identity| identity.key.as_path()).chain(shown);
    let open = keys.filter(|path| is_read_by_others(path));
    notes.extend(open.map(|path| {
        let path = path.display();
        format!("tls: every user of this host can read the key {path}, and with it be taken for us; `chmod o-r` it")
    }));
    notes
}

fn open_secret(source: &Source, config: &Config) -> Option<String> {
    let is_secret = config.token_key.is_some() || config.previous_token_key.is_some();
    let path = source.file.as_ref().filter(|_| is_secret)?;
    is_read_by_others(path).then(|| {
        let path = path.display();
        format!("token-key: every user of this host can read {path}, and with it make tokens; `chmod o-r` it")
    })
}

/// A file whose metadata cannot be read could not be read itself.
fn is_read_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & READ_BY_OTHERS != 0)
}

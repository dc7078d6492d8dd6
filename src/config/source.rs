//! Source of a configuration: kept, so that a reload reads the same file under the same flags.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::Origin;
use super::{Config, ConfigError, Settings};

/// A configuration file and the command line over it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file, if one was named.
    pub file: Option<PathBuf>,
    /// Settings of the command line.
    pub flags: Settings,
}

/// Longest configuration file: a longer one is another file.
const LONGEST_FILE: u64 = 1 << 20;

impl Source {
    /// Reads the file, lays the flags over it and checks the whole.
    ///
    /// # Errors
    /// The first fault found, as one line that names its place.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let Some(path) = &self.file else {
            return self.flags.check().map_err(|fault| fault.found_in(&Origin::default().and_flags(&self.flags)));
        };
        let text = read(path)?;
        let name = path.display().to_string();
        let origin = Origin::file(&name, &text).and_flags(&self.flags);
        // A fault in the file's own text is shown in the file, even where a flag overrides that key.
        let file = Settings::read(&text).map_err(|fault| fault.found_in(&Origin::file(&name, &text)))?;
        file.overridden_by(&self.flags).check().map_err(|fault| fault.found_in(&origin))
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let fault = |what: &str| ConfigError::of_file(format!("configuration file {}: {what}", path.display()));
    // A pipe would keep its reader waiting, and a reload would find nothing in it.
    let is_empty = path == Path::new("/dev/null");
    if !is_empty && std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(fault("not a file; name one that can be read again"));
    }
    let file = std::fs::File::open(path).map_err(|error| fault(&format!("cannot be opened: {error}")))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| fault(&format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(fault("longer than 1 MiB; name the configuration file, not another one"));
    }
    String::from_utf8(bytes).map_err(|_| fault("not UTF-8 text; save it as UTF-8"))
}

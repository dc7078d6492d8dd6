//! The run directory, with the sockets, the lock and the token key of a dispatcher.
//!
//! A user who can write in it can replace the sockets. So it belongs to the dispatcher's own user, and no other user
//! may write in it.

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::{LONGEST_SOCKET_NAME, LONGEST_SOCKET_PATH};
use crate::ids::{TokenKey, WorkerId};
use crate::net::lock_file::{LockError, LockFile, touch};
use crate::net::random;

/// The name of the stats socket in the run directory.
pub const STATS_SOCKET: &str = "stats.sock";

/// The name of the handoff socket in the run directory.
pub const HANDOFF_SOCKET: &str = LONGEST_SOCKET_NAME;

/// A run directory that exists, belongs to our user and is writable by no other.
///
/// Files that this start has made are removed again when the value is dropped, unless [`RunDir::keep`] was called.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Paths that this start has made, in this order.
    made: RefCell<Vec<PathBuf>>,
}

/// The end of the name of a worker's lock; the slot's name stands in front of it.
const WORKER_LOCK: &str = ".lock";

/// The lock that the worker in `slot` holds as long as it has the slot's sockets.
pub fn worker_lock(run_dir: &Path, slot: WorkerId) -> PathBuf {
    run_dir.join(format!("{slot}{WORKER_LOCK}"))
}

/// The directories that are tried when the configuration names none: `/run/pointsman`, `$XDG_RUNTIME_DIR/pointsman`,
/// `/tmp/pointsman-UID`.
pub fn defaults() -> Vec<PathBuf> {
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let mut dirs = vec![PathBuf::from("/run/pointsman")];
    dirs.extend(session.map(|dir| dir.join("pointsman")));
    dirs.push(PathBuf::from(format!("/tmp/pointsman-{}", own_uid())));
    dirs
}

impl RunDir {
    /// Opens the named directory, or the first default that can be used, and makes it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// It cannot be made, belongs to another user, others can write to it, or its path is too long for a socket.
    pub fn open(named: Option<&Path>) -> Result<RunDir, RunDirError> {
        if let Some(path) = named {
            return RunDir::at(path);
        }
        let mut last = None;
        for path in defaults() {
            match RunDir::at(&path) {
                Ok(dir) => return Ok(dir),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| RunDirError::Make { path: PathBuf::new(), error: io::ErrorKind::NotFound.into() }))
    }

    /// The directory's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of the stats socket.
    pub fn stats_socket(&self) -> PathBuf {
        self.path.join(STATS_SOCKET)
    }

    /// Path of the handoff socket.
    pub fn handoff_socket(&self) -> PathBuf {
        self.path.join(HANDOFF_SOCKET)
    }

    /// The file whose lock a dispatcher holds.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Takes the lock of the directory: one dispatcher holds it, and the kernel lets go of it when the process ends.
    ///
    /// # Errors
    /// Another dispatcher holds it (the error gives its process), or the file cannot be written.
    pub fn lock(&self) -> Result<LockFile, RunDirError> {
        let path = self.lock_file();
        let new = !path.exists();
        match LockFile::take(&path) {
            Ok(lock) => {
                if new {
                    self.made.borrow_mut().push(path);
                }
                Ok(lock)
            }
            Err(LockError::Held { pid, .. }) => Err(RunDirError::Taken { path: self.path.clone(), pid }),
            Err(LockError::Unusable { error, .. }) => Err(RunDirError::File { path, error }),
        }
    }

    /// The slots whose locks are held: workers of an earlier dispatcher that still live. Lock files that no process
    /// holds, left by a host that went down, are skipped.
    ///
    /// # Errors
    /// The directory or a lock in it cannot be read.
    pub fn held_slots(&self) -> Result<Vec<WorkerId>, RunDirError> {
        let fault = |error| RunDirError::File { path: self.path.clone(), error };
        let mut held = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            let slot = name.to_str().and_then(|name| name.strip_suffix(WORKER_LOCK)?.parse::<WorkerId>().ok());
            let Some(slot) = slot else { continue };
            match LockFile::holder(&worker_lock(&self.path, slot)) {
                Ok(Some(_)) => held.push(slot),
                Ok(None) => {}
                Err(LockError::Held { path, .. }) => return Err(RunDirError::Taken { path, pid: None }),
                Err(LockError::Unusable { path, error }) => return Err(RunDirError::File { path, error }),
            }
        }
        held.sort_unstable();
        Ok(held)
    }

    /// The secret that tokens are made with: the configured one, else the one kept in this directory. `None`: there is
    /// none yet.
    ///
    /// # Errors
    /// The file is not 32 bytes, others can read it, or it cannot be read.
    pub fn key(&self, configured: Option<TokenKey>) -> Result<Option<TokenKey>, RunDirError> {
        if configured.is_some() {
            return Ok(configured);
        }
        let path = key_file(&self.path);
        match File::open(&path) {
            Ok(file) => read_key(file, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunDirError::File { path, error }),
        }
    }

    /// Stores a secret in this directory: the given one, else a new one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_key(&self, key: Option<TokenKey>) -> Result<TokenKey, RunDirError> {
        let path = key_file(&self.path);
        let key = match key {
            Some(key) => key,
            None => TokenKey::new(random().map_err(|error| RunDirError::File { path: path.clone(), error })?),
        };
        write_key(&self.path, &key)?;
        self.made.borrow_mut().push(path);
        Ok(key)
    }

    /// Keeps all files that this start has made: the start has succeeded.
    pub fn keep(&self) {
        self.made.borrow_mut().clear();
    }

    fn at(path: &Path) -> Result<RunDir, RunDirError> {
        let make_error = |error| RunDirError::Make { path: path.to_owned(), error };
        let absolute = std::path::absolute(path).map_err(make_error)?;
        let length = absolute.as_os_str().len() + 1 + LONGEST_SOCKET_NAME.len();
        if length > LONGEST_SOCKET_PATH {
            return Err(RunDirError::TooLong { path: absolute.join(LONGEST_SOCKET_NAME), length });
        }
        let made = match DirBuilder::new().mode(0o700).create(&absolute) {
            Ok(()) => vec![absolute.clone()],
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Vec::new(),
            Err(error) => return Err(make_error(error)),
        };
        // Links are not followed: in /tmp any user may have placed one.
        let found = fs::symlink_metadata(&absolute).map_err(make_error)?;
        if !found.is_dir() {
            return Err(RunDirError::NotADirectory { path: absolute });
        }
        if found.uid() != own_uid() {
            return Err(RunDirError::Foreign { path: absolute, owner: found.uid() });
        }
        if found.permissions().mode() & 0o1000 != 0 {
            return Err(RunDirError::Shared { path: absolute });
        }
        if found.permissions().mode() & 0o022 != 0 {
            return Err(RunDirError::Writable { path: absolute });
        }
        Ok(RunDir { path: absolute, made: RefCell::new(made) })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        for path in self.made.borrow().iter().rev() {
            // A path that cannot be removed is in use by another process and is left to it.
            let _ = if path == &self.path { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

fn key_file(run_dir: &Path) -> PathBuf {
    run_dir.join("key")
}

/// Updates the times of the key file, and writes it again if it is gone: cleaners of temporary directories remove files
/// that have not been touched for days.
///
/// # Errors
/// It can be neither touched nor written.
pub fn refresh_key(run_dir: &Path, key: &TokenKey) -> Result<(), RunDirError> {
    let path = key_file(run_dir);
    match File::open(&path) {
        Ok(file) => touch(&file).map_err(|error| RunDirError::File { path, error }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_key(run_dir, key),
        Err(error) => Err(RunDirError::File { path, error }),
    }
}

fn write_key(run_dir: &Path, key: &TokenKey) -> Result<(), RunDirError> {
    let path = key_file(run_dir);
    let fault = |error| RunDirError::File { path: path.clone(), error };
    // Written to a second file and renamed, so that a crash in between leaves no short key.
    let aside = run_dir.join("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside).map_err(fault)?;
    file.write_all(key.bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    fs::rename(&aside, &path).map_err(fault)
}

/// The effective user of this process.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn read_key(file: File, path: &Path) -> Result<TokenKey, RunDirError> {
    let fault = |error| RunDirError::File { path: path.to_owned(), error };
    let found = file.metadata().map_err(fault)?;
    if !found.is_file() {
        return Err(RunDirError::KeyNoFile { path: path.to_owned() });
    }
    if found.permissions().mode() & 0o077 != 0 {
        return Err(RunDirError::KeyReadable { path: path.to_owned() });
    }
    let mut secret = Vec::new();
    file.take(33).read_to_end(&mut secret).map_err(fault)?;
    match secret.try_into() {
        Ok(secret) => Ok(TokenKey::new(secret)),
        Err(secret) => Err(RunDirError::KeyLength { path: path.to_owned(), length: secret.len() }),
    }
}

/// The reason why a run directory cannot be used. Each text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It is missing and cannot be made.
    #[error("run directory {}: cannot be made: {error}; name another with --run-dir", .path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Another kind of file has its name.
    #[error("run directory {}: is not a directory; name another with --run-dir", .path.display())]
    NotADirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error("run directory {}: belongs to user {owner}; name another with --run-dir", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
    },
    /// Other users could put their sockets there.
    #[error("run directory {}: others can write to it; name one of its own with --run-dir, or `chmod 700` it if it has no other use", .path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
    },
    /// It is there for everybody, as /tmp is.
    #[error("run directory {}: it is shared with other users; name one of its own in it, such as --run-dir {}", .path.display(), .path.join("pointsman").display())]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// A socket's path holds 107 bytes.
    #[error("socket path {} has {length} bytes and may have {LONGEST_SOCKET_PATH}; name a shorter --run-dir", .path.display())]
    TooLong {
        /// The longest socket path in it.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Another dispatcher runs there.
    #[error("run directory {}: a dispatcher runs there already{}; stop it, or name another with --run-dir", .path.display(), with_pid(*.pid))]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The other dispatcher's process, if it is known.
        pid: Option<u32>,
    },
    /// The key file is not a key.
    #[error("token key {}: has {length} bytes instead of 32; remove it, and the one that live workers have, or a new one, takes its place", .path.display())]
    KeyLength {
        /// The file.
        path: PathBuf,
        /// Its length, at most 33.
        length: usize,
    },
    /// There is no file in the key's place.
    #[error("token key {}: it is not a file; remove it, and the one that live workers have, or a new one, takes its place", .path.display())]
    KeyNoFile {
        /// The path.
        path: PathBuf,
    },
    /// The key file is readable by others, so the key is no secret.
    #[error("token key {}: others can read it; `chmod 600` it, or remove it once no worker lives, and a new one is made", .path.display())]
    KeyReadable {
        /// The file.
        path: PathBuf,
    },
    /// A file in the directory cannot be used.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

fn with_pid(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pm");
        (dir, path)
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_only() {
        let (_outer, path) = place();
        let dir = RunDir::open(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.stats_socket(), path.join("stats.sock"));
    }

    #[test]
    fn a_start_that_fails_leaves_nothing_behind_and_one_that_succeeds_keeps_it() {
        let (_outer, path) = place();
        let dir = RunDir::open(Some(&path)).unwrap();
        let lock = dir.lock().unwrap();
        assert_eq!(dir.key(None).unwrap(), None);
        dir.keep_key(None).unwrap();
        drop((dir, lock));
        assert!(!path.exists());
        let dir = RunDir::open(Some(&path)).unwrap();
        let _lock = dir.lock().unwrap();
        let key = dir.keep_key(None).unwrap();
        dir.keep();
        drop(dir);
        // A later start that fails removes only files that it made itself.
        drop(RunDir::open(Some(&path)).unwrap());
        assert_eq!(RunDir::open(Some(&path)).unwrap().key(None).unwrap(), Some(key));
    }

    #[test]
    fn a_second_dispatcher_is_refused_and_told_the_first() {
        let (_outer, path) = place();
        let first = RunDir::open(Some(&path)).unwrap();
        let lock = first.lock().unwrap();
        let error = RunDir::open(Some(&path)).unwrap().lock().unwrap_err();
        assert!(matches!(error, RunDirError::Taken { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
        drop(lock);
        first.lock().unwrap();
    }

    #[test]
    fn a_worker_lock_that_a_dead_machine_left_is_no_worker() {
        let (_outer, path) = place();
        let dir = RunDir::open(Some(&path)).unwrap();
        fs::write(path.join("w1.lock"), "4711\n").unwrap();
        fs::write(path.join("wx.lock"), "").unwrap();
        let _held = LockFile::take(&worker_lock(&path, WorkerId(3))).unwrap();
        assert_eq!(dir.held_slots().unwrap(), [WorkerId(3)]);
        ["w1.lock", "wx.lock", "w3.lock"].iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
    }

    #[test]
    fn a_directory_that_is_not_our_own_is_refused() {
        let (outer, path) = place();
        fs::write(&path, "").unwrap();
        assert!(matches!(RunDir::open(Some(&path)), Err(RunDirError::NotADirectory { .. })));
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        assert!(matches!(RunDir::open(Some(&link)), Err(RunDirError::NotADirectory { .. })));
        let open = outer.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(RunDir::open(Some(&open)), Err(RunDirError::Writable { .. })));
        assert!(matches!(RunDir::open(Some(&outer.path().join("a/b"))), Err(RunDirError::Make { .. })));
        let long = outer.path().join("d".repeat(107));
        assert!(matches!(RunDir::open(Some(&long)), Err(RunDirError::TooLong { .. })));
        assert!(!long.exists());
    }

    #[test]
    fn a_key_that_is_short_or_readable_by_others_is_refused() {
        let (_outer, path) = place();
        let dir = RunDir::open(Some(&path)).unwrap();
        let key = path.join("key");
        fs::write(&key, [1; 31]).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(dir.key(None), Err(RunDirError::KeyLength { length: 31, .. })));
        fs::write(&key, [1; 32]).unwrap();
        assert_eq!(dir.key(None).unwrap(), Some(TokenKey::new([1; 32])));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(dir.key(None), Err(RunDirError::KeyReadable { .. })));
        assert_eq!(dir.key(Some(TokenKey::new([2; 32]))).unwrap(), Some(TokenKey::new([2; 32])));
        fs::remove_file(&key).unwrap();
    }

    #[test]
    fn each_refusal_is_one_line() {
        let error = RunDirError::Taken { path: "/run/pointsman".into(), pid: Some(4700) };
        assert_eq!(
            error.to_string(),
            "run directory /run/pointsman: a dispatcher runs there already (process 4700); stop it, or name another with --run-dir"
        );
    }
}

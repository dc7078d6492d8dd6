//! Lock files that name their holder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};

use super::process::Process;

/// A lock that this process holds until it drops it or ends, in whatever way it ends. The file names the holder.
///
/// The lock belongs to the open file (`F_OFD_SETLK`): it can be looked up without being taken, and closing another
/// descriptor of the file does not drop it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock at `path`; a missing file is made, mode 0600.
    ///
    /// # Errors
    ///
    /// Another process holds it, or the file cannot be opened.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |error| LockError::Unusable { path: path.to_owned(), error };
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
                .map_err(failed)?;
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
                Ok(_) => {}
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                    return Err(LockError::Held { path: path.to_owned(), pid: read_pid(&mut file) });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
            // A cleaner may have removed the file between open and lock: then the lock guards nothing.
            if is_there(&file, path) {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
                return Ok(LockFile { file, path: path.to_owned() });
            }
        }
    }

    /// Takes over the lock that came with `fd` from its holder, which ends. The lock belongs to the open file, and so
    /// to both processes until then. The file names this process from now on.
    pub fn inherit(fd: OwnedFd, path: &Path) -> Self {
        let mut file = File::from(fd);
        let named =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        // The name is for people to read; the lock is held without it.
        drop(named);
        LockFile { file, path: path.to_owned() }
    }

    /// Touches the lock's file, or makes a missing one anew, with its lock: cleaners of temporary directories remove
    /// files that no process has touched for days, even locked ones.
    ///
    /// # Errors
    ///
    /// The file is gone, and no other can be made, or another process has made one and locked it.
    pub fn refresh(&mut self) -> Result<(), LockError> {
        if !self.is_in_place() {
            *self = LockFile::take(&self.path)?;
        }
        touch(&self.file).map_err(|error| LockError::Unusable { path: self.path.clone(), error })
    }

    /// Whether the file at the lock's path is the locked one.
    pub fn is_in_place(&self) -> bool {
        is_there(&self.file, &self.path)
    }

    /// Finds the holder of the lock at `path`, without taking the lock. `None`: the lock is free, or there is no such
    /// file.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn holder(path: &Path) -> Result<Option<LockHolder>, LockError> {
        let failed = |error| LockError::Unusable { path: path.to_owned(), error };
        let mut file = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|errno| failed(errno.into()))?;
        if lock.l_type == libc::F_UNLCK as libc::c_short {
            return Ok(None);
        }
        Ok(Some(LockHolder { pid: read_pid(&mut file) }))
    }

    /// The process that holds the lock at `path`, by descriptor, so that no other process can be killed instead. The
    /// process id in the file alone proves nothing: the process must have the file open, and the lock must still be
    /// held afterwards.
    ///
    /// # Errors
    ///
    /// The lock is free (`NotFound`), or the holder cannot be told for certain: it runs in another pid namespace, or
    /// belongs to another user.
    pub fn holding_process(path: &Path) -> io::Result<Process> {
        let pid = || match LockFile::holder(path) {
            Ok(Some(LockHolder { pid: Some(pid) })) => Ok(pid),
            Ok(Some(LockHolder { pid: None })) => Err(io::Error::other("its holder has not written its number")),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(io::Error::other(error)),
        };
        let first = pid()?;
        let process = Process::open(first)?;
        let lock = std::fs::metadata(path)?;
        let open = std::fs::read_dir(format!("/proc/{first}/fd"))?;
        let has_it = open.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok()).any(|it| is_same(&it, &lock));
        if !has_it || pid()? != first {
            return Err(io::Error::other(format!("process {first} is not its holder")));
        }
        Ok(process)
    }

    /// Path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// LockHolder of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Its process id; `None` in the moment between taking the lock and writing the process id.
    pub pid: Option<u32>,
}

/// Reason why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{} is locked by {}; stop it or choose another directory with --run-dir",
        .path.display(),
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, if it has written its process id.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {}: {error}; choose another directory with --run-dir", .path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        // The kernel requires 0 for a lock of the open file.
        l_pid: 0,
    }
}

/// Sets the times of a file to now, as if it had been read and written.
///
/// # Errors
///
/// It belongs to another user.
pub fn touch(file: &File) -> io::Result<()> {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Ok(rustix::fs::futimens(file, &rustix::fs::Timestamps { last_access: now, last_modification: now })?)
}

fn is_there(file: &File, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| is_same(&there, &own)))
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        assert_eq!(LockFile::holder(&path).unwrap(), None);
        let lock = LockFile::take(&path).unwrap();
        let us = std::process::id();
        assert_eq!(LockFile::holder(&path).unwrap(), Some(LockHolder { pid: Some(us) }));
        let refused = LockFile::take(&path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{} is locked by process {us}; stop it or choose another directory with --run-dir", path.display())
        );
        drop(lock);
        assert_eq!(LockFile::holder(&path).unwrap(), None);
        LockFile::take(&path).expect("it is free again");
    }

    #[test]
    fn a_lock_whose_file_was_cleaned_away_is_made_anew_and_one_that_is_there_looks_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        let mut lock = LockFile::take(&path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
        lock.refresh().unwrap();
        assert!(std::fs::metadata(&path).unwrap().modified().unwrap() > long_ago);
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place());
        lock.refresh().unwrap();
        let us = std::process::id();
        assert_eq!(LockFile::holder(&path).unwrap(), Some(LockHolder { pid: Some(us) }));
        // Another process has taken the lock meanwhile: it belongs to that one.
        std::fs::remove_file(&path).unwrap();
        let other = LockFile::take(&path).unwrap();
        assert!(matches!(lock.refresh(), Err(LockError::Held { pid: Some(pid), .. }) if pid == us));
        drop(other);
    }

    #[test]
    fn the_process_behind_a_lock_is_believed_only_when_it_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        assert_eq!(LockFile::holding_process(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let lock = LockFile::take(&path).unwrap();
        assert_eq!(LockFile::holding_process(&path).unwrap().pid(), std::process::id());
        // The file holds the id of a process that does not hold the lock.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::fs::write(&path, child.id().to_string()).unwrap();
        let refused = LockFile::holding_process(&path).unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused.to_string(), format!("process {} is not its holder", child.id()));
        drop(lock);
    }

    #[test]
    fn a_lock_in_a_missing_directory_says_so() {
        let refused = LockFile::take(Path::new("/nonexistent/lock")).unwrap_err();
        assert!(matches!(refused, LockError::Unusable { .. }), "{refused}");
    }
}

//! The dispatcher's files in the run directory, kept fresh as long as it runs: cleaners of temporary directories
//! (systemd-tmpfiles, after ten days) remove files that no process has touched, even locked ones.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use tracing::warn;

use crate::ids::TokenKey;
use crate::net::lock_file::LockFile;
use crate::net::run_dir::{RunDir, refresh_key};
use crate::time::Time;

/// Interval: often enough that no cleaner finds an old file, and that a file that was removed is back soon.
const EVERY: Duration = Duration::from_secs(600);

/// The lock of the run directory and the secret kept there.
#[derive(Debug)]
pub struct RunDirRefresh {
    run_dir: PathBuf,
    lock: LockFile,
    /// The key that lies in the run directory; `None` where the configuration has it.
    key: Option<TokenKey>,
    due: Time,
}

impl RunDirRefresh {
    /// Keeps the files of `home`: its lock, and the key that lies there.
    pub fn new(home: &RunDir, lock: LockFile, key: Option<TokenKey>, now: Time) -> Self {
        RunDirRefresh { run_dir: home.path().to_owned(), lock, key, due: now + EVERY }
    }

    /// The time at which [`RunDirRefresh::handle_timeout`] is due.
    pub const fn poll_timeout(&self) -> Time {
        self.due
    }

    /// Touches the files, and makes anew those that are gone.
    pub fn handle_timeout(&mut self, now: Time) {
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        if let Err(error) = self.lock.refresh() {
            warn!("{error}");
        }
        if let Some(error) = self.key.as_ref().and_then(|key| refresh_key(&self.run_dir, key).err()) {
            warn!("{error}");
        }
    }

    /// The lock for the dispatcher that takes over: it belongs to the open file.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        self.lock.as_fd().try_clone_to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_lock_and_a_key_that_were_cleaned_away_are_back_when_their_time_comes() {
        let dir = tempfile::tempdir().unwrap();
        let home = RunDir::open(Some(&dir.path().join("pm"))).unwrap();
        let key = home.keep_key(None).unwrap();
        let mut run_dir_refresh = RunDirRefresh::new(&home, home.lock().unwrap(), Some(key.clone()), Time(0));
        fs::remove_file(home.lock_file()).unwrap();
        fs::remove_file(home.path().join("key")).unwrap();
        run_dir_refresh.handle_timeout(Time(0));
        assert!(!home.lock_file().exists(), "not before its time");
        run_dir_refresh.handle_timeout(run_dir_refresh.poll_timeout());
        assert!(home.lock().is_err(), "the lock is held again");
        assert_eq!(home.key(None).unwrap(), Some(key));
        assert_eq!(run_dir_refresh.poll_timeout(), Time(0) + 2 * EVERY);
    }
}

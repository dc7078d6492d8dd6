//! The stats socket as a file: bound with mode 0600, or opened to a group, and removed at the end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

/// A bound stats socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct StatsListener {
    pub(super) socket: std::os::unix::net::UnixListener,
    path: PathBuf,
}

/// The reason why there is no stats socket.
#[derive(Debug, thiserror::Error)]
pub enum StatsSocketError {
    /// Another process answers there.
    #[error("stats socket {}: another dispatcher answers there; stop it, or name another --run-dir", .path.display())]
    Taken {
        /// The socket's path.
        path: PathBuf,
    },
    /// The group cannot be given the socket.
    #[error(
        "stats-group {name}: {error}; name a group that the dispatcher's user is in (`SupplementaryGroups=` under systemd)"
    )]
    Group {
        /// Its name.
        name: String,
        /// Why not.
        error: io::Error,
    },
    /// The kernel refused it.
    #[error("stats socket {}: {error}", .path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Makes the stats socket, mode 0600, or 0660 for `group`. A dead socket's file at this path is replaced; a live one is
/// left alone.
///
/// # Errors
/// Another process answers there, the kernel refuses the path, the group does not exist, or we may not give the file to
/// it.
pub fn bind(path: &Path, group: Option<&str>) -> Result<StatsListener, StatsSocketError> {
    let listener = bind_alone(path)?;
    if let Some(name) = group {
        open_to(path, name).map_err(|error| StatsSocketError::Group { name: name.to_owned(), error })?;
    }
    Ok(listener)
}

/// Lets a group connect to the socket: it may pass through the directory, but not list it or write in it.
fn open_to(path: &Path, name: &str) -> io::Result<()> {
    let there = nix::unistd::Group::from_name(name)?;
    let gid = match there {
        Some(group) => group.gid,
        None => name.parse::<u32>().map(nix::unistd::Gid::from_raw).map_err(|_| io::Error::other("there is none"))?,
    };
    let group_owns = |path: &Path, mode| {
        nix::unistd::chown(path, None, Some(gid))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    group_owns(path, 0o660)?;
    path.parent().map_or(Ok(()), |directory| group_owns(directory, 0o710))
}

fn bind_alone(path: &Path) -> Result<StatsListener, StatsSocketError> {
    let refused = |error| StatsSocketError::Refused { path: path.to_owned(), error };
    let socket = match bind_once(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // A file of another kind under this name is not ours to remove.
            if !std::fs::symlink_metadata(path).map_err(refused)?.file_type().is_socket() {
                return Err(refused(io::Error::new(error.kind(), "another file is in its place; remove it")));
            }
            if !is_dead(path) {
                return Err(StatsSocketError::Taken { path: path.to_owned() });
            }
            std::fs::remove_file(path).map_err(refused)?;
            bind_once(path)
        }
        bound => bound,
    };
    Ok(StatsListener { socket: socket.map_err(refused)?, path: path.to_owned() })
}

/// Whether no process listens on a socket's file any more.
fn is_dead(path: &Path) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(path);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn bind_once(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Set before bind: the file gets the descriptor's mode, so that it is never open to others, not even for a moment.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

impl StatsListener {
    /// Takes over a socket that another process has bound to `path`, and its file.
    pub fn inherit(fd: OwnedFd, path: &Path) -> StatsListener {
        StatsListener { socket: fd.into(), path: path.to_owned() }
    }
}

impl AsFd for StatsListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for StatsListener {
    fn drop(&mut self) {
        // An error means that the file has been removed already, which is the aim.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_sockets_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = bind(&path, None).unwrap();
        assert!(matches!(bind(&path, None), Err(StatsSocketError::Taken { .. })));
        assert!(path.exists());
        drop(live);
        assert!(!path.exists());
        let file = dir.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(bind(&file, None).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        assert!(matches!(bind(&dir.path().join("missing/stats.sock"), None), Err(StatsSocketError::Refused { .. })));
    }

    #[test]
    fn a_group_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let refused = bind(&dir.path().join("stats.sock"), Some("no such group")).unwrap_err().to_string();
        assert!(refused.starts_with("stats-group no such group: there is none; "), "{refused}");
    }
}

//! Messages to a service manager, by systemd's protocol: lines in a datagram to the socket that `NOTIFY_SOCKET` names
//! (sd_notify(3)).

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Sends lines to the service manager; does nothing where no service manager has started this process.
///
/// # Errors
///
/// The socket takes nothing.
pub fn tell(lines: &str) -> io::Result<()> {
    let Some(socket) = socket() else { return Ok(()) };
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), &address(&socket)?).map(drop)
}

/// Whether there is a service manager to send to.
pub fn is_heard() -> bool {
    socket().is_some()
}

/// Has the service manager keep a descriptor under `name` beyond the end of this process, for the next one
/// ([`activation`](super::activation)). It does not keep the same one twice.
///
/// # Errors
///
/// The socket takes nothing.
pub fn store(name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let Some(socket) = socket() else { return Ok(()) };
    let manager = UnixDatagram::unbound()?;
    manager.connect_addr(&address(&socket)?)?;
    let lines = format!("FDSTORE=1\nFDNAME={name}\n");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(&manager, &[IoSlice::new(lines.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The service manager's data for the dispatcher that takes over: its socket, and the interval at which it wants a
/// watchdog message.
pub fn listener() -> Option<(Vec<u8>, Option<Duration>)> {
    Some((socket()?.into_encoded_bytes(), watchdog()))
}

/// Sends to the old dispatcher's service manager from here on, unless another one has started this process.
pub fn inherit(socket: Vec<u8>, watchdog: Option<Duration>) {
    // Set once: a process takes over once.
    let _ = INHERITED.set((OsString::from_vec(socket), watchdog));
}

/// The service manager of the dispatcher that was taken over from.
static INHERITED: OnceLock<(OsString, Option<Duration>)> = OnceLock::new();

fn socket() -> Option<OsString> {
    let own = || std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
    own().or_else(|| INHERITED.get().map(|(socket, _)| socket.clone()))
}

/// Interval at which the service manager wants a watchdog message; `None` where it wants none.
pub fn watchdog() -> Option<Duration> {
    let is_ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid.parse() == Ok(std::process::id()));
    let own = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    let own = own.filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
    own.or_else(|| INHERITED.get().and_then(|(_, watchdog)| *watchdog))
}

/// Reads the socket's address. A leading `@` stands for the NUL of an abstract address.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_by_path_or_in_the_abstract() {
        let file = address(OsStr::new("/run/systemd/notify")).unwrap();
        assert_eq!(file.as_pathname().and_then(|path| path.to_str()), Some("/run/systemd/notify"));
        let name = address(OsStr::new("@org/notify")).unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"org/notify"[..]));
    }
}

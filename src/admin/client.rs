//! The client of the stats socket: finds it, asks, and reports errors in plain words.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::protocol::Command;
use crate::net::run_dir::{self, STATS_SOCKET, own_uid};
use crate::server::stats::Snapshot;

/// A connection to a dispatcher's stats socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// A dispatcher that has not answered for this long is not healthy.
const PATIENCE: Duration = Duration::from_secs(5);

/// A reply longer than this is not one of ours.
const LONGEST_REPLY: u64 = 16 << 20;

impl Client {
    /// Connects to the socket `stats`, else to the one in `run_dir`, else to the first default that answers.
    ///
    /// # Errors
    /// Nothing answers; each place that was tried is named with its reason.
    pub fn connect(run_dir: Option<&Path>, stats: Option<&Path>) -> Result<Client, ClientError> {
        let named = stats.map(Path::to_owned).or_else(|| run_dir.map(|dir| dir.join(STATS_SOCKET)));
        if let Some(path) = named {
            return Client::at(&path).map_err(|error| ClientError::Unreachable { path, error });
        }
        Client::first_of(run_dir::defaults())
    }

    /// Asks, and gives back the reply line without its end.
    ///
    /// # Errors
    /// The dispatcher refused the request, did not answer in time, or answered something else than JSON.
    pub fn ask(&mut self, command: &Command) -> Result<String, ClientError> {
        self.send(command)?;
        self.next_reply()
    }

    /// Asks for `load`.
    ///
    /// # Errors
    /// As [`Client::ask`]; also a reply without the documented fields.
    pub fn load(&mut self) -> Result<Snapshot, ClientError> {
        let reply = self.ask(&Command::Load)?;
        self.read(&reply)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection is gone, or the dispatcher has refused it.
    pub fn send(&mut self, command: &Command) -> Result<(), ClientError> {
        let line = command.to_line() + "\n";
        let Err(error) = self.stream.get_mut().write_all(line.as_bytes()) else { return Ok(()) };
        // A dispatcher that refuses the connection says why and closes, perhaps before our request arrives: its reason
        // counts more than our failed write.
        match self.next_reply() {
            Err(refused @ ClientError::Refused { .. }) => Err(refused),
            _ => Err(ClientError::Broken { path: self.path.clone(), error }),
        }
    }

    /// Waits for a reply line.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn next_reply(&mut self) -> Result<String, ClientError> {
        let broken = |error| ClientError::Broken { path: self.path.clone(), error };
        let mut line = Vec::new();
        self.stream.by_ref().take(LONGEST_REPLY).read_until(b'\n', &mut line).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => broken(io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s")),
            _ => broken(error),
        })?;
        if line.pop() != Some(b'\n') {
            return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")));
        }
        let line = String::from_utf8(line).map_err(|_| ClientError::NotOurs { path: self.path.clone() })?;
        let Refusal { error } = self.read(&line)?;
        error.map_or(Ok(line), |error| Err(ClientError::Refused { error }))
    }

    /// Whether part of a reply has been read into the buffer already. If so, the socket itself may not become readable
    /// again.
    pub fn has_begun(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Reads a reply as a value of type `T`.
    ///
    /// # Errors
    /// The reply is something else.
    pub fn read<'l, T: Deserialize<'l>>(&self, line: &'l str) -> Result<T, ClientError> {
        serde_json::from_str(line).map_err(|_| ClientError::NotOurs { path: self.path.clone() })
    }

    fn first_of(dirs: Vec<PathBuf>) -> Result<Client, ClientError> {
        let mut tried = Vec::new();
        for dir in dirs {
            let path = dir.join(STATS_SOCKET);
            match check_owner(&dir).and_then(|()| Client::at(&path)) {
                Ok(client) => return Ok(client),
                Err(error) => tried.push(format!("{}: {}", path.display(), in_words(&error))),
            }
        }
        Err(ClientError::NoneAnswers { tried: tried.join("; ") })
    }

    fn at(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream), path: path.to_owned() })
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

/// The error of a refused request; every reply is read as this first.
#[derive(Deserialize)]
struct Refusal {
    error: Option<String>,
}

/// Checks the owner of a default directory. Its name could be taken by any user, so it counts only if it is ours or
/// root's.
fn check_owner(dir: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(dir)?;
    let own = found.uid() == own_uid() || found.uid() == 0;
    // Only root can create directories in /run. Another owner there is a service user, whose socket checks its peers
    // itself.
    let by_root = dir.parent() == Some(Path::new("/run"));
    if found.is_dir() && (own || by_root) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("belongs to user {}", found.uid())))
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not there".to_owned(),
        io::ErrorKind::ConnectionRefused => "no process listens".to_owned(),
        _ => error.to_string(),
    }
}

/// The reason why there is no reply. Each text is one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The named socket does not answer.
    #[error("no dispatcher answers at {}: {}; is it running?", .path.display(), in_words(.error))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No default socket answers.
    #[error("no dispatcher answers ({tried}); is it running? if it has another run directory, name it with --run-dir")]
    NoneAnswers {
        /// The places and their reasons.
        tried: String,
    },
    /// The connection ended, or the dispatcher took too long.
    #[error("the dispatcher at {} does not answer: {error}", .path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The request was refused.
    #[error("{error}")]
    Refused {
        /// The dispatcher's words.
        error: String,
    },
    /// The reply is not one of a dispatcher.
    #[error("what answers at {} is not a pointsman dispatcher of this version", .path.display())]
    NotOurs {
        /// The socket.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A dispatcher that answers each request line with the next of `replies`, then closes.
    fn fake(replies: &'static [&'static str]) -> (tempfile::TempDir, thread::JoinHandle<Vec<String>>) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(STATS_SOCKET)).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut requests = Vec::new();
            for reply in replies {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                requests.push(line);
                reader.get_mut().write_all(reply.as_bytes()).unwrap();
            }
            requests
        });
        (dir, server)
    }

    #[test]
    fn a_reply_is_read_as_the_load_it_is() {
        let (dir, server) = fake(&[
            "{\"workers\":[],\"dispatcher\":{\"pid\":7,\"uptime_s\":1.5,\"received\":3,\"handed_over\":2,\"relayed\":0,\
             \"replied\":1,\"dropped\":0,\"table_entries\":2,\"rx_overflow\":0,\"of a newer version\":1}}\n",
            "{\"worker\":\"w2\",\"admin\":\"drain\"}\n",
        ]);
        let mut client = Client::connect(Some(dir.path()), None).unwrap();
        let load = client.load().unwrap();
        assert_eq!((load.dispatcher.pid, load.dispatcher.received), (7, 3));
        let drain = Command::parse(b"drain w2").unwrap();
        assert_eq!(client.ask(&drain).unwrap(), "{\"worker\":\"w2\",\"admin\":\"drain\"}");
        assert_eq!(server.join().unwrap(), ["{\"command\":\"load\"}\n", "{\"command\":\"drain\",\"worker\":\"w2\"}\n"]);
    }

    #[test]
    fn a_refusal_is_told_in_the_dispatchers_words() {
        let (dir, _server) = fake(&["{\"error\":\"there is no worker w9: there are 4, the first is w0\"}\n"]);
        let mut client = Client::connect(None, Some(&dir.path().join(STATS_SOCKET))).unwrap();
        let error = client.ask(&Command::parse(b"drain w9").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "there is no worker w9: there are 4, the first is w0");
    }

    #[test]
    fn a_refused_connection_is_told_in_the_dispatchers_words_also_where_nothing_can_be_sent() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(STATS_SOCKET)).unwrap();
        let mut client = Client::connect(Some(dir.path()), None).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"error\":\"too many connections\"}\n").unwrap();
        drop(stream);
        assert_eq!(client.send(&Command::Watch).unwrap_err().to_string(), "too many connections");
    }

    #[test]
    fn an_end_or_nonsense_instead_of_a_reply_is_said_plainly() {
        for (replies, words) in [
            (&[""][..], "the connection was closed"),
            (&["{\"workers\":"], "the connection was closed"),
            (&["220 mail.example.org ESMTP\n"], "is not a pointsman dispatcher"),
            (&["{\"hello\":1}\n"], "is not a pointsman dispatcher"),
            (&["\u{0}\n"], "is not a pointsman dispatcher"),
        ] {
            let (dir, _server) = fake(replies);
            let error = Client::connect(Some(dir.path()), None).unwrap().load().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }

    #[test]
    fn a_socket_that_is_missing_or_dead_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(STATS_SOCKET);
        let error = Client::connect(Some(dir.path()), None).unwrap_err().to_string();
        assert_eq!(error, format!("no dispatcher answers at {}: not there; is it running?", path.display()));
        drop(UnixListener::bind(&path).unwrap());
        let error = Client::connect(Some(dir.path()), None).unwrap_err().to_string();
        assert_eq!(error, format!("no dispatcher answers at {}: no process listens; is it running?", path.display()));
    }

    #[test]
    fn the_first_place_that_answers_is_taken_and_all_are_named_when_none_does() {
        let (dir, _server) = fake(&["{\"workers\":[]}\n"]);
        let missing = dir.path().join("missing");
        let mut client = Client::first_of(vec![missing.clone(), dir.path().to_owned()]).unwrap();
        assert_eq!(client.ask(&Command::Workers).unwrap(), "{\"workers\":[]}");
        let error = Client::first_of(vec![missing.clone()]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("no dispatcher answers ({}/stats.sock: not there); ", missing.display())));
    }
}

//! The server of the stats socket. Connections, line length and waiting times are bounded.
//!
//! All that it knows of the dispatcher is a function from [`Command`] to [`Reply`]. A peer that speaks another protocol
//! gets an error and is closed; other connections are not affected.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tracing::{debug, warn};

use super::clients::{Activity, Clients};
use super::listener::StatsListener;
use super::protocol::{Command, LONGEST_LINE, Reply};
use super::rights::{OtherUsers, READ_ONLY, Rights};
use crate::net::clock;
use crate::seldom::Seldom;

/// A connection that asks nothing for this long is closed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A peer that does not read its reply for this long is closed.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Interval at which read-only users have an `explain` or `connections` answered, all of them together: each answer
/// takes a few milliseconds of every lane, and the lane decides nothing in that time.
const EXPLAIN_EVERY: Duration = Duration::from_millis(50);

/// The time from which the next `explain` of a read-only user is answered; they take turns.
type NextExplain = Arc<tokio::sync::Mutex<Instant>>;

/// Answers requests until it is dropped. `answer` is called for each request; for `watch`, with `Load` once a second.
///
/// # Errors
/// Only if the runtime cannot take the socket; faults of single connections end those connections only.
pub async fn serve<A, F>(listener: StatsListener, others: OtherUsers, answer: A) -> io::Result<()>
where
    A: Fn(Command) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let socket = tokio::net::UnixListener::from_std(listener.socket.try_clone()?)?;
    let (mut connections, mut clients) = (JoinSet::new(), Clients::new());
    let (mut unaccepted, mut refused) = (Seldom::default(), Seldom::default());
    let next_explain = NextExplain::new(tokio::sync::Mutex::new(Instant::now()));
    loop {
        let stream = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(ended) = connections.join_next_with_id() => {
                clients.remove(ended.map_or_else(|error| error.id(), |(id, ())| id));
                continue;
            }
        };
        match stream {
            Ok((stream, _)) => match peer_uid(&stream).and_then(|uid| Some((uid, Rights::of(uid, others)?))) {
                Some((uid, rights)) => {
                    let source = rights.source(uid);
                    if !clients.make_room(source) {
                        turn_away(stream, "too many connections: close some, then ask again");
                        continue;
                    }
                    let activity = Activity::new();
                    let next_explain = Arc::clone(&next_explain);
                    let serving = serve_connection(stream, rights, answer.clone(), Arc::clone(&activity), next_explain);
                    let task = connections.spawn(serving);
                    clients.add(source, activity, task);
                }
                None => {
                    if let Some(times) = refused.comes_up(clock::now()) {
                        let uid = peer_uid(&stream);
                        warn!(?uid, times, "stats socket: refused a connection of another user");
                    }
                    turn_away(stream, "this socket is for the dispatcher's own user and root");
                }
            },
            Err(error) => {
                // The process is most likely out of descriptors: accepting again at once would spin.
                if let Some(times) = unaccepted.comes_up(clock::now()) {
                    warn!(%error, times, "stats socket: cannot accept");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn peer_uid(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|peer| peer.uid())
}

/// Tells the peer why, if its buffer takes the line at once, and closes.
fn turn_away(stream: UnixStream, why: &str) {
    // If the buffer is full or the peer has closed, it does not learn the reason; it is closed all the same.
    let _ = stream.try_write(Reply::error(why).to_line().as_bytes());
}

async fn serve_connection<A, F>(
    stream: UnixStream,
    rights: Rights,
    answer: A,
    activity: Arc<Activity>,
    next_explain: NextExplain,
) where
    A: Fn(Command) -> F + Send + Sync,
    F: Future<Output = Reply> + Send + 'static,
{
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::with_capacity(128);
    while let Ok(Ok(Some(read))) = timeout(PATIENCE, read_line(&mut reader, &mut line)).await {
        activity.begin();
        let command = match read {
            Line::Whole => Command::parse(&line),
            Line::TooLong => Err(super::protocol::NotACommand::TooLong),
        };
        let written = match command {
            Ok(command) if !rights.allow(&command) => write(&mut writer, &Reply::error(READ_ONLY)).await,
            Ok(Command::Watch) => watch(&mut writer, &answer).await,
            // Checked before the order is carried out: a client that gave up waiting has had no answer and must not see
            // its order done later.
            Ok(command) if !command.is_read_only() && has_hung_up(writer.as_ref()) => return,
            Ok(command) => {
                match while_connected(writer.as_ref(), in_turn(rights, command, &answer, &next_explain)).await {
                    Some(reply) => write(&mut writer, &reply).await,
                    None => return,
                }
            }
            Err(fault) => {
                debug!(%fault, "stats socket: not a command");
                let garbage = fault.is_garbage();
                let written = write(&mut writer, &fault.into()).await;
                if garbage { Err(io::ErrorKind::InvalidData.into()) } else { written }
            }
        };
        if written.is_err() {
            return;
        }
        activity.end();
    }
}

/// Answers a command; an `explain` or `connections` of a read-only user waits for its turn.
async fn in_turn<A, F>(rights: Rights, command: Command, answer: &A, next_explain: &NextExplain) -> Reply
where
    A: Fn(Command) -> F,
    F: Future<Output = Reply>,
{
    if rights == Rights::Read && matches!(command, Command::Explain { .. } | Command::Connections { .. }) {
        let mut next = next_explain.lock().await;
        tokio::time::sleep_until(*next).await;
        *next = Instant::now() + EXPLAIN_EVERY;
    }
    answer(command).await
}

/// Interval at which the server checks whether a client that waits for an answer is still there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits for an answer as long as the client is connected: a client that asked for a change and hung up must not see it
/// happen later.
async fn while_connected(stream: &UnixStream, answer: impl Future<Output = Reply>) -> Option<Reply> {
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            biased;
            reply = &mut answer => return Some(reply),
            () = tokio::time::sleep(LOOK_EVERY) => {
                if has_hung_up(stream) {
                    return None;
                }
            }
        }
    }
}

/// Whether the peer has closed. A peer that has only closed its sending half (`nc -N`) has not.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut watched, Some(&now)).is_ok_and(|_| watched[0].revents().contains(PollFlags::HUP))
}

/// Sends `load` until the peer is gone. Only a failed write tells that, because a peer may close its sending half and
/// go on reading.
async fn watch<A, F>(writer: &mut OwnedWriteHalf, answer: &A) -> io::Result<()>
where
    A: Fn(Command) -> F,
    F: Future<Output = Reply>,
{
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        write(writer, &answer(Command::Load).await).await?;
    }
}

async fn write(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let line = reply.to_line();
    timeout(WRITE_PATIENCE, writer.write_all(line.as_bytes())).await?
}

enum Line {
    Whole,
    TooLong,
}

/// Reads up to the next line end or the end of the stream, and stops soon after the longest line.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Option<Line>> {
    line.clear();
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            // `printf load | nc -N -U` sends no line end.
            return Ok((!line.is_empty()).then_some(Line::Whole));
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(buffer.len(), |end| end + 1);
        line.extend_from_slice(buffer.get(..taken).unwrap_or_default());
        reader.consume(taken);
        if line.len() > LONGEST_LINE {
            return Ok(Some(Line::TooLong));
        }
        if end.is_some() {
            return Ok(Some(Line::Whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use tokio::io::AsyncReadExt;

    use super::super::clients::{MOST_CONNECTIONS, MOST_OF_ONE_USER};
    use super::super::listener::bind;
    use super::*;
    use crate::net::run_dir::own_uid;
    use crate::server::stats::{Snapshot, WorkerLoad};

    /// Runs `peers` against a server that knows one worker; both on one thread, as in the dispatcher.
    fn with_server<P: Future<Output = ()>>(peers: impl FnOnce(PathBuf) -> P) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = bind(&path, None).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let answer = |command| async move {
                match command {
                    Command::Set { worker, admin } if worker.0 == 0 => Reply::Set { worker: worker.to_string(), admin },
                    Command::Set { worker, .. } => Reply::no_such_worker(worker, 1),
                    _ => {
                        let workers = vec![WorkerLoad { name: "w0".into(), ..WorkerLoad::default() }];
                        Reply::Load(Snapshot { workers, ..Snapshot::default() })
                    }
                }
            };
            let server = tokio::spawn(serve(listener, OtherUsers::Refused, answer));
            timeout(Duration::from_secs(20), peers(path.clone())).await.unwrap();
            server.abort();
            let _ = server.await;
        });
        assert!(!path.exists(), "the socket's file is removed with it");
    }

    async fn ask(stream: &mut BufReader<UnixStream>, request: &[u8]) -> String {
        stream.write_all(request).await.unwrap();
        next(stream).await
    }

    async fn next(stream: &mut BufReader<UnixStream>) -> String {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        line
    }

    async fn connect(path: &Path) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(path).await.unwrap())
    }

    #[test]
    fn requests_on_one_connection_are_answered_in_their_order() {
        with_server(async |path| {
            let mut peer = connect(&path).await;
            assert!(ask(&mut peer, b"\n").await.starts_with(r#"{"workers":[{"name":"w0","pid":null"#));
            assert_eq!(ask(&mut peer, b"drain w0\n").await, "{\"worker\":\"w0\",\"admin\":\"drain\"}\n");
            assert!(
                ask(&mut peer, b"laod\n").await.starts_with("{\"error\":\"no such command: `laod`\",\"commands\":[")
            );
            assert!(ask(&mut peer, b"drain w7\n").await.starts_with("{\"error\":\"there is no worker w7"));
            let two = ask(&mut peer, b"ready w0\nmaint w0\n").await + &next(&mut peer).await;
            assert_eq!(two, "{\"worker\":\"w0\",\"admin\":\"ready\"}\n{\"worker\":\"w0\",\"admin\":\"maint\"}\n");
        });
    }

    #[test]
    fn a_last_line_without_end_is_a_request() {
        with_server(async |path| {
            let mut peer = UnixStream::connect(&path).await.unwrap();
            peer.write_all(b"load").await.unwrap();
            peer.shutdown().await.unwrap();
            let mut reply = String::new();
            peer.read_to_string(&mut reply).await.unwrap();
            assert!(reply.starts_with(r#"{"workers""#) && reply.ends_with("}\n"), "{reply}");
        });
    }

    #[test]
    fn garbage_gets_an_error_and_is_closed_and_the_others_do_not_notice() {
        with_server(async |path| {
            let mut honest = connect(&path).await;
            ask(&mut honest, b"load\n").await;
            for garbage in [&b"\x16\x03\x01\x02\x00\n"[..], b"\xff\xfe\n", &[b'x'; 3 * LONGEST_LINE]] {
                let mut peer = connect(&path).await;
                assert!(ask(&mut peer, garbage).await.starts_with("{\"error\":"));
                // Unread bytes make the kernel report "reset" instead of "end": the connection is closed either way.
                assert!(!matches!(peer.read(&mut [0]).await, Ok(1..)));
            }
            assert!(ask(&mut honest, b"load\n").await.starts_with("{\"workers\""));
        });
    }

    #[test]
    fn watch_goes_on_until_the_peer_is_gone() {
        with_server(async |path| {
            let mut peer = connect(&path).await;
            let first = ask(&mut peer, b"watch\n").await;
            assert!(first.starts_with("{\"workers\""));
            // A peer that has sent all its requests still reads.
            peer.get_mut().shutdown().await.unwrap();
            assert_eq!(next(&mut peer).await, first);
        });
    }

    #[test]
    fn more_connections_than_allowed_are_told_so_and_one_that_ends_makes_room() {
        with_server(async |path| {
            let mut peers = Vec::new();
            for _ in 0..MOST_OF_ONE_USER {
                let mut peer = connect(&path).await;
                ask(&mut peer, b"watch\n").await;
                peers.push(peer);
            }
            assert!(next(&mut connect(&path).await).await.starts_with("{\"error\":\"too many connections"));
            peers.pop();
            loop {
                // The server learns of the end a little later; no client is left without a reply or a refusal.
                let mut peer = connect(&path).await;
                if ask(&mut peer, b"\n").await.starts_with("{\"workers\"") {
                    return;
                }
            }
        });
    }

    #[test]
    fn idle_connections_keep_nobody_out_and_the_most_silent_of_them_is_closed() {
        with_server(async |path| {
            let mut watching = connect(&path).await;
            ask(&mut watching, b"watch\n").await;
            let mut idle = Vec::new();
            for _ in 0..2 * MOST_OF_ONE_USER {
                let mut peer = connect(&path).await;
                assert!(ask(&mut peer, b"\n").await.starts_with("{\"workers\""));
                idle.push(peer);
            }
            assert_eq!(next(&mut idle[0]).await, "", "it is closed");
            assert!(ask(idle.last_mut().unwrap(), b"\n").await.starts_with("{\"workers\""));
            assert!(next(&mut watching).await.starts_with("{\"workers\""));
        });
    }

    #[test]
    fn the_operator_still_gets_in_however_many_users_of_the_stats_group_watch() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut tasks, mut clients) = (JoinSet::new(), Clients::new());
            for watching in 0..MOST_CONNECTIONS {
                // Four users of the group.
                let source = Rights::Read.source(1_000 + watching as u32 % 4);
                let has_room = clients.make_room(source);
                assert_eq!(has_room, watching < MOST_OF_ONE_USER, "{watching}");
                if has_room {
                    let activity = Activity::new();
                    activity.begin();
                    clients.add(source, activity, tasks.spawn(std::future::pending::<()>()));
                }
            }
            assert!(clients.make_room(Rights::All.source(own_uid())));
        });
    }

    #[test]
    fn a_change_whose_client_hung_up_is_not_made_and_a_client_that_only_ended_its_request_gets_the_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let busy = || async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Reply::error("done")
            };
            let half = theirs.into_std().unwrap();
            half.shutdown(std::net::Shutdown::Write).unwrap();
            assert!(while_connected(&ours, busy()).await.is_some());
            drop(half);
            let waiting = while_connected(&ours, std::future::pending());
            assert_eq!(timeout(Duration::from_secs(20), waiting).await.unwrap(), None);
        });
    }

    #[test]
    fn users_with_read_rights_cannot_have_the_lanes_explain_all_the_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let seconds = |rights: Rights| {
            runtime.block_on(async move {
                let next = NextExplain::new(tokio::sync::Mutex::new(Instant::now()));
                let answer = |_| std::future::ready(Reply::error("none"));
                let begin = Instant::now();
                let all: JoinSet<()> = (0..4)
                    .map(|_| {
                        let (mut peer, stream) = UnixStream::pair().unwrap();
                        let next = Arc::clone(&next);
                        async move {
                            peer.write_all(b"explain a\nexplain b\nexplain c\n").await.unwrap();
                            peer.shutdown().await.unwrap();
                            serve_connection(stream, rights, answer, Activity::new(), next).await;
                            let mut said = String::new();
                            peer.read_to_string(&mut said).await.unwrap();
                            assert_eq!(said.lines().count(), 3, "{said}");
                        }
                    })
                    .collect();
                all.join_all().await;
                begin.elapsed()
            })
        };
        assert!(seconds(Rights::Read) >= 11 * EXPLAIN_EVERY, "twelve questions, whoever asks them");
        assert!(seconds(Rights::All) < 11 * EXPLAIN_EVERY, "the operator waits for nobody");
    }
}

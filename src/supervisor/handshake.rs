//! The first two records on a link: the worker's `Hello`, the dispatcher's `Welcome` with its sockets.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::admission::{self, Refusal};
use crate::dispatch::decision::Unanswered;
use crate::net::unix::SeqPacket;
use crate::net::watch;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, FrameError, Record};
use crate::words::takeover::Ask;
use crate::words::{Hello, Message, OpenTransaction, Takeover, Welcome};

/// Reason why no `Hello` came.
#[derive(Debug, thiserror::Error)]
pub enum NoHello {
    /// Nothing came in time.
    #[error("sent nothing for {0:?}")]
    Silent(Duration),
    /// The link ended first.
    #[error("the link ended before its Hello")]
    Closed,
    /// The bytes that came were no frame of this protocol.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The first record was another one.
    #[error("its first record is not a Hello")]
    Other,
    /// A count that it announces is beyond its limit.
    #[error("{0}")]
    Impossible(#[from] Refusal),
    /// The link broke.
    #[error("the link broke: {0}")]
    Link(#[from] io::Error),
}

/// First record of a peer on the handoff socket.
#[derive(Debug)]
pub enum FirstRecord {
    /// A worker.
    Hello(Box<Hello>),
    /// A dispatcher that wants to take over.
    Takeover(Box<Ask>),
}

/// Waits for the first record on `link`, at most `within`. Descriptors that come with it are closed.
pub async fn hello(link: SeqPacket, within: Duration) -> Result<(SeqPacket, FirstRecord), (SeqPacket, NoHello)> {
    let watched = match watch::readable(link) {
        Ok(watched) => watched,
        Err((link, error)) => return Err((link, error.into())),
    };
    let result = match timeout(within, read_hello(&watched)).await {
        Ok(result) => result,
        Err(_) => Err(NoHello::Silent(within)),
    };
    let link = watched.into_inner();
    match result {
        Ok(hello) => Ok((link, hello)),
        Err(reason) => Err((link, reason)),
    }
}

async fn read_hello(link: &AsyncFd<SeqPacket>) -> Result<FirstRecord, NoHello> {
    let mut buffer = vec![0; FRAME_HARD_LIMIT];
    loop {
        let mut ready = link.readable().await?;
        let mut strangers: Vec<OwnedFd> = Vec::new();
        let Ok(read) = ready.try_io(|link| link.get_ref().recv(&mut buffer, &mut strangers)) else { continue };
        let length = read?;
        if length == 0 {
            return Err(NoHello::Closed);
        }
        return match Frame::parse(&buffer[..length])?.next() {
            Some(Ok(Record::Hello(hello))) => Ok(FirstRecord::Hello(Box::new(hello))),
            Some(Ok(Record::Takeover(Takeover::Ask(ask)))) => Ok(FirstRecord::Takeover(Box::new(ask))),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(_)) | None => Err(NoHello::Other),
        };
    }
}

/// State that a worker of an earlier dispatcher sends before it is welcomed back.
#[derive(Debug)]
pub struct Resync {
    /// Its `Hello`.
    pub hello: Hello,
    /// The descriptors beside it.
    pub descriptors: Vec<OwnedFd>,
    /// The transactions that follow it.
    pub transactions: Vec<OpenTransaction>,
    /// The conferences that follow it: since when, and their names.
    pub conferences: Vec<(Time, Box<[u8]>)>,
    /// The messages that follow it: those that it has not answered.
    pub messages: Vec<Unanswered>,
}

/// Waits for a `Hello` on `link`, and for all that the `Hello` announces, at most `within`.
pub async fn resync(link: SeqPacket, within: Duration) -> Result<(SeqPacket, Resync), (SeqPacket, NoHello)> {
    let watched = match watch::readable(link) {
        Ok(watched) => watched,
        Err((link, error)) => return Err((link, error.into())),
    };
    let result = match timeout(within, read_resync(&watched)).await {
        Ok(result) => result,
        Err(_) => Err(NoHello::Silent(within)),
    };
    let link = watched.into_inner();
    match result {
        Ok(resync) => Ok((link, resync)),
        Err(reason) => Err((link, reason)),
    }
}

async fn read_resync(link: &AsyncFd<SeqPacket>) -> Result<Resync, NoHello> {
    let mut buffer = vec![0; FRAME_HARD_LIMIT];
    let mut resync: Option<Resync> = None;
    loop {
        let mut ready = link.readable().await?;
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        let Ok(read) = ready.try_io(|link| link.get_ref().recv(&mut buffer, &mut descriptors)) else { continue };
        let length = read?;
        if length == 0 {
            return Err(NoHello::Closed);
        }
        for record in Frame::parse(&buffer[..length])? {
            match (record?, &mut resync) {
                (Record::Hello(hello), None) => {
                    admission::check_counts(&hello)?;
                    let (transactions, conferences, messages) = (Vec::new(), Vec::new(), Vec::new());
                    let descriptors = std::mem::take(&mut descriptors);
                    resync = Some(Resync { hello, descriptors, transactions, conferences, messages });
                }
                (Record::Holding(held), Some(resync)) => resync.transactions.extend(held.iter()),
                (Record::GroupOpen { opened, name }, Some(resync)) => resync.conferences.push((opened, name.into())),
                (Record::Unanswered(Message { envelope, payload }), Some(resync)) => {
                    resync.messages.push(Unanswered { envelope, payload: payload.into() });
                }
                _ => return Err(NoHello::Other),
            }
        }
        // A worker that sends more than it announced is read no further: at most the rest of one frame is taken.
        if let Some(told) = resync.take_if(|it| it.is_complete()) {
            return Ok(told);
        }
    }
}

impl Resync {
    fn is_complete(&self) -> bool {
        self.transactions.len() >= self.hello.transactions as usize
            && self.conferences.len() >= self.hello.conferences as usize
            && self.messages.len() >= self.hello.messages as usize
    }
}

/// Sends the `Welcome` with the sockets it lists.
pub fn welcome(link: &SeqPacket, welcome: Welcome, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Welcome(welcome));
    link.send(&[IoSlice::new(frame.bytes())], sockets).map(drop)
}

/// Tells a worker why it is refused. An error is ignored: the worker may be gone already.
pub fn goodbye(link: &SeqPacket, reason: &str) {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Goodbye(reason));
    let _ = link.send(&[IoSlice::new(frame.bytes())], &[]);
}

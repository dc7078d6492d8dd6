//! The conversation of two dispatchers over one connection to the handoff socket.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use crate::net::unix::{Peer, SeqPacket};
use crate::net::watch;
use crate::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, FrameError, Record};
use crate::words::Takeover;

/// Most descriptors in one frame; the kernel takes a few more.
const AT_ONCE: usize = 250;

/// Pause before a frame is sent again that the kernel did not take, and number of such pauses: two seconds in all.
const PAUSE: Duration = Duration::from_millis(1);
const TRIES: u32 = 2_000;

/// One end of the conversation.
#[derive(Debug)]
pub struct Conversation {
    link: AsyncFd<SeqPacket>,
}

/// The reason why the expected step of the other end does not come.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// The other end does not go on, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The other end sends nothing.
    #[error("the other dispatcher has sent nothing for {0:?}")]
    Silent(Duration),
    /// The other end is gone.
    #[error("the other dispatcher has closed the connection")]
    Closed,
    /// The other end sends another step.
    #[error("the other dispatcher has sent something else than `{0}`")]
    Unexpected(&'static str),
    /// The other end sends bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The connection is broken.
    #[error(transparent)]
    Link(#[from] io::Error),
}

impl Conversation {
    /// A conversation over `link`, within the runtime.
    ///
    /// # Errors
    ///
    /// The kernel can watch no more descriptors.
    pub fn new(link: SeqPacket) -> io::Result<Self> {
        Ok(Conversation { link: watch::readable(link).map_err(|(_, error)| error)? })
    }

    /// The process at the other end.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn peer(&self) -> io::Result<Peer> {
        self.link.get_ref().peer()
    }

    /// Sends a step.
    ///
    /// # Errors
    ///
    /// The other end is gone.
    pub fn send(&self, step: Takeover) -> io::Result<()> {
        self.send_frame(step, &[])
    }

    /// Tells the other end why this one does not go on. An error is ignored: the other end may be gone.
    pub fn refuse(&self, reason: &str) {
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Goodbye(reason));
        let _ = self.link.get_ref().send(&[IoSlice::new(frame.bytes())], &[]);
    }

    /// Sends a step with descriptors, in their order.
    ///
    /// # Errors
    ///
    /// The other end is gone, or it takes nothing for a while.
    pub async fn send_with(&self, step: Takeover, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut step = Some(step);
        for some in descriptors.chunks(AT_ONCE) {
            let step = step.take().unwrap_or(Takeover::More);
            let mut left = TRIES;
            loop {
                match self.send_frame(step.clone(), some) {
                    // The other end has to read first: descriptors on their way count as those of this user.
                    Err(error) if is_full(&error) && left > 0 => left -= 1,
                    sent => break sent?,
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits for the next step, and for all its descriptors.
    ///
    /// # Errors
    ///
    /// The step does not come within the time, or cannot be read.
    pub async fn receive(&self, within: Duration) -> Result<(Takeover, Vec<OwnedFd>), ConversationError> {
        timeout(within, self.next_whole()).await.unwrap_or(Err(ConversationError::Silent(within)))
    }

    /// Waits until the other end sends `step`.
    ///
    /// # Errors
    ///
    /// The other end sends something else, or nothing within the time.
    pub async fn expect(&self, step: Takeover, name: &'static str, within: Duration) -> Result<(), ConversationError> {
        let (said, _) = self.receive(within).await?;
        if said == step { Ok(()) } else { Err(ConversationError::Unexpected(name)) }
    }

    async fn next_whole(&self) -> Result<(Takeover, Vec<OwnedFd>), ConversationError> {
        let (step, mut descriptors) = self.next().await?;
        while descriptors.len() < step.descriptors() {
            match self.next().await? {
                (Takeover::More, more) if !more.is_empty() => descriptors.extend(more),
                _ => return Err(ConversationError::Unexpected("more")),
            }
        }
        Ok((step, descriptors))
    }

    async fn next(&self) -> Result<(Takeover, Vec<OwnedFd>), ConversationError> {
        let mut buffer = vec![0; FRAME_HARD_LIMIT];
        loop {
            let mut ready = self.link.readable().await?;
            let mut descriptors = Vec::new();
            let Ok(read) = ready.try_io(|link| link.get_ref().recv(&mut buffer, &mut descriptors)) else { continue };
            let length = read?;
            if length == 0 {
                return Err(ConversationError::Closed);
            }
            return match Frame::parse(&buffer[..length])?.next() {
                Some(Ok(Record::Takeover(step))) => Ok((step, descriptors)),
                Some(Ok(Record::Goodbye(reason))) => Err(ConversationError::Refused(reason.to_owned())),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(_)) | None => Err(ConversationError::Unexpected("takeover")),
            };
        }
    }

    fn send_frame(&self, step: Takeover, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut frame = FrameBuilder::new();
        frame.push(&Record::Takeover(step));
        self.link.get_ref().send(&[IoSlice::new(frame.bytes())], descriptors)
    }
}

/// Whether the kernel takes no more frames, or no more descriptors, until the other end has read some.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ETOOMANYREFS)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(10);

    fn converse<F: Future<Output = ()>>(words: impl FnOnce(Conversation, Conversation) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, other) = SeqPacket::pair().unwrap();
            words(Conversation::new(one).unwrap(), Conversation::new(other).unwrap()).await;
        });
    }

    #[test]
    fn more_descriptors_than_one_frame_carries_arrive_in_their_order() {
        converse(async |one, other| {
            let files: Vec<_> = (0..600).map(|_| crate::net::memory::file().unwrap()).collect();
            for (number, file) in files.iter().enumerate() {
                file.set_len(number as u64).unwrap();
            }
            let given = Takeover::Given { descriptors: files.len() };
            one.send_with(given.clone(), &files.iter().map(AsFd::as_fd).collect::<Vec<_>>()).await.unwrap();
            let (step, came) = other.receive(LONG).await.unwrap();
            assert_eq!(step, given);
            let numbers: Vec<u64> =
                came.into_iter().map(|fd| std::fs::File::from(fd).metadata().unwrap().len()).collect();
            assert_eq!(numbers, (0..600).collect::<Vec<u64>>());
        });
    }

    #[test]
    fn silence_a_refusal_a_wrong_word_and_the_end_are_told_apart() {
        converse(async |one, other| {
            let expected = async || other.expect(Takeover::Taken, "taken", SOON).await;
            assert!(matches!(expected().await, Err(ConversationError::Silent(_))));
            one.send(Takeover::Over).unwrap();
            assert!(matches!(expected().await, Err(ConversationError::Unexpected("taken"))));
            one.refuse("no");
            assert!(matches!(expected().await, Err(ConversationError::Refused(why)) if why == "no"));
            one.send(Takeover::Taken).unwrap();
            assert!(expected().await.is_ok());
            drop(one);
            assert!(matches!(expected().await, Err(ConversationError::Closed)));
        });
    }
}

//! The reasons why nothing was taken over.

use std::io;
use std::path::PathBuf;

use crate::pack::Damaged;
use crate::upgrade::conversation::ConversationError;

/// Reason why nothing was taken over. The dispatcher that runs, if there is one, serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// No dispatcher runs.
    #[error("no dispatcher runs in {}; start one without --takeover", .run_dir.display())]
    NotRunning {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// Neither the run directory nor the configuration has a key.
    #[error("the token key is gone from {}; put it back, or restart the dispatcher, whose workers have it", .run_dir.display())]
    NoKey {
        /// The run directory.
        run_dir: PathBuf,
    },
    /// The old dispatcher refused, or could not give.
    #[error("no takeover: {0}")]
    Refused(String),
    /// The old dispatcher closed the connection.
    #[error(
        "no takeover: the running dispatcher has ended meanwhile; see whether another has taken over, else start one without --takeover"
    )]
    Gone,
    /// The old dispatcher did not keep to the order of steps.
    #[error("no takeover: {0}")]
    Protocol(ConversationError),
    /// The state that came is not the one that was announced.
    #[error("no takeover: {0}")]
    Damaged(#[from] Damaged),
    /// The kernel refuses something.
    #[error("no takeover: {0}")]
    Kernel(#[from] io::Error),
}

impl From<ConversationError> for TakeoverError {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Refused(why) => TakeoverError::Refused(why),
            ConversationError::Closed => TakeoverError::Gone,
            error => TakeoverError::Protocol(error),
        }
    }
}

//! The transactions that a worker brings back to a new dispatcher.

/// A transaction of a worker that comes back, with the data that the dispatcher's table needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The name of the transaction: see `transaction::name`.
    pub name: [u8; 16],
    /// The name of its call.
    pub call: [u8; 16],
    /// The CSeq number.
    pub cseq: u32,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Whether its final response has been sent.
    pub is_answered: bool,
    /// Whether its CANCEL has come: if so, it is not offered to another worker.
    pub is_cancelled: bool,
}

//! A message that was handed over and has no answer yet, as its link knows it.

use super::Envelope;
use crate::pack::packed;

/// A message that a worker was given and has not answered. The dispatcher keeps a note `N` with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver<N> {
    /// The envelope with which it was handed over.
    pub envelope: Envelope,
    /// The note with which it was handed over.
    pub note: N,
    /// The message, byte for byte as it was handed over.
    pub payload: Vec<u8>,
    /// Whether it has left on the link. A message that was never sent cannot have killed the worker.
    pub sent: bool,
}

packed!(HandedOver<N> { envelope, note, payload, sent });

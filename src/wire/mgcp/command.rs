//! A command: its verb, endpoint and parameters (RFC 3435 §3.2).

use super::endpoint::EndpointName;
use super::fault::Fault;
use super::field::Field;
use super::line::{line_at, number, word};
use super::params::{Params, Table};
use super::ranges::Ranges;
use super::sessions::Sessions;
use super::transaction::TransactionId;
use super::verb::Verb;

/// A command as its sender wrote it.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    pub(super) bytes: &'a [u8],
    verb: Verb<'a>,
    transaction: TransactionId,
    endpoint: EndpointName<'a>,
    profile: &'a [u8],
    head_end: u16,
    params: Table<'a>,
}

impl<'a> Command<'a> {
    /// Reads the rest of a command whose line starts with `verb` and `transaction`; `rest` is the rest of that line.
    #[inline]
    pub(super) fn read(
        bytes: &'a [u8],
        verb: &'a [u8],
        transaction: TransactionId,
        rest: &'a [u8],
        head_end: usize,
    ) -> Result<Self, Fault> {
        let (endpoint, rest) = word(rest);
        let (protocol, rest) = word(rest);
        let (version, profile) = word(rest);
        if version.is_empty() {
            return Err(Fault::CommandLine);
        }
        if !protocol.eq_ignore_ascii_case(b"MGCP") || !is_known(version) {
            return Err(Fault::Version);
        }
        let endpoint = EndpointName::parse(endpoint).ok_or(Fault::EndpointName)?;
        let params = Table::read(bytes, head_end)?;
        let verb = Verb::new(verb);
        Ok(Command { bytes, verb, transaction, endpoint, profile, head_end: head_end as u16, params })
    }

    /// The whole command.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The command's verb.
    pub const fn verb(&self) -> Verb<'a> {
        self.verb
    }

    /// Its transaction identifier.
    pub const fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// The endpoint it is for.
    pub const fn endpoint(&self) -> EndpointName<'a> {
        self.endpoint
    }

    /// The profile after `MGCP 1.0`, such as `NCS 1.0`; usually empty.
    pub const fn profile(&self) -> &'a [u8] {
        self.profile
    }

    /// The length of the command line with its end, from the start of [`bytes`](Self::bytes).
    pub fn head_end(&self) -> usize {
        usize::from(self.head_end)
    }

    /// Every parameter, in order.
    pub fn params(&self) -> Params<'a> {
        self.params.all()
    }

    /// The value of the first parameter of that name.
    #[inline]
    pub fn param(&self, field: Field) -> Option<&'a [u8]> {
        self.params.value(field)
    }

    /// The value of the first extension called `name`, in any case: `X-Size`, `pkg/Name`.
    #[inline]
    pub fn extension(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.extension(name)
    }

    /// `C:`
    #[inline]
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.param(Field::CallId)
    }

    /// `I:`
    #[inline]
    pub fn connection_id(&self) -> Option<&'a [u8]> {
        self.param(Field::ConnectionId)
    }

    /// `K:`
    #[inline]
    pub fn acks(&self) -> Option<Ranges<'a>> {
        self.param(Field::ResponseAck).map(Ranges::new)
    }

    /// Its session descriptions; at most one by the RFC.
    pub fn descriptions(&self) -> Sessions<'a> {
        Sessions::new(self.params.body())
    }
}

impl std::fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Command({})", String::from_utf8_lossy(line_at(self.bytes, 0).0))
    }
}

/// Whether commands of this version are read: 1.0, and 0.1 as Cisco's equipment writes it, whose commands are the same.
fn is_known(version: &[u8]) -> bool {
    let mut numbers = version.splitn(2, |&byte| byte == b'.').map(number);
    let version = (numbers.next().flatten(), numbers.next().flatten());
    matches!(version, (Some(1), Some(0)) | (Some(0), Some(1)))
}

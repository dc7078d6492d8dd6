//! A response: the return code of a transaction, with parameters (RFC 3435 §3.3).

use super::fault::Fault;
use super::field::Field;
use super::line::{line_at, word};
use super::params::{Params, Table};
use super::return_code::ReturnCode;
use super::sessions::Sessions;
use super::transaction::TransactionId;

/// A response as its sender wrote it.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    bytes: &'a [u8],
    code: ReturnCode,
    transaction: TransactionId,
    package: Option<&'a [u8]>,
    comment: &'a [u8],
    params: Table<'a>,
}

impl<'a> Response<'a> {
    /// Reads the rest of a response whose line starts with `code` and `transaction`; `rest` is the rest of that line.
    #[inline]
    pub(super) fn read(
        bytes: &'a [u8],
        code: &'a [u8],
        transaction: TransactionId,
        rest: &'a [u8],
        head_end: usize,
    ) -> Result<Self, Fault> {
        let code = ReturnCode::parse(code).ok_or(Fault::ResponseLine)?;
        let (package, comment) = match rest {
            [b'/', named @ ..] => {
                let (package, comment) = word(named);
                (Some(package), comment)
            }
            _ => (None, rest),
        };
        let params = Table::read(bytes, head_end)?;
        Ok(Response { bytes, code, transaction, package, comment, params })
    }

    /// The whole response.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its return code.
    pub const fn code(&self) -> ReturnCode {
        self.code
    }

    /// The transaction it answers.
    pub const fn transaction(&self) -> TransactionId {
        self.transaction
    }

    /// The package that an 8xx code is of (§3.3).
    pub const fn package(&self) -> Option<&'a [u8]> {
        self.package
    }

    /// The text after the code; may be empty.
    pub const fn comment(&self) -> &'a [u8] {
        self.comment
    }

    /// Every parameter, in order.
    pub fn params(&self) -> Params<'a> {
        self.params.all()
    }

    /// The value of the first parameter of that name. `Z:` and `A:` may stand there several times (§3.3.6): see
    /// [`params`](Self::params).
    #[inline]
    pub fn param(&self, field: Field) -> Option<&'a [u8]> {
        self.params.value(field)
    }

    /// The value of the first extension called `name`, in any case.
    #[inline]
    pub fn extension(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params.extension(name)
    }

    /// Whether the sender wants a response acknowledgement (§3.5.6): an empty `K:`.
    pub fn asks_for_ack(&self) -> bool {
        self.param(Field::ResponseAck).is_some_and(<[u8]>::is_empty)
    }

    /// Its session descriptions: the local, then the remote one (§3.3.7).
    pub fn descriptions(&self) -> Sessions<'a> {
        Sessions::new(self.params.body())
    }
}

impl std::fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Response({})", String::from_utf8_lossy(line_at(self.bytes, 0).0))
    }
}

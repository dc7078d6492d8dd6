//! Why bytes are no message that can be worked with.

use super::return_code::ReturnCode;
use super::transaction::TransactionId;

/// A fault of a message, or the reason why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No byte but line ends.
    Empty,
    /// Neither a verb nor a response code in front.
    NotMgcp,
    /// Larger than a message may be.
    TooLarge,
    /// No transaction identifier of one to nine digits after the verb or the code.
    Transaction,
    /// A command line that is not `verb transaction endpoint MGCP version`.
    CommandLine,
    /// A version other than MGCP 1.0 and 0.1.
    Version,
    /// An endpoint name that cannot be read.
    EndpointName,
    /// A line that is no parameter.
    ParameterLine,
    /// More parameter lines than are read.
    TooManyParameters,
    /// A response code that is not three digits, or a response line that is broken in another way.
    ResponseLine,
}

impl Fault {
    /// Every fault, for counters.
    pub const ALL: [Fault; 10] = [
        Fault::Empty,
        Fault::NotMgcp,
        Fault::TooLarge,
        Fault::Transaction,
        Fault::CommandLine,
        Fault::Version,
        Fault::EndpointName,
        Fault::ParameterLine,
        Fault::TooManyParameters,
        Fault::ResponseLine,
    ];

    /// The return code that says so to the sender of a command.
    pub const fn code(self) -> ReturnCode {
        match self {
            Fault::Version => ReturnCode::INCOMPATIBLE_VERSION,
            _ => ReturnCode::PROTOCOL_ERROR,
        }
    }

    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            Fault::Empty => "empty",
            Fault::NotMgcp => "not-mgcp",
            Fault::TooLarge => "too-large",
            Fault::Transaction => "transaction",
            Fault::CommandLine => "command-line",
            Fault::Version => "version",
            Fault::EndpointName => "endpoint-name",
            Fault::ParameterLine => "parameter-line",
            Fault::TooManyParameters => "too-many-parameters",
            Fault::ResponseLine => "response-line",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// Bytes that are no message to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable<'a> {
    /// The fault.
    pub fault: Fault,
    /// The transaction identifier, where one could be read.
    pub transaction: Option<TransactionId>,
    /// Whether it starts like a response, which is never answered.
    pub is_response: bool,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Unparsable<'_> {
    /// The answer that is due: bytes that are no response and have a transaction identifier get one.
    pub fn answer(&self) -> Option<(ReturnCode, TransactionId)> {
        let transaction = self.transaction.filter(|_| !self.is_response)?;
        Some((self.fault.code(), transaction))
    }
}

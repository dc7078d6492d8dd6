//! The name of a message's method or verb, in one byte: tables with a great number of entries keep this.

/// A method of SIP or a verb of MGCP, or [`Label::Other`] for any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// A response.
    Response,
    /// A method or verb that has no name here.
    Other,
    /// INVITE.
    Invite,
    /// ACK.
    Ack,
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// OPTIONS.
    Options,
    /// INFO.
    Info,
    /// UPDATE.
    Update,
    /// PRACK.
    Prack,
    /// MESSAGE.
    Message,
    /// SUBSCRIBE.
    Subscribe,
    /// NOTIFY.
    Notify,
    /// REFER.
    Refer,
    /// PUBLISH.
    Publish,
    /// REGISTER.
    Register,
    /// EPCF.
    Epcf,
    /// CRCX.
    Crcx,
    /// MDCX.
    Mdcx,
    /// DLCX.
    Dlcx,
    /// RQNT.
    Rqnt,
    /// NTFY.
    Ntfy,
    /// AUEP.
    Auep,
    /// AUCX.
    Aucx,
    /// RSIP.
    Rsip,
    /// MESG.
    Mesg,
}

impl Label {
    /// The name as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Label::Response => "response",
            Label::Other => "other",
            Label::Invite => "INVITE",
            Label::Ack => "ACK",
            Label::Bye => "BYE",
            Label::Cancel => "CANCEL",
            Label::Options => "OPTIONS",
            Label::Info => "INFO",
            Label::Update => "UPDATE",
            Label::Prack => "PRACK",
            Label::Message => "MESSAGE",
            Label::Subscribe => "SUBSCRIBE",
            Label::Notify => "NOTIFY",
            Label::Refer => "REFER",
            Label::Publish => "PUBLISH",
            Label::Register => "REGISTER",
            Label::Epcf => "EPCF",
            Label::Crcx => "CRCX",
            Label::Mdcx => "MDCX",
            Label::Dlcx => "DLCX",
            Label::Rqnt => "RQNT",
            Label::Ntfy => "NTFY",
            Label::Auep => "AUEP",
            Label::Aucx => "AUCX",
            Label::Rsip => "RSIP",
            Label::Mesg => "MESG",
        }
    }
}

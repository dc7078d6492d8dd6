//! The name of a message's method or verb, in one byte: tables with a great number of entries keep this.

macro_rules! labels {
    ($($(#[doc = $doc:literal])* $label:ident = $name:literal;)+) => {
        /// A method of SIP or a verb of MGCP, or [`Label::Other`] for any other.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "a label is documented by its name")]
        pub enum Label {
            $($(#[doc = $doc])* $label,)+
        }

        impl Label {
            /// The name as it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Label::$label => $name,)+
                }
            }
        }
    };
}

labels! {
    /// A response.
    Response = "response";
    /// A method or verb that has no name here.
    Other = "other";
    Invite = "INVITE";
    Ack = "ACK";
    Bye = "BYE";
    Cancel = "CANCEL";
    Options = "OPTIONS";
    Info = "INFO";
    Update = "UPDATE";
    Prack = "PRACK";
    Message = "MESSAGE";
    Subscribe = "SUBSCRIBE";
    Notify = "NOTIFY";
    Refer = "REFER";
    Publish = "PUBLISH";
    Register = "REGISTER";
    Epcf = "EPCF";
    Crcx = "CRCX";
    Mdcx = "MDCX";
    Dlcx = "DLCX";
    Rqnt = "RQNT";
    Ntfy = "NTFY";
    Auep = "AUEP";
    Aucx = "AUCX";
    Rsip = "RSIP";
    Mesg = "MESG";
}

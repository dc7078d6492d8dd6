//! The certificates of the workers' own ports: the content of a file that comes beside a record.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The certificates that a worker's own SIP ports have, and the name in its Contact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Certificates {
    /// The name in Contact for TLS callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<String>,
    /// The certificates. Without any, the ports do not speak TLS.
    pub identities: Vec<Identity>,
}

/// One certificate, and the certificates that callers are asked for. All texts are PEM.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Identity {
    /// The certificate, and those that lead from it to its CA.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// Whether callers are asked for certificates: `none`, `optional`, `required`.
    pub client_certificates: String,
    /// The CAs whose certificates callers may show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<String>,
    /// Client certificates that have been revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

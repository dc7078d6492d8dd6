//! TLS: the certificates of listeners and workers.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::describe::quoted;
use super::error::Fault;
use super::mgcp::is_host;
use super::table::table_keys;
use super::{ClientCertificates, Config, Listen, Service};
use crate::words::Transport;

table_keys! {
    /// One table of the key `tls`: a certificate, and the certificates that callers are asked for. A caller that names
    /// a host (SNI) is shown the certificate made for it, any other caller the first one.
    ///
    /// ```toml
    /// [[tls]]
    /// certificate = "/etc/pointsman/sip.example.net.pem"
    /// key = "/etc/pointsman/sip.example.net.key"
    /// contact-name = "sip.example.net"
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    pub struct TlsIdentity {
        /// File of the certificate and those that lead from it to its CA (PEM).
        pub certificate: PathBuf,
        /// File of its private key (PEM).
        pub key: PathBuf,
        /// Name that workers write into Contact for TLS callers, in place of an address. Callers that verify
        /// certificates need one that the certificate is made for and that their DNS knows. Default: none.
        pub contact_name: Option<String>,
        /// Certificates that callers are asked for: `none`; `optional`, one that is shown must be valid; `required`.
        /// Default `none`.
        pub client_certificates: ClientCertificates,
        /// File of the CAs whose certificates callers may show (PEM). Default: none.
        pub client_ca: Option<PathBuf>,
        /// File of revoked client certificates (PEM, one list or several). Default: none.
        pub crl: Option<PathBuf>,
    }
}

/// Most certificates.
const IDENTITIES: usize = 64;

impl Config {
    /// Name that workers write into Contact for TLS callers.
    pub fn contact_name(&self) -> Option<&str> {
        self.tls.iter().find_map(|identity| identity.contact_name.as_deref())
    }

    /// Notes about settings for TLS that are allowed and probably not meant.
    pub(super) fn tls_notes(&self) -> impl Iterator<Item = String> + use<> {
        let is_spoken = self.listen.iter().any(|listen| listen.service.is_secure());
        let is_called = self.proxies.iter().any(|proxy| proxy.transport == Transport::Tls);
        let unused = !self.tls.is_empty() && !is_spoken && !is_called;
        let nameless = self.contact_name().is_none() && self.serves(Service::Tls);
        let is_required = self.tls.iter().any(|it| it.client_certificates == ClientCertificates::Required);
        let is_open = [Service::Udp, Service::Tcp, Service::Ws].into_iter().any(|service| self.serves(service));
        let notes = [
            (is_required && is_spoken && !is_open).then_some(
                "tls: `client-certificates = \"required\"` does not hold at the workers' own ports, which take UDP, TCP and \
                 TLS from everybody; admit only your callers there with [[access]] or a firewall",
            ),
            unused.then_some("tls: no listener speaks TLS; add one, such as tls:0.0.0.0:5061"),
            nameless.then_some(
                "tls: without `contact-name`, Contact names an IP address, which callers who verify the certificate \
                 reject",
            ),
        ];
        notes.into_iter().flatten().map(str::to_owned)
    }
}

impl TlsIdentity {
    /// Checks the identity alone; the error is the key within it, and the message.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let needed = [("certificate", &self.certificate), ("key", &self.key)];
        let optional = [("client-ca", &self.client_ca), ("crl", &self.crl)];
        if let Some((key, _)) = needed.iter().find(|(_, path)| path.as_os_str().is_empty()) {
            return Err((key, format!("`{key}` is missing; give the path of a PEM file")));
        }
        if let Some((key, _)) = optional.iter().find(|(_, path)| path.as_deref() == Some(Path::new(""))) {
            return Err((key, "the path is empty; give that of a PEM file, or leave it out".to_owned()));
        }
        if let Some(name) = &self.contact_name
            && !(is_host(name) && name.parse::<IpAddr>().is_err())
        {
            return Err(("contact-name", format!("`{name}` is not a host's name; give one such as sip.example.net")));
        }
        let mode = self.client_certificates;
        match (mode, &self.client_ca, &self.crl) {
            (ClientCertificates::None, Some(_), _) => Err((
                "client-ca",
                "no caller is asked for a certificate; add `client-certificates = \"optional\"` or \"required\""
                    .to_owned(),
            )),
            (ClientCertificates::None, None, None) | (_, Some(_), _) => Ok(()),
            (ClientCertificates::None, None, Some(_)) => {
                Err(("crl", "it speaks of certificates of a `client-ca`, and there is none".to_owned()))
            }
            (_, None, _) => Err((
                "client-certificates",
                format!("`{mode}` needs `client-ca`, the file of the CAs whose certificates are accepted"),
            )),
        }
    }

    /// Whether both ask callers for the same certificates.
    fn asks_the_same(&self, other: &TlsIdentity) -> bool {
        (self.client_certificates, &self.client_ca, &self.crl)
            == (other.client_certificates, &other.client_ca, &other.crl)
    }
}

/// Checks the certificates' settings, each alone, against each other and against the listeners.
pub(super) fn checked(given: Option<&[TlsIdentity]>, listen: &[Listen]) -> Result<Vec<TlsIdentity>, Fault> {
    let given = given.unwrap_or_default();
    if let Some(secure) = listen.iter().find(|listen| listen.service.is_secure())
        && given.is_empty()
    {
        let words = format!(
            "{secure} needs a certificate; write [[tls]] with `certificate = \"FILE.pem\"` and `key = \"FILE.key\"` \
             into the configuration file"
        );
        return Err(Fault::of("listen", words));
    }
    if given.len() > IDENTITIES {
        return Err(Fault::of("tls", format!("{} certificates are too many; give at most {IDENTITIES}", given.len())));
    }
    for (identity, number) in given.iter().zip(1..) {
        let fault = |key: &str, words: String| Fault::of(&format!("tls.{number}.{key}"), words);
        identity.check().map_err(|(key, words)| fault(key, words))?;
        let first = given.first().unwrap_or(identity);
        if !identity.asks_the_same(first) {
            // A caller could choose the name that asks for least.
            let words =
                "give each [[tls]] the same `client-certificates`, `client-ca` and `crl`: all lead to the same workers";
            return Err(fault("client-certificates", words.to_owned()));
        }
        let named = given.iter().find_map(|other| other.contact_name.as_ref());
        if let (Some(name), Some(named)) = (&identity.contact_name, named)
            && name != named
        {
            return Err(fault("contact-name", format!("workers name one host, and `{named}` stands before; keep one")));
        }
    }
    Ok(given.to_vec())
}

impl fmt::Display for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (certificate, key) = (quoted(self.certificate.display()), quoted(self.key.display()));
        write!(f, "{{ certificate = {certificate}, key = {key}")?;
        if let Some(name) = &self.contact_name {
            write!(f, ", contact-name = \"{name}\"")?;
        }
        write!(f, ", client-certificates = \"{}\"", self.client_certificates)?;
        for (key, path) in [("client-ca", &self.client_ca), ("crl", &self.crl)] {
            if let Some(path) = path {
                write!(f, ", {key} = {}", quoted(path.display()))?;
            }
        }
        f.write_str(" }")
    }
}

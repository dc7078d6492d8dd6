//! Workers on other hosts: where they connect, and by which certificates the two ends know each other.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::describe::quoted;
use super::error::Fault;
use super::mgcp::is_host;
use super::table::table_keys;
use crate::ids::WorkerId;

table_keys! {
    /// The table of the key `lan`.
    ///
    /// ```toml
    /// [lan]
    /// listen = "192.0.2.1:5090"
    /// certificate = "/etc/pointsman/lan/dispatcher.pem"
    /// key = "/etc/pointsman/lan/dispatcher.key"
    /// client-ca = "/etc/pointsman/lan/ca.pem"
    /// names = ["media1", "media2"]
    /// ```
    #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    pub struct Lan {
        /// Address at which workers on other hosts connect, as ADDR:PORT.
        pub listen: SocketAddr,
        /// File of the dispatcher's certificate (PEM).
        pub certificate: PathBuf,
        /// File of its private key (PEM).
        pub key: PathBuf,
        /// File of the CA that has made the workers' certificates (PEM).
        pub client_ca: PathBuf,
        /// Names of the workers that may come; each is the DNS name in its certificate. Default: every name that the CA
        /// has certified.
        #[serde(default)]
        pub names: Vec<String>,
    }
}

/// Most names.
const NAMES: usize = 1_024;

/// Checks the table.
pub(super) fn checked(given: Option<&Lan>) -> Result<Option<Lan>, Fault> {
    let Some(lan) = given else { return Ok(None) };
    let fault = |key: &str, words: String| Err(Fault::of(&format!("lan.{key}"), words));
    for (key, path) in [("certificate", &lan.certificate), ("key", &lan.key), ("client-ca", &lan.client_ca)] {
        if path == Path::new("") {
            return fault(
                key,
                "the path is empty; give that of a PEM file (`pointsman certify` makes them)".to_owned(),
            );
        }
    }
    if lan.names.len() > NAMES {
        return fault("names", format!("{} are too many; give at most {NAMES}, or none for all", lan.names.len()));
    }
    if let Some(name) = lan.names.iter().find(|name| !is_host(name) || name.parse::<WorkerId>().is_ok()) {
        return fault(
            "names",
            format!("`{name}` is not a name such as media1; w0, w1, … are the dispatcher's own slots"),
        );
    }
    Ok(Some(lan.clone()))
}

impl Lan {
    /// Whether the worker of this name may come.
    pub fn admits(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Lan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lan { listen, certificate, key, client_ca, names } = self;
        let [certificate, key, ca] = [certificate, key, client_ca].map(|path| quoted(path.display()));
        write!(f, "{{ listen = \"{listen}\", certificate = {certificate}, key = {key}, client-ca = {ca}")?;
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(quoted).collect();
            write!(f, ", names = [{}]", names.join(", "))?;
        }
        f.write_str(" }")
    }
}

//! A private CA and the certificates of a site's links over a network.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::config::is_host;
use crate::ids::WorkerId;

/// Names of the CA's files in its directory.
const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// The end that a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A dispatcher, by the names and addresses under which workers call it.
    Dispatcher(Vec<String>),
    /// The worker of this name.
    Worker(String),
}

/// The reason why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    /// The worker's name cannot be one.
    #[error("--worker: `{0}` is no name of a worker; give a DNS name, such as media1")]
    Worker(String),
    /// The worker's name has a meaning already.
    #[error("--worker: `{0}` is taken; give another DNS name, such as media1")]
    Taken(String),
    /// The dispatcher can have no such name.
    #[error("--dispatcher: `{0}` is neither a DNS name nor an address; give such as 192.0.2.1 or sip.example.net")]
    Dispatcher(String),
    /// A file is there already.
    #[error("{} is there already; for a new certificate remove {stem}.key and {stem}.pem, or give another name or --dir", .path.display())]
    There {
        /// Its path.
        path: PathBuf,
        /// The part of the files' names before the dot.
        stem: String,
    },
    /// A file cannot be made or read.
    #[error("{}: {error}; give another directory with --dir, or mend that", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The CA's key cannot be read.
    #[error(
        "{} holds no private key ({error}); put the right one back, or remove it and {CA} for a new CA, whose certificates \
         all hosts then need", .path.display()
    )]
    Key {
        /// Its path.
        path: PathBuf,
        /// The fault.
        error: rcgen::Error,
    },
    /// A name cannot stand in a certificate.
    #[error("{0}; give another name")]
    Certificate(#[from] rcgen::Error),
}

/// Makes the certificate of an end in `directory`, and the CA first where there is none. Returns the paths of the
/// certificate and its key.
///
/// # Errors
///
/// A file cannot be made or is there already, or a name cannot stand in a certificate.
pub fn certify(directory: &Path, end: &End) -> Result<(PathBuf, PathBuf), CertifyError> {
    end.check()?;
    fs::create_dir_all(directory).map_err(|error| CertifyError::File { path: directory.to_owned(), error })?;
    let issuer = authority(directory)?;
    let (stem, names, usage) = match end {
        End::Dispatcher(names) => ("dispatcher", names.clone(), ExtendedKeyUsagePurpose::ServerAuth),
        End::Worker(name) => (name.as_str(), vec![name.clone()], ExtendedKeyUsagePurpose::ClientAuth),
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, stem);
    params.extended_key_usages.push(usage);
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let paths = (directory.join(format!("{stem}.pem")), directory.join(format!("{stem}.key")));
    if let Some(path) = [&paths.1, &paths.0].into_iter().find(|path| path.exists()) {
        return Err(CertifyError::There { path: path.clone(), stem: stem.to_owned() });
    }
    write(&paths.1, &key.serialize_pem(), 0o600)?;
    write(&paths.0, &certificate.pem(), 0o644)?;
    Ok(paths)
}

impl End {
    /// Checks that the names can stand in a certificate, and in the names of files.
    fn check(&self) -> Result<(), CertifyError> {
        match self {
            End::Worker(name) if !is_host(name) || name.parse::<IpAddr>().is_ok() => {
                Err(CertifyError::Worker(name.clone()))
            }
            // Slots have the names w0, w1, …
            End::Worker(name) if ["ca", "dispatcher"].contains(&name.as_str()) || name.parse::<WorkerId>().is_ok() => {
                Err(CertifyError::Taken(name.clone()))
            }
            End::Worker(_) => Ok(()),
            End::Dispatcher(names) => {
                let is_name = |name: &String| is_host(name) || name.parse::<IpAddr>().is_ok();
                names
                    .iter()
                    .find(|name| !is_name(name))
                    .map_or(Ok(()), |name| Err(CertifyError::Dispatcher(name.clone())))
            }
        }
    }
}

/// The CA of a directory: the one that is there, or a new one.
fn authority(directory: &Path) -> Result<Issuer<'static, KeyPair>, CertifyError> {
    let (path, key_path) = (directory.join(CA), directory.join(CA_KEY));
    let read = |path: &Path| fs::read_to_string(path);
    match (read(&path), read(&key_path)) {
        (Ok(_), Ok(key)) => {
            let key = KeyPair::from_pem(&key).map_err(|error| CertifyError::Key { path: key_path, error })?;
            Ok(Issuer::new(of_authority(&key), key))
        }
        (Err(one), Err(other)) if [&one, &other].iter().all(|it| it.kind() == io::ErrorKind::NotFound) => {
            let key = KeyPair::generate()?;
            let params = of_authority(&key);
            let certificate = params.self_signed(&key)?;
            write(&key_path, &key.serialize_pem(), 0o600)?;
            write(&path, &certificate.pem(), 0o644)?;
            Ok(Issuer::new(params, key))
        }
        (Err(error), _) => Err(CertifyError::File { path, error }),
        (_, Err(error)) => Err(CertifyError::File { path: key_path, error }),
    }
}

/// The words of a CA's certificate. They follow from its key, so that the certificate need not be read.
fn of_authority(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // Two CAs of one name would be taken for each other by those who look for an issuer.
    let mark: String = key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("pointsman private CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertifyError> {
    let failed = |error| CertifyError::File { path: path.to_owned(), error };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

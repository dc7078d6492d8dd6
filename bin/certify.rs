//! `pointsman certify`: a private CA, and certificates for links to workers on other hosts.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use pointsman::net::lan::certify::{self, End};

use crate::output::{Failure, print};

/// Make a certificate for a dispatcher or for a worker on another host, and the private CA first where there is none.
#[derive(Args, Debug)]
#[command(after_help = "\
For a dispatcher that workers call 192.0.2.1, and two workers:
  pointsman certify --dir lan --dispatcher 192.0.2.1
  pointsman certify --dir lan --worker media1
  pointsman certify --dir lan --worker media2
Copy dispatcher.pem, dispatcher.key and ca.pem to the dispatcher's host, media1.pem, media1.key and ca.pem to that of \
media1. Keep ca.key on neither: whoever has it can make a worker.", group(ArgGroup::new("end").required(true)))]
pub struct Flags {
    /// Directory of the CA and of all that it makes
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Name or address by which workers call the dispatcher; give each that they use
    #[arg(long, value_name = "HOST", group = "end")]
    pub dispatcher: Vec<String>,
    /// Name of the worker
    #[arg(long, value_name = "NAME", group = "end")]
    pub worker: Option<String>,
}

/// Makes the certificate, and says where it lies.
pub fn run(flags: Flags) -> Result<(), Failure> {
    let end = match flags.worker {
        Some(name) => End::Worker(name),
        None => End::Dispatcher(flags.dispatcher),
    };
    let (certificate, key) = certify::certify(&flags.dir, &end).map_err(Failure::usage)?;
    print(&format!("{}\n{}\n", certificate.display(), key.display()))
}

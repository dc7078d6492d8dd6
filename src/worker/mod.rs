//! A worker process: the SDK for applications, and the built-in media.
//!
//! An application says what happens to a call ([`Application`]); [`run`] does the rest: the link to the dispatcher, the
//! slot's sockets, SIP ([`crate::call`]), reports, draining and stopping. All of it runs on one thread.
//!
//! ```no_run
//! use pointsman::worker::{Application, Call, Link, Settings, run};
//!
//! struct Busy;
//!
//! impl Application for Busy {
//!     fn on_call(&mut self, call: &mut Call<'_>) {
//!         call.reject(486).expect("a call that has just come in can be turned down");
//!     }
//! }
//!
//! run(Settings::new(Link::Path("/run/pointsman/handoff.sock".into())), Busy).unwrap();
//! ```

mod comeback;
mod descriptors;
mod duplicates;
pub mod external;
mod link;
mod media;
mod network;
mod own_ports;
mod process;
mod settings;
mod shell;
mod slot_lock;
mod sources;
mod turn;

pub use crate::station::{Application, Call, Calls, Echo, Misuse, Standalone};
pub use process::run;
pub use settings::{Link, Settings, WorkerError};

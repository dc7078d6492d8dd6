//! The kernel's side: system calls, sockets, the clock, locks, processes, name look-ups. The only directory with
//! `unsafe` code, all of it in `sys`.
//!
//! Nothing here decides anything, and nothing blocks: every call on a socket that a lane uses carries `MSG_DONTWAIT`,
//! because duplicates of a socket share their flags and `O_NONBLOCK` may be switched off through another one.

pub mod activation;
pub mod bind;
pub mod clock;
pub mod commands;
pub mod conns;
mod dns;
pub mod holders;
pub mod host;
mod inherited;
pub mod lan;
pub mod listener;
pub mod lock_file;
pub mod log;
pub mod memory;
pub mod notify;
pub mod process;
pub mod random;
pub mod resolve;
pub mod run_dir;
pub mod signals;
mod sockaddr;
pub mod streams;
mod sys;
pub mod tcp;
pub mod terminal;
pub mod tls;
pub mod udp;
pub mod unix;
pub mod watch;

pub use inherited::inherited;
pub use random::random;

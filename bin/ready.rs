//! `pointsman ready`: workers get new sessions again.

use pointsman::server::stats::AdminState;

pub use crate::drain::Workers as Flags;
use crate::output::Failure;

/// Makes the workers ready.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    crate::drain::order(flags, AdminState::Ready)
}

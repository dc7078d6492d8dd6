//! `pointsman ready`: workers get new sessions again.

use pointsman::admin::snapshot::AdminState;

pub use crate::drain::Flags;
use crate::drain::set;
use crate::output::Failure;

/// Makes the workers ready.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    set(flags, AdminState::Ready)
}

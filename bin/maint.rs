//! `pointsman maint`: workers are out of service on purpose.

use pointsman::server::stats::AdminState;

pub use crate::drain::Workers as Flags;
use crate::output::Failure;

/// Takes the workers out of service.
pub fn run(flags: &Flags) -> Result<(), Failure> {
    crate::drain::order(flags, AdminState::Maint)
}

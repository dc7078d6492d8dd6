//! The product where it is installed: under a real systemd with the units as shipped, and in a real container.
//!
//! Each test boots a machine of its own out of namespaces ([`machine`]), which ends with the test, however that ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../benches/end_to_end/generator/mod.rs"]
mod generator;
#[path = "../support/mod.rs"]
mod support;

mod container;
mod machine;
mod units;

//! Downstream proxies: SIP servers that know nothing of us, the pools that they form, and the routes to the pools.

use super::Network;

pub use pool::{Pool, PoolMode, PoolPolicy, RecordRoute};
pub use proxy::{LoadSource, Probe, ProbeFrom, Proxy};
pub use route::Route;

mod pool;
mod proxy;
mod route;

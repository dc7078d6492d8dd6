//! The kernel's random source: keys, incarnations, seeds. Every other generator gets its seed from here once.

use std::io;

use super::sys;

/// `N` random bytes.
///
/// # Errors
///
/// The system has no random source: no part that needs a secret may start then.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match sys::getrandom(&mut bytes[filled..]) {
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// A random number.
///
/// # Errors
///
/// As [`random`].
pub fn random_u64() -> io::Result<u64> {
    random().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
        assert_ne!(random_u64().unwrap(), random_u64().unwrap());
    }
}

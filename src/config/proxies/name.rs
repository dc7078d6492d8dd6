//! Names of proxies and pools.

/// Checks a name; the error is what to write instead.
pub(super) fn check(name: &str) -> Result<(), String> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=32).contains(&name.len()) && name.bytes().all(is_part) {
        return Ok(());
    }
    Err(format!("`{name}` is no name; give 1 to 32 of a to z, 0 to 9 and `-`"))
}

/// Whether it looks like the name of a worker: `w` and digits.
pub(super) fn is_of_worker(name: &str) -> bool {
    let digits = name.strip_prefix('w').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

//! Command lines of this user's processes, as the kernel shows them (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;

/// The processes of this user that can be seen, each with its command line: words that end with a zero byte.
pub fn own() -> impl Iterator<Item = (u32, Vec<u8>)> {
    let user = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(move |entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == user).then(|| of(pid)).flatten().map(|command| (pid, command))
    })
}

/// The command line of a process; `None` when it has ended or is the kernel's.
pub fn of(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|command| !command.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_our_own_is_there_with_its_words() {
        let first = std::env::args().next().unwrap();
        let (_, command) = own().find(|(pid, _)| *pid == std::process::id()).unwrap();
        assert_eq!(command.split(|byte| *byte == 0).next(), Some(first.as_bytes()));
    }
}

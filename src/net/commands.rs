//! Command lines of this user's processes, as the kernel shows them (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The visible processes of this user, each with its command line: words that end with a zero byte.
pub fn own() -> impl Iterator<Item = (u32, Vec<u8>)> {
    let user = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(move |entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == user).then(|| of(pid)).flatten().map(|command| (pid, command))
    })
}

/// The command line of a process; `None` when the process has ended or is a kernel thread.
pub fn of(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|command| !command.is_empty())
}

/// Whether `directory` is the same directory for the process `pid` as for this one: a process in another mount
/// namespace may have another one at that path.
pub fn sees(pid: u32, directory: &Path) -> bool {
    let place = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    // A symbolic link in the path would be followed from this process's root.
    let Ok(directory) = fs::canonicalize(directory) else { return false };
    let Ok(below) = directory.strip_prefix("/") else { return false };
    let theirs = place(&Path::new("/proc").join(pid.to_string()).join("root").join(below));
    theirs.is_some() && theirs == place(&directory)
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

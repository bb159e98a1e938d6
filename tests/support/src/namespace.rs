//! A process in which a test can have what the system gives to few: a mount of its own, or permissions that
//! hold for the superuser too.
//!
//! It is this test binary again, in a new user namespace (`unshare` of util-linux), told to run that one
//! test. Its mounts are seen by nobody else and go with it. Some systems allow no such namespace; a test that
//! has to do without says so.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

/// What a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To mount file systems.
    Mounts,
    /// To be held by the permissions of files.
    Permissions,
}

/// Tells the other process that it is the one.
const INSIDE: &str = "TEST_NAMESPACE";

impl Need {
    /// Options of `unshare`: as the superuser of a new namespace, or as nobody in particular.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Mounts => &["--map-root-user", "--mount"],
            Self::Permissions => &["--user"],
        }
    }

    fn run(self, command: &str, arguments: &[&str]) -> std::io::Result<Output> {
        let mut unshare = Command::new("unshare");
        let unshare = unshare.args(self.options()).arg(command).args(arguments);
        unshare.env(INSIDE, "1").output()
    }

    /// Whether the system gives it: mounts over a folder that each system has, or does nothing.
    fn is_given(self) -> Result<(), String> {
        let tried = match self {
            Self::Mounts => self.run("mount", &["-t", "tmpfs", "none", "/tmp"]),
            Self::Permissions => self.run("true", &[]),
        };
        match tried {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    }

    /// Whether this process has it. If not, the test of this name is run in one that has, and the rows that it
    /// prints are printed here.
    #[track_caller]
    pub fn is_here(self, test: &str) -> bool {
        let held = self == Self::Permissions && permissions_hold();
        if held || std::env::var_os(INSIDE).is_some() {
            return true;
        }
        if let Err(reason) = self.is_given() {
            // Not by println!, which is seen of failing tests alone.
            _ = writeln!(std::io::stderr(), "{test} is left out: {reason}");
            return false;
        }
        let this = std::env::current_exe().expect("this binary");
        let this = this.to_str().expect("its path is text");
        let output = self.run(this, &[test, "--exact", "--nocapture"]);
        let output = output.expect("this binary again");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains(" 1 passed"),
            "{test} {:?}: {}\n{said}\n{}",
            self.options(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        // The harness writes the name of its test before the first row, on the same line.
        let rows = said
            .lines()
            .filter_map(|line| line.find("| ").map(|at| &line[at..]));
        rows.for_each(|row| println!("{row}"));
        false
    }
}

/// Whether permissions hold for this process, as they do for all but the superuser.
fn permissions_hold() -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut permissions = folder.path().metadata().expect("a folder").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(folder.path(), permissions).expect("new permissions");
    std::fs::File::create(folder.path().join("file")).is_err()
}

/// A file system in memory; gone when dropped.
pub struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    /// Mounts one over `folder`.
    #[track_caller]
    pub fn over(folder: &'a Path, kib: u64) -> Self {
        let disk = Self(folder);
        disk.mount(&format!("size={kib}k"));
        disk
    }

    /// Gives it another size.
    #[track_caller]
    pub fn resize(&self, kib: u64) {
        self.mount(&format!("remount,size={kib}k"));
    }

    /// Lets nobody write to it, or everybody again.
    #[track_caller]
    pub fn set_read_only(&self, read_only: bool) {
        self.mount(if read_only {
            "remount,ro"
        } else {
            "remount,rw"
        });
    }

    /// The source is named each time: without it, mount adds the options in force, with a user by a number
    /// that the namespace does not have.
    #[track_caller]
    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", options, "none"]);
        let output = mount.arg(self.0).output().expect("the command mount");
        assert!(output.status.success(), "mount {options}: {output:?}");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // A folder that is mounted over cannot be removed.
        _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

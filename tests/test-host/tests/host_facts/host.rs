//! The host that the facts are held against: the test host, or a binary that the variable `FACTS_HOST` names.
//!
//! A named host has the command line of `spin up`. It is started for each test and looked into from outside
//! alone, through `/proc`. The test host serves from the test's own process, and starts in no time.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use test_host::sqlite::Database;
use test_host::{App, Server, Settings};

use support::wire::wait_until;

/// The manifest of a probe: of WASI 0.3, or of WASI 0.2.
fn manifest(probe: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(probe)
        .join("spin.toml")
}

const WASIP3: &str = "probe";
const WASIP2: &str = "probe-wasip2";

const HOW_TO_BUILD: &str = "The probes are built by: cargo build --target wasm32-wasip2 --release -p probe -p probe-wasip2";

/// The binary that is held to the facts, unless it is the test host.
pub(crate) fn named() -> Option<OsString> {
    std::env::var_os("FACTS_HOST").filter(|host| !host.is_empty())
}

/// A host that serves the probe, with a database of its own.
pub(crate) struct Host {
    running: Running,
    /// Removed after the host has ended.
    folder: TempDir,
}

enum Running {
    Here(Server),
    Named(Serving),
}

impl Host {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with_variables(&[("must_be_given", "given")]).unwrap()
    }

    /// Serves the probe of WASI 0.2.
    #[track_caller]
    pub(crate) fn wasip2() -> Self {
        Self::serve(WASIP2, &[]).unwrap()
    }

    /// # Errors
    /// What the test host says when it cannot serve. A named host that does not serve is a failure.
    #[track_caller]
    pub(crate) fn with_variables(variables: &[(&str, &str)]) -> Result<Self, String> {
        Self::serve(WASIP3, variables)
    }

    fn serve(probe: &str, variables: &[(&str, &str)]) -> Result<Self, String> {
        if named().is_some() {
            let mut up = Up::of(probe).with(&["--state-dir", "."]);
            up.command.env_remove("SPIN_VARIABLE_MUST_BE_GIVEN");
            for (name, value) in variables {
                let name = format!("SPIN_VARIABLE_{}", name.to_uppercase());
                up.command.env(name, value);
            }
            return Ok(Self {
                running: Running::Named(up.serve()),
                folder: up.folder,
            });
        }
        let folder = tempfile::tempdir().unwrap();
        let variables = variables.iter();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            database: Database::new(folder.path().join("sqlite_db.db")),
            variables: variables
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            log: None,
        };
        let server = Server::start(app(probe), settings).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            running: Running::Here(server),
            folder,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match &self.running {
            Running::Here(server) => server.address(),
            Running::Named(serving) => serving.address,
        }
    }

    /// Connections to the database that are open now.
    pub(crate) fn connections(&self) -> usize {
        match &self.running {
            Running::Here(server) => server.database().open_connections(),
            Running::Named(serving) => {
                let folder = self.folder.path().canonicalize().unwrap();
                serving.process.times_open(&folder.join("sqlite_db.db"))
            }
        }
    }
}

/// A probe, compiled once for all tests.
fn app(probe: &str) -> App {
    static APPS: [OnceLock<App>; 2] = [const { OnceLock::new() }; 2];
    let load =
        || App::load(&manifest(probe)).unwrap_or_else(|error| panic!("{error:#}\n{HOW_TO_BUILD}"));
    APPS[usize::from(probe == WASIP2)].get_or_init(load).clone()
}

/// The host's `up` for the probe, in a folder of its own as working directory.
pub(crate) struct Up {
    pub(crate) command: Command,
    pub(crate) folder: TempDir,
}

impl Up {
    pub(crate) fn new() -> Self {
        Self::of(WASIP3)
    }

    fn of(probe: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let named = named();
        // Spin does not tell which port it was given, so a free one is looked for here.
        let listen = match &named {
            Some(_) => TcpListener::bind("127.0.0.1:0").unwrap().local_addr(),
            None => Ok(([127, 0, 0, 1], 0).into()),
        };
        let mut command = Command::new(named.unwrap_or(env!("CARGO_BIN_EXE_test-host").into()));
        command
            .args(["up", "--listen", &listen.unwrap().to_string(), "--from"])
            .arg(manifest(probe))
            .current_dir(folder.path())
            .env("SPIN_VARIABLE_MUST_BE_GIVEN", "given")
            .stdout(Stdio::piped());
        Self { command, folder }
    }

    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    #[track_caller]
    pub(crate) fn serve(&mut self) -> Serving {
        let mut process = Process(self.command.stderr(Stdio::piped()).spawn().unwrap());
        let errors = BufReader::new(process.0.stderr.take().unwrap()).lines();
        // To this test's own output, which is shown if it fails.
        std::thread::spawn(|| {
            for line in errors.map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| {
            line.unwrap()
                .strip_prefix("Serving http://")
                .map(str::to_owned)
        });
        let Some(line) = line else {
            let status = process.0.wait().unwrap();
            panic!("{:?} did not serve: {status}\n{HOW_TO_BUILD}", self.command);
        };
        let address = line.trim_end_matches('/').parse().unwrap();
        // The rest is read too, lest the host write into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Serving { process, address }
    }

    #[track_caller]
    pub(crate) fn fail(&mut self) -> String {
        let mut process = Process(self.command.stderr(Stdio::piped()).spawn().unwrap());
        wait_until("the host has ended", || {
            process.0.try_wait().unwrap().is_some()
        });
        let status = process.0.wait().unwrap();
        let error = io::read_to_string(process.0.stderr.take().unwrap()).unwrap();
        assert_eq!(status.code(), Some(1), "{:?}\n{error}", self.command);
        error
    }
}

/// A host that serves.
pub(crate) struct Serving {
    process: Process,
    pub(crate) address: SocketAddr,
}

/// A process of the host, killed at the end of its test.
struct Process(Child);

impl Process {
    /// The process and its descendants: Spin serves from a child.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.0.id()];
        let mut next = 0;
        while let Some(pid) = family.get(next) {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children"));
                let children = children.unwrap_or_default();
                family.extend(
                    children
                        .split(' ')
                        .filter_map(|pid| pid.parse::<u32>().ok()),
                );
            }
            next += 1;
        }
        family
    }

    /// How many of its descriptors are of this file.
    fn times_open(&self, file: &Path) -> usize {
        let family = self.family().into_iter();
        let descriptors = family.flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap());
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link == file).count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = self.family().split_off(1);
        // Either may have ended by itself.
        let _ = self.0.kill();
        if !children.is_empty() {
            let pids = children.iter().map(u32::to_string);
            let _ = Command::new("kill").arg("-KILL").args(pids).status();
        }
        let _ = self.0.wait();
    }
}

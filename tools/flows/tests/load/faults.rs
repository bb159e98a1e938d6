//! Faults of a load: a kill, a damaged input, a full disk, no permission to write.
//!
//! Each fault is injected many times at random positions and has a row of tally. `SOAK=1` runs as many as
//! `make soak`.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::{Compression, GzBuilder};

use crate::promises::assert_counted;
use crate::sandbox::{FinishedLoad, PUBLISHED, Sandbox, generated, gzip, numbered};
use support::namespace::{Disk, Need};
use support::random::Random;
use support::tally::{Tally, short_or_long};

// Killed.

/// Up to three kills interrupt a load before it may end. A load from an open pipe cannot end before its kill; the
/// kill of a load from a file comes at a random moment of an undisturbed load's time.
#[test]
fn a_load_killed_at_any_moment_goes_on_and_leaves_what_one_clean_load_leaves() {
    let mut tally = Tally::of("`flows load` killed (SIGKILL) at a random moment, then run again");
    let input = Victim::new();
    let longest = input.time_of_a_clean_load();
    let kills = short_or_long(10, 100);
    let mut random = Random(kills as u64);
    let mut killed = 0;
    while killed < kills {
        let sandbox = input.sandbox();
        for _ in 0..(1 + random.below(3)).min(kills - killed) {
            let before = sandbox.visible() as usize;
            if random.below(2) == 0 {
                let length = random.below(input.text.len());
                let pause = Duration::from_millis(random.below(1_300) as u64);
                kill_load_from_pipe(&sandbox, &input.text[..length], pause);
            } else {
                kill_load_of_file(&sandbox, longest.mul_f64(random.below(1_100) as f64 / 1e3));
            }
            tally.saw(input.assert_begun(&sandbox, before));
            killed += 1;
        }
        input.assert_complete(&sandbox);
    }
    tally.note(format!(
        "undisturbed it takes {:.1} s",
        longest.as_secs_f64()
    ));
    tally.print();
}

/// Two readers run beside it: each count that they read is that of the old flows or of the new ones.
#[test]
fn a_replacement_killed_at_any_moment_leaves_the_old_flows_or_the_new_ones() {
    let mut tally = Tally::of("`flows load --replace` killed (SIGKILL) at a random moment");
    let mut random = Random(5);
    let texts = [generated(60_000, 1), generated(90_000, 2)];
    let sandbox = Sandbox::new();
    sandbox.write("0.gz", gzip(&texts[0]));
    sandbox.write("1.gz", gzip(&texts[1]));
    sandbox.load(&["0.gz"]).succeeds_with(&[]);
    let started = Instant::now();
    sandbox.load(&["1.gz", "--replace"]).succeeds_with(&[]);
    let longest = started.elapsed();
    let counts = texts.each_ref().map(|text| text.lines().count() as i64);
    let stop = AtomicBool::new(false);
    let (mut there, mut reads) = (1, 0);
    thread::scope(|scope| {
        let read = || {
            let database = sandbox.connect();
            let mut reads = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let count = "SELECT count(*), max(id) - min(id) + 1 FROM flows";
                let (rows, span) = database
                    .query_row(count, [], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
                    })
                    .unwrap();
                assert!(
                    counts.contains(&rows) && rows == span,
                    "{rows} rows over {span} ids"
                );
                reads += 1;
            }
            reads
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for _ in 0..short_or_long(10, 100) {
            let other = 1 - there;
            let mut command = sandbox.command(&[&format!("{other}.gz"), "--replace"]);
            let mut load = command.stdout(Stdio::null()).spawn().unwrap();
            // Half of the kills come around the end, at the swap of the tables.
            let least = [0, 800][random.below(2)];
            thread::sleep(longest.mul_f64((least + random.below(1_000)) as f64 / 1e3));
            load.kill().unwrap();
            load.wait().unwrap();
            let replaced = sandbox.visible() == counts[other];
            there = if replaced { other } else { there };
            assert!(sandbox.text() == texts[there], "the rows of {there}");
            assert_counted(&sandbox);
            tally.saw(if replaced {
                "the new flows"
            } else {
                "the old flows"
            });
        }
        stop.store(true, Ordering::Relaxed);
        reads = readers.map(|reader| reader.join().unwrap()).iter().sum();
    });
    // The next load removes what the kills left.
    let other = 1 - there;
    sandbox
        .load(&[&format!("{other}.gz"), "--replace"])
        .succeeds_with(&[]);
    assert!(sandbox.text() == texts[other]);
    let database = sandbox.connect();
    let left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'flows_incoming%'";
    let left: i64 = database.query_row(left, [], |row| row.get(0)).unwrap();
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!((left, check.unwrap().as_str()), (0, "ok"));
    sandbox.assert_in_order();
    tally.note(format!("{reads} reads beside it saw one or the other"));
    tally.print();
}

#[track_caller]
fn kill_load_from_pipe(sandbox: &Sandbox, text: &str, pause: Duration) {
    let mut load = sandbox.start(&["--rejects", "bad.txt"]);
    let mut stdin = load.stdin.take().unwrap();
    let text = text.to_owned();
    let feed = thread::spawn(move || {
        // The kill breaks the write; the pipe stays open until then.
        let _ = stdin.write_all(text.as_bytes());
        stdin
    });
    thread::sleep(pause);
    let ended = load.child.as_mut().unwrap().try_wait().unwrap();
    assert!(
        ended.is_none(),
        "a load from an open pipe has ended: {ended:?}"
    );
    drop(load);
    drop(feed.join().unwrap());
}

#[track_caller]
fn kill_load_of_file(sandbox: &Sandbox, pause: Duration) {
    let mut command = sandbox.command(&["flows.gz", "--rejects", "bad.txt"]);
    let mut load = command.stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(pause);
    load.kill().unwrap();
    load.wait().unwrap();
}

/// An input with bad lines, and the rows and rejects that it gives.
struct Victim {
    text: String,
    archive: Vec<u8>,
    rows: Vec<String>,
    rejects: String,
}

impl Victim {
    fn new() -> Self {
        let (mut text, mut rows, mut rejects) = (String::new(), Vec::new(), String::new());
        for (number, line) in (1..).zip(generated(300_000, 9).lines()) {
            text.push_str(&format!("{line}\n"));
            rows.push(format!("{number},{line}"));
            if number % 53 == 0 {
                text.push_str(&format!("bad {number}\n"));
                rejects.push_str(&format!("bad {number}\n"));
            }
        }
        Self {
            archive: gzip(&text),
            text,
            rows,
            rejects,
        }
    }

    /// The input beside an empty database.
    fn sandbox(&self) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.write("flows.gz", &self.archive);
        sandbox
    }

    #[track_caller]
    fn time_of_a_clean_load(&self) -> Duration {
        let sandbox = self.sandbox();
        let start = Instant::now();
        sandbox
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .succeeds_with(&[]);
        let taken = start.elapsed();
        self.assert_complete(&sandbox);
        taken
    }

    /// Asserts that the database holds the first of the expected rows, and no fewer than `before`.
    #[track_caller]
    fn assert_begun(&self, sandbox: &Sandbox, before: usize) -> &'static str {
        let rows = assert_beginning(sandbox, &self.rows);
        assert!(rows >= before, "{before} rows have become {rows}");
        reached(sandbox, rows, self.rows.len())
    }

    /// Loads the rest and compares.
    #[track_caller]
    fn assert_complete(&self, sandbox: &Sandbox) {
        // If the last kill came after the last commit, this load skips every line.
        sandbox
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .has_summary(&[]);
        assert_all(sandbox, &self.rows);
        let rejects = fs::read_to_string(sandbox.path("bad.txt")).unwrap();
        assert!(
            rejects == self.rejects,
            "{} bytes of rejects, not {}",
            rejects.len(),
            self.rejects.len()
        );
    }
}

/// Asserts that the rows are the first of `expected`; returns their number.
#[track_caller]
fn assert_beginning(sandbox: &Sandbox, expected: &[String]) -> usize {
    // There may be no table yet.
    let rows = match sandbox.visible() {
        0 => Vec::new(),
        _ => sandbox.rows(),
    };
    let differs = rows.iter().zip(expected).find(|(row, line)| row != line);
    assert!(
        differs.is_none() && rows.len() <= expected.len(),
        "{} rows of {}, differs: {differs:?}",
        rows.len(),
        expected.len()
    );
    rows.len()
}

/// Asserts that the rows are `expected` and that the database is intact and has its index.
#[track_caller]
fn assert_all(sandbox: &Sandbox, expected: &[String]) {
    assert_eq!(assert_beginning(sandbox, expected), expected.len());
    sandbox.assert_in_order();
    assert_counted(sandbox);
    let check = sandbox
        .connect()
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.unwrap(), "ok");
}

/// How far a load came.
fn reached(sandbox: &Sandbox, rows: usize, all: usize) -> &'static str {
    match rows {
        0 => "no row there",
        rows if rows < all => "some of the rows there",
        _ if sandbox.indexes().is_empty() => "all rows there, no index",
        _ => "all there",
    }
}

// A damaged input.

#[test]
fn a_gzip_that_is_cut_anywhere_is_refused_with_the_place_or_loads_the_members_it_has() {
    let mut tally = Tally::of("gzip cut off, loaded from a file and from a pipe");
    for (archive, tries) in archives() {
        let ends = archive.members.iter().map(|member| member.bytes.end);
        let around = ends.flat_map(|end| [end - 1, end, end + 1]);
        let mut random = Random(1);
        let anywhere = (0..tries).map(|_| random.below(archive.bytes.len()));
        for length in [0, 1, 2].into_iter().chain(around).chain(anywhere) {
            if length >= archive.bytes.len() {
                continue;
            }
            let members = &archive.members;
            let whole = length == 0 || members.iter().any(|member| member.bytes.end == length);
            let kept = members.iter().filter(|member| member.bytes.end <= length);
            let kept = kept.map(|member| member.text.end).max().unwrap_or(0);
            archive.load(&archive.bytes[..length], |outcome| match outcome {
                Outcome::Loaded(rows) => {
                    assert!(whole, "cut to {length}");
                    assert!(*rows == numbered(&archive.text[..kept]), "cut to {length}");
                    tally.saw(MEMBERS);
                }
                Outcome::Refused { line, bytes } => {
                    assert!(!whole, "cut to {length}");
                    // A beginning of two bytes tells gzip from text.
                    let bytes = bytes.unwrap_or(0);
                    let lines = archive.text[..bytes].matches('\n').count();
                    assert!(*line == lines + 1 && bytes >= kept, "cut to {length}");
                    tally.saw(REFUSED);
                }
            });
        }
    }
    assert!(tally.count(REFUSED) > 0 && tally.count(MEMBERS) > 0);
    tally.print();
}

#[test]
fn a_gzip_with_one_wrong_bit_is_refused_with_the_place_or_loads_as_if_it_were_right() {
    let mut tally = Tally::of("gzip with one wrong bit, loaded from a file and from a pipe");
    for (archive, tries) in archives() {
        let mut random = Random(2);
        let anywhere = (0..tries).map(|_| random.below(archive.bytes.len()));
        // Time, extra flags and system in a member's header do not affect its text.
        let idle = archive.members[1].bytes.start + 4..archive.members[1].head.end;
        let positions: Vec<_> = idle.clone().chain(anywhere).collect();
        for position in positions {
            let bit = random.below(8);
            let wrong = format!("bit {bit} of byte {position}");
            let member = archive.members.iter().find(|m| m.bytes.contains(&position));
            let member = member.unwrap();
            let mut damaged = archive.bytes.clone();
            damaged[position] ^= 1 << bit;
            archive.load(&damaged, |outcome| match outcome {
                Outcome::Loaded(rows) => {
                    // The last byte before the 8-byte trailer ends in padding bits.
                    let unread =
                        member.head.contains(&position) || position + 9 == member.bytes.end;
                    assert!(unread && *rows == numbered(&archive.text), "{wrong}");
                    tally.saw(NO_MEANING);
                }
                Outcome::Refused { line, bytes } => {
                    assert!(!idle.contains(&position), "{wrong}");
                    let before = member.text.start;
                    let lines = archive.text[..before].matches('\n').count();
                    let first = archive.members[0].head.contains(&position);
                    assert!(*line > lines, "{wrong}: line {line}");
                    // Damage to the first two bytes makes the file no gzip.
                    let late_enough = bytes.map_or(first, |bytes| bytes >= before);
                    assert!(late_enough, "{wrong}: {bytes:?} bytes");
                    tally.saw(REFUSED);
                }
            });
        }
    }
    assert!(tally.count(REFUSED) > 0 && tally.count(NO_MEANING) > 0);
    tally.print();
}

const REFUSED: &str = "refused, line and byte named, no row loaded";
const MEMBERS: &str = "cut between members: the rows of the whole ones";
const NO_MEANING: &str = "a bit without meaning: all rows";

/// A small archive for many tries, and one that takes several reads.
fn archives() -> [(Archive, usize); 2] {
    [
        (Archive::new(60), short_or_long(80, 1_900)),
        (Archive::new(9_000), short_or_long(4, 100)),
    ]
}

/// A gzip file whose members end where lines end.
struct Archive {
    bytes: Vec<u8>,
    text: String,
    members: Vec<Member>,
}

/// The ranges of a member and its header in the file, and of its text in the whole text.
struct Member {
    bytes: Range<usize>,
    head: Range<usize>,
    text: Range<usize>,
}

/// The outcome of loading an archive.
enum Outcome {
    Loaded(Vec<String>),
    /// Refused at this line, after `bytes` bytes of text.
    Refused {
        line: usize,
        bytes: Option<usize>,
    },
}

impl Archive {
    fn new(lines: u64) -> Self {
        let mut archive = Self {
            bytes: Vec::new(),
            text: String::new(),
            members: Vec::new(),
        };
        for seed in 1..=4 {
            archive.add(&generated(lines, seed), seed == 1);
        }
        archive
    }

    /// Adds a member; with `all`, its header has every optional field.
    fn add(&mut self, text: &str, all: bool) {
        let (start, text_start) = (self.bytes.len(), self.text.len());
        let (builder, head) = if all {
            let builder = GzBuilder::new().filename("flows").comment("of a day");
            let builder = builder.extra(b"AB\x02\0cd".to_vec());
            (builder.mtime(1_700_000_000), 10 + 8 + 6 + 9)
        } else {
            (GzBuilder::new(), 10)
        };
        let mut encoder = builder.write(&mut self.bytes, Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        self.text.push_str(text);
        self.members.push(Member {
            bytes: start..self.bytes.len(),
            head: start..start + head,
            text: text_start..self.text.len(),
        });
    }

    /// Loads `damaged` from a file and from a pipe, calls `judge`, then loads the intact archive.
    #[track_caller]
    fn load(&self, damaged: &[u8], mut judge: impl FnMut(&Outcome)) {
        for name in ["flows.gz", "standard input"] {
            let sandbox = Sandbox::new();
            let load = if name == "flows.gz" {
                sandbox.write(name, damaged);
                sandbox.load(&[name])
            } else {
                sandbox.pipe(damaged, &[])
            };
            let outcome = if load.output.status.success() {
                Outcome::Loaded(sandbox.rows())
            } else {
                assert_eq!(sandbox.rows(), Vec::<String>::new(), "{}", load.shown());
                refused(&load, name)
            };
            judge(&outcome);
            sandbox.write("flows.gz", &self.bytes);
            sandbox.load(&["flows.gz"]).has_summary(&[]);
            assert!(sandbox.rows() == numbered(&self.text), "{}", load.shown());
        }
    }
}

/// The line and byte that an error names.
#[track_caller]
fn refused(load: &FinishedLoad, name: &str) -> Outcome {
    load.fails_with(&[]);
    let message = String::from_utf8_lossy(&load.output.stderr).into_owned();
    let number = |lead: &str| {
        let (_, rest) = message.split_once(lead)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    };
    let line = number(&format!("{name}:"));
    Outcome::Refused {
        line: line.unwrap_or_else(|| panic!("no line: {message}")),
        bytes: number("after "),
    }
}

// No room.

/// Enough room for every load here.
const PLENTY_KIB: u64 = 512 * 1024;

#[test]
fn a_load_that_fills_the_disk_says_so_and_goes_on_once_there_is_room() {
    if !Need::Mounts
        .is_here("faults::a_load_that_fills_the_disk_says_so_and_goes_on_once_there_is_room")
    {
        return;
    }
    let mut tally = Tally::of("disk full (tmpfs of a random size), then room made");
    let input = TooMuch::new();
    let archive = gzip(fs::read(input.path()).unwrap());
    // The write-ahead log needs up to half the size of the database.
    for kib in input.rooms(2) {
        let sandbox = Sandbox::new();
        let disk = Disk::over(sandbox.folder.path(), kib);
        // A compressed pipe is spooled to the disk first.
        let load = match kib % 2 {
            0 => sandbox.load(&[&input.path()]),
            _ => sandbox.pipe(&archive, &[]),
        };
        disk.resize(PLENTY_KIB);
        tally.saw(input.go_on(&sandbox, &load));
    }
    tally.print();
}

/// Needs no mount: the shell limits the size of a file.
#[cfg(unix)]
#[test]
fn a_load_whose_files_may_not_grow_says_so_and_goes_on_once_they_may() {
    let mut tally = Tally::of("file size limited to a random size, then not");
    let input = TooMuch::new();
    for kib in input.rooms(1) {
        let sandbox = Sandbox::new();
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec {} load {} --db {}",
            kib * 2,
            env!("CARGO_BIN_EXE_flows"),
            input.path(),
            sandbox.db().display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let load = FinishedLoad {
            arguments: script,
            output,
        };
        tally.saw(input.go_on(&sandbox, &load));
    }
    tally.print();
}

/// An input of several commits, and the size of the database that it makes.
struct TooMuch {
    source: Sandbox,
    rows: Vec<String>,
    kib: u64,
}

impl TooMuch {
    #[track_caller]
    fn new() -> Self {
        let source = Sandbox::new();
        let text = generated(250_000, 3);
        source.write("flows.txt", &text);
        source.load(&["flows.txt"]).succeeds_with(&[]);
        Self {
            rows: numbered(&text),
            kib: fs::metadata(source.db()).unwrap().len() / 1024,
            source,
        }
    }

    fn path(&self) -> String {
        self.source.path("flows.txt").to_str().unwrap().to_owned()
    }

    /// Sizes up to `times` that of the database, some of them too small for an empty database.
    fn rooms(&self, times: u64) -> impl Iterator<Item = u64> {
        let mut random = Random(3);
        let most = [200, times * self.kib, times * self.kib];
        (0..short_or_long(12, 100)).map(move |n| 4 + random.below(most[n % 3] as usize) as u64)
    }

    /// Checks what a load with little room has left, then loads the rest with enough room.
    #[track_caller]
    fn go_on(&self, sandbox: &Sandbox, load: &FinishedLoad) -> String {
        let rows = assert_beginning(sandbox, &self.rows);
        let seen = if load.output.status.success() {
            assert_all(sandbox, &self.rows);
            "there was room enough".to_owned()
        } else {
            // The error names the database, or the folder of the spooled stream.
            load.fails_with(&[sandbox.folder.path().to_str().unwrap()]);
            let reached = reached(sandbox, rows, self.rows.len());
            format!("error that names the place, {reached}")
        };
        sandbox.load(&[&self.path()]).has_summary(&[]);
        assert_all(sandbox, &self.rows);
        seen
    }
}

// Nothing it may write to.

#[test]
fn a_read_only_file_system_is_named_and_nothing_changes() {
    if !Need::Mounts.is_here("faults::a_read_only_file_system_is_named_and_nothing_changes") {
        return;
    }
    let mut tally = Tally::of("load into a database on a read-only file system");
    for there in [true, false] {
        let sandbox = Sandbox::new();
        let disk = Disk::over(sandbox.folder.path(), PLENTY_KIB);
        let set = |read_only| disk.set_read_only(read_only);
        assert_unchanged_by_loads(&mut tally, &sandbox, there, &["Read-only file system"], set);
    }
    tally.print();
}

#[cfg(unix)]
#[test]
fn files_without_permission_to_write_are_named_and_nothing_changes() {
    use std::os::unix::fs::PermissionsExt as _;
    let test = "faults::files_without_permission_to_write_are_named_and_nothing_changes";
    if !Need::Permissions.is_here(test) {
        return;
    }
    let mut tally = Tally::of("load into a database without permission to write");
    // Permissions of the folder and of the database in it.
    for (folder, file) in [(0o555, 0o444), (0o555, 0o644), (0o755, 0o444)] {
        for there in [true, false] {
            if !there && folder == 0o755 {
                continue;
            }
            let sandbox = Sandbox::new();
            let set = |read_only| {
                let set = |path: &Path, mode| {
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                };
                if there {
                    set(&sandbox.db(), if read_only { file } else { 0o644 });
                }
                set(
                    sandbox.folder.path(),
                    if read_only { folder } else { 0o755 },
                );
            };
            assert_unchanged_by_loads(&mut tally, &sandbox, there, &[], set);
        }
    }
    tally.print();
}

/// An unknown write version in the file's header makes a database read-only for every user, the superuser
/// included.
#[test]
fn a_database_that_may_not_be_written_is_named_and_nothing_changes() {
    let mut tally = Tally::of("load into a database that SQLite may only read");
    let sandbox = Sandbox::new();
    let set = |read_only| {
        let mut database = fs::read(sandbox.db()).unwrap();
        database[18] = if read_only { 9 } else { 2 };
        fs::write(sandbox.db(), database).unwrap();
    };
    assert_unchanged_by_loads(&mut tally, &sandbox, true, &["database", "readonly"], set);
    tally.print();
}

/// Loads while `sandbox` is read-only and after; a database exists before if `there`.
#[track_caller]
fn assert_unchanged_by_loads(
    tally: &mut Tally,
    sandbox: &Sandbox,
    there: bool,
    reasons: &[&str],
    set_read_only: impl Fn(bool),
) {
    let before = if there { PUBLISHED } else { "" };
    if there {
        sandbox.pipe(before, &[]).succeeds_with(&[]);
    }
    let more = generated(1_000, 1);
    let reasons = [&["flows.db"], reasons].concat();
    set_read_only(true);
    sandbox.pipe(&more, &[]).fails_with(&reasons);
    sandbox.pipe(gzip(&more), &[]).fails_with(&reasons);
    sandbox.pipe(&more, &["--replace"]).fails_with(&reasons);
    set_read_only(false);
    tally.saw_times("error that names the file, nothing changed", 3);
    if there {
        assert_eq!(sandbox.rows(), numbered(before));
    }
    sandbox.pipe(&more, &[]).succeeds_with(&["1000 rows"]);
    assert_all(sandbox, &numbered(&(before.to_owned() + &more)));
}

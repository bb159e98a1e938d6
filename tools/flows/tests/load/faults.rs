//! What a load meets when things go wrong: killed, a damaged input, no room, nothing it may write to. Each is
//! tried often and at random places, and has a row of figures; with `SOAK=1` the counts are those of
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

use crate::figures::{Figures, short_or_long};
use crate::namespace::{Disk, Need};
use crate::place::{Answer, PUBLISHED, Place, generated, gzip, numbered};
use crate::random::Random;

// Killed.

/// Up to three kills hit a load before it may end. One from a pipe that stays open cannot be through by then;
/// one of a file is hit somewhere in the time that it takes by itself.
#[test]
fn a_load_killed_at_any_moment_goes_on_and_leaves_what_one_clean_load_leaves() {
    let mut figures =
        Figures::of("`flows load` killed (SIGKILL) at a random moment, then run again");
    let input = Victim::new();
    let longest = input.time_of_a_clean_load();
    let kills = short_or_long(10, 100);
    let mut random = Random(kills as u64);
    let mut killed = 0;
    while killed < kills {
        let place = input.place();
        for _ in 0..(1 + random.below(3)).min(kills - killed) {
            let before = place.visible() as usize;
            if random.below(2) == 0 {
                let length = random.below(input.text.len());
                let pause = Duration::from_millis(random.below(1_300) as u64);
                kill_load_from_pipe(&place, &input.text[..length], pause);
            } else {
                kill_load_of_file(&place, longest.mul_f64(random.below(1_100) as f64 / 1e3));
            }
            figures.saw(input.assert_begun(&place, before));
            killed += 1;
        }
        input.assert_complete(&place);
    }
    figures.note(format!(
        "undisturbed it takes {:.1} s",
        longest.as_secs_f64()
    ));
    figures.print();
}

/// Readers look on: each count and sum is that of the old flows or of the new ones.
#[test]
fn a_replacement_killed_at_any_moment_leaves_the_old_flows_or_the_new_ones() {
    let mut figures = Figures::of("`flows load --replace` killed (SIGKILL) at a random moment");
    let mut random = Random(5);
    let texts = [generated(60_000, 1), generated(90_000, 2)];
    let place = Place::new();
    place.write("0.gz", gzip(&texts[0]));
    place.write("1.gz", gzip(&texts[1]));
    place.load(&["0.gz"]).succeeds_with(&[]);
    let started = Instant::now();
    place.load(&["1.gz", "--replace"]).succeeds_with(&[]);
    let longest = started.elapsed();
    let counts = texts.each_ref().map(|text| text.lines().count() as i64);
    let stop = AtomicBool::new(false);
    let (mut there, mut reads) = (1, 0);
    thread::scope(|scope| {
        let read = || {
            let database = place.connect();
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
            let mut command = place.command(&[&format!("{other}.gz"), "--replace"]);
            let mut load = command.stdout(Stdio::null()).spawn().unwrap();
            // Half of them around its end, where the tables change places.
            let least = [0, 800][random.below(2)];
            thread::sleep(longest.mul_f64((least + random.below(1_000)) as f64 / 1e3));
            load.kill().unwrap();
            load.wait().unwrap();
            let replaced = place.visible() == counts[other];
            there = if replaced { other } else { there };
            assert!(place.text() == texts[there], "the rows of {there}");
            figures.saw(if replaced {
                "the new flows"
            } else {
                "the old flows"
            });
        }
        stop.store(true, Ordering::Relaxed);
        reads = readers.map(|reader| reader.join().unwrap()).iter().sum();
    });
    // What was left of the kills goes with the next load.
    let other = 1 - there;
    place
        .load(&[&format!("{other}.gz"), "--replace"])
        .succeeds_with(&[]);
    assert!(place.text() == texts[other]);
    let database = place.connect();
    let left = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'flows_incoming%'";
    let left: i64 = database.query_row(left, [], |row| row.get(0)).unwrap();
    let check = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!((left, check.unwrap().as_str()), (0, "ok"));
    place.assert_in_order();
    figures.note(format!("{reads} reads beside it saw one or the other"));
    figures.print();
}

#[track_caller]
fn kill_load_from_pipe(place: &Place, text: &str, pause: Duration) {
    let mut load = place.start(&["--rejects", "bad.txt"]);
    let mut stdin = load.stdin.take().unwrap();
    let text = text.to_owned();
    let feed = thread::spawn(move || {
        // Broken off by the kill; the pipe stays open until then.
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
fn kill_load_of_file(place: &Place, pause: Duration) {
    let mut command = place.command(&["flows.gz", "--rejects", "bad.txt"]);
    let mut load = command.stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(pause);
    load.kill().unwrap();
    load.wait().unwrap();
}

/// An input with bad lines in it, and what becomes of it.
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
    fn place(&self) -> Place {
        let place = Place::new();
        place.write("flows.gz", &self.archive);
        place
    }

    #[track_caller]
    fn time_of_a_clean_load(&self) -> Duration {
        let place = self.place();
        let start = Instant::now();
        place
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .succeeds_with(&[]);
        let taken = start.elapsed();
        self.assert_complete(&place);
        taken
    }

    /// What is there is the beginning of what has to come, and no less than `before`.
    #[track_caller]
    fn assert_begun(&self, place: &Place, before: usize) -> &'static str {
        let rows = assert_beginning(place, &self.rows);
        assert!(rows >= before, "{before} rows have become {rows}");
        reached(place, rows, self.rows.len())
    }

    /// Loads the rest, and compares.
    #[track_caller]
    fn assert_complete(&self, place: &Place) {
        // It may have been killed when all was done, and skips all then.
        place
            .load(&["flows.gz", "--rejects", "bad.txt"])
            .sums_up(&[]);
        assert_all(place, &self.rows);
        let rejects = fs::read_to_string(place.path("bad.txt")).unwrap();
        assert!(
            rejects == self.rejects,
            "{} bytes of rejects, not {}",
            rejects.len(),
            self.rejects.len()
        );
    }
}

/// The rows in `place` are the first of `expected`; gives how many.
#[track_caller]
fn assert_beginning(place: &Place, expected: &[String]) -> usize {
    // There may be no table yet.
    let rows = match place.visible() {
        0 => Vec::new(),
        _ => place.rows(),
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

/// The rows in `place` are `expected`, and the database is whole and ready to be served.
#[track_caller]
fn assert_all(place: &Place, expected: &[String]) {
    assert_eq!(assert_beginning(place, expected), expected.len());
    place.assert_in_order();
    let check = place
        .connect()
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(check.unwrap(), "ok");
}

/// How far a load has come.
fn reached(place: &Place, rows: usize, all: usize) -> &'static str {
    match rows {
        0 => "no row there",
        rows if rows < all => "some of the rows there",
        _ if place.indexes().is_empty() => "all rows there, no index",
        _ => "all there",
    }
}

// A damaged input.

#[test]
fn a_gzip_that_is_cut_anywhere_is_refused_with_the_place_or_loads_the_members_it_has() {
    let mut figures = Figures::of("gzip cut off, loaded from a file and from a pipe");
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
                    figures.saw(MEMBERS);
                }
                Outcome::Refused { line, bytes } => {
                    assert!(!whole, "cut to {length}");
                    // A beginning of two bytes tells gzip from text.
                    let bytes = bytes.unwrap_or(0);
                    let lines = archive.text[..bytes].matches('\n').count();
                    assert!(*line == lines + 1 && bytes >= kept, "cut to {length}");
                    figures.saw(REFUSED);
                }
            });
        }
    }
    assert!(figures.count(REFUSED) > 0 && figures.count(MEMBERS) > 0);
    figures.print();
}

#[test]
fn a_gzip_with_one_wrong_bit_is_refused_with_the_place_or_loads_as_if_it_were_right() {
    let mut figures = Figures::of("gzip with one wrong bit, loaded from a file and from a pipe");
    for (archive, tries) in archives() {
        let mut random = Random(2);
        let anywhere = (0..tries).map(|_| random.below(archive.bytes.len()));
        // Time, extra flags and system in a member's head say nothing of its text.
        let idle = archive.members[1].bytes.start + 4..archive.members[1].head.end;
        let places: Vec<_> = idle.clone().chain(anywhere).collect();
        for place in places {
            let bit = random.below(8);
            let wrong = format!("bit {bit} of byte {place}");
            let member = archive.members.iter().find(|m| m.bytes.contains(&place));
            let member = member.unwrap();
            let mut damaged = archive.bytes.clone();
            damaged[place] ^= 1 << bit;
            archive.load(&damaged, |outcome| match outcome {
                Outcome::Loaded(rows) => {
                    // The last byte before the eight of the checksum is filled up with bits.
                    let unread = member.head.contains(&place) || place + 9 == member.bytes.end;
                    assert!(unread && *rows == numbered(&archive.text), "{wrong}");
                    figures.saw(NO_MEANING);
                }
                Outcome::Refused { line, bytes } => {
                    assert!(!idle.contains(&place), "{wrong}");
                    let before = member.text.start;
                    let lines = archive.text[..before].matches('\n').count();
                    let first = archive.members[0].head.contains(&place);
                    assert!(*line > lines, "{wrong}: line {line}");
                    // Without its first two bytes a file is no gzip.
                    let late_enough = bytes.map_or(first, |bytes| bytes >= before);
                    assert!(late_enough, "{wrong}: {bytes:?} bytes");
                    figures.saw(REFUSED);
                }
            });
        }
    }
    assert!(figures.count(REFUSED) > 0 && figures.count(NO_MEANING) > 0);
    figures.print();
}

const REFUSED: &str = "refused, line and byte named, no row loaded";
const MEMBERS: &str = "cut between members: the rows of the whole ones";
const NO_MEANING: &str = "a bit without meaning: all rows";

/// A small archive that is tried often, and one that takes several reads.
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

/// Where a member is in the file, its head in there, and its text in that of all.
struct Member {
    bytes: Range<usize>,
    head: Range<usize>,
    text: Range<usize>,
}

/// How the load of an archive has ended.
enum Outcome {
    Loaded(Vec<String>),
    /// At this line, after so many bytes of text.
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

    /// Adds a member; with `all`, its head has everything that a head can have.
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

    /// Loads `damaged` from a file and from a pipe, has `judge` look, and loads what it should have been.
    #[track_caller]
    fn load(&self, damaged: &[u8], mut judge: impl FnMut(&Outcome)) {
        for name in ["flows.gz", "standard input"] {
            let place = Place::new();
            let answer = if name == "flows.gz" {
                place.write(name, damaged);
                place.load(&[name])
            } else {
                place.pipe(damaged, &[])
            };
            let outcome = if answer.output.status.success() {
                Outcome::Loaded(place.rows())
            } else {
                assert_eq!(place.rows(), Vec::<String>::new(), "{}", answer.shown());
                refused(&answer, name)
            };
            judge(&outcome);
            place.write("flows.gz", &self.bytes);
            place.load(&["flows.gz"]).sums_up(&[]);
            assert!(place.rows() == numbered(&self.text), "{}", answer.shown());
        }
    }
}

/// The place that an error names.
#[track_caller]
fn refused(answer: &Answer, name: &str) -> Outcome {
    answer.fails_with(&[]);
    let message = String::from_utf8_lossy(&answer.output.stderr).into_owned();
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

/// Enough for whatever is loaded here.
const PLENTY_KIB: u64 = 512 * 1024;

#[test]
fn a_load_that_fills_the_disk_says_so_and_goes_on_once_there_is_room() {
    if !Need::Mounts
        .is_here("faults::a_load_that_fills_the_disk_says_so_and_goes_on_once_there_is_room")
    {
        return;
    }
    let mut figures = Figures::of("disk full (tmpfs of a random size), then room made");
    let input = TooMuch::new();
    let archive = gzip(fs::read(input.path()).unwrap());
    // Besides the database there is its log, of half the size.
    for kib in input.rooms(2) {
        let place = Place::new();
        let disk = Disk::over(place.folder.path(), kib);
        // A compressed pipe is stored on the disk first.
        let answer = match kib % 2 {
            0 => place.load(&[&input.path()]),
            _ => place.pipe(&archive, &[]),
        };
        disk.resize(PLENTY_KIB);
        figures.saw(input.go_on(&place, &answer));
    }
    figures.print();
}

/// Where nothing can be mounted too: the shell limits the size of a file.
#[cfg(unix)]
#[test]
fn a_load_whose_files_may_not_grow_says_so_and_goes_on_once_they_may() {
    let mut figures = Figures::of("file size limited to a random size, then not");
    let input = TooMuch::new();
    for kib in input.rooms(1) {
        let place = Place::new();
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec {} load {} --db {}",
            kib * 2,
            env!("CARGO_BIN_EXE_flows"),
            input.path(),
            place.db().display()
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let answer = Answer {
            arguments: script,
            output,
        };
        figures.saw(input.go_on(&place, &answer));
    }
    figures.print();
}

/// An input of several commits, and the size of the database that it makes.
struct TooMuch {
    source: Place,
    rows: Vec<String>,
    kib: u64,
}

impl TooMuch {
    #[track_caller]
    fn new() -> Self {
        let source = Place::new();
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

    /// Sizes up to so many times that of the database, some of them too small for an empty one.
    fn rooms(&self, times: u64) -> impl Iterator<Item = u64> {
        let mut random = Random(3);
        let most = [200, times * self.kib, times * self.kib];
        (0..short_or_long(12, 100)).map(move |n| 4 + random.below(most[n % 3] as usize) as u64)
    }

    /// Looks at what a load has left that had little room, and loads the rest, now that there is more.
    #[track_caller]
    fn go_on(&self, place: &Place, answer: &Answer) -> String {
        let rows = assert_beginning(place, &self.rows);
        let seen = if answer.output.status.success() {
            assert_all(place, &self.rows);
            "there was room enough".to_owned()
        } else {
            // The database, or the folder that a stream is stored in.
            answer.fails_with(&[place.folder.path().to_str().unwrap()]);
            let reached = reached(place, rows, self.rows.len());
            format!("error that names the place, {reached}")
        };
        place.load(&[&self.path()]).sums_up(&[]);
        assert_all(place, &self.rows);
        seen
    }
}

// Nothing it may write to.

#[test]
fn a_read_only_file_system_is_named_and_nothing_changes() {
    if !Need::Mounts.is_here("faults::a_read_only_file_system_is_named_and_nothing_changes") {
        return;
    }
    let mut figures = Figures::of("load into a database on a read-only file system");
    for there in [true, false] {
        let place = Place::new();
        let disk = Disk::over(place.folder.path(), PLENTY_KIB);
        let set = |read_only| disk.set_read_only(read_only);
        assert_unchanged_by_loads(&mut figures, &place, there, &["Read-only file system"], set);
    }
    figures.print();
}

#[cfg(unix)]
#[test]
fn files_without_permission_to_write_are_named_and_nothing_changes() {
    use std::os::unix::fs::PermissionsExt as _;
    let test = "faults::files_without_permission_to_write_are_named_and_nothing_changes";
    if !Need::Permissions.is_here(test) {
        return;
    }
    let mut figures = Figures::of("load into a database without permission to write");
    // Of the folder and the database in it.
    for (folder, file) in [(0o555, 0o444), (0o555, 0o644), (0o755, 0o444)] {
        for there in [true, false] {
            if !there && folder == 0o755 {
                continue;
            }
            let place = Place::new();
            let set = |read_only| {
                let set = |path: &Path, mode| {
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                };
                if there {
                    set(&place.db(), if read_only { file } else { 0o644 });
                }
                set(place.folder.path(), if read_only { folder } else { 0o755 });
            };
            assert_unchanged_by_loads(&mut figures, &place, there, &[], set);
        }
    }
    figures.print();
}

/// A write version in the file's head that SQLite does not know makes a database read-only for everybody,
/// the superuser included.
#[test]
fn a_database_that_may_not_be_written_is_named_and_nothing_changes() {
    let mut figures = Figures::of("load into a database that SQLite may only read");
    let place = Place::new();
    let set = |read_only| {
        let mut database = fs::read(place.db()).unwrap();
        database[18] = if read_only { 9 } else { 2 };
        fs::write(place.db(), database).unwrap();
    };
    assert_unchanged_by_loads(&mut figures, &place, true, &["database", "readonly"], set);
    figures.print();
}

/// Loads into `place`, where a database may be `there`, while it is read-only and after.
#[track_caller]
fn assert_unchanged_by_loads(
    figures: &mut Figures,
    place: &Place,
    there: bool,
    reasons: &[&str],
    set_read_only: impl Fn(bool),
) {
    let before = if there { PUBLISHED } else { "" };
    if there {
        place.pipe(before, &[]).succeeds_with(&[]);
    }
    let more = generated(1_000, 1);
    let reasons = [&["flows.db"], reasons].concat();
    set_read_only(true);
    place.pipe(&more, &[]).fails_with(&reasons);
    place.pipe(gzip(&more), &[]).fails_with(&reasons);
    place.pipe(&more, &["--replace"]).fails_with(&reasons);
    set_read_only(false);
    figures.saw_times("error that names the file, nothing changed", 3);
    if there {
        assert_eq!(place.rows(), numbered(before));
    }
    place.pipe(&more, &[]).succeeds_with(&["1000 rows"]);
    assert_all(place, &numbered(&(before.to_owned() + &more)));
}

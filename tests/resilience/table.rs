//! A table that is changed in every way there is, and every state that it has had.
//!
//! Each step is plain SQL on a connection of its own, a backup or a file moved into place; after it the whole
//! table is read, so that what an answer may hold is known without asking the service. A step also says how
//! much it has changed, which is how much the service may make of it.

use std::path::PathBuf;

use flow_window::table::columns::SQL_LIST;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OptionalExtension as _};
use support::database::{Database, SCHEMA, unguarded_schema};
use support::random::Random;
use support::records::{Record, id, written};

/// What a step has done to the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Flows came, with ids above every one that there has been.
    Append,
    /// Flows went, and perhaps others came as in an append.
    Delete,
    /// Anything else.
    Other,
}

/// The guard of a table that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard {
    content: i64,
    pub(crate) lineage: i64,
    high: i64,
}

/// What the table was at some time.
#[derive(Debug)]
pub(crate) struct State {
    /// In the order of their ids.
    pub(crate) flows: Vec<Record>,
    pub(crate) guard: Option<Guard>,
    /// The step that led to it.
    pub(crate) change: Change,
}

impl State {
    /// The largest id.
    pub(crate) fn max_id(&self) -> i64 {
        self.flows.last().map_or(i64::MIN, id)
    }

    /// The largest id that there has been, as far as the table knows.
    pub(crate) fn newest(&self) -> i64 {
        let high = self.guard.map_or(i64::MIN, |guard| guard.high);
        self.flows.last().map_or(high, |flow| high.max(id(flow)))
    }

    pub(crate) fn find(&self, wanted: i64) -> Option<&Record> {
        let place = self.flows.binary_search_by_key(&wanted, id);
        place.ok().and_then(|place| self.flows.get(place))
    }
}

/// How the table is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the schema.
    Guarded,
    /// By the schema as far as the guard.
    Unguarded,
    /// A view over such a table.
    View,
    /// Without the guard, and without a rowid.
    WithoutRowid,
}

impl Kind {
    fn schema(self) -> String {
        let plain = unguarded_schema();
        match self {
            Self::Guarded => SCHEMA.to_owned(),
            Self::Unguarded => plain.to_owned(),
            Self::View => {
                let table = plain.replace("EXISTS flows (", "EXISTS stored (");
                let table = table.replace("ON flows (", "ON stored (");
                format!("{table}; CREATE VIEW flows AS SELECT * FROM stored;")
            }
            Self::WithoutRowid => plain.replace("\n);", "\n) WITHOUT ROWID;"),
        }
    }

    /// What is written to.
    fn table(self) -> &'static str {
        if self == Self::View {
            "stored"
        } else {
            "flows"
        }
    }
}

/// How many flows a table begins with, and how long they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) flows: usize,
    /// Characters more in each.
    pub(crate) padding: usize,
}

/// The table, its past and the way to change it.
pub(crate) struct Table {
    pub(crate) database: Database,
    connection: Connection,
    kind: Kind,
    wal: bool,
    pub(crate) size: Size,
    /// Every state, the present one last.
    pub(crate) states: Vec<State>,
    /// The last states of files that another has taken the place of: who has them open reads them still.
    pub(crate) moved: Vec<usize>,
    /// What was done, for whoever has to find out.
    pub(crate) told: Vec<String>,
    /// The largest id of all states.
    newest: i64,
    /// A copy of the file as it was.
    copy: Option<PathBuf>,
    /// Whether the file is such a copy again. What is appended to it then, and what had been appended to the
    /// file, cannot be told apart: after a restore the guard has to be renewed, and here the next step does so.
    restored: bool,
    made: usize,
}

impl Table {
    #[track_caller]
    pub(crate) fn new(kind: Kind, wal: bool, size: Size, random: &mut Random) -> Self {
        let database = Database::with_sql(&kind.schema());
        let connection = database.connect();
        let mut table = Self {
            database,
            connection,
            kind,
            wal,
            size,
            states: Vec::new(),
            moved: Vec::new(),
            told: vec![format!("{kind:?}, {size:?}, wal: {wal}")],
            newest: 0,
            copy: None,
            restored: false,
            made: 0,
        };
        table.reconnect();
        let fill = table.fill(kind.table(), 1, size.flows, random);
        table.run(Change::Other, &fill);
        table
    }

    /// Writes down what was done.
    pub(crate) fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// The present state.
    pub(crate) fn now(&self) -> &State {
        self.states.last().expect("a state")
    }

    fn reconnect(&mut self) {
        self.connection = self.database.connect();
        let journal = if self.wal { "WAL" } else { "DELETE" };
        // REPLACE tells the trigger on DELETE with this one, and does not without.
        let recursive = self.states.len() % 2;
        let pragmas = format!(
            "PRAGMA journal_mode = {journal}; PRAGMA synchronous = OFF; PRAGMA recursive_triggers = {recursive}"
        );
        let set = self.connection.execute_batch(&pragmas);
        set.unwrap_or_else(|error| panic!("{pragmas}: {error}"));
    }

    /// SQL that adds flows with the ids from `first` on; no other call makes the same ones.
    fn fill(&mut self, table: &str, first: i64, count: usize, random: &mut Random) -> String {
        self.made += 1;
        let (salt, seconds) = (self.made, [1, 5, 40, 1000][random.below(4)]);
        let (last, padding) = (first + count as i64 - 1, self.size.padding / 2);
        format!(
            "INSERT INTO {table} WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
             SELECT i, (i * 7 + {salt}) % {seconds}, {salt}, 'C' || (i % 3), 'N' || (i % 99), 'C' || (i % 31), \
             'p' || hex(zeroblob({padding})), iif(i % 3, 6, 17), i % 50, i * 40 FROM n WHERE {count} > 0;"
        )
    }

    /// Runs SQL as one transaction, unless it is one that cannot be, and takes the state down.
    #[track_caller]
    fn run(&mut self, change: Change, sql: &str) {
        let whole = if sql.starts_with("VACUUM") {
            sql.to_owned()
        } else {
            format!("BEGIN IMMEDIATE; {sql}; COMMIT")
        };
        let done = self.connection.execute_batch(&whole);
        let last = self.told.last();
        done.unwrap_or_else(|error| panic!("{sql}: {error}, after {last:?}"));
        self.took(change, sql);
    }

    /// Takes the state down, and holds the guard to what it promises of the step that led to it.
    #[track_caller]
    fn took(&mut self, change: Change, what: &str) {
        let state = State {
            flows: self.flows(),
            guard: self.guard(),
            change,
        };
        let short: String = what.chars().take(300).collect();
        self.told
            .push(format!("{}: {change:?} {short}", self.states.len()));
        if let Some((was, is)) = self.states.last().and_then(|s| s.guard.zip(state.guard)) {
            let (content, lineage) = (was.content == is.content, was.lineage == is.lineage);
            assert!(
                content || change > Change::Append,
                "content of an append: {short}"
            );
            assert!(
                lineage || change > Change::Delete,
                "lineage of a delete: {short}"
            );
        }
        self.newest = self.newest.max(state.newest());
        self.states.push(state);
    }

    #[track_caller]
    fn flows(&self) -> Vec<Record> {
        let sql = format!("SELECT {SQL_LIST} FROM flows ORDER BY id");
        let mut statement = self.connection.prepare_cached(&sql).expect("a statement");
        let flows = statement.query_map([], |row| {
            let values = (0..10).map(|field| row.get_ref_unwrap(field));
            Ok(written(values).expect("what can be written"))
        });
        flows
            .expect("rows")
            .map(|flow| flow.expect("a row"))
            .collect()
    }

    #[track_caller]
    fn guard(&self) -> Option<Guard> {
        let count = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' \
                     AND tbl_name = 'flows' COLLATE NOCASE AND name GLOB 'flows_guard_*'";
        let triggers: i64 = self
            .connection
            .query_row(count, [], |row| row.get(0))
            .expect("a number");
        if triggers < 4 {
            return None;
        }
        let row = "SELECT content, lineage, high FROM flows_guard";
        let guard = self.connection.query_row(row, [], |row| {
            let (content, lineage, high) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Guard {
                content,
                lineage,
                high,
            })
        });
        guard.optional().expect("a row")
    }

    /// A flow that is there, if any is; often the newest.
    fn any_id(&self, random: &mut Random) -> Option<i64> {
        let flows = &self.now().flows;
        match random.below(4) {
            _ if flows.is_empty() => None,
            0 => flows.last().map(id),
            _ => flows.get(random.below(flows.len())).map(id),
        }
    }

    /// An id that no flow has: in a gap, negative, above all others, or of one that has been deleted.
    fn free_id(&self, random: &mut Random) -> i64 {
        let near = match random.below(5) {
            // Where an append has left a gap.
            4 => self.now().flows.last().map_or(1, id),
            0 => -1 - random.below(50) as i64,
            1 => self.newest + 1 + random.below(20) as i64,
            2 => self.now().flows.last().map_or(1, |flow| id(flow) + 1),
            _ => random.below(self.newest as usize + 1) as i64,
        };
        // A gap that is no gap: the next id below that is free.
        (0..)
            .map(|n| near - n)
            .find(|id| self.now().find(*id).is_none())
            .expect("a free id")
    }

    /// The values of a flow.
    fn values(&mut self, id: &str, random: &mut Random) -> String {
        self.made += 1;
        let (salt, time) = (self.made, random.below(50) as i64 - 5);
        format!(
            "({id}, {time}, {salt}, 'C{}', 'N1', 'C2', 'late', 6, 1, {salt})",
            salt % 3
        )
    }

    /// Changes the table in some way.
    #[track_caller]
    pub(crate) fn step(&mut self, random: &mut Random) {
        let table = self.kind.table();
        if std::mem::take(&mut self.restored) {
            let renew = match self.now().guard {
                Some(_) => {
                    "UPDATE flows_guard SET content = random(), lineage = random()".to_owned()
                }
                None => format!("UPDATE {table} SET byte_count = byte_count + 1"),
            };
            return self.run(Change::Other, &renew);
        }
        // Soon, while there is little but appends to tell the file from its copy.
        if self.copy.is_some() && random.below(4) == 0 {
            return self.restore(random);
        }
        let guarded = self.kind == Kind::Guarded;
        match random.below(22) {
            0..=3 => self.append(random),
            4 => self.insert_anywhere(random),
            5..=7 => self.edit(random),
            8..=10 => self.delete(random),
            11 => self.replace_one(random),
            12 => self.replace_all(random),
            13 | 14 => self.leave_alone(random),
            15 | 16 if guarded => self.swap(random),
            17 if guarded => self.touch_guard(random),
            18 | 19 => self.restore(random),
            // Who reads an old file takes the journal of a writer to the new one for the old file's own: it must
            // not be written to while somebody reads, as a slow client has it.
            20 | 21 if !self.wal && self.size.padding == 0 => self.move_file(random),
            _ => self.append(random),
        }
    }

    /// What the arrival of this id is.
    fn change_by(&self, id: i64) -> Change {
        if id > self.newest {
            Change::Append
        } else {
            Change::Other
        }
    }

    fn append(&mut self, random: &mut Random) {
        let table = self.kind.table();
        // As SQLite numbers them itself: after the newest have been deleted it gives their ids again.
        if random.below(3) == 0 && self.kind != Kind::WithoutRowid {
            let next = self
                .now()
                .flows
                .last()
                .map_or(1, |flow| (id(flow) + 1).max(1));
            let values: Vec<_> = (0..=random.below(5))
                .map(|_| self.values("NULL", random))
                .collect();
            let sql = format!("INSERT INTO {table} VALUES {}", values.join(", "));
            return self.run(self.change_by(next), &sql);
        }
        let first = self.newest + 1 + [0, 0, 7][random.below(3)];
        let most = [9, 9, 9, 700][random.below(4)];
        let count = 1 + random.below(most);
        let fill = self.fill(table, first, count, random);
        self.run(Change::Append, &fill);
    }

    fn insert_anywhere(&mut self, random: &mut Random) {
        let (table, id) = (self.kind.table(), self.free_id(random));
        let values = self.values(&id.to_string(), random);
        self.run(
            self.change_by(id),
            &format!("INSERT INTO {table} VALUES {values}"),
        );
    }

    fn edit(&mut self, random: &mut Random) {
        let (table, Some(id)) = (self.kind.table(), self.any_id(random)) else {
            return self.append(random);
        };
        let range = format!("id BETWEEN {id} AND {}", id + [0, 0, 30][random.below(3)]);
        let sql = match random.below(7) {
            0 => format!("UPDATE {table} SET byte_count = byte_count + 1 WHERE {range}"),
            1 => format!("UPDATE {table} SET src_comp = 'C' || (id + 1) % 3 WHERE {range}"),
            2 => format!("UPDATE {table} SET protocol = 23 - protocol WHERE {range}"),
            3 => format!("UPDATE {table} SET time = time + 3 WHERE {range}"),
            4 => format!(
                "UPDATE {table} SET time = {} WHERE {range}",
                random.below(50)
            ),
            5 => format!(
                "UPDATE {table} SET id = {} WHERE id = {id}",
                self.free_id(random)
            ),
            _ => {
                // The one whose place is taken goes without a word of any trigger.
                let other = self.any_id(random).unwrap_or(id);
                format!(
                    "UPDATE OR REPLACE {table} SET id = {other}, byte_count = byte_count + 1 WHERE id = {id}"
                )
            }
        };
        self.run(Change::Other, &sql);
    }

    fn delete(&mut self, random: &mut Random) {
        let (table, Some(id)) = (self.kind.table(), self.any_id(random)) else {
            return self.append(random);
        };
        let condition = match random.below(6) {
            0 => format!("id = {id}"),
            1 => format!("id BETWEEN {id} AND {}", id + 20),
            2 => format!("id <= {id}"),
            3 => format!(
                "id >= {id} OR id >= (SELECT max(id) FROM {table}) - {}",
                random.below(20)
            ),
            4 => format!("time <= (SELECT time FROM {table} WHERE id = {id})"),
            _ => format!("id = (SELECT max(id) FROM {table})"),
        };
        // Few are left often enough; all of them go now and then.
        let half = self.now().flows.len() / 2;
        let limited = format!(
            "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {condition} LIMIT {})",
            half.max(1)
        );
        self.run(Change::Delete, &limited);
    }

    fn replace_one(&mut self, random: &mut Random) {
        let (table, Some(id)) = (self.kind.table(), self.any_id(random)) else {
            return self.append(random);
        };
        let values = self.values(&id.to_string(), random);
        let (change, sql) = match random.below(4) {
            0 => (
                Change::None,
                format!("INSERT OR IGNORE INTO {table} VALUES {values}"),
            ),
            1 => {
                let update = "ON CONFLICT (id) DO UPDATE SET byte_count = byte_count + 1";
                (
                    Change::Other,
                    format!("INSERT INTO {table} VALUES {values} {update}"),
                )
            }
            _ => (
                Change::Other,
                format!("REPLACE INTO {table} VALUES {values}"),
            ),
        };
        self.run(change, &sql);
    }

    fn replace_all(&mut self, random: &mut Random) {
        let table = self.kind.table();
        let count = self.now().flows.len();
        let count = [count, count, count + 9, count / 2, 3][random.below(5)];
        let (first, change) = if random.below(4) == 0 {
            (self.newest + 1, Change::Delete)
        } else {
            (1, Change::Other)
        };
        let fill = self.fill(table, first, count, random);
        self.run(change, &format!("DELETE FROM {table}; {fill}"));
    }

    fn leave_alone(&mut self, random: &mut Random) {
        let sql = match random.below(5) {
            0 => "VACUUM",
            1 => "CREATE TABLE IF NOT EXISTS another (x); INSERT INTO another VALUES (1)",
            2 => "REINDEX",
            3 => "CREATE INDEX IF NOT EXISTS another_index ON another (x)",
            _ => "PRAGMA user_version = 7",
        };
        let needs = sql.contains("ON another");
        let create = if needs {
            "CREATE TABLE IF NOT EXISTS another (x);"
        } else {
            ""
        };
        self.run(Change::None, &format!("{create}{sql}"));
    }

    /// Another table takes the name.
    fn swap(&mut self, random: &mut Random) {
        self.made += 1;
        let (count, n) = (self.now().flows.len(), self.made);
        let count = [count, count, count + 9, count / 2][random.below(4)];
        let plain = Kind::Unguarded.schema();
        let plain = plain.replace("EXISTS flows (", "EXISTS other (");
        let plain = plain.replace("flows_time ON flows (", &format!("time_{n} ON other ("));
        let fill = self.fill("other", 1, count, random);
        let guard = if random.below(2) == 0 { SCHEMA } else { "" };
        let away = match random.below(3) {
            // It may come back, and its triggers go with it.
            0 => "DROP TABLE IF EXISTS kept; ALTER TABLE flows RENAME TO kept",
            _ => "DROP TABLE flows",
        };
        let kept = self.has_kept() && random.below(2) == 0;
        let sql = if kept {
            "ALTER TABLE flows RENAME TO other; ALTER TABLE kept RENAME TO flows; ALTER TABLE other RENAME TO kept".to_owned()
        } else {
            format!("{plain}; {fill}; {away}; ALTER TABLE other RENAME TO flows; {guard}")
        };
        self.run(Change::Other, &sql);
    }

    fn has_kept(&self) -> bool {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'kept'";
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .expect("a number")
    }

    /// The guard goes in part, or comes back.
    fn touch_guard(&mut self, random: &mut Random) {
        let triggers = ["delete", "update", "replace", "insert"];
        let sql = match random.below(3) {
            0 => "DELETE FROM flows_guard".to_owned(),
            1 => format!(
                "DROP TRIGGER IF EXISTS flows_guard_{}",
                triggers[random.below(4)]
            ),
            _ => SCHEMA.to_owned(),
        };
        let change = if sql == SCHEMA && self.now().guard.is_some() {
            Change::None
        } else {
            Change::Other
        };
        self.run(change, &sql);
        // What the guard does not see, and then sees again.
        if self.now().guard.is_none() && random.below(2) == 0 {
            self.edit(random);
            self.run(Change::Other, SCHEMA);
        }
    }

    /// A file that is none of the past of this one.
    fn foreign_file(&mut self, random: &mut Random) -> PathBuf {
        let path = self.new_path();
        let file = Connection::open(&path).expect("a file");
        let count = self.now().flows.len();
        let count = [count, count, count + 9, count / 2][random.below(4)];
        let fill = self.fill(self.kind.table(), 1, count, random);
        let sql = format!(
            "PRAGMA synchronous = OFF; BEGIN; {}; {fill}; COMMIT",
            self.kind.schema()
        );
        file.execute_batch(&sql).expect("a table");
        path
    }

    fn new_path(&mut self) -> PathBuf {
        self.made += 1;
        self.database
            .path()
            .with_file_name(format!("{}.db", self.made))
    }

    /// The file as it has been, or another one; what has been is put aside now and then.
    fn other_file(&mut self, random: &mut Random) -> PathBuf {
        self.restored = false;
        if let Some(copy) = self.copy.take_if(|_| random.below(4) > 0) {
            self.restored = true;
            return copy;
        }
        self.foreign_file(random)
    }

    fn keep_copy(&mut self, random: &mut Random) -> bool {
        let wanted = self.copy.is_none();
        if wanted {
            let path = self.new_path();
            self.run(Change::None, &format!("VACUUM INTO '{}'", path.display()));
            self.copy = Some(path);
            self.append(random);
        }
        wanted
    }

    /// Another file's content comes into this one, by SQLite's own way to restore a backup.
    fn restore(&mut self, random: &mut Random) {
        if random.below(2) == 0 && self.keep_copy(random) {
            return;
        }
        let path = self.other_file(random);
        let from = Connection::open(&path).expect("a file");
        let backup = Backup::new(&from, &mut self.connection).expect("a backup");
        let done = backup.run_to_completion(1 << 20, std::time::Duration::ZERO, None);
        done.expect("a backup to its end");
        drop(backup);
        let what = format!("restore, of its own past: {}", self.restored);
        self.took(Change::Other, &what);
    }

    /// Another file takes the place of this one.
    fn move_file(&mut self, random: &mut Random) {
        if random.below(2) == 0 && self.keep_copy(random) {
            return;
        }
        let path = self.other_file(random);
        self.moved.push(self.states.len() - 1);
        std::fs::rename(path, self.database.path()).expect("a move");
        self.reconnect();
        let what = format!("mv, of its own past: {}", self.restored);
        self.took(Change::Other, &what);
    }
}

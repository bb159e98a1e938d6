//! Pages: the unit of work.
//!
//! A page is one statement that returns one row: up to so many flows, packed by SQLite itself. The place
//! of its last flow is where the next page starts, so no flow is passed over or sent twice, however many
//! share a second. The first page fixes the largest id then present, and no later page goes beyond it. Every
//! page brings the state of the table along that it has seen, and one of another state ends the answer. The
//! SQL is [`crate::statement`]'s business, and what flows look like [`crate::packed`]'s.

use serde::Serialize;

use crate::cursor::{Cursor, CursorSeek};
use crate::db::{Database, DbError, DbErrorKind, Value};
use crate::flow::COLUMNS;
use crate::packed::{self, RecordReader, RowKey};
use crate::query::{Query, Selection};
use crate::readiness::{Readiness, Table};
use crate::session::Session;
use crate::state::State;
use crate::statement::{KEYS, PageQuery, Seek, Statement};

/// Flows in a page. `make bench` gave 0.73 to 0.88 of the native server's flows a second in JSON, ndjson and
/// CSV with pages of 2,000, and 1.00 to 1.22 with these in the run behind it, which also looked at integers
/// faster. Pages of 4,000 gave no more, and a client that stalls took 0.36 MiB more.
const ROWS: i64 = 3_000;

/// Flows in the first page: few, since the client waits for all of it before the first byte.
const FIRST_ROWS: i64 = 500;

/// Rows that a page looks at where not every row matches: about 4 ms of SQLite's time.
const LOOKED: i64 = 10_000;

/// Keys in a page of keys, which is read to find where a limit cuts a filtered answer.
const KEY_ROWS: i64 = 20_000;

/// Pages of keys that are read before the head is sent, a million rows: a client that has left meanwhile is
/// not noticed. What a limit asks for beyond them is left to the next portion.
const KEY_PAGES: u32 = 100;

/// Rows that one statement counts off to find where a limit cuts any other: about 40 ms of SQLite's time.
const COUNTED: i64 = 1_000_000;

/// Packed bytes that a page should not exceed by much. LANL's flows pack into 60 bytes each; a table
/// of long texts gets pages of fewer flows.
const BYTES: i64 = 512 << 10;

/// Packed bytes at which a page is thrown away and read again with fewer flows.
const MAX_BYTES: i64 = 16 * BYTES;

/// How often an answer is begun anew when the table is edited between two statements before its head.
const STARTS: u32 = 4;

/// A page as it came from the database.
#[derive(Debug)]
pub struct Page {
    /// The flows, for [`RecordReader`].
    pub packed: Vec<u8>,
    /// How many, by the database's own count.
    pub count: i64,
    /// Whether no page follows.
    pub last: bool,
}

/// What is known of an answer when its first page has been read.
pub struct Start<D: Database> {
    /// The first page.
    pub first: Page,
    /// The pages behind it.
    pub rest: Pages<D>,
    /// The state of the table.
    pub state: State,
    /// The id that a client which has stored the whole answer goes on behind; `None` where a limit cuts an
    /// answer in the order of time, which holds no flow up to any id for sure.
    pub watermark: Option<i64>,
    /// The cursor that goes on where a limit cuts the answer short, if one does.
    pub cut: Option<String>,
}

/// Reads the state of the table alone.
///
/// # Errors
/// A 503 or 500 when the database cannot be read.
pub async fn read_state<D: Database>(readiness: &Readiness<D>) -> Result<State, DbError> {
    readiness
        .over_table(async |database, table| {
            let mut reader = Reader::open(database, table).await?;
            let statement = Statement::of_state(table.guarded);
            let (state, _) = reader.row(statement).await?;
            reader.finish().await?;
            Ok(state)
        })
        .await
}

/// The ends of the table; `None` where it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The least time, in seconds.
    pub first_time: Option<i64>,
    /// The largest time, in seconds.
    pub last_time: Option<i64>,
    /// The least id.
    pub first_id: Option<i64>,
    /// The largest id.
    pub last_id: Option<i64>,
    /// What `Flow-Lineage` says; `None` for a table without a guard.
    pub lineage: Option<String>,
}

/// Looks the ends of the table up.
///
/// # Errors
/// A 503 or 500 when the database cannot be read.
pub async fn read_extent<D: Database>(readiness: &Readiness<D>) -> Result<Extent, DbError> {
    readiness
        .over_table(async |database, table| {
            let mut reader = Reader::open(database, table).await?;
            let (state, values) = reader.row(Statement::of_extent(table.guarded)).await?;
            reader.finish().await?;
            let ends: Vec<_> = values.collect();
            let [first_time, last_time, first_id, last_id] = ends.as_slice() else {
                return Err(unknown_form());
            };
            let integer = |value: &Value| match value {
                Value::Integer(end) => Some(*end),
                _ => None,
            };
            Ok(Extent {
                first_time: integer(first_time),
                last_time: integer(last_time),
                first_id: integer(first_id),
                last_id: integer(last_id),
                lineage: state.lineage(),
            })
        })
        .await
}

/// The pages of one answer that are still to be read.
pub struct Pages<D: Database> {
    walk: PageWalk,
    /// `None` behind the last page.
    reader: Option<Reader<D>>,
}

impl<D: Database> Pages<D> {
    /// Reads the first page of an answer and finds where it ends.
    ///
    /// # Errors
    /// A 503 when the database is not fit to be served from or is edited again and again, a 410 when the answer
    /// that `query` goes on in is no more, a 500 when a flow cannot be read.
    pub async fn start(query: &Query, readiness: &Readiness<D>) -> Result<Start<D>, DbError> {
        let mut starts = 1;
        loop {
            let started = readiness
                .over_table(async |database, table| Self::start_over(query, database, table).await);
            match started.await {
                Err(error) if error.kind == DbErrorKind::Edited && starts < STARTS => {}
                result => return result,
            }
            starts = starts.saturating_add(1);
        }
    }

    async fn start_over(query: &Query, database: &D, table: Table) -> Result<Start<D>, DbError> {
        let mut reader = Reader::open(database, table).await?;
        let mut walk = PageWalk::new(query);
        let (first, state) = walk.read_first(&mut reader).await?;
        if let Err(gone) = check_goes_on(query, state) {
            reader.finish().await?;
            return Err(gone);
        }
        let newest = *walk.newest.get_or_insert(state.newest);
        let (first, cut) = walk.accept_first(first, &mut reader).await?;
        let watermark = match (cut, query.question.after_id) {
            (None, _) => Some(watermark(&query.question, newest)),
            (Some(place), Some(after_id)) => Some(place.key().map_or(after_id, |key| key.id)),
            (Some(_), None) => None,
        };
        let cut = cut.map(|place| {
            let cursor = Cursor {
                place,
                newest,
                guard: state.guard(),
            };
            cursor.encode(query.question.digest())
        });
        let mut rest = Self {
            walk,
            reader: Some(reader),
        };
        rest.finish_behind_last().await?;
        Ok(Start {
            first,
            rest,
            state,
            watermark,
            cut,
        })
    }

    /// Reads the next page; `None` behind the last one.
    ///
    /// # Errors
    /// A 503 when the database cannot be read or has been edited, a 500 when a flow cannot be read.
    pub async fn next(&mut self) -> Result<Option<Page>, DbError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let page = self.walk.next(reader).await?;
        self.finish_behind_last().await?;
        Ok(page)
    }

    /// Whether pages are read inside a transaction.
    pub fn holds_snapshot(&self) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| reader.session.in_transaction())
    }

    /// Ends the transaction, for a client that does not take its answer: it would keep the write-ahead log from
    /// being copied back. From here on, a page of another state ends the answer.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn let_go_of_snapshot(&mut self) -> Result<(), DbError> {
        match &mut self.reader {
            Some(reader) => reader.session.commit().await,
            None => Ok(()),
        }
    }

    async fn finish_behind_last(&mut self) -> Result<(), DbError> {
        match self.reader.take_if(|_| self.walk.done) {
            Some(reader) => reader.finish().await,
            None => Ok(()),
        }
    }
}

/// The id that a client which has stored the whole answer goes on behind, with `after_id`.
///
/// In a table that never had a flow it is the least integer there is, or the client's own: whatever arrives
/// comes behind it.
pub fn watermark(question: &Selection, newest: i64) -> i64 {
    question
        .after_id
        .map_or(newest, |after_id| newest.max(after_id))
}

/// Whether the answer that `query` goes on in is still there.
///
/// # Errors
/// A 410 that names the parameter which asks for another state of the table.
pub fn check_goes_on(query: &Query, state: State) -> Result<(), DbError> {
    let known = state.lineage();
    if let Some(lineage) = &query.lineage
        && known.as_ref() != Some(lineage)
    {
        let now = known.unwrap_or("unknown, since edits of the table are not guarded".to_owned());
        let detail =
            format!("the lineage {lineage} has ended, it is {now}; ask for everything again");
        return Err(DbError::gone("lineage", detail));
    }
    // A client may start at 0 without having seen anything.
    if let Some(after_id) = query.question.after_id
        && after_id > state.newest.max(0)
    {
        let detail =
            format!("after_id is {after_id}, beyond any id of the table; ask for everything again");
        return Err(DbError::gone("after_id", detail));
    }
    match query.cursor {
        Some(cursor) if !cursor.continues_in(state) => Err(DbError::gone(
            "cursor",
            "the flows have been edited since this cursor was given; ask again without it",
        )),
        _ => Ok(()),
    }
}

/// The statements of one answer, all on one connection, and the state that they have to agree on.
struct Reader<D: Database> {
    session: Session<D>,
    table: Table,
    /// What the first statement has seen.
    state: Option<State>,
    /// Whether the second statement has been reached.
    later: bool,
}

impl<D: Database> Reader<D> {
    async fn open(database: &D, table: Table) -> Result<Self, DbError> {
        Ok(Self {
            session: Session::acquire(database).await?,
            table,
            state: None,
            later: false,
        })
    }

    /// Runs a statement whose first column is the state; gives the state and the other columns.
    async fn row(
        &mut self,
        statement: Statement,
    ) -> Result<(State, impl Iterator<Item = Value> + use<D>), DbError> {
        if self.state.is_some() && !self.later {
            self.later = true;
            self.session.read_on(self.table.write_ahead_log).await?;
        }
        let Statement { text, parameters } = statement;
        let row = self.session.row(&text, parameters).await?;
        let mut values = row.unwrap_or_default().into_iter();
        let state = match values.next() {
            Some(Value::Blob(column)) => State::from_column(&column, self.table.guarded),
            _ => None,
        };
        let state = state.ok_or_else(DbError::guard_lost)?;
        let first = *self.state.get_or_insert(state);
        if !state.continues(first) {
            return Err(DbError::edited());
        }
        Ok((state, values))
    }

    /// Gives the connection to the next answer.
    async fn finish(mut self) -> Result<(), DbError> {
        self.session.commit().await?;
        self.session.release();
        Ok(())
    }
}

/// How far an answer has been walked.
#[derive(Debug, Clone)]
struct PageWalk {
    question: Selection,
    /// Flows still wanted, if there is a limit.
    wanted: Option<i64>,
    place: Seek,
    /// The flow that the answer's cursor stands on, until the first page has been read.
    stands_on: Option<RowKey>,
    /// The largest id that the answer may include; `None` before the first page.
    newest: Option<i64>,
    columns: &'static str,
    /// Flows to ask for next, and the most that may be asked for.
    rows: i64,
    most_rows: i64,
    /// Whether there are no more flows.
    exhausted: bool,
    /// Whether no page follows: no flow is left, or none is wanted.
    done: bool,
}

/// Where a limit cuts an answer.
struct Cut {
    place: CursorSeek,
    /// Flows behind the first page and before the cut.
    flows: i64,
}

/// Why a walk of keys has ended.
enum Walked {
    /// As many flows as were wanted have been passed.
    Wanted,
    /// There are no more flows.
    All,
    /// It has taken as many pages as it may.
    Enough,
}

impl PageWalk {
    fn new(query: &Query) -> Self {
        let place = query.cursor.map(|cursor| cursor.place);
        Self {
            question: query.question.clone(),
            wanted: query.limit,
            place: place.map_or(Seek::Start, Seek::from),
            stands_on: place.and_then(CursorSeek::key),
            newest: query.cursor.map(|cursor| cursor.newest),
            columns: COLUMNS,
            rows: FIRST_ROWS,
            most_rows: ROWS,
            exhausted: false,
            done: false,
        }
    }

    async fn next(&mut self, reader: &mut Reader<impl Database>) -> Result<Option<Page>, DbError> {
        if self.done {
            return Ok(None);
        }
        let (page, _) = self.read(self.wanted.unwrap_or(i64::MAX), reader).await?;
        self.accept(page).map(Some)
    }

    /// The first page asks for a flow more than is wanted, to see whether one is left.
    async fn read_first(
        &mut self,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, State), DbError> {
        if let Some(wanted @ 0..=FIRST_ROWS) = self.wanted {
            self.rows = wanted.saturating_add(1);
        }
        let (mut first, state) = self.read(i64::MAX, reader).await?;
        self.stands_on = None;
        // The rest of a second is no page: what follows it comes along.
        if let (End::Nothing, Seek::WithinSecond(RowKey { time, .. })) = (first.end, self.place)
            && !self.is_feed()
        {
            self.newest = self.newest.or(Some(state.newest));
            self.place = Seek::AfterTime(time);
            self.rows = self.rows.saturating_sub(first.count).max(1);
            let (more, _) = self.read(i64::MAX, reader).await?;
            first.append(more);
        }
        Ok((first, state))
    }

    /// Takes the first page in, and finds where the limit cuts the answer.
    async fn accept_first(
        &mut self,
        first: Packed,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Page, Option<CursorSeek>), DbError> {
        if let Some(wanted) = self.wanted
            && first.count > wanted
        {
            self.done = true;
            let packed = packed::without_last(&first.bytes);
            let packed = packed.ok_or_else(|| unreadable(&first))?;
            let taken = Packed {
                count: first.count.saturating_sub(1),
                bytes: packed,
                end: End::Full,
            };
            if taken.count > 0 {
                self.place = self.place_behind(&taken)?;
            }
            let page = Page {
                packed: taken.bytes,
                count: taken.count,
                last: true,
            };
            return Ok((page, Some(CursorSeek::from(self.place))));
        }
        let mut page = self.accept(first)?;
        if self.exhausted || self.wanted.is_none() {
            return Ok((page, None));
        }
        let cut = self.clone().find_cut(reader).await?;
        if let Some(cut) = &cut {
            self.wanted = Some(cut.flows);
            self.done = cut.flows == 0;
            page.last = self.done;
        }
        Ok((page, cut.map(|cut| cut.place)))
    }

    /// Walks on to the last flow that is wanted, and looks whether another comes behind it.
    async fn find_cut(
        mut self,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<Cut>, DbError> {
        let wanted = self.wanted.unwrap_or(i64::MAX);
        if self.walk(0, 0).has_no_residual() {
            let place = self.count_to_cut(wanted, reader).await?;
            return Ok(place.map(|place| Cut {
                place,
                flows: wanted,
            }));
        }
        self.columns = KEYS;
        self.rows = KEY_ROWS;
        self.most_rows = KEY_ROWS;
        let mut pages = KEY_PAGES;
        match self.walk_keys(&mut pages, reader).await? {
            Walked::All => return Ok(None),
            Walked::Wanted | Walked::Enough => {}
        }
        let cut = Cut {
            place: CursorSeek::from(self.place),
            flows: wanted.saturating_sub(self.wanted.unwrap_or(0)),
        };
        if self.wanted == Some(0) {
            self.wanted = Some(1);
            self.done = false;
            if let Walked::All = self.walk_keys(&mut pages, reader).await? {
                return Ok(None);
            }
        }
        Ok(Some(cut))
    }

    async fn walk_keys(
        &mut self,
        pages: &mut u32,
        reader: &mut Reader<impl Database>,
    ) -> Result<Walked, DbError> {
        loop {
            if self.wanted == Some(0) {
                return Ok(Walked::Wanted);
            }
            if self.exhausted {
                return Ok(Walked::All);
            }
            let Some(left) = pages.checked_sub(1) else {
                return Ok(Walked::Enough);
            };
            *pages = left;
            self.next(reader).await?;
        }
    }

    /// Counts `wanted` rows off, where every row is taken.
    async fn count_to_cut(
        mut self,
        mut wanted: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<CursorSeek>, DbError> {
        let mut cut = None;
        loop {
            if wanted == 0 {
                cut = cut.or(Some(CursorSeek::from(self.place)));
            }
            // With nothing wanted any more, whether one is left.
            let rows = wanted.clamp(1, COUNTED);
            let (_, mut values) = reader
                .row(self.walk(0, rows).place_statement(reader.table.guarded))
                .await?;
            match (values.next(), self.place) {
                (Some(Value::Blob(_)), _) if wanted == 0 => return Ok(cut),
                (Some(Value::Blob(keys)), _) => {
                    self.place = self.place_at(row_key(&keys)?);
                    wanted = wanted.saturating_sub(rows);
                }
                (Some(Value::Null), Seek::WithinSecond(RowKey { time, .. })) if !self.is_feed() => {
                    let (_, mut values) = reader
                        .row(self.walk(0, rows).count_statement(reader.table.guarded))
                        .await?;
                    let Some(Value::Integer(counted)) = values.next() else {
                        return Err(unknown_form());
                    };
                    self.place = Seek::AfterTime(time);
                    wanted = wanted.saturating_sub(counted);
                }
                (Some(Value::Null), _) => return Ok(None),
                _ => return Err(unknown_form()),
            }
        }
    }

    /// Reads a page of `wanted` flows at the most, or of fewer when so many are too large for a page.
    async fn read(
        &mut self,
        wanted: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, State), DbError> {
        loop {
            let asked = self.rows.min(wanted);
            match self.read_once(asked, reader).await {
                Ok((page, _)) if page.is_too_large() && asked > 1 => {
                    self.rows = self.rows_for(asked, page.bytes.len());
                }
                Err(error) if error.kind == DbErrorKind::TooLarge && asked > 1 => {
                    self.rows = asked.checked_div(16).unwrap_or(1).max(1);
                }
                Err(error) if error.kind == DbErrorKind::UnnamedBlob => {
                    return Err(self.name_blob(error, asked, reader).await);
                }
                result => return result,
            }
        }
    }

    /// Searches a page of `asked` flows for the BLOB at which SQLite has stopped: among millions of flows nobody
    /// else would find it.
    async fn name_blob(
        &self,
        error: DbError,
        asked: i64,
        reader: &mut Reader<impl Database>,
    ) -> DbError {
        let statement = self
            .walk(asked, LOOKED)
            .blob_statement(reader.table.guarded);
        match reader.row(statement).await.map(|(_, mut row)| row.next()) {
            Ok(Some(Value::Blob(place))) => DbError::blob(&String::from_utf8_lossy(&place)),
            _ => error,
        }
    }

    fn walk(&self, taken: i64, looked: i64) -> PageQuery<'_> {
        PageQuery {
            question: &self.question,
            place: self.place,
            newest: self.newest,
            taken,
            looked,
            columns: self.columns,
            stands_on: self.stands_on,
        }
    }

    async fn read_once(
        &self,
        asked: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, State), DbError> {
        let statement = self.walk(asked, LOOKED).statement(reader.table.guarded);
        let (state, mut values) = reader.row(statement).await?;
        let (count, bytes) = match (values.next(), values.next()) {
            (Some(Value::Integer(count)), Some(Value::Blob(bytes))) => (count, bytes),
            (Some(Value::Integer(0)), Some(Value::Null)) => (0, Vec::new()),
            _ => return Err(unknown_form()),
        };
        let end = match values.next() {
            _ if count >= asked => End::Full,
            Some(Value::Blob(keys)) => End::Looked(row_key(&keys)?),
            _ => End::Nothing,
        };
        Ok((Packed { count, bytes, end }, state))
    }

    /// Takes a page in: where the next one starts, and whether there is one.
    fn accept(&mut self, page: Packed) -> Result<Page, DbError> {
        self.wanted = self.wanted.map(|wanted| wanted.saturating_sub(page.count));
        match (page.end, self.place) {
            (End::Full, _) => {
                self.place = self.place_behind(&page)?;
                self.rows = self.rows_for(page.count, page.bytes.len());
            }
            (End::Looked(last), _) => self.place = self.place_at(last),
            (End::Nothing, Seek::WithinSecond(RowKey { time, .. })) if !self.is_feed() => {
                self.place = Seek::AfterTime(time);
            }
            (End::Nothing, _) => self.exhausted = true,
        }
        self.done = self.exhausted || self.wanted == Some(0);
        Ok(Page {
            packed: page.bytes,
            count: page.count,
            last: self.done,
        })
    }

    fn is_feed(&self) -> bool {
        self.question.after_id.is_some()
    }

    /// The place behind a flow that the walk has come to from its place.
    fn place_at(&self, last: RowKey) -> Seek {
        match self.place {
            Seek::AfterKey(before) | Seek::WithinSecond(before) if before.time == last.time => {
                Seek::WithinSecond(last)
            }
            _ => Seek::AfterKey(last),
        }
    }

    /// The place behind the last flow of a page.
    fn place_behind(&self, page: &Packed) -> Result<Seek, DbError> {
        let packed = &page.bytes;
        let ends = packed::first_key(packed).zip(packed::last_key(packed));
        let (first, last) = ends.ok_or_else(|| unreadable(page))?;
        let inside = first.time == last.time && !self.is_feed();
        Ok(if inside {
            Seek::WithinSecond(last)
        } else {
            Seek::AfterKey(last)
        })
    }

    /// How many flows of the size seen make a page.
    fn rows_for(&self, count: i64, bytes: usize) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
        let fitting = count.saturating_mul(BYTES).checked_div(bytes).unwrap_or(1);
        fitting.clamp(1, self.most_rows)
    }
}

/// What a page's statement returns.
struct Packed {
    count: i64,
    bytes: Vec<u8>,
    end: End,
}

/// Why a page has no more flows.
#[derive(Clone, Copy)]
enum End {
    /// It has as many as were asked for.
    Full,
    /// It has looked at as many rows as it may, up to this one.
    Looked(RowKey),
    /// There are no more rows.
    Nothing,
}

impl Packed {
    fn is_too_large(&self) -> bool {
        i64::try_from(self.bytes.len()).is_ok_and(|bytes| bytes > MAX_BYTES)
    }

    /// Takes in the page that follows it.
    fn append(&mut self, next: Self) {
        if !self.bytes.is_empty() && !next.bytes.is_empty() {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(&next.bytes);
        self.count = self.count.saturating_add(next.count);
        self.end = next.end;
    }
}

/// The key that a statement returns beside flows, or instead of them.
fn row_key(keys: &[u8]) -> Result<RowKey, DbError> {
    packed::key_of(keys)
        .ok_or_else(|| DbError::internal("a flow has no place in the answer's order"))
}

fn unknown_form() -> DbError {
    DbError::internal("the database's answer has an unknown form")
}

/// What is wrong with a page whose end cannot be read: the first of its flows that cannot.
fn unreadable(page: &Packed) -> DbError {
    match fault(page) {
        Err(error) => DbError::internal(format!("{error:#}")),
        Ok(()) => DbError::internal("a flow has no place in the order of (time, id)"),
    }
}

fn fault(page: &Packed) -> anyhow::Result<()> {
    let mut records = RecordReader::new(&page.bytes, page.count)?;
    while records.record()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::FormatPreference;

    #[test]
    fn long_flows_make_short_pages() {
        let query = Query::parse("", FormatPreference::default()).unwrap();
        let walk = PageWalk::new(&query);
        assert_eq!(walk.rows_for(500, 500 * 60), ROWS);
        assert_eq!(walk.rows_for(500, 500 << 20), 1);
        assert_eq!(walk.rows_for(10, 10 << 16), 8);
        assert_eq!(walk.rows_for(0, 2), 1);
    }
}

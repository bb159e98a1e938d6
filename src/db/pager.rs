//! Pages: the unit of work.
//!
//! A page is one statement that returns one row: a number of flows, packed by SQLite itself. The key of its last
//! flow is where the next page starts, so no flow is skipped or sent twice, however many share a second. The first
//! page fixes the largest id, and later pages hold no larger one. [`super::sql`] owns the SQL, [`crate::rows`] the
//! packed text.

use std::borrow::Cow;

use super::id_range::RangeTries;
use super::limit::NextCursor;
use super::reader::{Reader, unknown_form};
use super::readiness::Readiness;
use super::sql::Statement;
use super::sql::page::{PageQuery, Seek};
use super::sql::state::TableKind;
use super::{Database, DbError, DbErrorKind, Value};
use crate::query::Query;
use crate::query::cursor::{Cursor, CursorSeek};
use crate::query::selection::Selection;
use crate::rows::RecordError;
use crate::rows::ends::{first_key, last_key};
use crate::rows::reader::RecordReader;
use crate::table::key::RowKey;
use crate::table::layout::Layout;
use crate::table::state::TableState;

/// Flows in the first page. The client waits for all of it before the first byte.
const FIRST_PAGE_ROWS: i64 = 500;

/// Rows that a page scans where not every row matches: about 4 ms of SQLite's time.
const SCAN_LIMIT: i64 = 10_000;

/// Packed bytes that a page should hold at most. LANL's flows pack into 60 bytes each. A table of long texts gets
/// pages of fewer flows.
const PAGE_BYTES: i64 = 512 << 10;

/// Pages that a client has to take without a wait before they grow. That is more than the sockets between hold, so the
/// pages of a client that takes nothing have not grown.
const UNWAITED_PAGES: u32 = 24;

/// How many times as large pages become. Four times gave nothing more.
const GROWTH: i64 = 2;

/// Packed bytes at which a page is dropped and read again with fewer flows.
const MAX_PAGE_BYTES: i64 = 16 * PAGE_BYTES;

/// How often an answer starts again when the table is edited between two statements before its head.
pub const MAX_STARTS: u32 = 4;

/// A page as the database has returned it.
#[derive(Debug)]
pub struct Page {
    /// The flows.
    pub packed: Vec<u8>,
    /// Their columns.
    pub layout: Layout,
    /// Their number, by the database's own count.
    pub count: i64,
    /// Whether no page follows.
    pub last: bool,
}

impl Page {
    /// Starts at the first flow.
    ///
    /// # Errors
    /// As [`RecordReader::new`].
    pub fn records(&self) -> Result<RecordReader<'_>, RecordError> {
        RecordReader::new(&self.packed, self.count, &self.layout)
    }
}

/// What is known of an answer when its first page has been read.
pub struct Start<D: Database> {
    /// The first page.
    pub first: Page,
    /// The pages after it.
    pub rest: Pager<D>,
    /// The state of the table.
    pub state: TableState,
    /// The id after which a client that has stored the whole answer continues. `None` where a limit cuts an answer in
    /// the order of time: such an answer may lack flows of any id.
    pub watermark: Option<i64>,
    /// The cursor that continues, where a limit cuts the answer.
    pub next_cursor: Option<String>,
}

/// The pages of one answer that have not been read.
pub struct Pager<D: Database> {
    progress: Progress,
    /// `None` after the last page.
    reader: Option<Reader<D>>,
}

impl<D: Database> Pager<D> {
    /// Reads the first page of an answer and finds where the answer ends.
    ///
    /// # Errors
    /// A table that is not ready, or that is edited again and again; a state of the table that `query` names and that
    /// is gone; a flow that cannot be read.
    pub async fn start(query: &Query, readiness: &Readiness<D>) -> Result<Start<D>, DbError> {
        let mut starts = 1;
        loop {
            let started = readiness
                .over_table(async |database, kind| Self::start_over(query, database, kind).await);
            match started.await {
                Err(error) if error.kind == DbErrorKind::Edited && starts < MAX_STARTS => {}
                result => return result,
            }
            starts = starts.saturating_add(1);
        }
    }

    async fn start_over(query: &Query, database: &D, kind: TableKind) -> Result<Start<D>, DbError> {
        let mut reader = Reader::open(database, kind).await?;
        let mut progress = Progress::new(query, D::PAGE_ROWS);
        progress.lead = progress.choose_index(&mut reader).await?;
        let (first, state) = progress.read_first(&mut reader).await?;
        if let Err(gone) = check_continues(query, state) {
            reader.finish().await?;
            return Err(gone);
        }
        let max_id = *progress.max_id.get_or_insert(state.max_id);
        let (first, next) = progress.accept_first(first, &mut reader).await?;
        let watermark = match (next, query.selection.after_id) {
            (None, _) => Some(watermark(&query.selection, max_id)),
            (Some(seek), Some(after_id)) => Some(seek.key().map_or(after_id, |key| key.id)),
            (Some(_), None) => None,
        };
        let next_cursor = next.map(|seek| {
            let cursor = Cursor {
                seek,
                max_id,
                guard: state.guard(),
            };
            cursor.encode(query.selection.digest())
        });
        let mut rest = Self {
            progress,
            reader: Some(reader),
        };
        rest.finish_after_last().await?;
        Ok(Start {
            first,
            rest,
            state,
            watermark,
            next_cursor,
        })
    }

    /// Reads the next page; `None` after the last one.
    ///
    /// # Errors
    /// A database that cannot be read, a table that has been edited, a flow that cannot be read.
    pub async fn next(&mut self) -> Result<Option<Page>, DbError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let page = self.progress.next(reader).await?;
        self.finish_after_last().await?;
        Ok(page)
    }

    /// Takes notice of a page that the client has taken, without a wait or with one. Pages grow while there is none, and
    /// shrink back at the first.
    pub fn page_taken(&mut self, waited: bool) {
        let progress = &mut self.progress;
        if !waited {
            progress.unwaited = progress.unwaited.saturating_add(1);
            return;
        }
        progress.page_rows = progress
            .page_rows
            .checked_div(progress.growth())
            .unwrap_or(1)
            .max(1);
        progress.unwaited = 0;
    }

    /// Whether pages have grown.
    pub fn has_grown(&self) -> bool {
        self.progress.growth() > 1
    }

    /// Whether pages are read inside a transaction.
    pub fn holds_snapshot(&self) -> bool {
        self.reader
            .as_ref()
            .is_some_and(|reader| reader.session.in_transaction())
    }

    /// Ends the read transaction, so that the write-ahead log can be checkpointed. From here on an edit of the table ends
    /// the answer.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn let_go_of_snapshot(&mut self) -> Result<(), DbError> {
        match &mut self.reader {
            Some(reader) => reader.session.commit().await,
            None => Ok(()),
        }
    }

    async fn finish_after_last(&mut self) -> Result<(), DbError> {
        match self.reader.take_if(|_| self.progress.done) {
            Some(reader) => reader.finish().await,
            None => Ok(()),
        }
    }
}

/// The id after which a client that has stored the whole answer continues, with `after_id`.
///
/// In a table that never had a flow it is the least integer, or the client's own `after_id`.
pub fn watermark(selection: &Selection, max_id: i64) -> i64 {
    selection
        .after_id
        .map_or(max_id, |after_id| max_id.max(after_id))
}

/// Checks that the state of the table which `query` names is still there.
///
/// # Errors
/// [`DbErrorKind::Gone`], with the parameter that names another state.
pub fn check_continues(query: &Query, state: TableState) -> Result<(), DbError> {
    let current = state.lineage();
    if let Some(lineage) = &query.lineage
        && current.as_ref() != Some(lineage)
    {
        let now = current.unwrap_or("unknown, since edits of the table are not guarded".to_owned());
        let detail =
            format!("the lineage {lineage} has ended, it is {now}; ask for everything again");
        return Err(DbError::gone("lineage", detail));
    }
    // 0 is no id that the client has seen: a client starts there.
    if let Some(after_id) = query.selection.after_id
        && after_id > state.max_id.max(0)
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

/// How far an answer has been read.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) selection: Selection,
    /// Flows that the limit still allows; `None` without a limit.
    pub(super) remaining: Option<i64>,
    pub(super) seek: Seek,
    /// The last flow before the answer's cursor, until the first page has been read.
    cursor_row: Option<RowKey>,
    /// The time of the answer's first flow; `None` before it.
    first_time: Option<i64>,
    /// The largest id that the answer may hold; `None` before the first page.
    pub(super) max_id: Option<i64>,
    pub(super) columns: Cow<'static, str>,
    layout: Layout,
    /// The filter whose index is read in place of that on time: its place in the selection.
    pub(super) lead: Option<usize>,
    /// When a page is read by a range of ids.
    pub(super) range_tries: RangeTries,
    /// Flows to ask for in the next page.
    pub(super) page_rows: i64,
    /// Pages that the client has taken since it was waited for.
    unwaited: u32,
    /// The most flows to ask for in any page that has not grown.
    pub(super) max_page_rows: i64,
    /// Whether there are no more flows.
    pub(super) exhausted: bool,
    /// Whether no page follows: no flow is left, or the limit allows none.
    pub(super) done: bool,
}

impl Progress {
    fn new(query: &Query, max_page_rows: i64) -> Self {
        let seek = query.cursor.map(|cursor| cursor.seek);
        Self {
            selection: query.selection.clone(),
            remaining: query.limit,
            seek: seek.map_or(Seek::Start, Seek::from),
            // After a whole second the key is that of no flow.
            cursor_row: seek
                .and_then(CursorSeek::key)
                .filter(|key| key.id != i64::MAX),
            first_time: None,
            max_id: query.cursor.map(|cursor| cursor.max_id),
            columns: query.layout.sql_list(),
            layout: query.layout.clone(),
            lead: None,
            range_tries: RangeTries::NEW,
            page_rows: FIRST_PAGE_ROWS,
            unwaited: 0,
            max_page_rows,
            exhausted: false,
            done: false,
        }
    }

    /// Reads the next page; `None` after the last one.
    pub(super) async fn next(
        &mut self,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<Page>, DbError> {
        if self.done {
            return Ok(None);
        }
        let limit = self.remaining.unwrap_or(i64::MAX);
        let range = self.read_range(self.page_rows.min(limit), reader).await?;
        let page = match range {
            Some(page) => page,
            None => self.read(limit, reader).await?.0,
        };
        self.accept(page).map(Some)
    }

    /// Reads the first page. It asks for one flow more than the limit, to see whether one is left.
    async fn read_first(
        &mut self,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, TableState), DbError> {
        // The rows that an index gives may be far apart: they are not walked a second time.
        let most = match self.lead {
            Some(_) => self.max_page_rows,
            None => FIRST_PAGE_ROWS,
        };
        if let Some(limit) = self.remaining.filter(|limit| *limit <= most) {
            self.page_rows = limit.saturating_add(1);
        }
        let (mut first, state) = self.read(i64::MAX, reader).await?;
        self.cursor_row = None;
        // The rest of a second may be empty. The flows after it belong to the first page as well.
        if let (ScanEnd::NoMoreRows, Seek::WithinSecond(RowKey { time, .. })) =
            (first.end, self.seek)
            && !self.selection.is_feed()
        {
            self.max_id = self.max_id.or(Some(state.max_id));
            self.seek = Seek::AfterTime(time);
            self.page_rows = self.page_rows.saturating_sub(first.count).max(1);
            let (more, _) = self.read(i64::MAX, reader).await?;
            first.append(more);
        }
        Ok((first, state))
    }

    /// Accepts the first page, and finds the cursor that continues where the limit cuts the answer.
    async fn accept_first(
        &mut self,
        first: Packed,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Page, Option<CursorSeek>), DbError> {
        if let Some(limit) = self.remaining
            && first.count > limit
        {
            self.done = true;
            let first = first.without_last(&self.layout)?;
            if first.count > 0 {
                self.seek = self.seek_after(&first)?;
            }
            let page = Page {
                packed: first.bytes,
                layout: self.layout.clone(),
                count: first.count,
                last: true,
            };
            return Ok((page, Some(CursorSeek::from(self.seek))));
        }
        let mut page = self.accept(first)?;
        if !self.done {
            reader.check_long_answer().await?;
        }
        if self.exhausted || self.remaining.is_none() {
            return Ok((page, None));
        }
        let next = self.clone().next_cursor(reader).await?;
        if let Some(NextCursor { flows, .. }) = next {
            self.remaining = Some(flows);
            self.done = flows == 0;
            page.last = self.done;
        }
        Ok((page, next.map(|next| next.seek)))
    }

    /// Reads a page of `limit` flows at most, or of fewer where so many are too large for a page.
    async fn read(
        &mut self,
        limit: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, TableState), DbError> {
        loop {
            let row_limit = self.page_rows.min(limit);
            match self.read_once(row_limit, reader).await {
                Ok((page, _)) if page.is_too_large() && row_limit > 1 => {
                    self.page_rows = self.rows_that_fit(row_limit, page.bytes.len());
                }
                Err(error) if error.kind == DbErrorKind::TooLarge && row_limit > 1 => {
                    self.page_rows = row_limit.checked_div(16).unwrap_or(1).max(1);
                }
                // An index that has been dropped is not needed. The order is the same without it.
                Err(error) if error.kind == DbErrorKind::NoIndex && self.lead.is_some() => {
                    self.lead = None;
                }
                Err(error) if error.kind == DbErrorKind::UnnamedBlob => {
                    return Err(self.find_blob(error, row_limit, reader).await);
                }
                result => return result,
            }
        }
    }

    /// Searches a page for the BLOB that SQLite has refused without naming it.
    async fn find_blob(
        &self,
        error: DbError,
        row_limit: i64,
        reader: &mut Reader<impl Database>,
    ) -> DbError {
        let page = self.page_query(row_limit, SCAN_LIMIT, reader.kind);
        let statement = page.blob_statement();
        match reader.row(statement).await.map(|(_, mut row)| row.next()) {
            Ok(Some(Value::Blob(place))) => DbError::blob(&String::from_utf8_lossy(&place)),
            _ => error,
        }
    }

    pub(super) fn page_query(
        &self,
        row_limit: i64,
        scan_limit: i64,
        kind: TableKind,
    ) -> PageQuery<'_> {
        PageQuery {
            selection: &self.selection,
            seek: self.seek,
            max_id: self.max_id,
            row_limit,
            scan_limit,
            columns: &self.columns,
            cursor_row: self.cursor_row,
            kind,
            lead: self.lead,
        }
    }

    async fn read_once(
        &self,
        row_limit: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, TableState), DbError> {
        let page = self.page_query(row_limit, SCAN_LIMIT, reader.kind);
        self.run(page.statement(), row_limit, reader).await
    }

    /// Runs the statement of a page of `row_limit` flows at most.
    pub(super) async fn run(
        &self,
        statement: Statement,
        row_limit: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<(Packed, TableState), DbError> {
        let (state, mut values) = reader.row(statement).await?;
        let (count, bytes) = match (values.next(), values.next()) {
            (Some(Value::Integer(count)), Some(Value::Blob(bytes))) => (count, bytes),
            (Some(Value::Integer(0)), Some(Value::Null)) => (0, Vec::new()),
            _ => return Err(unknown_form()),
        };
        let end = match values.next() {
            _ if count >= row_limit => ScanEnd::RowLimit,
            Some(Value::Blob(key)) => ScanEnd::ScanLimit(row_key(&key)?),
            _ => ScanEnd::NoMoreRows,
        };
        Ok((Packed { count, bytes, end }, state))
    }

    /// Accepts a page: finds where the next one starts, and whether there is one.
    fn accept(&mut self, page: Packed) -> Result<Page, DbError> {
        self.remaining = self
            .remaining
            .map(|remaining| remaining.saturating_sub(page.count));
        let first = first_key(&page.bytes).map(|key| key.time);
        self.first_time = self.first_time.or(first);
        match (page.end, self.seek) {
            (ScanEnd::RowLimit, _) => {
                self.seek = self.seek_after(&page)?;
                self.page_rows = self.rows_that_fit(page.count, page.bytes.len());
            }
            (ScanEnd::ScanLimit(last), _) => self.seek = self.seek_after_key(last),
            (ScanEnd::NoMoreRows, Seek::WithinSecond(RowKey { time, .. }))
                if !self.selection.is_feed() =>
            {
                self.seek = Seek::AfterTime(time);
            }
            (ScanEnd::NoMoreRows, _) => self.exhausted = true,
        }
        self.done = self.exhausted || self.remaining == Some(0);
        Ok(Page {
            packed: page.bytes,
            layout: self.layout.clone(),
            count: page.count,
            last: self.done,
        })
    }

    /// The seek after a row that the scan has reached from its own seek.
    pub(super) fn seek_after_key(&self, last: RowKey) -> Seek {
        match self.seek {
            Seek::AfterKey(before) | Seek::WithinSecond(before) if before.time == last.time => {
                Seek::WithinSecond(last)
            }
            _ => Seek::AfterKey(last),
        }
    }

    /// The seek after the last flow of the answer. It does not depend on how the answer came in pages.
    pub(super) fn seek_after_last(&self) -> Seek {
        match self.seek {
            Seek::AfterKey(last) | Seek::WithinSecond(last) if !self.selection.is_feed() => {
                if self.first_time == Some(last.time) {
                    Seek::WithinSecond(last)
                } else {
                    Seek::AfterKey(last)
                }
            }
            seek => seek,
        }
    }

    /// The seek after the last flow of a page.
    fn seek_after(&self, page: &Packed) -> Result<Seek, DbError> {
        let ends = first_key(&page.bytes).zip(last_key(&page.bytes));
        let (first, last) = ends.ok_or_else(|| page.fault(&self.layout))?;
        let is_one_second = first.time == last.time && !self.selection.is_feed();
        Ok(if is_one_second {
            Seek::WithinSecond(last)
        } else {
            Seek::AfterKey(last)
        })
    }

    /// How many flows make a page, where `count` flows took so many bytes.
    fn rows_that_fit(&self, count: i64, bytes: usize) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
        let fitting = count
            .saturating_mul(PAGE_BYTES.saturating_mul(self.growth()))
            .checked_div(bytes)
            .unwrap_or(1);
        fitting.clamp(1, self.max_page_rows.saturating_mul(self.growth()))
    }

    fn growth(&self) -> i64 {
        if self.unwaited < UNWAITED_PAGES {
            1
        } else {
            GROWTH
        }
    }
}

/// What a page's statement returns.
pub(super) struct Packed {
    pub(super) count: i64,
    pub(super) bytes: Vec<u8>,
    pub(super) end: ScanEnd,
}

/// Why a page has no more flows.
#[derive(Clone, Copy)]
pub(super) enum ScanEnd {
    /// It holds as many as were asked for.
    RowLimit,
    /// The statement has scanned as many rows as it may, up to this one.
    ScanLimit(RowKey),
    /// There are no more rows.
    NoMoreRows,
}

impl Packed {
    pub(super) fn is_too_large(&self) -> bool {
        i64::try_from(self.bytes.len()).is_ok_and(|bytes| bytes > MAX_PAGE_BYTES)
    }

    /// Adds the page that follows.
    fn append(&mut self, next: Self) {
        if !self.bytes.is_empty() && !next.bytes.is_empty() {
            self.bytes.push(b',');
        }
        self.bytes.extend_from_slice(&next.bytes);
        self.count = self.count.saturating_add(next.count);
        self.end = next.end;
    }

    fn without_last(self, layout: &Layout) -> Result<Self, DbError> {
        let bytes = crate::rows::ends::without_last(&self.bytes);
        Ok(Self {
            bytes: bytes.ok_or_else(|| self.fault(layout))?,
            count: self.count.saturating_sub(1),
            end: ScanEnd::RowLimit,
        })
    }

    /// What is wrong with a page whose keys cannot be read: its first flow that cannot be written.
    fn fault(&self, layout: &Layout) -> DbError {
        let read = || {
            let mut records = RecordReader::new(&self.bytes, self.count, layout)?;
            while records.record()?.is_some() {}
            Ok::<_, RecordError>(())
        };
        DbError::internal(match read() {
            Err(error) => error.to_string(),
            Ok(()) => "a flow has no place in the order of (time, id)".to_owned(),
        })
    }
}

/// The key that a statement returns as a BLOB.
pub(super) fn row_key(key: &[u8]) -> Result<RowKey, DbError> {
    first_key(key).ok_or_else(|| DbError::internal("a flow has no place in the answer's order"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Format;

    #[test]
    fn long_flows_make_short_pages() {
        let query = Query::parse("", Ok(Format::Json)).unwrap();
        let mut progress = Progress::new(&query, 3_000);
        assert_eq!(progress.rows_that_fit(500, 500 * 60), 3_000);
        assert_eq!(progress.rows_that_fit(500, 500 << 20), 1);
        assert_eq!(progress.rows_that_fit(10, 10 << 16), 8);
        assert_eq!(progress.rows_that_fit(0, 2), 1);
        progress.unwaited = UNWAITED_PAGES;
        assert_eq!(progress.rows_that_fit(500, 500 * 60), 6_000);
        assert_eq!(progress.rows_that_fit(10, 10 << 16), 16);
    }
}

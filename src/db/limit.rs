//! Where a limit cuts an answer: the cursor of the next portion stands in the head, before the flows.

use super::pager::{Progress, row_key};
use super::reader::{Reader, unknown_form};
use super::sql::page::{KEY_COLUMNS, Seek};
use super::{Database, DbError, Value};
use crate::query::cursor::CursorSeek;
use crate::table::key::RowKey;

/// Keys in a page of keys, where residual conditions decide which rows count.
const KEY_PAGE_ROWS: i64 = 20_000;

/// Pages of keys that are read before the head, a million rows scanned. The host does not tell meanwhile whether the
/// client has left. The next portion continues after the last of these pages.
const MAX_KEY_PAGES: u32 = 100;

/// Rows that one statement counts where every row matches: about 40 ms of SQLite's time.
const COUNTED_ROWS: i64 = 1_000_000;

/// Where the next portion of an answer starts.
#[derive(Clone, Copy)]
pub(super) struct NextCursor {
    pub(super) seek: CursorSeek,
    /// Flows between the first page and the cursor.
    pub(super) flows: i64,
}

/// Why pages of keys have ended.
enum KeysEnd {
    /// The limit is reached.
    Limit,
    /// There are no more flows.
    NoMoreRows,
    /// [`MAX_KEY_PAGES`] have been read.
    MaxPages,
}

impl Progress {
    /// Finds the last flow that the limit allows, and whether another follows; `None` where none follows.
    pub(super) async fn next_cursor(
        mut self,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<NextCursor>, DbError> {
        let remaining = self.remaining.unwrap_or(i64::MAX);
        if self.page_query(0, 0, reader.kind).has_no_residual() {
            let seek = self.count_rows(remaining, reader).await?;
            return Ok(seek.map(|seek| NextCursor {
                seek,
                flows: remaining,
            }));
        }
        self.columns = KEY_COLUMNS.into();
        self.page_rows = KEY_PAGE_ROWS;
        self.max_page_rows = KEY_PAGE_ROWS;
        let mut pages = MAX_KEY_PAGES;
        match self.read_keys(&mut pages, reader).await? {
            KeysEnd::NoMoreRows => return Ok(None),
            KeysEnd::Limit | KeysEnd::MaxPages => {}
        }
        let next = NextCursor {
            seek: CursorSeek::from(self.seek_after_last()),
            flows: remaining.saturating_sub(self.remaining.unwrap_or(0)),
        };
        if self.remaining == Some(0) {
            // One flow more tells whether any is left.
            self.remaining = Some(1);
            self.done = false;
            if let KeysEnd::NoMoreRows = self.read_keys(&mut pages, reader).await? {
                return Ok(None);
            }
        }
        Ok(Some(next))
    }

    async fn read_keys(
        &mut self,
        pages: &mut u32,
        reader: &mut Reader<impl Database>,
    ) -> Result<KeysEnd, DbError> {
        loop {
            if self.remaining == Some(0) {
                return Ok(KeysEnd::Limit);
            }
            if self.exhausted {
                return Ok(KeysEnd::NoMoreRows);
            }
            let Some(left) = pages.checked_sub(1) else {
                return Ok(KeysEnd::MaxPages);
            };
            *pages = left;
            self.next(reader).await?;
        }
    }

    /// Counts `remaining` rows, where every row matches.
    async fn count_rows(
        mut self,
        mut remaining: i64,
        reader: &mut Reader<impl Database>,
    ) -> Result<Option<CursorSeek>, DbError> {
        let mut next = None;
        loop {
            if remaining == 0 {
                next = next.or(Some(CursorSeek::from(self.seek)));
            }
            // At the limit, one row more tells whether any is left.
            let rows = remaining.clamp(1, COUNTED_ROWS);
            let statement = self.page_query(0, rows, reader.kind).key_statement();
            let (_, mut values) = reader.row(statement).await?;
            match (values.next(), self.seek) {
                (Some(Value::Blob(_)), _) if remaining == 0 => return Ok(next),
                (Some(Value::Blob(key)), _) => {
                    self.seek = self.seek_after_key(row_key(&key)?);
                    remaining = remaining.saturating_sub(rows);
                }
                (Some(Value::Null), Seek::WithinSecond(RowKey { time, .. }))
                    if !self.selection.is_feed() =>
                {
                    let statement = self.page_query(0, rows, reader.kind).count_statement();
                    let (_, mut values) = reader.row(statement).await?;
                    let Some(Value::Integer(counted)) = values.next() else {
                        return Err(unknown_form());
                    };
                    self.seek = Seek::AfterTime(time);
                    remaining = remaining.saturating_sub(counted);
                }
                (Some(Value::Null), _) => return Ok(None),
                _ => return Err(unknown_form()),
            }
        }
    }
}

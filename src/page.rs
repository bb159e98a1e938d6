//! Pages: the unit of work.
//!
//! A page is one statement that returns one row: up to so many flows, packed by SQLite itself. The place
//! of its last flow is where the next page starts, so no flow is passed over or sent twice, however many
//! share a second. The first page fixes the largest id then present, and no later page goes beyond it: an
//! answer is frozen when it starts, although no transaction spans its pages. The SQL is
//! [`crate::statement`]'s business, and what flows look like [`crate::packed`]'s.

use spin_sdk::sqlite::Value;

use crate::cursor::Cursor;
use crate::flow::COLUMNS;
use crate::packed::{self, Position, Records};
use crate::problem::Problem;
use crate::query::{Query, Question};
use crate::statement::{KEYS, Place, STATE, Statement, Walk};
use crate::{database, fitness};

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

/// Rows that one statement counts off to find where a limit cuts any other: about 40 ms of SQLite's time.
const COUNTED: i64 = 1_000_000;

/// Packed bytes that a page should not exceed by much. LANL's flows pack into 60 bytes each; a table
/// of long texts gets pages of fewer flows.
const BYTES: i64 = 512 << 10;

/// Packed bytes at which a page is thrown away and read again with fewer flows.
const MAX_BYTES: i64 = 16 * BYTES;

/// A page as it came from the database.
#[derive(Debug)]
pub struct Page {
    /// The flows, for [`Records`].
    pub packed: Vec<u8>,
    /// How many, by the database's own count.
    pub count: i64,
    /// Whether no page follows.
    pub last: bool,
}

/// What is known of an answer when its first page has been read.
#[derive(Debug)]
pub struct Start {
    /// The first page.
    pub first: Page,
    /// The pages behind it.
    pub rest: Pages,
    /// The state of the table.
    pub state: State,
    /// The largest id that the answer could include: see [`watermark`].
    pub watermark: i64,
    /// The cursor that goes on where a limit cuts the answer short, if one does.
    pub cut: Option<String>,
}

/// What changes in the table when flows arrive or are edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The largest id; `None` in an empty table.
    pub newest: Option<i64>,
    /// `PRAGMA user_version`.
    pub version: i64,
}

impl State {
    /// Asks for the state alone.
    ///
    /// # Errors
    /// A 503 or 500 when the database cannot be read.
    pub async fn read() -> Result<Self, Problem> {
        let row = database::row(&format!("SELECT {STATE}"), Vec::new()).await?;
        let mut values = row.map(|row| row.values).unwrap_or_default().into_iter();
        Self::from_values(&mut values)
    }

    fn from_values(values: &mut impl Iterator<Item = Value>) -> Result<Self, Problem> {
        let newest = match values.next() {
            Some(Value::Integer(id)) => Some(id),
            Some(Value::Null) | None => None,
            Some(_) => return Err(Problem::not_ready("the largest id of flows is no integer")),
        };
        let version = match values.next() {
            Some(Value::Integer(version)) => version,
            _ => 0,
        };
        Ok(Self { newest, version })
    }
}

/// The pages of one answer that are still to be read.
#[derive(Debug, Clone)]
pub struct Pages {
    question: Question,
    /// Flows still wanted, if there is a limit.
    wanted: Option<i64>,
    place: Place,
    /// The largest id that the answer may include; `None` before the first page and in an empty table.
    newest: Option<i64>,
    columns: &'static str,
    /// Flows to ask for next, and the most that may be asked for.
    rows: i64,
    most_rows: i64,
    done: bool,
}

impl Pages {
    /// Reads the first page of an answer and finds where it ends.
    ///
    /// # Errors
    /// A 503 when the database is not fit to be served from, a 500 when a flow cannot be read.
    pub async fn start(query: Query) -> Result<Start, Problem> {
        fitness::check().await?;
        let Query {
            question,
            limit,
            cursor,
            ..
        } = query;
        let mut pages = Self {
            place: cursor.map_or(Place::Start, |cursor| Place::Behind(cursor.position)),
            newest: cursor.map(|cursor| cursor.newest),
            wanted: limit,
            question,
            columns: COLUMNS,
            rows: FIRST_ROWS,
            most_rows: ROWS,
            done: false,
        };
        let (first, state) = pages.read_first().await?;
        pages.newest = pages.newest.or(state.newest);
        let watermark = watermark(&pages.question, pages.newest);
        let (first, cut) = pages.accept_first(first, limit).await?;
        Ok(Start {
            first,
            cut: cut.map(|cursor| cursor.encode(pages.question.digest())),
            rest: pages,
            state,
            watermark,
        })
    }

    /// Reads the next page; `None` behind the last one.
    ///
    /// # Errors
    /// A 503 when the database cannot be read, a 500 when a flow cannot.
    pub async fn next(&mut self) -> Result<Option<Page>, Problem> {
        if self.done {
            return Ok(None);
        }
        let (page, _) = self.read(self.wanted.unwrap_or(i64::MAX), false).await?;
        self.accept(page).map(Some)
    }

    /// The first page asks for a flow more than is wanted, to see whether one is left.
    async fn read_first(&mut self) -> Result<(Packed, State), Problem> {
        let wanted = match self.wanted {
            Some(wanted @ 1..=FIRST_ROWS) => {
                self.rows = wanted.saturating_add(1);
                self.rows
            }
            wanted => wanted.unwrap_or(i64::MAX),
        };
        self.read(wanted, true).await
    }

    /// Takes the first page in, and finds where `limit` cuts the answer.
    async fn accept_first(
        &mut self,
        first: Packed,
        limit: Option<i64>,
    ) -> Result<(Page, Option<Cursor>), Problem> {
        if limit.is_some_and(|limit| first.count > limit) {
            self.done = true;
            let packed = packed::without_last(&first.bytes);
            let packed = packed.ok_or_else(|| unreadable(&first))?;
            let position = packed::last_position(&packed).ok_or_else(|| unreadable(&first))?;
            let cut = self.newest.map(|newest| Cursor { newest, position });
            let page = Page {
                packed,
                count: first.count.saturating_sub(1),
                last: true,
            };
            return Ok((page, cut));
        }
        let ended = matches!(first.end, End::Nothing);
        let page = self.accept(first)?;
        if ended || self.wanted.is_none() {
            return Ok((page, None));
        }
        let last = packed::last_position(&page.packed);
        let cut = self.clone().find_cut(last).await?;
        Ok((page, cut))
    }

    /// Walks from the flow `last` on to the last one that is wanted, and looks whether another comes behind
    /// it.
    async fn find_cut(mut self, mut last: Option<Position>) -> Result<Option<Cursor>, Problem> {
        if let (Some(wanted), Some(from)) = (self.wanted, last)
            && self.walk(0, 0).takes_every_row()
        {
            return self.count_to_cut(wanted, from).await;
        }
        self.columns = KEYS;
        self.rows = KEY_ROWS;
        self.most_rows = KEY_ROWS;
        while let Some(page) = self.next().await? {
            last = packed::last_position(&page.packed).or(last);
        }
        if self.wanted != Some(0) {
            return Ok(None);
        }
        let Some((position, newest)) = last.zip(self.newest) else {
            return Ok(None);
        };
        self.place = Place::Behind(position);
        self.wanted = Some(1);
        self.done = false;
        while self.next().await?.is_some() {}
        Ok((self.wanted == Some(0)).then_some(Cursor { newest, position }))
    }

    /// Counts `wanted` rows off behind the flow `last`, where every row is taken.
    async fn count_to_cut(
        mut self,
        mut wanted: i64,
        mut last: Position,
    ) -> Result<Option<Cursor>, Problem> {
        loop {
            self.place = Place::Behind(last);
            // With nothing wanted any more, whether one is left.
            let rows = wanted.clamp(1, COUNTED);
            let Statement { text, parameters } = self.walk(0, rows).place_statement();
            let Some(row) = database::later_row(&text, parameters).await? else {
                return Ok(None);
            };
            if wanted == 0 {
                let position = last;
                return Ok(self.newest.map(|newest| Cursor { newest, position }));
            }
            last = match row.values.first() {
                Some(Value::Blob(keys)) => position(keys)?,
                _ => return Err(unknown_form()),
            };
            wanted = wanted.saturating_sub(rows);
        }
    }

    /// Reads a page of `wanted` flows at the most, or of fewer when so many are too large for a page.
    async fn read(&mut self, wanted: i64, with_state: bool) -> Result<(Packed, State), Problem> {
        loop {
            let asked = self.rows.min(wanted);
            match self.read_once(asked, with_state).await {
                Ok((page, _)) if page.is_too_large() && asked > 1 => {
                    self.rows = self.rows_for(asked, page.bytes.len());
                }
                Err(problem) if problem.is_too_large() && asked > 1 => {
                    self.rows = asked.checked_div(16).unwrap_or(1).max(1);
                }
                result => return result,
            }
        }
    }

    fn walk(&self, taken: i64, looked: i64) -> Walk<'_> {
        Walk {
            question: &self.question,
            place: self.place,
            newest: self.newest,
            taken,
            looked,
            columns: self.columns,
            with_state: false,
        }
    }

    async fn read_once(&self, asked: i64, with_state: bool) -> Result<(Packed, State), Problem> {
        let walk = Walk {
            with_state,
            ..self.walk(asked, LOOKED)
        };
        let Statement { text, parameters } = walk.statement();
        // The first page is all there is of most answers.
        let row = if with_state {
            database::row(&text, parameters).await?
        } else {
            database::later_row(&text, parameters).await?
        };
        let mut values = row.map(|row| row.values).unwrap_or_default().into_iter();
        let (count, bytes) = match (values.next(), values.next()) {
            (Some(Value::Integer(count)), Some(Value::Blob(bytes))) => (count, bytes),
            (Some(Value::Integer(0)), Some(Value::Null)) => (0, Vec::new()),
            _ => return Err(unknown_form()),
        };
        let end = match values.next() {
            _ if count >= asked => End::Full,
            Some(Value::Blob(keys)) => End::Looked(position(&keys)?),
            _ => End::Nothing,
        };
        Ok((
            Packed { count, bytes, end },
            State::from_values(&mut values)?,
        ))
    }

    /// Takes a page in: where the next one starts, and whether there is one.
    fn accept(&mut self, page: Packed) -> Result<Page, Problem> {
        self.wanted = self.wanted.map(|wanted| wanted.saturating_sub(page.count));
        self.done = self.wanted == Some(0);
        if !self.done {
            match (page.end, self.place) {
                (End::Full, _) => {
                    self.place = self.place_behind(&page)?;
                    self.rows = self.rows_for(page.count, page.bytes.len());
                }
                (End::Looked(last), Place::Behind(before) | Place::Inside(before))
                    if before.time == last.time =>
                {
                    self.place = Place::Inside(last);
                }
                (End::Looked(last), _) => self.place = Place::Behind(last),
                (End::Nothing, Place::Inside(Position { time, .. })) if !self.is_feed() => {
                    self.place = Place::After(time);
                }
                (End::Nothing, _) => self.done = true,
            }
        }
        Ok(Page {
            packed: page.bytes,
            count: page.count,
            last: self.done,
        })
    }

    fn is_feed(&self) -> bool {
        self.question.after_id.is_some()
    }

    /// The place behind the last flow of a page.
    fn place_behind(&self, page: &Packed) -> Result<Place, Problem> {
        let packed = &page.bytes;
        let ends = packed::first_position(packed).zip(packed::last_position(packed));
        let (first, last) = ends.ok_or_else(|| unreadable(page))?;
        let inside = first.time == last.time && !self.is_feed();
        Ok(if inside {
            Place::Inside(last)
        } else {
            Place::Behind(last)
        })
    }

    /// How many flows of the size seen make a page.
    fn rows_for(&self, count: i64, bytes: usize) -> i64 {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
        let fitting = count.saturating_mul(BYTES).checked_div(bytes).unwrap_or(1);
        fitting.clamp(1, self.most_rows)
    }
}

/// The id that a client which has stored the whole answer continues behind, with `after_id`.
///
/// In an empty table it is the least integer there is: whatever arrives comes behind it.
pub fn watermark(question: &Question, newest: Option<i64>) -> i64 {
    // Ids below the client's own watermark are known to it, also when the newest flows have been deleted.
    newest.max(question.after_id).unwrap_or(i64::MIN)
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
    Looked(Position),
    /// There are no more rows.
    Nothing,
}

impl Packed {
    fn is_too_large(&self) -> bool {
        i64::try_from(self.bytes.len()).is_ok_and(|bytes| bytes > MAX_BYTES)
    }
}

/// The place that a statement returns beside flows, or instead of them.
fn position(keys: &[u8]) -> Result<Position, Problem> {
    packed::position_of(keys)
        .ok_or_else(|| Problem::internal("a flow has no place in the answer's order"))
}

fn unknown_form() -> Problem {
    Problem::internal("the database's answer has an unknown form")
}

/// What is wrong with a page whose end cannot be read: the first of its flows that cannot.
fn unreadable(page: &Packed) -> Problem {
    match fault(page) {
        Err(error) => error.into(),
        Ok(()) => Problem::internal("a flow has no place in the order of (time, id)"),
    }
}

fn fault(page: &Packed) -> anyhow::Result<()> {
    let mut records = Records::new(&page.bytes, page.count)?;
    while records.next_record()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_flows_make_short_pages() {
        let pages = Pages {
            question: Question::default(),
            wanted: None,
            place: Place::Start,
            newest: None,
            columns: COLUMNS,
            rows: ROWS,
            most_rows: ROWS,
            done: false,
        };
        assert_eq!(pages.rows_for(500, 500 * 60), ROWS);
        assert_eq!(pages.rows_for(500, 500 << 20), 1);
        assert_eq!(pages.rows_for(10, 10 << 16), 8);
        assert_eq!(pages.rows_for(0, 2), 1);
    }

    #[test]
    fn a_watermark_never_falls_behind_the_clients_own() {
        let feed = |after_id| Question {
            after_id,
            ..Question::default()
        };
        assert_eq!(watermark(&feed(None), Some(7)), 7);
        assert_eq!(watermark(&feed(Some(9)), Some(7)), 9);
        assert_eq!(watermark(&feed(Some(9)), None), 9);
        assert_eq!(watermark(&feed(None), None), i64::MIN);
    }
}

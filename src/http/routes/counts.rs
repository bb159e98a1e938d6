//! `GET /flows/histogram` and `/flows/top`: flows that are counted instead of sent.

use futures::future::join;

use super::flows::{content_encoding, content_headers, flow_headers, known_state};
use crate::db::minutes::read_minutes;
use crate::db::pager::{MAX_STARTS, Pager, Start};
use crate::db::summary::read_extent;
use crate::db::{Database, DbError};
use crate::export::counts::Counts;
use crate::export::gzip::{ContentEncoding, GzipEncoder};
use crate::export::pipeline::{Content, Export};
use crate::formats::Format;
use crate::http::etag::{self, Representation};
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext};
use crate::http::response::Response;
use crate::query::Query;
use crate::query::counts::{Buckets, HistogramQuery, TopQuery};
use crate::query::selection::Selection;
use crate::table::state::TableState;

/// Pages that are counted before the head is sent: some 300,000 flows. What fails in them has a status of its own. The
/// host tells whether the client has left only after the head.
const PAGES_BEFORE_HEAD: u32 = 100;

/// Flows, packets and bytes in the buckets of a window.
pub(super) async fn get_histogram<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let HistogramQuery {
        selection,
        buckets,
        format,
    } = HistogramQuery::parse(context.query, context.preference.format())?;
    let divided = match buckets {
        Buckets::Count(count) => format!("buckets={count}"),
        Buckets::Width(width) => format!("width={width}"),
    };
    let question = format!("histogram {divided}\n{}", selection.wire_text());
    let answer = CountsResponse::new("histogram", &question, format, context);
    if let Some(not_modified) = answer.not_modified(context).await? {
        return Ok(not_modified);
    }
    let mut query = Query::of(selection, format, Counts::layout(None));
    for _ in 0..MAX_STARTS {
        let (borders, seen) = borders(context, &query.selection, buckets).await?;
        let counted = match query.selection.filters.as_slice() {
            [] => Box::pin(read_minutes(context.readiness, &borders)).await?,
            _ => None,
        };
        // Flows that have arrived since the minutes were counted.
        query.selection.after_id = counted.as_ref().map(|counted| counted.max_id);
        let start = Pager::start(&query, context.readiness).await?;
        let is_same = seen.is_none_or(|seen| {
            (seen.guard(), seen.max_id) == (start.state.guard(), start.state.max_id)
        });
        let counted_same = counted
            .as_ref()
            .is_none_or(|counted| counted.state.guard() == start.state.guard());
        if is_same && counted_same {
            let mut counts = Counts::histogram(borders, format);
            if let Some(counted) = counted {
                counts.add_counted(&counted.packed, counted.count)?;
            }
            return answer.send(context, start, counts).await;
        }
    }
    Err(DbError::edited().into())
}

/// The values of a field with the most flows, packets or bytes.
pub(super) async fn get_top<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
) -> Result<Response<D>, Problem> {
    let query = TopQuery::parse(context.query, context.preference.format())?;
    let question = format!(
        "top by={} order={} limit={}\n{}",
        query.by.name,
        query.order.name(),
        query.limit,
        query.selection.wire_text()
    );
    let answer = CountsResponse::new("top", &question, query.format, context);
    if let Some(not_modified) = answer.not_modified(context).await? {
        return Ok(not_modified);
    }
    let layout = Counts::layout(Some(query.by));
    let flows = Query::of(query.selection.clone(), query.format, layout);
    let start = Pager::start(&flows, context.readiness).await?;
    answer.send(context, start, Counts::top(&query)).await
}

/// The borders of the buckets. Where the window lacks a bound, that is the table's end, in the state that is returned.
async fn borders<D: Database>(
    context: &RequestContext<'_, D, impl Request>,
    selection: &Selection,
    buckets: Buckets,
) -> Result<(Vec<i64>, Option<TableState>), Problem> {
    if let (Some(after), Some(until)) = (selection.after, selection.before) {
        return Ok((buckets.borders(after, until)?, None));
    }
    let (extent, state) = read_extent(context.readiness).await?;
    // A table without flows has no ends.
    let until = selection.before.or(extent.last_time);
    let start = extent.first_time.zip(until);
    let start = start.map(|(first, until)| buckets.start(first, until));
    let borders = match (selection.after.or(start), until) {
        (Some(after), Some(until)) => buckets.borders(after, until)?,
        _ => Vec::new(),
    };
    Ok((borders, Some(state)))
}

/// What a response of counts says of itself.
struct CountsResponse {
    name: &'static str,
    format: Format,
    encoding: ContentEncoding,
    representation: Representation,
}

impl CountsResponse {
    fn new<D: Database>(
        name: &'static str,
        question: &str,
        format: Format,
        context: &RequestContext<'_, D, impl Request>,
    ) -> Self {
        let encoding = content_encoding(context);
        Self {
            name,
            format,
            encoding,
            representation: Representation::of_counts(question, format, encoding),
        }
    }

    /// The 304, where `If-None-Match` lists the current tag.
    async fn not_modified<D: Database>(
        &self,
        context: &RequestContext<'_, D, impl Request>,
    ) -> Result<Option<Response<D>>, Problem> {
        let known = known_state(context, self.representation).await?;
        Ok(known.map(|(etag, state)| Response::empty(304, flow_headers(Some(etag), state, None))))
    }

    /// Counts the flows, and answers with the counts.
    async fn send<D: Database>(
        &self,
        context: &RequestContext<'_, D, impl Request>,
        start: Start<D>,
        mut counts: Counts,
    ) -> Result<Response<D>, Problem> {
        let Start {
            first,
            mut rest,
            state,
            ..
        } = start;
        let etag = self.representation.etag(state);
        etag::check_if_match(context.header("if-match").as_deref(), etag.as_deref())?;
        let mut headers = flow_headers(etag, state, None);
        headers.extend(content_headers(self.name, self.format, self.encoding));
        let mut page = first;
        for _ in 0..PAGES_BEFORE_HEAD {
            if page.last {
                break;
            }
            // The next page is read while this one is counted.
            let counting = async {
                let mut records = page.records()?;
                counts.add(&mut records)
            };
            let (next, counted) = join(rest.next(), counting).await;
            counted?;
            page = next?.ok_or_else(DbError::edited)?;
        }
        let export = Export::new(
            context.readiness.database(),
            &page,
            rest,
            Content::Counts(Box::new(counts)),
            GzipEncoder::new(self.encoding),
            context.settings.reader_timeout,
            self.representation.is_weak(),
        )?;
        Ok(Response {
            status: 200,
            headers,
            body: export.into(),
        })
    }
}

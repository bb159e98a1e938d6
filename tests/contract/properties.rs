//! Properties over random tables: portions are the unlimited answer, and a dump with its polls misses nothing.
//!
//! What an answer should hold is computed here, from the rows as they were made; the service is not asked.
//! `PROPTEST_CASES` sets how many tables each property sees (default 128, some 10 seconds).

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::Config;
use rusqlite::Connection;
use support::database::{Database, insert_records};
use support::random::Random;
use support::records::{Cell, Record, id, parse, time};
use support::server::TestServer;
use support::wire::Response;
use support::{FLOWS, FORMATS};

/// Texts of a column: few, so that filters match, and some that a format or the query string must escape.
const TEXTS: [&str; 6] = ["C1", "C1065", "N10451", "443", "a \"b\",<&>+%\r\n", ""];

/// A text that so few flows hold that a filter for it ends a page by the rows looked at, not by the flows found.
const RARE: &str = "rare";

/// The most portions of an answer: as many flows in each as it takes to keep a case at a few dozen requests.
const PORTIONS: usize = 12;

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    Config {
        cases: cases.unwrap_or(128),
        // A failure prints its table's seed; a file of seeds beside the source would be one more to keep.
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    }
}

/// A table as it grows: flows in the order of arrival, and the size of each batch they arrive in.
#[derive(Debug, Clone)]
struct Table {
    first_id: i64,
    /// How much an id exceeds the one before it at the most.
    gap: usize,
    /// Times are among as many seconds as this: the fewer, the more ties.
    seconds: usize,
    /// The time that one of so many flows has at the earliest; `i64::MIN` and `i64::MAX` among them.
    origin: i64,
    seed: u64,
    /// The sizes of the batches; the first is there at the start.
    batches: Vec<usize>,
}

impl Table {
    /// The flows of each batch.
    fn batches(&self) -> Vec<Vec<Record>> {
        let mut random = Random(self.seed);
        let mut id = self.first_id;
        let sizes = self.batches.iter();
        sizes
            .map(|size| {
                (0..*size)
                    .map(|_| {
                        let flow = self.flow(id, &mut random);
                        id += 1 + random.below(self.gap) as i64;
                        flow
                    })
                    .collect()
            })
            .collect()
    }

    /// A flow whose time is anywhere, whatever its id: early, late, or at an end of what 64 bits hold.
    fn flow(&self, id: i64, random: &mut Random) -> Record {
        let second = self
            .origin
            .saturating_add(random.below(self.seconds) as i64);
        let time = match random.below(500) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => second,
        };
        let mut text = || match random.below(25) {
            0 => RARE.to_owned(),
            _ => TEXTS[random.below(TEXTS.len())].to_owned(),
        };
        let texts: [_; 4] = std::array::from_fn(|_| Cell::Text(text()));
        let duration = random.below(9) as i64;
        let protocol = [1, 6, 17, -1][random.below(4)];
        let packet_count = random.below(100) as i64;
        let byte_count = random.below(usize::MAX) as i64;
        let keys = [id, time, duration].map(Cell::Integer).into_iter();
        let counts = [protocol, packet_count, byte_count].map(Cell::Integer);
        keys.chain(texts).chain(counts).collect()
    }
}

/// Mostly tables of a few dozen flows, and some around the sizes that the service reads at once: 500, then
/// 2,000 or 3,000 flows, and 10,000 rows looked at where there are filters.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..60_usize,
        2 => select(vec![499_usize, 500, 501, 502, 1000, 2499, 2500, 2501, 3499, 3500, 3501, 6500]),
        2 => 400..6000_usize,
        1 => select(vec![9999_usize, 10_000, 10_001, 20_000, 20_001]),
        1 => 9000..22_000_usize,
    ]
}

fn tables() -> impl Strategy<Value = Table> {
    let origins = select(vec![0, 1, -30, i64::MIN, i64::MAX - 40, 5_000_000]);
    let seconds = select(vec![1_usize, 2, 5, 40, 1000]);
    // Not the least integer itself: no watermark of an empty table lies below it (docs/api.md, polling).
    let first_ids = select(vec![1_i64, 0, -700, 1 << 40, i64::MIN + 1]);
    let batches = (sizes(), vec(0..40_usize, 1..PORTIONS));
    let gaps = select(vec![1_usize, 1, 3, 1000]);
    (first_ids, gaps, seconds, origins, any::<u64>(), batches).prop_map(
        |(first_id, gap, seconds, origin, seed, (first, mut batches))| {
            batches.insert(0, first);
            Table {
                first_id,
                gap,
                seconds,
                origin,
                seed,
                batches,
            }
        },
    )
}

/// A question, with bounds as places in the table's own range, so that most windows hold something.
#[derive(Debug, Clone)]
struct Asked {
    after: Option<i64>,
    before: Option<i64>,
    after_id: Option<usize>,
    /// Column and what it may hold.
    texts: Vec<(usize, Vec<&'static str>)>,
    protocols: Vec<i64>,
}

/// The text columns, which follow [`KEYS`] others.
const COLUMNS: [&str; 4] = ["src_comp", "src_port", "dst_comp", "dst_port"];
const KEYS: usize = 3;

fn questions() -> impl Strategy<Value = Asked> {
    let bound = || prop_oneof![2 => Just(None), 3 => (-3..45_i64).prop_map(Some)];
    let after_id = prop_oneof![2 => Just(None), 1 => (0..25_000_usize).prop_map(Some)];
    // A filter takes no empty text.
    let some = subsequence(
        vec!["C1", "C1065", "443", "a \"b\",<&>+%\r\n", "nobody"],
        1..4,
    );
    let values = prop_oneof![1 => Just(vec![RARE]), 2 => some];
    let texts = prop_oneof![3 => Just(Vec::new()), 2 => vec((0..4_usize, values), 1..3)];
    let protocols =
        prop_oneof![3 => Just(Vec::new()), 1 => subsequence(vec![6_i64, 17, -1, 99], 1..3)];
    (bound(), bound(), after_id, texts, protocols).prop_map(
        |(after, before, after_id, mut texts, protocols)| {
            texts.sort_by_key(|(column, _)| *column);
            texts.dedup_by_key(|(column, _)| *column);
            Asked {
                after,
                before,
                after_id,
                texts,
                protocols,
            }
        },
    )
}

impl Asked {
    /// The question over a table: bounds become seconds and an id of it.
    fn over(&self, table: &Table, flows: &[Record]) -> Question {
        let second = |offset: i64| table.origin.saturating_add(offset);
        let id = |place: usize| flows.get(place % flows.len().max(1)).map_or(0, id);
        Question {
            after: self.after.map(second),
            before: self.before.map(second),
            after_id: self.after_id.map(id),
            asked: self.clone(),
        }
    }
}

/// A question, and which flows are its answer.
#[derive(Debug, Clone)]
struct Question {
    after: Option<i64>,
    before: Option<i64>,
    after_id: Option<i64>,
    asked: Asked,
}

impl Question {
    /// The query string, without `after_id`.
    fn window_and_filters(&self) -> String {
        let mut pairs = Vec::new();
        pairs.extend(self.after.map(|time| format!("scanned_after={time}")));
        pairs.extend(self.before.map(|time| format!("scanned_before={time}")));
        for (column, values) in &self.asked.texts {
            let coded = |text: &&str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                    .to_string()
            };
            pairs.extend(
                values
                    .iter()
                    .map(|value| format!("{}={}", COLUMNS[*column], coded(value))),
            );
        }
        pairs.extend(
            self.asked
                .protocols
                .iter()
                .map(|protocol| format!("protocol={protocol}")),
        );
        pairs.join("&")
    }

    fn query(&self) -> String {
        let window = self.window_and_filters();
        match self.after_id {
            Some(id) => format!("after_id={id}&{window}"),
            None => window,
        }
    }

    fn matches(&self, flow: &Record) -> bool {
        let texts = self.asked.texts.iter();
        let mut texts = texts.map(|(column, values)| (&flow[KEYS + column], values));
        let protocols = self.asked.protocols.iter().map(|n| Cell::Integer(*n));
        self.after.is_none_or(|after| time(flow) > after)
            && self.before.is_none_or(|before| time(flow) <= before)
            && self.after_id.is_none_or(|after| id(flow) > after)
            && texts.all(|(cell, values)| {
                values
                    .iter()
                    .any(|text| *cell == Cell::Text((*text).to_owned()))
            })
            && (self.asked.protocols.is_empty() || protocols.into_iter().any(|n| n == flow[7]))
    }

    /// The whole answer over these flows, in its order.
    fn answer(&self, flows: &[Record]) -> Vec<Record> {
        let mut answer: Vec<_> = flows
            .iter()
            .filter(|flow| self.matches(flow))
            .cloned()
            .collect();
        match self.after_id {
            Some(_) => answer.sort_by_key(id),
            None => answer.sort_by_key(|flow| (time(flow), id(flow))),
        }
        answer
    }
}

/// A limit that cuts `count` flows into `PORTIONS` portions at the most, sometimes exactly.
fn limit(count: usize, choice: usize) -> usize {
    let least = count.div_ceil(PORTIONS).max(1);
    match choice % 4 {
        // As many portions as a small divisor says, so that the last one is full.
        0 => (2..=PORTIONS)
            .find(|n| count > 0 && count.is_multiple_of(*n))
            .map_or(least, |n| count / n),
        1 => count.max(1),
        2 => least,
        _ => least + choice % (count + 1),
    }
}

#[track_caller]
fn records(format: &str, answer: &Response) -> Vec<Record> {
    parse(format, &answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Says where two lists of flows part, since whole ones are too long to read.
fn same(found: &[Record], expected: &[Record], what: &str) -> Result<(), TestCaseError> {
    let parts = found
        .iter()
        .zip(expected)
        .position(|(found, expected)| found != expected);
    let place = parts.unwrap_or(found.len().min(expected.len()));
    let (lengths, ends) = (
        (found.len(), expected.len()),
        (found.get(place), expected.get(place)),
    );
    prop_assert!(
        found == expected,
        "{what}: {lengths:?} flows, at {place}: {ends:?}"
    );
    Ok(())
}

/// A server over the table's first batch, a connection to add to it, and what arrives later.
#[track_caller]
fn server(table: &Table) -> (TestServer, Connection, Vec<Record>, Vec<Vec<Record>>) {
    let server = Database::with_flows([]).serve();
    let mut connection = server.database.connect();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
        .expect("a log");
    let mut batches = table.batches();
    let first = batches.remove(0);
    insert_records(&mut connection, &first);
    (server, connection, first, batches)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn following_links_gives_the_unlimited_answer_in_every_format(
        table in tables(), asked in questions(), choice in any::<u16>(),
    ) {
        let (server, _, flows, _) = server(&table);
        let question = asked.over(&table, &flows);
        let expected = question.answer(&flows);
        let limit = limit(expected.len(), usize::from(choice));
        let portions = expected.len().div_ceil(limit).max(1);
        for format in FORMATS {
            let target = format!("{FLOWS}.{format}?{}", question.query());
            let unlimited = server.get(&target).ok();
            prop_assert_eq!(unlimited.next(), None);
            same(&records(format, &unlimited), &expected, &target)?;
            let limited = server.portions(&format!("{target}&limit={limit}"));
            prop_assert_eq!(limited.len(), portions, "{} with {}", target, limit);
            let found: Vec<_> = limited.iter().flat_map(|portion| records(format, portion)).collect();
            same(&found, &expected, &format!("{target} by {limit}"))?;
        }
    }

    #[test]
    fn an_answer_stays_that_of_its_start_while_flows_arrive_between_its_portions(
        table in tables(), asked in questions(), choices in vec(any::<u16>(), PORTIONS),
    ) {
        let (server, mut connection, flows, batches) = server(&table);
        let question = asked.over(&table, &flows);
        let expected = question.answer(&flows);
        let mut arriving = batches.into_iter();
        let mut found: Vec<Record> = Vec::new();
        let mut cursor = String::new();
        // Limit and format change from portion to portion, and something arrives between any two.
        for turn in 0.. {
            let choice = usize::from(choices[turn % choices.len()]);
            let limit = limit(expected.len(), choice);
            let format = FORMATS[choice / 7 % FORMATS.len()];
            let target = format!("{FLOWS}?{}&limit={limit}&format={format}{cursor}", question.query());
            let portion = server.get(&target).ok();
            found.extend(records(format, &portion));
            prop_assert!(found.len() <= expected.len(), "more than there is: {}", target);
            let left = found.len() < expected.len();
            prop_assert_eq!(portion.next().is_some(), left, "{}", target);
            if !left {
                break;
            }
            cursor = format!("&cursor={}", portion.cursor());
            insert_records(&mut connection, &arriving.next().unwrap_or_default());
        }
        same(&found, &expected, &question.query())?;
    }

    #[test]
    fn a_dump_and_polls_give_every_flow_exactly_once(
        table in tables(), asked in questions(), choices in vec(any::<u16>(), 6),
    ) {
        let (server, mut connection, mut flows, batches) = server(&table);
        let mut question = asked.over(&table, &flows);
        question.after_id = None;
        let window = question.window_and_filters();
        let mut seen = Vec::new();
        let mut after = String::new();
        let mut arriving = batches.into_iter();
        let mut last = false;
        while !last {
            let choice = usize::from(choices[seen.len() % choices.len()]);
            let format = FORMATS[choice % FORMATS.len()];
            let limit = limit(flows.len(), choice / FORMATS.len());
            // A dump or a poll, in portions; a batch arrives while it is read, and one behind it.
            let target = format!("{FLOWS}.{format}?{window}{after}&limit={limit}");
            let mut portion = server.get(&target).ok();
            loop {
                seen.extend(records(format, &portion));
                let batch = arriving.next();
                last = batch.is_none();
                let batch = batch.unwrap_or_default();
                insert_records(&mut connection, &batch);
                flows.extend(batch);
                let Some(next) = portion.next() else { break };
                portion = server.get(&next).ok();
            }
            // That of the first portion, which only the last one may tell.
            after = format!("&after_id={}", portion.watermark());
        }
        let final_poll = server.get(&format!("{FLOWS}?{window}{after}")).ok();
        seen.extend(records("json", &final_poll));
        let ids: BTreeSet<_> = seen.iter().map(id).collect();
        prop_assert_eq!(ids.len(), seen.len(), "a flow came twice: {}", window);
        seen.sort_by_key(id);
        question.after_id = Some(i64::MIN);
        let mut expected = question.answer(&flows);
        // No id lies below the least integer, so that the feed cannot name a flow that has it.
        expected.extend(flows.iter().filter(|flow| id(flow) == i64::MIN && Question { after_id: None, ..question.clone() }.matches(flow)).cloned());
        expected.sort_by_key(id);
        same(&seen, &expected, &window)?;
    }
}

//! One answer, one tag, one cursor, one watermark: one state of the table, or it says that it is not.
//!
//! Random sequences of what can be done to a table and of what clients ask, told apart by a seed. The table
//! (see [`crate::table`]) takes every state down; an answer that ends as if whole has to be one of those that
//! were there between its request and its end. Steps fall between any two statements of an answer, or between
//! any two bytes that a slow client takes.
//!
//! A failure names its seed; `SEED=7` tries that one alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use test_host::faults::{Fault, Faults, Point};

use crate::table::{Change, Kind, Size, State, Table};
use support::random::Random;
use support::records::{Cell, Record, id, parse, time};
use support::server::TestServer;
use support::tally::{Tally, short_or_long};
use support::wire::{End, Response, Wire, get, head_for};
use support::{FLOWS, FORMATS};

/// What is asked for; in this module the arrival feed is a question of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    after: Option<i64>,
    before: Option<i64>,
    after_id: Option<i64>,
    src_comp: Option<&'static str>,
    protocol: Option<i64>,
}

impl Question {
    fn random(random: &mut Random, newest: i64) -> Self {
        let mut one_in = |n| random.below(n) == 0;
        let (after, before) = (one_in(4), one_in(4));
        let (feed, texts, integers) = (one_in(3), one_in(5), one_in(6));
        let mut second = || random.below(48) as i64 - 4;
        let (after, before) = (after.then(&mut second), before.then(&mut second));
        let near = newest.clamp(0, 1 << 40) as usize + 3;
        Self {
            after,
            before,
            after_id: feed.then(|| random.below(near) as i64),
            src_comp: texts.then_some("C1"),
            protocol: integers.then_some(17),
        }
    }

    fn takes(&self, flow: &Record) -> bool {
        self.after.is_none_or(|after| time(flow) > after)
            && self.before.is_none_or(|before| time(flow) <= before)
            && self.after_id.is_none_or(|after| id(flow) > after)
            && self
                .src_comp
                .is_none_or(|text| flow[3] == Cell::Text(text.into()))
            && self
                .protocol
                .is_none_or(|number| flow[7] == Cell::Integer(number))
    }

    /// Where a flow stands in the answer's order.
    fn place(&self, flow: &Record) -> (i64, i64) {
        (
            if self.after_id.is_some() {
                0
            } else {
                time(flow)
            },
            id(flow),
        )
    }

    /// The answer over a state, up to an id and behind a place.
    fn over<'a>(
        &self,
        state: &'a State,
        newest: i64,
        behind: Option<(i64, i64)>,
    ) -> Vec<&'a Record> {
        let flows = state.flows.iter();
        let mut flows: Vec<_> = flows
            .filter(|flow| id(flow) <= newest && self.takes(flow))
            .filter(|flow| behind.is_none_or(|behind| self.place(flow) > behind))
            .collect();
        flows.sort_by_key(|flow| self.place(flow));
        flows
    }

    fn query(&self) -> String {
        let number = |name, value: Option<i64>| value.map(|value| format!("&{name}={value}"));
        [
            number("scanned_after", self.after),
            number("scanned_before", self.before),
            number("after_id", self.after_id),
            number("protocol", self.protocol),
            self.src_comp.map(|text| format!("&src_comp={text}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A request for flows.
#[derive(Debug, Clone, Default)]
struct Request {
    question: Question,
    format: &'static str,
    gzip: bool,
    limit: Option<usize>,
    end: bool,
    lineage: Option<String>,
    cursor: Option<Cursor>,
}

/// A cursor, and what is known of the answer that it goes on in.
#[derive(Debug, Clone)]
struct Cursor {
    text: String,
    /// The states that the answer may be of.
    of: Vec<usize>,
    behind: Option<(i64, i64)>,
    guarded: bool,
}

impl Request {
    /// Whether it is the same request, byte for byte.
    fn is_written_as(&self, other: &Self) -> bool {
        self.gzip == other.gzip && self.target() == other.target()
    }

    /// Sends it on a connection, which it hands on.
    fn send<'a>(&self, wire: &'a mut Wire, tags: Option<&str>) -> &'a mut Wire {
        let coding = if self.gzip { "gzip" } else { "identity" };
        let mut headers = vec![("Accept-Encoding", coding)];
        headers.extend(tags.map(|tags| ("If-None-Match", tags)));
        wire.send(head_for(&self.target(), &headers));
        wire
    }

    fn target(&self) -> String {
        let mut target = format!("{FLOWS}.{}?{}", self.format, self.question.query());
        if let Some(limit) = self.limit {
            target += &format!("&limit={limit}");
        }
        if self.end {
            target += "&end=1";
        }
        if let Some(lineage) = &self.lineage {
            target += &format!("&lineage={lineage}");
        }
        if let Some(cursor) = &self.cursor {
            target += &format!("&cursor={}", cursor.text);
        }
        target
    }

    /// Becomes the request for the next portion, if `whole` was cut; `of` are the states that it may be of.
    fn go_on(&mut self, whole: &Whole, of: Vec<usize>) -> bool {
        let before = self.cursor.take();
        let behind = whole.flows.last().map(|flow| self.question.place(flow));
        self.cursor = whole.cursor.clone().map(|text| Cursor {
            text,
            behind: behind.or(before.as_ref().and_then(|cursor| cursor.behind)),
            guarded: whole.etag.is_some(),
            of: match before {
                // Where there is no guard, the beginning tells what the newest is.
                Some(cursor) if whole.etag.is_none() => cursor.of,
                _ => of,
            },
        });
        self.cursor.is_some()
    }
}

/// An answer of flows that ended as if whole.
struct Whole {
    flows: Vec<Record>,
    cursor: Option<String>,
    watermark: Option<i64>,
    etag: Option<String>,
    lineage: Option<String>,
}

impl Whole {
    /// Reads an answer by parsers that are not the service's.
    fn read(request: &Request, answer: &Response) -> Result<Self, String> {
        let header = |name| Some(answer.header(name)).filter(|value| !value.is_empty());
        let cursor = header("link").map(|link| {
            let (_, cursor) = link.split_once("cursor=").unwrap_or_default();
            cursor
                .split(['&', '>'])
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        let watermark = header("flow-watermark").map(|watermark| {
            let watermark = watermark.parse();
            watermark.map_err(|error| format!("Flow-Watermark: {error}"))
        });
        let mut whole = Self {
            flows: Vec::new(),
            cursor,
            watermark: watermark.transpose()?,
            etag: header("etag").map(str::to_owned),
            lineage: header("flow-lineage").map(str::to_owned),
        };
        let body = answer.decoded();
        let mut flows = body.as_slice();
        let mut last = None;
        if request.end && matches!(request.format, "ndjson" | "csv") {
            let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
            let line = text.lines().next_back().ok_or("no end")?;
            let start = text.trim_end().len() - line.len();
            flows = &body[..start];
            last = Some(line.to_owned());
        }
        whole.flows = parse(request.format, flows)?;
        match last {
            Some(line) if line != whole.last_line(request.format) => Err(format!("ends in {line}")),
            _ => Ok(whole),
        }
    }

    /// What `end=1` asks for.
    fn last_line(&self, format: &str) -> String {
        let count = self.flows.len();
        let watermark = self.watermark.map(|id| id.to_string());
        let Some(cursor) = &self.cursor else {
            let watermark = watermark.unwrap_or_default();
            return match format {
                "csv" => format!("end,{count},{watermark},,,,,,,"),
                _ => format!(r#"{{"end":true,"count":{count},"watermark":{watermark}}}"#),
            };
        };
        match format {
            "csv" => format!(
                "end,{count},{},{cursor},,,,,,",
                watermark.unwrap_or_default()
            ),
            _ => {
                let watermark = watermark.unwrap_or("null".to_owned());
                format!(
                    r#"{{"end":true,"count":{count},"watermark":{watermark},"cursor":"{cursor}"}}"#
                )
            }
        }
    }
}

/// A tag that was seen, and the body that came with it.
struct Tagged {
    request: Request,
    etag: String,
    body: Vec<u8>,
    watermark: String,
    state: usize,
}

/// A client that has a dump and polls for what is new.
#[derive(Default)]
struct Mirror {
    lineage: Option<String>,
    watermark: Option<i64>,
    flows: BTreeMap<i64, Record>,
    /// The state that it last had in full.
    state: usize,
}

/// What a request led to.
enum Outcome {
    /// An answer of flows, and the states that it may be of.
    Flows(Whole, Vec<usize>),
    NotModified(Response),
    /// 410.
    Gone,
    /// The connection was cut off, or a 503 says to try again.
    Cut,
}

/// A sequence.
struct Sequence {
    random: Random,
    table: Table,
    server: TestServer,
    /// Portions that are still to be asked for.
    chains: Vec<Request>,
    tags: Vec<Tagged>,
    mirrors: [Mirror; 2],
    seen: BTreeMap<&'static str, usize>,
}

/// Lets go of what is held.
struct Released(Faults);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// Says what was done when a test fails.
impl Drop for Sequence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let start = self.table.told.len().saturating_sub(60);
            eprintln!(
                "{}\n…\n{}",
                self.table.told[0],
                self.table.told[start..].join("\n")
            );
            eprintln!("the service's log: {}", self.server.log());
        }
    }
}

/// What limits a request takes: none, nothing, around a page, or the most of the table.
fn limits(random: &mut Random, flows: usize) -> Option<usize> {
    match random.below(8) {
        0..=2 => None,
        3 => Some(0),
        4 => Some(1 + random.below(9)),
        5 => Some([499, 500, 501][random.below(3)]),
        _ => Some(1 + random.below(flows + 2)),
    }
}

impl Sequence {
    fn new(seed: u64, kinds: &[Kind]) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let kind = kinds[random.below(kinds.len())];
        let wal = random.below(2) == 0;
        let (flows, padding) = match random.below(40) {
            0..=15 => (random.below(30), 0),
            // Pages of 500, then 3,000.
            16..=33 => (3_510 + random.below(2_000), 0),
            34..=36 => (400 + random.below(500), 0),
            // More than a page looks at where there are filters.
            37 | 38 => (10_500 + random.below(9_000), 0),
            // More than sockets hold.
            _ => (4_000, 2_000),
        };
        let table = Table::new(kind, wal, Size { flows, padding }, &mut random);
        let server = table.database.serve();
        Self {
            random,
            table,
            server,
            chains: Vec::new(),
            tags: Vec::new(),
            mirrors: Default::default(),
            seen: BTreeMap::new(),
        }
    }

    fn present(&self) -> usize {
        self.table.states.len() - 1
    }

    /// The states that an answer may show which was asked for in the state `begun`.
    fn since(&self, begun: usize) -> Vec<usize> {
        let moved = self
            .table
            .moved
            .iter()
            .copied()
            .filter(|state| *state < begun);
        moved.chain(begun..=self.present()).collect()
    }

    /// Whether more than `change` has been done to the table behind the state `begun`.
    fn changed(&self, begun: usize, change: Change) -> bool {
        let later = &self.table.states[begun + 1..];
        // Who has an old file open goes on in it.
        later.iter().any(|state| state.change > change) || !self.table.moved.is_empty()
    }

    /// Whether the table has been without its guard: an instance that has seen it so takes it for that.
    fn was_unguarded(&self) -> bool {
        self.table.states.iter().any(|state| state.guard.is_none())
    }

    fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Sends a request, and changes the table while it is answered.
    fn exchange(&mut self, request: &Request, tags: Option<&str>) -> Response {
        // What happens meanwhile depends on who comes first. All that follows does not: it has its own numbers.
        let mut meanwhile = Random(self.random.below(usize::MAX) as u64 | 1);
        let slow = self.table.size.padding > 0 && self.random.below(2) == 0;
        let held = !slow && self.random.below(3) == 0;
        if held {
            let first = 1 + self.random.below(9);
            let last = first + self.random.below(3);
            let faults = self.server.faults();
            faults.plan(Point::Prepare, first..=last, Fault::Hold);
        }
        let how = ["", "read slowly", "held at times"][usize::from(slow) + 2 * usize::from(held)];
        let (target, tags_told) = (request.target(), tags.unwrap_or_default());
        self.table.tell(format!("    {target} {tags_told} {how}"));
        let mut wire = Wire::open(self.server.address());
        request.send(&mut wire, tags);
        let answer = if held {
            self.answer_held(wire, &mut meanwhile)
        } else if slow {
            let mut steps = [0; 3].map(|_| self.random.below(4 << 20));
            wire.answer_while(&mut |body| {
                for step in &mut steps {
                    if *step <= body.len() {
                        *step = usize::MAX;
                        self.table.step(&mut meanwhile);
                    }
                }
                true
            })
        } else {
            wire.answer()
        };
        let Response { status, end, .. } = answer;
        let bytes = answer.body.len();
        self.table
            .tell(format!("        {status} {end:?}, {bytes} bytes"));
        answer
    }

    /// Reads an answer of which some statements are held, and changes the table meanwhile.
    fn answer_held(&mut self, mut wire: Wire, random: &mut Random) -> Response {
        let faults = self.server.faults().clone();
        let address = self.server.address();
        std::thread::scope(|scope| {
            // Also where a step fails: the scope waits for the reader.
            let _released = Released(faults.clone());
            let reader = scope.spawn(move || wire.answer());
            while !reader.is_finished() {
                if faults.is_holding() {
                    self.table.tell("      held");
                    if random.below(4) > 0 {
                        self.table.step(random);
                    } else {
                        // Clients beside it, so that connections change hands; nobody would let go of them.
                        faults.no_more();
                        let ask = move || get(address, &format!("{FLOWS}?limit=2"));
                        let beside = [(); 3].map(|()| scope.spawn(ask));
                        // What is held may be the check of the table that they wait for.
                        let patience = Instant::now() + Duration::from_millis(30);
                        while !beside.iter().all(|ask| ask.is_finished())
                            && Instant::now() < patience
                        {
                            std::thread::sleep(Duration::from_micros(100));
                        }
                    }
                    faults.release();
                }
                std::thread::sleep(Duration::from_micros(50));
            }
            let answer = reader.join();
            answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Asks, and holds the answer against the states of the table.
    fn ask(&mut self, request: &Request, tags: Option<&str>) -> Outcome {
        let begun = self.present();
        let answer = self.exchange(request, tags);
        let states = self.since(begun);
        match (answer.status, answer.end) {
            (200, End::Clean) => {}
            (304, _) => return Outcome::NotModified(answer),
            (410, End::Clean) => {
                self.check_gone(request, begun, &answer);
                self.saw("410");
                return Outcome::Gone;
            }
            (0 | 200, End::Cut) | (503, End::Clean) => {
                let guarded = !self.was_unguarded();
                let excused = if guarded {
                    self.changed(begun, Change::Append)
                } else {
                    self.present() > begun || !self.table.moved.is_empty()
                };
                assert!(excused, "cut off for nothing: {answer:?}");
                self.saw(if answer.status == 503 {
                    "503"
                } else {
                    "connection cut off"
                });
                return Outcome::Cut;
            }
            _ => panic!("{answer:?}"),
        }
        let whole =
            Whole::read(request, &answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        let must_be_gone = |state: &usize| self.must_be_gone(request, &self.table.states[*state]);
        assert!(!states.iter().all(must_be_gone), "not 410: {answer:?}");
        let (fitting, why) = self.fitting(request, &whole, &states);
        assert!(
            !fitting.is_empty(),
            "no state of {states:?}: {why:#?} {answer:?}"
        );
        self.saw(if whole.cursor.is_some() {
            "portion"
        } else {
            "whole answer"
        });
        if let Some(etag) = whole.etag.clone() {
            // A portion may fit several states, between which flows arrived beyond it. Its tag is of one of them.
            self.remember_tag(request, etag, &answer, fitting[0]);
        }
        Outcome::Flows(whole, fitting)
    }

    /// The states of which an answer is the right one, and why the others are none.
    fn fitting(
        &self,
        request: &Request,
        whole: &Whole,
        states: &[usize],
    ) -> (Vec<usize>, Vec<String>) {
        let mut why = Vec::new();
        let unguarded = self.was_unguarded() && whole.etag.is_none();
        // A cursor goes on in its own state where there is a guard, and else in whatever there is now, up to
        // the largest id of its beginning.
        let (candidates, newest): (Vec<_>, Vec<_>) = match &request.cursor {
            Some(cursor) if !unguarded => (cursor.of.clone(), Vec::new()),
            Some(cursor) => {
                let newest = cursor
                    .of
                    .iter()
                    .map(|state| self.table.states[*state].max_id());
                (states.to_vec(), newest.collect())
            }
            None => (states.to_vec(), Vec::new()),
        };
        let mut fits = |number: &usize| {
            let state = &self.table.states[*number];
            let own = if unguarded {
                state.max_id()
            } else {
                state.newest()
            };
            let mut newest = newest.clone();
            if newest.is_empty() {
                newest.push(own);
            }
            newest.iter().any(|newest| {
                match self.judge(request, whole, state, *newest, unguarded) {
                    Ok(()) => true,
                    Err(error) => {
                        why.push(format!("{number}: {error}"));
                        false
                    }
                }
            })
        };
        let fitting = candidates
            .into_iter()
            .filter(|number| fits(number))
            .collect();
        (fitting, why)
    }

    /// Whether an answer is the one over a state, up to an id.
    fn judge(
        &self,
        request: &Request,
        whole: &Whole,
        state: &State,
        newest: i64,
        unguarded: bool,
    ) -> Result<(), String> {
        let question = &request.question;
        let behind = request.cursor.as_ref().and_then(|cursor| cursor.behind);
        let mut flows = question.over(state, newest, behind);
        let all = flows.len();
        let next = flows.get(request.limit.unwrap_or(all)).map(|flow| id(flow));
        flows.truncate(request.limit.unwrap_or(all));
        let cut = flows.len() < all;
        if let Some(place) = (0..flows.len().max(whole.flows.len()))
            .find(|i| flows.get(*i).copied() != whole.flows.get(*i))
        {
            let found = whole.flows.get(place).map(|flow| (id(flow), time(flow)));
            let right = flows.get(place).map(|flow| (id(flow), time(flow)));
            return Err(format!(
                "{} flows for {}, at {place} {found:?} for {right:?}",
                whole.flows.len(),
                flows.len()
            ));
        }
        if cut != whole.cursor.is_some() {
            return Err(format!("cursor {:?}, {all} flows", whole.cursor));
        }
        let expected = match (cut, question.after_id) {
            (false, after) => Some(after.map_or(newest, |after| newest.max(after))),
            (true, None) => None,
            // A scan may end between two flows: every id from the last flow's on continues with the next one.
            (true, Some(after)) => {
                let reached = behind.map_or(after, |(_, id)| id);
                let last = whole.flows.last().map_or(reached, id);
                let continues = |watermark: &i64| (Some(last)..next).contains(&Some(*watermark));
                whole.watermark.filter(continues).or(Some(last))
            }
        };
        if whole.watermark != expected {
            return Err(format!("watermark {:?} for {expected:?}", whole.watermark));
        }
        let guard = state.guard.filter(|_| !unguarded);
        let lineage = guard.map(|guard| format!("{:016x}", guard.lineage));
        if whole.lineage != lineage || whole.etag.is_some() != guard.is_some() {
            return Err(format!(
                "lineage {:?} for {lineage:?}, tag {:?}",
                whole.lineage, whole.etag
            ));
        }
        Ok(())
    }

    /// Whether nothing but 410 is a right answer of a state.
    fn must_be_gone(&self, request: &Request, state: &State) -> bool {
        let after = request.question.after_id;
        let beyond = after.is_some_and(|after| after > state.newest().max(0));
        let lineage = state.guard.map(|guard| format!("{:016x}", guard.lineage));
        let ended = request.lineage.is_some() && request.lineage != lineage;
        let lost = request.cursor.as_ref().is_some_and(|cursor| {
            let least = cursor
                .of
                .iter()
                .map(|of| self.table.states[*of].max_id())
                .min();
            let stands = cursor.behind.is_none_or(|(_, id)| match cursor.guarded {
                true => true,
                false => state.find(id).is_some(),
            });
            !stands || least.is_some_and(|least| least > state.newest())
        });
        beyond || ended || lost
    }

    /// A 410 is given only where the answer, or what is new since, cannot be told any more.
    fn check_gone(&self, request: &Request, begun: usize, answer: &Response) {
        let states = self.since(begun);
        let must = states
            .iter()
            .any(|state| self.must_be_gone(request, &self.table.states[*state]));
        let beyond = |state: &usize| {
            let newest = self.table.states[*state].max_id();
            request
                .question
                .after_id
                .is_some_and(|after| after > newest.max(0))
        };
        let cursor = request
            .cursor
            .as_ref()
            .is_some_and(|cursor| cursor.of.iter().any(|of| self.changed(*of, Change::Append)));
        let unguarded = self.was_unguarded()
            && (request.lineage.is_some() || request.cursor.is_some() || states.iter().any(beyond));
        assert!(must || cursor || unguarded, "gone for nothing: {answer:?}");
    }

    /// A tag names one body.
    fn remember_tag(&mut self, request: &Request, etag: String, answer: &Response, state: usize) {
        let same = |known: &&Tagged| known.etag == etag && known.request.is_written_as(request);
        if let Some(known) = self.tags.iter().find(same) {
            let first = known.state;
            assert!(
                known.body == answer.body,
                "{etag} names two bodies, one of {first}: {answer:?}"
            );
        } else if self.tags.len() < 60 && answer.body.len() < 2 << 20 {
            self.tags.push(Tagged {
                request: request.clone(),
                etag,
                body: answer.body.clone(),
                watermark: answer.header("flow-watermark").to_owned(),
                state,
            });
        }
    }

    fn random_request(&mut self) -> Request {
        let newest = self.table.now().newest();
        let flows = self.table.now().flows.len();
        Request {
            question: Question::random(&mut self.random, newest),
            format: FORMATS[self.random.below(FORMATS.len())],
            gzip: self.random.below(6) == 0,
            limit: limits(&mut self.random, flows),
            end: self.random.below(4) == 0,
            lineage: None,
            cursor: None,
        }
    }

    /// A whole answer, or the first portion of one.
    fn ask_anew(&mut self) {
        let mut request = self.random_request();
        if self.random.below(6) == 0 {
            request.lineage = self.mirrors[0].lineage.clone();
        }
        self.ask_for(request);
    }

    /// The next portion of an answer.
    fn follow(&mut self) {
        if self.chains.is_empty() {
            return self.ask_anew();
        }
        let n = self.random.below(self.chains.len());
        let mut request = self.chains.swap_remove(n);
        if self.random.below(2) == 0 {
            request.format = FORMATS[self.random.below(FORMATS.len())];
            request.limit = limits(&mut self.random, self.table.now().flows.len());
        }
        self.ask_for(request);
    }

    /// Asks, and keeps what goes on for later.
    fn ask_for(&mut self, mut request: Request) {
        if let Outcome::Flows(whole, of) = self.ask(&request, None)
            && request.go_on(&whole, of)
            && self.chains.len() < 3
        {
            self.chains.push(request);
        }
    }

    /// Asks with every tag that was seen of a request.
    fn ask_with_tags(&mut self) {
        if self.tags.is_empty() {
            return self.ask_anew();
        }
        let n = self.random.below(self.tags.len());
        let request = self.tags[n].request.clone();
        let mine = |known: &&Tagged| known.request.is_written_as(&request);
        let known: Vec<_> = self
            .tags
            .iter()
            .filter(mine)
            .map(|known| &*known.etag)
            .collect();
        let known = known.join(", ");
        let states: Vec<_> = self
            .tags
            .iter()
            .filter(mine)
            .map(|known| known.state)
            .collect();
        let begun = self.present();
        let outcome = self.ask(&request, Some(&known));
        let Outcome::NotModified(same) = outcome else {
            let mut states = states.into_iter();
            let unchanged = states.any(|state| !self.changed(state, Change::None));
            let unchanged = unchanged && !self.was_unguarded();
            let excused = !unchanged || matches!(outcome, Outcome::Cut | Outcome::Gone);
            assert!(excused, "no 304 for {known}");
            return;
        };
        let tagged = self
            .tags
            .iter()
            .find(|known| mine(known) && known.etag == same.header("etag"));
        let tagged = tagged.unwrap_or_else(|| panic!("304 for a tag that was not sent: {same:?}"));
        let watermark = same.header("flow-watermark");
        assert!(
            watermark.is_empty() || watermark == tagged.watermark,
            "{same:?}"
        );
        // Where nothing has happened meanwhile, the answer is known.
        if begun == self.present() && self.table.moved.is_empty() {
            let answer = request
                .send(&mut Wire::open(self.server.address()), None)
                .answer();
            assert!(
                answer.body == tagged.body,
                "304 for the tag of {}: {answer:?}",
                tagged.state
            );
        }
        self.saw("304");
    }

    /// HEAD has the headers of GET.
    fn ask_head(&mut self) {
        let request = self.random_request();
        let get = request
            .send(&mut Wire::open(self.server.address()), None)
            .answer();
        let mut wire = Wire::open(self.server.address());
        let head = head_for(
            &request.target(),
            &[("Accept-Encoding", get.header("content-encoding"))],
        );
        wire.send(head.replacen("GET", "HEAD", 1).as_bytes());
        let head = wire.answer();
        // Two instances may differ in what they know of the guard, and have different files open.
        if self.table.moved.is_empty() && !self.was_unguarded() {
            assert_eq!(get.status, head.status);
            for name in [
                "etag",
                "flow-lineage",
                "flow-watermark",
                "link",
                "content-length",
            ] {
                assert_eq!(get.header(name), head.header(name), "{name}: {head:?}");
            }
        }
        self.saw("HEAD");
    }

    /// A dump, or a poll for what is new since, in portions or at once. The first client sends the lineage.
    fn poll(&mut self, which: usize) {
        let lineage = self.mirrors[which].lineage.clone().filter(|_| which == 0);
        // Without it, a client has to know by itself that nothing but arrivals happened.
        if lineage.is_none() && self.changed(self.mirrors[which].state, Change::Append) {
            self.mirrors[which] = Mirror::default();
        }
        let mut request = Request {
            format: FORMATS[self.random.below(FORMATS.len())],
            end: self.random.below(3) == 0,
            lineage,
            ..Request::default()
        };
        request.question.after_id = self.mirrors[which].watermark;
        let dumped = self.mirrors[which]
            .watermark
            .map(|_| self.mirrors[which].state);
        let portions = self.random.below(3) == 0;
        let mut come: Vec<Record> = Vec::new();
        let (last, of) = loop {
            let part = 1 + self.random.below(4);
            request.limit = portions.then(|| 1 + self.table.now().flows.len() / part);
            let (whole, of) = match self.ask(&request, None) {
                Outcome::Flows(whole, of) => (whole, of),
                Outcome::Gone => {
                    self.mirrors[which] = Mirror::default();
                    return;
                }
                Outcome::Cut => return,
                Outcome::NotModified(answer) => panic!("{answer:?}"),
            };
            come.extend_from_slice(&whole.flows);
            let begun = request.cursor.as_ref().map(|cursor| cursor.of.clone());
            let guarded = whole.etag.is_some();
            if !request.go_on(&whole, of.clone()) {
                break (whole, begun.filter(|_| !guarded).unwrap_or(of));
            }
        };
        let sure = request.lineage.is_some() || (dumped.is_none() && last.etag.is_some());
        if !sure && self.changed(dumped.unwrap_or(of[0]), Change::Append) {
            self.mirrors[which] = Mirror::default();
            return;
        }
        let mirror = &mut self.mirrors[which];
        for flow in come {
            let twice = mirror.flows.insert(id(&flow), flow);
            assert!(twice.is_none(), "a flow came twice: {twice:?}");
        }
        mirror.watermark = last.watermark;
        mirror.lineage = last.lineage;
        mirror.state = of[0];
        let there = &self.mirrors[which].flows;
        let complete = |state: &usize| {
            let mut flows = self.table.states[*state].flows.iter();
            flows.all(|flow| there.get(&id(flow)) == Some(flow))
        };
        assert!(
            of.iter().any(complete),
            "client {which} has not what is there, {of:?}"
        );
        self.saw(["dump and polls with lineage", "dump and polls without"][which]);
    }

    fn turn(&mut self) {
        match self.random.below(20) {
            0..=7 => self.table.step(&mut self.random),
            8..=10 => self.ask_anew(),
            11 | 12 => self.follow(),
            13 | 14 => self.ask_with_tags(),
            15 => self.ask_head(),
            16 | 17 => self.poll(0),
            18 => self.poll(1),
            _ if !self.table.moved.is_empty() && self.random.below(4) == 0 => {
                // Instances end, and with them what they had open.
                self.server.settle();
                self.table.moved.clear();
            }
            _ => self.ask_anew(),
        }
    }
}

/// Runs sequences with the seeds from `first` on, and prints what clients saw.
fn run(what: &str, kinds: &[Kind], count: u64) {
    let mut tally = Tally::of(format!("{what}, {count} sequences"));
    let seeds = match std::env::var("SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..=seed
        }
        Err(_) => 1..=count,
    };
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let mut sequence = Sequence::new(seed, kinds);
            for _ in 0..12 + sequence.random.below(24) {
                sequence.turn();
            }
            for _ in 0..3 {
                sequence.poll(0);
                sequence.poll(1);
            }
            std::mem::take(&mut sequence.seen)
        });
        match result {
            Ok(seen) => seen
                .into_iter()
                .for_each(|(what, times)| tally.saw_times(what, times)),
            Err(panic) => {
                eprintln!("SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    tally.print();
}

#[test]
fn every_answer_over_a_guarded_table_is_of_one_state() {
    run(
        "guarded table changed in every way",
        &[Kind::Guarded],
        short_or_long(180, 6_000),
    );
}

#[test]
fn every_answer_over_a_table_without_the_guard_is_of_one_state() {
    let kinds = [Kind::Unguarded, Kind::View, Kind::WithoutRowid];
    run(
        "table without the guard changed in every way",
        &kinds,
        short_or_long(120, 4_000),
    );
}

//! Finds where to start in an input: behind the bytes that an earlier load has committed.
//!
//! The search hashes the input and compares the digest with each record at the record's length. A record whose
//! head differs is dropped at once, so a new input is not read through. A stream cannot be rewound beyond the
//! head that the search keeps.
//!
//! An input that resembles a record but does not begin with it was probably modified since. Loading it would
//! duplicate its unchanged rows, so it is refused until the user chooses `--again` or `--replace`.

use std::collections::HashMap;
use std::io::{Cursor, ErrorKind, Read};
use std::mem;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::batch::LineReader;
use super::history::{HEAD, Record};
use super::source::Source;

/// Opens `source` behind the longest record that it begins with, and returns that record or a new one. With
/// `again`, only records of inputs that were not loaded to their end count.
///
/// # Errors
/// - The input cannot be read.
/// - The input ends inside the bytes of a record that begins alike.
/// - The input resembles a record and differs from it.
/// - The input is a stream and differs from a record behind the head.
pub(super) fn resume(
    source: &Source,
    mut records: Vec<Record>,
    keep_rejects: bool,
    again: bool,
) -> Result<(LineReader, Record)> {
    if again {
        records.retain(|record| record.finished == Some(false));
    }
    let mut search = Search::new(source, records.clone())?;
    search.run()?;
    if !again {
        search.refuse_truncated(source)?;
        search.refuse_modified(source, &records)?;
    }
    let name = source.name.clone();
    if let Some(record) = search
        .best
        .take_if(|best| best.consumed.bytes == search.position)
    {
        let lines = LineReader::new(
            name,
            search.input,
            search.hash,
            record.consumed.clone(),
            keep_rejects,
        );
        return Ok((lines, record));
    }
    let record = search.best.take().unwrap_or_default();
    let mut input = search.rewound(source)?;
    let mut hash = Sha256::new();
    skip(&mut input, &mut hash, record.consumed.bytes)
        .with_context(|| format!("cannot read {name} again"))?;
    Ok((
        LineReader::new(name, input, hash, record.consumed.clone(), keep_rejects),
        record,
    ))
}

struct Search {
    input: Box<dyn Read + Send>,
    position: u64,
    hash: Sha256,
    /// The first bytes of the input, at most [`HEAD`].
    head: Vec<u8>,
    ended: bool,
    /// The read buffer.
    chunk: Vec<u8>,
    /// Records that neither match nor differ so far.
    candidates: Vec<Record>,
    /// The longest record that the input begins with.
    best: Option<Record>,
}

impl Search {
    fn new(source: &Source, candidates: Vec<Record>) -> Result<Self> {
        Ok(Self {
            input: source.text()?,
            position: 0,
            hash: Sha256::new(),
            head: Vec::new(),
            ended: false,
            chunk: Vec::new(),
            candidates,
            best: None,
        })
    }

    /// Reads until every candidate matches or differs, or the input ends.
    fn run(&mut self) -> Result<()> {
        while let Some(stop) = self
            .candidates
            .iter()
            .map(|record| record.consumed.bytes)
            .min()
        {
            if !self.read(stop)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads one chunk, not beyond `stop` and not across the end of the head; false at the end of the input.
    fn read(&mut self, stop: u64) -> Result<bool> {
        let longest = (stop - self.position).min((HEAD - self.head.len() % HEAD) as u64) as usize;
        let mut chunk = mem::take(&mut self.chunk);
        chunk.resize(HEAD, 0);
        let read = loop {
            match self.input.read(&mut chunk[..longest]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let length = read.with_context(|| {
            format!("cannot read on after {} uncompressed bytes", self.position)
        })?;
        self.ended = length == 0;
        self.consume(&chunk[..length]);
        self.chunk = chunk;
        Ok(!self.ended)
    }

    fn consume(&mut self, chunk: &[u8]) {
        if self.head.len() < HEAD {
            self.head.extend_from_slice(chunk);
        }
        self.hash.update(chunk);
        self.candidates
            .retain(|record| record.may_match(self.position, chunk));
        self.position += chunk.len() as u64;
        let reached = self
            .candidates
            .extract_if(.., |record| record.consumed.bytes == self.position);
        let reached: Vec<Record> = reached.collect();
        if !reached.is_empty() {
            let digest: [u8; 32] = self.hash.clone().finalize().into();
            let matching = reached
                .into_iter()
                .find(|record| record.consumed.digest == digest);
            self.best = matching.or(self.best.take());
        }
    }

    /// Fails if the input is shorter than every record that begins alike.
    fn refuse_truncated(&self, source: &Source) -> Result<()> {
        let longer = self.candidates.iter().map(|record| record.consumed.bytes);
        match longer.min() {
            Some(longer) if self.ended && self.position > 0 && self.best.is_none() => bail!(
                "{} ends after {} bytes of text and begins like an input of which {longer} bytes are in the \
                 database: a copy that was cut short? {ADVICE}",
                source.name,
                self.position
            ),
            _ => Ok(()),
        }
    }

    /// Fails if the input resembles a record that it does not begin with.
    fn refuse_modified(&mut self, source: &Source, records: &[Record]) -> Result<()> {
        let known = self.best.as_ref().map_or(0, |best| best.consumed.bytes) as usize;
        if records.is_empty() || known >= HEAD {
            return Ok(());
        }
        // Do not wait for more of a stream than its first line: more may come much later.
        let enough = |search: &Self| {
            search.head.len() >= HEAD
                || !source.can_rewind() && search.head[known..].contains(&b'\n')
        };
        while !self.ended && !enough(self) {
            self.read(HEAD as u64)?;
        }
        let lines_known = memchr::memchr_iter(b'\n', &self.head[..known]).count();
        let lines: Vec<&[u8]> = whole_lines(&self.head, self.ended)
            .skip(lines_known)
            .collect();
        let best = self.best.as_ref().and_then(Record::id);
        let changed = records.iter().filter(|record| record.id() != best);
        let changed = changed.filter(|record| {
            let ended = record.consumed.bytes == record.head.len() as u64;
            let known = whole_lines(&record.head, ended).skip(lines_known);
            resembles(&lines, &known.collect::<Vec<_>>())
        });
        match changed.max_by_key(|record| record.consumed.lines) {
            Some(record) => bail!(
                "{} resembles an input of which {} lines are in the database, but differs from it: was it \
                 changed since? {ADVICE}",
                source.name,
                record.consumed.lines
            ),
            None => Ok(()),
        }
    }

    /// Returns the input from its start.
    fn rewound(self, source: &Source) -> Result<Box<dyn Read + Send>> {
        if self.head.len() as u64 == self.position {
            return Ok(Box::new(Cursor::new(self.head).chain(self.input)));
        }
        if source.can_rewind() {
            return source.text();
        }
        bail!(
            "{} begins like an input loaded before, but differs within its first {} bytes, and a stream cannot \
             be read again: load it from a file",
            source.name,
            self.position
        )
    }
}

/// The end of messages about an input that resembles a record.
const ADVICE: &str = "--again loads all of it, as flows of their own; --replace loads it in the place of all \
    flows that are there";

/// The complete lines of `head`, without their ends. The last line is complete if the input has `ended`.
fn whole_lines(head: &[u8], ended: bool) -> impl Iterator<Item = &[u8]> {
    let whole = match memchr::memrchr(b'\n', head) {
        _ if ended => head,
        Some(end) => &head[..end],
        None => &[],
    };
    let whole = whole.strip_suffix(b"\n").unwrap_or(whole);
    let lines = whole.split(|&byte| byte == b'\n');
    lines
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// Whether the two lists share half of their lines, over the length of the shorter one. Times rise, so
/// unrelated inputs hardly ever share a line.
fn resembles(lines: &[&[u8]], known: &[&[u8]]) -> bool {
    let shorter = lines.len().min(known.len());
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    for line in &lines[..shorter] {
        *counts.entry(line).or_default() += 1;
    }
    let common = known[..shorter].iter().filter(|line| {
        let left = counts.get_mut(**line).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    });
    shorter > 0 && common.count() * 2 >= shorter
}

/// Reads `bytes` bytes into `hash`.
fn skip(input: &mut impl Read, hash: &mut Sha256, bytes: u64) -> Result<()> {
    let mut left = input.take(bytes);
    let mut chunk = vec![0; HEAD];
    while left.limit() > 0 {
        match left.read(&mut chunk) {
            Ok(0) => bail!("it has become shorter"),
            Ok(length) => hash.update(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

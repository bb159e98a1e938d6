//! Where in an input to go on: behind what an earlier load has committed of the same bytes.
//!
//! The input is hashed while it is skipped, and its digest compared with every record at the length of
//! that record. Records whose kept beginning differs fall out at once, so an input that is new is not
//! skipped through. A stream cannot go back further than this module keeps of it.
//!
//! An input that resembles a record but does not begin with it was changed since, most likely, and would be
//! loaded beside its own rows: it is refused, until the user says which it is.

use std::collections::HashMap;
use std::io::{Cursor, ErrorKind, Read};
use std::mem;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::batch::Lines;
use super::ledger::{HEAD, Record};
use super::source::Source;

/// Opens `source` behind the longest record that it begins with, and gives that record, or a new one. With
/// `again`, only records of inputs that were not loaded to their end count.
///
/// # Errors
/// The input cannot be read, ends inside what was loaded of an input that begins alike, or resembles one and
/// differs; or it is a stream that differs from a record too late to go back.
pub(super) fn find_start(
    source: &Source,
    mut records: Vec<Record>,
    keep_bad: bool,
    again: bool,
) -> Result<(Lines, Record)> {
    if again {
        records.retain(|record| record.finished == Some(false));
    }
    let mut search = Search::new(source, records.clone())?;
    search.run()?;
    if !again {
        search.refuse_cut_off(source)?;
        search.refuse_changed(source, &records)?;
    }
    let name = source.name.clone();
    if let Some(record) = search
        .best
        .take_if(|best| best.mark.bytes == search.position)
    {
        let lines = Lines::new(
            name,
            search.input,
            search.hash,
            record.mark.clone(),
            keep_bad,
        );
        return Ok((lines, record));
    }
    let record = search.best.take().unwrap_or_default();
    let mut input = search.into_start(source)?;
    let mut hash = Sha256::new();
    skip(&mut input, &mut hash, record.mark.bytes)
        .with_context(|| format!("cannot read {name} again"))?;
    Ok((
        Lines::new(name, input, hash, record.mark.clone(), keep_bad),
        record,
    ))
}

struct Search {
    input: Box<dyn Read + Send>,
    position: u64,
    hash: Sha256,
    /// The first bytes of the input, at most [`HEAD`].
    kept: Vec<u8>,
    ended: bool,
    /// Room for what is read.
    piece: Vec<u8>,
    /// Records that the input may still turn out to begin with.
    candidates: Vec<Record>,
    /// The longest record that it does begin with.
    best: Option<Record>,
}

impl Search {
    fn new(source: &Source, candidates: Vec<Record>) -> Result<Self> {
        Ok(Self {
            input: source.text()?,
            position: 0,
            hash: Sha256::new(),
            kept: Vec::new(),
            ended: false,
            piece: Vec::new(),
            candidates,
            best: None,
        })
    }

    /// Reads until every candidate has proved right or wrong, or the input ends.
    fn run(&mut self) -> Result<()> {
        while let Some(stop) = self.candidates.iter().map(|record| record.mark.bytes).min() {
            if !self.read(stop)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads on, neither beyond `stop` nor, in one piece, beyond what is kept; false at the end of the input.
    fn read(&mut self, stop: u64) -> Result<bool> {
        let longest = (stop - self.position).min((HEAD - self.kept.len() % HEAD) as u64) as usize;
        let mut piece = mem::take(&mut self.piece);
        piece.resize(HEAD, 0);
        let read = loop {
            match self.input.read(&mut piece[..longest]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let length = read.with_context(|| {
            format!("cannot read on after {} uncompressed bytes", self.position)
        })?;
        self.ended = length == 0;
        self.take(&piece[..length]);
        self.piece = piece;
        Ok(!self.ended)
    }

    fn take(&mut self, piece: &[u8]) {
        if self.kept.len() < HEAD {
            self.kept.extend_from_slice(piece);
        }
        self.hash.update(piece);
        self.candidates
            .retain(|record| record.may_hold(self.position, piece));
        self.position += piece.len() as u64;
        let reached = self
            .candidates
            .extract_if(.., |record| record.mark.bytes == self.position);
        let reached: Vec<Record> = reached.collect();
        if !reached.is_empty() {
            let digest: [u8; 32] = self.hash.clone().finalize().into();
            let matching = reached
                .into_iter()
                .find(|record| record.mark.digest == digest);
            self.best = matching.or(self.best.take());
        }
    }

    /// Fails if the input has ended inside every record that it may begin with.
    fn refuse_cut_off(&self, source: &Source) -> Result<()> {
        let longer = self.candidates.iter().map(|record| record.mark.bytes);
        match longer.min() {
            Some(longer) if self.ended && self.position > 0 && self.best.is_none() => bail!(
                "{} ends after {} bytes of text and begins like an input of which {longer} bytes are in the \
                 database: a copy that was cut short? {WAYS_OUT}",
                source.name,
                self.position
            ),
            _ => Ok(()),
        }
    }

    /// Fails if the input resembles a record that it does not begin with.
    fn refuse_changed(&mut self, source: &Source, records: &[Record]) -> Result<()> {
        let known = self.best.as_ref().map_or(0, |best| best.mark.bytes) as usize;
        if records.is_empty() || known >= HEAD {
            return Ok(());
        }
        // A stream is not waited for longer than to its first line, which may be all there is for now.
        let enough = |search: &Self| {
            search.kept.len() >= HEAD
                || !source.can_rewind() && search.kept[known..].contains(&b'\n')
        };
        while !self.ended && !enough(self) {
            self.read(HEAD as u64)?;
        }
        let lines_known = memchr::memchr_iter(b'\n', &self.kept[..known]).count();
        let lines: Vec<&[u8]> = whole_lines(&self.kept, self.ended)
            .skip(lines_known)
            .collect();
        let best = self.best.as_ref().and_then(Record::id);
        let changed = records.iter().filter(|record| record.id() != best);
        let changed = changed.filter(|record| {
            let ended = record.mark.bytes == record.head.len() as u64;
            let known = whole_lines(&record.head, ended).skip(lines_known);
            resembles(&lines, &known.collect::<Vec<_>>())
        });
        match changed.max_by_key(|record| record.mark.lines) {
            Some(record) => bail!(
                "{} resembles an input of which {} lines are in the database, but differs from it: was it \
                 changed since? {WAYS_OUT}",
                source.name,
                record.mark.lines
            ),
            None => Ok(()),
        }
    }

    /// The input from its start.
    fn into_start(self, source: &Source) -> Result<Box<dyn Read + Send>> {
        if self.kept.len() as u64 == self.position {
            return Ok(Box::new(Cursor::new(self.kept).chain(self.input)));
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

/// What the user may mean.
const WAYS_OUT: &str = "--again loads all of it, as flows of their own; --replace loads it in the place of all \
    flows that are there";

/// The complete lines of an input's beginning, without their ends; the last is complete if all has `ended`.
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

/// Whether half of the lines of one beginning, as far as both go, are in the other. Times rise, so lines of
/// inputs that have nothing to do with each other are hardly ever the same.
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
    let mut piece = vec![0; HEAD];
    while left.limit() > 0 {
        match left.read(&mut piece) {
            Ok(0) => bail!("it has become shorter"),
            Ok(length) => hash.update(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

//! Where in an input to go on: behind what an earlier load has committed of the same bytes.
//!
//! The input is hashed while it is skipped, and its digest compared with every record at the length of
//! that record. Records whose kept beginning differs fall out at once, so an input that is new is not
//! skipped through. A stream cannot go back further than this module keeps of it.

use std::io::{Cursor, ErrorKind, Read};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::batch::Lines;
use super::ledger::{HEAD, Record};
use super::source::Source;

/// Opens `source` behind the longest record that it begins with, and gives that record, or a new one.
///
/// # Errors
/// The input cannot be read, ends inside what was loaded of an input that begins alike, or is a stream
/// that differs from a record too late to go back.
pub(super) fn find_start(
    source: &Source,
    records: Vec<Record>,
    keep_bad: bool,
) -> Result<(Lines, Record)> {
    let mut search = Search::new(source, records)?;
    search.run()?;
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
    let mut input = search.into_start(source, &record)?;
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
            candidates,
            best: None,
        })
    }

    /// Reads until every candidate has proved right or wrong, or the input ends.
    fn run(&mut self) -> Result<()> {
        let mut piece = vec![0; HEAD];
        while let Some(stop) = self.candidates.iter().map(|record| record.mark.bytes).min() {
            // Neither beyond a record's end nor, in one piece, beyond what is kept.
            let longest =
                (stop - self.position).min((HEAD - self.kept.len() % HEAD) as u64) as usize;
            match self.input.read(&mut piece[..longest]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(length) => self.take(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).context(format!(
                        "cannot read on after {} uncompressed bytes",
                        self.position
                    ));
                }
            }
        }
        Ok(())
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

    /// The input from its start, to be loaded behind `record`, which was found on the way here.
    fn into_start(self, source: &Source, record: &Record) -> Result<Box<dyn Read + Send>> {
        let Self {
            input,
            position,
            kept,
            ..
        } = self;
        let name = &source.name;
        if record.mark.bytes == 0 && self.ended && position > 0 {
            let longer = self
                .candidates
                .iter()
                .map(|record| record.mark.bytes)
                .min()
                .unwrap_or_default();
            bail!(
                "{name} ends after {position} bytes of text and begins like an input of which {longer} bytes are \
                 in the database: a copy that was cut short?"
            );
        }
        if kept.len() as u64 == position {
            return Ok(Box::new(Cursor::new(kept).chain(input)));
        }
        if source.can_rewind() {
            return source.text();
        }
        bail!(
            "{name} begins like an input loaded before, but differs within its first {position} bytes, and a \
             stream cannot be read again: load it from a file"
        )
    }
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

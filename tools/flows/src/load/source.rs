//! Inputs: a file or standard input, plain or gzip by content.
//!
//! A regular file can be rewound; a compressed file is checked as a whole before any of its rows is loaded. A
//! stream (standard input, a named pipe) can be read only once; a compressed stream is spooled to a file first.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek};
use std::mem;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::format::{BYTE_ORDER_MARK, Format, GzipMembers, LONGEST_MAGIC};
use super::progress::Progress;
use crate::lanl::{self, MAX_LINE};

/// Bytes of one read.
const READ_SIZE: usize = 256 * 1024;

/// An opened input.
pub(super) struct Source {
    /// As the user wrote it, for messages.
    pub(super) name: String,
    /// Bytes on disk; `None` for a stream.
    pub(super) size: Option<u64>,
    file: Option<File>,
    /// The bytes of a stream that have been read to detect its format.
    prefix: Vec<u8>,
    progress: Progress,
}

impl Source {
    /// The number of lines by the size of a file, as LANL's lines are; 0 for a stream.
    pub(super) fn estimated_rows(&self) -> u64 {
        let bytes_of_line = if self.name.ends_with(".gz") { 9 } else { 45 };
        self.size.unwrap_or(0) / bytes_of_line
    }

    /// Opens the file at `path`, or standard input for `-`.
    pub(super) fn open(path: &Path, progress: &Progress) -> Result<Self> {
        let progress = progress.clone();
        if path == Path::new("-") {
            return Ok(Self {
                name: "standard input".to_owned(),
                size: None,
                file: None,
                prefix: Vec::new(),
                progress,
            });
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let metadata = file
            .metadata()
            .with_context(|| format!("cannot open {name}"))?;
        if metadata.is_dir() {
            bail!("cannot load {name}: it is a directory");
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self {
            name,
            size,
            file: Some(file),
            prefix: Vec::new(),
            progress,
        })
    }

    /// Whether [`text`](Self::text) can be called again.
    pub(super) fn can_rewind(&self) -> bool {
        self.size.is_some()
    }

    /// The uncompressed text without a byte order mark: from the start if the source can rewind, else from the
    /// stream's position.
    pub(super) fn text(&self) -> Result<Box<dyn Read + Send>> {
        self.bytes()
            .and_then(|bytes| decoded(Cursor::new(self.prefix.clone()).chain(bytes)))
            .with_context(|| self.unreadable())
    }

    /// The bytes of the file, or the rest of the stream.
    fn bytes(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.file {
            None => Box::new(self.progress.watch(io::stdin())),
            Some(file) => Box::new(self.progress.watch(self.rewound(file)?)),
        })
    }

    fn rewound(&self, file: &File) -> io::Result<File> {
        let mut file = file.try_clone()?;
        if self.can_rewind() {
            file.rewind()?;
            self.progress.rewind();
        }
        Ok(file)
    }

    fn unreadable(&self) -> String {
        format!("cannot read {}", self.name)
    }

    /// Detects the format, and verifies the checksums of a gzip input. A gzip stream is spooled to `folder`.
    ///
    /// The checksum stands at the end of a member, so a damaged file may inflate to lines that look good. The
    /// check before the load keeps wrong rows from being committed.
    pub(super) fn check(&mut self, folder: &Path) -> Result<()> {
        match self.format()? {
            Format::Text => Ok(()),
            Format::Gzip => {
                if !self.can_rewind() {
                    self.spool(folder)?;
                }
                self.check_gzip()
            }
            Format::Unsupported {
                name,
                decompress_by,
            } => {
                let subject = &self.name;
                match decompress_by {
                    Some(command) => bail!(
                        "{subject} is {name}: decompress it first, {command} FILE | flows load -"
                    ),
                    None => bail!("{subject} is {name}, not lines of flows"),
                }
            }
        }
    }

    fn format(&mut self) -> Result<Format> {
        let mut first = Vec::new();
        let looked = self
            .bytes()
            .and_then(|bytes| bytes.take(LONGEST_MAGIC as u64).read_to_end(&mut first));
        looked.with_context(|| self.unreadable())?;
        let format = Format::of(&first);
        if !self.can_rewind() {
            self.prefix = first;
        }
        Ok(format)
    }

    /// Spools a stream to an unnamed file in `folder`. The system removes the file however the process ends.
    fn spool(&mut self, folder: &Path) -> Result<()> {
        self.progress.say("storing");
        let bytes = self.bytes().with_context(|| self.unreadable())?;
        let mut whole = Cursor::new(mem::take(&mut self.prefix)).chain(bytes);
        let spooled = tempfile::tempfile_in(folder).and_then(|mut file| {
            let size = io::copy(&mut whole, &mut file)?;
            Ok((file, size))
        });
        let (file, size) = spooled
            .with_context(|| format!("cannot store {} in {}", self.name, folder.display()))?;
        (self.file, self.size) = (Some(file), Some(size));
        self.progress.begin(self);
        Ok(())
    }

    fn check_gzip(&self) -> Result<()> {
        self.progress.say("checking");
        let mut text = self.text()?;
        let mut chunk = vec![0; READ_SIZE];
        let (mut bytes, mut lines) = (0, 0);
        loop {
            match text.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    bytes += length;
                    lines += memchr::memchr_iter(b'\n', &chunk[..length]).count();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let line = format!("{}:{}", self.name, lines + 1);
                    return Err(error).context(format!(
                        "{line}: gzip is damaged or cut short after {bytes} uncompressed bytes"
                    ));
                }
            }
        }
    }

    /// Fails if the input is empty, or if its first line is bad and rejects are not kept. Call
    /// [`check`](Self::check) first.
    pub(super) fn check_first_line(&mut self, keep_rejects: bool) -> Result<()> {
        let line = self.first_line().with_context(|| self.unreadable())?;
        if line.is_empty() {
            bail!("{} is empty", self.name);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match lanl::parse(line) {
            Err(reason) if !keep_rejects => bail!("{}:1: {reason}", self.name),
            _ => Ok(()),
        }
    }

    fn first_line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        if self.can_rewind() {
            read_line(self.text()?, &mut line)?;
        } else {
            line = mem::take(&mut self.prefix);
            let rest = self.bytes()?;
            if !line.contains(&b'\n') {
                read_line(rest, &mut line)?;
            }
            self.prefix.clone_from(&line);
            if line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
        }
        if let Some(end) = memchr::memchr(b'\n', &line) {
            line.truncate(end + 1);
        }
        Ok(line)
    }
}

/// Reads up to a line end or beyond [`MAX_LINE`], in whole reads: `line` may hold more than one line.
fn read_line(mut input: impl Read, line: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; READ_SIZE];
    while line.len() <= MAX_LINE + 2 {
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                line.extend_from_slice(&chunk[..length]);
                if chunk[..length].contains(&b'\n') {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Inflates gzip, and removes a byte order mark.
fn decoded(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(READ_SIZE, input);
    let mut first = Vec::new();
    input
        .by_ref()
        .take(LONGEST_MAGIC as u64)
        .read_to_end(&mut first)?;
    let format = Format::of(&first);
    let whole = Cursor::new(first).chain(input);
    match format {
        Format::Gzip => without_byte_order_mark(GzipMembers::new(whole)),
        _ => without_byte_order_mark(whole),
    }
}

/// Removes a byte order mark from the start.
fn without_byte_order_mark(
    mut text: impl Read + Send + 'static,
) -> io::Result<Box<dyn Read + Send>> {
    let mut first = Vec::new();
    let read = text
        .by_ref()
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut first);
    if first == BYTE_ORDER_MARK {
        first.clear();
    }
    let first = Cursor::new(first);
    Ok(match read {
        Ok(_) => Box::new(first.chain(text)),
        // Returned by the next read: its caller knows the line.
        Err(error) => Box::new(first.chain(FailedRead(Some(error)))),
    })
}

/// A reader that fails.
struct FailedRead(Option<io::Error>);

impl Read for FailedRead {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0.take() {
            Some(error) => Err(error),
            None => Err(io::Error::other("the input has failed")),
        }
    }
}

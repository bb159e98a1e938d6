//! Inputs: a file or standard input, plain or gzip, told apart by content.
//!
//! A regular file can be read again from its start, and a compressed one is checked as a whole before a
//! row of it is loaded. Streams (standard input, named pipes) can be read only once, so a compressed one is
//! made a file first.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek};
use std::mem;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::format::{BYTE_ORDER_MARK, Format, LONGEST_MAGIC, Members};
use super::progress::Progress;
use crate::lanl::{self, MAX_LINE};

/// Bytes of one read from the disk.
const READ_SIZE: usize = 256 * 1024;

/// An input that has been opened.
pub(super) struct Source {
    /// As the user wrote it, for messages.
    pub(super) name: String,
    /// Bytes on disk; `None` for a stream.
    pub(super) size: Option<u64>,
    file: Option<File>,
    /// What has been read of a stream, to see what it is.
    beginning: Vec<u8>,
    progress: Progress,
}

impl Source {
    /// Opens the file at `path`, or standard input for `-`.
    pub(super) fn open(path: &Path, progress: &Progress) -> Result<Self> {
        let progress = progress.clone();
        if path == Path::new("-") {
            return Ok(Self {
                name: "standard input".to_owned(),
                size: None,
                file: None,
                beginning: Vec::new(),
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
            beginning: Vec::new(),
            progress,
        })
    }

    /// Whether [`text`](Self::text) can be called again.
    pub(super) fn can_rewind(&self) -> bool {
        self.size.is_some()
    }

    /// The uncompressed text, without a byte order mark; from its start if the source can rewind, else from
    /// where it stands.
    pub(super) fn text(&self) -> Result<Box<dyn Read + Send>> {
        self.bytes()
            .and_then(|bytes| plain_text(Cursor::new(self.beginning.clone()).chain(bytes)))
            .with_context(|| self.unreadable())
    }

    /// What is on the disk or left of the stream.
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

    /// Looks what the input is, and inflates a whole gzip input against its checksums; keeps nothing of it but a
    /// stream as it came, in `folder`.
    ///
    /// The checksum stands at the end, so a damaged file inflates to lines that may look good. Looking
    /// first costs about an eighth of the time of a load, and no wrong row is ever committed.
    pub(super) fn check(&mut self, folder: &Path) -> Result<()> {
        match self.format()? {
            Format::Text => Ok(()),
            Format::Gzip => {
                if !self.can_rewind() {
                    self.store(folder)?;
                }
                self.check_gzip()
            }
            Format::Other { name, open_by } => {
                let subject = &self.name;
                match open_by {
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
            self.beginning = first;
        }
        Ok(format)
    }

    /// Makes a stream an unnamed file in `folder`; it goes with this source, however the process ends.
    fn store(&mut self, folder: &Path) -> Result<()> {
        self.progress.say("storing");
        let bytes = self.bytes().with_context(|| self.unreadable())?;
        let mut whole = Cursor::new(mem::take(&mut self.beginning)).chain(bytes);
        let stored = tempfile::tempfile_in(folder).and_then(|mut file| {
            let size = io::copy(&mut whole, &mut file)?;
            Ok((file, size))
        });
        let (file, size) = stored
            .with_context(|| format!("cannot store {} in {}", self.name, folder.display()))?;
        (self.file, self.size) = (Some(file), Some(size));
        self.progress.begin(self);
        Ok(())
    }

    fn check_gzip(&self) -> Result<()> {
        self.progress.say("checking");
        let mut text = self.text()?;
        let mut piece = vec![0; READ_SIZE];
        let (mut bytes, mut lines) = (0, 0);
        loop {
            match text.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    bytes += length;
                    lines += memchr::memchr_iter(b'\n', &piece[..length]).count();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let place = format!("{}:{}", self.name, lines + 1);
                    return Err(error).context(format!(
                        "{place}: gzip is damaged or cut short after {bytes} uncompressed bytes"
                    ));
                }
            }
        }
    }

    /// Fails if there is no text, or, unless bad lines are kept, if the first line is none. To be called after
    /// [`check`](Self::check).
    pub(super) fn check_first_line(&mut self, keep_bad: bool) -> Result<()> {
        let line = self.first_line().with_context(|| self.unreadable())?;
        if line.is_empty() {
            bail!("{} is empty", self.name);
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match lanl::parse(line) {
            Err(reason) if !keep_bad => bail!("{}:1: {reason}", self.name),
            _ => Ok(()),
        }
    }

    fn first_line(&mut self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        if self.can_rewind() {
            read_line(self.text()?, &mut line)?;
        } else {
            line = mem::take(&mut self.beginning);
            let rest = self.bytes()?;
            if !line.contains(&b'\n') {
                read_line(rest, &mut line)?;
            }
            self.beginning.clone_from(&line);
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

/// Reads on to a line's end, or so far that the line is too long; what one read brings is kept whole.
fn read_line(mut input: impl Read, line: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = vec![0; READ_SIZE];
    while line.len() <= MAX_LINE + 2 {
        match input.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                line.extend_from_slice(&piece[..length]);
                if piece[..length].contains(&b'\n') {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn plain_text(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(READ_SIZE, input);
    let mut first = Vec::new();
    input
        .by_ref()
        .take(LONGEST_MAGIC as u64)
        .read_to_end(&mut first)?;
    let format = Format::of(&first);
    let whole = Cursor::new(first).chain(input);
    match format {
        Format::Gzip => without_mark(Members::new(whole)),
        _ => without_mark(whole),
    }
}

/// Takes a byte order mark off the beginning.
fn without_mark(mut text: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
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
        // To be met by whoever reads, who knows the line.
        Err(error) => Box::new(first.chain(Failed(Some(error)))),
    })
}

/// An input that has failed.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0.take() {
            Some(error) => Err(error),
            None => Err(io::Error::other("the input has failed")),
        }
    }
}

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
use flate2::bufread::MultiGzDecoder;

use super::progress::Progress;

/// Bytes of one read from the disk.
const READ_SIZE: usize = 256 * 1024;

/// The first bytes of every gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An input that has been opened.
pub(super) struct Source {
    /// As the user wrote it, for messages.
    pub(super) name: String,
    /// Bytes on disk; `None` for a stream.
    pub(super) size: Option<u64>,
    file: Option<File>,
    /// What has been read of a stream, to see whether it is compressed.
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

    /// The uncompressed text; from its start if the source can rewind, else from where it stands.
    pub(super) fn text(&self) -> Result<Box<dyn Read + Send>> {
        self.bytes()
            .and_then(|bytes| inflate_if_gzip(Cursor::new(self.beginning.clone()).chain(bytes)))
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

    /// Makes a gzip stream an unnamed file in `folder`; it goes with this source, however the process ends.
    fn store_if_gzip(&mut self, folder: &Path) -> Result<()> {
        let mut bytes = self.bytes().with_context(|| self.unreadable())?;
        let looked = bytes.by_ref().take(2).read_to_end(&mut self.beginning);
        looked.with_context(|| self.unreadable())?;
        if self.beginning != GZIP_MAGIC {
            return Ok(());
        }
        self.progress.say("storing");
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

    fn unreadable(&self) -> String {
        format!("cannot read {}", self.name)
    }

    /// Inflates a whole gzip input against its checksums, and keeps nothing of it but a stream as it came, in
    /// `folder`.
    ///
    /// The checksum stands at the end, so a damaged file inflates to lines that may look good. Looking
    /// first costs about an eighth of the time of a load, and no wrong row is ever committed.
    pub(super) fn check(&mut self, folder: &Path) -> Result<()> {
        if !self.can_rewind() {
            self.store_if_gzip(folder)?;
        }
        if !self.is_gzip_file()? {
            return Ok(());
        }
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

    fn is_gzip_file(&self) -> Result<bool> {
        let (Some(file), true) = (&self.file, self.can_rewind()) else {
            return Ok(false);
        };
        let mut magic = Vec::new();
        self.rewound(file)
            .and_then(|file| file.take(2).read_to_end(&mut magic))
            .with_context(|| self.unreadable())?;
        Ok(magic == GZIP_MAGIC)
    }
}

fn inflate_if_gzip(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(READ_SIZE, input);
    let mut magic = Vec::new();
    input.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == GZIP_MAGIC;
    let whole = Cursor::new(magic).chain(input);
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    })
}

//! A file on its way: records as they come, counted, hashed and perhaps compressed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::FileFormat;
use super::parquet::ParquetFile;
use super::state::{Folder, PART, PART_OF_FLOWS, StoredFile};

/// The file that records are written to, until it is whole and gets its name.
pub(super) struct PartFile {
    path: PathBuf,
    format: FileFormat,
    gzip: bool,
    out: Output,
    /// The bytes of a record whose end has not come.
    unfinished: Vec<u8>,
    /// Quotation marks in them, of CSV.
    quotes: usize,
    /// Whether a header line is in the file.
    has_header: bool,
    /// Whether the header line of this response has come.
    past_header: bool,
    /// First and last id in the file.
    ids: Option<(i64, i64)>,
    /// Flows in the file.
    pub(super) flows: u64,
    /// Flows of this response.
    of_response: u64,
    end: Option<End>,
}

/// What the last line of a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) flows: u64,
    pub(super) watermark: Option<i64>,
}

/// Where the bytes go.
enum Output {
    Plain(HashedFile),
    Gzip(Box<GzEncoder<HashedFile>>),
    Parquet(Box<ParquetFile<HashedFile>>),
}

/// A file, and the digest of what was written to it.
struct HashedFile {
    file: BufWriter<File>,
    hash: Sha256,
    bytes: u64,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl PartFile {
    /// Begins a file in the folder.
    pub(super) fn create(folder: &Folder, format: FileFormat, gzip: bool) -> Result<Self> {
        let path = folder.path(&format!("{PART_OF_FLOWS}{}{PART}", format.name()));
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let file = HashedFile {
            file: BufWriter::with_capacity(1 << 20, file),
            hash: Sha256::new(),
            bytes: 0,
        };
        Ok(Self {
            path,
            format,
            gzip,
            out: match (format, gzip) {
                (FileFormat::Parquet, _) => Output::Parquet(Box::new(ParquetFile::new(file)?)),
                (_, true) => Output::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
                (_, false) => Output::Plain(file),
            },
            unfinished: Vec::new(),
            quotes: 0,
            has_header: false,
            past_header: false,
            ids: None,
            flows: 0,
            of_response: 0,
            end: None,
        })
    }

    /// The id that the file's name begins with.
    pub(super) fn first_id(&self) -> Option<i64> {
        self.ids.map(|(first, _)| first)
    }

    /// The id behind which the rest of the flows comes.
    pub(super) fn last_id(&self) -> Option<i64> {
        self.ids.map(|(_, last)| last)
    }

    /// Begins another response, whose flows follow those that are there.
    pub(super) fn begin_response(&mut self) {
        self.unfinished.clear();
        self.quotes = 0;
        self.past_header = self.format != FileFormat::Csv;
        self.of_response = 0;
        self.end = None;
    }

    /// Takes the next bytes of a response.
    ///
    /// # Errors
    /// A record that is none, or a file that cannot be written.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end + 1);
            self.unfinished.extend_from_slice(line);
            bytes = rest;
            if self.format == FileFormat::Csv {
                // Inside of quotation marks a line end is a part of the value.
                self.quotes += memchr::memchr_iter(b'"', line).count();
                if self.quotes % 2 == 1 {
                    continue;
                }
            }
            self.quotes = 0;
            let record = std::mem::take(&mut self.unfinished);
            self.take_record(&record)?;
            self.unfinished = record;
            self.unfinished.clear();
        }
        self.unfinished.extend_from_slice(bytes);
        if self.format == FileFormat::Csv {
            self.quotes += memchr::memchr_iter(b'"', bytes).count();
        }
        Ok(())
    }

    fn take_record(&mut self, record: &[u8]) -> Result<()> {
        if self.end.is_some() {
            bail!("the service sends more behind the end of its answer");
        }
        if !self.past_header {
            self.past_header = true;
            if std::mem::replace(&mut self.has_header, true) {
                return Ok(());
            }
            return self.write(record);
        }
        if let Some(end) = self.end_of(record)? {
            self.end = Some(end);
            return Ok(());
        }
        let id = self.id_of(record)?;
        let (first, last) = self.ids.unwrap_or((id, i64::MIN));
        if id <= last && self.ids.is_some() {
            bail!("flow {id} comes behind flow {last}: that is no arrival feed");
        }
        self.ids = Some((first, id));
        self.flows += 1;
        self.of_response += 1;
        self.write(record)
    }

    /// The id of a flow, which stands first in its record.
    fn id_of(&self, record: &[u8]) -> Result<i64> {
        let digits = match self.format {
            FileFormat::Ndjson | FileFormat::Parquet => record.strip_prefix(b"{\"id\":"),
            FileFormat::Csv => Some(record),
        };
        let id = digits.and_then(|digits| {
            let end = memchr::memchr(b',', digits)?;
            std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
        });
        id.ok_or_else(|| {
            let shown = String::from_utf8_lossy(record);
            let shown: String = shown.chars().take(80).collect();
            anyhow!("the service sends what is no flow: {}", shown.trim_end())
        })
    }

    /// What the last line says, if this is the last line.
    fn end_of(&self, record: &[u8]) -> Result<Option<End>> {
        let text = std::str::from_utf8(record).unwrap_or_default().trim_end();
        let read = || -> Option<End> {
            match self.format {
                FileFormat::Ndjson | FileFormat::Parquet => {
                    let end: serde_json::Value = serde_json::from_str(text).ok()?;
                    Some(End {
                        flows: end["count"].as_u64()?,
                        watermark: end["watermark"].as_i64(),
                    })
                }
                FileFormat::Csv => {
                    let mut fields = text.split(',').skip(1);
                    Some(End {
                        flows: fields.next()?.parse().ok()?,
                        watermark: fields.next()?.parse().ok(),
                    })
                }
            }
        };
        let start = match self.format {
            FileFormat::Ndjson | FileFormat::Parquet => "{\"end\":",
            FileFormat::Csv => "end,",
        };
        if !text.starts_with(start) {
            return Ok(None);
        }
        read()
            .map(Some)
            .with_context(|| format!("the service ends its answer by {text}"))
    }

    /// The end of the response.
    ///
    /// # Errors
    /// The response has not come to its end, or some of its flows have not come.
    pub(super) fn end_of_response(&self) -> Result<End> {
        match self.end {
            Some(end) if self.unfinished.is_empty() && end.flows == self.of_response => Ok(end),
            Some(end) => bail!("{} flows have come of {}", self.of_response, end.flows),
            None => bail!(
                "the answer has been cut off behind {} flows",
                self.of_response
            ),
        }
    }

    fn write(&mut self, record: &[u8]) -> Result<()> {
        let written = match &mut self.out {
            Output::Plain(file) => file.write_all(record),
            Output::Gzip(file) => file.write_all(record),
            Output::Parquet(file) => {
                let taken = file.take(record);
                return taken.with_context(|| format!("cannot write {}", self.path.display()));
            }
        };
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Ends the file, and gives it its name; `None` where there is no flow.
    ///
    /// # Errors
    /// The disk.
    pub(super) fn store(self, folder: &Folder, lineage: &str) -> Result<Option<StoredFile>> {
        let Self {
            path,
            format,
            gzip,
            out,
            ids,
            flows,
            ..
        } = self;
        let store = || -> Result<Option<StoredFile>> {
            let Some((first_id, last_id)) = ids else {
                fs::remove_file(&path)?;
                return Ok(None);
            };
            let HashedFile { file, hash, bytes } = match out {
                Output::Plain(file) => file,
                Output::Gzip(encoder) => encoder.finish()?,
                Output::Parquet(file) => file.finish()?,
            };
            file.into_inner()?.sync_all()?;
            let ending = if gzip { ".gz" } else { "" };
            let name = format!(
                "flows-{lineage}-{first_id}-{last_id}.{}{ending}",
                format.name()
            );
            fs::rename(&path, folder.path(&name))?;
            folder.sync()?;
            let digest = hash.finalize();
            Ok(Some(StoredFile {
                name,
                first_id,
                last_id,
                flows,
                bytes,
                sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                loaded: false,
            }))
        };
        store().with_context(|| format!("cannot store {}", path.display()))
    }
}

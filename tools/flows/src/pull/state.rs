//! How far a folder has come: a JSON file, replaced as a whole.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Pull;

/// The form of the state file.
const VERSION: u32 = 1;

/// The name of the state file.
const STATE: &str = "pull-state.json";

/// The end of the name of a file that is not whole.
pub(super) const PART: &str = ".part";

/// The beginning of the name of a file of flows that is not whole.
pub(super) const PART_OF_FLOWS: &str = ".flows.";

/// What a folder holds, and where the next pull goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Where the flows came from, for people.
    url: String,
    /// The window and filters of the flows, as in a query.
    query: String,
    /// The lineage of the flows; `None` before the first portion.
    pub(super) lineage: Option<String>,
    /// Every flow up to this id is in the files.
    pub(super) watermark: Option<i64>,
    /// In the order of their flows.
    pub(super) files: Vec<StoredFile>,
}

/// A whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredFile {
    pub(super) name: String,
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) flows: u64,
    pub(super) bytes: u64,
    /// Of the file as it is on the disk, in hexadecimal digits.
    pub(super) sha256: String,
    /// Whether the command has taken it.
    pub(super) loaded: bool,
}

/// A folder that this pull alone writes to.
pub(super) struct Folder {
    path: PathBuf,
    pub(super) state: State,
    _lock: File,
}

impl Folder {
    /// Opens the folder, or makes it, and removes what a killed pull has left.
    ///
    /// # Errors
    /// Another pull is writing to it; its state cannot be read, or is of another window or filters.
    pub(super) fn open(request: &Pull) -> Result<Self> {
        let path = request.out.clone();
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let lock = path.join(".pull-lock");
        let lock_file =
            File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another pull is writing to {}", path.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", lock.display()));
            }
        }
        let state = Self::read_state(&path, request)?;
        let folder = Self {
            path,
            state,
            _lock: lock_file,
        };
        folder.remove_leftovers()?;
        // Before the first file: one without a state could be anybody's.
        folder.save()?;
        Ok(folder)
    }

    fn read_state(folder: &Path, request: &Pull) -> Result<State> {
        let path = folder.join(STATE);
        let query = query(request);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(name) = names(folder)?.find(|name| name.starts_with("flows-")) {
                    bail!(
                        "{} has {name} and no {STATE}: put the state back, or pull into an empty folder",
                        folder.display()
                    );
                }
                return Ok(State {
                    version: VERSION,
                    url: shown(&request.url),
                    query,
                    lineage: None,
                    watermark: None,
                    files: Vec::new(),
                });
            }
            Err(error) => {
                return Err(error).context(format!("cannot read {}", path.display()));
            }
        };
        let mut state: State = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged: put a copy of it back, or pull into an empty folder",
                path.display()
            )
        })?;
        if state.version != VERSION {
            bail!(
                "{} has the unknown version {}",
                path.display(),
                state.version
            );
        }
        if state.query != query {
            bail!(
                "{} holds the flows of {:?}, not of {query:?}: pull into another folder",
                folder.display(),
                state.query
            );
        }
        state.url = shown(&request.url);
        Ok(state)
    }

    /// Removes files that are not whole, and one that was whole when the state had not yet moved on: its flows are
    /// fetched again.
    fn remove_leftovers(&self) -> Result<()> {
        for name in names(&self.path)? {
            let is_known = self.state.files.iter().any(|file| file.name == name);
            if is_part(&name) || (!is_known && self.is_ahead(&name)) {
                let path = self.path(&name);
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Whether a file has the name of one whose flows are still to come.
    fn is_ahead(&self, name: &str) -> bool {
        let Some((lineage, first_id)) = lineage_and_first_id(name) else {
            return false;
        };
        match (&self.state.lineage, self.state.watermark) {
            (Some(current), Some(watermark)) => lineage == current && first_id > watermark,
            // The first file of the lineage was about to come.
            (Some(current), None) => lineage == current,
            (None, _) => false,
        }
    }

    /// Whether flows of a lineage have been stored.
    pub(super) fn has_files_of(&self, lineage: &str) -> bool {
        let begin = format!("flows-{lineage}-");
        let mut files = self.state.files.iter();
        files.any(|file| file.name.starts_with(&begin))
    }

    /// The path of a file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Moves on behind a portion of flows.
    pub(super) fn advance(
        &mut self,
        lineage: String,
        watermark: i64,
        file: Option<StoredFile>,
    ) -> Result<()> {
        let is_same = self.state.lineage.as_ref() == Some(&lineage)
            && self.state.watermark == Some(watermark)
            && file.is_none();
        if is_same {
            return Ok(());
        }
        self.state.lineage = Some(lineage);
        self.state.watermark = Some(watermark);
        self.state.files.extend(file);
        self.save()
    }

    /// Remembers that the command has taken a file.
    pub(super) fn set_loaded(&mut self, place: usize) -> Result<()> {
        if let Some(file) = self.state.files.get_mut(place) {
            file.loaded = true;
        }
        self.save()
    }

    /// Follows no lineage, so that the next portion brings another one. The files stay, and so does the state on the
    /// disk until that portion is there: the answer that ended the lineage may have been another server's.
    pub(super) fn restart(&mut self) {
        self.state.lineage = None;
        self.state.watermark = None;
    }

    /// Remembers the lineage that the first file is about to come of.
    pub(super) fn begin(&mut self, lineage: &str) -> Result<()> {
        if self.state.lineage.as_deref() == Some(lineage) {
            return Ok(());
        }
        self.state.lineage = Some(lineage.to_owned());
        self.save()
    }

    /// Writes the state.
    fn save(&self) -> Result<()> {
        let path = self.path(STATE);
        let new = self.path(&format!("{STATE}{PART}"));
        let write = || -> Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(&self.state)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            self.sync()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Makes the names of the folder's files last.
    pub(super) fn sync(&self) -> Result<()> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("cannot sync {}", self.path.display()))
    }
}

/// The window and filters, as in a query.
fn query(request: &Pull) -> String {
    let mut url = request.url.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(request.selection.parameters());
    url.query().unwrap_or_default().to_owned()
}

/// The URL without a password.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_password(None);
    url.into()
}

/// Whether a file of this name is one of a pull's own that is not whole.
fn is_part(name: &str) -> bool {
    let whole = name.strip_suffix(PART);
    whole.is_some_and(|whole| whole == STATE || whole.starts_with(PART_OF_FLOWS))
}

/// What the name of a file tells: `flows-LINEAGE-FIRST-LAST.ENDING`. Ids may be negative.
fn lineage_and_first_id(name: &str) -> Option<(&str, i64)> {
    let (lineage, ids) = name.strip_prefix("flows-")?.split_once('-')?;
    let is_lineage = lineage.len() == 16 && lineage.bytes().all(|b| b.is_ascii_hexdigit());
    let sign = usize::from(ids.starts_with('-'));
    let (first_id, _) = ids.split_at(sign + ids[sign..].find('-')?);
    Some((lineage, first_id.parse().ok()?)).filter(|_| is_lineage)
}

/// The names of the files in a folder.
fn names(folder: &Path) -> Result<impl Iterator<Item = String> + use<>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let names: Vec<_> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(names.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_lineage_and_first_id() {
        let lineage = "00000000000000ab";
        for (ids, first) in [
            ("1-20.ndjson", Some(1)),
            ("-5--3.csv.gz", Some(-5)),
            ("-5-30.csv.gz", Some(-5)),
            ("x-3.csv", None),
            ("", None),
            ("-", None),
        ] {
            let name = format!("flows-{lineage}-{ids}");
            assert_eq!(
                lineage_and_first_id(&name),
                first.map(|id| (lineage, id)),
                "{name}"
            );
        }
        assert_eq!(lineage_and_first_id("flows-2026-1-2.csv"), None);
        assert_eq!(lineage_and_first_id("other"), None);
    }
}

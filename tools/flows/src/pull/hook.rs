//! The command that files are handed over to.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::TOKEN;
use super::state::StoredFile;

/// Runs `command` for a file. It does not get the token.
///
/// # Errors
/// It cannot be run, or does not exit with 0.
pub(super) fn run(command: &str, path: &Path, file: &StoredFile) -> Result<()> {
    let quoted = format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let status = Command::new("sh")
        .arg("-c")
        .arg(command.replace("{}", &quoted))
        .env_remove(TOKEN)
        .env("FLOWS_FILE", path)
        .env("FLOWS_COUNT", file.flows.to_string())
        .env("FLOWS_FIRST_ID", file.first_id.to_string())
        .env("FLOWS_LAST_ID", file.last_id.to_string())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("{command}: {status}");
    }
    Ok(())
}

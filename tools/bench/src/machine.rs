//! What was measured on.

use std::fs;
use std::thread;

use serde::Serialize;

/// The machine; what is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Processors that may be used.
    pub(super) cores: Option<usize>,
    /// What the processor calls itself.
    pub(super) model: Option<String>,
    /// Memory in MiB.
    pub(super) memory: Option<u64>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let field = |path, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").and_then(|total| {
            let kibibytes: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes / 1024)
        });
        Self {
            cores: thread::available_parallelism().ok().map(Into::into),
            model: field("/proc/cpuinfo", "model name"),
            memory,
        }
    }

    pub(super) fn describe(&self) -> String {
        let model = self.model.as_deref().unwrap_or("unknown processor");
        let mut parts = vec![model.to_owned()];
        parts.extend(self.cores.map(|cores| format!("{cores} cores")));
        parts.extend(
            self.memory
                .map(|memory| format!("{} GiB", memory.div_ceil(1024))),
        );
        parts.join(", ")
    }
}

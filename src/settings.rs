//! The Spin variables that an operator may set, read once by each instance of the component.
//!
//! The host starts a new instance after 128 requests, or a second without one: it sees a changed variable. Reading the
//! variables for each request would cost calls into the host.

use std::time::Duration;

use crate::log;

/// A variable: a row of the table in `docs/operations.md`, and of `spin.toml`.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value where the operator sets none.
    pub default: &'static str,
    /// What it means.
    pub description: &'static str,
}

/// Every variable.
pub const VARIABLES: [Variable; 5] = [
    Variable {
        name: "api_token",
        default: "",
        description: "a secret: everything but health asks for `Authorization: Bearer` with it",
    },
    Variable {
        name: "compression",
        default: "on",
        description: "`off`: no gzip, whatever the client accepts",
    },
    Variable {
        name: "cors_origin",
        default: "",
        description: "the origin whose pages may read the answers, or `*`",
    },
    Variable {
        name: "log_requests",
        default: "off",
        description: "`on`: a line to the log for every request (status, flows, bytes, milliseconds); \
                      failures are always logged",
    },
    Variable {
        name: "reader_timeout",
        default: "300",
        description: "seconds that an answer waits for a client that takes nothing of it; then its \
                      connection is cut. 0: it waits for ever",
    },
];

/// The variables cannot be used, and nothing can be served without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// What the client is told.
    pub detail: String,
    /// What the log alone is told.
    pub cause: Option<String>,
}

impl SettingsError {
    /// An error without a cause.
    pub fn new(detail: impl Into<String>) -> Self {
        Self {
            detail: detail.into(),
            cause: None,
        }
    }

    /// The host cannot read a variable, and says why.
    pub fn unreadable(name: &str, cause: impl std::fmt::Display) -> Self {
        Self {
            detail: format!("the variable {name} cannot be read; see the log"),
            cause: Some(cause.to_string()),
        }
    }
}

/// What the variables say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The access token, if one is asked for.
    pub api_token: Option<String>,
    /// Whether answers may be compressed.
    pub compression: bool,
    /// The origin whose pages may read the answers.
    pub cors_origin: Option<String>,
    /// Whether every request writes a line to the log.
    pub log_requests: bool,
    /// How long an answer waits for a client that takes nothing of it; `None` for ever.
    pub reader_timeout: Option<Duration>,
}

/// The default of `reader_timeout`.
const READER_TIMEOUT: Duration = Duration::from_secs(300);

impl Settings {
    /// Reads the settings out of the values of [`VARIABLES`], in their order; empty where nothing is set.
    ///
    /// # Errors
    /// A token of blanks alone.
    pub fn from_values(values: [String; VARIABLES.len()]) -> Result<Self, SettingsError> {
        let [token, compression, origin, log, timeout] = values;
        let [_, compression_name, _, log_name, timeout_name] =
            VARIABLES.map(|variable| variable.name);
        let timeout = seconds(timeout_name, &timeout).unwrap_or(READER_TIMEOUT);
        Ok(Self {
            api_token: trimmed_token(&token)?,
            compression: is_on(compression_name, &compression).unwrap_or(true),
            cors_origin: Some(without_slash(&origin)).filter(|origin| is_header_value(origin)),
            log_requests: is_on(log_name, &log).unwrap_or(false),
            reader_timeout: Some(timeout).filter(|time| !time.is_zero()),
        })
    }
}

/// Whether a switch is on. Any other value is logged and leaves the default.
fn is_on(name: &str, value: &str) -> Option<bool> {
    match value {
        "on" | "true" | "1" => Some(true),
        "off" | "false" | "0" => Some(false),
        "" => None,
        value => {
            log::notice(format_args!(
                "variable {name} is {value:?}, expected on or off"
            ));
            None
        }
    }
}

/// A number of seconds. Any other value is logged and leaves the default.
fn seconds(name: &str, value: &str) -> Option<Duration> {
    let seconds = value.parse::<u32>().ok();
    if seconds.is_none() && !value.is_empty() {
        log::notice(format_args!(
            "variable {name} is {value:?}, expected a number of seconds"
        ));
    }
    seconds.map(|seconds| Duration::from_secs(seconds.into()))
}

/// The token without the blanks around it. A secret out of a file often has such blanks, and no client can send
/// them.
///
/// # Errors
/// A token of blanks alone: to ignore it would open what it was to lock.
fn trimmed_token(token: &str) -> Result<Option<String>, SettingsError> {
    if token.is_empty() {
        return Ok(None);
    }
    let trimmed = token.trim();
    if trimmed.is_empty() {
        let detail = "the variable api_token holds nothing but blanks";
        return Err(SettingsError::new(detail));
    }
    if trimmed != token {
        log::notice(format_args!(
            "variable api_token has blanks around it, which are left out"
        ));
    }
    Ok(Some(trimmed.to_owned()))
}

/// The origin without a slash at its end: no browser sends one.
fn without_slash(origin: &str) -> String {
    let bare = origin.strip_suffix('/').unwrap_or(origin);
    if bare != origin {
        log::notice(format_args!(
            "variable cors_origin is {origin:?}, taken as {bare:?}: an origin ends in no slash"
        ));
    }
    bare.to_owned()
}

/// Whether an origin can stand in a header. One that cannot is logged and ignored.
fn is_header_value(origin: &str) -> bool {
    let fits = !origin.is_empty() && origin.bytes().all(|b| b.is_ascii_graphic());
    if !fits && !origin.is_empty() {
        log::notice(format_args!(
            "variable cors_origin is {origin:?}, expected an origin or *"
        ));
    }
    fits
}

//! The Spin variables that an operator may set, read once by each instance of the component.
//!
//! The host starts a new instance after 128 requests or a second without one, so a changed variable is
//! seen soon; asking for each request would cost every request a call into the host.

use std::cell::Cell;

use spin_sdk::variables;

/// What the variables say.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// `log_requests`: whether every request writes a line to the log.
    pub log_requests: bool,
}

thread_local! {
    static READ: Cell<Option<Settings>> = const { Cell::new(None) };
}

impl Settings {
    /// The settings of this instance.
    pub async fn current() -> Self {
        if let Some(settings) = READ.get() {
            return settings;
        }
        let settings = Self {
            log_requests: is_on("log_requests").await,
        };
        READ.set(Some(settings));
        settings
    }
}

/// Whether a switch is on; what is neither on nor off counts as off and is said in the log.
async fn is_on(name: &str) -> bool {
    match variables::get(name).await.as_deref() {
        Ok("on" | "true" | "1") => true,
        Ok("off" | "false" | "0" | "") => false,
        Ok(value) => {
            crate::log::line(format_args!(
                "variable {name} is {value:?}, expected on or off"
            ));
            false
        }
        Err(error) => {
            crate::log::line(format_args!("variable {name} cannot be read: {error}"));
            false
        }
    }
}

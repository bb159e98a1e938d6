//! The settings out of Spin's variables.

use flow_window::settings::{Settings, SettingsError, VARIABLES};
use futures::future::join_all;
use spin_sdk::variables::{self, Error};

/// Reads the settings.
///
/// # Errors
/// A variable that cannot be read: to serve without the token would open what it locks.
pub(crate) async fn read() -> Result<Settings, SettingsError> {
    let mut values = [const { String::new() }; VARIABLES.len()];
    let read = join_all(VARIABLES.map(|variable| text(variable.name))).await;
    for (value, read) in values.iter_mut().zip(read) {
        *value = read?;
    }
    Settings::from_values(values)
}

/// The value of a variable; empty where the manifest does not know it.
async fn text(name: &str) -> Result<String, SettingsError> {
    match variables::get(name).await {
        Ok(value) => Ok(value),
        Err(Error::Undefined(_)) => Ok(String::new()),
        Err(error) => Err(SettingsError::unreadable(name, error)),
    }
}

//! The settings out of Spin's variables.

use flow_window::settings::{Settings, SettingsError, VARIABLES};

use crate::bindings::fermyon::spin::variables::{self, Error};

/// Reads the settings.
///
/// # Errors
/// A variable that cannot be read: to serve without the token would open what it locks.
pub(crate) fn read() -> Result<Settings, SettingsError> {
    let mut values = [const { String::new() }; VARIABLES.len()];
    for (value, variable) in values.iter_mut().zip(VARIABLES) {
        *value = text(variable.name)?;
    }
    Settings::from_values(values)
}

/// The value of a variable; empty where the manifest does not know it.
fn text(name: &str) -> Result<String, SettingsError> {
    match variables::get(name) {
        Ok(value) => Ok(value),
        Err(Error::Undefined(_)) => Ok(String::new()),
        Err(error) => Err(SettingsError::unreadable(name, error)),
    }
}

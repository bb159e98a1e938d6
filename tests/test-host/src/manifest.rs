//! What the test host reads of `spin.toml` and of the runtime configuration file.
//!
//! Unknown keys are left alone: the manifest is Spin's, and Spin is the judge of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// The parts of a version 2 manifest that decide how the one component is run.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    spin_manifest_version: u32,
    /// Application variables by name.
    #[serde(default)]
    pub variables: BTreeMap<String, Variable>,
    trigger: Triggers,
    component: BTreeMap<String, Component>,
}

/// An application variable: `[variables]` in the manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Variable {
    /// The value where nothing else sets one. Without it, starting without a value is an error.
    pub default: Option<String>,
    /// Set just where there is no default.
    #[serde(default)]
    pub required: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Triggers {
    http: Vec<HttpTrigger>,
}

#[derive(Debug, Clone, Deserialize)]
struct HttpTrigger {
    route: String,
    component: String,
}

/// A component: `[component.NAME]` in the manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Component {
    /// The wasm file, relative to the manifest.
    pub source: PathBuf,
    /// Labels of the databases that the component may open.
    #[serde(default)]
    pub sqlite_databases: Vec<String>,
    /// The component's variables, as templates over the application's.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads `path`; an error names the file and what it lacks.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read manifest {}", path.display()))?;
        let manifest: Self =
            toml::from_str(&text).with_context(|| format!("in manifest {}", path.display()))?;
        ensure!(
            manifest.spin_manifest_version == 2,
            "{}: spin_manifest_version must be 2",
            path.display()
        );
        // `crates/loader/src/local.rs`, `locked_variable`
        for (name, variable) in &manifest.variables {
            ensure!(
                variable.required != variable.default.is_some(),
                "{}: variable {name} must be required or have a default",
                path.display()
            );
        }
        Ok(manifest)
    }

    /// The component that answers every path, and its name.
    ///
    /// The test host knows one trigger with the route `/...`; anything else is an error.
    pub fn component(&self) -> Result<(&str, &Component)> {
        let [trigger] = self.trigger.http.as_slice() else {
            bail!("the test host runs a manifest with exactly one http trigger");
        };
        ensure!(
            trigger.route == "/...",
            "the test host knows the route \"/...\" alone"
        );
        let component = self
            .component
            .get(&trigger.component)
            .with_context(|| format!("no [component.{}] in the manifest", trigger.component))?;
        Ok((&trigger.component, component))
    }

    /// The component's variables after templates are filled in.
    ///
    /// `given` overrides the manifest's defaults, as `SPIN_VARIABLE_NAME` does for Spin
    /// (`crates/variables-env`, `crates/expressions`).
    pub fn component_variables(
        &self,
        given: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>> {
        let mut application = HashMap::new();
        for (name, variable) in &self.variables {
            let value = given.get(name).or(variable.default.as_ref());
            let value =
                value.with_context(|| format!("variable {name} is required and has no value"))?;
            application.insert(name.as_str(), value.as_str());
        }
        let (_, component) = self.component()?;
        let expand = |(name, template): (&String, &String)| {
            Ok((name.clone(), expand(template, &application)?))
        };
        component.variables.iter().map(expand).collect()
    }
}

/// Replaces each `{{ name }}` of a template by its value.
fn expand(template: &str, application: &HashMap<&str, &str>) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, tail) = after
            .split_once("}}")
            .with_context(|| format!("unclosed {{{{ in the variable template {template:?}"))?;
        let name = name.trim();
        let value = application
            .get(name)
            .with_context(|| format!("no value for the variable {name}"))?;
        out.push_str(before);
        out.push_str(value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The parts of a runtime configuration file that move the default database.
#[derive(Debug, Default, Deserialize)]
struct RuntimeConfig {
    state_dir: Option<PathBuf>,
    #[serde(default)]
    sqlite_database: BTreeMap<String, DatabaseLocation>,
}

/// Where a database is: `[sqlite_database.LABEL]` in the runtime configuration file.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum DatabaseLocation {
    /// A file.
    #[serde(rename = "spin")]
    File {
        /// Relative to the working directory.
        path: PathBuf,
    },
    /// A server (`crates/sqlite/src/lib.rs`, `LibSqlDatabase`).
    Libsql {
        /// Its address.
        url: String,
        /// What it asks for; may be empty.
        token: String,
    },
}

/// Where the default database of the application at `manifest` is.
///
/// `sqlite_db.db` in the state folder: `state_dir`, else the one that the runtime configuration file
/// names, else `.spin` beside the manifest. That file may also name the database itself. Relative paths
/// count from the working directory, those of the file too (`crates/runtime-config/src/lib.rs`,
/// `TomlResolver::state_dir` and `sqlite_config_resolver`).
///
/// # Errors
/// A file that cannot be read, or a database that the test host does not have.
pub fn database_location(
    manifest: &Path,
    state_dir: Option<PathBuf>,
    runtime_config: Option<&Path>,
) -> Result<DatabaseLocation> {
    let mut config = runtime_config.map_or_else(|| Ok(RuntimeConfig::default()), read_config)?;
    let default = || DatabaseLocation::File {
        path: state_dir
            .or(config.state_dir)
            .unwrap_or_else(|| manifest.with_file_name(".spin"))
            .join("sqlite_db.db"),
    };
    let named = config.sqlite_database.remove("default");
    Ok(named.unwrap_or_else(default))
}

fn read_config(file: &Path) -> Result<RuntimeConfig> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read runtime configuration {}", file.display()))?;
    toml::from_str(&text).with_context(|| format!("in runtime configuration {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(variables: &str) -> Result<Manifest> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "spin_manifest_version = 2\n[trigger]\nhttp = []\n[component]\n[variables]\n{variables}"
        );
        std::fs::write(&file, text).unwrap();
        Manifest::read(file.path())
    }

    #[test]
    fn a_variable_is_required_or_has_a_default() {
        assert!(manifest("a = { required = true }\nb = { default = '' }").is_ok());
        for neither_nor in ["c = {}", "c = { required = true, default = 'x' }"] {
            let error = manifest(neither_nor).unwrap_err().to_string();
            assert!(error.contains("variable c must be"), "{error}");
        }
    }

    #[test]
    fn a_database_that_the_stand_in_does_not_have_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for table in [
            "type = 'libsql'\nurl = 'http://x'",
            "type = 'other'\npath = 'x'",
            "type = 'spin'",
            "type = 'spin'\npath = 'x'\nallow_attach_file = true",
        ] {
            std::fs::write(&file, format!("[sqlite_database.default]\n{table}")).unwrap();
            let found = database_location(Path::new("spin.toml"), None, Some(file.path()));
            assert!(found.is_err(), "{table}: {found:?}");
        }
        let found = database_location(Path::new("app/spin.toml"), None, None).unwrap();
        let path = PathBuf::from("app/.spin/sqlite_db.db");
        assert_eq!(found, DatabaseLocation::File { path });
    }

    #[test]
    fn a_template_takes_values_and_keeps_the_text_around_them() {
        let values = HashMap::from([("a", "1"), ("b", "")]);
        assert_eq!(expand("x{{ a }}y{{b}}z", &values).unwrap(), "x1yz");
        assert!(
            expand("{{ c }}", &values)
                .unwrap_err()
                .to_string()
                .contains('c')
        );
        assert!(expand("{{ a", &values).is_err());
    }
}

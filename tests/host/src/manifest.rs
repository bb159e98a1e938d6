//! What the stand-in reads of `spin.toml` and of the runtime configuration file.
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
    /// The value where nothing else sets one.
    pub default: Option<String>,
    /// Whether starting without a value is an error.
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
        Ok(manifest)
    }

    /// The component that answers every path, and its name.
    ///
    /// The stand-in knows one trigger with the route `/...`; anything else is an error.
    pub fn component(&self) -> Result<(&str, &Component)> {
        let [trigger] = self.trigger.http.as_slice() else {
            bail!("the stand-in runs a manifest with exactly one http trigger");
        };
        ensure!(
            trigger.route == "/...",
            "the stand-in knows the route \"/...\" alone"
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
            match value {
                Some(value) => _ = application.insert(name.as_str(), value.as_str()),
                None if variable.required => bail!("variable {name} is required and has no value"),
                None => {}
            }
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

/// The part of a runtime configuration file that moves the default database.
#[derive(Debug, Default, Deserialize)]
struct RuntimeConfig {
    #[serde(default)]
    sqlite_database: BTreeMap<String, SqliteDatabase>,
}

#[derive(Debug, Deserialize)]
struct SqliteDatabase {
    #[serde(rename = "type")]
    kind: String,
    path: Option<PathBuf>,
}

/// Where the default database lies.
///
/// `STATE_DIR/sqlite_db.db`, unless the runtime configuration file names another path; a relative one
/// counts from that file's folder (`crates/sqlite/src/lib.rs`, `RuntimeConfigResolver`).
pub fn database_path(state_dir: &Path, runtime_config: Option<&Path>) -> Result<PathBuf> {
    let default = state_dir.join("sqlite_db.db");
    let Some(file) = runtime_config else {
        return Ok(default);
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read runtime configuration {}", file.display()))?;
    let config: RuntimeConfig = toml::from_str(&text)
        .with_context(|| format!("in runtime configuration {}", file.display()))?;
    match config.sqlite_database.get("default") {
        None => Ok(default),
        Some(SqliteDatabase {
            kind,
            path: Some(path),
        }) if kind == "spin" => Ok(file.parent().unwrap_or(Path::new(".")).join(path)),
        Some(_) => bail!(
            "{}: the stand-in knows sqlite databases of type \"spin\" with a path alone",
            file.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

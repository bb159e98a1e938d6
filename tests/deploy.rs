//! The files in `deploy/`: each holds the fields of its schema below and no others, and they agree with one
//! another, with `spin.toml` and with the service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_window::http::routes::ROUTES;
use schema::{Checks, Compose, Container, Document, PodSpec, SpinAppSpec, ValueFrom, Volume};
use serde::de::DeserializeOwned;
use support::database::Database;
use support::wire::get;
use support::{FLOWS, server::TestServer};
use test_host::manifest::{DatabaseLocation, Manifest, database_location};

const LOCATION: &str = include_str!("../deploy/nginx/location.conf");
const NGINX: &str = include_str!("../deploy/nginx/server.conf");
const CADDY: &str = include_str!("../deploy/caddy/Caddyfile");
const UNIT: &str = include_str!("../deploy/systemd/flow-window.service");
const ENVIRONMENT: &str = include_str!("../deploy/systemd/environment");

/// Answered by Spin itself.
const LIVENESS: &str = "/.well-known/spin/health";

/// Whether the service can serve flows.
const READINESS: &str = "/api/v1/health";

/// The fields in use, of the SpinApp's definition, of Kubernetes and of Compose.
mod schema {
    #![expect(dead_code, reason = "a field is here because a file has it")]

    use std::collections::BTreeMap;

    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind")]
    pub(crate) enum Document {
        SpinApp(Object<SpinAppSpec>),
        PersistentVolumeClaim(Object<ClaimSpec>),
        Job(Object<JobSpec>),
        Secret(Secret),
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Object<Spec> {
        pub(crate) api_version: String,
        pub(crate) metadata: Named,
        pub(crate) spec: Spec,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Named {
        pub(crate) name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Secret {
        pub(crate) api_version: String,
        pub(crate) metadata: Named,
        pub(crate) r#type: String,
        pub(crate) string_data: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct SpinAppSpec {
        pub(crate) image: String,
        pub(crate) executor: String,
        pub(crate) replicas: u32,
        pub(crate) variables: Vec<Setting>,
        pub(crate) runtime_config: RuntimeConfig,
        #[serde(default)]
        pub(crate) volumes: Vec<Volume>,
        #[serde(default)]
        pub(crate) volume_mounts: Vec<VolumeMount>,
        pub(crate) checks: Checks,
        pub(crate) resources: Resources,
    }

    /// A variable, or an option of a database.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Setting {
        pub(crate) name: String,
        pub(crate) value: Option<String>,
        pub(crate) value_from: Option<ValueFrom>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct ValueFrom {
        pub(crate) secret_key_ref: SecretKey,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct SecretKey {
        pub(crate) name: String,
        pub(crate) key: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct RuntimeConfig {
        pub(crate) sqlite_databases: Vec<SqliteDatabase>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct SqliteDatabase {
        pub(crate) name: String,
        pub(crate) r#type: String,
        pub(crate) options: Vec<Setting>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Checks {
        pub(crate) readiness: Probe,
        pub(crate) liveness: Probe,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Probe {
        pub(crate) http_get: HttpGet,
        pub(crate) initial_delay_seconds: u32,
        pub(crate) period_seconds: u32,
        pub(crate) timeout_seconds: u32,
        pub(crate) failure_threshold: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct HttpGet {
        pub(crate) path: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Resources {
        pub(crate) requests: BTreeMap<String, String>,
        pub(crate) limits: Option<BTreeMap<String, String>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Volume {
        pub(crate) name: String,
        pub(crate) persistent_volume_claim: Option<ClaimName>,
        pub(crate) empty_dir: Option<Empty>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct ClaimName {
        pub(crate) claim_name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Empty {}

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct VolumeMount {
        pub(crate) name: String,
        pub(crate) mount_path: String,
        #[serde(default)]
        pub(crate) read_only: bool,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct ClaimSpec {
        pub(crate) access_modes: Vec<String>,
        pub(crate) resources: Resources,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct JobSpec {
        pub(crate) backoff_limit: u32,
        pub(crate) template: PodTemplate,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct PodTemplate {
        pub(crate) spec: PodSpec,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct PodSpec {
        pub(crate) restart_policy: String,
        pub(crate) affinity: Affinity,
        pub(crate) init_containers: Vec<Container>,
        pub(crate) containers: Vec<Container>,
        pub(crate) volumes: Vec<Volume>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Container {
        pub(crate) name: String,
        pub(crate) image: String,
        pub(crate) args: Vec<String>,
        pub(crate) volume_mounts: Vec<VolumeMount>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Affinity {
        pub(crate) pod_affinity: PodAffinity,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct PodAffinity {
        pub(crate) preferred_during_scheduling_ignored_during_execution: Vec<Preference>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct Preference {
        pub(crate) weight: u32,
        pub(crate) pod_affinity_term: AffinityTerm,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct AffinityTerm {
        pub(crate) topology_key: String,
        pub(crate) label_selector: LabelSelector,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub(crate) struct LabelSelector {
        pub(crate) match_labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Compose {
        pub(crate) name: String,
        pub(crate) services: BTreeMap<String, Service>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Service {
        #[serde(default)]
        pub(crate) profiles: Vec<String>,
        pub(crate) image: String,
        #[serde(default)]
        pub(crate) command: Vec<String>,
        #[serde(default)]
        pub(crate) environment: BTreeMap<String, String>,
        pub(crate) volumes: Vec<String>,
        pub(crate) network_mode: String,
        pub(crate) restart: String,
        #[serde(default)]
        pub(crate) ulimits: BTreeMap<String, u32>,
        pub(crate) healthcheck: Option<HealthCheck>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct HealthCheck {
        pub(crate) test: Vec<String>,
        pub(crate) interval: String,
        pub(crate) timeout: String,
    }
}

/// A path in the repository.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The documents of a file in `deploy/`.
#[track_caller]
fn read<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let text = std::fs::read_to_string(root("deploy").join(file)).expect("a file");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[track_caller]
fn manifest() -> Manifest {
    Manifest::read(&root("spin.toml")).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The one SpinApp of a file.
#[track_caller]
fn spin_app(file: &str) -> SpinAppSpec {
    let apps = read(file)
        .into_iter()
        .filter_map(|document| match document {
            Document::SpinApp(app) => {
                assert_eq!(app.api_version, "core.spinkube.dev/v1alpha1", "{file}");
                assert_eq!(app.metadata.name, "flow-window", "{file}");
                Some(app.spec)
            }
            _ => None,
        });
    let mut apps: Vec<_> = apps.collect();
    assert_eq!(apps.len(), 1, "{file}: {apps:#?}");
    apps.remove(0)
}

/// The options of an app's one database, which is the manifest's.
#[track_caller]
fn database<'a>(app: &'a SpinAppSpec, kind: &str) -> BTreeMap<&'a str, &'a schema::Setting> {
    let manifest = manifest();
    let (_, component) = manifest.component().expect("a component");
    let [database] = app.runtime_config.sqlite_databases.as_slice() else {
        panic!("{app:#?}");
    };
    assert_eq!(component.sqlite_databases, [database.name.as_str()]);
    assert_eq!(
        (database.name.as_str(), &*database.r#type),
        ("default", kind)
    );
    let options = database.options.iter();
    options
        .map(|option| (option.name.as_str(), option))
        .collect()
}

/// The keys of the Secret beside the SpinApps, with what stands in for their values.
#[track_caller]
fn secret() -> BTreeMap<String, String> {
    let mut documents = read("spinkube/secret.yaml");
    match (documents.pop(), documents.is_empty()) {
        (Some(Document::Secret(secret)), true) => {
            assert_eq!((&*secret.api_version, &*secret.r#type), ("v1", "Opaque"));
            assert_eq!(secret.metadata.name, "flow-window");
            secret.string_data
        }
        other => panic!("{other:#?}"),
    }
}

#[track_caller]
fn assert_in_secret(source: Option<&ValueFrom>) {
    let source = &source.expect("a value from a Secret").secret_key_ref;
    assert_eq!(source.name, "flow-window");
    let secret = secret();
    assert!(secret.contains_key(&source.key), "{source:?} {secret:?}");
}

/// The claim that is mounted at `path`.
#[track_caller]
fn claim_at<'a>(path: &str, mounts: &[schema::VolumeMount], volumes: &'a [Volume]) -> &'a str {
    let mount = mounts.iter().find(|mount| mount.mount_path == path);
    let mount = mount.unwrap_or_else(|| panic!("nothing at {path}: {mounts:?}"));
    assert!(!mount.read_only, "{mount:?}");
    let volume = volumes.iter().find(|volume| volume.name == mount.name);
    let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
    let claim = claim.unwrap_or_else(|| panic!("no claim for {mount:?}: {volumes:?}"));
    &claim.claim_name
}

/// The values of an option in a unit file.
fn unit<'a>(unit: &'a str, option: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(name, _)| *name == option);
    values.map(|(_, value)| value).collect()
}

/// The value behind an option of a command.
#[track_caller]
fn argument<'a>(command: &[&'a str], option: &str) -> &'a str {
    let at = command.iter().position(|word| *word == option);
    let value = at.and_then(|at| command.get(at + 1));
    value.unwrap_or_else(|| panic!("no {option}: {command:?}"))
}

/// The command of the unit, without the program.
#[track_caller]
fn command() -> Vec<&'static str> {
    let (_, command) = UNIT
        .split_once("ExecStart=/usr/local/bin/spin ")
        .expect("a command");
    let mut words = Vec::new();
    for line in command.lines() {
        words.extend(line.trim_end_matches('\\').split_whitespace());
        if !line.ends_with('\\') {
            break;
        }
    }
    words
}

#[track_caller]
fn compose() -> Compose {
    let mut documents: Vec<Compose> = read("compose/compose.yaml");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The text between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = text.split_once(before);
    let found = found.and_then(|(_, rest)| rest.split_once(after));
    found
        .unwrap_or_else(|| panic!("no {before}…{after}: {text}"))
        .0
}

#[test]
fn a_spin_app_sets_variables_that_the_manifest_has_and_its_token_comes_from_the_secret() {
    let manifest = manifest();
    for file in ["spinkube/libsql.yaml", "spinkube/volume.yaml"] {
        let app = spin_app(file);
        assert_eq!(app.executor, "containerd-shim-spin");
        for variable in &app.variables {
            let known = manifest.variables.contains_key(&variable.name);
            assert!(known, "{file}: {variable:?}");
            let set = [variable.value.is_some(), variable.value_from.is_some()];
            assert!(set == [true, false] || set == [false, true], "{variable:?}");
        }
        let token = app.variables.iter().find(|it| it.name == "api_token");
        assert_in_secret(token.expect("a token").value_from.as_ref());
    }
}

#[test]
fn replicas_share_a_libsql_server_whose_token_comes_from_the_secret() {
    let app = spin_app("spinkube/libsql.yaml");
    assert!(app.replicas > 1 && app.volumes.is_empty(), "{app:#?}");
    let options = database(&app, "libsql");
    assert!(options.keys().eq(["token", "url"].iter()), "{options:?}");
    let url = options["url"].value.as_deref().expect("a URL");
    assert!(url.starts_with("http"), "{url}");
    assert_in_secret(options["token"].value_from.as_ref());
}

#[test]
fn one_replica_has_the_file_that_the_job_loads() {
    let file = "spinkube/volume.yaml";
    let app = spin_app(file);
    assert_eq!(app.replicas, 1);
    let options = database(&app, "spin");
    assert!(options.keys().eq(["path"].iter()), "{options:?}");
    let path = options["path"].value.as_deref().expect("a path");
    let (folder, _) = path.rsplit_once('/').expect("a folder");
    let claim = claim_at(folder, &app.volume_mounts, &app.volumes);

    let (mut claims, mut jobs) = (Vec::new(), Vec::new());
    for document in read(file) {
        match document {
            Document::PersistentVolumeClaim(claim) => claims.push(claim),
            Document::Job(job) => jobs.push(job),
            Document::SpinApp(_) => {}
            Document::Secret(_) => panic!("{document:#?}"),
        }
    }
    let ([volume], [job]) = (claims.as_slice(), jobs.as_slice()) else {
        panic!("{claims:#?} {jobs:#?}");
    };
    assert_eq!(
        (&*volume.api_version, &*volume.metadata.name),
        ("v1", claim)
    );
    assert_eq!(volume.spec.access_modes, ["ReadWriteOnce"]);

    assert_eq!(job.api_version, "batch/v1");
    let pod: &PodSpec = &job.spec.template.spec;
    let ([fetch], [load]) = (pod.init_containers.as_slice(), pod.containers.as_slice()) else {
        panic!("{pod:#?}");
    };
    assert_eq!(claim_at(folder, &load.volume_mounts, &pod.volumes), claim);
    let words = |container: &Container| container.args.clone();
    let (fetch, load) = (words(fetch), words(load));
    let fetch: Vec<_> = fetch.iter().map(String::as_str).collect();
    assert_eq!(load, ["load", "--db", path, argument(&fetch, "--output")]);
    let preferred = &pod
        .affinity
        .pod_affinity
        .preferred_during_scheduling_ignored_during_execution;
    let term = &preferred[0].pod_affinity_term;
    assert_eq!(term.topology_key, "kubernetes.io/hostname");
    assert_eq!(
        term.label_selector.match_labels["core.spinkube.dev/app-name"],
        "flow-window"
    );
}

#[test]
fn readiness_asks_for_the_database_and_liveness_does_not() {
    assert!(ROUTES.iter().any(|route| route.path == READINESS));
    for file in ["spinkube/libsql.yaml", "spinkube/volume.yaml"] {
        let Checks {
            readiness,
            liveness,
        } = spin_app(file).checks;
        let paths = (&*readiness.http_get.path, &*liveness.http_get.path);
        assert_eq!(paths, (READINESS, LIVENESS), "{file}");
        // As long as the service waits for a lock, and a second more.
        assert!(readiness.timeout_seconds > 5, "{readiness:?}");
    }
    let absent = Database::absent();
    let server: TestServer = absent.serve_with(&[("api_token", "secret")]);
    get(server.address(), READINESS).with_status(503);
    get(server.address(), LIVENESS).ok();
    let server = Database::generated(10).serve_with(&[("api_token", "secret")]);
    get(server.address(), READINESS).ok();
}

#[test]
fn a_token_that_nobody_has_set_keeps_the_service_closed() {
    let in_secret = secret()["api-token"].clone();
    let in_file = between(ENVIRONMENT, "SPIN_VARIABLE_API_TOKEN=\"", "\"\n");
    for token in [in_secret.as_str(), in_file] {
        let server = Database::generated(10).serve_with(&[("api_token", token)]);
        get(server.address(), FLOWS).with_status(503);
    }
}

#[test]
fn the_unit_and_compose_run_the_same_command() {
    let (command, compose) = (command(), compose());
    let service = &compose.services["flow-window"];
    assert_eq!(service.command, command);
    assert_eq!(command[0], "up");

    let state = format!("/var/lib/{}", unit(UNIT, "StateDirectory")[0]);
    assert_eq!(argument(&command, "--state-dir"), state);
    let config = root("deploy/runtime-config.toml");
    let location = database_location(&root("spin.toml"), None, Some(&config));
    let Ok(DatabaseLocation::File { path }) = location else {
        panic!("{location:?}");
    };
    assert_eq!(path.parent(), Some(Path::new(&state)));

    let limit: u32 = unit(UNIT, "LimitNOFILE")[0].parse().expect("a number");
    assert_eq!(service.ulimits["nofile"], limit);

    let (folder, name) = argument(&command, "--from")
        .rsplit_once('/')
        .expect("a folder");
    assert_eq!(name, "spin.toml");
    let manifest = manifest();
    let (_, component) = manifest.component().expect("a component");
    let component = Path::new(folder).join(&component.source);
    for mounted in [
        argument(&command, "--from"),
        argument(&command, "--runtime-config-file"),
        &state,
        component.parent().and_then(Path::to_str).expect("a folder"),
    ] {
        let is_target = |volume: &String| {
            volume
                .trim_end_matches(":ro")
                .ends_with(&format!(":{mounted}"))
        };
        assert!(
            service.volumes.iter().any(is_target),
            "{mounted}: {service:#?}"
        );
    }
}

#[test]
fn the_unit_and_compose_set_variables_that_the_manifest_has() {
    let manifest = manifest();
    let lines = ENVIRONMENT.lines().filter(|line| !line.starts_with('#'));
    let in_file = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned());
    let compose = compose();
    let service = &compose.services["flow-window"];
    for name in in_file.chain(service.environment.keys().cloned()) {
        let variable = name.strip_prefix("SPIN_VARIABLE_").expect("a variable");
        assert!(
            manifest.variables.contains_key(&variable.to_lowercase()),
            "{name}"
        );
    }
}

#[test]
fn the_proxies_lead_to_the_port_of_the_unit_below_one_prefix() {
    let service = argument(&command(), "--listen");
    assert_eq!(between(LOCATION, "proxy_pass http://", "/;"), service);
    assert_eq!(between(CADDY, "reverse_proxy ", " {"), service);

    let prefix = between(LOCATION, "location ", " {");
    assert_eq!(between(CADDY, "handle_path ", "* {"), prefix);
    let port = between(NGINX, "listen ", ";");
    assert_eq!(between(CADDY, "\n:", " {"), port);

    let health = format!(
        "http://127.0.0.1:{port}{}{READINESS}",
        prefix.trim_end_matches('/')
    );
    let compose = compose();
    let included = between(NGINX, "include ", ";");
    for (name, target) in [
        ("nginx", included),
        ("nginx", "/etc/nginx/conf.d/default.conf"),
        ("caddy", "/etc/caddy/Caddyfile"),
    ] {
        let proxy = &compose.services[name];
        assert_eq!(proxy.profiles, [name]);
        let check = proxy.healthcheck.as_ref().expect("a check");
        assert_eq!(check.test.last(), Some(&health));
        let mounts = &proxy.volumes;
        assert!(
            mounts
                .iter()
                .any(|it| it.ends_with(&format!(":{target}:ro"))),
            "{target}: {mounts:?}"
        );
    }
}

#[test]
fn compose_mounts_files_that_are_there() {
    for (name, service) in compose().services {
        // The addresses in the proxies' files are those of the host.
        assert_eq!(service.network_mode, "host", "{name}");
        for volume in service.volumes {
            let (source, _) = volume.rsplit_once(":/").expect("a target");
            let exists = root("deploy/compose").join(source).exists();
            assert!(exists || source.starts_with("${"), "{name}: {volume}");
        }
    }
}

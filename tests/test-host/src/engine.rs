//! wasmtime set up as Spin sets it up, and the component compiled once.
//!
//! Mirrors `crates/core/src/lib.rs` (`Config::default`): epoch interruption, the pooling allocator and
//! its sizes; and `crates/core/src/store.rs`: a deadline that never comes. What costs time there costs
//! time here.
//!
//! Spin 4.1 is built with wasmtime 47, the test host with 48. One difference is left to see: 48 takes Host
//! and the like out of the headers of a request, so that a guest knows the authority from the URI alone.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Cache, Config, Engine, PoolingAllocationConfig, Store};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::handler::{Proxy, ProxyPre};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};
use wasmtime_wasi_http::{p2, p3};

use crate::manifest::Manifest;
use crate::sqlite::{self, Database, Databases};
use crate::variables::{self, Variables};

/// Instances alive at once, unless `SPIN_WASMTIME_INSTANCE_COUNT` says otherwise in Spin.
const MAX_INSTANCES: u32 = 1000;

/// An application: its manifest and its component, compiled.
#[derive(Clone)]
pub struct App {
    /// The manifest it was loaded from.
    pub manifest: Manifest,
    engine: Engine,
    component: Component,
    service: std::sync::Arc<ProxyPre<Host>>,
}

impl App {
    /// Reads the manifest at `path` and compiles the component it names.
    ///
    /// # Errors
    /// A manifest or wasm file that cannot be read, or a component that asks for an interface which the
    /// test host does not have.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with_instances(path, MAX_INSTANCES)
    }

    /// Loads an application that has so many instances alive at once, at most.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_instances(path: &Path, instances: u32) -> Result<Self> {
        let manifest = Manifest::read(path)?;
        let (_, component) = manifest.component()?;
        let source = path
            .parent()
            .unwrap_or(Path::new("."))
            .join(&component.source);
        let engine = Engine::new(&config(instances)?)?;
        let component = Component::from_file(&engine, &source)
            .map_err(anyhow::Error::from)
            .with_context(|| {
                format!(
                    "cannot load {}; has the component been built?",
                    source.display()
                )
            })?;
        let pre = linker(&engine)?.instantiate_pre(&component)?;
        // `crates/http/src/trigger.rs`, `HandlerType::from_instance_pre`
        let service = match p2::bindings::ProxyPre::new(pre.clone()) {
            Ok(proxy) => ProxyPre::P2(proxy),
            Err(_) => ProxyPre::P3(p3::bindings::ServicePre::new(pre)?),
        };
        tick(&engine);
        Ok(Self {
            manifest,
            engine,
            component,
            service: std::sync::Arc::new(service),
        })
    }

    /// Whether the component is one of WASI 0.2, which gets an instance for each request.
    pub(crate) fn is_p2(&self) -> bool {
        matches!(*self.service, ProxyPre::P2(_))
    }

    /// Everything that the component imports, one line a function: its interface and its name.
    ///
    /// An interface that is imported for its types alone is a line of its own.
    pub fn imports(&self) -> Vec<String> {
        let imports = self.component.component_type();
        let mut lines = Vec::new();
        for (interface, import) in imports.imports(&self.engine) {
            let before = lines.len();
            if let ComponentItem::ComponentInstance(instance) = import.ty {
                let functions = instance.exports(&self.engine);
                let functions = functions
                    .filter(|(_, export)| matches!(export.ty, ComponentItem::ComponentFunc(_)));
                lines.extend(functions.map(|(name, _)| format!("{interface} {name}")));
            }
            if lines.len() == before {
                lines.push(interface.to_owned());
            }
        }
        lines
    }

    /// Makes an instance of the component with a store of its own.
    pub(crate) async fn instantiate(
        &self,
        database: &Database,
        variables: &Variables,
        log: Option<&MemoryOutputPipe>,
    ) -> wasmtime::Result<(Store<Host>, Proxy)> {
        let (_, component) = self
            .manifest
            .component()
            .map_err(wasmtime::Error::from_anyhow)?;
        let labels = component.sqlite_databases.iter();
        let allowed = labels
            .map(|label| (label.clone(), database.clone()))
            .collect();
        let mut store = Store::new(&self.engine, Host::new(allowed, variables.clone(), log));
        store.set_epoch_deadline(u64::MAX / 2);
        let proxy = self.service.instantiate_async(&mut store).await?;
        Ok((store, proxy))
    }
}

/// Everything of the pool is sized by the number of instances.
fn config(instances: u32) -> Result<Config> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_tables(2 * instances)
        .total_stacks(instances)
        .total_core_instances(4 * instances)
        .table_elements(100_000)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_core_instances_per_component(200)
        .max_tables_per_component(64)
        .max_memories_per_component(32)
        .max_tables_per_module(2)
        .max_memories_per_module(2)
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(1 << 19);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .allocation_strategy(pool)
        .cache(Some(Cache::from_file(None)?));
    Ok(config)
}

/// What a guest may import: Spin's interfaces, requests, and what Rust's standard library asks for.
///
/// Spin has files, sockets and outgoing requests as well. Here they are left out: no guest of the test host
/// imports them, and to compile what links them took half of the test host's own build.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
    use wasmtime_wasi::p2::bindings::{cli, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};

    let mut linker = Linker::new(engine);
    let l = &mut linker;
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(l)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Host::cli)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, Host::random)?;
    wasmtime_wasi::p3::clocks::add_to_linker(l)?;
    p2::add_only_http_to_linker_async(l)?;
    p3::add_to_linker(l)?;
    sqlite::add_to_linker(l, |host: &mut Host| &mut host.databases)?;
    variables::add_to_linker(l, |host: &mut Host| &mut host.variables)?;
    Ok(linker)
}

/// Advances the engine's epoch every 10 ms for as long as the engine lives, as Spin does.
fn tick(engine: &Engine) {
    let weak = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
}

/// What one instance has of the host.
pub(crate) struct Host {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: NoOutgoingRequests,
    table: ResourceTable,
    databases: Databases,
    variables: Variables,
}

impl Host {
    fn new(
        allowed: Vec<(String, Database)>,
        variables: Variables,
        log: Option<&MemoryOutputPipe>,
    ) -> Self {
        let mut wasi = WasiCtxBuilder::new();
        wasi.inherit_stdout().inherit_stderr();
        if let Some(log) = log {
            wasi.stderr(log.clone());
        }
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: NoOutgoingRequests,
            table: ResourceTable::new(),
            databases: Databases::new(allowed),
            variables,
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// The manifest allows no outgoing request, so each is refused.
struct NoOutgoingRequests;

type HttpResult<T> = Result<T, wasmtime_wasi_http::Error>;
type Sending = Box<dyn Future<Output = HttpResult<()>> + Send>;
type Body = wasmtime_wasi_http::WasiBody;

impl WasiHttpHooks for NoOutgoingRequests {
    /// What a guest writes at once leaves as one chunk: wasmtime 47, which Spin 4.1 is built with, knows
    /// no limit.
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        usize::MAX
    }

    fn send_request(
        &mut self,
        _: http::Request<Body>,
        _: Option<wasmtime_wasi_http::RequestOptions>,
        _: Sending,
    ) -> Box<dyn Future<Output = HttpResult<(http::Response<Body>, Sending)>> + Send> {
        Box::new(async { Err(wasmtime_wasi_http::Error::HttpRequestDenied) })
    }
}

/// Variables given by the environment: `SPIN_VARIABLE_NAME` sets `name` (`crates/variables-env`).
///
/// A name that is not all upper case is not looked for by Spin either. The file `.env`, which Spin reads
/// too, is left out.
pub fn variables_from_environment() -> HashMap<String, String> {
    let given = std::env::vars_os();
    given
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter_map(|(name, value)| {
            let name = name.strip_prefix("SPIN_VARIABLE_")?;
            let upper = !name.contains(|c: char| c.is_ascii_lowercase());
            upper.then(|| (name.to_ascii_lowercase(), value))
        })
        .collect()
}

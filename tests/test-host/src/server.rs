//! The listener: requests go to reused instances of the component, failed bodies abort the connection.
//!
//! Mirrored from Spin 4.1:
//! - an instance of a component of WASI 0.2 serves one request; what it has sent of a body stays in flight when it
//!   ends, and a body that it leaves behind ends as if it were complete (`wasi.rs`, `WasiHttpExecutor`);
//! - an instance of one of WASI 0.3 serves up to 128 requests and is dropped after 1 s idle; it is given no further request
//!   while 16 are without an answer, but a body that is still being sent counts for nothing
//!   (`crates/trigger-http/src/lib.rs`, `DEFAULT_WASIP3_MAX_INSTANCE_REUSE_COUNT` and below);
//! - a request carries Spin's own headers (`crates/trigger-http/src/headers.rs`);
//! - one without Host, or whose URI names another authority, loses its connection without an answer
//!   (`server.rs`, `set_req_uri`: its error leaves through the `service_fn`, and hyper hangs up);
//! - a handler that fails before it answers makes a 500 without a body (`server.rs`, `internal_error`);
//! - a body that ends in an error makes hyper drop the connection; a trap ends it as if it were
//!   complete (`wasmtime-wasi-http`, `p3::body::GuestBody`);
//! - no TCP_NODELAY, no compression (`server.rs`, `serve_http`, `serve_connection`).
//!
//! Left out: the page `/.well-known/spin/info`, hosts under `.spin.internal`, TLS, the settings of reuse.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ProxyHandler, ShouldAccept, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as WasiScheme;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

pub use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::engine::{App, Host};
use crate::sqlite::Database;
use crate::variables::Variables;

const REQUESTS_PER_INSTANCE: usize = 128;
const CONCURRENT_REQUESTS_PER_INSTANCE: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// What one server is started with.
#[derive(Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The component's database.
    pub database: Database,
    /// Application variables, over the manifest's defaults.
    pub variables: HashMap<String, String>,
    /// Takes what the component logs, instead of this process's standard error.
    pub log: Option<MemoryOutputPipe>,
}

/// A running server; dropping it closes the listener and breaks off what is under way, without waiting.
///
/// Instances and connections go in any order, as they do when Spin is told to stop: a body whose instance
/// goes first can still end as if it were complete.
pub struct Server {
    address: SocketAddr,
    database: Database,
    closing: Arc<AtomicBool>,
    started: Arc<AtomicUsize>,
    trapped: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Listens and serves on threads of its own.
    ///
    /// # Errors
    /// An address that cannot be bound, or a required variable without a value.
    pub fn start(app: App, settings: Settings) -> Result<Self> {
        let variables = app.manifest.component_variables(&settings.variables)?;
        let database = settings.database;
        let closing = Arc::<AtomicBool>::default();
        let started = Arc::<AtomicUsize>::default();
        let trapped = Arc::<AtomicUsize>::default();
        let component = Component {
            app,
            database: database.clone(),
            variables: Variables(Arc::new(variables)),
            log: settings.log,
            closing: closing.clone(),
            started: started.clone(),
            trapped: trapped.clone(),
        };
        let handler = if component.app.is_p2() {
            Handler::P2(Arc::new(component))
        } else {
            Handler::P3(ProxyHandler::new(component))
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(settings.listen))
            .with_context(|| format!("cannot listen on {}", settings.listen))?;
        let address = listener.local_addr()?;
        runtime.spawn(serve(listener, handler));
        Ok(Self {
            address,
            database,
            closing,
            started,
            trapped,
            runtime: Some(runtime),
        })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database it serves from.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Instances that have been made so far.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Instances that have ended in a trap so far.
    pub fn trapped(&self) -> usize {
        self.trapped.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Who answers requests.
#[derive(Clone)]
enum Handler {
    P2(Arc<Component>),
    P3(ProxyHandler<Component>),
}

async fn serve(listener: TcpListener, handler: Handler) {
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Out of descriptors, say: what is open will close. Spin gives up serving here.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(handler.clone(), client, request));
            let served = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                eprintln!("connection to {client}: {error:?}");
            }
        });
    }
}

async fn answer(
    handler: Handler,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<WasiBody>> {
    match request.uri().path().strip_prefix("/.well-known/spin/") {
        Some("health") => return Ok(whole(StatusCode::OK, "OK")),
        Some(_) => return Ok(whole(StatusCode::NOT_FOUND, "")),
        None => {}
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(http::header::CONNECTION);
    // An error here is no answer: hyper closes the connection.
    parts.uri = absolute(parts.uri, &parts.headers)?;
    let answered = match add_spin_headers(&mut parts.headers, &parts.uri, client) {
        Ok(()) => {
            let body = body.map_err(Into::into).boxed_unsync();
            let request = Request::from_parts(parts, body);
            match handler {
                Handler::P2(component) => component.answer_p2(request).await,
                Handler::P3(handler) => handler.handle((), request).await.map_err(Into::into),
            }
        }
        Err(error) => Err(error),
    };
    Ok(answered.unwrap_or_else(|error: anyhow::Error| {
        eprintln!("error processing request: {error:?}");
        whole(StatusCode::INTERNAL_SERVER_ERROR, "")
    }))
}

fn whole(status: StatusCode, body: &'static str) -> Response<WasiBody> {
    let mut response = Response::new(Full::from(body).map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// Gives a request's URI a scheme and the authority that Host or the URI itself names.
fn absolute(uri: Uri, headers: &HeaderMap) -> Result<Uri> {
    let host = headers.get(http::header::HOST).map(HeaderValue::to_str);
    let host = host.transpose()?.map(str::parse::<Authority>).transpose()?;
    let mut parts = uri.into_parts();
    match (&host, &parts.authority) {
        (None, None) => bail!("no 'Host' header present in request"),
        (Some(host), Some(authority)) => ensure!(
            host == authority,
            "'Host' header and the URI's authority differ"
        ),
        _ => {}
    }
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = host.or(parts.authority);
    Ok(Uri::from_parts(parts)?)
}

fn add_spin_headers(headers: &mut HeaderMap, uri: &Uri, client: SocketAddr) -> Result<()> {
    for value in headers.values() {
        std::str::from_utf8(value.as_bytes())?;
    }
    // HTTP/2 has no Host, and then Spin calls itself localhost here.
    let host = headers.get(http::header::HOST).map(HeaderValue::to_str);
    let host = host.transpose()?.unwrap_or("localhost");
    let path_and_query = uri.path_and_query().map_or("/", |p| p.as_str());
    let added = [
        ("spin-path-info", uri.path().to_owned()),
        ("spin-full-url", format!("http://{host}{path_and_query}")),
        ("spin-matched-route", "/...".to_owned()),
        ("spin-base-path", "/".to_owned()),
        ("spin-raw-component-route", "/...".to_owned()),
        ("spin-component-route", String::new()),
        ("spin-client-addr", client.to_string()),
    ];
    for (name, value) in added {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(&value)?,
        );
    }
    Ok(())
}

/// Makes instances.
struct Component {
    app: App,
    database: Database,
    variables: Variables,
    log: Option<MemoryOutputPipe>,
    closing: Arc<AtomicBool>,
    started: Arc<AtomicUsize>,
    trapped: Arc<AtomicUsize>,
}

impl Component {
    async fn instantiate_one(&self) -> wasmtime::Result<(Store<Host>, Proxy)> {
        let instance = self
            .app
            .instantiate(&self.database, &self.variables, self.log.as_ref())
            .await?;
        self.started.fetch_add(1, Ordering::SeqCst);
        Ok(instance)
    }

    /// Answers a request by an instance of its own, which goes on until the body has been written.
    async fn answer_p2(&self, request: Request<WasiBody>) -> Result<Response<WasiBody>> {
        let (mut store, proxy) = self.instantiate_one().await?;
        let Proxy::P2(proxy) = proxy else {
            bail!("the component is none of WASI 0.2");
        };
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(WasiScheme::Http, request)?;
        let (sender, response) = oneshot::channel();
        let out = http.new_response_outparam(sender)?;
        let (closing, trapped) = (self.closing.clone(), self.trapped.clone());
        let running = tokio::spawn(async move {
            let handler = proxy.wasi_http_incoming_handler();
            let result = handler.call_handle(&mut store, request, out).await;
            if let Err(error) = &result
                && !closing.load(Ordering::Relaxed)
            {
                trapped.fetch_add(1, Ordering::SeqCst);
                eprintln!("guest invocation failed: {error:?}");
            }
            result
        });
        match response.await {
            Ok(response) => Ok(response?),
            Err(_) => {
                running.await??;
                bail!("guest failed to produce a response prior to returning")
            }
        }
    }
}

impl HandlerState for Component {
    type StoreData = Host;
    type WorkerExpiration = IdleTimeout;
    type WorkerState = Reuse;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Host, IdleTimeout, Reuse>> {
        let (store, proxy) = self.instantiate_one().await?;
        Ok(Instance {
            store,
            proxy,
            view: Host::http,
            expiration: IdleTimeout(Box::pin(tokio::time::sleep(Duration::ZERO))),
            state: Reuse {
                closing: self.closing.clone(),
                trapped: self.trapped.clone(),
            },
        })
    }
}

/// Ends an instance that has been idle for [`IDLE_TIMEOUT`]; requests have no time limit.
struct IdleTimeout(Pin<Box<tokio::time::Sleep>>);

impl WorkerExpiration for IdleTimeout {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            return Poll::Pending;
        }
        let deadline = (start + IDLE_TIMEOUT).into();
        if self.0.deadline() != deadline {
            self.0.as_mut().reset(deadline);
        }
        ready!(self.0.as_mut().poll(context));
        Poll::Ready(())
    }
}

/// How often and by how many requests at once an instance is used.
struct Reuse {
    closing: Arc<AtomicBool>,
    trapped: Arc<AtomicUsize>,
}

impl WorkerState for Reuse {
    type StoreData = Host;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= REQUESTS_PER_INSTANCE {
            ShouldAccept::Never
        } else if concurrent >= CONCURRENT_REQUESTS_PER_INSTANCE {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Host>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<Host>, result: wasmtime::Result<()>) {
        // An instance that is cut off by the server's end looks like a panic here.
        if let Err(error) = result
            && !self.closing.load(Ordering::Relaxed)
        {
            self.trapped.fetch_add(1, Ordering::SeqCst);
            eprintln!("worker failed: {error:?}");
        }
        drop(store);
    }
}

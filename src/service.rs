//! The service of one instance: its settings, and what it knows of its database.

use crate::db::Database;
use crate::db::readiness::Readiness;
use crate::formats::Format;
use crate::http::access_log::RequestLine;
use crate::http::negotiate::FormatPreference;
use crate::http::problem::Problem;
use crate::http::request::{Request, RequestContext, header};
use crate::http::response::{Logged, Response};
use crate::http::{cors, routes};
use crate::settings::{Settings, SettingsError};

/// The service of one instance. Requests may share it.
pub struct Service<D: Database> {
    settings: Settings,
    readiness: Readiness<D>,
}

impl<D: Database> Service<D> {
    /// A service over a database that has not been checked.
    pub fn new(database: D, settings: Settings) -> Self {
        Self {
            settings,
            readiness: Readiness::new(database),
        }
    }

    /// Answers a request.
    pub async fn handle(&self, request: &impl Request) -> Logged<D> {
        respond(Ok(self), request).await
    }
}

/// Answers a request where the settings cannot be read.
pub async fn refuse<D: Database>(error: SettingsError, request: &impl Request) -> Logged<D> {
    respond(Err(error), request).await
}

async fn respond<D: Database>(
    service: Result<&Service<D>, SettingsError>,
    request: &impl Request,
) -> Logged<D> {
    let method = request.method();
    let target = request.target();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let accept = header(request, "accept").filter(|accept| !accept.trim().is_empty());
    let extension = path.rsplit_once('.').map(|(_, name)| name);
    let preference = FormatPreference {
        extension: extension.and_then(Format::from_name),
        accept: accept.as_deref(),
    };
    let is_logged = service
        .as_ref()
        .is_ok_and(|service| service.settings.log_requests);
    let line = RequestLine::new(&method, path, query, is_logged);
    let (result, cors) = match service {
        Ok(Service {
            settings,
            readiness,
        }) => {
            let context = RequestContext {
                request,
                path,
                query,
                preference,
                settings,
                readiness,
            };
            let result = routes::dispatch(&method, context).await;
            (result, cors::headers(settings))
        }
        Err(error) => (Err(Problem::from(error)), Vec::new()),
    };
    let mut response = result.unwrap_or_else(|problem| {
        if problem.status() >= 500 {
            line.failed(&problem);
        }
        Response::problem(&problem, preference.wants_xml(query))
    });
    response.headers.extend(cors);
    Logged {
        response: response.finish(method == "HEAD"),
        line,
    }
}

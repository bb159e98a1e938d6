//! The flows of a file: asked for until they are all there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Error, Result, anyhow};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::runtime::{self, Runtime};

use super::part::PartFile;
use super::progress::Progress;
use super::state::{Folder, StoredFile};
use super::{Pull, token, wait};

/// The first pause before another try; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Redirects that are followed, one behind the other.
const REDIRECTS: usize = 10;

/// Bytes of a problem that are read.
const PROBLEM_BYTES: usize = 64 * 1024;

/// The flows of a file, on the disk.
pub(super) struct Portion {
    /// `None` where there is no flow.
    pub(super) file: Option<StoredFile>,
    /// Every flow up to this id is there.
    pub(super) watermark: i64,
    pub(super) lineage: String,
    /// Whether the service has more flows.
    pub(super) more: bool,
}

/// Why a portion has not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may come when it is asked for again, after this time at least.
    Again(Error, Option<Duration>),
    /// It will not come.
    Final(Error),
    /// The flows that it follows are no longer those of the service.
    Gone(Error),
    /// The service has less than what was pulled, under the same lineage. It may catch up.
    Behind(Error),
    /// The pull has to end.
    Stopped,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The service, as one pull asks it.
pub(super) struct Service {
    runtime: Runtime,
    client: Client,
    request: Pull,
    token: Option<String>,
}

impl Service {
    /// Prepares to ask.
    ///
    /// # Errors
    /// A token that cannot be read, or a URL that is no base of others.
    pub(super) fn new(request: &Pull) -> Result<Self> {
        if !["http", "https"].contains(&request.url.scheme()) {
            return Err(anyhow!("{} is no URL of http or https", request.url));
        }
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        let token = token(request)?;
        let url = &request.url;
        let has_secret = token.is_some() || !url.username().is_empty() || url.password().is_some();
        let redirects = match has_secret {
            true => Policy::custom(follow_in_origin),
            false => Policy::limited(REDIRECTS),
        };
        let client = Client::builder()
            .redirect(redirects)
            .connect_timeout(request.read_timeout)
            .read_timeout(request.read_timeout)
            .user_agent(concat!("flows/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot prepare to ask")?;
        Ok(Self {
            runtime,
            client,
            request: request.clone(),
            token,
        })
    }

    /// Fetches the next file of the folder.
    ///
    /// # Errors
    /// See [`Trouble`]. What can be tried again has been, as long as the request says.
    pub(super) fn fetch(
        &self,
        folder: &mut Folder,
        stop: &AtomicBool,
        progress: &mut Progress,
    ) -> Result<Portion, Trouble> {
        let Pull {
            format,
            gzip,
            max_rows,
            retry_for,
            ..
        } = self.request;
        let mut part = PartFile::create(folder, format, gzip)?;
        let mut lineage = folder.state.lineage.clone();
        let (mut since, mut pause) = (Instant::now(), FIRST_PAUSE);
        if progress.is_shown() {
            progress.begin(self.runtime.block_on(self.newest_id()));
        }
        // Every flow up to this id is in the part.
        let mut after_id = folder.state.watermark.unwrap_or(i64::MIN);
        loop {
            let before = after_id;
            let url = self.url_behind(after_id, max_rows - part.flows, lineage.as_deref())?;
            let asked = self.ask(url, folder, &mut part, &mut lineage, progress);
            let asked = self.runtime.block_on(asked);
            after_id = part.last_id().map_or(after_id, |last| last.max(after_id));
            // `last` makes of the error what it is once there is no time to try again.
            let (error, at_least, last): (_, _, fn(Error) -> Trouble) = match asked {
                // With filters the service looks at a million rows at a time.
                Ok((watermark, true))
                    if part.flows < max_rows
                        && watermark > before
                        && !stop.load(Ordering::Relaxed) =>
                {
                    (since, pause) = (Instant::now(), FIRST_PAUSE);
                    after_id = watermark;
                    continue;
                }
                Ok((watermark, true)) if part.flows == 0 && watermark <= before => {
                    return Err(anyhow!("the service has more flows and sends none").into());
                }
                Ok((watermark, more)) => {
                    let lineage = lineage.context("the service names no lineage of its flows")?;
                    progress.end(part.flows);
                    folder.begin(&lineage)?;
                    return Ok(Portion {
                        file: part.store(folder, &lineage)?,
                        watermark,
                        lineage,
                        more,
                    });
                }
                Err(Trouble::Again(error, at_least)) => (error, at_least, Trouble::Final),
                Err(Trouble::Behind(error)) => (error, None, Trouble::Behind),
                Err(trouble) => return Err(trouble),
            };
            // What has come is kept, and the rest is asked for.
            if after_id > before {
                (since, pause) = (Instant::now(), FIRST_PAUSE);
            }
            let left = retry_for.saturating_sub(since.elapsed());
            if left.is_zero() || at_least.is_some_and(|at_least| at_least > left) {
                return Err(last(error));
            }
            progress.say(format!("{error:#}; trying again"));
            let waited = at_least.unwrap_or_default().max(jitter(pause)).min(left);
            if !wait(waited, stop) {
                return Err(Trouble::Stopped);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The URL of a path under `/api/v1`.
    fn url(&self, path: &str) -> Result<Url> {
        let mut base = self.request.url.clone();
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        base.join(&format!("api/v1/{path}")).context("cannot ask")
    }

    /// Asks for a URL, with the token.
    async fn get(&self, url: Url) -> Result<Response, reqwest::Error> {
        let mut request = self.client.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await
    }

    /// The newest id of the service, if it tells.
    async fn newest_id(&self) -> Option<i64> {
        let mut response = self.get(self.url("extent").ok()?).await.ok()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.ok()? {
            body.extend_from_slice(&chunk);
            if body.len() > PROBLEM_BYTES {
                return None;
            }
        }
        let extent: serde_json::Value = serde_json::from_slice(&body).ok()?;
        extent["last_id"].as_i64()
    }

    /// The URL of the flows behind an id.
    fn url_behind(&self, after_id: i64, limit: u64, lineage: Option<&str>) -> Result<Url> {
        let format = self.request.format.of_response();
        let mut url = self.url(&format!("stream/flows.{format}"))?;
        let mut query = url.query_pairs_mut();
        query
            .extend_pairs(self.request.selection.parameters())
            .append_pair("after_id", &after_id.to_string())
            .append_pair("limit", &limit.to_string())
            .append_pair("end", "1");
        if let Some(lineage) = lineage {
            query.append_pair("lineage", lineage);
        }
        drop(query);
        Ok(url)
    }

    /// Asks once. Returns the id up to which the flows are there, and whether there are more.
    async fn ask(
        &self,
        url: Url,
        folder: &Folder,
        part: &mut PartFile,
        lineage: &mut Option<String>,
        progress: &Progress,
    ) -> Result<(i64, bool), Trouble> {
        part.begin_response();
        let mut response = self.get(url).await.map_err(trouble)?;
        if response.status() != StatusCode::OK {
            return Err(refused(response, lineage.is_some()).await);
        }
        let headers = response.headers();
        let header = |name: &str| text(headers, name);
        let more = headers.contains_key("link");
        let current = header("flow-lineage").ok_or_else(|| {
            anyhow!("edits of the service's table are not guarded, so that new flows cannot be told: `flows load` makes the guard")
        })?;
        let watermark: i64 = header("flow-watermark")
            .and_then(|id| id.parse().ok())
            .context("the service names no id up to which its flows are there")?;
        match lineage {
            Some(known) if *known != current => {
                return Err(Trouble::Gone(anyhow!(
                    "the lineage {known} has ended, it is {current}"
                )));
            }
            // Its flows would come a second time, under names that are taken.
            None if folder.has_files_of(&current) => {
                return Err(anyhow!(
                    "the folder has files of the lineage {current} already: ask one server, or pull into another folder"
                )
                .into());
            }
            _ => *lineage = Some(current),
        }
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => part.take(&chunk)?,
                Ok(None) => break,
                Err(error) => return Err(trouble(error)),
            }
            if progress.is_shown() {
                let first_id = part.first_id().map(|id| format!("{id}-"));
                let lineage = lineage.as_deref().unwrap_or_default();
                let file = format!("flows-{lineage}-{}", first_id.unwrap_or_default());
                progress.show(part.flows, &file, part.last_id());
            }
        }
        let end = part
            .end_of_response()
            .map_err(|error| Trouble::Again(error, None))?;
        if end.watermark != Some(watermark) {
            return Err(anyhow!(
                "the answer ends at {:?}, and began with {watermark}",
                end.watermark
            )
            .into());
        }
        Ok((watermark, more))
    }
}

/// Follows a redirect where a token or password may go. The client itself takes it out of the first request to another
/// server alone, not out of those that this one redirects to.
fn follow_in_origin(attempt: Attempt) -> Action {
    let is_other = attempt
        .previous()
        .first()
        .is_some_and(|asked| asked.origin() != attempt.url().origin());
    if is_other {
        let origin = attempt.url().origin().ascii_serialization();
        return attempt.error(format!(
            "a redirect leads to {origin}, which the token or password is not for"
        ));
    }
    Policy::limited(REDIRECTS).redirect(attempt)
}

/// What a connection that fails means.
fn trouble(error: reqwest::Error) -> Trouble {
    let is_final = error.is_builder() || error.is_redirect();
    let error = Error::new(error.without_url());
    match is_final {
        true => Trouble::Final(error),
        false => Trouble::Again(error, None),
    }
}

/// What a status other than 200 means, where a lineage was asked for or not.
async fn refused(mut response: Response, of_lineage: bool) -> Trouble {
    let status = response.status();
    let seconds = text(response.headers(), "retry-after").and_then(|text| text.parse().ok());
    let at_least = response
        .headers()
        .contains_key(RETRY_AFTER)
        .then(|| Duration::from_secs(seconds.unwrap_or(1)));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > PROBLEM_BYTES {
            break;
        }
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = match problem["detail"].as_str() {
        Some(detail) => anyhow!("the service says {status}: {detail}"),
        None => anyhow!("the service says {status}"),
    };
    match status {
        // One that names the id comes from a table of this lineage that has less: a replica that lags, or an older
        // copy. Any other is not the service's.
        StatusCode::GONE => match problem["parameter"].as_str() {
            Some("lineage") if of_lineage => Trouble::Gone(error),
            Some("after_id") => Trouble::Behind(error),
            _ => Trouble::Final(error),
        },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Trouble::Again(error, at_least)
        }
        status if status.is_server_error() => Trouble::Again(error, at_least),
        _ => Trouble::Final(error),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Between half and all of a pause, so that many pulls do not come back at the same time.
fn jitter(pause: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    pause / 2 + pause.mul_f64(f64::from(now.subsec_nanos() % 1_000) / 2_000.0)
}

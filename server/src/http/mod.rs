//! The endpoints. `docs/protocol.md` says the same in prose.

mod body;
mod error;
mod health;
mod limit;
mod live;
mod patience;
mod serve;
mod snapshot;
mod socket;
mod sync;
mod workspaces;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use driftline_core::protocol::{ACCOUNT_HEADER, account_of_headers};
use driftline_core::schema::Schema;
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{Semaphore, watch};

use crate::auth::{Keys, Role};
use crate::environment::Environment;
use crate::limits::ServerLimits;
use crate::problem::Problem;
use crate::store::WorkspaceName;
use crate::workspace::Registry;

pub(crate) use serve::serve;
pub use socket::{LocalEnd, LocalSocket};

/// What every endpoint works with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Arc<Registry>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) keys: Keys,
    pub(crate) limits: Arc<ServerLimits>,
    pub(crate) environment: Environment,
    pub(crate) stopping: watch::Sender<bool>,
    rate: limit::RateLimiter,
    requests: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    body_memory: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        registry: Arc<Registry>,
        schema: Arc<Schema>,
        keys: Keys,
        limits: Arc<ServerLimits>,
        environment: Environment,
    ) -> Shared {
        Shared {
            registry,
            schema,
            keys,
            environment,
            stopping: watch::Sender::new(false),
            rate: limit::RateLimiter::new(&limits),
            requests: Arc::new(Semaphore::new(limits.concurrent_requests)),
            sockets: Arc::new(Semaphore::new(limits.connections)),
            body_memory: Arc::new(Semaphore::new(limits.body_memory / body::MEMORY_UNIT)),
            limits,
        }
    }

    /// Counts a request against its device's rate; against its account's where it names no device.
    fn rate_of(&self, account: &str, device: &str) -> Result<(), Problem> {
        let now = self.environment.clock.monotonic();
        self.rate
            .take(account, device, now)
            .map_err(Problem::RateLimited)
    }
}

/// The routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/v1/version", get(health::version))
        .route("/v1/workspaces/{workspace}", put(workspaces::create))
        .route("/v1/workspaces/{workspace}/sync", post(sync::sync))
        .route(
            "/v1/workspaces/{workspace}/snapshot",
            get(snapshot::snapshot),
        )
        .route("/v1/workspaces/{workspace}/live", get(live::live))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
}

async fn nowhere(State(_): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    error::response(&Problem::NoAddress, body::answer_form(&headers))
}

async fn wrong_method(State(_): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    error::response(&Problem::WrongMethod, body::answer_form(&headers))
}

/// What a token allows in one workspace.
#[derive(Clone, Debug)]
struct Access {
    workspace: WorkspaceName,
    account: String,
    role: Role,
    /// When it stops holding (Unix milliseconds).
    until: i64,
}

/// Checks the request's token. A workspace that the token does not name is answered before it is
/// looked for, so the answer tells nothing of whether it exists.
fn access(shared: &Shared, headers: &HeaderMap, workspace: &str) -> Result<Access, Problem> {
    let token = bearer(headers)?;
    let verified = shared
        .keys
        .verify(token, shared.environment.clock.wall())
        .map_err(Problem::Unauthorized)?;
    let role = verified
        .workspaces
        .get(workspace)
        .copied()
        .ok_or(Problem::NotFound)?;
    let workspace = WorkspaceName::new(workspace).ok_or(Problem::NotFound)?;
    is_named(headers, &verified.account)?;
    Ok(Access {
        workspace,
        account: verified.account,
        role,
        until: verified.until,
    })
}

/// Whether the file that asks is of the token's account, where a header says whose it is.
fn is_named(headers: &HeaderMap, account: &str) -> Result<(), Problem> {
    let values = headers.get_all(ACCOUNT_HEADER).iter();
    let named = account_of_headers(values.map(HeaderValue::as_bytes))
        .map_err(|error| Problem::Malformed(error.to_string()))?;
    match named {
        Some(named) if named != account => Err(Problem::WrongAccount),
        _ => Ok(()),
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::Unauthorized(
            "expected one header Authorization: Bearer",
        ));
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token.trim())
    } else {
        Err(Problem::Unauthorized(
            "expected one header Authorization: Bearer",
        ))
    }
}

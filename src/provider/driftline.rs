//! The built-in provider: Driftline's own protocol over a [`Transport`].

use std::future::Future;
use std::sync::Arc;

use driftline_core::protocol::{self, Failure, Form, limits};

use super::{AuthTemplate, Live, Message, ProviderError, ProviderRequest, SyncProvider};
use crate::environment::BoxFuture;
use crate::transport::address::absolute;
use crate::transport::{Body, HttpRequest, HttpResponse, Transport, TransportError};

/// A failure's body explains; more of it explains nothing more.
const LARGEST_FAILURE: usize = 64 << 10;

/// The longest name of a workspace that the protocol knows.
const LONGEST_WORKSPACE: usize = 63;

/// What a server without a snapshot or a live socket answers there: HTTP's own word for it.
const NOT_IMPLEMENTED: u16 = 501;

/// Talks to a server of `docs/protocol.md`, be it `driftline serve` or another backend that speaks
/// it.
pub struct DriftlineProvider {
    transport: Arc<dyn Transport>,
    url: String,
    form: Form,
    auth: AuthTemplate,
}

impl DriftlineProvider {
    /// The server at `url`, such as `https://sync.example.com`, in the binary form.
    pub fn new(url: impl Into<String>, transport: Arc<dyn Transport>) -> DriftlineProvider {
        DriftlineProvider {
            transport,
            url: url.into(),
            form: Form::Cbor,
            auth: AuthTemplate::default(),
        }
    }

    /// The same in another form. In JSON nothing is compressed: a backend that was written by hand
    /// need not know zstd.
    #[must_use]
    pub fn with_form(mut self, form: Form) -> DriftlineProvider {
        self.form = form;
        self
    }

    /// The same with the token elsewhere.
    #[must_use]
    pub fn with_auth(mut self, auth: AuthTemplate) -> DriftlineProvider {
        self.auth = auth;
        self
    }

    /// Whether its address and the workspace's name make addresses that can be asked.
    pub(crate) fn check_address(&self, workspace: &str) -> Result<(), TransportError> {
        let unusable = |why: &str| TransportError::BadAddress(why.to_owned());
        if self.url.contains(['?', '#']) {
            return Err(unusable("it ends with a query or a fragment"));
        }
        absolute(&self.address(workspace, "sync"), false)?;
        let letter = |c: char| c.is_ascii_alphanumeric();
        let fits = workspace.len() <= LONGEST_WORKSPACE
            && workspace.starts_with(letter)
            && workspace
                .chars()
                .all(|c| letter(c) || matches!(c, '-' | '_'));
        match fits {
            true => Ok(()),
            false => Err(unusable(
                "a workspace's name in it is a letter or digit, then up to 62 letters, digits, - and _",
            )),
        }
    }

    fn address(&self, workspace: &str, endpoint: &str) -> String {
        format!(
            "{}/v1/workspaces/{workspace}/{endpoint}",
            self.url.trim_end_matches('/'),
        )
    }

    fn get(&self, endpoint: &str, query: &str, request: ProviderRequest) -> HttpRequest {
        let mut url = self.address(&request.workspace, endpoint);
        if !query.is_empty() {
            url = format!("{url}?{query}");
        }
        let mut headers = vec![("accept".to_owned(), self.form.content_type().to_owned())];
        headers.extend(request.auth);
        if self.takes_zstd() {
            headers.push(("accept-encoding".to_owned(), "zstd".to_owned()));
        }
        HttpRequest {
            method: "GET",
            url,
            headers,
            body: Vec::new(),
            idle_timeout_ms: request.idle_timeout_ms,
        }
    }

    /// The same, told whose file asks: no message says so.
    fn get_named(&self, endpoint: &str, query: &str, request: ProviderRequest) -> HttpRequest {
        let account = protocol::account_to_header(&request.account);
        let mut http = self.get(endpoint, query, request);
        if !account.is_empty() {
            let header = protocol::ACCOUNT_HEADER.to_owned();
            http.headers.push((header, account));
        }
        http
    }

    fn post(&self, mut request: ProviderRequest) -> HttpRequest {
        let message = std::mem::take(&mut request.message);
        let mut http = HttpRequest {
            method: "POST",
            body: message.bytes,
            ..self.get("sync", &listener(&request), request)
        };
        let mut header = |name: &str, value: &str| {
            http.headers.push((name.to_owned(), value.to_owned()));
        };
        header("content-type", self.form.content_type());
        if message.zstd {
            header("content-encoding", "zstd");
        }
        http
    }

    fn exchange(
        &self,
        request: ProviderRequest,
    ) -> impl Future<Output = Result<Message, ProviderError>> + Send + 'static {
        let form = self.form;
        let answer = self.transport.request(self.post(request));
        async move { read(answer.await?, form).await }
    }
}

impl SyncProvider for DriftlineProvider {
    fn auth(&self) -> AuthTemplate {
        self.auth.clone()
    }

    fn form(&self) -> Form {
        self.form
    }

    fn takes_zstd(&self) -> bool {
        self.form == Form::Cbor
    }

    fn push(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        Box::pin(self.exchange(request))
    }

    fn pull(&self, request: ProviderRequest) -> BoxFuture<Result<Message, ProviderError>> {
        Box::pin(self.exchange(request))
    }

    fn snapshot(
        &self,
        mut request: ProviderRequest,
    ) -> BoxFuture<Result<Box<dyn Body>, ProviderError>> {
        let query = request.resume.take().unwrap_or_default();
        let answer = self
            .transport
            .request(self.get_named("snapshot", &query, request));
        Box::pin(async move {
            let response = answer.await?;
            match response.status {
                200 => Ok(response.body),
                NOT_IMPLEMENTED => Err(ProviderError::NotOffered),
                _ => Err(failure(response).await),
            }
        })
    }

    fn subscribe(&self, request: ProviderRequest) -> BoxFuture<Result<Live, ProviderError>> {
        let form = match self.form {
            Form::Cbor => "",
            Form::Json => "form=json",
        };
        let parts = [form, &listener(&request)];
        let query: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let socket = self
            .transport
            .connect(self.get_named("live", &query.join("&"), request));
        Box::pin(async move {
            let (sender, receiver) = socket.await.map_err(refusal)?;
            Ok(Live {
                sender: Some(sender),
                receiver,
            })
        })
    }

    fn network_changed(&self) {
        self.transport.forget_connections();
    }
}

/// The part of a query that names the device's live socket.
fn listener(request: &ProviderRequest) -> String {
    match request.listener {
        0 => String::new(),
        listener => format!("listener={listener}"),
    }
}

/// Reads an answer to its end.
async fn read(mut response: HttpResponse, form: Form) -> Result<Message, ProviderError> {
    if !(200..300).contains(&response.status) {
        return Err(failure(response).await);
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.body.next().await {
        let piece = piece?;
        if bytes.len() + piece.len() > limits::MAX_DECOMPRESSED {
            return Err(not_an_answer("it is larger than any page"));
        }
        bytes.extend_from_slice(&piece);
    }
    let content_type = response.content_type.as_deref();
    if content_type.and_then(Form::of) != Some(form) {
        return Err(not_an_answer(format!(
            "expected {}, got {}",
            form.content_type(),
            content_type.unwrap_or("no content type")
        )));
    }
    match response.content_encoding.as_deref() {
        None | Some("identity" | "") => Ok(Message { bytes, zstd: false }),
        Some("zstd") => Ok(Message { bytes, zstd: true }),
        Some(other) => Err(not_an_answer(format!("unknown content encoding {other}"))),
    }
}

fn not_an_answer(detail: impl Into<String>) -> ProviderError {
    ProviderError::NotAnAnswer(detail.into())
}

async fn failure(mut response: HttpResponse) -> ProviderError {
    let mut body = Vec::new();
    // A body that breaks off explains less; the status stands.
    while body.len() < LARGEST_FAILURE
        && let Some(Ok(piece)) = response.body.next().await
    {
        body.extend_from_slice(&piece);
    }
    let content_type = response.content_type.as_deref();
    refused(
        response.status,
        content_type,
        response.retry_after_ms,
        &body,
    )
}

fn refusal(error: TransportError) -> ProviderError {
    match error {
        TransportError::Refused {
            status: NOT_IMPLEMENTED,
            ..
        } => ProviderError::NotOffered,
        TransportError::Refused {
            status,
            content_type,
            retry_after_ms,
            body,
        } => refused(status, content_type.as_deref(), retry_after_ms, &body),
        other => other.into(),
    }
}

fn refused(
    status: u16,
    content_type: Option<&str>,
    retry_after_ms: Option<u64>,
    body: &[u8],
) -> ProviderError {
    let form = content_type.and_then(Form::of);
    let failure: Option<Failure> = form.and_then(|form| protocol::decode(form, body).ok());
    let failure = failure.unwrap_or_default();
    ProviderError::Refused {
        status,
        retry_after_ms: failure.retry_after.or(retry_after_ms),
        message: failure.message,
        code: failure.code,
    }
}

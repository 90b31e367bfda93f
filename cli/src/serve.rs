//! `driftline serve`: the server that devices meet at.

use std::net::SocketAddr;
use std::path::PathBuf;

use driftline_server::auth::{Keys, MAX_LIFETIME_SECONDS};
use driftline_server::{Server, ServerConfig, StartError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Exit, Failure, Outcome};
use crate::files::{need_schema, read_public_key, read_secret};
use crate::limits::LimitArguments;
use crate::logs;
use crate::output::Output;
use crate::span::Span;

/// Serves workspaces from a directory until SIGTERM or SIGINT.
///
/// The first line on standard output says where it listens. Logs go to standard error; RUST_LOG
/// says how much (info by default). Requests under way are finished before it ends; a second signal
/// ends it at once.
#[derive(clap::Args)]
#[command(after_help = "Example:
  head -c 48 /dev/urandom | base64 > secret.txt
  driftline serve --schema schema.toml --data data --hs256-secret-file secret.txt --create-workspaces")]
pub(crate) struct Arguments {
    /// The schema of every workspace (TOML)
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// The directory the data is in; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4100")]
    listen: SocketAddr,
    #[command(flatten)]
    key: KeyArguments,
    /// Takes only tokens with this audience (aud)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Takes only tokens with this issuer (iss)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// Takes only tokens that live no longer than this (exp - iat)
    #[arg(long, value_name = "TIME", value_parser = lifetime, default_value_t = LIFETIME)]
    token_lifetime: Span,
    /// Makes a workspace when a token that names it first asks for it; else an admin makes it
    #[arg(long)]
    create_workspaces: bool,
    #[command(flatten)]
    limits: LimitArguments,
    /// Logs as JSON, one object a line
    #[arg(long)]
    log_json: bool,
    /// Ends when standard input does, so that it never outlives the process that started it
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

const LIFETIME: Span = Span::seconds(MAX_LIFETIME_SECONDS.unsigned_abs());

/// Whole seconds: what tokens count in.
fn lifetime(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match span.as_millis() {
        0 => Err("expected some time".to_owned()),
        millis if !millis.is_multiple_of(1_000) => Err("expected whole seconds".to_owned()),
        _ => Ok(span),
    }
}

/// What tokens are checked with.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct KeyArguments {
    /// Tokens are signed with HS256 and this secret: at least 32 bytes, a final line break not counted
    #[arg(long, value_name = "FILE")]
    hs256_secret_file: Option<PathBuf>,
    /// Tokens are signed with RS256, ES256 or EdDSA, after the kind of this public key (PEM)
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    logs::start(arguments.log_json, "info");
    logs::tell_panics();
    let config = configuration(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unavailable("no_threads", "cannot start threads").because(&error)
        })?;
    runtime.block_on(serve(arguments, config, output))
}

fn configuration(arguments: &Arguments) -> Result<ServerConfig, Failure> {
    let schema = need_schema(&arguments.schema)?;
    let mut config = ServerConfig::new(schema, &arguments.data, keys(arguments)?);
    config.create_workspaces = arguments.create_workspaces;
    config.limits = arguments.limits.limits();
    Ok(config)
}

fn keys(arguments: &Arguments) -> Result<Keys, Failure> {
    let mut keys = match (&arguments.key.hs256_secret_file, &arguments.key.public_key) {
        (Some(path), _) => {
            let secret = read_secret(path)?;
            Keys::hs256(&secret)
                .map_err(|error| Failure::fault("the secret was refused").because(&error))?
        }
        (None, Some(path)) => read_public_key(path)?,
        (None, None) => return Err(Failure::usage("no key to check tokens with")),
    };
    if let Some(audience) = &arguments.audience {
        keys = keys.with_audience(audience);
    }
    if let Some(issuer) = &arguments.issuer {
        keys = keys.with_issuer(issuer);
    }
    let seconds = i64::try_from(arguments.token_lifetime.as_seconds()).unwrap_or(i64::MAX);
    Ok(keys.with_max_lifetime(seconds))
}

async fn serve(arguments: &Arguments, config: ServerConfig, output: &Output) -> Outcome {
    // First the files, then the address: whoever connects is answered.
    let server = Server::new(config).map_err(|error| not_started(arguments, &error))?;
    let unbound = |error: std::io::Error| {
        Failure::unavailable(
            "not_bound",
            format!("cannot listen on {}", arguments.listen),
        )
        .because(&error)
        .help("choose another address with --listen, or port 0 for a free one")
    };
    let listener = TcpListener::bind(arguments.listen).await.map_err(unbound)?;
    let address = listener.local_addr().map_err(unbound)?;
    let shutdown = Shutdown::prepare(arguments.until_stdin_closes)?;
    output.line(format!("listening on http://{address}"));
    output.object(&json!({
        "listening": format!("http://{address}"), "port": address.port(), "pid": std::process::id(),
    }));
    if !address.ip().is_loopback() {
        tracing::warn!("tokens and data travel in the clear: put a proxy with TLS in front");
    }
    server.serve(listener, shutdown.wait()).await;
    tracing::info!("stopped; everything acknowledged is on disk");
    Ok(Exit::Done)
}

fn not_started(arguments: &Arguments, error: &StartError) -> Failure {
    let data = arguments.data.display();
    match error {
        StartError::Store(_) => {
            Failure::file("data_unusable", format!("cannot use {data} for data")).because(error)
        }
        StartError::Schema(problems) => {
            let text = std::fs::read_to_string(&arguments.schema).unwrap_or_default();
            let problems = problems.clone().locate(&text);
            let name = arguments.schema.display().to_string();
            let what = format!("the schema does not follow from the one {data} was served with");
            Failure::file("schema_changed", format!("{what}\n{}", problems.in_file(&name)))
                .help("give numbers that had a meaning that meaning again, and take new ones for new fields")
        }
        _ => Failure::unavailable("not_started", "the server cannot start").because(error),
    }
}

/// What ends the server.
struct Shutdown {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    stdin: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Shutdown {
    /// Takes the signals over; before anybody is told the address, so that none is missed.
    fn prepare(with_stdin: bool) -> Result<Shutdown, Failure> {
        let deaf = |error: std::io::Error| {
            Failure::unavailable("no_signals", "cannot listen for signals").because(&error)
        };
        Ok(Shutdown {
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            stdin: with_stdin.then(end_of_stdin),
        })
    }

    async fn wait(mut self) {
        let stdin = async {
            match self.stdin.take() {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: finishing requests"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: finishing requests"),
            () = stdin => tracing::info!("standard input ended: finishing requests"),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            tracing::warn!("a second signal: ending at once");
            std::process::exit(130);
        });
    }
}

fn end_of_stdin() -> tokio::sync::oneshot::Receiver<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An error ends it too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    end
}

//! What a server bears, as flags of `serve`: one for each of [`ServerLimits`].

use clap::builder::RangedU64ValueParser;
use driftline_server::ServerLimits;

use crate::span::Span;

/// The longest span that a limit may be.
const LONGEST: Span = Span::seconds(366 * 24 * 60 * 60);

/// What one server bears.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArguments {
    /// The largest request body, before and after decompression; raised to what the schema's largest op needs
    #[arg(long, value_name = "BYTES", value_parser = bytes(), default_value_t = ServerLimits::default().max_body)]
    max_body: usize,
    /// How deep JSON may nest
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().max_depth)]
    max_depth: usize,
    /// Requests a second, for each device, in the long run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = ServerLimits::default().requests_per_second)]
    requests_per_second: u32,
    /// Requests a device may make at once after a pause
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = ServerLimits::default().burst)]
    burst: u32,
    /// Requests being answered at once; more are told to come back
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().concurrent_requests)]
    concurrent_requests: usize,
    /// Bytes of request bodies in memory at once; more are told to come back
    #[arg(long, value_name = "BYTES", value_parser = bytes(), default_value_t = ServerLimits::default().body_memory)]
    body_memory: usize,
    /// Connections at once; more wait to be accepted
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().connections)]
    connections: usize,
    /// Live sockets of one workspace at once
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().live_per_workspace)]
    live_per_workspace: usize,
    /// How long a connection may take to send a request's head, idle time included
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().header_timeout_ms))]
    header_timeout: Span,
    /// How long it may be silent in the midst of a body
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().body_idle_ms))]
    body_idle: Span,
    /// How long a whole body may take
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().body_total_ms))]
    body_total: Span,
    /// How long the other side may take nothing of what is written to it
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().write_idle_ms))]
    write_idle: Span,
    /// Silence after which a live socket is pinged; devices do it sooner
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().heartbeat_ms))]
    heartbeat: Span,
    /// Silence after which a live socket is closed
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().live_idle_ms))]
    live_idle: Span,
    /// How long a listener may take to accept one frame
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().live_send_ms))]
    live_send: Span,
    /// Commits that a listener may be behind before it is told to pull instead
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().live_backlog)]
    live_backlog: usize,
    /// How long requests get to finish when the server ends
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().shutdown_timeout_ms))]
    shutdown_timeout: Span,
    /// Versions behind which a device takes a snapshot instead of the log
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), default_value_t = ServerLimits::default().far_behind)]
    far_behind: u64,
    /// Bytes of versions in an answer, where the device does not say how many it wants
    #[arg(long, value_name = "BYTES", value_parser = bytes(), default_value_t = ServerLimits::default().page_bytes)]
    page_bytes: usize,
    /// Bytes of documents in one frame of a snapshot
    #[arg(long, value_name = "BYTES", value_parser = bytes(), default_value_t = ServerLimits::default().snapshot_frame)]
    snapshot_frame: usize,
    /// Workspaces kept open at once, those in use apart
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().open_workspaces)]
    open_workspaces: usize,
    /// How long after an edit of a text it is folded; also the pause between two turns
    #[arg(long, value_name = "TIME", value_parser = span, default_value_t = Span::millis(ServerLimits::default().fold_after_ms))]
    fold_after: Span,
    /// Workspaces whose texts are folded at once
    #[arg(long, value_name = "N", value_parser = count(), default_value_t = ServerLimits::default().folds_at_once)]
    folds_at_once: usize,
}

impl LimitArguments {
    /// All of them, so that a limit without a flag does not compile.
    pub(crate) fn limits(&self) -> ServerLimits {
        ServerLimits {
            max_body: self.max_body,
            max_depth: self.max_depth,
            requests_per_second: self.requests_per_second,
            burst: self.burst,
            concurrent_requests: self.concurrent_requests,
            body_memory: self.body_memory,
            connections: self.connections,
            live_per_workspace: self.live_per_workspace,
            header_timeout_ms: self.header_timeout.as_millis(),
            body_idle_ms: self.body_idle.as_millis(),
            body_total_ms: self.body_total.as_millis(),
            write_idle_ms: self.write_idle.as_millis(),
            heartbeat_ms: self.heartbeat.as_millis(),
            live_idle_ms: self.live_idle.as_millis(),
            live_send_ms: self.live_send.as_millis(),
            live_backlog: self.live_backlog,
            shutdown_timeout_ms: self.shutdown_timeout.as_millis(),
            far_behind: self.far_behind,
            page_bytes: self.page_bytes,
            snapshot_frame: self.snapshot_frame,
            open_workspaces: self.open_workspaces,
            fold_after_ms: self.fold_after.as_millis(),
            folds_at_once: self.folds_at_once,
        }
    }
}

/// A number of things; the runtime counts no more than these.
fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=u64::from(u32::MAX))
}

/// A number of bytes, at most a tebibyte.
fn bytes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1 << 40)
}

fn span(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span == Span::millis(0) {
        return Err("expected some time".to_owned());
    }
    if span > LONGEST {
        return Err(format!("expected at most {LONGEST}"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        limits: LimitArguments,
    }

    /// The limits by their names and what they are.
    fn named(limits: &ServerLimits) -> Vec<(String, String)> {
        let shown = format!("{limits:?}");
        let inside = shown
            .trim_start_matches("ServerLimits { ")
            .trim_end_matches(" }");
        let fields = inside
            .split(", ")
            .map(|field| field.split_once(": ").unwrap());
        fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn without_flags_limits_are_the_servers() {
        let command = Command::parse_from(["serve"]);
        assert_eq!(command.limits.limits(), ServerLimits::default());
    }

    #[test]
    fn every_limit_is_what_its_own_flag_says() {
        let names = named(&ServerLimits::default());
        assert!(names.len() > 20, "{names:?}");
        let numbered = (1_001..).zip(names);
        let wanted: Vec<_> = numbered
            .map(|(n, (name, _))| (name, n.to_string()))
            .collect();
        let mut arguments = vec!["serve".to_owned()];
        for (name, value) in &wanted {
            let (flag, unit) = match name.strip_suffix("_ms") {
                Some(flag) => (flag, "ms"),
                None => (name.as_str(), ""),
            };
            arguments.push(format!("--{}={value}{unit}", flag.replace('_', "-")));
        }
        let command = Command::parse_from(arguments);
        assert_eq!(named(&command.limits.limits()), wanted);
    }

    #[test]
    fn what_no_server_can_bear_is_refused() {
        for wrong in [
            "--connections=0",
            "--connections=18446744073709551615",
            "--body-memory=0",
            "--body-memory=18446744073709551615",
            "--burst=0",
            "--far-behind=0",
            "--heartbeat=0s",
            "--heartbeat=45",
            "--heartbeat=400d",
            "--max-body=-1",
            "--max-depth=x",
        ] {
            assert!(
                Command::try_parse_from(["serve", wrong]).is_err(),
                "{wrong}"
            );
        }
    }
}

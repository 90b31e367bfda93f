//! An app's own HTTP stack: HTTP/1.1 by hand, a thread a request, answers by callback. It has no
//! sockets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driftline::environment::BoxFuture;
use driftline::transport::callback::{self, BodyFeed, Completion};
use driftline::transport::{HttpRequest, HttpResponse, Transport, TransportError};

/// Small, so that a snapshot comes in many pieces.
const PIECE: usize = 8 << 10;

/// Counts what was given up.
#[derive(Clone, Default)]
pub struct PlainHttp {
    /// Requests cancelled before their answer, and bodies before their end.
    pub cancelled: Arc<AtomicUsize>,
}

/// The connection, for who cancels.
type Line = Arc<Mutex<Option<TcpStream>>>;

impl Transport for PlainHttp {
    fn request(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let line = Line::default();
        let (host, answer) = callback::completion(self.canceller(&line));
        let on_body = self.canceller(&line);
        std::thread::spawn(move || exchange(&request, &line, host, on_body));
        answer
    }
}

impl PlainHttp {
    fn canceller(&self, line: &Line) -> impl FnOnce() + Send + 'static {
        let (line, cancelled) = (Arc::clone(line), Arc::clone(&self.cancelled));
        move || {
            cancelled.fetch_add(1, Ordering::SeqCst);
            if let Some(line) = line.lock().unwrap().take() {
                let _ = line.shutdown(Shutdown::Both);
            }
        }
    }
}

fn exchange(
    request: &HttpRequest,
    line: &Line,
    host: Completion<HttpResponse>,
    on_body: impl FnOnce() + Send + 'static,
) {
    let (head, mut stream) = match head(request, line) {
        Ok(answer) => answer,
        Err(error) => return host.complete(Err(explained(&error))),
    };
    let (feed, body) = callback::body(on_body);
    let number = |name: &str| {
        head.header(name)
            .and_then(|value| value.parse::<u64>().ok())
    };
    let chunked = head.header("transfer-encoding") == Some("chunked");
    let length = number("content-length");
    host.complete(Ok(HttpResponse {
        status: head.status,
        content_type: head.header("content-type").map(str::to_owned),
        content_encoding: head.header("content-encoding").map(str::to_owned),
        retry_after_ms: number("retry-after").map(|seconds| seconds * 1_000),
        body,
    }));
    let read = match (chunked, length) {
        (true, _) => chunks(&mut stream, &feed),
        (false, Some(length)) => pieces(&mut stream, length, &feed),
        (false, None) => pieces(&mut stream, u64::MAX, &feed),
    };
    match read {
        Ok(()) => feed.finish(),
        Err(error) => feed.fail(explained(&error)),
    }
}

struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn head(request: &HttpRequest, line: &Line) -> io::Result<(Head, BufReader<TcpStream>)> {
    let rest = request.url.strip_prefix("http://").ok_or_else(odd)?;
    let (authority, path) = rest.split_at(rest.find('/').ok_or_else(odd)?);
    let mut stream = TcpStream::connect(authority)?;
    *line.lock().unwrap() = Some(stream.try_clone()?);
    let patience = Duration::from_millis(request.idle_timeout_ms);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let mut said = format!(
        "{} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {}\r\n",
        request.method,
        request.body.len()
    );
    for (name, value) in &request.headers {
        said.push_str(&format!("{name}: {value}\r\n"));
    }
    said.push_str("\r\n");
    stream.write_all(said.as_bytes())?;
    stream.write_all(&request.body)?;
    let mut stream = BufReader::new(stream);
    let status = text_line(&mut stream)?;
    let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
    let mut headers = Vec::new();
    loop {
        let line = text_line(&mut stream)?;
        match line.split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let head = Head {
        status: status.ok_or_else(odd)?,
        headers,
    };
    Ok((head, stream))
}

fn text_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn chunks(stream: &mut BufReader<TcpStream>, feed: &BodyFeed) -> io::Result<()> {
    loop {
        let length = u64::from_str_radix(&text_line(stream)?, 16).map_err(|_| odd())?;
        if length == 0 {
            return Ok(());
        }
        pieces(stream, length, feed)?;
        text_line(stream)?;
    }
}

fn pieces(stream: &mut BufReader<TcpStream>, mut left: u64, feed: &BodyFeed) -> io::Result<()> {
    while left > 0 {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        match stream.read(&mut piece)? {
            0 if left < u64::MAX / 2 => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => return Ok(()),
            read => {
                piece.truncate(read);
                left -= read as u64;
                if !feed.push(piece) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn odd() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn explained(error: &io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TransportError::TimedOut,
        io::ErrorKind::ConnectionRefused => TransportError::Unreachable(error.to_string()),
        _ => TransportError::Broken(error.to_string()),
    }
}

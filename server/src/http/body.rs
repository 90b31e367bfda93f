//! Bodies: read with limits and patience that ends, decompressed with caps, looked over before
//! anything is built from them.

use axum::body::Body;
use driftline_core::protocol::{
    Form, PROTOCOL, SyncRequest, decode, decode_around, decompress, limits, protocol_of,
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;

use super::Shared;
use crate::problem::Problem;
use crate::workspace::Parted;

/// The unit in which memory for bodies is handed out.
pub(super) const MEMORY_UNIT: usize = 64 << 10;

/// Milliseconds to wait for memory before the answer is `busy`.
const MEMORY_WAIT_MS: u64 = 1_000;

/// The most items of a JSON body: as many as in the CBOR form.
const MAX_ITEMS: usize = limits::MAX_ITEMS;

/// A body in memory; the permits go with it.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) form: Form,
    _memory: OwnedSemaphorePermit,
}

/// Reads a body and undoes its compression.
pub(super) async fn receive(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, Problem> {
    let form = content_form(headers)?;
    let zstd = is_zstd(headers)?;
    let announced = content_length(headers);
    let most = shared.limits.max_body;
    if announced.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    let length = announced.unwrap_or(most);
    let expanded = if zstd {
        most.min((1 << 20) + length.saturating_mul(limits::MAX_RATIO))
    } else {
        0
    };
    let memory = memory(shared, length.saturating_add(expanded)).await?;
    let read = read(shared, body, announced.unwrap_or(0));
    let bytes = match shared
        .environment
        .within(shared.limits.body_total_ms, read)
        .await
    {
        Some(bytes) => bytes?,
        None => return Err(Problem::TimedOut),
    };
    let bytes = if zstd {
        decompress(&bytes, most)?
    } else {
        bytes
    };
    Ok(Received {
        bytes,
        form,
        _memory: memory,
    })
}

async fn memory(shared: &Shared, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let most = shared.limits.body_memory / MEMORY_UNIT;
    let units = bytes.div_ceil(MEMORY_UNIT).clamp(1, most.max(1));
    let wait = std::sync::Arc::clone(&shared.body_memory)
        .acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX));
    match shared.environment.within(MEMORY_WAIT_MS, wait).await {
        Some(Ok(permit)) => Ok(permit),
        _ => Err(Problem::Busy),
    }
}

async fn read(shared: &Shared, mut body: Body, announced: usize) -> Result<Vec<u8>, Problem> {
    let most = shared.limits.max_body;
    let mut bytes = Vec::with_capacity(announced.min(most));
    loop {
        let Some(piece) = shared
            .environment
            .within(shared.limits.body_idle_ms, body.frame())
            .await
        else {
            return Err(Problem::TimedOut);
        };
        let Some(piece) = piece else { return Ok(bytes) };
        let piece = piece.map_err(|_| Problem::Malformed("the body was cut short".to_owned()))?;
        let Ok(data) = piece.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > most {
            return Err(too_large(most));
        }
        bytes.extend_from_slice(&data);
    }
}

fn too_large(most: usize) -> Problem {
    Problem::TooLarge(format!("a body has at most {most} bytes"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn content_form(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    content_type.and_then(Form::of).ok_or(Problem::Unsupported(
        "expected application/cbor or application/json",
    ))
}

fn is_zstd(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let (encoding, more) = (encodings.next(), encodings.next());
    match encoding.map(|value| value.as_bytes().to_ascii_lowercase()) {
        _ if more.is_some() => Err(Problem::Unsupported("one content encoding at most")),
        None => Ok(false),
        Some(encoding) if encoding == b"identity" => Ok(false),
        Some(encoding) if encoding == b"zstd" => Ok(true),
        Some(_) => Err(Problem::Unsupported(
            "expected content encoding zstd or none",
        )),
    }
}

/// Whether the asker takes zstd.
pub(super) fn accepts_zstd(headers: &HeaderMap) -> bool {
    let offered = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    offered.flat_map(|line| line.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("zstd"));
        named && parts.all(|parameter| parameter.trim_start_matches("q=").parse() != Ok(0.0_f32))
    })
}

/// The form an answer takes: what is accepted, else what was sent, else JSON for a person.
pub(super) fn answer_form(headers: &HeaderMap) -> Form {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let accepted = accepted.flat_map(|line| line.split(',')).find_map(Form::of);
    accepted
        .or_else(|| content_form(headers).ok())
        .unwrap_or(Form::Json)
}

/// Builds a message from bytes that were looked over first. (CBOR is looked over by the decoder.)
pub(super) fn message<T>(form: Form, bytes: &[u8], max_depth: usize) -> Result<T, Problem>
where
    T: serde::de::DeserializeOwned + for<'b> minicbor::Decode<'b, ()>,
{
    if form == Form::Json {
        look_over_json(bytes, max_depth)?;
    }
    Ok(decode(form, bytes)?)
}

/// Builds a request; one of another protocol need not be one that can be read. In the binary form its ops
/// stay in its bytes until they are decided.
pub(super) fn request(form: Form, bytes: Vec<u8>, max_depth: usize) -> Result<Parted, Problem> {
    let read = match form == Form::Cbor {
        true => decode_around(&bytes).map_err(Problem::from).map(Err),
        false => message::<SyncRequest>(form, &bytes, max_depth).map(Ok),
    };
    match read {
        Ok(Ok(request)) => Ok(Parted::from(request)),
        Ok(Err(around)) => Ok(Parted::unread(around, bytes)),
        Err(problem) => Err(match protocol_of(form, &bytes) {
            Some(asked) if asked != PROTOCOL => Problem::OtherProtocol,
            _ => problem,
        }),
    }
}

fn too_deep(most: usize) -> Problem {
    Problem::TooLarge(format!("a body nests at most {most} deep"))
}

fn too_many() -> Problem {
    Problem::TooLarge(format!("a body has at most {MAX_ITEMS} items"))
}

fn look_over_json(bytes: &[u8], max_depth: usize) -> Result<(), Problem> {
    let (mut depth, mut items): (usize, usize) = (0, 0);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_json_string(&mut rest),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' => items += 1,
            _ => {}
        }
        if depth > max_depth {
            return Err(too_deep(max_depth));
        }
    }
    if items > MAX_ITEMS {
        Err(too_many())
    } else {
        Ok(())
    }
}

fn skip_json_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_depth_counts_outside_of_strings_only() {
        assert_eq!(look_over_json(br#"{"a":"[[[[[[[[[[\"[["}"#, 2), Ok(()));
        assert!(matches!(
            look_over_json(b"[[[", 2),
            Err(Problem::TooLarge(_))
        ));
        assert!(matches!(
            look_over_json(&vec![b','; MAX_ITEMS + 1], 2),
            Err(Problem::TooLarge(_))
        ));
    }

    #[test]
    fn the_answer_takes_the_form_that_is_asked_for() {
        let headers = |pairs: &[(header::HeaderName, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        assert_eq!(answer_form(&headers(&[])), Form::Json);
        assert_eq!(
            answer_form(&headers(&[(header::CONTENT_TYPE, "application/cbor")])),
            Form::Cbor
        );
        let both = headers(&[
            (header::CONTENT_TYPE, "application/cbor"),
            (header::ACCEPT, "text/html, application/json;q=0.9"),
        ]);
        assert_eq!(answer_form(&both), Form::Json);
        assert!(accepts_zstd(&headers(&[(
            header::ACCEPT_ENCODING,
            "gzip, zstd;q=0.5"
        )])));
        assert!(!accepts_zstd(&headers(&[(
            header::ACCEPT_ENCODING,
            "gzip, zstd;q=0"
        )])));
        assert!(!accepts_zstd(&headers(&[])));
    }
}

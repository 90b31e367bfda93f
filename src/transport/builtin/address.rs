//! From the words of the [`crate::transport::Transport`] trait to an HTTP request.
//!
//! Messages name what is wrong, never the address or a header's content: both may hold secrets.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;

use crate::transport::address::absolute;
use crate::transport::{HttpRequest, TransportError};

/// A plain request.
pub(super) fn http_request(given: HttpRequest) -> Result<Request<Full<Bytes>>, TransportError> {
    let uri = absolute(&given.url, false)?;
    let method = Method::from_bytes(given.method.as_bytes())
        .map_err(|_| TransportError::BadAddress("not an HTTP method".to_owned()))?;
    assemble(method, uri, given)
}

/// The request a socket begins with, still without the words of the upgrade.
pub(super) fn socket_request(given: HttpRequest) -> Result<Request<Full<Bytes>>, TransportError> {
    let uri = absolute(&given.url, true)?;
    assemble(
        Method::GET,
        uri,
        HttpRequest {
            body: Vec::new(),
            ..given
        },
    )
}

fn assemble(
    method: Method,
    uri: Uri,
    given: HttpRequest,
) -> Result<Request<Full<Bytes>>, TransportError> {
    let mut request = Request::new(Full::new(Bytes::from(given.body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    for (name, value) in given.headers {
        let unusable = || TransportError::BadAddress(format!("the header {name}"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| unusable())?;
        // The token may stand in any of them.
        value.set_sensitive(true);
        request.headers_mut().append(header, value);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(url: &str) -> HttpRequest {
        HttpRequest {
            method: "POST",
            url: url.to_owned(),
            headers: Vec::new(),
            body: vec![1],
            idle_timeout_ms: 1,
        }
    }

    #[test]
    fn sockets_take_the_addresses_of_http_and_their_own() {
        for (given, meant) in [
            ("ws://h:1/live?x=1", "http://h:1/live?x=1"),
            ("WSS://h", "https://h/"),
            ("http://h/a", "http://h/a"),
            ("https://[::1]:2/a", "https://[::1]:2/a"),
        ] {
            let request = socket_request(to(given)).unwrap();
            assert_eq!(
                (request.uri().to_string().as_str(), request.method()),
                (meant, &Method::GET)
            );
        }
        assert_eq!(http_request(to("https://h")).unwrap().uri(), "https://h/");
    }

    #[test]
    fn unusable_addresses_are_refused_without_being_repeated() {
        for url in [
            "",
            "/v1",
            "h:4100",
            "ftp://h/secret",
            "ws://h/secret",
            "http://",
            "http:///secret",
            "http://u:secret@h/",
            "https://bad_\u{e9}/secret",
            "http://h/ secret",
            "https://-/secret",
        ] {
            let refused = http_request(to(url)).unwrap_err();
            assert!(
                matches!(refused, TransportError::BadAddress(_)),
                "{url}: {refused:?}"
            );
            assert!(!refused.to_string().contains("secret"), "{url}: {refused}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_is_refused_without_being_repeated() {
        let mut request = to("http://h/");
        request
            .headers
            .push(("authorization".to_owned(), "Bearer secret\n".to_owned()));
        let refused = http_request(request).unwrap_err();
        assert_eq!(
            refused,
            TransportError::BadAddress("the header authorization".to_owned())
        );
    }

    #[test]
    fn tokens_are_marked_so_that_logs_leave_them_out() {
        let mut request = to("http://h/");
        request
            .headers
            .push(("authorization".to_owned(), "Bearer secret".to_owned()));
        let request = http_request(request).unwrap();
        assert!(!format!("{request:?}").contains("secret"));
    }
}

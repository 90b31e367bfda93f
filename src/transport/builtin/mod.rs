//! The built-in transport: HTTP/1.1 and WebSocket over rustls.

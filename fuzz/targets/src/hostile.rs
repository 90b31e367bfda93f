//! Bytes that nobody honest sends, one named input each, and what refusing it may cost.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use driftline_core::protocol::compress;

/// One of them.
pub struct Hostile {
    /// The target it is meant for.
    pub target: &'static str,
    /// What is wrong with it.
    pub name: &'static str,
    /// The input of the target.
    pub bytes: Vec<u8>,
    /// The most memory that is allocated at once.
    pub memory: u64,
    /// The longest it takes on a machine that does nothing else.
    pub time: Duration,
}

const MIB: u64 = 1 << 20;
const MILLISECOND: Duration = Duration::from_millis(1);

fn hostile(target: &'static str, name: &'static str, bytes: Vec<u8>) -> Hostile {
    Hostile {
        target,
        name,
        bytes,
        memory: MIB,
        time: MILLISECOND,
    }
}

/// All of them.
pub fn all() -> Vec<Hostile> {
    [updates(), messages(), streams(), schemas(), tokens()]
        .into_iter()
        .flatten()
        .collect()
}

/// Updates that make Yrs 0.28 take half a gigabyte, overflow its stack, panic, abort or hang.
fn updates() -> Vec<Hostile> {
    // The field knows writers 5 (to clock 10) and 9 (to 20); 5 writes. Text, or list.
    let (text, list) = (0b100, 0b101);
    let update = |name, field: u8, bytes: &[u8]| hostile("guard", name, [&[field], bytes].concat());
    let deep_any = [
        &[1, 1, 5, 10, 8, 1, 1, b'l', 1][..],
        &[117, 1].repeat(50_000),
        &[126, 0],
    ]
    .concat();
    let deep_json = {
        let json = "[".repeat(20_000);
        let head = [1, 1, 5, 10, 8, 1, 1, b'l', 1, 116];
        [&head[..], &varint(json.len() as u64), json.as_bytes(), &[0]].concat()
    };
    let gap = |clock: u64| {
        let head = [&[1, 1, 5][..], &varint(clock)].concat();
        [&head[..], &[4, 1, 1, b't', 1, b'x', 0]].concat()
    };
    let ranges = {
        let count = varint(100_000);
        let ranges: Vec<u8> = (0..100_000).flat_map(|_| [1, 1]).collect();
        [&[0, 1, 9][..], &count, &ranges].concat()
    };
    vec![
        update(
            "four bytes that take half a gigabyte",
            text,
            &[0xff, 0xff, 0xff, 0x7f],
        ),
        update("an author without blocks", text, &[1, 0, 5, 0, 0]),
        update(
            "a block of no clock",
            text,
            &[1, 1, 5, 10, 4, 1, 1, b't', 0, 0],
        ),
        update("two bytes that panic as v2", text, &[0x80, 0x80]),
        update("Yrs values nested 50 000 deep", list, &deep_any),
        update("JSON nested 20 000 deep", list, &deep_json),
        update("a clock gap", text, &gap(11)),
        update("a clock at the end", text, &gap((1 << 31) - 1)),
        update("a clock beyond it", text, &gap(u64::MAX)),
        update(
            "four billion garbage clocks",
            text,
            &[1, 1, 5, 10, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0],
        ),
        update(
            "four billion skipped clocks",
            text,
            &[1, 1, 5, 10, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0],
        ),
        update(
            "four billion deleted clocks",
            text,
            &[0, 1, 9, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        update("a hundred thousand deleted ranges", text, &ranges),
        update("an author's clocks a second time", text, &gap(3)),
        update("half a megabyte of zeros", text, &vec![0; 512 << 10]),
        update("half a megabyte of ones", text, &vec![0xff; 512 << 10]),
        update("more than an update may be", text, &vec![1; 8 << 20]),
    ]
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Messages that nest, or that claim more than they bring. Each is read as ten kinds of message.
fn messages() -> Vec<Hostile> {
    let message = |name, bytes| Hostile {
        time: 10 * MILLISECOND,
        ..hostile("protocol", name, bytes)
    };
    let json = |open: &str, times: usize| open.repeat(times).into_bytes();
    vec![
        message("arrays nested 100 000 deep in CBOR", vec![0x81; 100_000]),
        message(
            "maps nested 50 000 deep in CBOR",
            [0xa1, 0x00].repeat(50_000),
        ),
        message("tags nested 100 000 deep in CBOR", vec![0xc1; 100_000]),
        message("endless arrays nested 100 000 deep", vec![0x9f; 100_000]),
        message(
            "an array of 2^64 items",
            vec![0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
        ),
        message(
            "a map of 2^64 pairs",
            vec![0xbb, 255, 255, 255, 255, 255, 255, 255, 255],
        ),
        message(
            "a string of 2^63 bytes",
            vec![0x7b, 0x7f, 255, 255, 255, 255, 255, 255, 255],
        ),
        message(
            "bytes of 2^63",
            vec![0x5b, 0x7f, 255, 255, 255, 255, 255, 255, 255],
        ),
        message("an endless string of endless strings", vec![0x7f; 50_000]),
        message("half a megabyte of breaks", vec![0xff; 512 << 10]),
        message("arrays nested 100 000 deep in JSON", json("[", 100_000)),
        message(
            "objects nested 10 000 deep in JSON",
            json("{\"a\":", 10_000),
        ),
        message(
            "a number of 100 000 digits",
            [b"{\"protocol\":".as_slice(), &[b'9'; 100_000]].concat(),
        ),
        message(
            "a string that never ends",
            [b"{\"".as_slice(), &[b'a'; 100_000]].concat(),
        ),
    ]
}

/// What 200 bytes of zstd can become is capped by their ratio, after a first MiB.
fn streams() -> Vec<Hostile> {
    let stream = |name, bytes| Hostile {
        // Two buffers of the cap: what came out, and its growth.
        memory: 6 * MIB,
        time: 20 * MILLISECOND,
        ..hostile("zstd", name, bytes)
    };
    vec![
        stream("64 MiB of zeros", compress(&vec![0; 64 << 20])),
        stream(
            "a window of 2 GiB",
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 1, 0, 0],
        ),
        stream(
            "a content size of 2^64",
            vec![
                0x28, 0xb5, 0x2f, 0xfd, 0xe0, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0,
            ],
        ),
        stream(
            "a skippable frame of 4 GiB",
            vec![0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255],
        ),
        stream("a frame cut in its header", vec![0x28, 0xb5, 0x2f, 0xfd]),
    ]
}

fn schemas() -> Vec<Hostile> {
    let schema = |name, text: String| Hostile {
        memory: 4 * MIB,
        time: 20 * MILLISECOND,
        ..hostile("schema", name, text.into_bytes())
    };
    vec![
        schema(
            "arrays nested 10 000 deep",
            format!("a = {}", "[".repeat(10_000)),
        ),
        schema(
            "tables nested 10 000 deep",
            format!("[{}a]", "a.".repeat(10_000)),
        ),
        schema(
            "inline tables nested 5 000 deep",
            format!("a = {}", "{a=".repeat(5_000)),
        ),
        schema(
            "an integer of 10 000 digits",
            format!("a = {}", "9".repeat(10_000)),
        ),
        schema(
            "a string that never ends",
            format!("a = \"\"\"{}", "x".repeat(10_000)),
        ),
    ]
}

/// Tokens that others have taken: no algorithm, another one, keys of their own, a key's path.
fn tokens() -> Vec<Hostile> {
    let claims =
        r#"{"sub":"ada","workspaces":{"garden":"writer"},"iat":1799999940,"exp":1800003540}"#;
    let token = |name, header: &str, signature: &str| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!("{}.{}.{signature}", part(header), part(claims));
        hostile("jwt", name, text.into_bytes())
    };
    let signed = |name, header: &str, claims: &str| {
        hostile("jwt", name, format!("{header}\n{claims}").into_bytes())
    };
    let with = |change: &str| format!("{{{change},{}", &claims[1..]);
    let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
    vec![
        token("no algorithm", r#"{"alg":"none"}"#, ""),
        token("no algorithm, in capitals", r#"{"alg":"NONE"}"#, ""),
        token("no signature", hs256, ""),
        token("a signature of one byte", hs256, "AA"),
        token("a signature of nonsense", hs256, &"A".repeat(43)),
        signed("another algorithm", r#"{"alg":"HS512"}"#, claims),
        signed(
            "an algorithm with public keys",
            r#"{"alg":"RS256"}"#,
            claims,
        ),
        signed("no algorithm, and signed", r#"{"alg":"none"}"#, claims),
        signed("an empty account", hs256, &with(r#""sub":"""#)),
        signed(
            "a lifetime of centuries",
            hs256,
            &claims.replace("1800003540", "18000000000"),
        ),
        signed(
            "an end as text",
            hs256,
            &claims.replace("1800003540", "\"1800003540\""),
        ),
        signed(
            "an end before the beginning",
            hs256,
            &claims.replace("1800003540", "1700000000"),
        ),
        signed("not valid yet", hs256, &with(r#""nbf":1900000000"#)),
        signed("a beginning as text", hs256, &with(r#""nbf":"1""#)),
        signed(
            "a role that is none",
            hs256,
            &claims.replace("writer", "owner"),
        ),
        signed(
            "no end",
            hs256,
            r#"{"sub":"ada","workspaces":{},"iat":1799999940}"#,
        ),
        hostile("jwt", "nine kilobytes", vec![b'a'; 9_000]),
        hostile("jwt", "dots", vec![b'.'; 8_000]),
    ]
}

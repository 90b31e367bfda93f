//! The outbox as a file of lines: for support, for a user's own copy, and to take it up in another
//! file of the same account.

use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use driftline_core::id::{BootId, OpId};
use driftline_core::op::OpBody;
use driftline_core::time::Reading;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Fault, Result, Retry};
use crate::outbox::Outbox;
use crate::storage::outbox::{self, Listed};
use crate::storage::{Origin, StorageError, import};

/// How many writes an export reads at a time.
const EXPORTED_AT_ONCE: usize = 500;

/// The longest line of an import: the largest op in base64, beside the same for people.
const LONGEST_LINE: u64 = 64 << 20;

/// The part of a line that an import reads; the rest is for people.
#[derive(Serialize, Deserialize)]
struct Exact {
    account: String,
    workspace: String,
    /// The op's body, CBOR in base64.
    body: String,
    /// The clocks when it was written.
    wall: i64,
    boot: u32,
    mono: i64,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    op: Exact,
}

/// Writes everything queued and in quarantine to `out`. Returns how many.
pub(crate) fn export(of: &Outbox, out: &mut dyn Write) -> Result<u64> {
    let storage = of.storage();
    let (account, workspace) = (storage.account()?.unwrap_or_default(), storage.workspace()?);
    let mut exported = 0;
    let mut after = OpId::ZERO;
    loop {
        let page =
            storage.with_reader(|tx| outbox::list(tx.conn(), after, None, EXPORTED_AT_ONCE))?;
        let Some(last) = page.last().map(|listed| listed.op.id) else {
            out.flush().map_err(not_exported)?;
            return Ok(exported);
        };
        after = last;
        exported += page.len() as u64;
        for listed in page {
            let exact = exact(&listed, &account, &workspace)?;
            let mut line = of.line(listed);
            if let (Some(line), Ok(exact)) = (line.as_object_mut(), serde_json::to_value(exact)) {
                line.insert("op".to_owned(), exact);
            }
            serde_json::to_writer(&mut *out, &line).map_err(|error| not_exported(error.into()))?;
            out.write_all(b"\n").map_err(not_exported)?;
        }
    }
}

fn exact(listed: &Listed, account: &str, workspace: &str) -> Result<Exact> {
    let written = listed.op.written;
    Ok(Exact {
        account: account.to_owned(),
        workspace: workspace.to_owned(),
        body: STANDARD.encode(outbox::encoded(&listed.op.body)?),
        wall: written.wall,
        boot: written.boot.0,
        mono: written.mono,
    })
}

fn not_exported(error: std::io::Error) -> Error {
    Error::other(
        "export_failed",
        Fault::Environment,
        Retry::AfterAction,
        format!("the export failed: {}", error.kind()),
    )
}

/// Takes an export into an empty outbox. Returns how many writes were taken.
pub(crate) fn import(into: &Outbox, input: &mut dyn BufRead) -> Result<u64> {
    let storage = into.storage();
    let (account, workspace) = (storage.account()?.unwrap_or_default(), storage.workspace()?);
    let mut ops = Vec::new();
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        let mut line = std::io::Read::take(&mut *input, LONGEST_LINE);
        let read = line
            .read_line(&mut text)
            .map_err(|error| not_imported(number, &error.kind().to_string()))?;
        if read == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_str(&text).map_err(|_| not_imported(number, "no exported write"))?;
        if line.op.account != account {
            return Err(StorageError::OtherIdentity("account").into());
        }
        if line.op.workspace != workspace {
            return Err(StorageError::OtherIdentity("workspace").into());
        }
        ops.push(read_op(&line).ok_or_else(|| not_imported(number, "an op that does not decode"))?);
    }
    Ok(storage.write_tx(Origin::Local, |tx| import::import(tx, ops))?)
}

fn read_op(line: &Line) -> Option<import::Imported> {
    let id: OpId = line.id.parse().ok()?;
    let bytes = STANDARD.decode(&line.op.body).ok()?;
    let body: OpBody = minicbor::decode(&bytes).ok()?;
    Some(import::Imported {
        id,
        written: Reading {
            wall: line.op.wall,
            boot: BootId(line.op.boot),
            mono: line.op.mono,
        },
        body,
    })
}

fn not_imported(line: u64, what: &str) -> Error {
    Error::other(
        "invalid_import",
        Fault::App,
        Retry::No,
        format!("line {line}: {what}"),
    )
}

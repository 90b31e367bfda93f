//! Which file of a folder is whose: a guest's file keeps its name when it becomes an account's.

use std::path::{Path, PathBuf};

use crate::accounts::file_for;
use crate::error::{Error, Fault, Result, Retry};
use crate::inspect;

#[cfg(test)]
mod tests;

/// The file in `folder` to open for an account (`None`: for a guest) and a workspace, among those that
/// [`file_for`] and this function have named. It need not be there yet.
///
/// A guest's file that was attached to an account ([`Database::attach_account`](crate::Database)) keeps
/// its name, so an account's data may be in another file than the one [`file_for`] names; this looks into
/// the files and finds it, and never gives a file that has become an account's to the next guest.
///
/// Where an account has several (it had its own when a guest's was attached) the first with unsynced
/// writes is to be opened, so that each gets them to the server, then its own.
///
/// # Errors
/// `io`: the folder cannot be read. One that is not there has no files.
pub fn find_file(
    folder: impl AsRef<Path>,
    account: Option<&str>,
    workspace: &str,
) -> Result<PathBuf> {
    let folder = folder.as_ref();
    let Some(account) = account else {
        return Ok(guests(folder, workspace));
    };
    let own = file_for(folder, Some(account), workspace);
    let mut files = vec![own.clone()];
    files.extend(others(folder, &own)?);
    let mut found = files
        .into_iter()
        .filter_map(|file| unsynced(&file, account, workspace).map(|unsynced| (file, unsynced)))
        .collect::<Vec<_>>();
    // Stable: its own stays in front of equals.
    found.sort_by_key(|(_, unsynced)| *unsynced == 0);
    Ok(found.into_iter().next().map_or(own, |(file, _)| file))
}

/// The first of a guest's names that no account has.
fn guests(folder: &Path, workspace: &str) -> PathBuf {
    let first = file_for(folder, None, workspace);
    let numbered = (2_u32..).map(|number| {
        let stem = first.file_stem().unwrap_or_default().to_string_lossy();
        first.with_file_name(format!("{stem}-{number}.db"))
    });
    std::iter::once(first.clone())
        .chain(numbered)
        // One that cannot be read is not passed over: opening it says why.
        .find(|file| facts(file).is_none_or(|facts| facts.account.is_none()))
        .unwrap_or(first)
}

/// Every other file of a name like `own`'s, in the names' order.
fn others(folder: &Path, own: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: &std::io::Error| {
        Error::other("io", Fault::Environment, Retry::Later, error.to_string())
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| unreadable(&error))?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("driftline-") && name.ends_with(".db") && file != own {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// How many unsynced writes a file of this account and workspace holds; `None` if it is another's, or
/// nothing that can be read.
fn unsynced(file: &Path, account: &str, workspace: &str) -> Option<u64> {
    let facts = facts(file)?;
    let theirs = facts.account.as_deref() == Some(account) && facts.workspace == workspace;
    theirs.then_some(facts.unsynced)
}

struct Facts {
    account: Option<String>,
    workspace: String,
    unsynced: u64,
}

fn facts(file: &Path) -> Option<Facts> {
    let read = inspect::read(file, |view| {
        let (facts, queue) = (view.facts()?, view.queue()?);
        Ok(Facts {
            account: facts.account,
            workspace: facts.workspace,
            unsynced: queue.pending + queue.quarantined + u64::from(facts.attaching),
        })
    });
    read.map_err(
        |error| tracing::debug!(%error, "a file of another account could not be looked at"),
    )
    .ok()
}

//! `driftline token`: mints a token for development.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use driftline_core::protocol::limits::MAX_NAME;
use driftline_server::auth::Role;
use driftline_server::auth::mint::{self, Minted};
use serde_json::json;

use crate::failure::{Exit, Failure, Outcome};
use crate::files::read_secret;
use crate::output::Output;
use crate::span::Span;

/// No token lives longer.
const LONGEST: Span = Span::seconds(366 * 24 * 60 * 60);

/// Mints an HS256 token for development; in production whoever signs people in mints them.
#[derive(clap::Args)]
#[command(after_help = "Example:
  head -c 48 /dev/urandom | base64 > secret.txt
  driftline token --secret-file secret.txt --account ada --workspace garden=writer --ttl 1h")]
pub(crate) struct Arguments {
    /// The server's HS256 secret: at least 32 bytes, a final line break not counted
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Whom the token is for
    #[arg(long, value_name = "NAME", value_parser = account)]
    account: String,
    /// A workspace and the role in it: reader, writer or admin; may be given several times
    #[arg(long = "workspace", value_name = "NAME=ROLE", value_parser = grant, required = true)]
    workspaces: Vec<(String, Role)>,
    /// How long it is valid, such as 90s, 15m, 1h; a server takes at most 24h unless it is told otherwise
    #[arg(long, value_name = "TIME", value_parser = lifetime, default_value = "1h")]
    ttl: Span,
    /// The audience (aud), where the server expects one
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// The issuer (iss), where the server expects one
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    let secret = read_secret(&arguments.secret_file)?;
    let issued = unix_seconds();
    let minted = Minted {
        account: arguments.account.clone(),
        workspaces: workspaces(&arguments.workspaces)?,
        issued,
        lifetime: i64::try_from(arguments.ttl.as_seconds()).unwrap_or(i64::MAX),
        audience: arguments.audience.clone(),
        issuer: arguments.issuer.clone(),
    };
    let token = mint::hs256(&secret, &minted)
        .map_err(|error| Failure::fault("the token cannot be signed").because(&error))?;
    output.line(&token);
    output.object(&json!({
        "token": token,
        "account": minted.account,
        "workspaces": minted.workspaces,
        "expires": issued.saturating_add(minted.lifetime),
    }));
    Ok(Exit::Done)
}

/// Unix time as this machine has it.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn workspaces(given: &[(String, Role)]) -> Result<BTreeMap<String, Role>, Failure> {
    let mut roles = BTreeMap::new();
    for (name, role) in given {
        if roles.insert(name.clone(), *role).is_some() {
            return Err(Failure::usage(format!("workspace {name} is named twice"))
                .help("give each workspace one role"));
        }
    }
    Ok(roles)
}

fn account(text: &str) -> Result<String, String> {
    match text.len() {
        1..=MAX_NAME => Ok(text.to_owned()),
        n => Err(format!(
            "an account has 1 to {MAX_NAME} bytes, this one has {n}"
        )),
    }
}

fn grant(text: &str) -> Result<(String, Role), String> {
    let form = "expected NAME=ROLE, such as garden=writer";
    let (name, role) = text.rsplit_once('=').ok_or(form)?;
    let role = match role {
        "reader" => Role::Reader,
        "writer" => Role::Writer,
        "admin" => Role::Admin,
        _ => return Err(format!("the role is reader, writer or admin, not {role:?}")),
    };
    match name.is_empty() {
        true => Err(form.to_owned()),
        false => Ok((name.to_owned(), role)),
    }
}

/// Whole seconds: what tokens count in.
fn lifetime(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    match span.as_seconds() {
        0 => Err("a token has to live for a while".to_owned()),
        _ if span > LONGEST => Err(format!("a token lives at most {LONGEST}")),
        _ => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_server::auth::Keys;

    #[test]
    fn lifetimes_have_a_unit_and_an_end() {
        assert_eq!(lifetime("90s"), Ok(Span::seconds(90)));
        assert_eq!(lifetime("366d"), Ok(LONGEST));
        for wrong in ["1", "0s", "999ms", "367d", "18446744073709551615s"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_grant_names_a_workspace_and_a_role() {
        assert_eq!(
            grant("garden=writer"),
            Ok(("garden".to_owned(), Role::Writer))
        );
        assert_eq!(grant("a=b=admin"), Ok(("a=b".to_owned(), Role::Admin)));
        for wrong in ["garden", "=writer", "garden=", "garden=owner"] {
            assert!(grant(wrong).is_err(), "{wrong}");
        }
        let twice = [
            ("a".to_owned(), Role::Reader),
            ("a".to_owned(), Role::Writer),
        ];
        assert_eq!(workspaces(&twice).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn the_server_takes_what_is_minted() {
        let secret = [7; 32];
        let minted = Minted {
            account: "ada".to_owned(),
            workspaces: workspaces(&[("garden".to_owned(), Role::Reader)]).unwrap(),
            issued: unix_seconds(),
            lifetime: 60,
            audience: None,
            issuer: None,
        };
        let token = mint::hs256(&secret, &minted).unwrap();
        let verified = Keys::hs256(&secret)
            .unwrap()
            .verify(&token, unix_seconds() * 1000)
            .unwrap();
        assert_eq!(verified.account, "ada");
        assert_eq!(verified.workspaces.get("garden"), Some(&Role::Reader));
    }
}

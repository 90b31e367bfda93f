//! `driftline demo`: real records, several devices, everything that goes wrong in the field, and a
//! check of every promise.
//!
//! Each device is a process of its own that uses the library as an app does, talking HTTP to a server
//! process through a network that this process spoils ([`weather`]). What must come out is kept on
//! [`paper`], by other means than the database's.

mod acts;
mod birds;
pub(crate) mod device;
mod editor;
mod messages;
mod paper;
mod random;
mod server;
mod stage;
mod team;
mod watcher;
mod weather;
mod world;

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;
use birds::SCHEMA;
use paper::Paper;
use random::Random;
use server::Server;
use stage::Stage;
use world::World;

/// Enters real field records on several devices, breaks everything that breaks in the field, and
/// checks that nothing is lost.
///
/// 344 penguins, three teams on three islands, no network: conflicting corrections, a device killed
/// while it writes, a clock hours wrong, an answer lost after the server committed, a write the server
/// refuses, a file copied with unsynced writes in it, a journal that two teams type into at once. At
/// the end all devices and the server show the same, and every overwritten value is listed. The exit
/// code is 0 only if every check held.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Keeps the databases, the server's data and the logs in this directory (made, and empty before)
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Plays the same story again; another number, another story
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// What the server takes of a comment, in bytes: less than the teams' apps know of,
const SHORT_COMMENTS: u32 = 200;
/// and later more.
const LONG_COMMENTS: u32 = 300;

/// The teams' schema as the server has it: comments of at most so many bytes.
fn schema_with_comments_of(bytes: u32) -> Result<String, Failure> {
    let (theirs, comments) = (SCHEMA, "comments = { id = 17, kind = \"text\" }");
    let limited = format!("comments = {{ id = 17, kind = \"text\", max_bytes = {bytes} }}");
    match theirs.contains(comments) {
        true => Ok(theirs.replace(comments, &limited)),
        false => Err(Failure::fault(
            "the demo's schema has no such comments field",
        )),
    }
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Outcome {
    let place = Place::prepare(arguments.keep.as_deref())?;
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::from(std::process::id()) ^ entropy());
    let outcome = play(&place, seed, output);
    if arguments.keep.is_some() {
        tell_where(&place, output);
    } else if !matches!(outcome, Ok(Exit::Done)) {
        output.line(format!(
            "To look closer: driftline demo --seed {seed} --keep DIR"
        ));
    }
    outcome
}

fn play(place: &Place, seed: u64, output: &Output) -> Outcome {
    let mut random = Random::new(seed);
    let birds = birds::read()
        .map_err(|error| Failure::fault("the demo's records cannot be read").because(&error))?;
    let secret = format!("{:016x}{:016x}{:016x}", entropy(), entropy(), random.next());
    let schema = schema_with_comments_of(SHORT_COMMENTS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unavailable("no_threads", "cannot start threads").because(&error)
        })?;
    runtime.spawn(clean_up_when_interrupted(place.temporary()));
    let mut stage = Stage::new(output);
    stage.step("A server starts");
    let server = Server::start(&place.directory, &schema, secret.into_bytes())?;
    let text = format!(
        "driftline serve at http://{}; it takes comments of at most {SHORT_COMMENTS} bytes, which the teams' apps do not know; story {seed} (--seed plays it again)",
        server.address
    );
    stage.note(
        &text,
        json!({ "address": server.address.to_string(), "seed": seed }),
    );
    let mut world = World {
        stage,
        teams: Vec::new(),
        networks: Vec::new(),
        server,
        paper: Paper::default(),
        random,
        notes: acts::Notes::of(&birds),
        birds,
        directory: place.directory.clone(),
        bytes_before: Vec::new(),
        settled_in: Vec::new(),
        watcher: None,
        runtime,
    };
    acts::entry(&mut world)?;
    acts::meeting(&mut world)?;
    let plot = acts::conflicts(&mut world)?;
    acts::healing(&mut world, &plot)?;
    acts::mending(&mut world, &plot)?;
    acts::journal(&mut world)?;
    acts::watched(&mut world, &plot)?;
    acts::verdict(world)
}

/// Where it happens.
struct Place {
    directory: PathBuf,
    /// Removed at the end.
    temporary: Option<tempfile::TempDir>,
}

impl Place {
    /// The directory, if it is to be removed.
    fn temporary(&self) -> Option<PathBuf> {
        self.temporary
            .as_ref()
            .map(|temporary| temporary.path().to_owned())
    }

    fn prepare(keep: Option<&Path>) -> Result<Place, Failure> {
        let unusable = |error: std::io::Error| {
            Failure::file("unusable_directory", "cannot use the directory").because(&error)
        };
        match keep {
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("driftline-demo-")
                    .tempdir()
                    .map_err(unusable)?;
                Ok(Place {
                    directory: temporary.path().to_owned(),
                    temporary: Some(temporary),
                })
            }
            Some(directory) => {
                std::fs::create_dir_all(directory).map_err(unusable)?;
                let directory = std::path::absolute(directory).map_err(unusable)?;
                if std::fs::read_dir(&directory)
                    .map_err(unusable)?
                    .next()
                    .is_some()
                {
                    return Err(Failure::file(
                        "not_empty",
                        format!("{} is not empty", directory.display()),
                    )
                    .help("name a directory that is empty or not there yet"));
                }
                Ok(Place {
                    directory,
                    temporary: None,
                })
            }
        }
    }
}

fn tell_where(place: &Place, output: &Output) {
    let directory = place.directory.display();
    output.line("");
    output.line(format!(
        "The files are in {directory}. Look at any of them:"
    ));
    output.line(format!("  driftline inspect {directory}/torgersen.db"));
    output.line(format!("  driftline inspect --server {directory}/data"));
    output.object(&json!({ "type": "kept", "directory": directory.to_string() }));
}

/// Ctrl-C reaches the devices and the server too; what is left is the directory.
async fn clean_up_when_interrupted(temporary: Option<PathBuf>) {
    if tokio::signal::ctrl_c().await.is_ok() {
        if let Some(directory) = temporary {
            // A device that is still dying may write a last file; better a file left than no end.
            let _ = std::fs::remove_dir_all(directory);
        }
        std::process::exit(130);
    }
}

/// A number nobody knows beforehand.
fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

//! A real server process, devices in this process, and a network that can be told to fail.

pub mod client;
pub mod clock;
pub mod device;
pub mod draws;
pub mod faults;
pub mod mock;
pub mod plain;
pub mod proxy;
pub mod recorder;
pub mod server;
pub mod worker;

pub use client::Client;
pub use device::{Carrier, Device, over};
pub use draws::Draws;
pub use faults::{Fault, Faulty};
pub use mock::{Mock, Turn};
pub use plain::PlainHttp;
pub use proxy::{Line, Proxy};
pub use recorder::Recorder;
pub use server::Server;

/// The schema of most flows.
pub const SCHEMA: &str = r#"
[schema]
name = "flows"
version = 1

[collections.notes]
id = 1
on_conflict_delete = "update_wins"
search = ["title"]

[collections.notes.fields]
title = { id = 1, kind = "text", required = true, max_bytes = 2000 }
body = { id = 2, kind = "text" }
done = { id = 3, kind = "boolean", default = false }
count = { id = 4, kind = "counter" }
tags = { id = 5, kind = "set" }
rank = { id = 6, kind = "integer" }
story = { id = 7, kind = "rich_text" }
steps = { id = 8, kind = "list" }

[collections.tasks]
id = 2

[collections.tasks.fields]
title = { id = 1, kind = "text" }
note = { id = 2, kind = "text" }
"#;

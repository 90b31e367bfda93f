//! What the apps of a simulated world declare.

use driftline::Schema;

/// Every kind of field and of collection. `twins` are written together in one transaction and never
/// deleted: that shows half transactions and effects that count twice.
const SCHEMA: &str = r#"
[schema]
name = "world"
version = 1

[collections.notes]
id = 1
search = ["title"]
indexes = [{ name = "by_place", fields = ["place"] }]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }
place = { id = 5, kind = "order_key" }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
tags = { id = 3, kind = "set" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }

[collections.twins]
id = 4
[collections.twins.fields]
mark = { id = 1, kind = "text" }
count = { id = 2, kind = "counter" }

[collections.letters]
id = 5
[collections.letters.fields]
title = { id = 1, kind = "text" }
words = { id = 2, kind = "rich_text" }
items = { id = 3, kind = "list" }
"#;

/// The collection whose documents merge as a whole.
pub(super) const PAPERS: u16 = 3;

/// The collection whose documents are written together.
pub const TWINS: u16 = 4;

/// The collection with texts and lists.
pub const LETTERS: u16 = 5;

/// The most bytes of a body that a strict server takes.
pub(super) const STRICT_BODY: usize = 64;

/// The schemas of a world, parsed once.
pub struct Schemas {
    /// What apps declare, and lenient servers.
    pub app: Schema,
    /// What a strict server declares: it refuses long bodies.
    pub strict: Schema,
}

impl Schemas {
    /// Parses them.
    pub fn new() -> Schemas {
        let parse = |text: &str| match Schema::parse(text) {
            Ok(schema) => schema,
            Err(error) => unreachable!("the schema of simulated worlds: {error}"),
        };
        let strict = SCHEMA.replace(
            r#"body = { id = 2, kind = "text" }"#,
            &format!(r#"body = {{ id = 2, kind = "text", max_bytes = {STRICT_BODY} }}"#),
        );
        Schemas {
            app: parse(SCHEMA),
            strict: parse(&strict),
        }
    }
}

impl Default for Schemas {
    fn default() -> Schemas {
        Schemas::new()
    }
}

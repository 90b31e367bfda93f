//! What the apps of scenarios declare.

use driftline::Schema;

use super::world::Setup;

/// What apps declare.
const SCHEMA: &str = r#"
[schema]
name = "crashes"
version = 1

[collections.notes]
id = 1
search = ["title"]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }
"#;

/// The same, with a field, an index and a collection more.
const NEWER_SCHEMA: &str = r#"
[schema]
name = "crashes"
version = 2

[collections.notes]
id = 1
search = ["title", "body"]
indexes = [{ name = "by_rank", fields = ["rank"] }]
[collections.notes.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }
count = { id = 3, kind = "counter" }
tags = { id = 4, kind = "set" }
rank = { id = 5, kind = "integer", default = 7 }

[collections.plans]
id = 2
on_conflict_delete = "update_wins"
[collections.plans.fields]
title = { id = 1, kind = "text" }
body = { id = 2, kind = "text" }

[collections.papers]
id = 3
merge = "document"
[collections.papers.fields]
title = { id = 1, kind = "text" }

[collections.birds]
id = 4
[collections.birds.fields]
species = { id = 1, kind = "text" }
"#;

/// What people write together, beside the rest.
const TEXTS: &str = r#"
[collections.pages]
id = 5
[collections.pages.fields]
title = { id = 1, kind = "text" }
story = { id = 2, kind = "rich_text" }
steps = { id = 3, kind = "list" }
"#;

/// What the server of scenarios about refusals bears in one value.
pub(super) const STRICT_BODY: usize = 200;

/// Schemas are parsed once, not for every point.
pub(super) struct Schemas {
    app: Schema,
    newer: Schema,
    strict: Schema,
    texts: Schema,
    strict_texts: Schema,
}

impl Schemas {
    pub(super) fn new() -> Schemas {
        let parse = |text: &str| match Schema::parse(text) {
            Ok(schema) => schema,
            Err(error) => unreachable!("a schema of the scenarios: {error}"),
        };
        let limited = |schema: &str, kind: &str| {
            let kind = format!(r#"kind = "{kind}""#);
            let limited = format!("{kind}, max_bytes = {STRICT_BODY}");
            schema.replacen(&format!("id = 2, {kind}"), &format!("id = 2, {limited}"), 1)
        };
        let texts = format!("{SCHEMA}{TEXTS}");
        Schemas {
            app: parse(SCHEMA),
            newer: parse(NEWER_SCHEMA),
            strict: parse(&limited(SCHEMA, "text")),
            strict_texts: parse(&limited(&texts, "rich_text")),
            texts: parse(&texts),
        }
    }

    /// What the device opens its file with, and what the server serves.
    pub(super) fn of(&self, setup: Setup) -> (&Schema, &Schema) {
        match (setup.newer_schema, setup.texts, setup.strict) {
            (true, _, _) => (&self.newer, &self.newer),
            (false, false, false) => (&self.app, &self.app),
            (false, false, true) => (&self.app, &self.strict),
            (false, true, false) => (&self.texts, &self.texts),
            (false, true, true) => (&self.texts, &self.strict_texts),
        }
    }
}

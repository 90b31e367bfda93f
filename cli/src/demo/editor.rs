//! A device's part in the journal: paragraphs written in a transaction, and an editor at which a person
//! types.

use std::time::{Duration, Instant};

use driftline::{Database, Error, Offsets, OpenRichText, RichText, TextEdit, TextSession, Value};

use super::messages::{Paragraph, Reply, Stroke};

/// How long an editor waits for the first word of others.
const LISTENS: Duration = Duration::from_secs(10);

const BOLD: [(&str, bool); 1] = [("bold", true)];
const ITALIC: [(&str, bool); 1] = [("italic", true)];
const PLAIN: [(&str, Value); 0] = [];

/// Puts a paragraph at the end, or on top.
pub(super) fn enter(
    text: &mut OpenRichText<'_, '_>,
    paragraph: &Paragraph,
    on_top: bool,
) -> driftline::Result<()> {
    let at = if on_top { 0 } else { text.len()? };
    let below = at + utf16(&paragraph.heading);
    text.edit([
        TextEdit::insert_formatted(at, paragraph.heading.clone(), BOLD),
        TextEdit::insert_formatted(below, format!("\n{}", paragraph.body()), PLAIN),
    ])
}

/// Puts a sentence into italics.
pub(super) fn italicise(text: OpenRichText<'_, '_>, sentence: &str) -> driftline::Result<()> {
    let mut text = text.with_offsets(Offsets::Utf8);
    let place = text.read()?.text().find(sentence);
    let at = place.and_then(|at| u32::try_from(at).ok());
    match at {
        Some(at) => text.edit([TextEdit::format(at, sentence.len() as u32, ITALIC)]),
        None => Ok(()),
    }
}

/// Where one text may be open.
#[derive(Default)]
pub(super) struct Desk {
    editor: Option<TextSession>,
}

impl Desk {
    pub(super) fn open(
        &mut self,
        db: &Database,
        collection: &str,
        id: &str,
        field: &str,
    ) -> driftline::Result<()> {
        let editor = db.open_text(collection, id, field)?;
        let end = editor.len()?;
        editor.select(end, end)?;
        self.editor = Some(editor);
        Ok(())
    }

    /// Types, and says how many edits of others arrived meanwhile.
    pub(super) fn type_all(&self, strokes: &[Stroke], pause: Duration) -> driftline::Result<u64> {
        let Some(editor) = &self.editor else {
            return Ok(0);
        };
        let mut heard = 0;
        for stroke in strokes {
            heard += editor.news()?.len();
            match stroke {
                Stroke::Listen => heard += listen(editor, heard)?,
                stroke => strike(editor, stroke)?,
            }
            std::thread::sleep(pause);
        }
        editor.flush()?;
        heard += listen(editor, heard)?;
        Ok(heard as u64)
    }

    /// Closes the editor and says what it showed.
    pub(super) fn close(&mut self) -> driftline::Result<RichText> {
        let Some(editor) = self.editor.take() else {
            return Ok(RichText::default());
        };
        editor.news()?;
        let shown = editor.content()?;
        editor.close()?;
        Ok(shown)
    }
}

/// Waits for edits of others, if none were heard before; how many came.
fn listen(editor: &TextSession, before: usize) -> driftline::Result<usize> {
    let deadline = Instant::now() + LISTENS;
    let mut heard = 0;
    while before + heard == 0 && Instant::now() < deadline {
        editor.wait(deadline.saturating_duration_since(Instant::now()));
        heard += editor.news()?.len();
    }
    Ok(heard)
}

fn strike(editor: &TextSession, stroke: &Stroke) -> Result<(), Error> {
    let (caret, _) = editor.selection();
    match stroke {
        Stroke::Type { text, bold } => {
            let typed = match bold {
                true => TextEdit::insert_formatted(caret, text.clone(), BOLD),
                false => TextEdit::insert_formatted(caret, text.clone(), PLAIN),
            };
            editor.edit([typed])?;
            let caret = caret + utf16(text);
            editor.select(caret, caret)
        }
        Stroke::Erase { characters } => {
            let from = caret.saturating_sub(*characters);
            editor.edit([TextEdit::delete(from, caret - from)])
        }
        Stroke::Pause => editor.end_undo_step(),
        Stroke::Undo => editor.undo().map(drop),
        Stroke::Listen => Ok(()),
    }
}

/// A text as a reply.
pub(super) fn told(text: &RichText) -> Reply {
    Reply::Text {
        text: text.text().to_owned(),
        delta: serde_json::from_str(text.delta()).unwrap_or_default(),
    }
}

fn utf16(text: &str) -> u32 {
    text.encode_utf16().count() as u32
}

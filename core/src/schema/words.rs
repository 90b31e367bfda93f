//! Words of error messages: quoting what was found, and guessing what was meant.

/// The most characters of a found text that a message repeats.
const SHOWN: usize = 60;

/// `text` in quotes, escaped and shortened.
pub(super) fn quote(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// `a, b or c`.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// ` (did you mean "x"?)`, or nothing if no candidate is close to `word`.
pub(super) fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, candidates) {
        Some(meant) => format!(" (did you mean {}?)", quote(meant)),
        None => String::new(),
    }
}

/// The candidate that `word` most likely stands for.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer words are no names, and the comparison is quadratic.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 64)
        .filter_map(|candidate| Some((closeness(&word, candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn closeness(word: &str, candidate: &str) -> Option<usize> {
    let distance = distance(word, candidate);
    let longer = word.chars().count().max(candidate.chars().count());
    let abbreviated = word.len() >= 3 && candidate.starts_with(word);
    (distance * 3 <= longer || abbreviated).then_some(distance)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
#[expect(
    clippy::indexing_slicing,
    reason = "the loops end with the words, and a row has a place more than the second"
)]
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            row[j] = (last[j] + 1)
                .min(row[j - 1] + 1)
                .min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_typos_swaps_and_abbreviations_but_not_strangers() {
        let kinds = ["text", "integer", "rich_text", "counter"];
        assert_eq!(nearest("txet", kinds), Some("text"));
        assert_eq!(nearest("Integr", kinds), Some("integer"));
        assert_eq!(nearest("int", kinds), Some("integer"));
        assert_eq!(nearest("richtext", kinds), Some("rich_text"));
        assert_eq!(nearest("money", kinds), None);
        assert_eq!(nearest("", kinds), None);
        assert_eq!(nearest(&"x".repeat(10_000), kinds), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn quoted_text_is_escaped_and_short() {
        assert_eq!(quote("a\"\n"), r#""a\"\n""#);
        assert_eq!(quote(&"é".repeat(99)).chars().count(), SHOWN + 3);
    }
}

//! O10: when all have synced, all show the same, and every word that was typed is there once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{Judgement, object};

const ORACLE: &str = "O10 convergence";

/// The documents that two of them show are the same, field by field, where both have the field.
pub fn all_show_the_same(
    one: &BTreeMap<String, Json>,
    other: &BTreeMap<String, Json>,
    whose: &str,
) -> Judgement {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for key in keys {
        let agree = match (one.get(key), other.get(key)) {
            (Some(Json::Object(one)), Some(Json::Object(other))) => one
                .iter()
                .all(|(field, value)| other.get(field).is_none_or(|there| there == value)),
            (one, other) => one == other,
        };
        if !agree {
            let (one, other) = (one.get(key), other.get(key));
            return object(
                ORACLE,
                format!("{whose} differ in {key}: {one:?} and {other:?}"),
            );
        }
    }
    Ok(())
}

/// Devices show of every text what the server makes of its updates.
pub fn texts_are_the_servers(
    shown: &BTreeMap<String, Json>,
    texts: impl IntoIterator<Item = (String, String)>,
    field: &str,
) -> Judgement {
    for (place, text) in texts {
        let there = shown.get(&place).and_then(|document| document.get(field));
        if there.is_some_and(|there| there.as_str() != Some(&text)) {
            return object(
                ORACLE,
                format!("{place} says {text} on the server and {there:?} on devices"),
            );
        }
    }
    Ok(())
}

/// No word occurs twice in a text. Words are written once each, in brackets; those that `again` knows
/// were put in again by an app.
pub fn words_are_there_once(text: &str, place: &str, again: impl Fn(&str) -> bool) -> Judgement {
    let mut seen = BTreeSet::new();
    for word in text
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
    {
        if !seen.insert(word.0) && !again(word.0) {
            return object(ORACLE, format!("{place} has {} twice: {text}", word.0));
        }
    }
    Ok(())
}

/// Every one of these words is in the text: each was typed, acknowledged and accepted, and nobody took
/// it out.
pub fn words_are_there<'w>(
    text: &str,
    words: impl IntoIterator<Item = &'w str>,
    place: &str,
) -> Judgement {
    match words.into_iter().find(|word| !text.contains(word)) {
        None => Ok(()),
        Some(word) => object(ORACLE, format!("{place} has lost {word}: {text}")),
    }
}

/// None of these words is in the text: each was there, was taken out, and that was acknowledged and
/// accepted.
pub fn words_are_gone<'w>(
    text: &str,
    words: impl IntoIterator<Item = &'w str>,
    place: &str,
) -> Judgement {
    match words.into_iter().find(|word| text.contains(word)) {
        None => Ok(()),
        Some(word) => object(
            ORACLE,
            format!("{place} still says {word}, which was taken out: {text}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_field_that_differs_is_refused() {
        let one = BTreeMap::from([("1/a".to_owned(), json!({"title": "x", "count": 1}))]);
        let mut other = BTreeMap::from([("1/a".to_owned(), json!({"title": "x"}))]);
        assert_eq!(all_show_the_same(&one, &other, "both"), Ok(()));
        other.insert("1/a".to_owned(), json!({"title": "y"}));
        assert!(all_show_the_same(&one, &other, "both").is_err());
        other.clear();
        assert!(all_show_the_same(&one, &other, "both").is_err());
    }

    #[test]
    fn a_text_that_says_something_else_on_the_server_is_refused() {
        let shown = BTreeMap::from([("1/a".to_owned(), json!({"words": "[x]", "count": 1}))]);
        let judged = |place: &str, text: &str| {
            texts_are_the_servers(&shown, [(place.to_owned(), text.to_owned())], "words")
        };
        assert_eq!(judged("1/a", "[x]"), Ok(()));
        assert_eq!(judged("1/deleted", "[y]"), Ok(()));
        assert!(judged("1/a", "[x][y]").is_err());
        assert!(judged("1/a", "").is_err());
    }

    #[test]
    fn a_lost_word_is_refused() {
        assert_eq!(words_are_there("[a][b]", ["[b]", "[a]"], "t"), Ok(()));
        assert!(words_are_there("[a]", ["[b]"], "t").is_err());
    }

    #[test]
    fn a_word_that_was_taken_out_and_is_there_is_refused() {
        assert_eq!(words_are_gone("[a]", ["[b]"], "t"), Ok(()));
        assert!(words_are_gone("[a][b]", ["[b]"], "t").is_err());
    }

    #[test]
    fn a_word_twice_is_refused() {
        let never = |_: &str| false;
        assert_eq!(words_are_there_once("[a] and [b]", "t", never), Ok(()));
        assert!(words_are_there_once("[a][b][a]", "t", never).is_err());
        let judged = words_are_there_once("[a][b][a]", "t", |word| word == "a");
        assert_eq!(judged, Ok(()));
    }
}

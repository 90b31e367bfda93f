//! The field records that are entered: `examples/palmer-penguins/penguins-raw.csv`, one row a bird.

use std::collections::BTreeMap;

use driftline_core::value::Value;

/// The records, as published.
const RECORDS: &str = include_str!("../../../examples/palmer-penguins/penguins-raw.csv");

/// The schema the teams' apps have.
pub(super) const SCHEMA: &str = include_str!("../../../examples/palmer-penguins/schema.toml");

/// A document's fields by name.
pub(super) type Fields = BTreeMap<String, Value>;

/// One observed bird.
#[derive(Clone, Debug)]
pub(super) struct Bird {
    /// Season and nest: together they name a row.
    pub(super) id: String,
    pub(super) island: String,
    /// What was recorded; what is missing (`NA`) is not there.
    pub(super) fields: Fields,
}

/// What a column becomes.
enum Column {
    Text,
    Integer,
    Real,
    YesNo,
    Date,
}

/// The columns in the file's order, each with its field.
const COLUMNS: [(&str, &str, Column); 17] = [
    ("studyName", "study_name", Column::Text),
    ("Sample Number", "sample_number", Column::Integer),
    ("Species", "species", Column::Text),
    ("Region", "region", Column::Text),
    ("Island", "island", Column::Text),
    ("Stage", "stage", Column::Text),
    ("Individual ID", "individual_id", Column::Text),
    ("Clutch Completion", "clutch_completion", Column::YesNo),
    ("Date Egg", "date_egg", Column::Date),
    ("Culmen Length (mm)", "culmen_length_mm", Column::Real),
    ("Culmen Depth (mm)", "culmen_depth_mm", Column::Real),
    ("Flipper Length (mm)", "flipper_length_mm", Column::Integer),
    ("Body Mass (g)", "body_mass_g", Column::Integer),
    ("Sex", "sex", Column::Text),
    ("Delta 15 N (o/oo)", "delta_15_n", Column::Real),
    ("Delta 13 C (o/oo)", "delta_13_c", Column::Real),
    ("Comments", "comments", Column::Text),
];

/// A row that is not what the file's description says.
#[derive(Debug, thiserror::Error)]
#[error("the records cannot be read: row {row}: {what}")]
pub(super) struct BadRecord {
    row: usize,
    what: String,
}

/// All birds, in the file's order.
pub(super) fn read() -> Result<Vec<Bird>, BadRecord> {
    let bad = |row: usize, what: String| BadRecord { row, what };
    let mut reader = csv::Reader::from_reader(RECORDS.as_bytes());
    let titles = reader
        .headers()
        .map_err(|error| bad(0, error.to_string()))?;
    if !titles.iter().eq(COLUMNS.iter().map(|(title, _, _)| *title)) {
        return Err(bad(0, "the columns are others".to_owned()));
    }
    let rows = reader.records().enumerate();
    rows.map(|(row, record)| {
        let record = record.map_err(|error| bad(row + 1, error.to_string()))?;
        bird(&record).map_err(|what| bad(row + 1, what))
    })
    .collect()
}

fn bird(record: &csv::StringRecord) -> Result<Bird, String> {
    let mut fields = Fields::new();
    for (cell, (title, field, column)) in record.iter().zip(&COLUMNS) {
        if cell != "NA" {
            let value = column
                .read(cell)
                .ok_or_else(|| format!("{title} is {cell:?}"))?;
            fields.insert((*field).to_owned(), value);
        }
    }
    let text = |field: &str| match fields.get(field) {
        Some(Value::Text(text)) => Ok(text.clone()),
        _ => Err(format!("no {field}")),
    };
    let id = format!("{}-{}", text("study_name")?, text("individual_id")?);
    Ok(Bird {
        id,
        island: text("island")?,
        fields,
    })
}

impl Column {
    fn read(&self, cell: &str) -> Option<Value> {
        match self {
            Column::Text => Some(cell.into()),
            Column::Integer => cell.parse::<i64>().ok().map(Value::from),
            Column::Real => cell
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
                .map(Value::from),
            Column::YesNo if cell == "Yes" => Some(true.into()),
            Column::YesNo if cell == "No" => Some(false.into()),
            Column::YesNo => None,
            Column::Date => midnight(cell).map(Value::from),
        }
    }
}

/// `2007-11-16` as milliseconds since 1970 UTC.
fn midnight(date: &str) -> Option<i64> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from a calendar whose years begin in March, so that the leap day is the last.
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftline_core::schema::Schema;

    #[test]
    fn every_row_is_there_under_a_name_of_its_own() {
        let birds = read().unwrap();
        let on = |island: &str| birds.iter().filter(|bird| bird.island == island).count();
        assert_eq!(
            (on("Biscoe"), on("Dream"), on("Torgersen"), birds.len()),
            (168, 124, 52, 344)
        );
        let ids: std::collections::BTreeSet<_> = birds.iter().map(|bird| &bird.id).collect();
        assert_eq!(ids.len(), 344);
    }

    #[test]
    fn missing_values_stay_missing() {
        let birds = read().unwrap();
        let without = |field: &str| {
            birds
                .iter()
                .filter(|bird| !bird.fields.contains_key(field))
                .count()
        };
        assert_eq!(
            (without("sex"), without("comments"), without("body_mass_g")),
            (11, 290, 2)
        );
        assert!(
            birds
                .iter()
                .all(|bird| bird.fields.values().all(|v| *v != Value::from("NA")))
        );
    }

    #[test]
    fn every_value_fits_the_schema() {
        let schema = Schema::parse(SCHEMA).unwrap();
        let collection = schema.collection("birds").unwrap();
        for bird in read().unwrap() {
            for (name, value) in bird.fields {
                let field = collection.field(&name).unwrap();
                assert_eq!(
                    value.clone().admit(field.kind),
                    Ok(value),
                    "{} {name}",
                    bird.id
                );
            }
        }
    }

    #[test]
    fn dates_are_midnights() {
        assert_eq!(midnight("1970-01-01"), Some(0));
        assert_eq!(midnight("2000-02-29"), Some(951_782_400_000));
        assert_eq!(midnight("2007-11-16"), Some(1_195_171_200_000));
        assert_eq!(midnight("2007-11"), None);
        assert_eq!(midnight("2007-13-01"), None);
    }
}

//! Values of the JSON form in the kinds that the schema gives them.
//!
//! In JSON a string stands for text, for bytes and for an integer beyond ±2⁵³. Who receives an op
//! checks every value anyway; who receives what a merge made of it trusts the sender, and only has
//! to tell these apart.

use super::{DocumentResult, LiveFrame, SnapshotFrame, SyncResponse, VersionEntry};
use crate::id::{CollectionId, FieldId};
use crate::ledger::Loss;
use crate::schema::Schema;
use crate::value::Value;

/// A message that carries values.
pub trait HoldsValues {
    /// Brings each value into its field's kind. One that does not fit stays as it is: what reads
    /// it refuses it.
    fn settle_kinds(&mut self, schema: &Schema);
}

impl HoldsValues for SyncResponse {
    fn settle_kinds(&mut self, schema: &Schema) {
        settle_versions(&mut self.versions, schema);
        self.losses
            .iter_mut()
            .for_each(|loss| settle_loss(loss, schema));
    }
}

impl HoldsValues for LiveFrame {
    fn settle_kinds(&mut self, schema: &Schema) {
        match self {
            LiveFrame::Versions(versions) => settle_versions(&mut versions.versions, schema),
            LiveFrame::Response(response) => response.settle_kinds(schema),
            LiveFrame::Request(_) | LiveFrame::Failed { .. } | LiveFrame::Behind => {}
        }
    }
}

impl HoldsValues for SnapshotFrame {
    fn settle_kinds(&mut self, schema: &Schema) {
        if let SnapshotFrame::Documents { documents } = self {
            documents
                .iter_mut()
                .for_each(|document| settle_document(document, schema));
        }
    }
}

fn settle_versions(versions: &mut [VersionEntry], schema: &Schema) {
    versions
        .iter_mut()
        .flat_map(|version| &mut version.documents)
        .for_each(|document| settle_document(document, schema));
}

fn settle_document(result: &mut DocumentResult, schema: &Schema) {
    for (field, register) in result.state.registers.iter_mut() {
        settle(&mut register.value, schema, result.collection, field);
    }
}

fn settle_loss(loss: &mut Loss, schema: &Schema) {
    let Some(field) = loss.field else { return };
    for value in [
        &mut loss.value,
        &mut loss.base_value,
        &mut loss.winner_value,
    ] {
        settle(value, schema, loss.collection, field);
    }
}

fn settle(value: &mut Value, schema: &Schema, collection: CollectionId, field: FieldId) {
    let Some(field) = schema
        .collection_by_id(collection)
        .and_then(|collection| collection.field_by_id(field))
    else {
        return;
    };
    if let Ok(settled) = value.clone().admit(field.kind) {
        *value = settled;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::{Form, decode, encode};

    fn schema() -> Schema {
        Schema::parse(
            r#"
            [schema]
            name = "kinds"
            version = 1
            [collections.photos]
            id = 1
            [collections.photos.fields]
            title = { id = 1, kind = "text" }
            image = { id = 2, kind = "bytes" }
            size = { id = 3, kind = "integer" }
            scale = { id = 4, kind = "real" }
            views = { id = 5, kind = "counter" }
            "#,
        )
        .unwrap()
    }

    #[test]
    fn a_string_becomes_what_its_field_holds() {
        let text = r#"{"cursor": {"version": 1, "hash": "00000000000000aa"}, "server_time": 5,
            "versions": [{"version": 1, "ids": ["0190b65c-4e00-7000-8000-000000000001"], "documents": [
              {"collection": 1, "document": "a", "whole": true, "state": {
                "generation": {"opener": "0190b65c-4e00-7000-8000-000000000001", "version": 1}, "version": 1,
                "registers": {
                  "1": {"value": "AP8Q", "op": "0190b65c-4e00-7000-8000-000000000001", "stamp": 1, "version": 1},
                  "2": {"value": "AP8Q", "op": "0190b65c-4e00-7000-8000-000000000001", "stamp": 1, "version": 1},
                  "3": {"value": "9007199254740993", "op": "0190b65c-4e00-7000-8000-000000000001", "stamp": 1, "version": 1},
                  "4": {"value": 2, "op": "0190b65c-4e00-7000-8000-000000000001", "stamp": 1, "version": 1},
                  "9": {"value": "later", "op": "0190b65c-4e00-7000-8000-000000000001", "stamp": 1, "version": 1}}}}]}],
            "losses": [{"number": 1, "collection": 1, "document": "a", "field": 2, "value": "AP8Q",
              "op": "0190b65c-4e00-7000-8000-000000000001", "winner": "0190b65c-4e00-7000-8000-000000000002",
              "stamp": 1, "winner_stamp": 2, "rule": "overwritten", "at": 5}]}"#;
        let mut answer: SyncResponse = decode(Form::Json, text.as_bytes()).unwrap();
        answer.settle_kinds(&schema());
        let value = |field| answer.versions[0].documents[0].state.value(field).cloned();
        assert_eq!(value(1), Some(Value::from("AP8Q")));
        assert_eq!(value(2), Some(Value::Bytes(vec![0x00, 0xff, 0x10])));
        assert_eq!(value(3), Some(Value::Integer(9_007_199_254_740_993)));
        assert_eq!(value(4), Some(Value::Real(2.0)));
        assert_eq!(value(9), Some(Value::from("later")), "not in this schema");
        assert_eq!(answer.losses[0].value, Value::Bytes(vec![0x00, 0xff, 0x10]));
        // The same message by way of the binary form needs no settling.
        let back: SyncResponse = decode(Form::Cbor, &encode(Form::Cbor, &answer)).unwrap();
        assert_eq!(back, answer);
    }

    #[test]
    fn what_does_not_fit_is_left_for_its_reader_to_refuse() {
        let mut value = Value::from("not base64!");
        settle(&mut value, &schema(), 1, 2);
        assert_eq!(value, Value::from("not base64!"));
        let mut unknown = Value::from("AP8Q");
        settle(&mut unknown, &schema(), 7, 2);
        assert_eq!(unknown, Value::from("AP8Q"));
    }
}

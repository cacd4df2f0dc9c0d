//! A body that changes what it names, as RFC 7396 reads it: what is absent stays, and `null` is not absent.

use serde::{Deserialize, Deserializer};

/// A member that is there, `null` included: serde's own reading of an `Option` takes `null` for absent.
pub(super) fn stated<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Takes the `"default": null` out of a schema, which says that an absent member clears.
pub(super) fn without_defaults(schema: &mut schemars::Schema) {
    let properties = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut);
    for property in properties.into_iter().flat_map(serde_json::Map::values_mut) {
        property.as_object_mut().map(|property| property.remove("default"));
    }
}

//! Maps of strings, borrowed from the text they are read from.

use std::fmt;

use crate::pod::json::{Read, Reader, Taken, Text};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A map of texts, such as labels. A key with a null is absent; of a repeated key the last counts, as for the API server.
#[derive(Debug, Default)]
pub(in crate::pod) struct TextMap<'a>(Vec<(Text<'a>, Text<'a>)>);

impl TextMap<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rfind(|(own, _)| own.as_str() == key)
            .map(|(_, value)| value.as_str())
    }
}

impl<'a> Read<'a> for TextMap<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
        read_texts(reader, |_| true, &mut self.0)
    }
}

/// Reads the texts of a map whose keys are to be kept.
pub(super) fn read_texts<'a>(
    reader: &mut Reader<'a>,
    keep: fn(&str) -> bool,
    kept: &mut Vec<(Text<'a>, Text<'a>)>,
) -> Taken {
    let mut object = reader.object()?;
    while let Some(key) = reader.key(&mut object)? {
        if !keep(&key) {
            reader.skip_value()?;
        } else if !reader.null()? {
            kept.push((key.into(), reader.string()?.into()));
        }
    }
    Some(())
}

impl<'de: 'a, 'a> Deserialize<'de> for TextMap<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(TextMapVisitor {
                keep: |_| true,
                kept: Vec::new(),
            })
            .map(Self)
    }
}

pub(super) struct TextMapVisitor<'a> {
    pub(super) keep: fn(&str) -> bool,
    pub(super) kept: Vec<(Text<'a>, Text<'a>)>,
}

impl<'de: 'a, 'a> Visitor<'de> for TextMapVisitor<'a> {
    type Value = Vec<(Text<'a>, Text<'a>)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings (an object)")
    }
    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Self::Value, M::Error> {
        while let Some(key) = map.next_key::<Text<'a>>()? {
            if !(self.keep)(key.as_str()) {
                map.next_value::<IgnoredAny>()?;
            } else if let Some(value) = map.next_value::<Option<Text<'a>>>()? {
                self.kept.push((key, value));
            }
        }
        Ok(self.kept)
    }
}

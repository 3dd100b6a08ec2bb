//! An example of the JSON that a type reads, to be shown to people.
//!
//! The type itself says how it is made up: it is read from a source that makes up a value for whatever it
//! is asked for, and writes it down.

use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value, json};

/// How deep an example goes: a type may hold itself.
const DEPTH: usize = 8;

/// An example of the JSON of a type; none where it takes no value that is made up, such as a text that
/// must be a date.
pub fn of<T: DeserializeOwned>() -> Option<String> {
    let mut value = Value::Null;
    T::deserialize(Source::new(&mut value, DEPTH)).ok()?;
    Some(value.to_string())
}

/// Makes up a value.
struct Source<'a> {
    /// Where it is written down.
    value: &'a mut Value,
    depth: usize,
}

impl<'a> Source<'a> {
    fn new(value: &'a mut Value, depth: usize) -> Self {
        Self { value, depth }
    }

    /// As many elements.
    fn list<'de, V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let depth = deeper(self.depth)?;
        let mut list = List {
            values: Vec::new(),
            length,
            depth,
        };
        let read = visitor.visit_seq(&mut list)?;
        *self.value = Value::Array(list.values);
        Ok(read)
    }

    /// A member of each name.
    fn members<'de, V: Visitor<'de>>(
        self,
        names: &[&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let depth = deeper(self.depth)?;
        let mut members = Members {
            values: Map::new(),
            names: names.to_vec(),
            at: 0,
            depth,
        };
        let read = visitor.visit_map(&mut members)?;
        *self.value = Value::Object(members.values);
        Ok(read)
    }
}

fn deeper(depth: usize) -> Result<usize, Error> {
    depth
        .checked_sub(1)
        .ok_or_else(|| Error::custom("the type has no end"))
}

/// What is made up for plain types.
macro_rules! plain {
    ($($method:ident $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.value = json!($value);
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Source<'_> {
    type Error = Error;

    plain! {
        deserialize_bool visit_bool true;
        deserialize_i8 visit_i8 1;
        deserialize_i16 visit_i16 1;
        deserialize_i32 visit_i32 1;
        deserialize_i64 visit_i64 1;
        deserialize_u8 visit_u8 1;
        deserialize_u16 visit_u16 1;
        deserialize_u32 visit_u32 1;
        deserialize_u64 visit_u64 1;
        deserialize_f32 visit_f32 1.5;
        deserialize_f64 visit_f64 1.5;
        deserialize_char visit_char 'a';
        deserialize_str visit_str "text";
        deserialize_string visit_str "text";
    }

    /// Whatever there is: an empty object.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.members(&[], visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(1, visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(1, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.list(1, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.list(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.list(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.members(&["key"], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.members(fields, visitor)
    }

    /// The first variant.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let first = variants.first();
        let name = first.ok_or_else(|| Error::custom("there is no variant"))?;
        visitor.visit_enum(Variant { source: self, name })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// The elements of a list.
struct List {
    values: Vec<Value>,
    length: usize,
    depth: usize,
}

impl<'de> SeqAccess<'de> for &mut List {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.values.len() == self.length {
            return Ok(None);
        }
        let mut value = Value::Null;
        let read = seed.deserialize(Source::new(&mut value, self.depth))?;
        self.values.push(value);
        Ok(Some(read))
    }
}

/// The members of an object.
struct Members {
    values: Map<String, Value>,
    names: Vec<&'static str>,
    at: usize,
    depth: usize,
}

impl<'de> MapAccess<'de> for &mut Members {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.names.get(self.at) else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let mut value = Value::Null;
        let read = seed.deserialize(Source::new(&mut value, self.depth))?;
        self.values.insert(self.names[self.at].to_owned(), value);
        self.at += 1;
        Ok(read)
    }
}

/// A variant of an enum: its name, or an object with that as the only member.
struct Variant<'a> {
    source: Source<'a>,
    name: &'static str,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl Variant<'_> {
    fn of<T>(self, read: impl FnOnce(Source<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut value = Value::Null;
        let depth = deeper(self.source.depth)?;
        let read = read(Source::new(&mut value, depth))?;
        *self.source.value = json!({ self.name: value });
        Ok(read)
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        *self.source.value = json!(self.name);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        self.of(|source| seed.deserialize(source))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.of(|source| source.list(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.of(|source| source.members(fields, visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::HashMap;

    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    #[allow(dead_code)]
    struct Operands {
        a: i64,
        b: Option<u8>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Nested {
        list: Vec<Operands>,
        map: HashMap<String, f32>,
        pair: (bool, char),
        kind: Kind,
        inner: Newtype,
        any: Value,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Kind {
        One,
        Two(String),
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    enum Shape {
        Circle { radius: f64 },
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Newtype(String);

    #[derive(Deserialize)]
    #[allow(dead_code)]
    struct Endless {
        next: Option<Box<Endless>>,
    }

    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    struct Picky;

    impl TryFrom<String> for Picky {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            Err(text)
        }
    }

    #[test]
    fn examples_are_read_by_their_type() {
        assert_eq!(of::<Operands>().unwrap(), r#"{"A":1,"B":1}"#);
        assert_eq!(of::<Shape>().unwrap(), r#"{"Circle":{"radius":1.5}}"#);
        let nested = of::<Nested>().unwrap();
        assert_eq!(
            nested,
            r#"{"any":{},"inner":"text","kind":"one","list":[{"A":1,"B":1}],"map":{"key":1.5},"pair":[true,"a"]}"#
        );
        assert!(serde_json::from_str::<Nested>(&nested).is_ok());
        assert_eq!(of::<u8>().unwrap(), "1");
    }

    #[test]
    fn types_without_an_example() {
        assert_eq!(of::<Endless>(), None);
        assert_eq!(of::<Picky>(), None);
    }
}

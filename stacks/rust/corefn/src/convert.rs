//! From a body to an argument, and from what a function returns to a reply.
//!
//! Text and nothing go over the wire as they are, a `Result` is taken apart, and everything else is
//! JSON. `String` and `Result` are `Serialize` too, so traits alone can't tell them apart. But a method
//! of the type itself comes before a trait's: the special cases are methods here, the general case is a
//! trait's method of the same name. The attribute's expansion calls them where every type is known.

use std::fmt::Display;
use std::marker::PhantomData;

use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::export::Kind;
use crate::reply::{Outcome, Reply};

/// An argument that is yet to be read.
pub struct Input<T>(PhantomData<T>);

impl<T> Input<T> {
    #[allow(clippy::new_without_default, missing_docs)]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl Input<()> {
    /// The body doesn't matter.
    pub fn read(self, _body: Bytes) -> Result<(), Reply> {
        Ok(())
    }

    /// There is none.
    pub fn example(self) -> Option<String> {
        None
    }
}

impl Input<String> {
    /// The body is the text.
    pub fn read(self, body: Bytes) -> Result<String, Reply> {
        String::from_utf8(body.into()).map_err(|error| Reply::bad_argument(error.utf8_error()))
    }

    /// Any text is one.
    pub fn example(self) -> Option<String> {
        None
    }
}

/// Any other argument.
pub trait JsonInput<T> {
    /// The body is JSON.
    fn read(self, body: Bytes) -> Result<T, Reply>
    where
        T: DeserializeOwned;

    /// An example of that, if one can be made up.
    fn example(self) -> Option<String>
    where
        T: DeserializeOwned;
}

impl<T> JsonInput<T> for Input<T> {
    fn read(self, body: Bytes) -> Result<T, Reply>
    where
        T: DeserializeOwned,
    {
        serde_json::from_slice(&body).map_err(Reply::bad_argument)
    }

    fn example(self) -> Option<String>
    where
        T: DeserializeOwned,
    {
        crate::example::of::<T>()
    }
}

/// What a function returned.
pub struct Output<T>(pub T);

impl<T, E> Output<Result<T, E>> {
    /// The value, or the reply that says what failed.
    pub fn outcome(self) -> Result<T, Reply>
    where
        E: Display,
    {
        self.0.map_err(Reply::failure)
    }
}

/// What a function returned that can't fail.
pub trait PlainOutput<T> {
    /// The value.
    fn outcome(self) -> Result<T, Reply>;
}

impl<T> PlainOutput<T> for Output<T> {
    fn outcome(self) -> Result<T, Reply> {
        Ok(self.0)
    }
}

impl Output<()> {
    /// Nothing to say.
    pub fn reply(self) -> Outcome {
        Ok(Reply::empty())
    }
}

impl Output<String> {
    /// The text.
    pub fn reply(self) -> Outcome {
        Ok(Reply::text(200, self.0))
    }
}

impl Output<&str> {
    /// The text.
    pub fn reply(self) -> Outcome {
        Ok(Reply::text(200, self.0))
    }
}

/// Any other answer.
pub trait JsonOutput<T> {
    /// The value as JSON.
    fn reply(self) -> Outcome
    where
        T: Serialize;
}

impl<T> JsonOutput<T> for Output<T> {
    fn reply(self) -> Outcome
    where
        T: Serialize,
    {
        match serde_json::to_vec(&self.0) {
            Ok(body) => Ok(Reply::json(body)),
            Err(error) => Err(Reply::failure(format!(
                "The answer can't be written as JSON: {error}"
            ))),
        }
    }
}

/// A type, to be asked what its values are on the wire.
pub struct Shape<T>(PhantomData<T>);

impl<T> Shape<T> {
    #[allow(clippy::new_without_default, missing_docs)]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, E> Shape<Result<T, E>> {
    /// The type of what is answered if all goes well.
    pub fn success(self) -> Shape<T> {
        Shape::new()
    }
}

/// A type that isn't a `Result`.
pub trait PlainShape<T> {
    /// The type itself.
    fn success(self) -> Shape<T>;
}

impl<T> PlainShape<T> for Shape<T> {
    fn success(self) -> Shape<T> {
        self
    }
}

impl Shape<()> {
    /// Nothing.
    pub fn kind(self) -> Kind {
        Kind::None
    }
}

impl Shape<String> {
    /// Text.
    pub fn kind(self) -> Kind {
        Kind::Text
    }
}

impl Shape<&str> {
    /// Text.
    pub fn kind(self) -> Kind {
        Kind::Text
    }
}

/// Any other type.
pub trait JsonShape {
    /// JSON.
    fn kind(self) -> Kind;
}

impl<T> JsonShape for Shape<T> {
    fn kind(self) -> Kind {
        Kind::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::ParseIntError;

    #[test]
    fn kinds() {
        type Fallible = Result<u8, ParseIntError>;
        assert_eq!(Shape::<()>::new().success().kind(), Kind::None);
        assert_eq!(Shape::<String>::new().success().kind(), Kind::Text);
        assert_eq!(Shape::<&str>::new().success().kind(), Kind::Text);
        assert_eq!(Shape::<Vec<String>>::new().success().kind(), Kind::Json);
        assert_eq!(Shape::<Fallible>::new().success().kind(), Kind::Json);
        assert_eq!(
            Shape::<Result<String, String>>::new().success().kind(),
            Kind::Text
        );
        assert_eq!(
            Shape::<Result<(), String>>::new().success().kind(),
            Kind::None
        );
    }

    #[test]
    fn arguments() {
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(Input::<String>::new().read(body("[1")).unwrap(), "[1");
        assert_eq!(Input::<Vec<u8>>::new().read(body("[1]")).unwrap(), [1]);
        let reply = Input::<Vec<u8>>::new().read(body("[1")).unwrap_err();
        assert_eq!(reply.status, 400);
        assert!(
            String::from_utf8(reply.body)
                .unwrap()
                .contains("line 1 column 2")
        );
        let reply = Input::<String>::new()
            .read(Bytes::from_static(b"\xff"))
            .unwrap_err();
        assert_eq!(reply.status, 400);
        Input::<()>::new()
            .read(Bytes::from_static(b"\xff"))
            .unwrap();
    }

    #[test]
    fn answers() {
        assert_eq!(Output(()).reply().unwrap().status, 204);
        assert_eq!(Output("a").reply().unwrap(), Reply::text(200, "a"));
        assert_eq!(
            Output(Some("a")).reply().unwrap(),
            Reply::json(b"\"a\"".to_vec())
        );
        assert_eq!(Output(Ok::<_, String>(5)).outcome().unwrap(), 5);
        let reply = Output(Err::<u8, _>("no")).outcome().unwrap_err();
        assert_eq!(reply, Reply::text(500, "no"));
        // JSON's keys are strings.
        let keyed = std::collections::BTreeMap::from([(vec![1], 2)]);
        assert_eq!(Output(keyed).reply().unwrap_err().status, 500);
    }
}

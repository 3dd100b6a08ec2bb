//! The attribute of the `corefn` crate. Use it from there: what it expands to names `::corefn`.
#![forbid(unsafe_code)]

mod name;
mod registration;

use proc_macro::TokenStream;
use quote::ToTokens;

/// Exports a function: it answers the requests for its name.
///
/// The name is the function's own in PascalCase (`say_hello` answers at `/SayHello`), or what
/// `#[corefn::function(name = "…")]` says. An empty name answers at `/`.
///
/// The function may be `async`, and takes one argument or none:
///
/// | argument | is |
/// |---|---|
/// | none | the request's body is ignored |
/// | `String`, `&str` | the body as text; 400 if it isn't UTF-8 |
/// | any other `DeserializeOwned` | the body as JSON; 400 if it doesn't fit |
///
/// | answer | is |
/// |---|---|
/// | nothing | 204 |
/// | `String`, `&str` | 200 with `text/plain; charset=utf-8` |
/// | any other `Serialize` | 200 with `application/json` |
/// | `Result<T, E>` where `E: Display` | what `T` is, or 500 with the error's text |
///
/// A panic is answered with 500, and the server goes on.
///
/// A function that isn't `async` may block: it runs on a thread of its own. An `async` one must not,
/// and its future must be `Send`.
#[proc_macro_attribute]
pub fn function(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    match registration::registration(attribute.into(), item.clone()) {
        Ok(registration) => {
            let mut tokens = item;
            registration.to_tokens(&mut tokens);
            tokens.into()
        }
        Err(error) => {
            // The function stays, so that its callers don't add errors of their own.
            let mut tokens = error.into_compile_error();
            item.to_tokens(&mut tokens);
            tokens.into()
        }
    }
}

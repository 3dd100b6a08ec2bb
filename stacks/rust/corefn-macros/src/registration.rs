//! What is generated beside a function: the entry through which the server finds and calls it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Safety, Signature, Type};

use crate::name::export_name;

/// The entry for the function in `item`, or why there can't be one.
pub fn registration(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item.clone()).map_err(|error| {
        // A function without a body parses up to its end; any other item says so at its start.
        Error::new(
            error.span(),
            format!("#[corefn::function] stands on a plain `fn`: {error}"),
        )
    })?;
    let signature = &function.sig;
    check(signature)?;
    let name = export_name(attribute, &signature.ident)?;

    let ident = &signature.ident;
    let path = ident.to_string();
    let argument = argument(signature)?;
    let argument_type = &argument.owned;
    let call_argument = &argument.expression;
    let answer_type = answer_type(signature)?;
    let conditions = function
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    // Resolved as all that is generated, but shown at the type that doesn't fit.
    let at_argument = Span::call_site().located_at(argument_type.span());
    let at_answer = Span::call_site().located_at(answer_type.span());
    let read = quote_spanned! {at_argument=>
        ::corefn::__private::Input::<#argument_type>::new().read(body)
    };
    let example = quote_spanned! {at_argument=>
        ::corefn::__private::Input::<#argument_type>::new().example()
    };
    let outcome = quote_spanned!(at_answer=> ::corefn::__private::Output(answer).outcome());
    let reply = quote_spanned!(at_answer=> ::corefn::__private::Output(answer).reply());
    let call = match signature.asyncness {
        None => quote! {
            ::corefn::__private::Call::Blocking(|body| {
                let argument = #read?;
                let answer = #ident(#call_argument);
                let answer = #outcome?;
                #reply
            })
        },
        Some(_) => quote! {
            ::corefn::__private::Call::Async(|body| ::std::boxed::Box::pin(async move {
                let argument = #read?;
                let answer = #ident(#call_argument).await;
                let answer = #outcome?;
                #reply
            }))
        },
    };
    Ok(quote! {
        #(#conditions)*
        const _: () = {
            // Nothing but methods is imported: a name here would hide the author's own.
            #[allow(unused_imports)]
            use ::corefn::__private::{
                JsonInput as _, JsonOutput as _, JsonShape as _, PlainOutput as _, PlainShape as _,
            };
            ::corefn::__private::inventory::submit! {
                ::corefn::__private::Export {
                    name: #name,
                    function: ::core::concat!(::core::module_path!(), "::", #path),
                    argument: || ::corefn::__private::Shape::<#argument_type>::new().kind(),
                    example: || #example,
                    answer: || ::corefn::__private::Shape::<#answer_type>::new().success().kind(),
                    #[allow(unused_variables, clippy::let_unit_value, clippy::unit_arg)]
                    call: #call,
                }
            }
        };
    })
}

/// How the function takes its argument.
struct Argument {
    /// The type that the body is read into.
    owned: TokenStream,
    /// What is written between the call's parentheses.
    expression: TokenStream,
}

fn check(signature: &Signature) -> Result<()> {
    let refuse = |span: Span, message: &str| Err(Error::new(span, message));
    if let Some(token) = signature.constness {
        return refuse(token.span, "an exported function can't be `const`");
    }
    if !matches!(signature.safety, Safety::Default) {
        return refuse(
            signature.safety.span(),
            "an exported function can't be `unsafe`: anyone may call it",
        );
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), "an exported function can't be `extern`");
    }
    if !signature.generics.params.is_empty() {
        return refuse(
            signature.generics.span(),
            "an exported function can't be generic: the request doesn't say which types to take",
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        return refuse(
            clause.span(),
            "an exported function can't have a `where` clause",
        );
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(variadic.span(), "an exported function can't be variadic");
    }
    if let Some(receiver) = signature.receiver() {
        return refuse(
            receiver.span(),
            "an exported function can't take `self`: no value lives from one request to the next",
        );
    }
    if let Some(second) = signature.inputs.iter().nth(1) {
        return refuse(
            second.span(),
            "an exported function takes one argument or none; put several values into a struct that derives `serde::Deserialize`",
        );
    }
    Ok(())
}

fn argument(signature: &Signature) -> Result<Argument> {
    let Some(FnArg::Typed(argument)) = signature.inputs.first() else {
        return Ok(Argument {
            owned: quote!(()),
            expression: TokenStream::new(),
        });
    };
    match &*argument.ty {
        Type::Reference(reference) => {
            let is_str = matches!(&*reference.elem, Type::Path(path) if path.path.is_ident("str"));
            if !is_str || reference.mutability.is_some() {
                return Err(Error::new(
                    reference.span(),
                    "of references an exported function takes only `&str`; take the value itself",
                ));
            }
            Ok(Argument {
                owned: quote_spanned!(reference.span()=> ::std::string::String),
                expression: quote!(&argument),
            })
        }
        Type::ImplTrait(type_) => Err(Error::new(
            type_.span(),
            "an exported function names its argument's type instead of `impl Trait`",
        )),
        type_ => Ok(Argument {
            owned: type_.to_token_stream(),
            expression: quote!(argument),
        }),
    }
}

fn answer_type(signature: &Signature) -> Result<TokenStream> {
    match &signature.output {
        ReturnType::Default => Ok(quote!(())),
        ReturnType::Type(_, type_) => match &**type_ {
            Type::ImplTrait(_) => Err(Error::new(
                type_.span(),
                "an exported function names its answer's type instead of `impl Trait`",
            )),
            Type::Never(_) => Err(Error::new(
                type_.span(),
                "an exported function must return: its caller waits for an answer",
            )),
            type_ => Ok(type_.to_token_stream()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(item: &str) -> String {
        let item = item.parse().unwrap();
        match registration(TokenStream::new(), item) {
            Ok(tokens) => format!("accepted: {tokens}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn supported() {
        for item in [
            "fn f() {}",
            "pub async fn f(name: &str) -> String { name.into() }",
            "pub(crate) fn f(mut numbers: Vec<u32>) -> Result<u32, std::io::Error> { Ok(1) }",
            "fn f(Point { x, y }: Point) -> &'static str { \"\" }",
        ] {
            let message = message(item);
            assert!(
                message.starts_with("accepted: const _"),
                "{item}: {message}"
            );
        }
    }

    #[test]
    fn conditions_hold_for_the_entry_too() {
        let message = message("#[cfg(unix)] #[inline] fn f() {}");
        assert!(
            message.starts_with("accepted: # [cfg (unix)] const _"),
            "{message}"
        );
        assert!(!message.contains("inline"), "{message}");
    }

    #[test]
    fn unsupported() {
        for (item, part) in [
            ("const fn f() {}", "`const`"),
            ("unsafe fn f() {}", "`unsafe`"),
            ("extern \"C\" fn f() {}", "`extern`"),
            ("fn f<T>(value: T) {}", "generic"),
            ("fn f<'a>(value: &'a str) {}", "generic"),
            ("fn f() where String: Clone {}", "`where`"),
            ("fn f(&self) {}", "`self`"),
            ("fn f(self: Box<Self>, a: u8) {}", "`self`"),
            ("fn f(a: u8, b: u8) {}", "one argument or none"),
            ("fn f(a: &u8) {}", "only `&str`"),
            ("fn f(a: &mut str) {}", "only `&str`"),
            ("fn f(a: impl Into<String>) {}", "argument's type"),
            (
                "fn f() -> impl Iterator<Item = u8> { 0..3 }",
                "answer's type",
            ),
            ("fn f() -> ! { loop {} }", "must return"),
            ("struct S;", "plain `fn`"),
            ("fn f();", "plain `fn`"),
        ] {
            let message = message(item);
            assert!(message.contains(part), "{item}: {message}");
        }
    }
}

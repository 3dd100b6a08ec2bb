//! The name under which a function is exported.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::{Error, Ident, LitStr, Result, meta};

/// The name: what the attribute's arguments say, otherwise `ident` in PascalCase.
pub fn export_name(attribute: TokenStream, ident: &Ident) -> Result<String> {
    let mut explicit = None;
    let arguments = meta::parser(|argument| {
        if !argument.path.is_ident("name") {
            return Err(argument.error("unknown argument; there is only `name = \"…\"`"));
        }
        let literal: LitStr = argument.value()?.parse()?;
        if explicit.replace(literal).is_some() {
            return Err(argument.error("`name` is given twice"));
        }
        Ok(())
    });
    arguments.parse2(attribute)?;
    let Some(literal) = explicit else {
        let name = pascal_case(ident.to_string().trim_start_matches("r#"));
        return match is_valid(&name) {
            true if !name.is_empty() => Ok(name),
            _ => Err(Error::new(
                ident.span(),
                "no export's name can be made of this; add `name = \"…\"` of ASCII letters, digits, `_`, `-` and `.`",
            )),
        };
    };
    let name = literal.value();
    match is_valid(&name) {
        true => Ok(name),
        false => Err(Error::new(
            literal.span(),
            "an export's name is made of ASCII letters, digits, `_`, `-` and `.`, and begins with a letter, a digit or `_`",
        )),
    }
}

/// `say_hello` → `SayHello`.
fn pascal_case(snake_case: &str) -> String {
    snake_case
        .split('_')
        .filter_map(|word| {
            let mut letters = word.chars();
            Some(letters.next()?.to_ascii_uppercase().to_string() + letters.as_str())
        })
        .collect()
}

/// Whether the name stands in a path as it is, without escapes, and isn't `.` or `..`.
fn is_valid(name: &str) -> bool {
    !name.starts_with(['-', '.'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::{format_ident, quote};

    fn derived(ident: &str) -> Result<String> {
        export_name(TokenStream::new(), &syn::parse_str(ident).unwrap())
    }

    fn explicit(attribute: TokenStream) -> Result<String> {
        export_name(attribute, &format_ident!("say_hello"))
    }

    #[test]
    fn derived_from_the_function() {
        for (ident, name) in [
            ("say_hello", "SayHello"),
            ("now", "Now"),
            ("add2_numbers", "Add2Numbers"),
            ("_private__one_", "PrivateOne"),
            ("r#type", "Type"),
            ("AlreadyPascal", "AlreadyPascal"),
        ] {
            assert_eq!(derived(ident).unwrap(), name);
        }
        for ident in ["größe", "__"] {
            let error = derived(ident).unwrap_err().to_string();
            assert!(error.contains("add `name"), "{ident}: {error}");
        }
    }

    #[test]
    fn given_in_the_attribute() {
        for name in ["Example.HelloWorld", "say-hello", "v2", "_x", ""] {
            assert_eq!(explicit(quote!(name = #name)).unwrap(), name);
        }
        for name in ["a/b", "..", ".hidden", "-x", "a b", "größe", "a%20b"] {
            let error = explicit(quote!(name = #name)).unwrap_err().to_string();
            assert!(error.contains("is made of"), "{name}: {error}");
        }
        let error = explicit(quote!(nmae = "X")).unwrap_err().to_string();
        assert!(error.contains("only `name"), "{error}");
        let error = explicit(quote!(name = "X", name = "Y")).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
        assert!(explicit(quote!(name = 5)).is_err());
    }
}

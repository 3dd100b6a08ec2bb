//! The list of modules, `.func`: a repository in the form that CoreFn's ancestor had.
//!
//! It names a module a line. Each is a folder `src/<Module>` of C#, and answers at `/<account>/<Module>`, in the case in
//! which it is written there; the function's name has small letters, as Docker wants them.

use std::collections::HashMap;

use super::{Declaration, MOST_FUNCTIONS, Manifest, ManifestError, Position, Problem};
use crate::config::FunctionConfig;
use crate::function::{FunctionName, check_segment};
use crate::names;
use crate::route::Route;

/// The stack of modules.
const STACK: &str = "csharp";

impl Manifest {
    /// The manifest that a list of modules stands for. Empty lines are skipped, and those that begin with `#`.
    ///
    /// # Errors
    /// [`ManifestError`] with every line that is no module's name, or differs from another in case only.
    pub fn of_modules(text: &str, account: &str) -> Result<Self, ManifestError> {
        let (mut functions, mut problems) = (Vec::new(), Vec::new());
        let mut known: HashMap<String, &str> = HashMap::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, module) in text.lines().map(str::trim).enumerate() {
            if module.is_empty() || module.starts_with('#') {
                continue;
            }
            // More than anyone reads at once, or than may be deployed, which is told later.
            if functions.len() > MOST_FUNCTIONS || problems.len() == MOST_FUNCTIONS {
                break;
            }
            let at = Position {
                file: names::MODULES,
                line: line + 1,
                column: 1,
            };
            let name = module.to_ascii_lowercase();
            let other = known.insert(name.clone(), module);
            match (check_segment(&name), other) {
                (Err(_), _) => problems.push(Problem {
                    at: Some(at),
                    what: format!(
                        "{module:?} is no module: use 1 to 63 of A-Z, a-z, 0-9 and single . _ - between them"
                    ),
                }),
                (Ok(()), Some(other)) => problems.push(Problem {
                    at: Some(at),
                    what: format!(
                        "{module} and {other} would be one function, {account}/{name}: rename one of them"
                    ),
                }),
                (Ok(()), None) => functions.push(declaration(account, module, name, at)),
            }
        }
        if functions.is_empty() && problems.is_empty() {
            let what = format!(
                "no module is named: write the name of a folder of src on each line, or delete {}",
                names::MODULES
            );
            let at = Position {
                file: names::MODULES,
                line: 1,
                column: 1,
            };
            return Err(ManifestError::new(Some(at), what));
        }
        if problems.is_empty() {
            Ok(Self { functions })
        } else {
            Err(ManifestError::of(problems))
        }
    }
}

fn declaration(account: &str, module: &str, name: String, at: Position) -> Declaration {
    // (The account is a segment's name, or the repository would not be there.)
    let own = FunctionName::new(account, &name)
        .ok()
        .map(|function| Route::of(&function));
    let route = format!("/{account}/{module}").parse::<Route>().ok();
    Declaration {
        secrets: Vec::new(),
        schedule: Vec::new(),
        network: None,
        at: Some(at),
        name: Some((name, at)),
        stack: Some((STACK.to_owned(), at)),
        path: Some((format!("src/{module}"), at)),
        config: FunctionConfig {
            routes: route
                .into_iter()
                .filter(|route| Some(route) != own.as_ref())
                .collect(),
            ..FunctionConfig::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Found;

    #[test]
    fn modules() {
        let manifest =
            Manifest::of_modules("\u{feff}# ours\r\nOrders\r\n\r\n  users-2  \n", "shop");
        let functions = manifest.unwrap().functions("shop", None).unwrap();
        let shown: Vec<_> = functions
            .iter()
            .map(|(function, declaration)| {
                let routes = declaration.config(Found::default()).routes;
                let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
                let (stack, at) = declaration.stack().unwrap();
                let path = declaration.path().unwrap().0;
                format!("{function} {stack} {path} {} {}", routes.join(","), at.line)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "shop/orders csharp src/Orders /shop/Orders 2",
                "shop/users-2 csharp src/users-2  4"
            ]
        );
    }

    #[test]
    fn no_modules() {
        for (text, wanted) in [
            (
                "Orders\nUsers\norders\n",
                ".func:3:1: orders and Orders would be one function, shop/orders",
            ),
            ("Or ders", ".func:1:1: \"Or ders\" is no module"),
            ("\n../x", ".func:2:1: \"../x\" is no module"),
            ("Ünder", ".func:1:1: \"Ünder\" is no module"),
            ("# none\n", ".func:1:1: no module is named"),
            ("", ".func:1:1: no module is named"),
            (&"-\n".repeat(200_000), ".func:1:1: \"-\" is no module"),
        ] {
            let error = Manifest::of_modules(text, "shop").unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn too_many() {
        let text = (0..200_000).map(|n| format!("m{n}\n")).collect::<String>();
        let manifest = Manifest::of_modules(&text, "shop").unwrap();
        // One more than may be is kept, and no other.
        assert_eq!(manifest.functions.len(), MOST_FUNCTIONS + 1);
        let error = manifest.functions("shop", None).unwrap_err().to_string();
        assert!(
            error.starts_with(".func:101:1: there are more than 100 functions"),
            "{error}"
        );
    }

    #[test]
    fn too_much_is_wrong() {
        let error = Manifest::of_modules(&"-\n".repeat(200), "shop").unwrap_err();
        assert_eq!(error.to_string().lines().count(), MOST_FUNCTIONS);
    }

    #[test]
    fn repositories_of_two_segments() {
        let one = Manifest::of_modules("Orders", "shop").unwrap();
        assert_eq!(one.functions("shop", Some("orders")).unwrap().len(), 1);
        let error = one
            .functions("shop", Some("other"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(".func:1:1: name is \"orders\""),
            "{error}"
        );
    }
}

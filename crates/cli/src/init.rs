//! `corefn init`: the files of a first function.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use clap::ValueEnum;
use serde_json::json;

use crate::error::Error;
use crate::print::Printer;

/// What there are first functions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Template {
    /// Exported functions
    Rust,
    /// Exported functions
    Python,
    /// Exported functions, in JavaScript
    Node,
    /// Exported functions
    Go,
    /// Exported functions
    C,
    /// Exported functions
    Csharp,
    /// Files
    Static,
    /// A program in an image of its own
    Dockerfile,
}

/// A file: its path, and its text.
type Text = (&'static str, &'static str);

/// An example's files.
macro_rules! example {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../../examples/", $folder, "/", $file)))),+]
    };
}

impl Template {
    fn files(self) -> &'static [Text] {
        match self {
            Self::Rust => example!("hello": "Cargo.toml", "src/lib.rs", ".gitignore"),
            Self::Python => example!("python": "main.py"),
            Self::Node => example!("node": "index.mjs"),
            Self::Go => example!("go": "hello.go"),
            Self::C => example!("c": "hello.c"),
            Self::Csharp => example!("csharp": "Hello.cs"),
            Self::Static => example!("static": "index.html", "style.css", "docs/index.html"),
            Self::Dockerfile => example!("dockerfile": "Dockerfile", "server.pl"),
        }
    }
}

/// Writes the files of a template into a folder, which is made if it isn't there. None of them may be there already.
pub fn write(printer: &Printer, template: Template, folder: &Path) -> Result<(), Error> {
    let files = template.files();
    let there = files.iter().find(|(path, _)| folder.join(path).exists());
    if let Some((path, _)) = there {
        return Err(Error::Refused(format!(
            "{} is there already, so nothing is written: take another folder",
            folder.join(path).display()
        )));
    }
    for (path, text) in files {
        let path = folder.join(path);
        write_new(&path, text)
            .map_err(|cause| Error::Io(format!("{} can't be written", path.display()), cause))?;
    }
    let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
    let written = json!({ "folder": folder, "files": paths });
    let next = "git init && git add . && git commit -m First && corefn deploy ACCOUNT/NAME";
    let mut lines: Vec<_> = files
        .iter()
        .map(|(path, _)| folder.join(path).display().to_string())
        .collect();
    lines.push(format!("next: {next}"));
    printer.one(&written, &lines.join("\n"))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create_new(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let printer = Printer::new(false);
        for template in Template::value_variants() {
            let folder = tempfile::tempdir().unwrap();
            let new = folder.path().join("new");
            write(&printer, *template, &new).unwrap();
            for (path, text) in template.files() {
                assert_eq!(fs::read_to_string(new.join(path)).unwrap(), *text);
            }
            // What is there stays as it is, and nothing comes to it.
            let (first, _) = template.files()[0];
            fs::write(new.join(first), "mine").unwrap();
            let error = write(&printer, *template, &new).unwrap_err().to_string();
            assert!(error.contains("is there already"), "{error}");
            assert_eq!(fs::read_to_string(new.join(first)).unwrap(), "mine");
        }
    }
}

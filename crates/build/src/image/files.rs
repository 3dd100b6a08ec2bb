//! An image of a stack's runtime and a function's files on it.
//!
//! The files are a layer of their own, and the same files make the same layer: what a push brings is
//! all that Docker keeps of it beside the runtime, which all functions of the stack share.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use corefn_core::config::FunctionConfig;
use corefn_engine::docker::Docker;

use super::{Revision, Traces, label_instruction, options, run_build};
use crate::context::DOCKERFILE;
use crate::error::BuildError;

/// Where the files are in the image.
const FOLDER: &str = "function";

/// Their archive in what is sent to Docker.
const ARCHIVE: &str = "files.tar";

/// Makes the image of a revision from an archive of a folder, on the image of a runtime, and returns
/// its tag.
///
/// # Errors
/// [`BuildError`] when the archive is none, or Docker doesn't take it.
pub async fn from_files(
    docker: &Docker,
    revision: &Revision,
    config: &FunctionConfig,
    runtime: &str,
    files: File,
    traces: &mut Traces,
) -> Result<String, BuildError> {
    let tag = revision.first_tag(docker.namespace());
    let labels = label_instruction(&revision.labels(docker.namespace(), config));
    let text = format!("FROM {runtime}\nADD {ARCHIVE} /\n{labels}");
    let packed = tokio::task::spawn_blocking(move || context(&text, &files)).await;
    let packed = packed
        .map_err(io::Error::other)
        .and_then(|packed| packed)
        .map_err(BuildError::io(
            "the files that the build made can't be packed",
        ))?;
    // (Without Docker's cache: it would look through all functions of the stack, which are built on the same runtime.)
    let options = options(docker, &HashMap::new()).await?;
    let options = options.t(&tag).nocache(true).build();
    let what = format!("make the image {tag}");
    let print = async |_: &str| Ok(());
    run_build(docker, options, packed, &what, None, traces, print).await?;
    Ok(tag)
}

/// What is sent to Docker: a Dockerfile and the files.
fn context(dockerfile: &str, files: &File) -> io::Result<File> {
    let mut layer = layer(files)?;
    let mut context = Builder::new(BufWriter::new(tempfile::tempfile()?));
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(dockerfile.len() as u64);
    context.append_data(&mut header, DOCKERFILE, dockerfile.as_bytes())?;
    context.append_file(ARCHIVE, &mut layer)?;
    let mut context = context.into_inner()?.into_inner()?;
    context.rewind()?;
    Ok(context)
}

/// The files, sorted, owned by root and without times: the archive depends on nothing but them.
fn layer(files: &File) -> io::Result<File> {
    let mut entries = Vec::new();
    let mut reader = files;
    reader.rewind()?;
    let mut archive = Archive::new(BufReader::new(reader));
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = moved(&path);
        let kind = entry.header().entry_type();
        let link = entry.link_name()?.map(|target| target.into_owned());
        let is_executable = entry.header().mode()? & 0o111 != 0;
        entries.push((
            path,
            kind,
            link,
            is_executable,
            entry.raw_file_position(),
            entry.size(),
        ));
    }
    // (Hard links come after the files that they are of.)
    entries.sort_by(|a, b| (a.1 == EntryType::Link, &a.0).cmp(&(b.1 == EntryType::Link, &b.0)));
    let mut layer = Builder::new(BufWriter::new(tempfile::tempfile()?));
    for (path, kind, link, is_executable, at, size) in entries {
        let mut header = Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_entry_type(kind);
        header.set_mode(if is_executable || kind.is_dir() {
            0o755
        } else {
            0o644
        });
        match (kind, link) {
            (EntryType::Directory, _) => layer.append_data(&mut header, path, io::empty())?,
            (EntryType::Regular, _) => {
                header.set_size(size);
                let contents = crate::tree::part(files, at, size);
                layer.append_data(&mut header, path, contents)?;
            }
            (EntryType::Symlink, Some(target)) => layer.append_link(&mut header, path, target)?,
            // A hard link: another name of a file that is in the archive.
            (EntryType::Link, Some(target)) => {
                layer.append_link(&mut header, path, moved(&target))?;
            }
            _ => {
                let why = format!(
                    "{} is neither a file nor a folder nor a link",
                    path.display()
                );
                return Err(io::Error::other(why));
            }
        }
    }
    let mut layer = layer.into_inner()?.into_inner()?;
    layer.rewind()?;
    Ok(layer)
}

/// Where a file of the folder is in the image. The first part of its path is the folder's own name.
fn moved(path: &Path) -> PathBuf {
    let rest = path.components().skip(1);
    std::iter::once(Component::Normal(OsStr::new(FOLDER)))
        .chain(rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// An archive as Docker gives one of a folder.
    fn downloaded(names: &[&str], time: u64) -> File {
        let mut archive = Builder::new(tempfile::tempfile().unwrap());
        let mut header = Header::new_gnu();
        header.set_mtime(time);
        header.set_uid(1000);
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o700);
        header.set_size(0);
        archive
            .append_data(&mut header, "files", io::empty())
            .unwrap();
        for name in names {
            let mut header = Header::new_gnu();
            header.set_mtime(time);
            header.set_mode(0o640);
            header.set_size(name.len() as u64);
            let path = format!("files/{name}");
            archive
                .append_data(&mut header, path, name.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn bytes(mut file: File) -> Vec<u8> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn same_files_make_the_same_layer() {
        let one = bytes(layer(&downloaded(&["a", "b"], 5)).unwrap());
        let other = bytes(layer(&downloaded(&["b", "a"], 7)).unwrap());
        assert!(one == other);
        assert!(one != bytes(layer(&downloaded(&["a"], 5)).unwrap()));
        let mut archive = Archive::new(one.as_slice());
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                let mode = header.mode().unwrap();
                assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 0));
                (entry.path().unwrap().into_owned(), mode, text)
            })
            .collect();
        let want = [
            ("function", 0o755, ""),
            ("function/a", 0o644, "a"),
            ("function/b", 0o644, "b"),
        ];
        let want = want.map(|(path, mode, text)| (PathBuf::from(path), mode, text.to_owned()));
        assert_eq!(found, want);
    }
}

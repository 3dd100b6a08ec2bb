//! Takes a folder out of an image, so that no layer of it holds any of the folder's files.
//!
//! The image is saved, its layers are written anew where they have to be, and the result is loaded. The format
//! is that of `docker save`: `manifest.json` names the configuration and the layers, each an archive of its own
//! (Docker Image Specification v1.2; `config.rootfs.diff_ids` are the SHA-256 of the layers' archives).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Component, Path, PathBuf};

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use corefn_engine::docker::Docker;

use super::load;
use crate::context::hex;
use crate::error::BuildError;
use crate::tree::part;

/// The file that names the others.
const MANIFEST: &str = "manifest.json";
/// The configuration, in what is written here.
const CONFIG: &str = "config.json";

/// Makes an image of another, without `folder` (a path from the root, without a slash before it), and gives it
/// a tag.
///
/// # Errors
/// [`BuildError`] when Docker can't do it, or saves images in a form that isn't known.
pub async fn without(
    docker: &Docker,
    image: &str,
    folder: &str,
    tag: &str,
) -> Result<(), BuildError> {
    let what = || format!("the image {tag} can't be made");
    let client = docker.client().await?;
    let mut saved = tempfile::tempfile().map_err(BuildError::io(what()))?;
    let mut pieces = std::pin::pin!(client.export_image(image));
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|cause| docker.failed(format!("save the image {image}"), cause))?;
        saved.write_all(&piece).map_err(BuildError::io(what()))?;
    }
    let (folder, name) = (PathBuf::from(folder), tag.to_owned());
    let changed = tokio::task::spawn_blocking(move || change(&saved, &folder, &name)).await;
    let changed = changed
        .map_err(io::Error::other)
        .and_then(|changed| changed)
        .map_err(BuildError::io(what()))?;
    load(docker, tag, changed).await?;
    Ok(())
}

/// An image as `docker save` writes it, changed.
fn change(saved: &File, folder: &Path, tag: &str) -> io::Result<File> {
    let saved = Saved::read(saved)?;
    let manifest: Value = serde_json::from_slice(&saved.contents(Path::new(MANIFEST))?)?;
    let image = &manifest[0];
    let name = |value: &Value| value.as_str().map(PathBuf::from).ok_or_else(unknown);
    let mut config: Value = serde_json::from_slice(&saved.contents(&name(&image["Config"])?)?)?;
    let layers = image["Layers"].as_array().ok_or_else(unknown)?;
    let mut kept = Vec::new();
    for layer in layers {
        let (at, size) = saved.place(&name(layer)?)?;
        kept.push(match filter(saved.file, at, size, folder)? {
            Filtered::Same => Some(Layer::Same { at, size }),
            Filtered::Changed(layer, id) => Some(Layer::Changed { layer, id }),
            Filtered::Gone => None,
        });
    }
    describe(&mut config, &kept)?;
    let mut archive = Builder::new(BufWriter::new(tempfile::tempfile()?));
    // (What says what the rest is comes first, so that whoever reads it need not keep any of it.)
    let layers: Vec<_> = kept.into_iter().flatten().collect();
    let names: Vec<_> = (0..layers.len()).map(layer_name).collect();
    let manifest = json!([{ "Config": CONFIG, "RepoTags": [tag], "Layers": names }]);
    let manifest = serde_json::to_vec(&manifest)?;
    append(&mut archive, MANIFEST, manifest.len() as u64, &*manifest)?;
    let config = serde_json::to_vec(&config)?;
    append(&mut archive, CONFIG, config.len() as u64, &*config)?;
    for (number, layer) in layers.into_iter().enumerate() {
        let name = layer_name(number);
        match layer {
            Layer::Same { at, size } => {
                append(&mut archive, &name, size, part(saved.file, at, size))?
            }
            Layer::Changed { layer, .. } => {
                append(&mut archive, &name, layer.metadata()?.len(), &layer)?;
            }
        }
    }
    let mut file = archive.into_inner()?.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// What a layer is called in what is written here.
fn layer_name(number: usize) -> String {
    format!("{number}.tar")
}

/// A layer of the image that is made.
enum Layer {
    /// As it was saved: where it begins, and its size.
    Same { at: u64, size: u64 },
    /// Written anew, with its digest.
    Changed { layer: File, id: String },
}

/// Changes an image's configuration to name the layers that are left, and their history.
fn describe(config: &mut Value, kept: &[Option<Layer>]) -> io::Result<()> {
    let ids = config["rootfs"]["diff_ids"].as_array_mut();
    let ids = ids
        .filter(|ids| ids.len() == kept.len())
        .ok_or_else(unknown)?;
    let old = std::mem::take(ids);
    ids.extend(
        old.into_iter()
            .zip(kept)
            .filter_map(|(old, layer)| match layer.as_ref()? {
                Layer::Same { .. } => Some(old),
                Layer::Changed { id, .. } => Some(json!(format!("sha256:{id}"))),
            }),
    );
    let Some(history) = config["history"].as_array_mut() else {
        return Ok(());
    };
    let mut layers = kept.iter();
    history.retain(|step| step["empty_layer"] == true || layers.next().is_none_or(Option::is_some));
    Ok(())
}

/// What is left of a layer.
enum Filtered {
    /// It had nothing of the folder.
    Same,
    /// The rest, and the SHA-256 of it.
    Changed(File, String),
    /// Nothing else was in it.
    Gone,
}

/// Takes a folder out of the layer that a file holds from `at` on. What stays is copied byte for byte.
fn filter(file: &File, at: u64, size: u64, folder: &Path) -> io::Result<Filtered> {
    let mut magic = Vec::new();
    part(file, at, size.min(4)).read_to_end(&mut magic)?;
    if magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(io::Error::other(
            "Docker saves its layers compressed, which is not supported; without ca_bundle they can stay as they are",
        ));
    }
    // Where each entry that stays begins and ends, its extended headers included.
    let (mut ranges, mut begin, mut has_more) = (Vec::new(), 0, false);
    let mut archive = Archive::new(part(file, at, size));
    let mut is_same = true;
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let end = entry.raw_file_position() + entry.size().next_multiple_of(512);
        let path: PathBuf = entry
            .path()?
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if path.starts_with(folder) {
            is_same = false;
        } else {
            // The folders above it are in the layer because it is.
            has_more |=
                !(folder.starts_with(&path) && entry.header().entry_type() == EntryType::Directory);
            ranges.push(begin..end);
        }
        begin = end;
    }
    if is_same {
        return Ok(Filtered::Same);
    }
    if !has_more {
        return Ok(Filtered::Gone);
    }
    let mut layer = Hashing {
        file: BufWriter::new(tempfile::tempfile()?),
        hash: Sha256::new(),
    };
    for range in ranges {
        io::copy(
            &mut part(file, at + range.start, range.end - range.start),
            &mut layer,
        )?;
    }
    layer.write_all(&[0; 1024])?;
    let id = hex(&layer.hash.finalize());
    let mut layer = layer.file.into_inner()?;
    layer.rewind()?;
    Ok(Filtered::Changed(layer, id))
}

/// A file whose contents are hashed as they are written.
struct Hashing {
    file: BufWriter<File>,
    hash: Sha256,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What `docker save` has written: where each file of it is.
struct Saved<'a> {
    file: &'a File,
    files: HashMap<PathBuf, (u64, u64)>,
    /// A layer that is there twice is a link the second time.
    links: HashMap<PathBuf, PathBuf>,
}

impl<'a> Saved<'a> {
    fn read(file: &'a File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = Archive::new(part(file, 0, size));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let path = entry.path()?.into_owned();
            match entry.link_name()? {
                Some(target) if entry.header().entry_type() == EntryType::Symlink => {
                    let folder = path.parent().unwrap_or(Path::new(""));
                    links.insert(path.clone(), plain(&folder.join(target)));
                }
                _ => {
                    files.insert(path, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        Ok(Self { file, files, links })
    }

    fn place(&self, path: &Path) -> io::Result<(u64, u64)> {
        let path = self.links.get(path).map_or(path, PathBuf::as_path);
        self.files.get(path).copied().ok_or_else(unknown)
    }

    fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (at, size) = self.place(path)?;
        let mut contents = Vec::new();
        part(self.file, at, size).read_to_end(&mut contents)?;
        Ok(contents)
    }
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn append(
    archive: &mut Builder<BufWriter<File>>,
    name: &str,
    size: u64,
    contents: impl io::Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    archive.append_data(&mut header, name, contents)
}

fn unknown() -> io::Error {
    io::Error::other("Docker saves images in a form that is not known")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of files and folders, which have no text.
    fn layer(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (path, text) in entries {
            let mut header = Header::new_gnu();
            let text = text.unwrap_or_else(|| {
                header.set_entry_type(EntryType::Directory);
                ""
            });
            header.set_mode(0o640);
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// What `docker save` writes of layers; the last is there a second time, as a link.
    fn saved(layers: &[Vec<u8>]) -> File {
        let mut archive = Builder::new(tempfile::tempfile().unwrap());
        let mut add = |name: &str, contents: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_size(contents.len() as u64);
            archive.append_data(&mut header, name, contents).unwrap();
        };
        let mut names = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            names.push(format!("{number}/layer.tar"));
            add(&names[number], layer);
        }
        let ids = layers.iter().chain(layers.last());
        let ids: Vec<_> = ids
            .map(|layer| format!("sha256:{}", hex(&Sha256::digest(layer))))
            .collect();
        let mut history: Vec<_> = ids.iter().map(|id| json!({ "created_by": id })).collect();
        history.insert(0, json!({ "created_by": "ARG", "empty_layer": true }));
        let config = json!({
            "config": { "Cmd": ["x"] },
            "history": history,
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        add("c.json", config.to_string().as_bytes());
        names.push("twice/layer.tar".to_owned());
        let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": names }]);
        add("manifest.json", manifest.to_string().as_bytes());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        let last = format!("../{}", names[layers.len() - 1]);
        archive
            .append_link(&mut header, "twice/layer.tar", last)
            .unwrap();
        archive.into_inner().unwrap()
    }

    /// The configuration of an image, and the layers, as the paths in them.
    fn read(image: &File) -> (Value, Vec<Vec<String>>) {
        let saved = Saved::read(image).unwrap();
        let manifest = saved.contents(Path::new(MANIFEST)).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["a:b"]));
        let config = saved.contents(Path::new(CONFIG)).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(ids.len(), layers.len());
        let paths = layers.iter().zip(ids).map(|(name, id)| {
            let layer = saved.contents(Path::new(name.as_str().unwrap())).unwrap();
            assert_eq!(
                *id,
                json!(format!("sha256:{}", hex(&Sha256::digest(&layer))))
            );
            let mut archive = Archive::new(layer.as_slice());
            let entries = archive.entries().unwrap();
            entries
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect()
        });
        let paths = paths.collect();
        (config, paths)
    }

    #[test]
    fn no_layer_holds_it() {
        let long = format!("etc/corefn/{}", "x".repeat(120));
        let after = format!("usr/{}", "y".repeat(120));
        let image = saved(&[
            layer(&[("bin", None), ("bin/sh", Some("#!"))]),
            layer(&[
                ("etc", None),
                ("etc/corefn", None),
                ("etc/corefn/ca.pem", Some("CA")),
            ]),
            layer(&[
                ("etc", None),
                ("etc/corefn", None),
                ("etc/corefn/ca.pem", Some("CA")),
                (&long, Some("")),
                ("etc/corefn2", Some("stays")),
                (&after, Some("stays, too")),
            ]),
            layer(&[("tmp", None)]),
        ]);
        let changed = change(&image, Path::new("etc/corefn"), "a:b").unwrap();
        let (config, layers) = read(&changed);
        let want = vec![
            vec!["bin", "bin/sh"],
            vec!["etc", "etc/corefn2", &after],
            vec!["tmp"],
            vec!["tmp"],
        ];
        assert_eq!(layers, want);
        let left = config["history"].as_array().unwrap();
        assert_eq!(left.len(), 5);
        assert_eq!(left[0]["created_by"], "ARG");
        assert_eq!(config["config"]["Cmd"], json!(["x"]));
    }

    #[test]
    fn what_stays_is_the_same() {
        let layers = [
            layer(&[("bin/sh", Some("#!"))]),
            layer(&[("etc/passwd", Some(""))]),
        ];
        let changed = change(&saved(&layers), Path::new("etc/corefn"), "a:b").unwrap();
        let (config, _) = read(&changed);
        let id = |layer: &Vec<u8>| json!(format!("sha256:{}", hex(&Sha256::digest(layer))));
        let want = json!([id(&layers[0]), id(&layers[1]), id(&layers[1])]);
        assert_eq!(config["rootfs"]["diff_ids"], want);
    }

    #[test]
    fn what_is_not_known_is_told() {
        let compressed = change(&saved(&[vec![0x1f, 0x8b, 8, 0]]), Path::new("x"), "a:b");
        assert!(compressed.unwrap_err().to_string().contains("compressed"));
        let mut archive = Builder::new(tempfile::tempfile().unwrap());
        let mut header = Header::new_gnu();
        header.set_size(2);
        archive
            .append_data(&mut header, "manifest.json", &b"[]"[..])
            .unwrap();
        let none = change(&archive.into_inner().unwrap(), Path::new("x"), "a:b");
        assert!(none.unwrap_err().to_string().contains("not known"));
    }
}

//! Images that are brought to Docker, as `docker save` writes them (Docker Image Specification v1.2): read, and written anew.
//!
//! An archive can name an image as it likes, and bring several. So the file that says what the others are must come first, and of
//! the others there are those that it names, and no more. They are passed on as they come: what is in an image is the
//! caller's own affair.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use serde::{Deserialize, Serialize};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use crate::ask::Refused;
use crate::upstream::Files;

/// The unit of a tar archive, in bytes.
const BLOCK: usize = 512;

/// How many bytes the file may have that says what the others are, and how many layers it may name. (Docker allows 128.)
const MOST_MANIFEST: u64 = 64 << 10;
const MOST_LAYERS: usize = 512;

/// What that file is called.
const MANIFEST: &str = "manifest.json";
const CONFIG: &str = "config.json";

/// How many pieces wait to be passed on.
const PIECES: usize = 4;

/// What the other files are.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Manifest {
    config: String,
    repo_tags: [String; 1],
    layers: Vec<String>,
}

/// An image whose begin was read.
pub struct Image<B> {
    from: Reader<B>,
    manifest: Manifest,
}

impl<B> Image<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// Reads what it is.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn read(body: B) -> Result<Self, Refused> {
        let mut from = Reader {
            body,
            rest: Bytes::new(),
        };
        let no = || {
            Refused::new(format!(
                "an image whose archive does not begin with {MANIFEST}"
            ))
        };
        let (name, size) = from.entry().await?.ok_or_else(no)?;
        if name != MANIFEST || size > MOST_MANIFEST {
            return Err(no());
        }
        let text = from.exactly(size as usize).await?;
        from.skip_padding(size).await?;
        let read = serde_json::from_slice(&text);
        let [manifest]: [Manifest; 1] =
            read.map_err(|error| Refused::new(format!("{MANIFEST}: {error}")))?;
        match manifest.layers.len() <= MOST_LAYERS {
            true => Ok(Self { from, manifest }),
            false => Err(Refused::new(format!("more than {MOST_LAYERS} layers"))),
        }
    }

    /// The name that it gets.
    pub fn name(&self) -> &str {
        &self.manifest.repo_tags[0]
    }

    /// Writes it anew; the last piece is an error if it breaks off.
    ///
    /// # Errors
    /// [`Refused`] when it is not what it has said.
    async fn write(self, to: mpsc::Sender<Piece>) -> Result<(), Refused> {
        let pieces = Pieces(to);
        let written = self.write_to(&pieces).await;
        if let Err(why) = &written {
            // (Docker begins when it has all.)
            let broken = std::io::Error::other(why.to_string());
            let _ = pieces.0.send(Err(broken.into())).await;
        }
        written
    }

    async fn write_to(mut self, to: &Pieces) -> Result<(), Refused> {
        let Manifest {
            config,
            repo_tags,
            layers,
        } = self.manifest;
        let mut names: HashMap<String, String> = HashMap::from([(config, CONFIG.to_owned())]);
        let mut own = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let name = format!("{number}.tar");
            if names.insert(layer, name.clone()).is_some() {
                return Err(Refused::new("an image of which two files have one name"));
            }
            own.push(name);
        }
        let manifest = Manifest {
            config: CONFIG.to_owned(),
            repo_tags,
            layers: own,
        };
        let text = serde_json::to_vec(&[manifest]).unwrap_or_default();
        to.header(MANIFEST, text.len() as u64).await?;
        let size = text.len() as u64;
        to.piece(text.into()).await?;
        to.padding(size).await?;
        while let Some((name, size)) = self.from.entry().await? {
            let Some(own) = names.remove(&name) else {
                return Err(Refused::new(format!("an image with a file {name:?}")));
            };
            to.header(&own, size).await?;
            let mut left = size;
            while left > 0 {
                let piece = self.from.up_to(left).await?;
                left -= piece.len() as u64;
                to.piece(piece).await?;
            }
            self.from.skip_padding(size).await?;
            to.padding(size).await?;
        }
        match names.into_keys().next() {
            None => to.piece(Bytes::from_static(&[0; 2 * BLOCK])).await,
            Some(name) => Err(Refused::new(format!("an image without its file {name:?}"))),
        }
    }
}

/// An image as it is written anew; `refused` is told why it breaks off.
pub fn rewritten<B>(image: Image<B>, refused: impl FnOnce(Refused) + Send + 'static) -> Files
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
{
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        if let Err(why) = image.write(sender).await {
            refused(why);
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece: Piece = receiver.recv().await?;
        Some((piece.map(Frame::data), receiver))
    });
    StreamBody::new(Box::pin(pieces)).boxed()
}

/// A part of what is written.
type Piece = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Where it is written to.
struct Pieces(mpsc::Sender<Piece>);

impl Pieces {
    async fn piece(&self, bytes: Bytes) -> Result<(), Refused> {
        let sent = self.0.send(Ok(bytes)).await;
        sent.map_err(|_| Refused::new("Docker has ended the connection"))
    }

    async fn header(&self, name: &str, size: u64) -> Result<(), Refused> {
        let mut header = Header::new_gnu();
        let named = header.set_path(name);
        named.map_err(|error| Refused::new(error.to_string()))?;
        header.set_mode(0o644);
        header.set_size(size);
        header.set_cksum();
        self.piece(Bytes::copy_from_slice(header.as_bytes())).await
    }

    async fn padding(&self, size: u64) -> Result<(), Refused> {
        match padding(size) {
            0 => Ok(()),
            count => self.piece(Bytes::from_static(&[0; BLOCK][..count])).await,
        }
    }
}

/// What it is read from.
struct Reader<B> {
    body: B,
    rest: Bytes,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// The next bytes, at most so many.
    async fn up_to(&mut self, most: u64) -> Result<Bytes, Refused> {
        while self.rest.is_empty() {
            let frame = self.body.frame().await;
            let frame = frame.ok_or_else(|| Refused::new("an archive that breaks off"))?;
            let frame = frame.map_err(|error| Refused::new(error.to_string()))?;
            self.rest = frame.into_data().unwrap_or_default();
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(self.rest.split_to(count.min(self.rest.len())))
    }

    async fn exactly(&mut self, count: usize) -> Result<Bytes, Refused> {
        let mut all = BytesMut::with_capacity(count);
        while all.len() < count {
            let piece = self.up_to((count - all.len()) as u64).await?;
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    async fn skip_padding(&mut self, size: u64) -> Result<(), Refused> {
        self.exactly(padding(size)).await.map(|_| ())
    }

    /// The name of the next file, and its size; `None` at the end.
    async fn entry(&mut self) -> Result<Option<(String, u64)>, Refused> {
        let mut block = self.exactly(BLOCK).await?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut header = Header::new_old();
        block.copy_to_slice(header.as_mut_bytes());
        let wrong = |error: std::io::Error| Refused::new(format!("an archive: {error}"));
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let mut summed = header.clone();
        summed.set_cksum();
        if header.cksum().map_err(wrong)? != summed.cksum().map_err(wrong)? {
            return Err(Refused::new("an archive with a wrong checksum"));
        }
        match header.entry_type() {
            EntryType::Regular => Ok(Some((name, header.entry_size().map_err(wrong)?))),
            _ => Err(Refused::new(format!(
                "an image with {name:?}, which is no file"
            ))),
        }
    }
}

/// How many bytes follow a file of that size until the next block.
fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    (BLOCK - over) % BLOCK
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;

    use http_body_util::Full;

    use super::*;

    /// An archive of files.
    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = Header::new_gnu();
            header.set_size(text.len() as u64);
            archive
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        }
        archive.into_inner().unwrap()
    }

    /// What is written of it, with its name; why nothing is otherwise.
    async fn written(bytes: Vec<u8>) -> Result<(String, Bytes), String> {
        let image = Image::read(Full::new(Bytes::from(bytes))).await;
        let image = image.map_err(|why| why.to_string())?;
        let name = image.name().to_owned();
        let all = rewritten(image, drop).collect().await;
        let all = all.map_err(|why| why.to_string())?;
        Ok((name, all.to_bytes()))
    }

    #[tokio::test]
    async fn is_what_it_was_by_other_names() {
        let manifest =
            r#"[{"Config": "abc.json", "RepoTags": ["a/b:c"], "Layers": ["x/layer.tar", "y"]}]"#;
        let long = "x".repeat(BLOCK + 1);
        let archived = archive(&[
            ("manifest.json", manifest),
            ("y", ""),
            ("abc.json", "{}"),
            ("x/layer.tar", &long),
        ]);
        let (name, all) = written(archived).await.unwrap();
        assert_eq!(name, "a/b:c");
        let mut archive = tar::Archive::new(&*all);
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect();
        let manifest =
            r#"[{"Config":"config.json","RepoTags":["a/b:c"],"Layers":["0.tar","1.tar"]}]"#;
        let want = [
            ("manifest.json", manifest),
            ("1.tar", ""),
            ("config.json", "{}"),
            ("0.tar", &long),
        ];
        assert_eq!(
            found,
            want.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[tokio::test]
    async fn what_is_none_is_not_passed_on() {
        let of = |manifest: &str| archive(&[("manifest.json", manifest)]);
        let twice = r#"[{"Config": "c", "RepoTags": ["a:b"], "Layers": ["c"]}]"#;
        let mut link = archive(&[]);
        link.clear();
        let mut linked = tar::Builder::new(link);
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        linked
            .append_link(&mut header, "manifest.json", "/etc/passwd")
            .unwrap();
        let mut wrong = of(twice);
        wrong[0] = b'M';
        let many = format!(
            r#"[{{"Config": "c", "RepoTags": ["a:b"], "Layers": [{}]}}]"#,
            vec!["\"x\""; MOST_LAYERS + 1].join(",")
        );
        for (bytes, why) in [
            (Vec::new(), "breaks off"),
            (vec![0; 2 * BLOCK], "does not begin with"),
            (archive(&[("x", "")]), "does not begin with"),
            (
                of(&" ".repeat(MOST_MANIFEST as usize + 1)),
                "does not begin with",
            ),
            (of("[]"), "manifest.json: "),
            (
                of(r#"[{"Config": "c", "RepoTags": ["a", "b"], "Layers": []}]"#),
                "manifest.json: ",
            ),
            (of(twice), "two files have one name"),
            (linked.into_inner().unwrap(), "is no file"),
            (wrong, "wrong checksum"),
            (of(&many), "more than 512 layers"),
        ] {
            let error = written(bytes).await.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}

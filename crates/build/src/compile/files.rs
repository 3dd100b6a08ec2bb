//! Files into and out of a container.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};

use bollard::body_try_stream;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use tar::Archive;

use corefn_engine::docker::{Docker, DockerError};

use crate::context::chunks;
use crate::error::BuildError;

/// Unpacks an archive in a folder of the container.
pub(super) async fn put(
    docker: &Docker,
    container: &str,
    folder: &str,
    archive: impl Read + Send + 'static,
) -> Result<(), DockerError> {
    let options = UploadToContainerOptionsBuilder::default()
        .path(folder)
        .build();
    docker
        .client()
        .await?
        .upload_to_container(container, Some(options), body_try_stream(chunks(archive)))
        .await
        .map_err(|cause| docker.failed(format!("put files into {folder} of the build"), cause))
}

/// A folder of the container, if it is there: an archive in a temporary file that has no name.
pub(super) async fn take_folder(
    docker: &Docker,
    container: &str,
    path: &str,
    limit: usize,
) -> Result<Option<File>, BuildError> {
    let broken = || BuildError::io(format!("{path} of the build can't be kept"));
    let mut file = tempfile::tempfile().map_err(broken())?;
    let write = |bytes: &[u8]| file.write_all(bytes).map_err(broken());
    if !download(docker, container, path, limit, write).await? {
        return Ok(None);
    }
    file.rewind().map_err(broken())?;
    Ok(Some(file))
}

/// A regular file of the container, if it is there.
pub(super) async fn take(
    docker: &Docker,
    container: &str,
    path: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, BuildError> {
    let mut archive = Vec::new();
    let write = |bytes: &[u8]| {
        archive.extend_from_slice(bytes);
        Ok(())
    };
    if !download(docker, container, path, limit, write).await? {
        return Ok(None);
    }
    only_file(&archive).map_err(BuildError::io(format!("{path} of the build can't be read")))
}

/// Downloads a file or a folder as an archive of at most `limit` bytes; false if it isn't there.
async fn download(
    docker: &Docker,
    container: &str,
    path: &str,
    limit: usize,
    mut write: impl FnMut(&[u8]) -> Result<(), BuildError>,
) -> Result<bool, BuildError> {
    let options = DownloadFromContainerOptionsBuilder::default()
        .path(path)
        .build();
    let client = docker.client().await?;
    let mut download = std::pin::pin!(client.download_from_container(container, Some(options)));
    let mut size = 0;
    while let Some(chunk) = download.next().await {
        match chunk.map_err(|cause| docker.failed(format!("read {path} of the build"), cause)) {
            Ok(chunk) => {
                size += chunk.len();
                if size > limit {
                    return Err(BuildError::rejected(format!(
                        "{path} of the build is larger than {} MB",
                        limit >> 20
                    )));
                }
                write(&chunk)?;
            }
            Err(error) if error.is_absent() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The contents of the one regular file in an archive.
fn only_file(archive: &[u8]) -> io::Result<Option<Vec<u8>>> {
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            return Ok(Some(contents));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    #[test]
    fn archives_of_one_file() {
        let mut archive = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(2);
        archive
            .append_data(&mut header, "function", &b"hi"[..])
            .unwrap();
        assert_eq!(
            only_file(&archive.into_inner().unwrap()).unwrap().unwrap(),
            b"hi"
        );
        let mut archive = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive
            .append_link(&mut header, "function", "/etc/passwd")
            .unwrap();
        assert_eq!(only_file(&archive.into_inner().unwrap()).unwrap(), None);
    }
}

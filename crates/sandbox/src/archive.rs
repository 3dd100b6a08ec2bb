//! A function's files as one archive, which a sandbox of a runtime is handed.
//!
//! It is a cpio archive in the form "newc" (cpio(5)), which takes a dozen lines to read in any language. The same files
//! make the same bytes, wherever they come from: entries are sorted, belong to root, have no times, and a hard link is a
//! file of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cpio::newc::{Builder, ModeFileType, trailer};
use tar::{Archive, EntryType};

/// The most bytes of an archive: it is unpacked while a request waits, into memory of the function's.
pub const MAX: usize = 16 << 20;

/// The most files of an archive, folders and links among them.
pub const MAX_FILES: usize = 4096;

/// The name that ends an archive, and can be no file's.
const END: &str = "TRAILER!!!";

/// What there is at a path.
#[derive(Debug, Clone)]
enum File {
    Folder,
    Regular { contents: Vec<u8>, mode: u32 },
    Link(PathBuf),
}

/// Packs the files of a folder's tar archive, as Docker gives one, without the folder's own name. Nothing if they are more
/// or larger than an archive may have, or have a name that it can't.
///
/// # Errors
/// When it is no tar archive, or has something else than files, folders and links.
pub fn pack(tar: impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(files) = read(tar)? else {
        return Ok(None);
    };
    let mut packed = Vec::new();
    for (path, file) in &files {
        let Some(name) = path.to_str().filter(|name| *name != END) else {
            return Ok(None);
        };
        let entry = Builder::new(name);
        let (entry, contents) = match file {
            File::Folder => {
                let kind = ModeFileType::Directory;
                (entry.mode(0o755).set_mode_file_type(kind), &[][..])
            }
            File::Regular { contents, mode } => {
                let kind = ModeFileType::Regular;
                (entry.mode(*mode).set_mode_file_type(kind), &contents[..])
            }
            File::Link(target) => {
                let kind = ModeFileType::Symlink;
                let target = target.as_os_str().as_bytes();
                (entry.mode(0o777).set_mode_file_type(kind), target)
            }
        };
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let mut writer = entry.write(&mut packed, size);
        writer.write_all(contents)?;
        writer.finish()?;
        if packed.len() > MAX {
            return Ok(None);
        }
    }
    trailer(&mut packed)?;
    Ok((packed.len() <= MAX).then_some(packed))
}

/// What a tar archive has, below its folder; nothing if that is too much.
fn read(tar: impl Read) -> io::Result<Option<BTreeMap<PathBuf, File>>> {
    let mut archive = Archive::new(tar);
    let mut files = BTreeMap::new();
    let mut sum = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = below(Path::new(OsStr::from_bytes(&entry.path_bytes())));
        if path.as_os_str().is_empty() {
            continue;
        }
        let mode = match entry.header().mode()? & 0o111 {
            0 => 0o644,
            _ => 0o755,
        };
        let link = entry.link_name_bytes();
        let link = link.map(|target| PathBuf::from(OsStr::from_bytes(&target)));
        let file = match (entry.header().entry_type(), link) {
            (EntryType::Directory, _) => File::Folder,
            (EntryType::Regular, _) => {
                sum += entry.size();
                if sum > MAX as u64 {
                    return Ok(None);
                }
                let mut contents = Vec::new();
                entry.read_to_end(&mut contents)?;
                File::Regular { contents, mode }
            }
            (EntryType::Symlink, Some(target)) => File::Link(target),
            // (It comes after what it is another name of.)
            (EntryType::Link, Some(target)) => match files.get(&below(&target)) {
                Some(File::Regular { contents, mode }) => {
                    sum += contents.len() as u64;
                    File::Regular {
                        contents: contents.clone(),
                        mode: *mode,
                    }
                }
                _ => return Err(other(&path)),
            },
            _ => return Err(other(&path)),
        };
        files.insert(path, file);
        if sum > MAX as u64 || files.len() > MAX_FILES {
            return Ok(None);
        }
    }
    Ok(Some(files))
}

/// A path without the name of the folder that all are in.
fn below(path: &Path) -> PathBuf {
    path.components().skip(1).collect()
}

fn other(path: &Path) -> io::Error {
    let path = path.display();
    io::Error::other(format!("{path} is neither a file nor a folder nor a link"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;
    use tar::Header;

    /// An entry of a tar archive: its path, its kind, its mode, and its contents or target.
    type Entry<'a> = (&'a str, EntryType, u32, &'a str);

    const FILES: &[Entry<'_>] = &[
        ("", EntryType::Directory, 0o700, ""),
        ("app/", EntryType::Directory, 0o700, ""),
        ("app/main.py", EntryType::Regular, 0o600, "print()"),
        ("app/run", EntryType::Regular, 0o711, "#!"),
        ("app-2", EntryType::Symlink, 0o777, "app/run"),
        ("twice", EntryType::Link, 0o600, "app/main.py"),
    ];

    fn tar(folder: &str, files: &[Entry<'_>], time: u64) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, kind, mode, text) in files {
            let mut header = Header::new_gnu();
            header.set_mode(*mode);
            header.set_mtime(time);
            header.set_uid(time);
            header.set_entry_type(*kind);
            header.set_size(0);
            let path = format!("{folder}/{path}");
            match kind {
                EntryType::Symlink => archive.append_link(&mut header, path, text).unwrap(),
                EntryType::Link => {
                    let target = format!("{folder}/{text}");
                    archive.append_link(&mut header, path, target).unwrap();
                }
                _ => {
                    header.set_size(text.len() as u64);
                    archive
                        .append_data(&mut header, path, text.as_bytes())
                        .unwrap();
                }
            }
        }
        archive.into_inner().unwrap()
    }

    fn packed(files: &[Entry<'_>]) -> Option<Vec<u8>> {
        pack(tar("files", files, 5).as_slice()).unwrap()
    }

    #[test]
    fn same_files_make_the_same_archive() {
        let one = packed(FILES).unwrap();
        let mut other = FILES.to_vec();
        other.swap(2, 3);
        let other = pack(tar("function", &other, 7).as_slice());
        assert!(other.unwrap().as_ref() == Some(&one));
        assert!(packed(&FILES[..4]).unwrap() != one);

        let mut found = Vec::new();
        let mut rest = one.as_slice();
        loop {
            let mut reader = Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.mtime()), (0, 0));
            found.push((entry.name().to_owned(), entry.mode(), text));
            rest = reader.finish().unwrap();
        }
        let want = [
            ("app", 0o40_755, ""),
            ("app/main.py", 0o100_644, "print()"),
            ("app/run", 0o100_755, "#!"),
            ("app-2", 0o120_777, "app/run"),
            ("twice", 0o100_644, "print()"),
        ];
        let want = want.map(|(name, mode, text)| (name.to_owned(), mode, text.to_owned()));
        assert_eq!(found, want);
    }

    #[test]
    fn what_is_too_much_is_not_packed() {
        let half = "x".repeat(MAX / 2);
        let large = ("large", EntryType::Regular, 0o600, &*half);
        assert!(packed(&[large]).is_some());
        let again = ("again", EntryType::Regular, 0o600, &*half);
        assert_eq!(packed(&[large, again]), None);
        let again = ("again", EntryType::Link, 0o600, "large");
        assert_eq!(packed(&[large, again]), None);
        let names: Vec<_> = (0..=MAX_FILES).map(|n| n.to_string()).collect();
        let many: Vec<Entry<'_>> = names
            .iter()
            .map(|name| (&**name, EntryType::Regular, 0o600, ""))
            .collect();
        assert!(packed(&many[1..]).is_some());
        assert_eq!(packed(&many), None);
    }

    #[test]
    fn what_an_archive_can_not_have() {
        assert_eq!(packed(&[(END, EntryType::Regular, 0o600, "")]), None);
        for bad in [
            ("pipe", EntryType::Fifo, 0o600, ""),
            ("link", EntryType::Link, 0o600, "nowhere"),
        ] {
            let error = pack(tar("f", &[bad], 0).as_slice()).unwrap_err();
            assert!(error.to_string().contains("is neither"), "{error}");
        }
        assert!(pack(&b"no archive"[..]).is_err());
    }
}

//! Trees of real repositories: what is refused, and what is packed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use corefn_build::git::Git;
use corefn_build::tree::Tree;
use tempfile::TempDir;

/// A working tree and its repository.
struct Work(TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        work.git(&["init", "--quiet"]);
        work
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits what is staged and reads its tree.
    async fn tree(&self) -> Result<Tree, String> {
        self.git(&["commit", "--quiet", "--allow-empty", "--message=x"]);
        let git = Git::new(self.path(".git"));
        let read = Tree::read(&git, &self.git(&["rev-parse", "HEAD"])).await;
        read.map_err(|error| error.to_string())
    }

    /// Commits everything and reads its tree.
    async fn all(&self) -> Result<Tree, String> {
        self.git(&["add", "--all"]);
        self.tree().await
    }
}

#[tokio::test]
async fn packed() {
    let work = Work::new();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let odd = Path::new(OsStr::from_bytes(b"odd \xff\n\"name"));
    work.write("a.txt", "one");
    work.write(&long, "two");
    work.write(odd, "");
    work.write("run", "#!/bin/sh");
    fs::set_permissions(work.path("run"), fs::Permissions::from_mode(0o755)).unwrap();
    let link = Path::new(&long).with_file_name("link");
    symlink("../a.txt", work.path(&link)).unwrap();
    work.write("left/out", "no");
    let tree = work.all().await.unwrap();
    assert!(tree.has("a.txt") && !tree.has("left") && !tree.has("b"));
    assert_eq!(tree.text("a.txt").unwrap().as_deref(), Some("one"));
    assert_eq!(tree.text("b").unwrap(), None);

    let kept = |path: &Path| !path.starts_with("left");
    let archive = tree.archive(1000, kept, Vec::new()).await.unwrap();
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().uid().unwrap(), 1000);
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let mode = entry.header().mode().unwrap();
        let target = entry.link_name().unwrap();
        let target = target.map(|target| target.display().to_string());
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        found.insert(path, (mode, target.unwrap_or(text)));
    }
    let wanted = [
        (Path::new("a.txt"), 0o644, "one"),
        (Path::new(&long), 0o644, "two"),
        (odd, 0o644, ""),
        (Path::new("run"), 0o755, "#!/bin/sh"),
        (&link, 0o777, "../a.txt"),
        (link.parent().unwrap(), 0o755, ""),
    ];
    for (path, mode, text) in wanted {
        assert_eq!(
            found.remove(path),
            Some((mode, text.to_owned())),
            "{path:?}"
        );
    }
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn nothing() {
    let error = Work::new().tree().await.unwrap_err();
    assert!(error.contains("no files"), "{error}");
}

#[tokio::test]
async fn links_out() {
    let work = Work::new();
    work.write("d/a", "");
    symlink("../..", work.path("d/up")).unwrap();
    let error = work.all().await.unwrap_err();
    let says = "the symbolic link d/up leads to ../..";
    assert!(error.contains(says), "{error}");
}

#[tokio::test]
async fn submodules() {
    let work = Work::new();
    work.write("a", "");
    work.all().await.unwrap();
    let entry = format!("160000,{},vendor/lib", work.git(&["rev-parse", "HEAD"]));
    work.git(&["update-index", "--add", "--cacheinfo", &entry]);
    let error = work.tree().await.unwrap_err();
    assert!(error.contains("vendor/lib is a submodule"), "{error}");
}

#[tokio::test]
async fn manifests_that_are_none() {
    let work = Work::new();
    symlink("a", work.path("link")).unwrap();
    fs::write(work.path("latin"), b"\xe9").unwrap();
    work.write("folder/x", "");
    let tree = work.all().await.unwrap();
    for (name, says) in [
        ("link", "link is no file"),
        ("folder", "folder is no file"),
        ("latin", "latin is no UTF-8"),
    ] {
        let error = tree.text(name).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

//! Every input that is kept is tried, as it is, cut off, and with each of its bits changed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use corefn_fuzz::TARGETS;

#[test]
fn kept_inputs_do_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(&corpus).unwrap();
    let mut folders: Vec<_> = folders.map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, names, "a corpus for each target");
    for (name, run) in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            let mut input = fs::read(&path).unwrap();
            run(&input);
            for end in 0..input.len() {
                run(&input[..end]);
            }
            for bit in 0..input.len() * 8 {
                input[bit / 8] ^= 1 << (bit % 8);
                run(&input);
                input[bit / 8] ^= 1 << (bit % 8);
            }
            count += 1;
        }
        assert!(count > 0, "{name} has inputs");
    }
}

#[test]
fn each_target_has_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let path = format!("fuzz_targets/{name}.rs");
        assert!(root.join(&path).exists(), "{path}");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{path}");
    }
}

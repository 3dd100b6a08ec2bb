//! The table of errors in the documentation is the one in the code.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use corefn_core::error::ErrorCode;

#[test]
fn every_error_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let documented: BTreeMap<String, (String, bool, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            assert_eq!(cells.len(), 4, "{row}");
            assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{row}");
            let waits = row.contains("`Retry-After`");
            (
                cells[0].trim_end_matches('`').to_owned(),
                (cells[1].to_owned(), waits, cells[3].to_owned()),
            )
        })
        .collect();
    let coded: BTreeMap<String, (String, bool, String)> = ErrorCode::ALL
        .into_iter()
        .map(|code| {
            (
                code.to_string(),
                (
                    code.status().to_string(),
                    code.retry_after().is_some(),
                    code.remedy().to_owned(),
                ),
            )
        })
        .collect();
    assert_eq!(documented, coded);
}

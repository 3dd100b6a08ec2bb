//! Alerts and dashboard go by metrics that there are, with labels that these have.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use corefn_core::metrics::ALL;
use corefn_core::names::directive;

/// What a metric's name may end with in addition, where it has several.
const ENDS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn is_metric(word: &str) -> bool {
    let is_one = |name: &str| ALL.iter().any(|metric| metric.name == name);
    let of_several = ENDS.iter().filter_map(|end| word.strip_suffix(end));
    is_one(word) || of_several.into_iter().any(is_one)
}

#[test]
fn files_name_metrics_that_there_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../monitoring");
    let directives = [directive::STATUS, directive::ZONE].map(|name| name.to_str().unwrap());
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let names: Vec<&str> = words.filter(|word| word.starts_with("corefn_")).collect();
        assert!(names.len() > 8, "{file}: {names:?}");
        for name in names {
            assert!(
                is_metric(name) || directives.contains(&name),
                "{file}: {name} is no metric"
            );
        }
    }
}

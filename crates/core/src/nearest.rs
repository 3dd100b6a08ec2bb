//! The word that somebody may have meant.

/// How alike two words must be, by the similarity of Jaro and Winkler between 0 and 1, for one to be suggested in place of the
/// other. Typing errors score above 0.9, unrelated words of these lengths below 0.7.
const ALIKE: f64 = 0.8;

/// The known word that is nearest to an unknown one, if one is near, whatever the case of either. Of names with slashes each segment must be.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let scored = known
        .into_iter()
        .map(|word| (alike(&unknown, &word.to_lowercase()), word));
    scored
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

fn alike(one: &str, other: &str) -> f64 {
    if one.matches('/').count() != other.matches('/').count() {
        return 0.0;
    }
    let segments = one.split('/').zip(other.split('/'));
    let scores = segments.map(|(one, other)| strsim::jaro_winkler(one, other));
    scores.fold(1.0, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        let known = ["demo/hello", "demo/help", "alice/report"];
        assert_eq!(nearest("LEVELS", ["NAME", "LEVEL"]), Some("LEVEL"));
        for (unknown, meant) in [
            ("demo/helo", Some("demo/hello")),
            ("demo/halp", Some("demo/help")),
            ("Alice/Report", Some("alice/report")),
            ("alicereport", None),
            ("demo/other", None),
            ("bob/hello", None),
            ("", None),
        ] {
            assert_eq!(nearest(unknown, known), meant, "{unknown}");
        }
        assert_eq!(nearest("demo/hello", []), None);
    }
}

//! Which pages a credential may be used from.

use enforcer_core::headers::HeaderMap;

/// Longest `Referer` that is looked at.
const MAX_REFERER: usize = 2 << 10;

/// Whether the page that a request says it comes from is one of these, in which `*` stands for any text.
pub fn comes_from(patterns: &[String], headers: &HeaderMap) -> bool {
    let referer = headers.single("referer").ok().flatten().and_then(|referer| str::from_utf8(referer).ok());
    let referer = referer.filter(|referer| referer.len() <= MAX_REFERER && !referer.contains(' '));
    referer.is_some_and(|referer| patterns.iter().any(|pattern| is_like(pattern, referer)))
}

/// Each text between two stars is taken where it occurs first, which leaves most for those after it.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
    let rest = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last));
    let mut pieces = middle.split('*');
    rest.is_some_and(|rest| pieces.try_fold(rest, |rest, piece| Some(rest.split_once(piece)?.1)).is_some())
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, good) in [
            ("https://a.example/", "https://a.example/"),
            ("https://a.example/*", "https://a.example/x?y"),
            ("https://*.example/*", "https://a.b.example/"),
            ("*a*b*", "xaxbx"),
            ("*", ""),
            ("a*", "a"),
            ("*a*a", "aa"),
        ] {
            assert!(is_like(pattern, good), "{pattern} {good}");
        }
        for (pattern, bad) in [
            ("https://a.example/", "https://a.example/x"),
            ("https://a.example/*", "https://a.example.evil/"),
            ("*.example", "a.example.evil"),
            ("ab*ba", "aba"),
            ("*a*b*", "ba"),
            ("*a*a", "a"),
        ] {
            assert!(!is_like(pattern, bad), "{pattern} {bad}");
        }
    }
}

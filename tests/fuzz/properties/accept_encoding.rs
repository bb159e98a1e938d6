//! `Accept-Encoding`: gzip where RFC 9110, section 12.5.3, has it wanted no less than no coding at all.

use flow_window::http::negotiate;

use super::lists;

/// The codings in lower case and their weights in thousandths; `None` outside the grammar.
fn codings(header: &str) -> Option<Vec<(String, u16)>> {
    lists::list(header, |rest| {
        let name = rest.token()?.to_ascii_lowercase();
        Some((name, lists::weight(rest, false)?))
    })
}

/// Whether gzip is wanted; `None` where the RFC leaves it open: a coding that is given twice with
/// different weights, under its own name or as `x-gzip`.
fn reference(codings: &[(String, u16)]) -> Option<bool> {
    let given = |names: &[&str]| {
        let mut weights = codings
            .iter()
            .filter(|(name, _)| names.contains(&&**name))
            .map(|(_, weight)| *weight);
        let first = weights.next();
        weights.all(|weight| Some(weight) == first).then_some(first)
    };
    let (gzip, identity, any) = (
        given(&["gzip", "x-gzip"])?,
        given(&["identity"])?,
        given(&["*"])?,
    );
    let gzip = gzip.or(any).unwrap_or(0);
    // No coding at all is acceptable without being named, but less wanted than what is.
    Some(gzip > 0 && identity.is_none_or(|identity| gzip >= identity))
}

/// Compares the choice with the reference, and with what it is when the header is written in other ways.
pub fn check(bytes: &[u8]) {
    let header = String::from_utf8_lossy(bytes);
    let chosen = negotiate::wants_gzip(&header);
    if chosen {
        let named = header.to_ascii_lowercase().contains("gzip") || header.contains('*');
        assert!(named, "{header:?} does not name gzip");
    }
    let Some(codings) = codings(&header) else {
        return;
    };
    let Some(wanted) = reference(&codings) else {
        return;
    };
    assert_eq!(chosen, wanted, "{header:?} is {codings:?}");
    for same in [
        header.to_ascii_uppercase(),
        format!(" ,{header}\t, "),
        format!("br;q=1.000,{header},deflate;q=0"),
    ] {
        assert_eq!(
            negotiate::wants_gzip(&same),
            wanted,
            "{same:?} as {header:?}"
        );
    }
    // Refused in so many words, it is not sent, whatever else is wanted.
    if !codings.iter().any(|(name, _)| name.ends_with("gzip")) {
        let refused = format!("{header}, gzip;q=0");
        assert!(!negotiate::wants_gzip(&refused), "{refused:?}");
    }
}

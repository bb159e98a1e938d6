//! `If-None-Match` and `If-Match`: the weak and the strong comparison of RFC 9110, sections 8.8.3.2, 13.1.1 and
//! 13.1.2.

use flow_window::http::etag;

use super::lists;

/// Tags of the form that the service gives, of which a client lists some.
const OURS: [&str; 3] = [
    "\"0123456789abcdef.7.0\"",
    "\"0123456789abcdef.empty.0\"",
    "\"fedcba9876543210.-9223372036854775808.-1\"",
];

/// The opaque tags that a header lists, with their quotes, and whether each is weak; `None` outside the grammar
/// of a list.
fn listed(header: &str) -> Option<Vec<(bool, &str)>> {
    lists::list(header, |rest| {
        let weak = rest.0.starts_with("W/");
        if weak {
            rest.0 = &rest.0[2..];
        }
        let start = rest.0;
        rest.character(|c| c == '"')?;
        rest.while_in(|c| matches!(c, '!' | '#'..='~' | '\u{80}'..));
        rest.character(|c| c == '"')?;
        Some((weak, &start[..start.len() - rest.0.len()]))
    })
}

/// Compares the answer for some tags with the reference, and with what it is for other lists.
pub fn check(bytes: &[u8]) {
    let header = String::from_utf8_lossy(bytes);
    let any = header.trim() == "*";
    let listed = listed(&header);
    // The service's tags hold no comma, and nothing but what is printed in ASCII.
    let ours = |tag: &&&str| tag.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    let all = listed.iter().flatten().map(|(_, tag)| tag);
    let from_the_list = all.filter(ours).copied();
    for tag in OURS.into_iter().chain(from_the_list) {
        let names = etag::matches(&header, tag);
        if any || !header.contains(tag) {
            assert_eq!(names, any, "{header:?} and {tag}");
        }
        let expected = etag::check_if_match(Some(&header), Some(tag)).is_ok();
        assert!(names || !expected, "{header:?} and {tag}");
        let Some(listed) = &listed else { continue };
        let strong = listed.contains(&(false, tag));
        let either = strong || listed.contains(&(true, tag));
        assert_eq!(names, either, "{header:?} and {tag}");
        assert_eq!(expected, strong, "{header:?} and {tag}");
        for longer in [
            format!("{header},{tag}"),
            format!("W/{tag} , {header}"),
            format!("\"*,\",{header},,W/{tag}\t"),
        ] {
            assert!(etag::matches(&longer, tag), "{longer:?} and {tag}");
        }
        for near in [
            format!("x{tag}"),
            format!("w/{tag}"),
            format!("{tag}x"),
            tag.replace('"', ""),
        ] {
            let names = near != "*" && etag::matches(&near, tag);
            assert!(!names, "{near:?} and {tag}");
        }
        let other = format!("{}x\"", &tag[..tag.len() - 1]);
        let longer = format!("\"x,*,\",{header},\"*\"");
        let expected = listed.iter().any(|(_, tag)| *tag == other);
        assert_eq!(
            etag::matches(&longer, &other),
            expected,
            "{longer:?} and {other}"
        );
    }
}

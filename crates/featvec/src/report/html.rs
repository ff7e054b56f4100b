//! Text as HTML.

/// `text` with what HTML would take for markup written so that it shows as it is, and what does not show as escapes. A
/// file may be called anything.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() || is_directional(c) => escaped.extend(c.escape_unicode()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Characters that turn the writing of what follows them around.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_do_nothing() {
        assert_eq!(escaped("<img src=x onerror='a()'>"), "&lt;img src=x onerror=&#39;a()&#39;&gt;");
        assert_eq!(escaped("a&b\"\n\u{202e}gpj.exe"), "a&amp;b&quot;\\u{a}\\u{202e}gpj.exe");
        assert_eq!(escaped("räksmörgås 花.jpg"), "räksmörgås 花.jpg");
    }
}

//! Text from elsewhere as a terminal may show it: names of groups, clients and members are their senders' to choose, and must not
//! move the cursor, change the order of a line, or hide in it. Pure.

/// What stands in the place of a character that is not shown.
const REPLACEMENT: char = '?';

/// The text with a mark for each character that does something to a terminal, or cannot be seen.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if is_printable(char) { char } else { REPLACEMENT }).collect()
}

/// Whether a character is seen where it stands, and does nothing else. What is not: control characters (C0, C1, DEL), separators
/// of lines, and format characters (category Cf): those that turn the direction of text, and those without a width.
fn is_printable(char: char) -> bool {
    !(char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_turns_or_hides_is_marked_and_words_are_left_alone() {
        for (text, shown) in [
            ("billing \u{1b}[2J\r\n\u{7}", "billing ?[2J???"),
            ("c1 \u{9b}31m\u{7f}", "c1 ?31m?"),
            ("a\u{202e}b\u{2066}c\u{200e}d\u{61c}e", "a?b?c?d?e"),
            ("a\u{200b}b\u{200d}c\u{feff}d\u{2060}e\u{ad}f", "a?b?c?d?e?f"),
            ("line\u{2028}break\u{e0041}", "line?break?"),
        ] {
            assert_eq!(printable(text), shown);
        }
        for text in ["orders", "Größe", "中文", "ก็", "e\u{301}", "🦉", "a b", "\u{5e9}\u{5dc}"] {
            assert_eq!(printable(text), text);
        }
    }
}

//! `did you mean`: the known word that is nearest to a wrong one. Owns the measure; knows no key. Values only.

/// Letters that a wrong word may differ by.
const DISTANCE_MAX: usize = 3;

/// `, did you mean ...?` where one of `known` is near.
pub(super) fn suggestion<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], ".");
    known
        .map(|known| (edit_distance(&plain(word), &plain(known)), known))
        .min()
        .filter(|(distance, _)| *distance <= DISTANCE_MAX)
        .map_or_else(String::new, |(_, near)| format!(", did you mean `{near}`?"))
}

/// Letters to insert, drop or replace to turn one word into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(l != *r)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["shards", "journal.bytes.max", "connections.max"];
        for (word, near) in
            [("shard", "shards"), ("journal_bytes_max", "journal.bytes.max"), ("CONECTIONS.MAX", "connections.max")]
        {
            assert!(suggestion(word, known.into_iter()).contains(near), "{word}");
        }
        assert_eq!(suggestion("retention.weeks", known.into_iter()), "");
    }
}

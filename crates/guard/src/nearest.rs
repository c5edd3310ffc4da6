//! The names that are nearest to one that is not there. Part of the launcher too, as [`settings`](crate::settings).

/// How many names are offered.
const OFFERED: usize = 3;

/// The names that are nearest to one, the nearest first.
pub fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut found: Vec<(usize, &str)> = names.map(|other| (distance(name, other), other)).collect();
    found.sort_unstable();
    found
        .into_iter()
        .take(OFFERED)
        .map(|(_, name)| name)
        .collect()
}

/// How many letters have to be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = corner + usize::from(letter != *other);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("abc", "abc", 0),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_comes_first() {
        let names = [
            "sqlite3_malloc",
            "sqlite3_mprintf",
            "sqlite3_malloc64",
            "sqlite3_free",
            "sqlite3_open",
        ];
        assert_eq!(
            nearest("sqlite3_maloc", names.into_iter()),
            ["sqlite3_malloc", "sqlite3_malloc64", "sqlite3_free"]
        );
    }
}

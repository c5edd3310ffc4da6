//! Numbers as people read them.

/// A number with commas.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what there is of it.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        thousands(number),
        if number == 1 { one } else { many }
    )
}

/// Cents as an amount.
pub(crate) fn money(cents: i64) -> String {
    let whole = thousands((cents / 100).unsigned_abs());
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{whole}.{:02}", (cents % 100).abs())
}

/// A ratio with the three digits that a measurement has.
pub(crate) fn ratio(value: f64) -> String {
    let digits = match value {
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [5, 123_456, -123_405].map(money),
            ["0.05", "1,234.56", "-1,234.05"]
        );
        assert_eq!(
            [1.0, 1.049, 12.34, 123.4].map(ratio),
            ["1.00", "1.05", "12.3", "123"]
        );
        assert_eq!(plural(1, "row is", "rows are"), "1 row is");
        assert_eq!(plural(1_000, "row is", "rows are"), "1,000 rows are");
    }
}

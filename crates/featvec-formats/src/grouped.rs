//! Long numbers for people.

/// `number` with its digits in groups of three, as all messages of featvec write counts and lengths.
///
/// ```
/// assert_eq!(featvec_formats::grouped(36_864), "36 864");
/// ```
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(512), "512");
        assert_eq!(grouped(36_864), "36 864");
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
    }
}

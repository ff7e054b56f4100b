//! Ranges and choices in names: `shard-{0000..0099}.tar`, `{train,val}.parquet`.

use featvec::{Error, ErrorKind, Result};

/// Most names that one word may stand for.
const MOST_NAMES: usize = 1_000_000;

/// The names that `word` stands for, in order: itself, if there are no braces with a range or a choice in it.
///
/// # Errors
/// More than a million names.
pub(super) fn expand(word: &str) -> Result<Vec<String>> {
    let mut names = vec![String::new()];
    let mut rest = word;
    while let Some((before, choices, after)) = first_braces(rest) {
        if names.len().saturating_mul(choices.len()) > MOST_NAMES {
            let message = format!("{word:?} stands for more than {MOST_NAMES} names");
            return Err(Error::new(ErrorKind::Limit, "", message).with_hint("give several words, or a list"));
        }
        let longer = |name: String| {
            choices.iter().map(move |choice| [&name, before, choice].concat()).collect::<Vec<_>>()
        };
        names = names.into_iter().flat_map(longer).collect();
        rest = after;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

/// The first braces that mean something: what is before them, what they stand for, and what comes after.
fn first_braces(text: &str) -> Option<(&str, Vec<String>, &str)> {
    text.match_indices('{').find_map(|(start, _)| {
        let (inner, after) = text[start + 1..].split_once('}')?;
        let choices = range(inner).or_else(|| {
            let is_choice = inner.contains(',') && !inner.contains('{');
            is_choice.then(|| inner.split(',').map(str::to_owned).collect())
        })?;
        Some((&text[..start], choices, after))
    })
}

/// The numbers of `first..last`, as wide as the first one is written.
fn range(inner: &str) -> Option<Vec<String>> {
    let (first, last) = inner.split_once("..")?;
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (from, to) = (number(first)?, number(last)?);
    let count = usize::try_from(to.checked_sub(from)?).ok()?.checked_add(1)?;
    // One too many is enough to be refused.
    let numbers = (from..=to).take(count.min(MOST_NAMES + 1));
    Some(numbers.map(|number| format!("{number:0width$}", width = first.len())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_choices_are_expanded_in_order() {
        let cases: [(&str, &[&str]); 7] = [
            ("a.tar", &["a.tar"]),
            ("s-{008..011}.tar", &["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]),
            ("{train,val}-{0..1}", &["train-0", "train-1", "val-0", "val-1"]),
            ("{98..101}", &["98", "99", "100", "101"]),
            ("a{b}c", &["a{b}c"]),
            ("{2..1}{x", &["{2..1}{x"]),
            ("{{1..2}", &["{1", "{2"]),
        ];
        for (word, names) in cases {
            assert_eq!(expand(word).unwrap(), names, "{word}");
        }
    }

    #[test]
    fn too_many_names_are_refused_before_they_are_made() {
        for word in ["{0..18446744073709551615}", "{0..999}{0..999}{0..999}", "{0..1000000}"] {
            assert!(expand(word).unwrap_err().message().contains("names"), "{word}");
        }
    }
}

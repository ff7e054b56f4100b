//! One machine's share of a collection.

use std::fmt;
use std::str::FromStr;

use featvec::{Error, ErrorKind};
use sha2::{Digest, Sha256};

/// The share `i` of `n`, of the form `i/n`. Who holds a key depends on the key and `n` alone.
///
/// Shares are counted from 1 to `n` or from 0 to `n - 1`, as the scheduler does: share 0 is share `n`, and is called so.
///
/// ```
/// use featvec_collections::sources::Shard;
///
/// let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().unwrap()).collect();
/// assert_eq!(shards.iter().filter(|shard| shard.holds("photos/cat.jpg")).count(), 1);
/// assert!("4/3".parse::<Shard>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// From 1 to `count`.
    index: u64,
    count: u64,
}

impl Shard {
    /// Whether the item with this key is in the share.
    pub fn holds(&self, key: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let [a, b, c, d, e, f, g, h, ..] = hash;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) % self.count == self.index % self.count
    }

    /// Of how many it is one.
    pub(crate) fn count(self) -> u64 {
        self.count
    }

    /// All shares of which it is one.
    pub(crate) fn all(self) -> impl Iterator<Item = Shard> {
        (1..=self.count).map(move |index| Shard { index, ..self })
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shard, Error> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((0, count)) if count > 0 => Ok(Shard { index: count, count }),
            Some((index, count)) if count > 0 && index <= count => Ok(Shard { index, count }),
            _ => Err(Error::new(ErrorKind::Argument, "", format!("{text:?} is no share"))
                .with_hint("i/n is expected, with i from 1 to n, or from 0 to n-1: 3/16")),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    #[test]
    fn every_key_has_one_holder_and_shares_are_even() {
        for first in [0, 1] {
            let shards: Vec<_> = (first..first + 4).map(|i| shard(&format!("{i}/4"))).collect();
            let mut held = [0; 4];
            for key in 0..4000 {
                let key = format!("photo-{key}.jpg");
                let holders: Vec<_> = (0..4).filter(|i| shards[*i].holds(&key)).collect();
                assert_eq!(holders.len(), 1, "{key}");
                held[holders[0]] += 1;
            }
            assert!(held.iter().all(|held| (900..1100).contains(held)), "{held:?}");
        }
    }

    /// Machines with different versions of featvec must agree.
    #[test]
    fn who_holds_a_key_never_changes() {
        let held: String =
            (0..16).map(|key| if shard("1/2").holds(&key.to_string()) { '1' } else { '0' }).collect();
        assert_eq!(held, "1100111101011110");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "1", "1/0", "5/4", "-1/4", "a/b", "1/2/3"] {
            let error = text.parse::<Shard>().unwrap_err();
            assert!(error.to_string().contains("i/n"), "{error}");
        }
        assert_eq!(shard("3/16").to_string(), "3/16");
    }

    #[test]
    fn a_share_has_one_name() {
        assert_eq!((shard("0/8"), shard("0/8").to_string()), (shard("8/8"), "8/8".to_string()));
        assert_eq!(
            shard("2/3").all().map(|shard| shard.to_string()).collect::<Vec<_>>(),
            ["1/3", "2/3", "3/3"]
        );
    }
}

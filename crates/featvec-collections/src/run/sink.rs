//! Where rows go.

use std::collections::HashSet;

use featvec::{Error, Result};

use crate::parts::{Known, Parts, key_hash};
use crate::sources::Input;
use crate::{Row, Status};

/// Where rows go, in the order of their items.
pub trait Sink: Send {
    /// Why a row cannot go there.
    type Error: From<Error> + Send;

    /// Whether a row of `key` is asked for. It is asked once for each item, in their order.
    fn wants(&mut self, _key: &str) -> bool {
        true
    }

    /// What is known of a picture whose bytes have this SHA-256, so that it need not be computed.
    ///
    /// # Errors
    /// What ends the run.
    fn known(&mut self, _content_hash: &[u8; 32]) -> std::result::Result<Option<Known>, Self::Error> {
        Ok(None)
    }

    /// Takes a row.
    ///
    /// # Errors
    /// What ends the run: a full disk.
    fn write(&mut self, row: Row) -> std::result::Result<(), Self::Error>;
}

/// Parts that a run goes on with: keys that have a row are not asked for again, and each key has one row.
pub struct Resumed<'a> {
    parts: &'a mut Parts,
    retry_failed: bool,
    /// Keys whose rows are on their way, by their hashes.
    asked: HashSet<[u8; 16]>,
    /// What failed before as a whole, and is the place of items now: archives, folders.
    healed: HashSet<[u8; 16]>,
    /// What failed before and was met again, or failed now.
    met: HashSet<[u8; 16]>,
    /// Rows that there were at the beginning, and those of them that were met.
    before: u64,
    found: u64,
}

impl<'a> Resumed<'a> {
    /// Goes on with `parts`; with `retry_failed` pictures that failed are tried again.
    pub fn new(parts: &'a mut Parts, retry_failed: bool) -> Resumed<'a> {
        let before = parts.rows_count();
        Resumed {
            parts,
            retry_failed,
            asked: HashSet::new(),
            healed: HashSet::new(),
            met: HashSet::new(),
            before,
            found: 0,
        }
    }

    /// Takes the rows of archives, folders and patterns back that failed as a whole before, and were read to their ends now:
    /// those in which items were, and the `inputs` themselves. To be called when all items have come; says how many rows of
    /// before were not met.
    pub fn forget_healed(&mut self, inputs: &[Input]) -> u64 {
        let Resumed { parts, healed, met, before, found, .. } = self;
        healed.extend(inputs.iter().map(|input| key_hash(&input.key())));
        let failed_now = |key: &[u8; 16]| met.contains(key);
        let gone = healed.iter().filter(|key| has_failed(parts.status_of(key)) && !failed_now(key));
        let gone: Vec<[u8; 16]> = gone.copied().collect();
        gone.iter().for_each(|key| parts.forget(key));
        before.saturating_sub(*found + gone.len() as u64)
    }
}

fn has_failed(status: Option<Status>) -> bool {
    status.is_some_and(|status| status != Status::Ok)
}

/// What `key` lies in, as far as its text tells: `a`, `a/x.tar` and `a/x.tar/b` for `a/x.tar/b#2`.
fn places(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices(['/', '#']).map(|(end, _)| &key[..end]).filter(|place| !place.is_empty())
}

impl Sink for Resumed<'_> {
    type Error = Error;

    fn wants(&mut self, key: &str) -> bool {
        let hash = key_hash(key);
        let status = self.parts.status_of(&hash);
        if has_failed(status) {
            self.met.insert(hash);
        }
        if self.parts.failed() > 0 {
            let (parts, hashes) = (&*self.parts, places(key).map(key_hash));
            self.healed.extend(hashes.filter(|place| has_failed(parts.status_of(place))));
        }
        let is_open = status.is_none() || self.retry_failed && has_failed(status);
        self.found += u64::from(status.is_some());
        is_open && self.asked.insert(hash)
    }

    fn known(&mut self, content_hash: &[u8; 32]) -> Result<Option<Known>> {
        self.parts.known(content_hash)
    }

    fn write(&mut self, row: Row) -> Result<()> {
        if row.status != Status::Ok {
            self.met.insert(key_hash(&row.key));
        }
        // A picture that fails again keeps its key here: it is not tried a third time.
        if !self.retry_failed || row.status == Status::Ok {
            self.asked.remove(&key_hash(&row.key));
        }
        self.parts.append(row)
    }
}

#[cfg(test)]
mod tests {
    use arrow_schema::Schema;

    use super::*;
    use crate::CommitEvery;
    use crate::identity::tests::identity;

    fn failed(key: &str) -> Row {
        Row {
            key: key.into(),
            content_hash: None,
            size: None,
            status: Status::Unreadable,
            error: Some("torn".into()),
            vector: None,
            columns: None,
        }
    }

    #[test]
    fn what_lies_in_what() {
        assert_eq!(places("/a/x.tar/b#2").collect::<Vec<_>>(), ["/a", "/a/x.tar", "/a/x.tar/b"]);
        assert_eq!(places("table.parquet#12").collect::<Vec<_>>(), ["table.parquet"]);
        assert_eq!(places("a.jpg").count(), 0);
    }

    #[test]
    fn the_failed_row_of_an_archive_goes_once_it_is_read_to_its_end() {
        for retry_failed in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let open = || {
                Parts::open(folder.path(), &identity(4), &Schema::empty(), CommitEvery::default()).unwrap()
            };
            let mut parts = open();
            ["a.tar", "b.tar", "c.tar", "d.jpg", "*.gif"]
                .iter()
                .for_each(|key| parts.append(failed(key)).unwrap());
            parts.commit().unwrap();
            drop(parts);

            let mut parts = open();
            let mut sink = Resumed::new(&mut parts, retry_failed);
            // One is sound now, one breaks off again, one is not among the inputs any more.
            assert!(["a.tar/1.jpg", "b.tar/1.jpg", "new.jpg"].iter().all(|key| sink.wants(key)));
            assert_eq!(sink.wants("b.tar"), retry_failed);
            assert_eq!(sink.wants("d.jpg"), retry_failed);
            sink.write(failed("new.jpg")).unwrap();
            let inputs = ["a.tar", "b.tar", "d.jpg", "*.gif", "new.jpg"];
            let inputs: Vec<Input> =
                inputs.iter().flat_map(|word| Input::parse(word.as_ref()).unwrap()).collect();
            assert_eq!(sink.forget_healed(&inputs), 1, "the one that is not among the inputs");
            let keys = ["a.tar", "b.tar", "c.tar", "d.jpg", "*.gif", "new.jpg"];
            let left = keys.map(|key| parts.status(key).is_some());
            assert_eq!(left, [false, true, true, true, false, true]);
        }
    }
}

//! Rows in the order of their items, whoever finishes first; and pictures with the same bytes computed once.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use arrow_array::RecordBatch;
use featvec::image::{Orientation, Original};

use super::{Event, Note, Sink, Summary};
use crate::layout::held_bytes;
use crate::{Row, Status};

/// Bytes of rows that wait for one before them before workers take no more items.
pub const WAITING_BYTES: usize = 16 << 20;

/// About what a row takes beside its vector and its columns.
const ROW_BYTES: usize = 512;

/// What came of the bytes of a picture, once that is known: all items with the same bytes have it in common.
pub(super) type Computed = Arc<OnceLock<Known>>;

/// Width and height in pixels, and the vector.
#[derive(Clone)]
pub(super) struct Known {
    size: Option<[u32; 2]>,
    vector: Result<Vec<f32>, Failure>,
}

/// Why there is no vector.
#[derive(Clone)]
pub(super) struct Failure {
    pub status: Status,
    pub error: String,
}

/// An item with which its worker is done.
pub(super) struct Finished {
    /// Without what is in `computed`.
    pub row: Row,
    pub event: Event,
    pub computed: Computed,
}

/// Whether somebody computes the same bytes already.
pub(super) struct Claim {
    pub computed: Computed,
    pub is_copy: bool,
}

impl Finished {
    pub fn of(key: String, columns: Option<RecordBatch>) -> Finished {
        let event = Event {
            key: key.clone(),
            status: Status::Ok,
            error: None,
            bytes: 0,
            format: None,
            decoding: 0.0,
            is_copy: false,
            note: None,
        };
        let row = Row {
            key,
            content_hash: None,
            size: None,
            status: Status::Ok,
            error: None,
            vector: None,
            columns,
        };
        Finished { row, event, computed: Computed::default() }
    }

    /// Notes what the picture was.
    pub fn describe(&mut self, original: &Original) {
        let (width, height) = original.size;
        self.row.size = Some([width, height].map(|pixels| u32::try_from(pixels).unwrap_or(u32::MAX)));
        self.event.format = Some(original.format);
        if original.orientation != Orientation::Normal {
            self.event.note = Some(Note::Orientation(original.orientation));
        }
    }

    /// Tells all who wait for it what came of it.
    pub fn set(&self, vector: Result<Vec<f32>, Failure>) {
        // It is set once only: by whom `claim` gave it to first.
        let _ = self.computed.set(Known { size: self.row.size, vector });
    }

    /// The row and the event, complete.
    fn complete(mut self) -> (Row, Event) {
        let known = match Arc::try_unwrap(self.computed) {
            Ok(own) => own.into_inner(),
            Err(shared) => shared.get().cloned(),
        };
        if let Some(Known { size, vector }) = known {
            self.row.size = size;
            match vector {
                Ok(vector) => self.row.vector = Some(vector),
                Err(Failure { status, error }) => {
                    self.row.status = status;
                    self.row.error = Some(error.clone());
                    self.event.error = Some(error);
                }
            }
        }
        self.event.status = self.row.status;
        (self.row, self.event)
    }
}

/// Gives rows to a sink in their order.
pub(super) struct Order<'a, S: Sink> {
    state: Mutex<State<'a, S>>,
    room: Condvar,
}

struct State<'a, S: Sink> {
    sink: &'a mut S,
    /// The item whose row comes next.
    next: u64,
    waiting: BTreeMap<u64, Finished>,
    waiting_bytes: usize,
    /// What is being computed, or has been and waits, by the hash of the bytes.
    computing: HashMap<[u8; 32], Computed>,
    error: Option<S::Error>,
    has_failed: bool,
    summary: Summary,
}

impl<'a, S: Sink> Order<'a, S> {
    pub fn new(sink: &'a mut S) -> Order<'a, S> {
        let state = State {
            sink,
            next: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            computing: HashMap::new(),
            error: None,
            has_failed: false,
            summary: Summary::default(),
        };
        Order { state: Mutex::new(state), room: Condvar::new() }
    }

    /// Whether a row of `key` is asked for.
    pub fn wants(&self, key: &str) -> bool {
        self.state().sink.wants(key)
    }

    /// What is known of the bytes with this `hash`; if nothing is, the caller is to compute it.
    pub fn claim(&self, hash: &[u8; 32]) -> Claim {
        let mut state = self.state();
        if let Some(computed) = state.computing.get(hash) {
            return Claim { computed: Arc::clone(computed), is_copy: true };
        }
        match state.sink.known(hash) {
            Ok(Some(known)) => {
                let known = Known { size: known.size, vector: Ok(known.vector) };
                Claim { computed: Arc::new(OnceLock::from(known)), is_copy: true }
            }
            Ok(None) => {
                let computed = Computed::default();
                state.computing.insert(*hash, Arc::clone(&computed));
                Claim { computed, is_copy: false }
            }
            Err(error) => {
                state.fail(Some(error));
                Claim { computed: Computed::default(), is_copy: false }
            }
        }
    }

    /// Takes the item at `place`, and gives on all rows whose turn it is.
    pub fn deliver(&self, place: u64, finished: Finished, events: &Sender<Event>) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.waiting_bytes += finished.bytes();
        state.waiting.insert(place, finished);
        while !state.has_failed
            && let Some(entry) = state.waiting.first_entry()
            // A copy may come before what it is a copy of.
            && entry.get().computed.get().is_some()
            && *entry.key() == state.next
        {
            let finished = entry.remove();
            state.next += 1;
            state.waiting_bytes -= finished.bytes();
            if let Some(hash) = &finished.row.content_hash {
                state.computing.remove(hash);
            }
            let (row, event) = finished.complete();
            match state.sink.write(row) {
                Ok(()) => {
                    state.summary.count(&event);
                    // Nobody listens where the caller has panicked.
                    let _ = events.send(event);
                }
                Err(error) => state.fail(Some(error)),
            }
        }
        drop(guard);
        self.room.notify_all();
    }

    /// Waits while many rows wait for one before them. Whoever computes that one must not call this.
    pub fn wait_for_room(&self) {
        let room = self
            .room
            .wait_while(self.state(), |state| state.waiting_bytes > WAITING_BYTES && !state.has_failed);
        drop(room.unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the run.
    pub fn fail(&self, error: S::Error) {
        self.state().fail(Some(error));
        self.room.notify_all();
    }

    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Ends the run if the thread that holds it panics: the others would wait for its rows.
    pub fn alarm(&self) -> Alarm<'_, 'a, S> {
        Alarm(self)
    }

    /// What came of all.
    pub fn finish(self) -> Result<Summary, S::Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.error.map_or(Ok(state.summary), Err)
    }

    fn state(&self) -> MutexGuard<'_, State<'a, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink> State<'_, S> {
    /// The first error is the one that counts.
    fn fail(&mut self, error: Option<S::Error>) {
        self.error = self.error.take().or(error);
        self.has_failed = true;
    }
}

impl Finished {
    fn bytes(&self) -> usize {
        // A copy shares the vector of another row.
        let vector = match self.computed.get() {
            Some(Known { vector: Ok(vector), .. }) if !self.event.is_copy => size_of_val(&vector[..]),
            _ => 0,
        };
        vector + held_bytes(&self.row) + ROW_BYTES
    }
}

/// See [`Order::alarm`].
pub(super) struct Alarm<'o, 'a, S: Sink>(&'o Order<'a, S>);

impl<S: Sink> Drop for Alarm<'_, '_, S> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state().fail(None);
            self.0.room.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use featvec::{Error, ErrorKind};

    use super::*;

    /// Keeps rows, as many as it has room for.
    struct Kept {
        rows: Vec<(String, Option<Vec<f32>>)>,
        room: usize,
    }

    impl Sink for Kept {
        type Error = Error;

        fn write(&mut self, row: Row) -> featvec::Result<()> {
            if self.rows.len() == self.room {
                return Err(Error::new(ErrorKind::Io, "disk", "full"));
            }
            self.rows.push((row.key, row.vector));
            Ok(())
        }
    }

    #[test]
    fn a_copy_waits_for_what_it_is_a_copy_of_and_rows_stay_in_order() {
        let mut sink = Kept { rows: Vec::new(), room: 9 };
        let (events, told) = channel();
        let order = Order::new(&mut sink);
        let finished = |key: &str, hash: [u8; 32]| {
            let mut finished = Finished::of(key.to_string(), None);
            let claim = order.claim(&hash);
            finished.row.content_hash = Some(hash);
            (finished.computed, finished.event.is_copy) = (claim.computed, claim.is_copy);
            finished
        };
        // The second item was hashed first.
        let original = finished("b", [1; 32]);
        let copy = finished("a", [1; 32]);
        let other = finished("c", [2; 32]);
        other.set(Err(Failure { status: Status::Undecodable, error: "torn".into() }));
        order.deliver(2, other, &events);
        order.deliver(0, copy, &events);
        assert!(told.try_recv().is_err(), "nothing is known of the first item yet");
        original.set(Ok(vec![1.5]));
        order.deliver(1, original, &events);
        let summary = order.finish().unwrap();
        assert_eq!((summary.ok, summary.undecodable, summary.copies), (2, 1, 1));
        let row = |key: &str, vector| (key.to_string(), vector);
        let expected = [row("a", Some(vec![1.5])), row("b", Some(vec![1.5])), row("c", None)];
        assert_eq!(sink.rows, expected);
        assert_eq!(told.try_iter().map(|event| event.key).collect::<String>(), "abc");
    }

    #[test]
    fn the_first_error_ends_it() {
        let mut sink = Kept { rows: Vec::new(), room: 1 };
        let (events, _told) = channel();
        let order = Order::new(&mut sink);
        for place in 0..3 {
            let finished = Finished::of(place.to_string(), None);
            finished.set(Ok(Vec::new()));
            order.deliver(place, finished, &events);
        }
        assert!(order.has_failed());
        assert_eq!(order.finish().unwrap_err().to_string(), "disk: full");
        assert_eq!(sink.rows.len(), 1);
    }
}

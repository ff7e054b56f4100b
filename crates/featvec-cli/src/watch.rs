//! What is said while pictures are run, and afterwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use featvec::image::ExifPolicy;
use featvec_collections::Status;
use featvec_collections::run::{Event, Note, Summary};
use featvec_collections::sources::{self, Input, SourceOptions};

use crate::line::shown;
use crate::options::path;
use crate::talk::Talk;

/// Failures that are told one by one; a million of them would hide all else.
const FAILURES_TOLD: u64 = 100;

/// Runs that are shorter, and of fewer pictures, end without a word about where the time went.
const SHORT: (f64, u64) = (5.0, 100);

/// Watches a run for the user.
pub struct Watch<'a> {
    talk: &'a Talk,
    exif: ExifPolicy,
    start: Instant,
    /// How many pictures there are, once that is known; zero before.
    total: Arc<AtomicU64>,
    rows: u64,
    failed: u64,
    bytes: u64,
    sideways: u64,
    doubted: bool,
}

impl<'a> Watch<'a> {
    /// Begins to watch a run of `inputs`, of which `before` pictures were run before.
    pub fn new(talk: &'a Talk, exif: ExifPolicy, before: u64) -> Watch<'a> {
        talk.begin_pictures(before);
        Watch {
            talk,
            exif,
            start: Instant::now(),
            total: Arc::default(),
            rows: 0,
            failed: 0,
            bytes: 0,
            sideways: 0,
            doubted: false,
        }
    }

    /// Has the pictures counted, which the time that is left is guessed from: on a thread of its own, where it costs
    /// little and somebody sees it.
    pub fn count(&self, inputs: &[Input], options: &SourceOptions, expected: Option<u64>) {
        let is_packed = |path: &Path| {
            path.extension().is_some_and(|end| ["gz", "tgz", "zst"].iter().any(|packed| end == *packed))
        };
        let costs_little = |input| path(input).is_some_and(|path| path.exists() && !is_packed(path));
        if let Some(expected) = expected.filter(|_| options.shard.is_none()) {
            self.total.store(expected, Ordering::Relaxed);
        } else if self.talk.is_watched() && inputs.iter().all(costs_little) {
            let (inputs, options, total) = (inputs.to_vec(), options.clone(), Arc::clone(&self.total));
            // It ends with the program. Where there is no thread to be had, nobody knows how long it takes.
            let _ = thread::Builder::new().spawn(move || {
                let mut count = 0;
                if let Ok(mut collection) = sources::open(&inputs, &options) {
                    collection.next(&mut |_| {
                        count += 1;
                        false
                    });
                    total.store(count, Ordering::Relaxed);
                }
            });
        }
    }

    /// Tells of a row.
    pub fn row(&mut self, event: &Event) {
        self.rows += 1;
        self.bytes += event.bytes;
        if event.status != Status::Ok {
            self.failed += 1;
            let reason = event.error.as_deref().unwrap_or_default();
            if self.failed <= FAILURES_TOLD {
                self.talk.failure(format_args!("{}: {reason}", shown(&event.key)));
            } else if self.failed == FAILURES_TOLD + 1 {
                self.talk.failure("further failures are counted, and stand in the output only");
            }
        }
        match &event.note {
            Some(Note::Orientation(_)) if self.exif == ExifPolicy::Ignore => {
                if self.sideways == 0 {
                    self.talk.note(format_args!(
                        "{}: by its EXIF orientation this picture is to be turned, which --exif apply would do",
                        shown(&event.key)
                    ));
                }
                self.sideways += 1;
            }
            Some(Note::Doubt(doubt)) if !self.doubted => {
                self.talk.note(format_args!("{}: {doubt}", shown(&event.key)));
                self.doubted = true;
            }
            _ => {}
        }
        let seconds = self.start.elapsed().as_secs_f64().max(f64::EPSILON);
        let (rate, bytes) = (self.rows as f64 / seconds, self.bytes as f64 / 1e6 / seconds);
        let failed = self.failed;
        self.talk.advance_pictures(self.total.load(Ordering::Relaxed), || {
            format!("{rate:.1} pictures/s, {bytes:.1} MB/s, {failed} failed")
        });
    }

    /// Tells how it ended.
    pub fn end(self, summary: &Summary) {
        self.talk.end();
        let talk = self.talk;
        if self.sideways > 1 {
            talk.note(format_args!(
                "{} pictures were left lying as their EXIF orientation says",
                self.sideways
            ));
        }
        let rate = self.rows as f64 / summary.wall.max(f64::EPSILON);
        talk.note(format_args!("{} done, {} failed, {rate:.1} pictures/s", summary.ok, summary.failed()));
        if summary.failed() > 0 {
            talk.note(format_args!(
                "  failed: {} could not be read, {} not decoded",
                summary.unreadable, summary.undecodable
            ));
        }
        if summary.copies > 0 {
            talk.note(format_args!(
                "  {} have the bytes of another one and were not run again",
                summary.copies
            ));
        }
        let (short_seconds, few) = SHORT;
        if summary.wall < short_seconds && self.rows < few {
            return;
        }
        let seconds = &summary.seconds;
        let all = seconds.reading + seconds.decoding + seconds.network + seconds.writing;
        let share = |part: f64| 100.0 * part / all.max(f64::EPSILON);
        talk.note(format_args!(
            "  time: reading {:.0} %, decoding {:.0} %, network {:.0} %, writing {:.0} %; {:.1} MB/s",
            share(seconds.reading),
            share(seconds.decoding),
            share(seconds.network),
            share(seconds.writing),
            summary.bytes as f64 / 1e6 / summary.wall.max(f64::EPSILON)
        ));
        let mut formats: Vec<_> = summary.formats.iter().collect();
        let each = |decoding: f64, pictures: u64| 1e3 * decoding / pictures.max(1) as f64;
        formats
            .sort_by(|(_, a), (_, b)| each(b.decoding, b.pictures).total_cmp(&each(a.decoding, a.pictures)));
        let formats: Vec<String> = formats
            .into_iter()
            .map(|(name, format)| {
                let ms = each(format.decoding, format.pictures);
                format!("{name} {ms:.1} ms each ({})", format.pictures)
            })
            .collect();
        if !formats.is_empty() {
            talk.note(format_args!("  decoding: {}", formats.join(", ")));
        }
    }
}

//! TensorBoard's event files: scalars and histograms by step, as messages in a TFRecord file.

use std::io::{Result, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protobuf::Writer;
use crate::tfrecord::RecordWriter;

/// What the first event says.
const VERSION: &str = "brain.Event:2";

/// The first limit of a histogram's bins, the last one, and the factor from one to the next: TensorFlow's.
const FIRST_LIMIT: f64 = 1e-12;
const LAST_LIMIT: f64 = 1e20;
const LIMIT_FACTOR: f64 = 1.1;

/// Writes events.
#[derive(Debug)]
pub struct EventWriter<W> {
    records: RecordWriter<W>,
}

/// A name for an event file that begins `now`, by which TensorBoard knows it: `events.out.tfevents.SECONDS.HOST`.
pub fn event_file_name(now: SystemTime, host: &str) -> String {
    format!("events.out.tfevents.{:010}.{host}", since_1970(now).as_secs())
}

impl<W: Write> EventWriter<W> {
    /// Begins an event file in `stream`.
    ///
    /// # Errors
    /// The stream's own.
    pub fn new(stream: W, now: SystemTime) -> Result<EventWriter<W>> {
        let mut writer = EventWriter { records: RecordWriter::new(stream) };
        writer.event(now, 0, |event| {
            event.bytes(3, VERSION);
        })?;
        Ok(writer)
    }

    /// Adds the values that the curves `scalars` have at `step`.
    ///
    /// # Errors
    /// The stream's own.
    pub fn scalars(&mut self, now: SystemTime, step: i64, scalars: &[(&str, f32)]) -> Result<()> {
        self.event(now, step, |event| {
            event.message(5, |summary| {
                for (tag, value) in scalars {
                    summary.message(1, |entry| {
                        entry.bytes(1, tag).float(2, *value);
                    });
                }
            });
        })
    }

    /// Adds how `values` are distributed at `step`.
    ///
    /// # Errors
    /// The stream's own.
    pub fn histogram(&mut self, now: SystemTime, step: i64, (tag, values): (&str, &[f32])) -> Result<()> {
        self.event(now, step, |event| {
            event.message(5, |summary| {
                summary.message(1, |entry| {
                    entry.bytes(1, tag).message(5, |histogram| write_histogram(values, histogram));
                });
            });
        })
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut W {
        self.records.get_mut()
    }

    fn event(&mut self, now: SystemTime, step: i64, fill: impl FnOnce(&mut Writer)) -> Result<()> {
        let mut event = Writer::new();
        event.double(1, since_1970(now).as_secs_f64());
        if step != 0 {
            event.int64(2, step);
        }
        fill(&mut event);
        self.records.write(&event.finish())
    }
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A `HistogramProto`: moments, and bins with their upper limits; a run of empty bins is one.
fn write_histogram(values: &[f32], writer: &mut Writer) {
    let limits = limits();
    let mut counts = vec![0.0; limits.len()];
    let [mut min, mut max] = [f64::INFINITY, f64::NEG_INFINITY];
    let [mut count, mut sum, mut squares] = [0.0; 3];
    for value in values.iter().map(|value| f64::from(*value)).filter(|value| value.is_finite()) {
        counts[limits.partition_point(|limit| *limit <= value).min(limits.len() - 1)] += 1.0;
        (min, max) = (min.min(value), max.max(value));
        count += 1.0;
        sum += value;
        squares += value * value;
    }
    writer.double(1, if count > 0.0 { min } else { 0.0 }).double(2, if count > 0.0 { max } else { 0.0 });
    writer.double(3, count).double(4, sum).double(5, squares);
    let is_kept = |bin: &usize| counts[*bin] > 0.0 || counts.get(bin + 1).is_none_or(|next| *next > 0.0);
    let kept: Vec<usize> = (0..limits.len()).filter(is_kept).collect();
    let of = |numbers: &[f64]| kept.iter().map(|bin| numbers[*bin]).collect::<Vec<f64>>();
    writer.packed_double(6, &of(&limits)).packed_double(7, &of(&counts));
}

/// The upper limits of all bins, ascending.
fn limits() -> Vec<f64> {
    let positive = std::iter::successors(Some(FIRST_LIMIT), |limit| Some(limit * LIMIT_FACTOR));
    let positive: Vec<f64> = positive.take_while(|limit| *limit < LAST_LIMIT).chain([f64::MAX]).collect();
    positive.iter().rev().map(|limit| -limit).chain([0.0]).chain(positive.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Field, Message};
    use crate::tfrecord::RecordReader;
    use crate::{Limits, Result};

    fn doubles(field: &Field<'_>) -> Vec<f64> {
        field.words64().unwrap().iter().map(|word| f64::from_le_bytes(*word)).collect()
    }

    /// Number and value of each field as text, messages in braces.
    fn printed(mut message: Message<'_>, of: &[u32]) -> Result<String> {
        let mut text = String::new();
        while let Some(field) = message.next_field()? {
            let value = match (of, field.number) {
                ([first, rest @ ..], number) if *first == number => {
                    format!("{{{}}}", printed(field.message("inner")?, rest)?)
                }
                _ => field
                    .string()
                    .map(String::from)
                    .or_else(|_| field.int64().map(|value| value.to_string()))
                    .or_else(|_| field.float().map(|value| value.to_string()))
                    .unwrap_or_else(|_| format!("{:?}", doubles(&field))),
            };
            text.push_str(&format!("{}:{value} ", field.number));
        }
        Ok(text)
    }

    #[test]
    fn events_are_what_tensorboard_defines() {
        let now = UNIX_EPOCH + Duration::from_millis(1_500);
        let mut events = EventWriter::new(Vec::new(), now).unwrap();
        events.scalars(now, 7, &[("loss", 0.5), ("accuracy", 0.25)]).unwrap();
        let bytes = events.get_mut().clone();
        let limits = Limits::default();
        let records: Vec<_> = RecordReader::new(&bytes[..], "events", &limits).map(Result::unwrap).collect();
        let text = |record: &[u8]| printed(Message::new("Event", record, &limits), &[5, 1]).unwrap();
        assert_eq!(text(&records[0]), "1:[1.5] 3:brain.Event:2 ");
        assert_eq!(text(&records[1]), "1:[1.5] 2:7 5:{1:{1:loss 2:0.5 } 1:{1:accuracy 2:0.25 } } ");
        assert_eq!(event_file_name(now, "here"), "events.out.tfevents.0000000001.here");
    }

    #[test]
    fn histograms_count_every_finite_number_once() {
        let mut writer = Writer::new();
        write_histogram(&[0.0, 1.0, 1.0, -3.0, f32::MAX, f32::NAN], &mut writer);
        let bytes = writer.finish();
        let limits = Limits::default();
        let mut message = Message::new("HistogramProto", &bytes, &limits);
        let mut fields = Vec::new();
        while let Some(field) = message.next_field().unwrap() {
            fields.push(doubles(&field));
        }
        let [min, max, count, sum, squares, ends, counts] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!([min[0], max[0], count[0]], [-3.0, f64::from(f32::MAX), 5.0]);
        assert!(sum[0] > 1e38 && squares[0] > 1e76);
        assert!(ends.is_sorted() && ends.len() == counts.len());
        assert_eq!(counts.iter().sum::<f64>(), 5.0);
        let bin = |value: f64| ends.iter().position(|end| value < *end).unwrap();
        assert_eq!(
            [-3.0, 0.0, 1.0, f64::from(f32::MAX)].map(|value| counts[bin(value)]),
            [1.0, 1.0, 2.0, 1.0]
        );
    }
}

//! Runs one target in this process: the inputs that were findings once, then new ones until the time is over.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::corpus;
use crate::options::{Options, crashers};
use crate::rng::Rng;
use crate::targets::{Reached, Target};

pub const THREADS: u64 = 2;
/// Longest time for one input. They are all small: a longer time means that time does not grow in proportion.
const MOST_TIME: Duration = Duration::from_secs(2);
/// Findings after which a thread gives up: more would be of the same kind.
const MOST_FINDINGS: u64 = 5;

/// Where the thread keeps the input that it is reading.
pub fn running_input(folder: &Path, thread: u64) -> PathBuf {
    folder.join(format!("input-{thread}"))
}

/// Keeps `input` as one that `target` misbehaved with.
pub fn save(target: &str, input: &[u8]) -> io::Result<PathBuf> {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let folder = crashers(target);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{hash:016x}"));
    fs::write(&path, input)?;
    Ok(path)
}

/// Runs `target`, keeping its files in `folder`, and prints what came of it; false if there were findings.
pub fn run(target: &dyn Target, options: &Options, folder: &Path) -> bool {
    let start = Instant::now();
    let mut total = Hunt::new(target, folder, 0);
    for path in corpus::files_in(&crashers(target.name())) {
        total.try_input(&fs::read(&path).expect("a file that was listed can be read"));
    }
    let deadline = start + Duration::from_secs(options.seconds);
    thread::scope(|scope| {
        let start_thread = |thread| {
            scope.spawn(move || {
                let mut hunt = Hunt::new(target, folder, thread);
                hunt.until(deadline, options.seed);
                hunt.count
            })
        };
        let threads: Vec<_> = (0..THREADS).map(start_thread).collect();
        for thread in threads {
            total.count.add(&thread.join().expect("readers panic where that is caught"));
        }
    });
    let count = &total.count;
    println!(
        "{}: {} inputs in {} s, {} % past the first check, {} % read to the end, peak {:.1} MiB, {} findings",
        target.name(),
        count.inputs,
        start.elapsed().as_secs(),
        count.past_first_check * 100 / count.inputs.max(1),
        count.read_to_end * 100 / count.inputs.max(1),
        count.peak_bytes as f64 / f64::from(1 << 20),
        count.findings,
    );
    count.findings == 0
}

#[derive(Default)]
struct Count {
    inputs: u64,
    past_first_check: u64,
    read_to_end: u64,
    peak_bytes: u64,
    findings: u64,
}

impl Count {
    fn add(&mut self, other: &Count) {
        self.inputs += other.inputs;
        self.past_first_check += other.past_first_check;
        self.read_to_end += other.read_to_end;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
        self.findings += other.findings;
    }
}

/// One thread's work.
struct Hunt<'t> {
    target: &'t dyn Target,
    path: PathBuf,
    file: File,
    scratch: PathBuf,
    count: Count,
}

/// What came of one input.
struct Outcome {
    /// `None` after a panic.
    reached: Option<Reached>,
    peak_bytes: u64,
    time: Duration,
}

impl<'t> Hunt<'t> {
    fn new(target: &'t dyn Target, folder: &Path, thread: u64) -> Hunt<'t> {
        let path = running_input(folder, thread);
        let file = File::create(&path).expect("the temporary folder can be written to");
        let scratch = folder.join(format!("scratch-{thread}"));
        Hunt { target, path, file, scratch, count: Count::default() }
    }

    /// Tries new inputs. What they are depends on the seed and the thread alone.
    fn until(&mut self, deadline: Instant, seed: u64) {
        let thread = self.path.as_os_str().as_encoded_bytes().last().copied().unwrap_or(0);
        let mut rng = Rng::new(Rng::new(seed).next() ^ u64::from(thread));
        while Instant::now() < deadline && self.count.findings < MOST_FINDINGS {
            self.try_input(&self.target.mutate(&mut rng));
        }
    }

    fn try_input(&mut self, input: &[u8]) {
        let mut outcome = self.read(input);
        if outcome.time > MOST_TIME {
            // Perhaps the machine was busy; no reader is slow only once.
            outcome.time = self.read(input).time;
        }
        let most_bytes = self.target.most_bytes(input);
        let complaint = match outcome.reached {
            None => Some("panicked, see above".to_owned()),
            _ if outcome.time > MOST_TIME => Some(format!("took {:.1} s", outcome.time.as_secs_f64())),
            _ if outcome.peak_bytes > most_bytes => {
                Some(format!("held {} bytes at once, of at most {most_bytes}", outcome.peak_bytes))
            }
            _ => None,
        };
        if let Some(complaint) = complaint {
            self.count.findings += 1;
            let place = match save(self.target.name(), input) {
                Ok(path) => path.display().to_string(),
                Err(error) => format!("an input that could not be saved ({error})"),
            };
            eprintln!("{}: {complaint}: {place}", self.target.name());
        }
        self.count.inputs += 1;
        self.count.past_first_check +=
            u64::from(outcome.reached.is_some_and(|reached| reached != Reached::FirstCheck));
        self.count.read_to_end += u64::from(outcome.reached == Some(Reached::End));
        self.count.peak_bytes = self.count.peak_bytes.max(outcome.peak_bytes);
    }

    fn read(&mut self, input: &[u8]) -> Outcome {
        self.prepare(input).expect("the temporary folder can be written to");
        let start = Instant::now();
        let mut reached = None;
        let allocated = allocation_counter::measure(|| {
            let read = || self.target.read(&self.path, input, &self.scratch);
            reached = catch_unwind(AssertUnwindSafe(read)).ok();
        });
        Outcome { reached, peak_bytes: allocated.bytes_max, time: start.elapsed() }
    }

    /// Puts the input into its file, from where it can be saved if this process dies, and empties the scratch folder.
    fn prepare(&mut self, input: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(input)?;
        self.file.set_len(input.len() as u64)?;
        if self.scratch.exists() {
            fs::remove_dir_all(&self.scratch)?;
        }
        fs::create_dir(&self.scratch)
    }
}

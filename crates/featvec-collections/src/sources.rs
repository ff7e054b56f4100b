//! From what a user names to items: folders, shards, tables, lists, URLs.
//!
//! ```no_run
//! use featvec_collections::sources::{Input, SourceOptions, open};
//!
//! let inputs = Input::parse("shards/train-{0000..0099}.tar".as_ref())?;
//! let mut collection = open(&inputs, &SourceOptions::default())?;
//! while let Some(item) = collection.next(&mut |key| !key.ends_with(".gif")) {
//!     println!("{} {:?}", item.key, item.content.err());
//! }
//! # Ok::<(), featvec::Error>(())
//! ```

mod array;
mod arrow;
mod braces;
mod columns;
mod folder;
mod footer;
mod input;
mod kind;
mod layout;
mod list;
mod lost;
mod names;
mod parquet;
mod pattern;
mod place;
mod shard;
mod soundness;
mod stream;
mod tar;
mod tfrecord;
mod unpack;
mod zip;

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, fs, io, iter};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use featvec::image::ImageLimits;
use featvec::{Error, ErrorKind, Limits, Result};

use crate::{Content, Item};
use kind::Kind;

pub use featvec_formats::Skip;
pub use folder::IGNORE_FILE;
pub use input::Input;
pub use place::Place;
pub use shard::Shard;
pub use stream::{Fetch, Listing, Opener, Seekable, Stream};

/// How [`open`] reads what it is given.
#[derive(Clone)]
pub struct SourceOptions {
    /// Most bytes of one picture, of one page of a Parquet file and of one batch of an Arrow file; 2 GiB by default, as
    /// for decoding.
    pub max_picture_bytes: u64,
    /// Limits for the rest: names, features of records, arrays.
    pub limits: Limits,
    /// The column of a table, or the feature of a record, that holds the pictures, their paths or their URLs; by default
    /// one with a usual name or the only one of bytes.
    pub image_column: Option<String>,
    /// Whether symbolic links in folders are followed, though never in circles. They are by default.
    pub follow_links: bool,
    /// Whether files and folders in folders are looked at whose names begin with a dot.
    pub hidden: bool,
    /// Whether the rules in files called [`IGNORE_FILE`] are obeyed. They are by default.
    pub ignore_files: bool,
    /// What is not looked at in folders: patterns as in a `.gitignore`.
    pub exclude: Vec<String>,
    /// Whether lines of lists end in zero bytes, as `find -print0` writes them.
    pub null_separated: bool,
    /// The share of the items that is asked for.
    pub shard: Option<Shard>,
    /// Files that are no inputs whatever names or matches them, nor what lies below them: those of the run itself, which
    /// a shell's `*` finds when the run goes on. Paths as [`fs::canonicalize`] gives them.
    pub passed_over: Vec<PathBuf>,
    /// What opens URLs; without it they are refused.
    pub opener: Option<Arc<dyn Opener>>,
}

impl Default for SourceOptions {
    fn default() -> SourceOptions {
        SourceOptions {
            max_picture_bytes: ImageLimits::default().max_memory_bytes,
            limits: Limits::default(),
            image_column: None,
            follow_links: true,
            hidden: false,
            ignore_files: true,
            exclude: Vec::new(),
            null_separated: false,
            shard: None,
            passed_over: Vec::new(),
            opener: None,
        }
    }
}

impl SourceOptions {
    /// Whether `place` is one of those that are no inputs. None of them has the name of a picture.
    fn passes_over(&self, place: &Place) -> bool {
        let Place::Path(path) = place else { return false };
        !self.passed_over.is_empty()
            && !kind::is_picture(&place.name())
            && fs::canonicalize(path)
                .is_ok_and(|path| self.passed_over.iter().any(|own| path.starts_with(own)))
    }
}

/// Pictures, found as they are asked for, in an order that is the same each time.
pub struct Collection {
    /// The other columns of tables, records and shards, which come with each of their items. They are those of the first
    /// input of each kind; where a later one lacks a column its items have null.
    pub columns: SchemaRef,
    /// How many items there are, where it costs nothing to know.
    pub expected: Option<u64>,
    places: Places,
    source: Option<Box<dyn Source>>,
    /// Items that were found and not yet asked for; of those with URLs the requests have been started.
    ahead: VecDeque<Item>,
    options: Arc<SourceOptions>,
}

/// Places of a list or pattern that are tried until one tells its columns.
const MOST_TRIED: usize = 16;

/// Opens `inputs`, which are read one after another.
///
/// # Errors
/// Options that cannot be obeyed; tables of two kinds whose columns of one name have different types; a shard or table that
/// tells the columns, if it could be read at a better moment, since the output would have other columns then. What else is
/// wrong with an input becomes an [`Item`].
pub fn open(inputs: &[Input], options: &SourceOptions) -> Result<Collection> {
    let options = Arc::new(options.clone());
    folder::walker(".".as_ref(), &options)?;
    if inputs.iter().filter(|input| **input == Input::Stdin).count() > 1 {
        return Err(
            Error::new(ErrorKind::Argument, "", "stdin can be read once only").with_hint("give `-` once")
        );
    }
    let is_picture = |input: &Input| matches!(input, Input::Place(place) if kind::is_picture(&place.name()));
    let expected = inputs.iter().all(is_picture).then_some(inputs.len() as u64);
    let mut columns = columns::Union::default();
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for input in inputs {
        let mut places = places(input, &options);
        let mut first = Vec::new();
        for named in places.by_ref().take(MOST_TRIED) {
            let kind = named.found.as_ref().ok().and_then(|()| Kind::of(&named.place).ok());
            let is_told = match kind {
                Some(kind @ (Kind::Tar | Kind::Records | Kind::Parquet | Kind::Arrow))
                    if !seen.contains(&kind) =>
                {
                    match schema_of(kind, &named.place, &options) {
                        Ok(schema) => {
                            columns.add(&schema).map_err(|error| error.within(&named.place.key()))?;
                            seen.insert(kind)
                        }
                        Err(error) if is_passing(&error) => return Err(error.within(&named.place.key())),
                        Err(_) => false,
                    }
                }
                kind => kind.is_some(),
            };
            first.push(named);
            if is_told {
                break;
            }
        }
        // Thousands of lists must not be open at once.
        all.push(match is_lasting(input) {
            true => Begun::Again(input.clone()),
            false => Begun::Open(Box::new(first.into_iter().chain(places))),
        });
    }
    let again = options.clone();
    let places = all.into_iter().flat_map(move |begun| match begun {
        Begun::Again(input) => places(&input, &again),
        Begun::Open(places) => places,
    });
    Ok(Collection {
        columns: columns.finish(),
        expected,
        places: Box::new(places),
        source: None,
        ahead: VecDeque::new(),
        options,
    })
}

impl Collection {
    /// The next item whose key is `wanted`, in the share that was asked for.
    ///
    /// `wanted` is called once for each key, in the order of the items, but perhaps ahead of the item that is returned. What
    /// is not wanted is passed over as cheaply as its format allows.
    pub fn next(&mut self, wanted: &mut dyn FnMut(&str) -> bool) -> Option<Item> {
        let shard = self.options.shard;
        let mut wanted = |key: &str| shard.is_none_or(|shard| shard.holds(key)) && wanted(key);
        let parallel = self.options.opener.as_ref().map_or(1, |opener| opener.parallel().max(1));
        // Only requests are worth being ahead with: what is here would only take memory.
        let is_request = |item: &Item| matches!(item.content, Ok(Content::Coming(_)));
        while self.ahead.len() < parallel && self.ahead.back().is_none_or(is_request) {
            let Some(draft) = self.next_draft(&mut wanted) else { break };
            self.ahead.push_back(draft.start(&self.options));
        }
        self.ahead.pop_front()
    }

    fn next_draft(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        loop {
            if let Some(source) = &mut self.source {
                if let Some(draft) = source.next(wanted) {
                    return Some(draft);
                }
                self.source = None;
            }
            let Named { place, found } = self.places.next()?;
            let key = place.key();
            let opened = found.and_then(|()| self.open(place, &key));
            match opened {
                Ok(source) => self.source = Some(source),
                Err(error) if wanted(&key) => return Some(Draft::failed(key, error)),
                Err(_) => {}
            }
        }
    }

    /// Opens a place. Errors name no place.
    fn open(&self, place: Place, key: &str) -> Result<Box<dyn Source>> {
        let (options, columns) = (&self.options, &self.columns);
        let kind = Kind::of(&place)?;
        Ok(match (kind, place) {
            (Kind::Picture, Place::Url(url)) => {
                place::opener(options)?;
                Box::new(iter::once(Draft::located(key, Located::Url(url))))
            }
            (Kind::Picture, Place::Path(path)) => {
                Box::new(iter::once(Draft::located(key, Located::Here(Content::File(path)))))
            }
            (Kind::Folder, Place::Path(path)) => Box::new(folder::Folder::open(path, options)?),
            (Kind::Folder, Place::Url(url)) => Box::new(objects(&url, options)?),
            (Kind::List, place) => {
                return Err(Error::new(ErrorKind::Unsupported, "", "a list in a list")
                    .with_hint(format!("give {} as an input of its own", place.name())));
            }
            (Kind::Tar, place) => Box::new(tar::Tar::open(&place, options, columns)?),
            (Kind::Zip, place) => Box::new(zip::Zip::open(&place, options)?),
            (Kind::Parquet, place) => Box::new(parquet::Parquet::open(&place, options, columns)?),
            (Kind::Arrow, place) => Box::new(arrow::Arrow::open(&place, options, columns)?),
            (Kind::Records, place) => Box::new(tfrecord::Records::open(&place, options, columns)?),
            (Kind::Array, place) => Box::new(array::Array::open(&place, options)?),
        })
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("columns", &self.columns)
            .field("expected", &self.expected)
            .finish()
    }
}

/// Whether an item with this key is asked for.
type Wanted<'a> = dyn FnMut(&str) -> bool + 'a;

/// Places to be opened one after another.
type Places = Box<dyn Iterator<Item = Named> + Send>;

/// A place, or what keeps it from being found.
struct Named {
    place: Place,
    found: Result<()>,
}

impl Named {
    fn failed(key: &str, error: Error) -> Named {
        Named { place: Place::Path(key.into()), found: Err(error) }
    }
}

/// An input whose first places have been looked at.
enum Begun {
    /// It is opened again when it is its turn.
    Again(Input),
    Open(Places),
}

/// Whether `input` can be read twice: a pipe gives what is in it once, and a shell's `<(...)` is one.
fn is_lasting(input: &Input) -> bool {
    match input {
        Input::Stdin => false,
        Input::Place(Place::Path(path)) | Input::List(Place::Path(path)) => {
            fs::metadata(path).map_or(true, |metadata| metadata.is_file() || metadata.is_dir())
        }
        _ => true,
    }
}

/// The places that `input` stands for, without those that are no inputs.
fn places(input: &Input, options: &Arc<SourceOptions>) -> Places {
    let all: Places = match input {
        Input::Place(place) if Kind::of_name(&place.name()) == Some(Kind::List) => {
            list::places(place, options)
        }
        Input::Place(place) => Box::new(iter::once(Named { place: place.clone(), found: Ok(()) })),
        Input::Pattern(pattern) => pattern::places(pattern, options),
        Input::List(place) => list::places(place, options),
        Input::Stdin => list::stdin(options),
    };
    let options = options.clone();
    Box::new(all.filter(move |named| !options.passes_over(&named.place)))
}

/// Whether it may go better another time: the disk or the network failed, not what was looked for.
fn is_passing(error: &Error) -> bool {
    use io::ErrorKind::{
        InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound, NotSeekable, PermissionDenied,
        UnexpectedEof,
    };
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let is_lasting = |kind| match kind {
        NotFound | PermissionDenied | IsADirectory | NotADirectory | NotSeekable => true,
        // These tell of damage: reading and unpacking ended in them.
        InvalidData | InvalidInput | UnexpectedEof => true,
        _ => false,
    };
    error.kind() == ErrorKind::Io && io.is_some_and(|io| !is_lasting(io.kind()))
}

/// What the other columns of a table or shard are.
fn schema_of(kind: Kind, place: &Place, options: &SourceOptions) -> Result<SchemaRef> {
    match kind {
        Kind::Tar => tar::schema(place, options),
        Kind::Records => tfrecord::schema(place, options),
        Kind::Parquet => parquet::schema(place, options),
        _ => arrow::schema(place, options),
    }
}

/// The pictures below a URL that ends in `/`.
fn objects(url: &str, options: &SourceOptions) -> Result<impl Source + use<>> {
    let folder = Place::Url(url.to_owned());
    let listing = place::opener(options)?.list(url)?;
    let drafts = listing.filter_map(move |url| match url {
        Ok(url) => {
            let place = Place::Url(url.clone());
            kind::is_picture(&place.name()).then(|| Draft::located(&place.key(), Located::Url(url)))
        }
        Err(error) => Some(Draft::failed(folder.key(), error)),
    });
    let mut drafts = drafts.peekable();
    if drafts.peek().is_none() {
        return Err(Error::new(ErrorKind::Argument, "", "no pictures below this address")
            .with_hint("check its spelling; shards and tables are named one by one, or by a pattern"));
    }
    Ok(drafts)
}

/// Something open that has items.
trait Source: Send {
    /// The next item that is wanted. `wanted` is asked once for each, in order.
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft>;
}

impl<I: Iterator<Item = Draft> + Send> Source for I {
    fn next(&mut self, wanted: &mut Wanted<'_>) -> Option<Draft> {
        self.find(|draft| wanted(&draft.key))
    }
}

/// An item whose picture may still have to be asked for.
#[derive(Debug)]
struct Draft {
    key: String,
    content: Result<Located>,
    columns: Option<RecordBatch>,
}

#[derive(Debug)]
enum Located {
    Here(Content),
    Url(String),
}

impl Draft {
    fn located(key: &str, located: Located) -> Draft {
        Draft { key: key.to_owned(), content: Ok(located), columns: None }
    }

    fn failed(key: String, error: Error) -> Draft {
        Draft { key, content: Err(error), columns: None }
    }

    /// The item, whose picture is asked for if it lies elsewhere.
    fn start(self, options: &SourceOptions) -> Item {
        let content = self.content.and_then(|located| match located {
            Located::Here(content) => Ok(content),
            Located::Url(url) => {
                Ok(Content::Coming(place::opener(options)?.fetch(&url, options.max_picture_bytes)))
            }
        });
        Item { key: self.key, content, columns: self.columns }
    }
}

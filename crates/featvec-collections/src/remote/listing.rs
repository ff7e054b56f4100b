//! What lies in a folder of a store.

use std::sync::Arc;
use std::vec;

use featvec::{ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{ObjectMeta, ObjectStore};

use super::answer::path;
use super::failure::{Attempt, Failure};
use super::location::{Bucket, Location, Place};
use super::machinery::Coming;
use super::patience::Patience;
use super::{Network, Remote};

/// Entries that are asked for ahead of whoever takes them; a page of most stores.
const PAGE: usize = 1000;
/// A web server sends its whole listing at once.
const MAX_WEB_ENTRIES: usize = 1_000_000;

/// An object of a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is.
    pub location: Location,
    /// Its length in bytes.
    pub bytes: u64,
}

/// All objects below a folder, sorted by name (its bytes), page by page: a folder of millions takes no more memory than
/// a small one. After an error nothing more comes.
#[derive(Debug)]
pub struct Listing {
    remote: Remote,
    location: Location,
    page: vec::IntoIter<Entry>,
    next: Option<Coming<(Pages, Attempt<Vec<Entry>>)>>,
}

impl Remote {
    /// The objects below `location`, taken as the name of a folder with or without `/` at its end. Web servers can list
    /// theirs if they speak WebDAV. A folder that does not exist is an empty one, as stores see it.
    pub fn list(&self, location: &Location) -> Listing {
        let pages = Pages::new(self.network.clone(), location.clone());
        let mut listing = Listing {
            remote: self.clone(),
            location: location.clone(),
            page: Vec::new().into_iter(),
            next: None,
        };
        listing.read_ahead(pages);
        listing
    }
}

impl Listing {
    fn read_ahead(&mut self, mut pages: Pages) {
        self.next = Some(self.remote.machinery.run(async move {
            let page = pages.page().await;
            (pages, page)
        }));
    }

    fn turn(&mut self) -> Result<()> {
        if let Some(next) = self.next.take() {
            let (pages, page) = next.wait()?;
            let page = page.map_err(|failure| failure.of(&self.location))?;
            if !page.is_empty() {
                self.page = page.into_iter();
                self.read_ahead(pages);
            }
        }
        Ok(())
    }
}

impl Iterator for Listing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if self.page.as_slice().is_empty()
            && let Err(error) = self.turn()
        {
            return Some(Err(error));
        }
        self.page.next().map(Ok)
    }
}

/// How far a folder has been listed.
struct Pages {
    network: Arc<Network>,
    location: Location,
    patience: Patience,
    entries: Option<BoxStream<'static, object_store::Result<ObjectMeta>>>,
    /// The last name that came; those that follow are greater.
    last: Option<object_store::path::Path>,
    ended: bool,
}

impl Pages {
    fn new(network: Arc<Network>, location: Location) -> Pages {
        Pages { network, location, patience: Patience::default(), entries: None, last: None, ended: false }
    }

    /// The next entries, none at the end.
    async fn page(&mut self) -> Attempt<Vec<Entry>> {
        match self.location.place.clone() {
            Place::Web(url) => self.web_folder(&url).await,
            Place::Object { bucket, name } => self.folder(&bucket, &name).await,
        }
    }

    async fn folder(&mut self, bucket: &Bucket, name: &str) -> Attempt<Vec<Entry>> {
        let folder = path(name)?;
        let mut page = Vec::new();
        while page.len() < PAGE && !self.ended {
            let entries = match &mut self.entries {
                Some(entries) => entries,
                None => {
                    let store = self.network.stores.get(bucket).await?;
                    self.entries.insert(match &self.last {
                        Some(last) => store.list_with_offset(Some(&folder), last),
                        None => store.list(Some(&folder)),
                    })
                }
            };
            match entries.next().await {
                Some(Ok(entry)) => {
                    // The mark of a folder: an object called `a/`, which becomes `a` here, after `a.jpg`.
                    if entry.size == 0 && self.last.as_ref().is_some_and(|last| *last >= entry.location) {
                        continue;
                    }
                    if self.last.as_ref().is_some_and(|last| *last >= entry.location) {
                        return Err(Failure::last(
                            ErrorKind::Unsupported,
                            "this store does not list by name, so that \
                             the order would differ each time",
                        )
                        .with_hint("write the names to a list"));
                    }
                    let location = Location::object(bucket.clone(), entry.location.as_ref());
                    page.push(Entry { location, bytes: entry.size });
                    self.last = Some(entry.location);
                    self.patience = Patience::default();
                }
                Some(Err(error)) => self.bear(Failure::of_store(&error)).await?,
                None => self.ended = true,
            }
        }
        Ok(page)
    }

    async fn web_folder(&mut self, url: &reqwest::Url) -> Attempt<Vec<Entry>> {
        let mut page = Vec::new();
        while !self.ended {
            let store: Arc<dyn ObjectStore> =
                self.network.stores.web_folder(url).map_err(|error| Failure::of_store(&error))?;
            let mut entries = store.list(None);
            page.clear();
            self.ended = true;
            while let Some(entry) = entries.next().await {
                match entry {
                    Ok(_) if page.len() == MAX_WEB_ENTRIES => {
                        let message = format!("more than {MAX_WEB_ENTRIES} files");
                        return Err(
                            Failure::last(ErrorKind::Limit, message).with_hint("list a folder within")
                        );
                    }
                    Ok(entry) => page.push(entry),
                    Err(error) => {
                        self.ended = false;
                        self.bear(no_folder(Failure::of_store(&error))).await?;
                        break;
                    }
                }
            }
        }
        page.sort_by(|a, b| a.location.cmp(&b.location));
        let entry = |entry: ObjectMeta| {
            let mut file = url.clone();
            file.set_query(None);
            // Names are those from the root of the server on.
            if let Ok(mut segments) = file.path_segments_mut() {
                segments.clear().extend(entry.location.parts().map(|part| part.as_ref().to_string()));
            }
            Entry { location: Location::web(file), bytes: entry.size }
        };
        Ok(page.into_iter().map(entry).collect())
    }

    async fn bear(&mut self, failure: Failure) -> Attempt<()> {
        self.entries = None;
        let host = self.network.host(&self.location);
        self.patience.bear(failure, 0, &host, &self.network.options).await
    }
}

/// Most web servers list nothing.
fn no_folder(failure: Failure) -> Failure {
    match failure.status.map(|status| status.as_u16()) {
        Some(400 | 405 | 501) => Failure {
            hint: Some("the server does not speak WebDAV: write the addresses of the files to a list".into()),
            again: false,
            ..failure
        },
        _ => failure,
    }
}

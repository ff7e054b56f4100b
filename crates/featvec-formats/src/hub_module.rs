//! A TF1 Hub module: graphs, a checkpoint of their variables, assets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::files::Files;
use crate::protobuf::{Message, Writer};
use crate::saved_model::{GRAPH_FILE, VARIABLES};
use crate::{BundleWriter, Checkpoint, Collection, Error, Limits, MetaGraph, NamedFiles, Result, SavedModel};

const MODULE_FILE: &str = "tfhub_module.pb";
/// The only format there is.
const FORMAT: i32 = 3;
/// The collection of what a module's author attached.
const ATTACHMENTS: &str = "hub_module_attachments";
/// The attachment of image modules.
const IMAGE_MODULE_INFO: &str = "image_module_info";

/// An opened TF1 Hub module.
#[derive(Clone, Debug)]
pub struct HubModule {
    place: String,
    model: SavedModel,
    checkpoint: Option<Checkpoint>,
    assets: Vec<String>,
}

/// What an image module says of its input, in its attachment `image_module_info`. 0 is "not said".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageModuleInfo {
    /// The expected height in pixels.
    pub height: u32,
    /// The expected width in pixels.
    pub width: u32,
}

impl HubModule {
    /// Opens the module in the folder `path`.
    ///
    /// # Errors
    /// No module there, or not one of the TF1 Hub format; damage in any of its files; anything beyond `limits`.
    pub fn open(path: &Path, limits: &Limits) -> Result<HubModule> {
        HubModule::from_files(Files::Folder(path.to_owned()), limits).map_err(Error::of_a_file)
    }

    /// Whether `files` have what makes a module one.
    pub(crate) fn is_in(files: &Files) -> bool {
        files.contains(MODULE_FILE)
    }

    pub(crate) fn from_files(files: Files, limits: &Limits) -> Result<HubModule> {
        let place = files.root().display().to_string();
        if !files.contains(MODULE_FILE) {
            return Err(if files.contains(GRAPH_FILE) {
                Error::unsupported(place, "a SavedModel, but without tfhub_module.pb: not a TF1 Hub module")
                    .with_hint("modules of versions /4 and /5 are of the TF2 format; give version /1 or /3")
            } else {
                Error::unsupported(place, "no module here: tfhub_module.pb and saved_model.pb are missing")
            });
        }
        let read = |name: &str| files.read(name, limits.graph_bytes());
        check_format(&read(MODULE_FILE)?, limits).map_err(|error| error.within(&files.place(MODULE_FILE)))?;
        if !files.contains(GRAPH_FILE) {
            return Err(Error::corrupt(files.place(GRAPH_FILE), "the module has no graph")
                .with_hint("the module is incomplete; fetch it again"));
        }
        let model = SavedModel::parse(&read(GRAPH_FILE)?, limits)
            .map_err(|error| error.within(&files.place(GRAPH_FILE)))?;
        if model.graphs.is_empty() {
            return Err(Error::corrupt(files.place(GRAPH_FILE), "the module has no graph"));
        }
        let assets = files.list("assets")?;
        let checkpoint = if files.contains(&format!("{VARIABLES}.index")) {
            Some(Checkpoint::open_v2(files, VARIABLES, limits)?)
        } else {
            check_stateless(&model, limits).map_err(|error| error.within(&files.place(VARIABLES)))?;
            None
        };
        Ok(HubModule { place, model, checkpoint, assets })
    }

    /// The files of a module with the graphs of `model` and the values `variables`. What makes it one comes last.
    ///
    /// # Errors
    /// Those of [`SavedModel::encode`].
    pub fn files(model: &SavedModel, variables: BundleWriter) -> Result<NamedFiles> {
        let mut files = model.files(variables)?;
        let mut module = Writer::new();
        module.int64(1, FORMAT.into());
        files.push((MODULE_FILE.to_owned(), module.finish()));
        Ok(files)
    }

    /// The folder or archive that the module came from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The variants of the graph, in the file's order; no two have the same tags.
    pub fn graphs(&self) -> &[MetaGraph] {
        &self.model.graphs
    }

    /// The graph whose tags are exactly `tags`.
    pub fn graph(&self, tags: &BTreeSet<String>) -> Option<&MetaGraph> {
        self.model.graph(tags)
    }

    /// The variables' values; `None` if the module has no variables.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The names of the files in the folder `assets`.
    pub fn assets(&self) -> &[String] {
        &self.assets
    }
}

fn check_format(bytes: &[u8], limits: &Limits) -> Result<()> {
    let mut message = Message::new("ModuleDef", bytes, limits);
    let mut format = 0;
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => format = field.int32()?,
            2 => {
                let message = format!("the module requires the feature {:?}", field.string()?);
                return Err(Error::unsupported("", message));
            }
            _ => {}
        }
    }
    if format != FORMAT {
        let message = format!("a module of format {format}; featvec reads format {FORMAT}");
        return Err(Error::unsupported("", message));
    }
    Ok(())
}

/// A module may come without a checkpoint only if its graphs have no variables.
fn check_stateless(model: &SavedModel, limits: &Limits) -> Result<()> {
    for graph in &model.graphs {
        if let Some(variable) = graph.variables(limits)?.first() {
            let message = format!("there is no checkpoint for variable {:?} and the others", variable.name);
            return Err(Error::corrupt("", message).with_hint("the module is incomplete; fetch it again"));
        }
    }
    Ok(())
}

impl MetaGraph {
    /// What the module's author attached, by key; the last of several with one key.
    ///
    /// # Errors
    /// Damage in the collection.
    pub fn attachments(&self, limits: &Limits) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut attachments = BTreeMap::new();
        for bytes in self.byte_collection(ATTACHMENTS)? {
            let (key, value) = parse_attachment(bytes, limits)
                .map_err(|error| error.within(&format!("collection {ATTACHMENTS:?}")))?;
            attachments.insert(key, value);
        }
        Ok(attachments)
    }

    /// The attachment `image_module_info`, if there is one.
    ///
    /// # Errors
    /// Damage in the collection or the attachment; a negative size.
    pub fn image_module_info(&self, limits: &Limits) -> Result<Option<ImageModuleInfo>> {
        let parse = |bytes: &Vec<u8>| ImageModuleInfo::parse(bytes, limits);
        self.attachments(limits)?
            .get(IMAGE_MODULE_INFO)
            .map(parse)
            .transpose()
            .map_err(|error| error.within(&format!("attachment {IMAGE_MODULE_INFO:?}")))
    }

    /// Attaches `info` as `image_module_info`, in place of all attachments.
    pub fn attach_image_module_info(&mut self, info: ImageModuleInfo) {
        let mut message = Writer::new();
        message.message(1, |size| {
            size.uint64(1, info.height.into()).uint64(2, info.width.into());
        });
        let mut attachment = Writer::new();
        attachment.bytes(1, IMAGE_MODULE_INFO).bytes(2, message.finish());
        self.collections.insert(ATTACHMENTS.to_owned(), Collection::Bytes(vec![attachment.finish()]));
    }
}

fn parse_attachment(bytes: &[u8], limits: &Limits) -> Result<(String, Vec<u8>)> {
    let mut message = Message::new("ModuleAttachment", bytes, limits);
    let (mut key, mut value) = (String::new(), Vec::new());
    while let Some(field) = message.next_field()? {
        match field.number {
            1 => key = field.string()?.to_owned(),
            2 => value = field.bytes()?.to_vec(),
            _ => {}
        }
    }
    Ok((key, value))
}

impl ImageModuleInfo {
    fn parse(bytes: &[u8], limits: &Limits) -> Result<ImageModuleInfo> {
        let mut message = Message::new("ImageModuleInfo", bytes, limits);
        let mut info = ImageModuleInfo::default();
        while let Some(field) = message.next_field()? {
            if field.number != 1 {
                continue;
            }
            let mut size = field.message("ImageModuleInfo.InputSize")?;
            while let Some(field) = size.next_field()? {
                let pixels = match field.number {
                    1 => &mut info.height,
                    2 => &mut info.width,
                    _ => continue,
                };
                let value = field.int32()?;
                *pixels =
                    u32::try_from(value).map_err(|_| field.error(format!("a size of {value} pixels")))?;
            }
        }
        Ok(info)
    }
}

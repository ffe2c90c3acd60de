//! The demonstration that the program carries: photographs of garments, digits, and a generator and a discriminator that this project
//! trained on the digits. Commands take files, so it is laid out in the cache on first use, under a name that changes with its content.

use super::garments::{GARMENTS, write_garments};
use super::generator_args::GeneratorArgs;
use super::program_args::ProgramArgs;
use super::terminal::Terminal;
use crate::error::{Error, Result};
use crate::extract::weights::Cache;
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::formats::atomic::write_unless_there;
use crate::formats::digest::sha256;
use crate::images::ImageSet;
use crate::reference::embed::{EmbedOptions, embed_into};
use crate::reference::{IndexOptions, Reference, index, is_reference};
use std::fs;
use std::path::{Path, PathBuf};

const DIGITS: &[u8] = include_bytes!("../../examples/digits.zip");
/// The generator directory, as `pd finetune --init` wrote it; how is told in `examples/demo/README.md`.
const GENERATOR: [(&str, &[u8]); 3] = [
    ("config.json", include_bytes!("../../examples/demo/config.json")),
    ("g_ema.safetensors", include_bytes!("../../examples/demo/g_ema.safetensors")),
    ("d.safetensors", include_bytes!("../../examples/demo/d.safetensors")),
];
/// Characters of a digest that tell two demonstrations apart.
const DIGEST_LENGTH: usize = 16;
/// Images per forward pass.
const BATCH: usize = 32;

/// The folder of the photographs.
const SHOP: &str = "shop";

/// Where the demonstration lies.
pub(super) struct Bundled {
    root: PathBuf,
}

/// Raised when a reference of the last version lacks something that commands need.
const REFERENCE_VERSION: u32 = 2;

impl Bundled {
    /// Lays the photographs out in the cache, unless they are there, and says so. `missing` are the arguments that would have named one's
    /// own.
    pub(super) fn photographs(what: &str, missing: &str, terminal: &Terminal) -> Result<Self> {
        say(what, missing, terminal);
        let bundled = Self::place()?;
        write_garments(&bundled.root.join(SHOP), terminal)?;
        Ok(bundled)
    }

    /// As [`Bundled::photographs`], the digits and their generator.
    pub(super) fn digits(what: &str, missing: &str, terminal: &Terminal) -> Result<Self> {
        say(what, missing, terminal);
        let bundled = Self::place()?;
        write_digits(&bundled.images())?;
        write_generator(&bundled.generator())?;
        Ok(bundled)
    }

    /// Takes the place of generator and reference where neither is named.
    pub(super) fn stand_in(
        (generator, program): (&mut GeneratorArgs, &ProgramArgs),
        reference: &mut Option<PathBuf>,
        terminal: &Terminal,
    ) -> Result<()> {
        if reference.is_none() && !generator.is_named() && !program.is_named() {
            let bundled = Self::digits(
                "a generator of digits, and digits as its reference",
                "name --generator G and --reference REF",
                terminal,
            )?;
            generator.take(bundled.generator());
            *reference = Some(bundled.reference(terminal)?);
        }
        Ok(())
    }

    /// Where it lies or would lie.
    fn place() -> Result<Self> {
        let parts = GENERATOR.iter().map(|(_, bytes)| sha256(bytes));
        let digest = sha256(parts.chain([DIGITS, GARMENTS].map(sha256)).collect::<String>().as_bytes());
        let name = format!("demonstration-{}", digest.get(..DIGEST_LENGTH).unwrap_or(&digest));
        Ok(Self { root: Cache::from_env()?.root().join(name) })
    }

    /// 1 797 images of digits.
    pub(super) fn images(&self) -> PathBuf {
        self.root.join("digits.zip")
    }

    /// The catalogue of the shop, 160 photographs of garments.
    pub(super) fn catalogue(&self) -> PathBuf {
        self.root.join(SHOP).join("catalogue")
    }

    /// 120 pictures for the shop, among them copies.
    pub(super) fn pool(&self) -> PathBuf {
        self.root.join(SHOP).join("pool")
    }

    /// A generator of digits, with its discriminator.
    pub(super) fn generator(&self) -> PathBuf {
        self.root.join("generator")
    }

    /// The indexed reference of the digits; made on first use.
    pub(super) fn reference(&self, terminal: &Terminal) -> Result<PathBuf> {
        self.reference_of("digits", &self.images(), terminal)
    }

    /// The indexed reference of the catalogue; made on first use.
    pub(super) fn catalogue_reference(&self, terminal: &Terminal) -> Result<PathBuf> {
        self.reference_of("catalogue", &self.catalogue(), terminal)
    }

    fn reference_of(&self, what: &str, images: &Path, terminal: &Terminal) -> Result<PathBuf> {
        let extractor = LoadedExtractor::load(&ExtractorRequest::default())?;
        // Another version of the extractor, or of what a reference holds, makes another reference.
        let digest = sha256(extractor.identity().describe().as_bytes());
        let weights = extractor.identity().weights_sha256.clone().unwrap_or_default();
        let name = sha256(format!("{digest}{weights}{REFERENCE_VERSION}").as_bytes());
        let place = self.root.join(format!("{what}-{}", name.get(..DIGEST_LENGTH).unwrap_or(&name)));
        if is_reference(&place) && Reference::open(&place)?.density().is_ok() {
            return Ok(place);
        }
        terminal.say(&format!("making the reference of the {what} (once)"));
        let unfinished = tempfile::Builder::new()
            .prefix("reference-")
            .tempdir_in(&self.root)
            .map_err(Error::io("create", &self.root))?;
        let target = unfinished.path().join("reference");
        let set = ImageSet::open(images, terminal)?;
        embed_into(&target, &set, &extractor, EmbedOptions { batch: BATCH, strict: true }, terminal)?;
        index(&mut Reference::open(&target)?, IndexOptions::default(), terminal.device(), terminal)?;
        match fs::rename(&target, &place) {
            // Another process was faster, with the same.
            Err(_) if is_reference(&place) => Ok(place),
            renamed => renamed.map_err(Error::io("create", &place)).map(|()| place),
        }
    }

    /// The images that a directory's real side was made of, where that was the demonstration.
    pub(super) fn images_behind(dir: &Path, terminal: &Terminal) -> Option<ImageSet> {
        let bundled = Self::place().ok()?;
        let sets = [bundled.images(), bundled.catalogue()].into_iter().filter(|path| path.exists());
        let mut sets = sets.filter_map(|path| ImageSet::open(&path, terminal).ok());
        let input_digest = match Reference::open(dir) {
            Ok(reference) => reference.manifest.input_digest.clone(),
            Err(_) => {
                let summary = fs::read(dir.join("summary.json")).ok()?;
                let summary: serde_json::Value = serde_json::from_slice(&summary).ok()?;
                let used = summary.get("run")?.get("reference")?.as_str()?;
                let places = fs::read_dir(&bundled.root).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
                let mut references =
                    places.filter(|path| is_reference(path)).filter_map(|path| Reference::open(&path).ok());
                let reference = references.find(|found| found.digest().is_ok_and(|digest| digest == used))?;
                reference.manifest.input_digest.clone()
            }
        };
        sets.find(|set| set.digest() == input_digest)
    }
}

fn say(what: &str, missing: &str, terminal: &Terminal) {
    terminal.say(&format!("using the demonstration that pd carries ({what}); {missing} to work on your own"));
}

/// Writes the digits, an archive.
pub(super) fn write_digits(to: &Path) -> Result<()> {
    write_unless_there(to, DIGITS)
}

/// Writes the generator directory.
pub(super) fn write_generator(to: &Path) -> Result<()> {
    GENERATOR.iter().try_for_each(|(name, bytes)| write_unless_there(&to.join(name), bytes))
}

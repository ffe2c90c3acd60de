//! Features of a pool's images, kept in the cache by the content of the images and by what made them: choosing again from the same pool
//! makes none again. A pool that fills much of the space is not kept.

use crate::cli::common::ExtractorArgs;
use crate::cli::input::Input;
use crate::cli::kept::{Folder, content_of, name_of};
use crate::cli::terminal::Terminal;
use crate::error::Result;
use crate::extract::LoadedExtractor;
use crate::images::{ImageSet, Inputs};
use crate::reference::embed::embed_into;
use crate::reference::{Reference, is_reference, read_skipped};

/// Where in the cache the features are, a reference directory for each pool.
const POOLS: Folder = Folder { name: "pools", mark: "manifest.json", most_bytes: 2 << 30 };

/// The features of the images of a pool, made by `extractor`; `None` if they are not to be kept: too many, or there is no cache.
pub(super) fn features(
    set: &ImageSet,
    extractor: &LoadedExtractor,
    args: &ExtractorArgs,
    terminal: &Terminal,
) -> Result<Option<Input>> {
    let bytes = (set.len() * extractor.identity().dimension * size_of::<f32>()) as u64;
    let Some(root) = POOLS.root(bytes).filter(|_| !set.is_empty()) else { return Ok(None) };
    let content = content_of(set, "looking at the pool", terminal)?;
    let dir = root.join(name_of(&content, extractor.identity())?);
    let known = is_reference(&dir);
    if known {
        terminal
            .say(&format!("{} images of the pool are as before: their features are in the cache", set.len()));
    } else {
        POOLS.make_room(&root, bytes, &dir)?;
        embed_into(&dir, set, extractor, args.embed_options(), terminal)?;
    }
    let kept = Reference::open(&dir)?;
    let (features, paths) = (kept.features()?, kept.paths()?);
    let inputs = Inputs { used: paths.len(), skipped: read_skipped(&dir)?, left_out: set.left_out().clone() };
    if args.strict {
        inputs.check_strict()?;
    }
    POOLS.touch(&dir);
    Ok(Some(Input {
        features,
        paths,
        images: Vec::new(),
        identity: kept.manifest.identity,
        descriptors: None,
        measures: None,
        inputs: Some(inputs),
    }))
}

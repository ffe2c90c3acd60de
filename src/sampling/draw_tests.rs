//! A run that breaks off and is started again.

use super::draw::{DrawOptions, draw};
use super::{Decision, GeneratedCandidates, ReferenceStats, RefusedCopies, Spacing};
use crate::candidates::{
    CandidateImage, CandidateSource as _, Delivered, DensityScorer, GeneratorSource, LatentOrigin,
    LatentSource, ReferenceDensity, SecondLook, features_of,
};
use crate::density::Rule;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::generate::{ForwardOptions, Generator, GeneratorInfo, GeneratorRequest, Variables, initialise};
use crate::neighbors::IndexKind;
use crate::progress::Silent;
use crate::reference::score::{Duplicates, ScoreOptions};
use crate::reference::{DensityBy, Scorer};
use crate::runs::{PARTIAL, Partial};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A generator that fails after a number of batches.
struct Failing {
    inner: Box<dyn Generator>,
    left: AtomicUsize,
}

impl Generator for Failing {
    fn info(&self) -> &GeneratorInfo {
        self.inner.info()
    }

    fn variables(&self) -> Option<&Variables> {
        self.inner.variables()
    }

    fn stage(&self, index: usize, state: &Tensor, conditions: &ForwardOptions) -> Result<Tensor> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(Error::data("the generator broke off", ""));
        }
        self.left.store(left - 1, Ordering::Relaxed);
        self.inner.stage(index, state, conditions)
    }
}

fn generator(dir: &Path, batches: usize) -> Failing {
    let config = dir.join("config.json");
    let text = r#"{"family": "mlp-gan", "generator": {"widths": [4, 16, 64], "image": [1, 8, 8]}}"#;
    std::fs::write(&config, text).unwrap();
    let inner = initialise(&config, 0, &GeneratorRequest::default()).unwrap();
    Failing { inner, left: AtomicUsize::new(batches) }
}

fn latents() -> LatentSource {
    LatentSource::new(LatentOrigin::Seeds("0-2000".parse().unwrap()), DType::F32, &Device::Cpu)
}

fn source<'a>(generator: &'a dyn Generator, latents: &'a LatentSource) -> GeneratorSource<'a> {
    GeneratorSource { generator, latents, batch: 50 }
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap_or_default()))
        .collect()
}

#[test]
fn a_run_that_breaks_off_anywhere_continues_to_the_same_images() {
    let dir = tempfile::tempdir().unwrap();
    let whole = generator(dir.path(), usize::MAX);
    let extractor = LoadedExtractor::load(&ExtractorRequest::default()).unwrap();
    let latents = latents();
    let mut real = Vec::new();
    let mut take = |images: Vec<Delivered>| {
        real.extend(images.into_iter().map(|delivered| match delivered.image {
            CandidateImage::Pixels(image) => image,
            other => panic!("{other:?}"),
        }));
        Ok(())
    };
    source(&whole, &latents).images(1000..1060, &mut take, &Silent).unwrap();
    let real = features_of(&extractor, &real).unwrap().into_shared();
    let options =
        ScoreOptions { k: 5, exponent: 1.0, duplicates: Duplicates::Keep, index: IndexKind::Exact, seed: 0 };
    let (scorer, _) = Scorer::of_features(real, options, &Device::Cpu, &Silent).unwrap();
    let stats = |refused: RefusedCopies| ReferenceStats::new(&scorer, Spacing::default(), refused);
    let of_kept = RefusedCopies { of_kept: true, ..RefusedCopies::default() };
    let references = [stats(RefusedCopies::default()), stats(of_kept)];
    let density = ReferenceDensity::new(scorer, None, DensityBy::Knn).unwrap();
    let scorer = DensityScorer { extractor, density };
    let rule = Some(Rule::Ratio { b: 1.0, dimension: 3.0 });
    let options = DrawOptions { n: Some(90), pilot: 150, max_draws: 2000, rule, budget: Some(3.0), seed: 1 };
    let of_few = DrawOptions { n: None, max_draws: 400, ..options.clone() };
    let runs = [(&references[0], &options), (&references[1], &of_few)];
    let look = SecondLook::new(&scorer.extractor, of_kept.level, None).unwrap();
    let run =
        |generator: &dyn Generator, (reference, options): (&ReferenceStats, &DrawOptions), out: &Path| {
            let source = source(generator, &latents);
            let partial = Partial::open(out.join(PARTIAL), &"a run").unwrap();
            let generated =
                GeneratedCandidates::new(&source, Some(&scorer), partial, &Silent).looking(Some(&look));
            let drawn = draw(&generated, Some(reference), options, &Device::Cpu, out, &Silent)?;
            generated.finish()?;
            Ok::<_, Error>(drawn)
        };
    for (number, asked) in runs.into_iter().enumerate() {
        let expected = dir.path().join(format!("expected-{number}"));
        let drawn = run(&whole, asked, &expected).unwrap();
        let kept = drawn.kept().count();
        assert!(kept > 1 && (number == 1 || kept == 90), "{kept}");
        assert!(drawn.decisions.contains(&Decision::Rejected) && drawn.draws > 150);
        assert_eq!(drawn.copy_of.len(), if number == 0 { 0 } else { drawn.decisions.len() });
        for batches in [2, 4, 7] {
            let out = dir.path().join(format!("after-{batches}-{number}"));
            assert!(run(&generator(dir.path(), batches), asked, &out).is_err());
            let again = run(&whole, asked, &out).unwrap();
            assert_eq!(again.decisions, drawn.decisions);
            assert_eq!(again.copy_of, drawn.copy_of);
            assert_eq!(files(&out), files(&expected), "after {batches} batches");
        }
    }
}

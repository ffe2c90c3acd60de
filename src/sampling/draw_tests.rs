//! A run that breaks off and is started again.

use super::draw::{DrawOptions, draw};
use super::{Decision, Judge, Judgement, Latents, Making, ReferenceStats, Source, Spacing};
use crate::density::Rule;
use crate::error::{Error, Result};
use crate::extract::{ExtractorRequest, LoadedExtractor};
use crate::generate::{
    ForwardOptions, Generator, GeneratorInfo, GeneratorRequest, NoiseMode, Variables, initialise,
};
use crate::neighbors::IndexKind;
use crate::progress::Silent;
use crate::reference::Scorer;
use crate::reference::score::{Duplicates, ScoreOptions};
use crate::shards::{PARTIAL, Partial};
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

fn source(generator: &dyn Generator) -> Source<'_> {
    Source {
        generator,
        latents: Latents::Seeds("0-2000".parse().unwrap()),
        space: None,
        class: None,
        truncation: None,
        noise: NoiseMode::Const,
        dtype: DType::F32,
        device: Device::Cpu,
    }
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
    let real = source(&whole).features(1000..1060, &[&extractor], 30).unwrap().remove(0).into_shared();
    let options =
        ScoreOptions { k: 5, exponent: 1.0, duplicates: Duplicates::Keep, index: IndexKind::Exact, seed: 0 };
    let (scorer, _) = Scorer::of_features(real, options, &Device::Cpu, &Silent).unwrap();
    let judgement = Judgement { extractor: &extractor, judge: Judge { scorer: &scorer, predictor: None } };
    let reference = ReferenceStats::new(&scorer, Spacing::default());
    let rule = Some(Rule::Ratio { b: 1.0, dimension: 3.0 });
    let options = DrawOptions { n: Some(90), pilot: 150, max_draws: 2000, rule, budget: Some(3.0), seed: 1 };
    let run = |generator: &dyn Generator, out: &Path| {
        let source = source(generator);
        let partial = Partial::open(out.join(PARTIAL), &"a run").unwrap();
        let making = Making::new(&source, Some(&judgement), 50, partial);
        let drawn = draw(&making, Some(&reference), &options, &Device::Cpu, out, &Silent)?;
        making.finish()?;
        Ok::<_, Error>(drawn)
    };
    let expected = dir.path().join("expected");
    let drawn = run(&whole, &expected).unwrap();
    assert_eq!(drawn.kept().count(), 90);
    assert!(drawn.decisions.contains(&Decision::Rejected) && drawn.draws > 150);
    for batches in [2, 4, 7] {
        let out = dir.path().join(format!("after-{batches}"));
        assert!(run(&generator(dir.path(), batches), &out).is_err());
        let again = run(&whole, &out).unwrap();
        assert_eq!(again.decisions, drawn.decisions);
        assert_eq!(files(&out), files(&expected), "after {batches} batches");
    }
}

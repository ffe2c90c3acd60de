use super::super::prdc;
use super::super::statistics::Statistics;
use super::super::test_support::{Fixture, assert_close};
use super::*;
use crate::error::{Error, Result};
use crate::extract::Identity;
use crate::progress::Silent;
use ndarray::{Array2, s};

/// Rows of the fixture as a set of the extractor `extractor`.
fn set(side: &str, rows: usize, extractor: &str) -> EvaluationSet {
    let features: Array2<f32> = Fixture::load().features(side).slice(s![..rows, ..]).to_owned();
    let identity = Identity { extractor: extractor.into(), ..Identity::external(features.ncols(), false) };
    let paths = (0..rows).map(|row| format!("{row}.png")).collect();
    let content = SetContent::Features { features: features.into_shared(), paths, identity };
    EvaluationSet::new(side, content)
}

fn statistics(side: &str, rows: usize) -> EvaluationSet {
    let features = Fixture::load().features(side);
    let content = SetContent::Statistics(Statistics::of(features.slice(s![..rows, ..]), &Silent).unwrap());
    EvaluationSet::new(side, content)
}

fn metrics(names: &[&str]) -> EvaluationOptions {
    EvaluationOptions {
        metrics: names.iter().map(|&name| name.to_owned()).collect(),
        ..EvaluationOptions::default()
    }
}

fn evaluated(
    real: EvaluationSet,
    generated: EvaluationSet,
    options: &EvaluationOptions,
) -> Result<Evaluation> {
    evaluate(real, [Ok(generated)], options, &Silent)
}

#[test]
fn the_distance_is_the_fid_only_in_the_inception_space_and_has_the_value_of_pytorch_fid() {
    let expected = Fixture::load().number(&["fid", "fid"]);
    for (extractor, name) in [("inception-fid", "fid"), ("inception", "fd"), ("external", "fd")] {
        let (real, fake) = (set("real_2000", 2000, extractor), set("fake_2000", 2000, extractor));
        let found = evaluated(real, fake, &metrics(&["fid"])).unwrap();
        assert_eq!((found.is_fid, found.column_name("fd")), (name == "fid", name), "{extractor}");
        let json = found.json();
        assert_close(&[json["generated"][0][name].as_f64().unwrap()], &[expected], 1e-6);
        assert_eq!(json["generated"][0]["path"], "fake_2000");
    }
}

#[test]
fn a_metric_is_computed_once_whatever_it_is_called_and_an_unknown_name_is_an_error() {
    let (real, fake) = (set("real_2000", 100, "x"), set("fake_2000", 100, "x"));
    let found = evaluated(real, fake, &metrics(&["fd", "fid", "recall", "recall"])).unwrap();
    let names: Vec<&str> = found.metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names, ["fd", "recall"]);
    let (real, fake) = (set("real_2000", 100, "x"), set("fake_2000", 100, "x"));
    assert!(matches!(evaluated(real, fake, &metrics(&["is"])).err().unwrap(), Error::Usage { .. }));
}

#[test]
fn statistics_serve_the_frechet_distance_alone() {
    let found =
        evaluated(statistics("real_2000", 2000), set("fake_2000", 2000, "x"), &EvaluationOptions::default())
            .unwrap();
    let names: Vec<&str> = found.metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names, ["fd"]);
    let fd = found.generated[0].estimate("fd").unwrap().value;
    assert_close(&[fd], &[Fixture::load().number(&["fid", "fid"])], 1e-6);
    for options in [
        metrics(&["recall"]),
        EvaluationOptions { self_check: true, ..EvaluationOptions::default() },
        EvaluationOptions { per_sample: true, ..EvaluationOptions::default() },
    ] {
        let error = evaluated(statistics("real_2000", 50), set("fake_2000", 50, "x"), &options);
        assert!(matches!(error.err().unwrap(), Error::Usage { .. }), "{options:?}");
    }
}

#[test]
fn sets_of_two_extractors_are_not_compared() {
    let error =
        evaluated(set("real_2000", 50, "a"), set("fake_2000", 50, "b"), &EvaluationOptions::default());
    assert!(error.err().unwrap().to_string().starts_with("fake_2000 does not fit"));
}

#[test]
fn each_generated_image_has_values_and_the_real_halves_are_compared() {
    let options = EvaluationOptions {
        per_sample: true,
        self_check: true,
        bootstrap: Some(5),
        ..metrics(&["precision"])
    };
    let found = evaluated(set("real_2000", 200, "x"), set("fake_2000", 120, "x"), &options).unwrap();
    let samples = found.samples.as_ref().unwrap();
    assert_eq!((samples.path.len(), samples.realism.len()), (120, 120));
    assert_eq!(found.self_check.as_ref().unwrap().rows, Some(100));
    let inside = samples.rarity.iter().filter(|rarity| rarity.is_finite()).count() as f64 / 120.0;
    assert_eq!(found.generated[0].estimate(prdc::precision::METRIC.name).unwrap().value, inside);
    let columns: Vec<String> =
        found.table().unwrap().columns().iter().map(|column| column.name.clone()).collect();
    assert_eq!(columns, ["path", "set", "n", "precision", "precision_low", "precision_high"]);
}

#[test]
fn options_are_stored_without_what_does_not_change_a_value() {
    let stored =
        serde_json::to_string(&EvaluationOptions { per_sample: true, ..Default::default() }).unwrap();
    let expected = r#"{"k":3,"k_density":5,"boundary":"excluded","kid_subsets":100,"kid_subset_size":1000,"seed":0,"self_check":false,"bootstrap":null}"#;
    assert_eq!(stored, expected);
    let read: EvaluationOptions = serde_json::from_str(&stored).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", EvaluationOptions::default()));
}

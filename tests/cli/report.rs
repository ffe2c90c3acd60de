//! `pd report` as a user meets it: a page for each kind of directory, in one file, bounded, safe, and readable on a phone.

use crate::support::pd;
use ndarray::Array2;
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::npy::write_npy;
use pseudo_density::internals::generate::{GeneratorRequest, Snapshot, initialise};
use pseudo_density::internals::images::{RgbImage, write_png};
use std::fs;
use tempfile::TempDir;

fn run(dir: &TempDir, args: &str) {
    pd(dir).args(args.split_whitespace()).arg("--quiet").assert().success();
}

const GAN: &str = r#"{"family": "mlp-gan",
    "generator": {"widths": [6, 24, 192], "image": [3, 8, 8]},
    "discriminator": {"widths": [192, 24, 1], "image": [3, 8, 8]}}"#;

/// A generator `g` of random weights, images `photos` of another one, and their reference `ref`.
pub(crate) fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gan.json"), GAN).unwrap();
    for (name, seed) in [("g", 1), ("real", 2)] {
        let network = initialise(dir.path().join("gan.json"), seed, &GeneratorRequest::default()).unwrap();
        let snapshot = Snapshot { ema: Some(network.as_ref()), ..Snapshot::default() };
        snapshot.save(dir.path().join(name)).unwrap();
    }
    run(&dir, "sample --generator real --seeds 0-199 -o photos");
    run(&dir, "embed photos -o ref");
    run(&dir, "index ref --k 5 --no-predictor");
    dir
}

/// The page that the command says it wrote.
fn page(dir: &TempDir, args: &str, file: &str) -> String {
    pd(dir).arg("report").args(args.split_whitespace()).assert().success().stdout(contains(file));
    let html = fs::read_to_string(dir.path().join(file)).unwrap();
    assert_stands_alone(&html);
    html
}

/// Nothing in it is fetched, and nothing runs but its own script, which makes no markup of text.
fn assert_stands_alone(html: &str) {
    // The name of a namespace is no address.
    let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    let forbidden = [
        "<link",
        "<iframe",
        "@import",
        "url(",
        "http://",
        "https://",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "sendBeacon",
    ];
    for forbidden in forbidden {
        let found = html.match_indices(forbidden).map(|(at, _)| html.get(at..at + 60)).next();
        assert!(found.is_none(), "{forbidden}: {found:?}");
    }
    for address in html.split(" src=\"").skip(1) {
        assert!(address.starts_with("data:image/"), "{:?}", address.get(..60));
    }
    let own = html.matches("<script data-block=\"32\">").count();
    let data = html.matches("<script type=\"application/json\">").count();
    let blocks = html.matches("<script type=\"text/plain\" class=\"block\">").count();
    assert_eq!(own, usize::from(data > 0));
    assert_eq!(html.matches("<script").count(), own + data + blocks);
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    assert!(html.contains("What to do next") && html.contains("<h2>What was run</h2>"));
}

fn pictures(html: &str) -> usize {
    html.matches(";base64,").count()
}

/// Pictures that cards lack.
fn lacking(html: &str) -> usize {
    html.matches("\"picture\":null").count()
}

#[test]
fn a_reference_has_a_page_with_its_pictures_and_one_without() {
    let dir = stage();
    let bare = page(&dir, "ref", "ref/report.html");
    assert!(bare.contains("--images</span> PHOTOS") && pictures(&bare) == 0 && lacking(&bare) >= 400);
    for heading in ["How typical", "Copies", "All images"] {
        assert!(bare.contains(&format!("<h2>{heading}")), "{heading}");
    }
    let full = page(&dir, "ref --images photos -o page.html", "page.html");
    // Each once, however many cards show it.
    assert_eq!((pictures(&full), lacking(&full)), (200, 0));
    assert!(!full.contains("not exactly those") && full.contains(">p20 "));
    // Files are linked from where the page is.
    assert!(full.contains("\"file\":\"photos/seed0003.png\""));
    let below = page(&dir, "ref --images photos", "ref/report.html");
    assert!(below.contains("\"file\":\"../photos/seed0003.png\""));
    for fact in ["pd embed, pd index", "UTC", "tiny", "neighbours K"] {
        assert!(full.split("<footer>").nth(1).unwrap().contains(fact), "{fact}");
    }
    // Other images of the same names are told apart from those of the reference.
    fs::remove_file(dir.path().join("photos/seed0003.png")).unwrap();
    let changed = page(&dir, "ref --images photos -o page.html", "page.html");
    assert!(changed.contains("not exactly those") && lacking(&changed) > 0);
    // The page lies in the reference and does not disturb it.
    run(&dir, "score photos --reference ref");
}

#[test]
fn a_page_with_pictures_is_not_replaced_by_one_without() {
    let dir = stage();
    let full = page(&dir, "ref --images photos", "ref/report.html");
    let refused = pd(&dir).args(["report", "ref"]).assert().code(2);
    refused.stderr(contains("is a page with pictures").and(contains("--images PHOTOS")));
    assert_eq!(fs::read_to_string(dir.path().join("ref/report.html")).unwrap(), full);
    page(&dir, "ref -o bare.html", "bare.html");
    // The other way round it is.
    assert!(pictures(&page(&dir, "ref --images photos -o bare.html", "bare.html")) > 0);
}

#[test]
fn a_table_of_scores_has_a_page() {
    let dir = stage();
    run(&dir, "score photos --k 5 -o scores.csv");
    let bare = page(&dir, "scores.csv", "scores.html");
    assert!(bare.contains("200 images scored") && pictures(&bare) == 0);
    let full = page(&dir, "scores.csv --images photos", "scores.html");
    assert_eq!((pictures(&full), lacking(&full)), (200, 0));
    assert!(full.contains("\"label\":\"how typical\"") && full.contains("\"role\":\"most similar\""));
    // Images that lie beside the table are found.
    fs::copy(dir.path().join("scores.csv"), dir.path().join("photos/scores.csv")).unwrap();
    assert_eq!(pictures(&page(&dir, "photos/scores.csv", "photos/scores.html")), 200);
    // Scored against others.
    run(&dir, "sample --generator g --seeds 0-9 -o new");
    run(&dir, "score new --reference ref -o new.csv");
    let new = page(&dir, "new.csv --images new --against photos", "new.html");
    assert!(pictures(&new) > 10 && lacking(&new) == 0 && new.contains("\"role\":\"nearest real\""));
    fs::write(dir.path().join("other.csv"), "a,b\n1,2\n").unwrap();
    pd(&dir).args(["report", "other.csv"]).assert().code(1).stderr(contains("no table of scores or copies"));
    pd(&dir).args(["report", "ref", "--against", "photos"]).assert().code(2).stderr(contains("is no table"));
}

#[test]
fn copies_stand_side_by_side() {
    let dir = stage();
    fs::create_dir(dir.path().join("set")).unwrap();
    for (from, to) in
        [("0001", "a"), ("0001", "b"), ("0002", "c"), ("0003", "d"), ("0003", "e"), ("0003", "f")]
    {
        let photo = dir.path().join(format!("photos/seed{from}.png"));
        fs::copy(photo, dir.path().join(format!("set/{to}.png"))).unwrap();
    }
    run(&dir, "dups set --level exact --keep first -o dups.csv");
    let html = page(&dir, "dups.csv --images set", "dups.html");
    assert!(html.contains("3 copies in 2 groups") && html.contains("\"together\":true"));
    assert_eq!((html.matches("\"chosen\":true").count(), html.matches("\"chosen\":false").count()), (2, 3));
    assert_eq!((pictures(&html), lacking(&html)), (5, 0));
    run(&dir, "dups set --against photos --level exact -o against.csv");
    let html = page(&dir, "against.csv --images set --against photos", "against.html");
    assert!(html.contains("6 copies") && html.contains("seed0003.png") && lacking(&html) == 0);
}

#[test]
fn the_same_directory_gives_the_same_bytes() {
    let dir = stage();
    let first = page(&dir, "ref --images photos -o a.html", "a.html");
    assert_eq!(first, page(&dir, "ref --images photos --threads 1 -o b.html", "b.html"));
}

#[test]
fn a_sample_shows_what_was_kept_beside_the_nearest_real_images() {
    let dir = stage();
    run(&dir, "sample --generator g --reference ref --bias fidelity -n 30 --pilot 120 -o s");
    let html = page(&dir, "s --images photos --reference ref", "s/report.html");
    for text in
        ["nearest to a real image", ">candidates<", ">kept<", "\"role\":\"nearest real\"", ">p20 ", "ratio:2"]
    {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(lacking(&html), 0);
    let bare = page(&dir, "s -o bare.html", "bare.html");
    assert!(lacking(&bare) > 0 && pictures(&bare) > 0 && bare.contains("average of the real"));
    // Without a reference nothing was scored: a gallery is left.
    run(&dir, "sample --generator g -n 10 -o plain");
    let plain = page(&dir, "plain", "plain/report.html");
    assert_eq!(pictures(&plain), 10);
    // From a pool.
    run(&dir, "sample --pool photos --reference ref --bias diversity -n 20 -o pool");
    let pool = page(&dir, "pool --images photos", "pool/report.html");
    assert!(pictures(&pool) > 20 && lacking(&pool) == 0);
}

#[test]
fn a_perturbation_shows_each_image_before_and_after() {
    let dir = stage();
    let args =
        "perturb --generator g --reference ref --bias fidelity --seeds 0-3 --eps 0.1,0.3 --steps 2 -o p";
    run(&dir, args);
    let html = page(&dir, "p", "p/report.html");
    assert_eq!((pictures(&html), html.matches("\"role\":\"before\"").count()), (8, 4));
    assert!(
        html.contains("<td>0.1</td>") && html.contains("<td>0.3</td>") && html.contains("strongest eps, 0.3")
    );
}

#[test]
fn a_training_set_shows_what_comes_most_and_least_often() {
    let dir = stage();
    let resample = "resample photos --reference ref --bias diversity --for";
    run(&dir, &format!("{resample} imagefolder -o set"));
    let html = page(&dir, "set", "set/report.html");
    for text in [
        "a training set of 200 photographs",
        "<h2>How often they come",
        ">repeats</th>",
        "<td>33</td>",
        "<h2>Most often",
        "<h2>Least often",
        ">as trained on<",
        "worth as many unweighted photographs",
        "\"label\":\"repeats\"",
        "\"name\":\"photograph\"",
    ] {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!((pictures(&html), lacking(&html)), (200, 0));
    // 24 photographs of each end are there twice.
    assert_eq!(html.matches("\"role\":\"photograph\"").count(), 248);
    // A set that holds no files shows them where they are.
    for (format, out) in [("csv", "table"), ("kohya --in-place", "metadata")] {
        run(&dir, &format!("{resample} {format} -o {out}"));
        let bare = page(&dir, &format!("{out} -o bare.html"), "bare.html");
        assert!(bare.contains("does not hold them") && pictures(&bare) == 0, "{out}");
        let full = page(&dir, &format!("{out} --images photos -o full.html"), "full.html");
        assert_eq!((pictures(&full), lacking(&full)), (200, 0));
    }
    run(&dir, &format!("{resample} kohya --link -o links"));
    assert_eq!(pictures(&page(&dir, "links", "links/report.html")), 200);
}

#[test]
fn a_sweep_shows_its_frontier_and_commands() {
    let dir = stage();
    run(&dir, "sweep --generator g --reference ref -n 256 -o sweep");
    let html = page(&dir, "sweep", "sweep/report.html");
    assert!(html.contains("pd sample --generator g --reference ref"));
    assert!(html.contains("<svg class=\"plot\"") && html.contains("On the frontier"));
}

#[test]
fn a_fine_tuning_run_shows_curves_and_sheets() {
    let dir = stage();
    let args = "finetune --init gan.json --data photos --reference ref --bias diversity --steps 6 --batch 8 \
                --log-every 1 --eval-every 3 --eval-images 16 -o run";
    run(&dir, args);
    let html = page(&dir, "run", "run/report.html");
    for text in
        ["<h2>Losses", ">g_loss<", ">fd<", ">recall<", "after 0 steps", "after 6 steps", "snapshot-000006"]
    {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(pictures(&html), 2);
}

#[test]
fn hostile_file_names_stay_names() {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    let name = |i: u32| format!("<img src=x onerror=alert({i})>&\"'\u{202e}.png");
    for i in 0..30 {
        let noise = |j: u32| ((i * 769 + j).wrapping_mul(2_654_435_761) >> 13) as u8;
        let image = RgbImage { width: 8, height: 8, pixels: (0..192).map(noise).collect() };
        write_png(&photos.join(name(i)), &image).unwrap();
    }
    run(&dir, "embed photos -o ref");
    run(&dir, "index ref --k 3 --no-predictor");
    let html = page(&dir, "ref --images photos", "ref/report.html");
    let safe = "\"name\":\"\\u003cimg src=x onerror=alert(7)\\u003e\\u0026\\\"'\\u202e.png\"";
    assert!(html.contains(safe), "{safe}");
    assert!(!html.contains("<img src=x") && !html.contains('\u{202e}'));
    assert!(html.contains("%3Cimg%20src%3Dx%20onerror%3Dalert%287%29%3E%26%22%27%E2%80%AE.png"));
    assert_eq!(pictures(&html), 30);
}

#[test]
fn a_page_is_bounded_however_large_its_subject_is() {
    let dir = tempfile::tempdir().unwrap();
    let size = |rows: usize| {
        let value = |(i, j): (usize, usize)| ((i * 31 + j * 17 + i * i % 7) % 101) as f32 + i as f32 * 1e-4;
        write_npy(dir.path().join("f.npy"), &Array2::from_shape_fn((rows, 4), value)).unwrap();
        let name = format!("ref{rows}");
        run(&dir, &format!("embed f.npy -o {name}"));
        run(&dir, &format!("index {name} --no-predictor"));
        page(&dir, &name, &format!("{name}/report.html")).len()
    };
    let (small, large) = (size(4_500), size(6_000));
    assert!(large < small + 100_000, "{small} {large}");

    // The worst that pictures can do: noise, and names as long as a file system takes.
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for i in 0..60_u32 {
        let side = 64 + 50 * (i % 2);
        let noise = |j: u32| ((i * 77_773 + j).wrapping_mul(2_654_435_761) >> 13) as u8;
        let image = RgbImage { width: side, height: side, pixels: (0..side * side * 3).map(noise).collect() };
        write_png(&photos.join(format!("{i}{}.png", "n".repeat(200))), &image).unwrap();
    }
    run(&dir, "embed photos -o ref");
    run(&dir, "index ref --no-predictor");
    let html = page(&dir, "ref --images photos", "ref/report.html");
    assert!(pictures(&html) == 60 && html.len() < 3_000_000, "{} {}", pictures(&html), html.len());
}

#[test]
fn what_is_no_directory_of_pd_is_told_apart() {
    let dir = stage();
    fs::create_dir(dir.path().join("empty")).unwrap();
    pd(&dir).args(["report", "nowhere"]).assert().code(1).stderr(contains("nowhere"));
    pd(&dir).args(["report", "empty"]).assert().code(1).stderr(contains("hint: name a directory that pd"));
    pd(&dir).args(["report", "ref", "-o", "a.pdf"]).assert().code(2).stderr(contains(".html"));
    pd(&dir).args(["report", "ref", "--reference", "ref"]).assert().code(2).stderr(contains("no sample"));
    run(&dir, "embed photos -o unindexed");
    pd(&dir).args(["report", "unindexed"]).assert().code(1).stderr(contains("pd index"));
    let scores = dir.path().join("ref/scores.csv");
    let text = fs::read_to_string(&scores).unwrap();
    fs::write(&scores, text.replacen("seed0000.png", "seed0000.png,,", 1)).unwrap();
    pd(&dir)
        .args(["report", "ref"])
        .assert()
        .code(1)
        .stderr(contains("scores.csv").and(contains("panic").not()));
}

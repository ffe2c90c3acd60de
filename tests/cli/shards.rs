//! `--shard I/N` and `pd merge`: however the work is cut, the bytes are those of one run.

use crate::support::{column, content, pd};
use assert_cmd::assert::Assert;
use predicates::str::contains;
use std::collections::BTreeMap;
use std::fs;
use tempfile::TempDir;

/// Images: more than two chunks of 1 024 hold.
const IMAGES: usize = 2_100;
/// So many images side by side can be used, of each `SPAN`: chunks count inputs, and what takes time is the network, which passes
/// over a batch without any.
const USABLE: usize = 64;
const SPAN: usize = 512;
/// Images of the reference.
const REFERENCE: usize = 60;

fn run(dir: &TempDir, arguments: &[&str]) -> Assert {
    pd(dir).args(arguments).assert()
}

/// Whether an image is damaged; some are among those that are not.
fn is_damaged(image: usize) -> bool {
    image % SPAN >= USABLE || image % 50 == 3
}

/// Small images, most of them damaged, in `photos`.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for i in 0..IMAGES {
        let (a, b) = (i * 7919 % 256, i * 104_729 % 256);
        let text =
            if is_damaged(i) { "P2 broken".to_owned() } else { format!("P2 2 2 255 {a} {b} {} 9", i % 251) };
        fs::write(photos.join(format!("{i:04}.pgm")), text).unwrap();
    }
    dir
}

/// Seven archives, `8.tar` to `14.tar` in `tars`: one has more images than a chunk, one has none, one is cut short, one holds a link
/// and a name twice. Most images are damaged.
fn stage_archives() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tars = dir.path().join("tars");
    fs::create_dir(&tars).unwrap();
    let mut made = 0;
    for (number, count) in (8..).zip([3, 1_100, 0, 40, 1, 60, 20]) {
        let mut builder = tar::Builder::new(Vec::new());
        let mut append = |name: &str, content: &[u8], kind: tar::EntryType| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_entry_type(kind);
            if kind.is_symlink() {
                header.set_link_name("elsewhere.pgm").unwrap();
            }
            builder.append_data(&mut header, name, content).unwrap();
        };
        for i in 0..count {
            made += 1;
            let text = match is_damaged(i) {
                true => "P2 broken".to_owned(),
                false => {
                    format!("P2 2 2 255 {} {} {} 9", made * 7919 % 256, made * 104_729 % 256, made % 251)
                }
            };
            append(&format!("{:04}.pgm", count - i), text.as_bytes(), tar::EntryType::Regular);
        }
        append("captions.txt", b"no image", tar::EntryType::Regular);
        if number == 13 {
            append("linked.pgm", b"", tar::EntryType::Symlink);
            append("0001.pgm", b"P2 2 2 255 1 2 3 4", tar::EntryType::Regular);
        }
        let mut bytes = builder.into_inner().unwrap();
        if number == 14 {
            // Within the data of an image.
            bytes.truncate(9 * 1024 + 512 + 10);
        }
        fs::write(tars.join(format!("{number}.tar")), bytes).unwrap();
    }
    dir
}

/// A reference of 2 100 random rows of 8 numbers in clusters, every ninth row a copy of one before.
fn clustered(dir: &TempDir) {
    const ROWS: usize = 2_100;
    const WIDTH: usize = 8;
    // A small generator of its own: what is tested must not change with that of a library.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut values: Vec<f32> = Vec::with_capacity(ROWS * WIDTH);
    for row in 0..ROWS {
        let copied = row.checked_sub(1_200).filter(|_| row % 9 == 8);
        for column in 0..WIDTH {
            let centre = ((row % 30) * (column + 3) % 7) as f32;
            let value = copied.map_or_else(|| centre + random(), |row| values[row * WIDTH + column]);
            values.push(value);
        }
    }
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({ROWS}, {WIDTH}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(dir.path().join("features.npy"), file).unwrap();
}

/// Runs a command in `count` parts, the last first, and merges them in `out`.
fn in_parts(dir: &TempDir, arguments: &[&str], count: usize, out: &str) -> Assert {
    for index in (0..count).rev() {
        let shard = format!("{index}/{count}");
        run(dir, &[arguments, &["-o", out, "--shard", &shard]].concat()).success();
    }
    run(dir, &["merge", out])
}

#[test]
fn features_and_scores_made_in_parts_are_those_of_one_run() {
    let dir = stage();
    run(&dir, &["embed", "photos", "-o", "whole"]).success();
    for count in [1, 3, 4] {
        let out = format!("cut{count}");
        for index in (0..count).rev() {
            run(&dir, &["embed", "photos", "--shard", &format!("{index}/{count}"), "-o", &out]).success();
        }
        run(&dir, &["merge", &out])
            .success()
            .stdout(contains(format!("{count} parts: 302 images, 1798 skipped")));
        assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join(&out)), "{count} shards");
        run(&dir, &["merge", &out]).success().stderr(contains("merged already"));
    }
    for index in 0..3 {
        run(&dir, &["embed", "photos", "--shard", &format!("{index}/3"), "-o", "parts"]).success();
    }
    run(&dir, &["merge", "parts", "--in-place"]).success();
    assert!(!dir.path().join("parts/features.npy").exists());
    for reference in ["whole", "parts"] {
        run(&dir, &["index", reference, "--no-predictor"]).success();
    }
    let scores = |name: &str| fs::read(dir.path().join(name).join("scores.csv")).unwrap();
    assert_eq!(scores("whole"), scores("parts"));
    // Merged again, in place or not, a reference keeps the densities that it has got since.
    run(&dir, &["merge", "parts", "--in-place"]).success();
    run(&dir, &["merge", "parts"]).success();
    assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join("parts")));

    run(&dir, &["score", "photos", "--reference", "whole", "-o", "one.csv"]).success();
    for index in 0..2 {
        let shard = format!("{index}/2");
        run(&dir, &["score", "photos", "--reference", "whole", "--shard", &shard, "-o", "scored"]).success();
    }
    run(&dir, &["merge", "scored"]).success();
    let mut expected = BTreeMap::new();
    expected.insert("scores.csv".to_owned(), fs::read(dir.path().join("one.csv")).unwrap());
    expected.insert("scores.skipped.csv".to_owned(), fs::read(dir.path().join("one.skipped.csv")).unwrap());
    assert_eq!(content(&dir.path().join("scored")), expected);
}

#[test]
fn whole_archives_are_dealt_to_shards_and_the_bytes_are_those_of_one_run() {
    let dir = stage_archives();
    let range = "tars/{8..14}.tar";
    run(&dir, &["embed", range, "-o", "whole"]).success();
    let names = fs::read_to_string(dir.path().join("whole/images.csv")).unwrap();
    assert!(names.contains("14.tar/") && names.lines().count() > 170);
    let skipped = fs::read_to_string(dir.path().join("whole/skipped.csv")).unwrap();
    for unusable in ["13.tar/linked.pgm", "later entry", "14.tar", "9.tar/"] {
        assert!(skipped.contains(unusable), "{unusable}: {skipped}");
    }
    // More shards than archives are made of chunks: of one archive each.
    for count in [1, 3, 7, 8] {
        let out = format!("cut{count}");
        in_parts(&dir, &["embed", range], count, &out).success();
        assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join(&out)), "{count} shards");
    }
    // A folder of archives is the same set, and a part looks into no archive but its own.
    let embed = |shard: &str| run(&dir, &["embed", "tars", "-o", "own", "--shard", shard]);
    for shard in ["0/3", "1/3"] {
        embed(shard).success();
    }
    let first = dir.path().join("tars/10.tar");
    let kept = fs::read(&first).unwrap();
    fs::write(&first, vec![b'x'; kept.len()]).unwrap();
    embed("2/3").success();
    run(&dir, &["merge", "own", "--in-place"]).success();
    // An archive of another size is another input.
    fs::write(&first, &kept[..kept.len() - 512]).unwrap();
    run(&dir, &["embed", "tars", "-o", "other", "--shard", "0/3"]).success();
    fs::write(&first, kept).unwrap();
    for shard in ["1/3", "2/3"] {
        run(&dir, &["embed", "tars", "-o", "other", "--shard", shard]).success();
    }
    run(&dir, &["merge", "other"]).failure().code(1).stderr(contains("input_digest"));
    run(&dir, &["merge", "own"]).success();
    assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join("own")));
    embed("1/3").failure().code(1).stderr(contains("merged"));

    run(&dir, &["index", "whole", "--no-predictor"]).success();
    run(&dir, &["score", range, "--reference", "whole", "-o", "one.csv"]).success();
    in_parts(&dir, &["score", range, "--reference", "whole"], 3, "scored").success();
    let mut expected = BTreeMap::new();
    expected.insert("scores.csv".to_owned(), fs::read(dir.path().join("one.csv")).unwrap());
    expected.insert("scores.skipped.csv".to_owned(), fs::read(dir.path().join("one.skipped.csv")).unwrap());
    assert_eq!(content(&dir.path().join("scored")), expected);
}

#[test]
fn an_index_made_in_parts_is_that_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    clustered(&dir);
    run(&dir, &["embed", "features.npy", "-o", "whole"]).success();
    let more = ["--index", "exact", "--k", "5", "--duplicates", "collapse"];
    for count in [3, 16] {
        let out = format!("cut{count}");
        fs::create_dir(dir.path().join(&out)).unwrap();
        for name in ["manifest.json", "features.npy", "images.csv", "skipped.csv"] {
            fs::copy(dir.path().join("whole").join(name), dir.path().join(&out).join(name)).unwrap();
        }
    }
    run(&dir, &[&["index", "whole"][..], &more].concat()).success();
    for count in [3, 16] {
        let out = format!("cut{count}");
        for index in (0..count).rev() {
            let shard = format!("{index}/{count}");
            if index == 0 && count > 1 {
                run(&dir, &["merge", &out]).failure().code(1).stderr(contains("missing 1 of"));
            }
            run(&dir, &[&["index", &out, "--shard", &shard][..], &more].concat()).success();
        }
        run(&dir, &["merge", &out, "--in-place"]).failure().code(2);
        run(&dir, &["merge", &out]).success().stdout(contains(format!("{count} parts: 2100 images")));
        assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join(&out)), "{count} shards");
        run(&dir, &["merge", &out]).success().stderr(contains("merged already"));
    }
    // The merge completes what was searched, not what is there by then.
    run(&dir, &[&["index", "whole", "--shard", "0/1"][..], &more].concat()).success();
    run(&dir, &["embed", "features.npy", "--normalize", "-o", "other"]).success();
    fs::copy(dir.path().join("other/manifest.json"), dir.path().join("whole/manifest.json")).unwrap();
    run(&dir, &["merge", "whole"]).failure().code(1).stderr(contains("among other features"));
}

#[test]
fn hnsw_graphs_made_in_parts_find_what_exact_search_finds_and_serve_as_any_index() {
    check_graphs_in_parts("hnsw");
}

#[test]
fn graphs_made_in_parts_find_what_exact_search_finds_and_serve_as_any_index() {
    check_graphs_in_parts("graph");
}

fn check_graphs_in_parts(kind: &str) {
    let dir = tempfile::tempdir().unwrap();
    clustered(&dir);
    let more = ["--k", "5", "--no-predictor", "--index"];
    let index = |reference: &str, kind: &str, shard: &[&str]| {
        run(&dir, &[&["index", reference][..], &more, &[kind], shard].concat())
    };
    for name in ["exact", "one", "cut2", "cut5", "again"] {
        run(&dir, &["embed", "features.npy", "-o", name]).success();
    }
    index("exact", "exact", &[]).success();
    index("one", kind, &[]).success();
    // Three chunks: of five shards two have no rows.
    for (name, count) in [("cut2", 2), ("cut5", 5), ("again", 2)] {
        for part in (0..count).rev() {
            if part == 0 {
                run(&dir, &["merge", name]).failure().code(1).stderr(contains("missing 1 of"));
            }
            index(name, kind, &["--shard", &format!("{part}/{count}")]).success();
        }
        run(&dir, &["merge", name]).success().stdout(contains(format!("{count} parts: 2100 images")));
        assert!(!dir.path().join(name).join("indexing").exists());
    }
    assert_eq!(content(&dir.path().join("cut2")), content(&dir.path().join("again")));

    let distances = |name: &str| -> Vec<f64> {
        let texts = column(&dir.path().join(name).join("scores.csv"), "mean_knn_distance");
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let exact = distances("exact");
    // A row whose neighbours were all found has the very distance that exact search gives.
    let found = |name: &str| {
        let same = distances(name).iter().zip(&exact).filter(|(a, b)| a == b).count();
        same as f64 / exact.len() as f64
    };
    for name in ["one", "cut2", "cut5"] {
        assert!(found(name) > 0.99, "{name}: {}", found(name));
        assert!(distances(name).iter().zip(&exact).all(|(a, b)| a >= b), "{name}");
    }
    let manifest = fs::read_to_string(dir.path().join("cut5/manifest.json")).unwrap();
    assert!(
        manifest.contains(r#""shards": 5"#) && manifest.contains(&format!(r#""kind": "{kind}""#)),
        "{manifest}"
    );

    // The graphs of the parts answer later queries; a row of the reference does not find itself.
    for (reference, out) in [("cut5", "cut5.csv"), ("exact", "exact.csv")] {
        run(&dir, &["score", "features.npy", "--reference", reference, "-o", out]).success();
    }
    let near = |table: &str| column(&dir.path().join(table), "nearest_distance");
    let same = near("cut5.csv").iter().zip(near("exact.csv")).filter(|(a, b)| *a == b).count();
    assert!(same * 100 > exact.len() * 99, "{same}");
    let bytes = fs::read(dir.path().join("cut5/index.2.safetensors")).unwrap();
    fs::write(dir.path().join("cut5/index.2.safetensors"), &bytes[1..]).unwrap();
    let damaged = ["score", "features.npy", "--reference", "cut5", "-o", "x.csv"];
    run(&dir, &damaged).failure().code(1).stderr(contains("index.2.safetensors"));
    index("cut5", "exact", &[]).success();
    assert!(!dir.path().join("cut5/index.2.safetensors").exists());

    let collapse = ["--duplicates", "collapse"];
    for (name, kind) in [("exact", "exact"), ("again", kind)] {
        for part in ["0/2", "1/2"] {
            index(name, kind, &[&["--shard", part][..], &collapse].concat()).success();
        }
        run(&dir, &["merge", name]).success();
    }
    let same = distances("again").iter().zip(distances("exact")).filter(|(a, b)| *a == b).count();
    assert!(same * 100 > exact.len() * 99, "{same}");
}

#[test]
fn sampled_in_parts_the_images_tables_and_latents_are_those_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    // The demonstration's generator and reference. Distances between the kept and the number wanted depend on all before.
    for (i, rule) in [
        "--bias match -n 20 --grid",
        "--bias fidelity --distinct 20 --novel 10 --level similar",
        "--rule two-level --threshold p70 --weight 5",
        "-n 30",
    ]
    .into_iter()
    .enumerate()
    {
        let arguments: Vec<&str> =
            ["sample", "--seeds", "0-150,900"].into_iter().chain(rule.split(' ')).collect();
        let (whole, cut) = (format!("whole{i}"), format!("cut{i}"));
        run(&dir, &[&arguments[..], &["-o", &whole]].concat()).success();
        in_parts(&dir, &arguments, 3, &cut).success();
        assert_eq!(content(&dir.path().join(&whole)), content(&dir.path().join(&cut)), "{rule}");
        run(&dir, &["merge", &cut]).success().stderr(contains("merged already"));
    }
    let refused = ["sample", "--seeds", "0-79", "--bias", "diversity", "--distinct", "20", "--novel"];
    run(&dir, &[&refused[..], &["-o", "refused"]].concat()).success();
    in_parts(&dir, &refused, 2, "refused-cut").success();
    assert_eq!(content(&dir.path().join("refused")), content(&dir.path().join("refused-cut")));
    let few = ["sample", "--seeds", "0-99", "--bias", "match", "-n", "95"];
    run(&dir, &[&few[..], &["-o", "few"]].concat()).success().stderr(contains("of the 95 images asked for"));
    in_parts(&dir, &few, 2, "few-cut").success().stderr(contains("of the 95 images asked for"));
    assert_eq!(content(&dir.path().join("few")), content(&dir.path().join("few-cut")));
    let unlisted = ["sample", "--bias", "match", "-n", "9", "--shard", "0/2", "-o", "x"];
    run(&dir, &unlisted).failure().code(2).stderr(contains("--seeds"));
}

#[test]
fn perturbed_in_parts_the_images_and_tables_are_those_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = "perturb --bias diversity --seeds 3-8 --eps 0.1,0.2 --steps 2 --grid 4 --control";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    run(&dir, &[&arguments[..], &["-o", "whole"]].concat()).success();
    for count in [1, 4, 7] {
        let out = format!("cut{count}");
        in_parts(&dir, &arguments, count, &out).success().stdout(contains("6 images"));
        assert_eq!(content(&dir.path().join("whole")), content(&dir.path().join(&out)), "{count} shards");
    }
}

#[test]
fn sets_compared_in_parts_give_the_numbers_of_one_run() {
    let dir = stage();
    let half = dir.path().join("half");
    fs::create_dir(&half).unwrap();
    for i in (0..IMAGES).step_by(2) {
        let name = format!("{i:04}.pgm");
        fs::copy(dir.path().join("photos").join(&name), half.join(name)).unwrap();
    }
    run(&dir, &["embed", "half", "-o", "ref"]).success();
    let arguments: Vec<&str> =
        "eval --real photos --generated half ref --k 2 --self-check --metrics fd,kid,precision,coverage"
            .split(' ')
            .collect();
    let file = |name: &str| fs::read(dir.path().join(name)).unwrap();
    run(&dir, &[&arguments[..], &["-o", "whole.json"]].concat()).success();
    run(&dir, &[&arguments[..], &["-o", "whole.csv"]].concat()).success();
    for count in [3, 7] {
        let out = format!("cut{count}");
        in_parts(&dir, &arguments, count, &out).success();
        assert_eq!(file(&format!("{out}/eval.json")), file("whole.json"));
        assert_eq!(file(&format!("{out}/eval.csv")), file("whole.csv"));
    }
    let save = "eval --real ref --generated half --metrics fd --save-stats s.npz";
    run(&dir, &save.split(' ').collect::<Vec<_>>()).success();
    let statistics: Vec<&str> = "eval --real s.npz --generated half".split(' ').collect();
    run(&dir, &[&statistics[..], &["-o", "stats.csv"]].concat()).success();
    in_parts(&dir, &statistics, 2, "stats").success();
    assert_eq!(file("stats/eval.csv"), file("stats.csv"));
    let features: Vec<&str> = "eval --real ref --generated ref -o x --shard 0/2".split(' ').collect();
    run(&dir, &features).failure().code(2).stderr(contains("features already"));
}

#[test]
fn what_is_missing_different_or_changed_is_named() {
    let dir = stage();
    let photos = dir.path().join("photos");
    for i in REFERENCE..IMAGES {
        fs::remove_file(photos.join(format!("{i:04}.pgm"))).unwrap();
    }
    let embed = |shard: &str, more: &[&str]| {
        run(&dir, &[&["embed", "photos", "-o", "out", "--shard", shard], more].concat())
    };
    run(&dir, &["merge", "out"]).failure().code(1);
    embed("0/3", &[]).success();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("missing 2 of 3: --array=1-2"));
    embed("0/3", &[]).success();
    embed("1/3", &["--fit", "pad"]).success();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("options.identity.preprocessing.fit"));
    embed("1/3", &[]).failure().code(2).stderr(contains("holds another run"));
    fs::remove_dir_all(dir.path().join("out/parts/00001-of-00003")).unwrap();
    let array = |index: &str| {
        let mut command = pd(&dir);
        command.env("SLURM_ARRAY_TASK_ID", index).env("SLURM_ARRAY_TASK_COUNT", "1");
        command.args(["embed", "photos", "-o", "out", "--shard", "auto/3"]).assert()
    };
    array("3").failure().code(2);
    array("1").success();
    array("2").success();
    let table = dir.path().join("out/parts/00002-of-00003/images.csv");
    let kept = fs::read(&table).unwrap();
    fs::write(&table, "row,path,width,height,note\n").unwrap();
    run(&dir, &["merge", "out"]).failure().code(1).stderr(contains("00002-of-00003/images.csv"));
    fs::write(&table, kept).unwrap();
    run(&dir, &["merge", "out"]).success();
    embed("1/3", &[]).failure().code(1).stderr(contains("merged"));
    for wrong in ["3/3", "x", "auto"] {
        embed(wrong, &[]).failure().code(2);
    }
    run(&dir, &["score", "photos", "--shard", "0/2"]).failure().code(2);
}

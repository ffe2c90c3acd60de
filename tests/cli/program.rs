//! `--generator-command` as a user meets it. The generator is this very program, which tests start again through `pd`.

use crate::support::{column, content, pd, run};
use predicates::prelude::*;
use predicates::str::contains;
use pseudo_density::internals::formats::npy::{read_npy_array, write_npy};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;
use tempfile::TempDir;

/// Says what the generator does, where it notes its process, and where how many images it has made.
const DOES: &str = "PD_TEST_GENERATOR";
const NOTES: &str = "PD_TEST_GENERATOR_NOTES";
const MADE: &str = "PD_TEST_GENERATOR_MADE";

/// The command of the generator.
fn command() -> String {
    let program = std::env::current_exe().unwrap();
    format!("'{}' --ignored --exact program::the_generator --nocapture", program.display())
}

/// `pd` in `dir`, whose generator does `what`.
fn with(dir: &TempDir, what: &str) -> assert_cmd::Command {
    let mut command = pd(dir);
    command.env(DOES, what).env(NOTES, dir.path().join("process")).env(MADE, dir.path().join("made"));
    command
}

/// `pd sample` with these words, and a generator that does `what`.
fn sample(dir: &TempDir, what: &str, words: &str) -> assert_cmd::assert::Assert {
    let mut run = with(dir, what);
    run.args(["sample", "--generator-command", &command()]).args(words.split_whitespace()).assert()
}

/// A picture in which every number of the request shows.
fn picture(request: &Value) -> image::RgbImage {
    let latent = request["latent"].as_str().map_or(0.0, |path| read_npy_array(path).unwrap().sum());
    let prompt = request["prompt"].as_str().unwrap_or_default().bytes().map(u64::from).sum::<u64>();
    let mut state =
        request["seed"].as_u64().unwrap() * 7919 + request["class"].as_u64().unwrap_or(0) * 104_729 + prompt;
    state = state.wrapping_add((latent * 1000.0) as i64 as u64);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let paint = [next(), next(), next()];
    image::RgbImage::from_fn(12, 10, |x, y| image::Rgb(paint.map(|v| v.wrapping_add((x * y) as u8 * 2))))
}

/// The generator: no test, but what the tests name as their generator. It does what [`DOES`] says: words, of which those with a number
/// are about the request of this id.
#[test]
#[ignore = "a program that the tests of this file start"]
fn the_generator() {
    let Ok(does) = std::env::var(DOES) else { return };
    let words: BTreeMap<&str, u64> = does
        .split_whitespace()
        .map(|word| word.split_once(':').map_or((word, 0), |(name, id)| (name, id.parse().unwrap())))
        .collect();
    let is = |word: &str| words.contains_key(word);
    let about = |word: &str, id: u64| words.get(word) == Some(&id);
    fs::write(std::env::var(NOTES).unwrap(), std::process::id().to_string()).unwrap();
    let (send, requests) = channel::<Value>();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            send.send(serde_json::from_str(&line.unwrap()).unwrap()).unwrap();
        }
    });
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // The line that the tests' own frame has begun ends.
        write!(out, "\n{line}\n").and_then(|()| out.flush()).unwrap();
    };
    let mut waiting = Vec::new();
    let mut made = 0;
    loop {
        match requests.recv_timeout(Duration::from_millis(if waiting.is_empty() { 600_000 } else { 5 })) {
            Ok(request) => waiting.push(request),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(_) => std::process::exit(0),
        }
        if is("backwards")
            && waiting.len() < 5
            && requests.recv_timeout(Duration::ZERO).map(|r| waiting.push(r)).is_ok()
        {
            continue;
        }
        for request in waiting.drain(..).rev() {
            if request["hello"] == 1 {
                match () {
                    () if is("silent") => {}
                    () if is("nameless") => say("{}".into()),
                    () if is("latent") => {
                        say(json!({"name": "dots", "version": 2, "latent": [2, 3]}).to_string())
                    }
                    () if is("classes") => say(json!({"name": "dots", "classes": 4}).to_string()),
                    () => say(json!({"name": "dots", "version": "1.0", "range": [0, 255]}).to_string()),
                }
                continue;
            }
            let id = request["id"].as_u64().unwrap();
            let output = PathBuf::from(request["output"].as_str().unwrap());
            if is("garbage") {
                say(format!("loading {id}\n[1, 2]\n17\n{}", "x".repeat(3_000_000)));
                eprint!(" 0%\r 50%\rstep {id} \u{1b}[2J\n");
            }
            if about("dies", id) {
                eprintln!("the memory of the device is full");
                std::process::exit(3);
            }
            if about("sleeps", id) {
                std::thread::sleep(Duration::from_secs(600));
            }
            if about("error", id) {
                say(json!({"id": id, "error": "no such style"}).to_string());
                continue;
            }
            let mut answer = json!({"id": id});
            made += 1;
            if let Ok(path) = std::env::var(MADE) {
                fs::write(path, made.to_string()).unwrap();
            }
            let image = match is("forgetful") {
                true => picture(&json!({"seed": made})),
                false => picture(&request),
            };
            if is("npy") {
                let array = ndarray::Array3::from_shape_vec((10, 12, 3), image.into_raw()).unwrap();
                let own = output.with_extension("npy");
                write_npy(&own, &array.mapv(f32::from)).unwrap();
                answer["output"] = json!(own);
            } else if is("ppm") {
                let own = output.with_extension("ppm");
                image.save(&own).unwrap();
                answer["output"] = json!(own.file_name().unwrap().to_str());
            } else if about("text", id) {
                fs::write(&output, "a picture of a shoe").unwrap();
            } else if !about("nothing", id) {
                image.save(&output).unwrap();
            }
            if about("outside", id) {
                answer["output"] = json!("/etc/hostname");
            }
            if about("unknown", id) {
                answer["id"] = json!(4_000_000);
            }
            say(answer.to_string());
            if about("twice", id) {
                say(answer.to_string());
            }
        }
    }
}

/// A reference of 120 images of the generator.
fn reference(dir: &TempDir) {
    sample(dir, "plain", "--seeds 5000-5119 -o photos -q").success();
    pd(dir).args(["embed", "photos", "-o", "ref", "-q"]).assert().success();
    pd(dir).args(["index", "ref", "--k", "5", "--no-predictor", "-q"]).assert().success();
}

#[test]
fn neither_batch_nor_order_nor_format_nor_shards_change_a_byte() {
    let dir = TempDir::new().unwrap();
    reference(&dir);
    let words = "--reference ref --bias diversity --seeds 0-299 -n 30 --pilot 200 --novel --distinct";
    let run = |what: &str, more: &str| {
        sample(&dir, what, &format!("{words} {more} -o {}", more.len())).success();
        content(&dir.path().join(more.len().to_string()))
    };
    let whole = run("plain", "");
    assert_eq!(whole.keys().filter(|name| name.starts_with("seed")).count(), 30);
    assert!(!whole.contains_key("latents.npy") && whole.contains_key("samples.csv"));
    assert!(whole == run("backwards", "--batch 7"));
    assert!(whole == run("plain", "--batch 1 --threads 1"));
    for index in 0..3 {
        sample(&dir, "backwards", &format!("{words} --shard {index}/3 -o parts")).success();
    }
    pd(&dir).args(["merge", "parts"]).assert().success();
    assert!(whole == content(&dir.path().join("parts")));
    // A finished run is not done again, and another program is another run.
    let made = fs::metadata(dir.path().join("0/samples.csv")).unwrap().modified().unwrap();
    sample(&dir, "plain", &format!("{words} -o 0")).success().stderr(contains("0 is finished already"));
    assert_eq!(fs::metadata(dir.path().join("0/samples.csv")).unwrap().modified().unwrap(), made);
    sample(&dir, "latent", &format!("{words} -o 0"))
        .code(2)
        .stderr(contains("holds another run: candidates.program."));
    // Arrays and other formats are written as PNG.
    for what in ["npy", "ppm"] {
        sample(&dir, what, &format!("--seeds 3-9 -o {what}")).success();
        for seed in 3..10 {
            let expected = picture(&json!({"seed": seed}));
            let found = image::open(dir.path().join(format!("{what}/seed{seed:04}.png"))).unwrap();
            assert_eq!(found.to_rgb8(), expected);
        }
    }
}

#[test]
fn what_a_program_does_wrong_is_said_with_its_request_and_the_same_command_goes_on() {
    let dir = TempDir::new().unwrap();
    sample(&dir, "plain", "--seeds 100-139 -o whole").success();
    let whole = content(&dir.path().join("whole"));
    let request = "request 17 (seed 117)";
    for (what, words) in [
        ("dies:17", format!("dots ended (exit status: 3) before it answered {request}")),
        ("sleeps:17", format!("dots has not answered {request}")),
        ("error:17", format!("dots could not make {request}: no such style")),
        (
            "text:17",
            format!("dots answered {request} without an image that can be read: 000017.png: not an image"),
        ),
        (
            "nothing:17",
            format!("dots answered {request} without an image that can be read: 000017.png: is not there"),
        ),
        ("outside:17", format!("dots put the image of {request} outside its folder: /etc/hostname")),
        ("twice:17", "dots answered request 17 twice".into()),
        ("unknown:17", "dots answered request 4000000, which it was not sent".into()),
    ] {
        let words_of_run = "--seeds 100-139 --batch 3 --generator-timeout 1 -o out";
        let first = sample(&dir, what, words_of_run).code(1).stderr(contains(words));
        if what == "dies:17" {
            first.stderr(
                contains("the last lines of dots:").and(contains("    the memory of the device is full")),
            );
        }
        let partial = dir.path().join("out/partial");
        let kept = fs::read_dir(&partial)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("seed"));
        assert!(kept.count() >= 15, "{what}");
        sample(&dir, "plain", words_of_run).success();
        assert!(whole == content(&dir.path().join("out")), "{what}");
        fs::remove_dir_all(dir.path().join("out")).unwrap();
    }
}

#[test]
fn what_a_program_says_is_shown_and_nothing_that_it_writes_is_obeyed() {
    let dir = TempDir::new().unwrap();
    let said = sample(&dir, "garbage", "--seeds 0-19 -o out --batch 4").success();
    let said = String::from_utf8(said.get_output().stderr.clone()).unwrap();
    for line in
        ["generator dots 1.0, another program", "dots: loading 3", "dots: [1, 2]", "dots: 17", "dots: step 7"]
    {
        assert!(said.lines().any(|found| found.starts_with(line)), "{line}");
    }
    assert!(!said.contains('\u{1b}') && said.len() < 100_000);
    assert_eq!(column(&dir.path().join("out/samples.csv"), "file").len(), 20);
    for (what, words) in [
        ("silent", "has not answered the greeting {\"hello\": 1} within 1 s"),
        ("nameless", "answered the greeting without its `name`"),
    ] {
        sample(&dir, what, "--seeds 0 -o b --generator-timeout 1").code(1).stderr(contains(words));
    }
    assert!(!dir.path().join("b").exists());
}

#[cfg(unix)]
#[test]
fn a_program_that_closes_its_standard_input_is_not_waited_for() {
    let dir = TempDir::new().unwrap();
    let program = r#"sh -c 'read _; echo "{\"name\": \"shell\"}"; read _; exec <&-; sleep 600'"#;
    let words = "--seeds 0-3 --batch 1 --generator-timeout 4 -o out";
    let mut run = pd(&dir);
    run.args(["sample", "--generator-command", program]).args(words.split_whitespace());
    run.assert()
        .code(1)
        .stderr(contains("shell closed its standard input before it answered request 0 (seed 0)"));
}

#[test]
fn latents_and_classes_are_asked_for_where_the_program_takes_them() {
    let dir = TempDir::new().unwrap();
    sample(&dir, "latent", "--seeds 3,7-9 -o a").success();
    let latents = read_npy_array(dir.path().join("a/latents.npy")).unwrap();
    assert_eq!(latents.shape(), [4, 2, 3]);
    // numpy.random.RandomState(3).randn(6)
    let expected = [1.788_628_5f32, 0.436_509_85, 0.096_497_47, -1.863_492_7, -0.277_388_2, -0.354_759];
    assert!(latents.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6));
    let image = |path: &str| fs::read(dir.path().join(path)).unwrap();
    sample(&dir, "latent", "--latents a/latents.npy -o b").success();
    // The seed of a row is its number.
    let of_row = |row: usize| {
        let one = dir.path().join("one.npy");
        let latent = latents.index_axis(ndarray::Axis(0), row).to_owned();
        write_npy(&one, &latent).unwrap();
        picture(&json!({"seed": row, "latent": one}))
    };
    for row in 0..4 {
        let found = image::load_from_memory(&image(&format!("b/row{row:04}.png"))).unwrap();
        assert_eq!(found.to_rgb8(), of_row(row));
    }
    sample(&dir, "classes", "--seeds 0-3 --class 3 -o c").success();
    let found = image::load_from_memory(&image("c/seed0002.png")).unwrap();
    assert_eq!(found.to_rgb8(), picture(&json!({"seed": 2, "class": 3})));
    for (what, words, said) in [
        ("classes", "--class 4", "dots has 4 classes, numbered from 0"),
        ("classes", "--seeds 0-3", "dots has 4 classes and was given none"),
        ("plain", "--class 1", "dots has not said that it has classes"),
        ("plain", "--latents a/latents.npy", "dots has not said that it takes latents"),
        ("plain", "--trunc 0.5", "--trunc is of no use to it"),
        ("plain", "--generator g", "--generator is of no use to it"),
        ("plain", "--bias fidelity", "need a reference"),
        ("plain", "--pool a", "cannot be used with"),
    ] {
        sample(&dir, what, &format!("{words} -o d")).code(2).stderr(contains(said));
    }
    for (command, code, said) in [
        ("pd-test-no-such-program -x", 1, "pd-test-no-such-program cannot be started"),
        ("python 'make.py", 2, "has a quote that does not end"),
        ("", 2, "names no program"),
    ] {
        let run = ["sample", "--generator-command", command, "--seeds", "0", "-o", "d"];
        pd(&dir).args(run).assert().code(code).stderr(contains(said));
    }
    assert!(!dir.path().join("d").exists());
}

#[test]
fn the_doctor_says_whether_the_same_request_gives_the_same_image() {
    let dir = TempDir::new().unwrap();
    let doctor = |what: &str, more: &[&str]| {
        with(&dir, what).args(["doctor", "--generator-command", &command()]).args(more).assert()
    };
    doctor("backwards", &[])
        .success()
        .stdout(contains("8 images, one at a time and again 4 at once").and(contains("all is well")));
    let found = doctor("forgetful", &["--json"])
        .code(1)
        .stderr(contains("dots does not give the same image for the same request"));
    let found: Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    assert_eq!((found["images"].as_u64(), found["generator"]["name"].as_str()), (Some(8), Some("dots")));
    assert!(found["differing"]["seed0000.png"].as_u64().unwrap() > 0);
    fs::write(dir.path().join("p.txt"), "a shoe\na bag\n").unwrap();
    doctor("plain", &["--prompts", "p.txt"]).success();
}

#[test]
fn a_sweep_of_a_program_goes_on_where_it_stopped_and_names_commands_that_work() {
    let dir = TempDir::new().unwrap();
    reference(&dir);
    fs::write(dir.path().join("p.txt"), "a shoe\na bag\n").unwrap();
    let sweep = |what: &str, out: &str| {
        let words = format!("--reference ref --prompts p.txt -n 300 --judged 30 --batch 5 -o {out}");
        let mut run = with(&dir, what);
        run.args(["sweep", "--generator-command", &command()]).args(words.split_whitespace()).assert()
    };
    sweep("plain", "whole").success();
    sweep("dies:290", "stopped")
        .code(1)
        .stderr(contains("before it answered request 290 (seed 145, prompt \"a shoe\")"));
    let said = sweep("backwards", "stopped").success();
    assert!(content(&dir.path().join("whole")) == content(&dir.path().join("stopped")));
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    let line = said.lines().find(|line| line.trim().starts_with("pd sample")).unwrap();
    let words = shell_words::split(&line.replace("-n 1000", "-n 3")).unwrap();
    let at = words.iter().position(|word| word == "--generator-command").unwrap();
    assert_eq!(shell_words::split(&words[at + 1]).unwrap(), shell_words::split(&command()).unwrap());
    assert!(words.contains(&"p.txt".to_owned()));
    with(&dir, "plain").args(&words[1..]).assert().success();
}

#[test]
fn latents_of_a_program_are_moved_without_a_gradient_and_a_stop_changes_nothing() {
    let dir = TempDir::new().unwrap();
    reference(&dir);
    let perturb = |what: &str, words: &str| {
        let mut run = with(&dir, what);
        run.args(["perturb", "--generator-command", &command(), "--reference", "ref", "--bias", "fidelity"]);
        run.args(words.split_whitespace()).assert()
    };
    let words = "--search zero-order --passes 9 --seeds 3-8 --eps 0.1,0.3";
    perturb("latent", &format!("{words} --batch 4 -o whole"))
        .success()
        .stdout(contains("6 images towards fidelity"));
    let table = dir.path().join("whole/samples.csv");
    let number = |name: &str| column(&table, name).iter().map(|v| v.parse().unwrap()).collect::<Vec<f64>>();
    let (before, after) = (number("density_before"), number("density_after"));
    assert!(before.iter().zip(&after).all(|(before, after)| after >= before) && before != after);
    let moved = read_npy_array(dir.path().join("whole/latents.npy")).unwrap();
    assert_eq!(moved.shape(), [12, 2, 3]);
    perturb("latent dies:60", &format!("{words} --batch 2 -o out"))
        .code(1)
        .stderr(contains("ended (exit status: 3)"));
    perturb("latent backwards", &format!("{words} --batch 3 -o out")).success();
    assert!(content(&dir.path().join("whole")) == content(&dir.path().join("out")));
    for index in 0..2 {
        perturb("latent", &format!("{words} --shard {index}/2 -o parts")).success();
    }
    pd(&dir).args(["merge", "parts"]).assert().success();
    assert!(content(&dir.path().join("whole")) == content(&dir.path().join("parts")));
    fs::write(dir.path().join("p.txt"), "a shoe\na bag\n").unwrap();
    for (what, words, said) in [
        ("latent", "", "a program gives no gradient"),
        (
            "plain",
            "--search zero-order",
            "dots has not said that it takes latents, and they are what is moved",
        ),
        ("latent", "--search zero-order --steps 3", "--steps is of gradient steps"),
        ("latent", "--search zero-order --trunc 0.5", "--trunc is of no use to it"),
        ("latent", "--search zero-order --prompts p.txt", "latents are moved for one prompt"),
    ] {
        perturb(what, &format!("{words} -o d")).code(2).stderr(contains(said));
    }
    run(&dir, "perturb --bias fidelity --passes 5 -o d").code(2).stderr(contains("--search zero-order"));
}

#[test]
fn prompts_share_the_seeds_and_are_drawn_together_or_each_by_itself() {
    let dir = TempDir::new().unwrap();
    reference(&dir);
    fs::write(dir.path().join("p.txt"), "a red shoe\n a \"blue\" bag, new \na hat\n").unwrap();
    sample(&dir, "plain", "--prompts p.txt -n 7 -o together --batch 2").success();
    let table = dir.path().join("together/samples.csv");
    let files = column(&table, "file");
    assert_eq!(
        files[..4],
        [
            "prompt0000-seed0000.png",
            "prompt0001-seed0000.png",
            "prompt0002-seed0000.png",
            "prompt0000-seed0001.png"
        ]
    );
    assert_eq!((files.len(), column(&table, "prompt")[1].as_str()), (7, "a \"blue\" bag, new"));
    let found = image::open(dir.path().join("together/prompt0001-seed0001.png")).unwrap();
    assert_eq!(found.to_rgb8(), picture(&json!({"seed": 1, "prompt": "a \"blue\" bag, new"})));

    fs::write(dir.path().join("p.csv"), "prompt,n\na red shoe,150\na bag,40\na hat,90\n").unwrap();
    let words =
        "--reference ref --rule power:2 --budget 4 --per prompt -n 6 --distinct --pilot 60 --max-draws 140";
    sample(&dir, "backwards", &format!("{words} --prompts p.csv -o each")).success();
    let each = dir.path().join("each/samples.csv");
    let (prompts, decisions) = (column(&each, "prompt"), column(&each, "decision"));
    for (prompt, most) in [("a red shoe", 140), ("a bag", 40), ("a hat", 90)] {
        let own = || (0..prompts.len()).filter(|&i| prompts[i] == prompt);
        assert_eq!(own().filter(|&i| decisions[i] == "kept").count(), 6, "{prompt}");
        assert!(own().count() <= most);
    }
    // What becomes of a prompt depends on no other.
    fs::write(dir.path().join("one.csv"), "prompt,n\na red shoe,150\n").unwrap();
    sample(&dir, "plain", &format!("{words} --prompts one.csv -o one")).success();
    let rows = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    let (of_each, of_one) = (rows("each/samples.csv"), rows("one/samples.csv"));
    assert!(of_one.lines().count() > 6 && of_each.starts_with(&of_one));
    for index in 0..2 {
        sample(&dir, "plain", &format!("{words} --prompts p.csv --shard {index}/2 -o parts")).success();
    }
    pd(&dir).args(["merge", "parts"]).assert().success();
    assert!(content(&dir.path().join("each")) == content(&dir.path().join("parts")));

    fs::write(dir.path().join("empty.txt"), "a shoe\n\n").unwrap();
    fs::write(dir.path().join("none.csv"), "prompt,n\na,0\n").unwrap();
    for (words, code, said) in [
        ("--prompts empty.txt", 1, "empty.txt: line 2: the prompt is empty"),
        ("--prompts none.csv", 1, "none.csv: line 2: n is 0"),
        ("--prompts p.csv --seeds 0-3", 2, "a prompt is to have 150 candidates, and there are 4 seeds"),
        ("--prompts p.txt -n all", 2, "no end of candidates"),
        ("--per prompt", 2, "--prompts"),
    ] {
        sample(&dir, "plain", &format!("{words} -o d")).code(code).stderr(contains(said));
    }
    let network = ["sample", "--generator", "g", "--prompts", "p.txt", "-o", "d"];
    pd(&dir).args(network).assert().code(2).stderr(contains("--generator-command"));
}

#[test]
fn few_images_are_made_that_nothing_is_decided_on() {
    let dir = TempDir::new().unwrap();
    reference(&dir);
    fs::write(dir.path().join("p.txt"), "a red shoe\na bag\na hat\n").unwrap();
    let words = "--prompts p.txt --reference ref --rule power:2 --budget 3";
    for (name, more, drawings) in
        [("each", "--per prompt -n 6 --pilot 10", 3), ("together", "-n 18 --pilot 30", 1)]
    {
        sample(&dir, "plain", &format!("{words} {more} -o {name}")).success();
        let out = dir.path().join(name);
        let decided = column(&out.join("samples.csv"), "file").len();
        let summary: Value = serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap();
        let made = fs::read_to_string(dir.path().join("made")).unwrap().parse::<usize>().unwrap();
        assert_eq!(summary["draws"], made, "{name}");
        assert!(made - decided < 16 * drawings, "{name}: {made} made, {decided} decided on");
    }
    sample(&dir, "plain", "--prompts p.txt --per prompt -n 2 -o all").success();
    assert_eq!(fs::read_to_string(dir.path().join("made")).unwrap(), "6");
}

#[cfg(unix)]
mod ended {
    use super::*;

    /// Whether a process is there, and no corpse that waits for its parent.
    fn runs(id: &str) -> bool {
        if let Ok(state) = fs::read_to_string(format!("/proc/{id}/stat")) {
            return !state.rsplit(')').next().unwrap().trim_start().starts_with('Z');
        }
        !cfg!(target_os = "linux") && Command::new("kill").args(["-0", id]).status().unwrap().success()
    }

    /// Waits until something is so.
    fn until(what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..500 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not so after 10 s: {what}");
    }

    fn number_of_images(dir: &Path) -> usize {
        let is_image = |name: &str| name.starts_with("seed") && name.ends_with(".png");
        fs::read_dir(dir).map_or(0, |entries| {
            entries.filter(|entry| is_image(entry.as_ref().unwrap().file_name().to_str().unwrap())).count()
        })
    }

    #[test]
    fn nothing_is_left_of_a_program_when_pd_ends_and_what_was_finished_is_used_again() {
        let dir = TempDir::new().unwrap();
        sample(&dir, "plain", "--seeds 0-149 -o whole").success();
        let whole = content(&dir.path().join("whole"));
        for (at, signal) in ["KILL", "TERM", "INT", "KILL"].into_iter().enumerate() {
            let mut run = Command::new(assert_cmd::cargo::cargo_bin("pd"));
            // It stops answering in a different place each time: what comes before has been made by then.
            let stuck = 140 - 30 * at;
            run.env(DOES, format!("sleeps:{stuck}")).env(NOTES, dir.path().join("process"));
            run.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
            // Started through another program, as environments do, it is not this process's own child.
            let through = shell_words::join(["sh", "-c", &format!("{}; true", command())]);
            run.args(["sample", "--generator-command", &through, "--seeds", "0-149", "-o", "out", "-q"]);
            let _ = fs::remove_file(dir.path().join("process"));
            let mut run = run.spawn().unwrap();
            let partial = dir.path().join("out/partial");
            let program = || fs::read_to_string(dir.path().join("process")).unwrap_or_default();
            // The file is there before its line is.
            until("images are made", || {
                number_of_images(&partial) > 10 && !program().is_empty() && runs(&program())
            });
            let program = program();
            let sent = Command::new("kill").args([&format!("-{signal}"), &run.id().to_string()]).status();
            assert!(sent.unwrap().success());
            let status = run.wait().unwrap();
            if signal != "KILL" {
                assert_eq!(status.code(), Some(130), "{signal}");
            }
            until("the program has ended", || !runs(&program));
        }
        sample(&dir, "plain", "--seeds 0-149 -o out").success();
        assert!(whole == content(&dir.path().join("out")));
    }
}

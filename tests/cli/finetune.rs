//! `pd finetune` as a user meets it: small networks on the bundled digits, as a process that is watched, killed and started again.

use crate::made_up_weights::made_up_weights;
use crate::support::{content, digits_zip, pd, shared_reference};
use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const GAN: &str = r#"{"family": "mlp-gan",
    "generator": {"widths": [8, 32, 64], "image": [1, 8, 8]},
    "discriminator": {"widths": [64, 32, 1], "image": [1, 8, 8]}}"#;

const DIFFUSION: &str = r#"{"family": "diffusers", "generator": {
    "unet": {"sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": [8, 8], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 4, "attention_head_dim": 4},
    "scheduler": {"num_train_timesteps": 50}}}"#;

/// Whether there is an indexed reference of the digits, and whether it has a predictor.
#[derive(Clone, Copy, PartialEq)]
enum Reference {
    None,
    Indexed,
    Predicted,
}

/// An indexed reference of all bundled digits, made once.
fn indexed() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| shared_reference("finetune-reference", &digits_zip(), &["--no-predictor"]))
}

/// A directory with both configurations and the reference that is asked for.
fn place(reference: Reference) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("gan.json"), GAN).unwrap();
    fs::write(dir.path().join("diffusion.json"), DIFFUSION).unwrap();
    if reference != Reference::None {
        let own = dir.path().join("ref");
        for (name, bytes) in content(indexed()) {
            let file = own.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
    }
    if reference == Reference::Predicted {
        pd(&dir).args(["index", "ref", "--quiet"]).assert().success();
    }
    dir
}

fn finetune(dir: &TempDir, args: &str) -> Command {
    let mut command = pd(dir);
    command
        .args(["finetune", "--quiet", "--batch", "8", "--data"])
        .arg(digits_zip())
        .args(args.split_whitespace());
    command
}

#[track_caller]
fn assert_same_run(dir: &TempDir, one: &str, other: &str) {
    let (one, other) = (content(&dir.path().join(one)), content(&dir.path().join(other)));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (path, bytes) in &one {
        assert!(*bytes == other[path], "{path} differs");
    }
}

fn log(dir: &TempDir, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(dir.path().join(run).join("log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_gan_is_trained_with_importance_sampling_and_its_snapshot_is_taken_on() {
    let dir = place(Reference::Indexed);
    let watching = "--snap 20 --log-every 5 --eval-every 20 --eval-images 64 --sheet 3";
    finetune(&dir, &format!("--init gan.json --reference ref --bias fidelity --steps 40 {watching} -o run"))
        .assert()
        .success()
        .stdout(contains("40 steps, 320 images").and(contains("fd: start")).and(contains("snapshot-000040")));
    let files = content(&dir.path().join("run"));
    for name in ["options.json", "log.jsonl", "fakes-000000.png", "fakes-000020.png", "fakes-000040.png"] {
        assert!(files.contains_key(name), "{name} is missing in {:?}", files.keys());
    }
    for name in ["config.json", "g.safetensors", "g_ema.safetensors", "d.safetensors"] {
        assert!(files.contains_key(&format!("snapshot-000020/{name}")), "{name} is missing");
    }
    let sheet = image::load_from_memory(&files["fakes-000040.png"]).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (24, 24));
    let log = log(&dir, "run");
    let steps: Vec<u64> = log.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 5, 10, 15, 20, 25, 30, 35, 40]);
    assert!(log[0]["fd"].is_f64() && log[4]["recall"].is_f64() && log[4]["d_loss"].is_f64());
    assert_eq!(log[8]["kimg"], 0.32);
    let options: Value = serde_json::from_slice(&files["options.json"]).unwrap();
    assert_eq!((&options["weight_real"], &options["threshold_real"]), (&33.0.into(), &"p80".into()));
    assert_eq!(
        (&options["lr"], &options["loss"], &options["ema_rampup"]),
        (&2e-4.into(), &"logistic".into(), &0.05.into())
    );

    // Repeated from its options alone, and its snapshot trained on in the other direction.
    pd(&dir).args(["finetune", "--quiet", "--options", "run/options.json", "-o", "again"]).assert().success();
    assert_same_run(&dir, "run", "again");
    let options =
        "--options run/options.json --generator run/snapshot-000040 --bias diversity --steps 10 -o second";
    pd(&dir).args(["finetune", "--quiet"]).args(options.split(' ')).assert().success();
    let first = &content(&dir.path().join("run/snapshot-000040"))["g.safetensors"];
    assert_ne!(first, &content(&dir.path().join("second/snapshot-000010"))["g.safetensors"]);
}

fn spawn(dir: &TempDir, args: &str) -> Child {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("pd"));
    command.env("PD_CACHE", dir.path().join("cache")).current_dir(dir.path());
    command.args(["finetune", "--quiet", "--batch", "8", "--data"]).arg(digits_zip());
    command.args(args.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the run has logged so many lines, or has ended.
fn wait_for_lines(child: &mut Child, log: &Path, lines: usize) {
    while child.try_wait().unwrap().is_none() {
        if fs::read_to_string(log).is_ok_and(|text| text.lines().count() >= lines) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Starts the run again and again, and kills it when its log in `killed` has each of these numbers of lines.
fn kill_at(dir: &TempDir, options: &str, lines: &[usize]) {
    let log = dir.path().join("killed/log.jsonl");
    for &lines in lines {
        let mut child = spawn(dir, &format!("{options} -o killed"));
        wait_for_lines(&mut child, &log, lines);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

const LONG: &str =
    "--init gan.json --steps 300 --snap 37 --log-every 3 --sheet 2 --mirror --gamma 1 --r1-interval 4";

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let dir = place(Reference::None);
    finetune(&dir, &format!("{LONG} -o whole")).assert().success();
    kill_at(&dir, LONG, &[1, 14, 41, 55, 83]);
    finetune(&dir, &format!("{LONG} -o killed --resume")).assert().success();
    assert_same_run(&dir, "whole", "killed");
    finetune(&dir, &format!("{LONG} -o killed")).assert().success();
    assert_same_run(&dir, "whole", "killed");
}

#[test]
fn a_frechet_term_is_part_of_the_state_and_of_the_log() {
    let dir = place(Reference::Indexed);
    let options = "--init gan.json --reference ref --bias match --frechet-interval 2 --steps 60 --snap 21 --log-every 3 --sheet 2";
    finetune(&dir, &format!("{options} -o whole")).assert().success();
    let settings: Value =
        serde_json::from_slice(&fs::read(dir.path().join("whole/options.json")).unwrap()).unwrap();
    assert_eq!((&settings["frechet"], &settings["weight_real"]), (&0.01.into(), &Value::Null));
    let lines = log(&dir, "whole");
    assert!(lines[0]["frechet"].is_null(), "the queue is empty");
    assert!(lines.last().unwrap()["frechet"].as_f64().unwrap() > 0.0);
    // Before the term begins, with the 48th step, and after.
    kill_at(&dir, options, &[8, 18]);
    finetune(&dir, &format!("{options} -o killed")).assert().success();
    assert_same_run(&dir, "whole", "killed");
    pd(&dir)
        .args(["finetune", "--quiet", "--options", "whole/options.json", "-o", "again"])
        .assert()
        .success();
    assert_same_run(&dir, "whole", "again");
    // Another preset replaces the term with all that belongs to it.
    pd(&dir)
        .args(["finetune", "--quiet", "--options", "whole/options.json", "--bias", "fidelity", "--dry-run"])
        .assert()
        .success();
    let control = options.replace("--bias match --frechet-interval 2", "--weight 1");
    finetune(&dir, &format!("{control} -o control")).assert().success();
    let networks =
        |run: &str| content(&dir.path().join(format!("{run}/snapshot-000060")))["g.safetensors"].clone();
    assert_ne!(networks("whole"), networks("control"));

    let refused = |args: &str, says: &str| {
        finetune(&dir, &format!("{args} --steps 4 -o no")).assert().code(2).stderr(contains(says));
        assert!(!dir.path().join("no").exists());
    };
    for wrong in ["NaN", "-0.1"] {
        refused(&format!("--init gan.json --reference ref --frechet={wrong}"), "of at least 0");
    }
    refused("--init gan.json --frechet 0.1", "--frechet");
    refused(
        "--init gan.json --reference ref --weight 1 --frechet-interval 2",
        "no Frechet term without --frechet",
    );
    refused("--init gan.json --reference ref --bias match --sides both", "--sides both");
    refused("--init diffusion.json --reference ref --bias match", "a GAN");
}

#[test]
fn the_weights_of_the_ratio_rule_follow_the_generator_and_are_part_of_the_state() {
    let dir = place(Reference::Indexed);
    let options = "--init gan.json --reference ref --rule ratio:0 --pilot 48 --pilot-every 20 --steps 60 --snap 31 --log-every 3 --sheet 2";
    finetune(&dir, &format!("{options} -o whole")).assert().success();
    let sizes: Vec<f64> =
        log(&dir, "whole").iter().map(|line| line["effective_sample_size"].as_f64().unwrap()).collect();
    // Weighed before the steps 0, 20 and 40; lines come after every third step.
    let mut changes = sizes.clone();
    changes.dedup();
    assert_eq!(changes.len(), 3, "{sizes:?}");
    kill_at(&dir, options, &[8, 15]);
    finetune(&dir, &format!("{options} -o killed")).assert().success();
    assert_same_run(&dir, "whole", "killed");
    let networks =
        |run: &str| content(&dir.path().join(format!("{run}/snapshot-000060")))["g.safetensors"].clone();
    finetune(
        &dir,
        &format!("{} -o power", options.replace("ratio:0 --pilot 48 --pilot-every 20", "power:0")),
    )
    .assert()
    .success();
    assert_ne!(networks("whole"), networks("power"));
    let out = finetune(&dir, &format!("{options} --dry-run --json")).output().unwrap();
    let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(plan["pilots"]["count"], 3);
    let diffusion =
        options.replace("gan.json", "diffusion.json").replace("--steps 60", "--steps 2 --ddim-steps 2");
    finetune(&dir, &format!("{diffusion} -o diffusion")).assert().success();
}

#[test]
fn kept_images_are_mixed_in_and_a_second_space_judges() {
    let dir = place(Reference::Indexed);
    let options =
        "--init gan.json --reference ref --weight 1 --steps 12 --sheet 2 --eval-every 6 --eval-images 48";
    // Without a judge at hand the space of the reference alone is looked at.
    finetune(&dir, &format!("{options} -o control")).assert().success().stdout(contains("fd: start"));
    assert!(log(&dir, "control")[0]["coverage"].is_f64() && log(&dir, "control")[0]["judge_fd"].is_null());
    pd(&dir)
        .args(["sample", "--quiet", "--generator", "control/snapshot-000012", "--reference", "ref"])
        .args(["--bias", "none", "-n", "20", "-o", "kept"])
        .assert()
        .success();
    let out = finetune(
        &dir,
        &format!("{options} --data-generated kept --share 0.5 --control control --json -o mixed"),
    )
    .output()
    .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(summary["control"]["fd"], log(&dir, "control").last().unwrap()["fd"]);
    assert_eq!(summary["start"]["fd"], log(&dir, "mixed")[0]["fd"]);
    let networks =
        |run: &str| content(&dir.path().join(format!("{run}/snapshot-000012")))["g.safetensors"].clone();
    assert_ne!(networks("mixed"), networks("control"));
    let none = format!("{options} --data-generated kept --share 0 -o none");
    finetune(&dir, &none).assert().success();
    assert_eq!(networks("none"), networks("control"), "without a share the run is the control's");

    let cache = dir.path().join("cache/weights");
    fs::create_dir_all(&cache).unwrap();
    made_up_weights(&cache, "lenet5");
    let judged = format!(
        "{options} --lr 0.1 --judge-extractor lenet5 --frechet 0.01 --frechet-interval 1 --frechet-extractor tiny,lenet5"
    );
    finetune(&dir, &format!("{judged} --keep-best -o judged"))
        .assert()
        .success()
        .stdout(contains("judge_fd: start"));
    let lines = log(&dir, "judged");
    for name in ["fd", "judge_fd", "judge_precision", "judge_recall", "judge_coverage"] {
        assert!(lines[0][name].is_f64() && lines.last().unwrap()[name].is_f64(), "{name}");
    }
    assert!(
        content(&dir.path().join("judged"))
            .keys()
            .any(|path| path.starts_with("state/") && path.ends_with("frechet-1.safetensors"))
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_its_step_exits_130_and_goes_on() {
    let dir = place(Reference::None);
    let long = LONG.replace("--steps 300", "--steps 20000").replace("--snap 37", "--snap 10000");
    // Ctrl-C, and what schedulers send.
    for signal in ["INT", "TERM", "USR1"] {
        let (run, whole) = (format!("run-{signal}"), format!("whole-{signal}"));
        let mut child = spawn(&dir, &format!("{long} -o {run}"));
        wait_for_lines(&mut child, &dir.path().join(&run).join("log.jsonl"), 5);
        let sent = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        let states = fs::read_dir(dir.path().join(&run).join("state")).unwrap();
        let states: Vec<String> = states.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(states.len(), 1, "{states:?}");
        let step: u64 = states[0].strip_prefix("step-").unwrap().parse().unwrap();
        assert!((1..20000).contains(&step) && !step.is_multiple_of(10000));
        let rest = long.replace("--steps 20000", &format!("--steps {}", step + 3));
        finetune(&dir, &format!("{rest} -o {run}")).assert().success();
        finetune(&dir, &format!("{rest} -o {whole}")).assert().success();
        let file = |run: &str| content(&dir.path().join(run).join(format!("snapshot-{:06}", step + 3)));
        assert_eq!(file(&run), file(&whole));
    }
}

#[test]
fn both_sides_are_weighted_and_hopeless_rejection_says_so() {
    let dir = place(Reference::Predicted);
    let both = "--init gan.json --reference ref --sides both --steps 6 --log-every 1 --sheet 2";
    finetune(&dir, &format!("{both} --weight 2 --threshold p50 -o run")).assert().success();
    let log = log(&dir, "run");
    assert!(log.iter().all(|line| line["draws_per_accepted"].as_f64().unwrap() >= 1.0));
    finetune(&dir, &format!("{both} --weight 2 --threshold p50 --density predictor -o predictor"))
        .assert()
        .success();
    // Nothing that an untrained generator makes lies above the highest density: weight 0.001 leaves one in a thousand.
    finetune(&dir, &format!("{both} --weight 0.001 --threshold p100 --max-rejection 5 -o hopeless"))
        .assert()
        .code(1)
        .stderr(contains("--max-rejection").and(contains("--sides real")));
}

#[test]
fn a_diffusion_model_is_trained_on_weighted_images() {
    let dir = place(Reference::Indexed);
    let args = "--init diffusion.json --reference ref --rule power:4 --steps 6 --warmup 3 --log-every 2 --sheet 2 --ddim-steps 3 --snap 3";
    finetune(&dir, &format!("{args} -o run")).assert().success();
    let log = log(&dir, "run");
    assert_eq!(log.len(), 3);
    assert!(log.iter().all(|line| line["loss"].as_f64().is_some_and(|loss| loss > 0.0 && loss < 3.0)));
    let snapshot = content(&dir.path().join("run/snapshot-000006"));
    assert!(snapshot.contains_key("g_ema.safetensors") && !snapshot.contains_key("d.safetensors"));
    finetune(&dir, "--generator run/snapshot-000006 --reference ref --bias diversity --steps 1 --sheet 1 --ddim-steps 2 -o on")
        .assert()
        .success();
    finetune(&dir, &format!("{args} --gamma 1 -o no")).assert().code(2).stderr(contains("--gamma"));
}

#[test]
fn a_model_with_classes_learns_those_of_the_folders() {
    let dir = place(Reference::None);
    let text = DIFFUSION.replace("\"sample_size\": 8", "\"sample_size\": 8, \"num_class_embeds\": 10");
    fs::write(dir.path().join("classes.json"), &text).unwrap();
    let args = "--steps 2 --log-every 1 --sheet 2 --ddim-steps 2";
    finetune(&dir, &format!("--init classes.json {args} -o run")).assert().success();
    assert_eq!(log(&dir, "run").len(), 2);
    fs::write(dir.path().join("seven.json"), text.replace("10", "7")).unwrap();
    finetune(&dir, &format!("--init seven.json {args} -o no"))
        .assert()
        .code(1)
        .stderr(contains("10 folders"));
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let dir = place(Reference::None);
    let out = finetune(&dir, "--init gan.json --kimg 1 --json --dry-run").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&plan["steps"], &plan["images"]), (&125.into(), &1000.into()));
    assert!(plan["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(plan["parameters"]["d"], 64 * 32 + 32 + 33);
    assert!(!dir.path().join("pd-finetune").exists());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let dir = place(Reference::Indexed);
    for (args, said) in [
        ("--init gan.json", "--steps"),
        ("--steps 5", "--generator"),
        ("--init gan.json --steps 5 --bias fidelity", "--reference"),
        ("--init gan.json --steps 5 --reference ref", "which way"),
        ("--init gan.json --steps 5 --reference ref --bias fidelity --clip 3", "--clip"),
        ("--init gan.json --steps 5 --reference ref --bias fidelity --weight-fake 3", "--weight-fake"),
        ("--init gan.json --steps 5 --reference ref --rule ratio:2 --sides both", "--sides both"),
        ("--init gan.json --steps 5 --reference ref --rule power:2 --pilot 100", "--pilot"),
        (
            "--init gan.json --steps 5 --reference ref --bias fidelity --frechet-extractor tiny",
            "--frechet-extractor",
        ),
        ("--init gan.json --steps 5 --reference ref --weight 1 --judge-extractor tiny", "--judge-extractor"),
        (
            "--init gan.json --steps 5 --reference ref --weight 1 --eval-every 2 --judge-extractor tiny",
            "the extractor that scores",
        ),
        ("--init gan.json --steps 5 --share 0.5", "--share"),
        ("--init gan.json --steps 5 --control nowhere", "nowhere"),
        ("--init gan.json --steps 5 --control ref", "--control has no effect"),
        ("--init gan.json --steps 5 --reference ref --rule power:2 --bias fidelity", "--bias"),
        ("--init gan.json --steps 5 --keep-best", "--keep-best"),
        ("--init gan.json --steps 5 --r1-interval 3", "--r1-interval"),
        ("--init gan.json --steps 5 --resume", "resume"),
    ] {
        finetune(&dir, &format!("{args} -o run")).assert().code(2).stderr(contains(said));
        assert!(!dir.path().join("run").exists(), "{args}");
    }
}

#[test]
fn a_directory_with_another_run_is_left_alone() {
    let dir = place(Reference::None);
    finetune(&dir, "--init gan.json --steps 2 --sheet 1 -o run").assert().success();
    let before = content(&dir.path().join("run"));
    finetune(&dir, "--init gan.json --steps 2 --sheet 1 --lr 0.1 -o run")
        .assert()
        .code(2)
        .stderr(contains("lr is 0.0002 there"));
    assert_eq!(content(&dir.path().join("run")), before);
    fs::create_dir(dir.path().join("photos")).unwrap();
    fs::write(dir.path().join("photos/a.txt"), "a").unwrap();
    finetune(&dir, "--init gan.json --steps 2 -o photos").assert().code(2).stderr(contains("something else"));
}

#[test]
fn the_best_evaluation_is_kept_and_a_run_without_progress_stops() {
    let dir = place(Reference::Indexed);
    // A rate at which nothing moves: the first evaluation stays the best.
    let args = "--init gan.json --reference ref --weight 1 --lr 1e-30 --ema-kimg 0 --steps 50 --eval-every 2 --eval-images 32 --keep-best --patience 3 --sheet 1";
    let out = finetune(&dir, &format!("{args} --json -o run")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&summary["steps"], &summary["stopped_early"]), (&6.into(), &true.into()));
    assert_eq!(summary["best"]["step"], 0);
}

#[test]
fn training_that_diverges_stops_and_says_what_to_lower() {
    let dir = place(Reference::None);
    finetune(&dir, "--init gan.json --steps 400 --log-every 1 --lr 1e30 --sheet 1 -o run")
        .assert()
        .code(1)
        .stderr(contains("diverged at step").and(contains("--lr")));
    assert!(!dir.path().join("run/snapshot-000400").exists());
}

#[cfg(not(feature = "mpi"))]
#[test]
fn two_ranks_without_mpi_are_refused_before_anything_is_written() {
    let dir = place(Reference::None);
    finetune(&dir, "--init gan.json --steps 2 -o run")
        .env("OMPI_COMM_WORLD_SIZE", "2")
        .env("OMPI_COMM_WORLD_RANK", "1")
        .assert()
        .code(2)
        .stderr(contains("OMPI_COMM_WORLD_SIZE").and(contains("--features mpi")));
    assert!(!dir.path().join("run").exists());
}

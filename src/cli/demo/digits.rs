//! The stages on digits: what a generator draws, and how each technique changes it.

use super::{DemoRun, ROOT};
use crate::cli::bundled::write_digits;
use crate::error::{Error, Result};
use crate::formats::atomic::write_unless_there;
use crate::images::ImageSet;
use crate::report::Figure;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Fine-tuning settings: towards fidelity those that the generator was trained with, towards diversity the defaults.
const TOWARDS_FIDELITY: &str = "--steps 400 --batch 128 --lr 1e-3 --beta1 0.5 --gamma 0.2 --r1-interval 4";
const TOWARDS_DIVERSITY: &str = "--steps 300";
const REWEIGHT: [&str; 3] = ["match", "fidelity", "diversity"];

impl DemoRun {
    pub(super) fn digits(&mut self) -> Result<()> {
        let archive = self.path("digits.zip");
        write_digits(&archive)?;
        lay_out(&ImageSet::open(&archive, &self.terminal)?, &self.root)?;
        self.first_of_table = self.sections.len();
        self.score()?;
        self.baseline()?;
        self.reweight()?;
        self.choose()?;
        self.perturb()?;
        self.finetune()
    }

    fn score(&mut self) -> Result<()> {
        self.stage(
            "The images that a generator was trained on",
            "1 797 small images of digits, and a generator that was trained on them. Half of the images score, the other half judges.\n\
             A reference keeps what a command needs to know of the real images.",
        )?;
        self.command("embed DEMO/real -o DEMO/ref")?;
        self.command("index DEMO/ref")?;
        self.command("embed DEMO/held-out -o DEMO/judge")?;
        self.figure(Figure::Reference(self.path("ref"), self.path("real")));
        Ok(())
    }

    fn baseline(&mut self) -> Result<()> {
        self.stage(
            "What the generator draws by itself",
            "Precision: how many of its images look like real ones (fidelity). Recall: how many of the real ones it can make\n\
             (diversity). Frechet distance: how far its images as a whole are from the real ones; lower is better.",
        )?;
        self.command("sample --generator DEMO/generator -n 400 -o DEMO/plain")?;
        self.measure(&[("plain", "as it is", 1.0)])?;
        self.figure(Figure::Gallery("as it is".into(), self.path("plain")));
        Ok(())
    }

    fn reweight(&mut self) -> Result<()> {
        self.stage(
            "Reweight what it draws",
            "Draw about four images for each one that is kept, and keep by weight: match towards the real distribution, fidelity\n\
             towards the typical, diversity towards the rare. Nothing is trained; the cost is the draws.",
        )?;
        let mut sets = Vec::new();
        for bias in REWEIGHT {
            self.command(&format!(
                "sample --generator DEMO/generator --reference DEMO/ref --bias {bias} -n 400 -o DEMO/{bias}"
            ))?;
            sets.push((bias, bias, draws_per_kept(&self.summary(bias)?)));
        }
        self.measure(&sets)?;
        let place = |bias: &str| (bias.to_owned(), self.path(bias));
        let runs: Vec<(String, PathBuf)> = REWEIGHT.into_iter().map(place).collect();
        self.figure(Figure::Densities(runs.clone()));
        for (bias, dir) in runs {
            self.figure(Figure::Gallery(format!("--bias {bias}"), dir));
        }
        Ok(())
    }

    fn choose(&mut self) -> Result<()> {
        self.stage(
            "Choose a distinct and novel set from a pool",
            "For a generator that repeats itself, or copies: --distinct refuses copies of what is chosen, --novel copies of the real\n\
             images, also edited ones. With a number they keep their distance as well. The pool is any folder of images.",
        )?;
        self.command("sample --generator DEMO/generator -n 1600 -o DEMO/pool")?;
        self.command(
            "sample --pool DEMO/pool --reference DEMO/ref --bias match -n 400 --distinct 5 --novel 5 -o DEMO/chosen",
        )?;
        let summary = self.summary("chosen")?;
        self.result(&format!(
            "refused: {} too near to another chosen one or a copy of it, {} too near to a real one or a copy of it",
            summary["not_distinct"], summary["not_novel"]
        ))?;
        self.measure(&[("chosen", "chosen from a pool", 4.0)])?;
        self.figure(Figure::Gallery("chosen".into(), self.path("chosen")));
        Ok(())
    }

    fn perturb(&mut self) -> Result<()> {
        self.stage(
            "Perturb a few samples",
            "Single images are moved towards the typical or the unusual, by small steps of the numbers they are made from.\n\
             Sixteen images are too few for precision and recall: their pseudo density is what changes.",
        )?;
        for bias in ["fidelity", "diversity"] {
            self.command(&format!(
                "perturb --generator DEMO/generator --reference DEMO/ref --bias {bias} --eps 0.2 --seeds 0-15 -o DEMO/perturb-{bias}"
            ))?;
            let summary = self.summary(&format!("perturb-{bias}"))?;
            let number = |key: &str| summary["strengths"][0][key].as_f64().unwrap_or(f64::NAN);
            self.result(&format!(
                "towards {bias}: {:.0} % moved as asked, mean pseudo density {:.3} to {:.3}; cost: 10 gradient steps an image",
                100.0 * number("moved"),
                number("mean_density_before"),
                number("mean_density_after")
            ))?;
            self.figure(Figure::Pairs(self.path(&format!("perturb-{bias}"))));
        }
        Ok(())
    }

    fn finetune(&mut self) -> Result<()> {
        self.stage(
            "Fine-tune the generator",
            "Train on for a short while, with the typical or the unusual images drawn more often. It costs training, and then\n\
             nothing: every later image is one draw.",
        )?;
        let mut sets = Vec::new();
        for (bias, settings, snapshot, about) in [
            ("fidelity", TOWARDS_FIDELITY, "snapshot-000400", "fine-tuned to fidelity"),
            ("diversity", TOWARDS_DIVERSITY, "snapshot-000300", "fine-tuned to diversity"),
        ] {
            let (run, dir) = (format!("{ROOT}/finetune-{bias}"), format!("tuned-{bias}"));
            self.command(&format!(
                "finetune --generator DEMO/generator --data DEMO/real --reference DEMO/ref --bias {bias} {settings} -o {run}"
            ))?;
            self.command(&format!("sample --generator {run}/{snapshot} -n 400 -o DEMO/{dir}"))?;
            sets.push((dir, about, 1.0));
        }
        self.result("cost: 400 steps of 128 images, and 300 of 64")?;
        let sets: Vec<(&str, &str, f64)> =
            sets.iter().map(|(dir, about, n)| (dir.as_str(), *about, *n)).collect();
        self.measure(&sets)?;
        self.result(
            "The weights are strong, and what is gained at one end is paid for at the other and in distance: here reweighting is\n\
             the better bargain. Fine-tuning is for where every draw has to be cheap.",
        )?;
        for (dir, about, _) in sets {
            self.figure(Figure::Gallery(about.into(), self.path(dir)));
        }
        Ok(())
    }
}

/// Writes every other image to `real/`, which scores, and the others to `held-out/`, which judges.
fn lay_out(set: &ImageSet, root: &Path) -> Result<()> {
    for i in 0..set.len() {
        let path = root.join(if i % 2 == 0 { "real" } else { "held-out" }).join(set.path(i));
        let bytes = set.read(i).map_err(|reason| Error::malformed(&path, reason, ""))?;
        write_unless_there(&path, &bytes)?;
    }
    Ok(())
}

fn draws_per_kept(summary: &Value) -> f64 {
    let number = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
    number("draws") / number("kept")
}

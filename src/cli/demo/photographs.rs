//! The stages on photographs: a shop has a catalogue, and a pool of pictures that a generator made for it. Which are odd, which are
//! copies, and which 24 shall it take?

use super::{DemoRun, aligned};
use crate::cli::garments::write_garments;
use crate::error::Result;
use crate::formats::table::Columns;
use crate::report::Figure;

/// Where it all lies.
const SHOP: &str = "shop";
/// Lines of a result that are printed.
const SHOWN_LINES: usize = 5;
/// Pictures to choose.
const CHOSEN: usize = 24;

impl DemoRun {
    pub(super) fn photographs(&mut self) -> Result<()> {
        write_garments(&self.path(SHOP), &self.terminal)?;
        self.odd_ones()?;
        self.copies()?;
        self.choice()
    }

    fn odd_ones(&mut self) -> Result<()> {
        self.stage(
            "Which pictures are odd?",
            "A shop has a catalogue of 160 garments, and a pool of 120 pictures as a generator might make them: new garments, but also\n\
             edited copies of the catalogue, repeats, and broken ones. Their file names say which is which, so that you can check.\n\
             The pseudo density of a picture says how like the catalogue it is: 1 is the average, less is unusual.",
        )?;
        self.command("embed DEMO/shop/catalogue -o DEMO/shop/ref")?;
        self.command("index DEMO/shop/ref")?;
        self.command("score DEMO/shop/pool --reference DEMO/shop/ref -o DEMO/shop/scores.csv")?;
        let table = Columns::read(&self.path("shop/scores.csv"))?;
        let density = table.numbers("pseudo_density")?;
        let mut rows: Vec<(f64, &String)> = density.into_iter().zip(table.text("path")?).collect();
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (density, path) in rows.iter().take(SHOWN_LINES) {
            self.terminal.print(&format!("    {density:.3}  {path}\n"))?;
        }
        self.section_result(
            "The most unusual pictures of the pool, each beside the most similar one of the catalogue:",
        );
        self.figure(Figure::Unusual {
            scores: self.path("shop/scores.csv"),
            images: self.path("shop/pool"),
            real: self.path("shop/catalogue"),
        });
        Ok(())
    }

    fn copies(&mut self) -> Result<()> {
        self.stage(
            "Which are copies?",
            "A copy is the same picture: compressed, resized, mirrored, cropped, framed, recoloured. Not the same kind of garment.\n\
             24 pictures of the pool are edited copies of the catalogue, and 12 repeat another one of the pool.",
        )?;
        let against =
            self.command("dups DEMO/shop/pool --against DEMO/shop/catalogue -o DEMO/shop/copies.csv")?;
        self.first_line(&against)?;
        let repeats = self.command("dups DEMO/shop/pool -o DEMO/shop/repeats.csv")?;
        self.first_line(&repeats)?;
        self.figure(Figure::Copies {
            table: self.path("shop/copies.csv"),
            images: self.path("shop/pool"),
            against: self.path("shop/catalogue"),
        });
        Ok(())
    }

    fn choice(&mut self) -> Result<()> {
        self.stage(
            "Which 24 shall the shop take?",
            "The 24 that are best together: like the catalogue and yet varied, without copies of the catalogue (--novel) or of each\n\
             other (--distinct). Beside them are 24 drawn at random.",
        )?;
        self.command(&format!(
            "select DEMO/shop/pool --reference DEMO/shop/ref -n {CHOSEN} --novel --distinct -o DEMO/shop/chosen"
        ))?;
        self.command(&format!(
            "sample --pool DEMO/shop/pool --reference DEMO/shop/ref --bias none -n {CHOSEN} -o DEMO/shop/random"
        ))?;
        let head = ["", "copies of the catalogue", "repeats", "broken"];
        let mut table = vec![head.map(str::to_owned).to_vec()];
        for (name, directory, table_of_files) in [
            ("drawn at random", "shop/random", "samples.csv"),
            ("chosen by pd select", "shop/chosen", "selected.csv"),
        ] {
            let directory = self.path(directory);
            let listed = Columns::read(&directory.join(table_of_files))?;
            // A candidate that was not kept has no file.
            let files: Vec<String> =
                listed.text("file")?.iter().filter(|file| !file.is_empty()).cloned().collect();
            let taken = Taken::of(&files);
            table.push(vec![
                name.to_owned(),
                taken.copies.to_string(),
                taken.repeats.to_string(),
                taken.broken.to_string(),
            ]);
            self.section_result(&format!(
                "{CHOSEN} {name}: {} copies of the catalogue, {} that repeat another, {} broken.",
                taken.copies, taken.repeats, taken.broken
            ));
            self.figure(Figure::Strip { caption: format!("{CHOSEN} {name}"), directory, files });
        }
        self.terminal.print(&aligned(&table.iter().collect::<Vec<_>>()))
    }

    fn first_line(&mut self, text: &str) -> Result<()> {
        self.result(text.lines().next().unwrap_or_default())
    }
}

/// What was taken, as the names of the files say.
#[derive(Debug, PartialEq)]
struct Taken {
    copies: usize,
    repeats: usize,
    broken: usize,
}

impl Taken {
    fn of(files: &[String]) -> Self {
        let named = |what: &str| files.iter().filter(|file| file.starts_with(what)).count();
        // A repeat repeats only where the other is taken as well.
        let original_too = |file: &&String| {
            let original = file.strip_prefix("repeat-of-").and_then(|name| name.rsplit_once('-'));
            original.is_some_and(|(original, _)| files.contains(&format!("{original}.jpg")))
        };
        Self {
            copies: named("copy-of-"),
            repeats: files.iter().filter(original_too).count(),
            broken: named("broken-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_was_taken() {
        let files = [
            "copy-of-hat-01-gray.jpg",
            "new-hat-02.jpg",
            "repeat-of-new-hat-02-framed.jpg",
            "repeat-of-new-hat-03-gray.jpg",
        ];
        let taken = Taken::of(&files.map(str::to_owned));
        assert_eq!(taken, Taken { copies: 1, repeats: 1, broken: 0 });
    }
}

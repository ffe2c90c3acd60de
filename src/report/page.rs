//! A page: one HTML file, for small and large screens, light and dark, and for paper.

use super::album::{Album, BLOCK};
use super::pictures::Thumbnail;
use super::sheet::Sheet;
use super::text::{escaped, shortened};
use crate::error::Result;
use crate::progress::Progress;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

const STYLE: &str = include_str!("page.css");
/// Draws the cards of the sheets.
const SCRIPT: &str = include_str!("page.js");
/// What a page without the script has no pictures of.
const NO_SCRIPT: &str = "This page shows its pictures by a script that is part of it. Allow scripts to see them; nothing is loaded.";

/// Where a page will lie, and who is told how far it is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The folder of the page: files are linked from there.
    pub folder: &'a Path,
    /// Told how many pictures are made.
    pub progress: &'a dyn Progress,
}

/// A page that is put together from top to bottom.
pub(super) struct Page<'a> {
    title: String,
    body: String,
    album: Album,
    place: Place<'a>,
    sheets: usize,
}

impl<'a> Page<'a> {
    /// A page with a heading and the paragraphs that say what it shows and what to do next.
    pub(super) fn new(title: &str, lead: &[String], place: Place<'a>) -> Self {
        let mut body = format!("<h1>{}</h1>\n<div class=\"leads\">\n", escaped(title));
        for paragraph in lead {
            let _ = writeln!(body, "<p class=\"lead\">{}</p>", prose(paragraph));
        }
        body.push_str("</div>\n");
        Self { title: title.to_owned(), body, album: Album::default(), place, sheets: 0 }
    }

    /// Who is told how far the page is.
    pub(super) fn progress(&self) -> &'a dyn Progress {
        self.place.progress
    }

    /// Cards, drawn by the script.
    ///
    /// # Errors
    /// [`crate::error::Error::Interrupted`] on request.
    pub(super) fn sheet(&mut self, sheet: &Sheet) -> Result<()> {
        let data = sheet.data(&mut self.album, self.place.folder, self.place.progress)?;
        self.sheets += 1;
        let _ = writeln!(
            self.body,
            "<section class=\"sheet\" id=\"sheet-{}\">\n<noscript><p>{NO_SCRIPT}</p></noscript>\n\
             <script type=\"application/json\">{data}</script>\n</section>",
            self.sheets
        );
        Ok(())
    }

    /// The last part: what was run, when and with what.
    pub(super) fn foot(&mut self, facts: &[(String, String)]) {
        self.body.push_str("<footer><h2>What was run</h2><dl>");
        for (name, value) in facts {
            let _ = write!(
                self.body,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escaped(name),
                escaped(&shortened(value))
            );
        }
        self.body.push_str("</dl></footer>\n");
    }

    /// Begins a part, with a paragraph that says how to read it.
    pub(super) fn section(&mut self, heading: &str, explanation: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(heading));
        self.paragraph(explanation);
    }

    /// Begins a part whose explanation stands beside what `show` adds, where there is room.
    pub(super) fn section_beside(&mut self, heading: &str, explanation: &str, show: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.body, "<h2>{}</h2>\n<div class=\"two\"><div>", escaped(heading));
        self.paragraph(explanation);
        self.body.push_str("</div><div>");
        show(self);
        self.body.push_str("</div></div>\n");
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = writeln!(self.body, "<p>{}</p>", prose(text));
        }
    }

    /// Names and values, a pair each.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.body.push_str("<dl>");
        for (name, value) in facts {
            let _ = write!(self.body, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
        }
        self.body.push_str("</dl>\n");
    }

    /// A chart of this module, as it is.
    pub(super) fn chart(&mut self, svg: &str) {
        let _ = writeln!(self.body, "<figure>{svg}</figure>");
    }

    /// Commands to copy, a line each.
    pub(super) fn commands(&mut self, commands: &[String]) {
        for command in commands {
            let _ = writeln!(self.body, "<pre><code>{}</code></pre>", escaped(command));
        }
    }

    /// A table; all but the first column are numbers.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<div class=\"wide\"><table><thead><tr>");
        for name in head {
            let _ = write!(self.body, "<th>{}</th>", escaped(name));
        }
        self.body.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for cell in row {
                let _ = write!(self.body, "<td>{}</td>", escaped(&shortened(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody></table></div>\n");
    }

    /// Large pictures with their captions.
    pub(super) fn sheets(&mut self, sheets: &[(String, Thumbnail)]) {
        self.body.push_str("<div class=\"sheets\">");
        for (caption, thumbnail) in sheets {
            let _ = write!(
                self.body,
                "<figure>{}<figcaption>{}</figcaption></figure>",
                thumbnail.img(caption),
                escaped(caption)
            );
        }
        self.body.push_str("</div>\n");
    }

    /// Small pictures in a row, without words.
    pub(super) fn strip(&mut self, caption: &str, thumbnails: &[Thumbnail]) {
        let _ = write!(self.body, "<figure class=\"strip\"><figcaption>{}</figcaption>", escaped(caption));
        for thumbnail in thumbnails {
            self.body.push_str(&thumbnail.img(""));
        }
        self.body.push_str("</figure>\n");
    }

    /// The whole file.
    pub(super) fn html(self) -> String {
        let pictures = self.album.html();
        let (script, hash) = match self.sheets {
            0 => (String::new(), "'none'".to_owned()),
            _ => (
                format!("<script data-block=\"{BLOCK}\">{SCRIPT}</script>\n"),
                format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(SCRIPT))),
            ),
        };
        // The script comes first: cards are there before their pictures.
        // Should any markup get past the escaping: no other script runs, and nothing is loaded but files beside the page.
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {hash}; style-src 'unsafe-inline'; \
             img-src data: file: 'self'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n{script}{pictures}</body>\n</html>\n",
            escaped(&self.title),
            self.body
        )
    }
}

/// A paragraph for HTML, in which a flag keeps its dashes: a browser breaks lines behind them.
fn prose(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.starts_with("--") {
        true => format!("<span class=\"flag\">{}</span>", escaped(word)),
        false => escaped(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::columns::Column;
    use super::super::pictures::Pictures;
    use super::super::sheet::{Item, Look, Shown};
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn hostile_names_stay_text() {
        let name = "<script>alert('1')</script>\"&\u{202e}gnp.\u{7}";
        let place = Place { folder: Path::new("."), progress: &Silent };
        let mut page = Page::new(name, &[name.into()], place);
        page.section(name, name);
        page.facts(&[("a", name.into())]);
        page.commands(&[name.into()]);
        page.table(&["a"], &[vec![name.into()]]);
        let none = Pictures::none();
        let picture = Shown { role: "image", path: name, from: &none };
        let items = vec![Item { picture, others: vec![picture], chosen: false }];
        let columns = vec![Column::text("group", [name.to_owned()].into_iter())];
        page.sheet(&Sheet { look: Look::default(), columns, items }).unwrap();
        page.foot(&[(name.into(), name.into())]);
        let html = page.html();
        assert!(!html.contains("<script>alert") && !html.contains('\u{202e}') && !html.contains('\u{7}'));
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)"));
        assert!(
            html.contains("\\u003cscript\\u003ealert('1')\\u003c/script\\u003e\\\"\\u0026\\u202egnp.\\u0007"),
            "{html}"
        );
        // The data of the sheet, and the script.
        assert_eq!(html.matches("<script").count(), 2);
    }
}

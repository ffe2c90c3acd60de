//! A page: one HTML file, for small and large screens, light and dark.

use super::pictures::Thumbnail;
use super::text::{escaped, shortened};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// A page that is put together from top to bottom.
pub(super) struct Page {
    title: String,
    body: String,
}

/// One picture of a card.
pub(super) struct Shown {
    /// Its role, in a word.
    pub role: &'static str,
    /// Its file.
    pub name: String,
    /// Its image, if it is known.
    pub thumbnail: Option<Thumbnail>,
}

/// Pictures side by side, with lines of text.
pub(super) struct Card {
    /// One or two pictures.
    pub pictures: Vec<Shown>,
    /// Short lines below them.
    pub lines: Vec<String>,
}

impl Page {
    /// A page with a heading and the paragraphs that say what it shows and what to do next.
    pub(super) fn new(title: &str, lead: &[String]) -> Self {
        let mut body = format!("<h1>{}</h1>\n", escaped(title));
        for paragraph in lead {
            let _ = writeln!(body, "<p class=\"lead\">{}</p>", prose(paragraph));
        }
        Self { title: title.to_owned(), body }
    }

    /// Begins a part, with a paragraph that says how to read it.
    pub(super) fn section(&mut self, heading: &str, explanation: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(heading));
        self.paragraph(explanation);
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

    /// A gallery.
    pub(super) fn cards(&mut self, cards: &[Card]) {
        let double = cards.iter().any(|card| card.pictures.len() > 1);
        let _ = writeln!(self.body, "<div class=\"cards{}\">", if double { " double" } else { "" });
        for card in cards {
            self.body.push_str("<article><div class=\"pictures\">");
            for shown in &card.pictures {
                self.picture(shown);
            }
            self.body.push_str("</div>");
            for line in &card.lines {
                let _ = write!(self.body, "<p>{}</p>", escaped(line));
            }
            self.body.push_str("</article>\n");
        }
        self.body.push_str("</div>\n");
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

    fn picture(&mut self, shown: &Shown) {
        let name = escaped(&shortened(&shown.name));
        let image = match &shown.thumbnail {
            Some(thumbnail) => thumbnail.img(&shown.name),
            None => "<div class=\"none\" aria-hidden=\"true\">no picture</div>".into(),
        };
        let _ = write!(
            self.body,
            "<figure>{image}<figcaption><b>{}</b> <span>{name}</span></figcaption></figure>",
            escaped(shown.role)
        );
    }

    /// The whole file.
    pub(super) fn html(self) -> String {
        // The policy forbids loading and scripts, should any markup get past the escaping.
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
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
    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        let name = "<script>alert('1')</script>\"&\u{202e}gnp.\u{7}";
        let mut page = Page::new(name, &[name.into()]);
        page.section(name, name);
        page.facts(&[("a", name.into())]);
        page.commands(&[name.into()]);
        page.table(&["a"], &[vec![name.into()]]);
        let shown = Shown { role: "image", name: name.into(), thumbnail: None };
        page.cards(&[Card { pictures: vec![shown], lines: vec![name.into()] }]);
        let html = page.html();
        assert!(!html.contains("<script") && !html.contains('\u{202e}') && !html.contains('\u{7}'));
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)"));
    }
}

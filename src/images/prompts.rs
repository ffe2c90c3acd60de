//! The prompts that images were made from, where generators leave them: in the text chunks of a PNG, or in a file beside the image.

use super::source::ImageSet;
use serde_json::Value;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Most bytes of a prompt file, or of the text of a PNG.
const MAX_TEXT: u64 = 1 << 20;
/// What AUTOMATIC1111's web interface writes after the prompt, each at the beginning of a line.
const AFTER_PROMPT: [&str; 2] = ["Negative prompt:", "Steps:"];

/// The prompt of image `i` of `set`, which was opened by the path `place`: the PNG text chunk `parameters` (AUTOMATIC1111), `prompt`
/// (ComfyUI's graph, or plain text), or the file beside it with the extension `.txt` (all of its text) or `.json` (its `prompt`).
/// `None` where there is none, or it cannot be read.
pub(crate) fn prompt_of(set: &ImageSet, i: usize, place: &Path) -> Option<String> {
    let in_file = set.read(i).ok().and_then(|bytes| prompt_in_png(&bytes));
    in_file.or_else(|| if place.is_dir() { prompt_beside(&place.join(set.path(i))) } else { None })
}

fn prompt_in_png(bytes: &[u8]) -> Option<String> {
    let limits = png::Limits { bytes: MAX_TEXT as usize };
    let mut reader = png::Decoder::new_with_limits(Cursor::new(bytes), limits).read_info().ok()?;
    // Some programs write their text behind the pixels; what is damaged there has no text.
    let _ = reader.finish();
    let info = reader.info();
    let text = |keyword: &str| {
        let plain = info.uncompressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword);
        if let Some(chunk) = plain {
            return Some(chunk.text.clone());
        }
        if let Some(chunk) = info.utf8_text.iter().find(|chunk| chunk.keyword == keyword) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(MAX_TEXT as usize).ok()?;
            return chunk.get_text().ok();
        }
        let mut chunk = info.compressed_latin1_text.iter().find(|chunk| chunk.keyword == keyword)?.clone();
        chunk.decompress_text_with_limit(MAX_TEXT as usize).ok()?;
        chunk.get_text().ok()
    };
    text("parameters").and_then(|text| of_parameters(&text)).or_else(|| of_prompt(&text("prompt")?))
}

/// What stands before the negative prompt and the settings.
fn of_parameters(text: &str) -> Option<String> {
    let is_after = |line: &&str| AFTER_PROMPT.iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = text.lines().take_while(|line| !is_after(line)).collect();
    cleaned(&lines.join("\n"))
}

fn of_prompt(text: &str) -> Option<String> {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(graph)) => cleaned(of_graph(&graph)?),
        Ok(Value::String(prompt)) => cleaned(&prompt),
        _ => cleaned(text),
    }
}

/// The text that a ComfyUI sampler is led towards, or the only text of the graph.
fn of_graph(graph: &serde_json::Map<String, Value>) -> Option<&str> {
    let text_of = |id: &str| graph.get(id)?.get("inputs")?.get("text")?.as_str();
    let positive = graph.values().find_map(|node| node.get("inputs")?.get("positive")?.get(0)?.as_str());
    if let Some(text) = positive.and_then(text_of) {
        return Some(text);
    }
    let mut texts = graph.keys().filter_map(|id| text_of(id));
    texts.next().filter(|_| texts.next().is_none())
}

fn prompt_beside(image: &Path) -> Option<String> {
    let read = |extension: &str| {
        let file = File::open(image.with_extension(extension)).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(MAX_TEXT).read_to_end(&mut text).ok()?;
        Some(text)
    };
    if let Some(text) = read("txt") {
        return cleaned(&String::from_utf8_lossy(&text));
    }
    let found: Value = serde_json::from_slice(&read("json")?).ok()?;
    cleaned(found.get("prompt")?.as_str()?)
}

/// Without space around it; `None` if nothing is left.
fn cleaned(text: &str) -> Option<String> {
    // Some editors put a byte order mark before the text.
    let text = text.trim_start_matches('\u{feff}').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use proptest::prelude::*;
    use std::fs;

    /// A PNG of one pixel with these text chunks.
    fn png_with(write: impl Fn(&mut png::Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        write(&mut encoder);
        encoder.write_header().unwrap().write_image_data(&[7]).unwrap();
        bytes
    }

    fn plain(keyword: &str, text: &str) -> Vec<u8> {
        png_with(|encoder| encoder.add_text_chunk(keyword.into(), text.into()).unwrap())
    }

    #[test]
    fn prompts_are_found_in_the_chunks_of_each_kind() {
        let settings = "a red shoe,\nstudio light\nNegative prompt: blurry\nSteps: 20, Seed: 5";
        let found = Some("a red shoe,\nstudio light".to_string());
        assert_eq!(prompt_in_png(&plain("parameters", settings)), found);
        let packed = |encoder: &mut png::Encoder<'_, &mut Vec<u8>>| {
            encoder.add_ztxt_chunk("parameters".into(), settings.into()).unwrap();
        };
        assert_eq!(prompt_in_png(&png_with(packed)), found);
        let unicode = |encoder: &mut png::Encoder<'_, &mut Vec<u8>>| {
            encoder.add_itxt_chunk("prompt".into(), "ein grüner Schuh — neu".into()).unwrap();
        };
        assert_eq!(prompt_in_png(&png_with(unicode)).as_deref(), Some("ein grüner Schuh — neu"));
        assert_eq!(prompt_in_png(&plain("Comment", "a shoe")), None);
        assert_eq!(prompt_in_png(&plain("prompt", "  \n")), None);
    }

    #[test]
    fn of_a_graph_the_text_that_the_sampler_is_led_towards_is_taken() {
        let graph = r#"{"3": {"class_type": "KSampler", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a blue bag"}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}}}"#;
        assert_eq!(prompt_in_png(&plain("prompt", graph)).as_deref(), Some("a blue bag"));
        assert_eq!(of_prompt(r#"{"6": {"inputs": {"text": "one"}}}"#).as_deref(), Some("one"));
        assert_eq!(
            of_prompt(r#"{"6": {"inputs": {"text": "one"}}, "7": {"inputs": {"text": "two"}}}"#),
            None
        );
    }

    #[test]
    fn files_beside_the_image_are_read_where_it_has_no_text() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| fs::write(dir.path().join(name), content).unwrap();
        write("a.png", &png_with(|_| {}));
        write("a.txt", "\u{feff} a hat \n".as_bytes());
        write("b.png", &plain("parameters", "a coat\nSteps: 3"));
        write("b.txt", b"not this");
        write("c.png", &png_with(|_| {}));
        write("c.json", br#"{"prompt": "a belt", "seed": 4}"#);
        write("d.png", &png_with(|_| {}));
        write("d.json", br#"{"prompt": 5"#);
        let set = ImageSet::open(dir.path(), &Silent).unwrap();
        let found: Vec<Option<String>> = (0..4).map(|i| prompt_of(&set, i, dir.path())).collect();
        let words = |text: &str| Some(text.to_string());
        assert_eq!(found, [words("a hat"), words("a coat"), words("a belt"), None]);
    }

    #[test]
    fn a_text_that_unpacks_to_more_than_the_limit_is_none() {
        let long = "a".repeat(2 * MAX_TEXT as usize);
        let packed = |encoder: &mut png::Encoder<'_, &mut Vec<u8>>| {
            encoder.add_ztxt_chunk("prompt".into(), long.clone()).unwrap();
        };
        assert_eq!(prompt_in_png(&png_with(packed)), None);
    }

    proptest! {
        #[test]
        fn no_damage_makes_the_reader_panic(at in 0usize..200, with in any::<u8>(), cut in 0usize..200) {
            let mut bytes = plain("prompt", r#"{"6": {"inputs": {"text": "one"}}}"#);
            let length = bytes.len();
            bytes[at % length] ^= with;
            let _ = prompt_in_png(&bytes);
            bytes.truncate(cut);
            let _ = prompt_in_png(&bytes);
        }

        #[test]
        fn no_graph_makes_the_reader_panic(text in ".{0,80}") {
            let _ = of_prompt(&text);
            let _ = of_parameters(&text);
        }
    }
}

//! Pages in a real browser: what a person sees, orders, filters, ticks, reads on a phone, in the dark and on paper.
//! All are ignored where a plain `cargo test` runs, as they need chromium on PATH; the gate runs them where there is one.

use crate::browser::Browser;
use crate::report::stage;
use crate::support::{column, digits, pd, run};
use pseudo_density::internals::images::{RgbImage, write_png};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// 120 digits in ten folders, scored, and their page.
fn digits_page() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    digits(&dir, 12);
    run(&dir, "score digits --k 5 -o digits/scores.csv").success();
    run(&dir, "report digits/scores.csv").success();
    let page = dir.path().join("digits/scores.html");
    (dir, page)
}

fn opened(page: &std::path::Path) -> Browser {
    let mut browser = Browser::start();
    browser.resize(1200, 900);
    browser.open(page);
    browser.until("document.querySelectorAll('.frame img').length > 0");
    browser
}

/// The names on the cards, in their order.
const NAMES: &str = "[...document.querySelectorAll('.card')].map(card => card.getAttribute('aria-label'))";

fn names(browser: &mut Browser) -> Vec<String> {
    serde_json::from_value(browser.value(NAMES)).unwrap()
}

fn choose(browser: &mut Browser, list: &str, option: &str) {
    let chosen = browser.value(&format!(
        "(() => {{
            const list = document.querySelector('select[name={list}]');
            list.selectedIndex = [...list.options].findIndex(option => option.text === {option:?});
            list.dispatchEvent(new Event('change'));
            return list.selectedIndex >= 0;
        }})()"
    ));
    assert_eq!(chosen, json!(true), "{option}");
}

fn enter(browser: &mut Browser, field: &str, text: &str) {
    browser.value(&format!(
        "(() => {{
            const field = document.querySelector('input[name=\"{field}\"]');
            field.value = {text:?};
            field.dispatchEvent(new Event('input'));
        }})()"
    ));
}

fn push(browser: &mut Browser, button: &str) {
    browser.value(&format!(
        "[...document.querySelectorAll('.tray button')].find(button => button.textContent === {button:?}).click()"
    ));
}

fn status(browser: &mut Browser) -> String {
    browser.text("document.querySelector('.status').textContent")
}

#[test]
#[ignore = "needs chromium on PATH; the gate runs it where there is one"]
fn cards_are_ordered_filtered_and_ticked_and_the_list_is_copied_and_saved() {
    let (dir, page) = digits_page();
    let table = dir.path().join("digits/scores.csv");
    let density: Vec<f64> =
        column(&table, "pseudo_density").iter().map(|cell| cell.parse().unwrap()).collect();
    let mut scored: Vec<(f64, String)> = density.iter().copied().zip(column(&table, "path")).collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lowest_first: Vec<String> = scored.iter().map(|(_, path)| path.clone()).collect();
    let highest_first: Vec<String> = lowest_first.iter().rev().cloned().collect();

    let mut browser = opened(&page);
    assert_eq!(names(&mut browser), lowest_first);
    choose(&mut browser, "order", "how typical: highest first");
    assert_eq!(names(&mut browser), highest_first);

    choose(&mut browser, "group", "7");
    let sevens: Vec<&String> = highest_first.iter().filter(|path| path.starts_with("7/")).collect();
    assert_eq!(sevens.len(), 12);
    assert_eq!(names(&mut browser).iter().collect::<Vec<_>>(), sevens);
    enter(&mut browser, "pseudo_density from", "1");
    let typical: Vec<&String> = scored
        .iter()
        .rev()
        .filter(|(density, path)| *density >= 1.0 && path.starts_with("7/"))
        .map(|(_, path)| path)
        .collect();
    assert!((1..12).contains(&typical.len()));
    assert_eq!(names(&mut browser).iter().collect::<Vec<_>>(), typical);
    enter(&mut browser, "pseudo_density from", "");
    enter(&mut browser, "search", sevens[4]);
    assert!(names(&mut browser).contains(sevens[4]) && names(&mut browser).len() < 12);
    enter(&mut browser, "search", "");
    choose(&mut browser, "group", "all");
    assert_eq!(names(&mut browser), highest_first);

    browser
        .value("document.querySelectorAll('.card input').forEach((box, place) => place < 3 && box.click())");
    assert_eq!(status(&mut browser), "120 shown, 3 ticked. ");
    let permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"];
    browser.call("Browser.grantPermissions", json!({"permissions": permissions}));
    push(&mut browser, "Copy names");
    browser.until("document.querySelector('.status').textContent.includes('3 names copied')");
    let expected: String = highest_first.iter().take(3).map(|name| format!("{name}\n")).collect();
    assert_eq!(browser.text("navigator.clipboard.readText()"), expected);
    let down = dir.path().join("down");
    browser.call(
        "Browser.setDownloadBehavior",
        json!({"behavior": "allow", "downloadPath": down, "eventsEnabled": true}),
    );
    push(&mut browser, "Save list");
    let saved = down.join("ticked.csv");
    for _ in 0..500 {
        if saved.is_file() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(column(&saved, "path"), highest_first[..3]);
    let densities: Vec<f64> =
        column(&saved, "pseudo_density").iter().map(|cell| cell.parse().unwrap()).collect();
    assert!(densities.iter().zip(scored.iter().rev()).all(|(found, (density, _))| found == density));

    // Ticks are there again when the page is opened again, and what is ticked can be shown alone.
    browser.open(&page);
    assert_eq!(status(&mut browser), "120 shown, 3 ticked. ");
    browser.value("document.querySelector('input[name=ticked]').click()");
    assert_eq!(names(&mut browser).len(), 3);
    push(&mut browser, "Untick all");
    assert_eq!(status(&mut browser), "0 of 120 shown, 0 ticked. ");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
#[ignore = "needs chromium on PATH; the gate runs it where there is one"]
fn a_page_is_used_by_keys_alone() {
    let (_dir, page) = digits_page();
    let mut browser = opened(&page);
    let order = names(&mut browser);
    let focused = "document.activeElement.closest('.card')?.getAttribute('aria-label') ?? ''";
    browser.value("document.querySelector('input[name=search]').focus()");
    for _ in 0..40 {
        if !browser.text(focused).is_empty() {
            break;
        }
        browser.press("Tab");
    }
    assert_eq!(browser.text(focused), order[0]);
    browser.press("ArrowRight");
    assert_eq!(browser.text(focused), order[1]);
    browser.press(" ");
    browser.press("ArrowDown");
    let below = browser.text(focused);
    let columns = order.iter().position(|name| *name == below).unwrap() - 1;
    assert!((4..=7).contains(&columns), "{columns} cards in a line");
    browser.press("ArrowUp");
    assert_eq!(browser.text(focused), order[1]);
    browser.press("Enter");
    browser.until("document.querySelector('dialog').open");
    let large = "document.querySelector('.large bdi').textContent";
    assert_eq!(browser.text(large), order[1]);
    // The file itself is shown, with what each number means beside it.
    browser.until("document.querySelector('.large img').src.startsWith('file:')");
    assert!(browser.number("document.querySelectorAll('.viewer .about').length") >= 3.0);
    browser.press("ArrowRight");
    assert_eq!(browser.text(large), order[2]);
    browser.press(" ");
    browser.press("Escape");
    browser.until("!document.querySelector('dialog').open");
    assert_eq!(browser.text(focused), order[2]);
    assert_eq!(status(&mut browser), "120 shown, 2 ticked. ");
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

#[test]
#[ignore = "needs chromium on PATH; the gate runs it where there is one"]
fn names_and_groups_of_others_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    fs::create_dir(&photos).unwrap();
    let name = |i: u32| format!("{i}\"'><img src=x onerror=document.title='hit'>&\u{202e}\u{1}gnp.png");
    let group = "</script><script>document.title='hit'</script>";
    let mut groups = String::from("path,group\n");
    for i in 0..20 {
        let noise = |j: u32| ((i * 769 + j).wrapping_mul(2_654_435_761) >> 13) as u8;
        let image = RgbImage { width: 8, height: 8, pixels: (0..192).map(noise).collect() };
        write_png(&photos.join(name(i)), &image).unwrap();
        let group = if i % 2 == 0 { group } else { "=plain" };
        groups += &format!("\"{}\",{group}\n", name(i).replace('"', "\"\""));
    }
    fs::write(dir.path().join("groups.csv"), groups).unwrap();
    run(&dir, "score photos --groups groups.csv --k 3 -o photos/scores.csv").success();
    run(&dir, "report photos/scores.csv").success();
    let mut browser = opened(&photos.join("scores.html"));
    browser.value("document.querySelectorAll('.card input').forEach(box => box.click())");
    browser.value("document.querySelector('.frame').click()");
    browser.until("document.querySelector('.large img').src.startsWith('file:')");
    assert!(browser.text("document.title").starts_with("scores.csv"));
    assert_eq!(browser.number("document.querySelectorAll('img[src=x]').length"), 0.0);
    // Hidden characters are seen, and a list has the names as they are.
    let shown = browser.text("document.querySelector('.large bdi').textContent");
    assert!(shown.contains('\u{fffd}') && !shown.contains(['\u{202e}', '\u{1}']), "{shown:?}");
    let ticked = names(&mut browser).len();
    assert_eq!((ticked, status(&mut browser)), (20, "20 shown, 20 ticked. ".to_owned()));
    choose(&mut browser, "group", group);
    assert_eq!(names(&mut browser).len(), 10);
    assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new());
}

/// The least contrast of a text with what is behind it, with the text.
const CONTRAST: &str = "(() => {
    const parse = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = parse(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
    };
    let least = [99, ''];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const element = walk.currentNode.parentElement;
        const text = walk.currentNode.data.trim();
        if (!text || element.closest('script, noscript, svg, option, :disabled') || !element.checkVisibility()) continue;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < least[0]) least = [ratio, text];
    }
    return least;
})()";

#[test]
#[ignore = "needs chromium on PATH; the gate runs it where there is one"]
fn a_page_is_read_in_the_dark_and_on_paper() {
    let (_dir, page) = digits_page();
    let mut browser = Browser::start();
    browser.resize(1200, 900);
    for scheme in ["light", "dark"] {
        browser.show_on("screen", scheme);
        browser.open(&page);
        browser.until("document.querySelectorAll('.frame img').length > 0");
        let found = browser.value(CONTRAST);
        assert!(found[0].as_f64().unwrap() >= 4.5, "{scheme}: {found}");
        let ground = browser.text("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(255, 255, 255)", scheme == "light", "{ground}");
    }
    // All pictures are printed, those not seen yet too.
    assert!(browser.number("document.querySelectorAll('.own img').length") < 120.0);
    let pdf = browser.call("Page.printToPDF", json!({"printBackground": true}));
    assert!(pdf["data"].as_str().unwrap().starts_with("JVBER"));
    assert_eq!(browser.number("document.querySelectorAll('.own img').length"), 120.0);
    browser.show_on("print", "dark");
    assert_eq!(browser.text("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)");
    let style = |of: &str, what: &str| format!("getComputedStyle(document.querySelector('{of}')).{what}");
    for (of, what, expected) in [
        (".card", "breakInside", "avoid"),
        ("h2", "breakAfter", "avoid"),
        (".controls", "display", "none"),
        (".tray", "display", "none"),
        ("svg .bar", "display", "inline"),
    ] {
        assert_eq!(browser.text(&style(of, what)), expected, "{of} {what}");
    }
}

#[test]
#[ignore = "needs chromium on PATH; the gate runs it where there is one"]
fn no_page_is_wider_than_a_phone_or_a_screen() {
    let dir = stage();
    let quiet = |args: &str| {
        pd(&dir).args(args.split_whitespace()).arg("--quiet").assert().success();
    };
    quiet("sample --generator g --reference ref --bias match -n 20 --pilot 80 -o s");
    quiet("select photos -n 9 --reference ref -o chosen");
    quiet("sweep --generator g --reference ref -n 256 -o sweep");
    quiet("perturb --generator g --reference ref --bias diversity --seeds 0-2 --steps 1 -o p");
    quiet("finetune --init gan.json --data photos --steps 4 --batch 8 --log-every 1 -o run");
    quiet("score photos --reference ref -o scores.csv");
    fs::copy(dir.path().join("photos/seed0001.png"), dir.path().join("photos/again.png")).unwrap();
    quiet("dups photos --level exact -o dups.csv");
    let subjects = [
        "ref --images photos",
        "s --images photos",
        "chosen --images photos",
        "sweep",
        "p",
        "run",
        "scores.csv --images photos",
        "dups.csv --images photos",
    ];
    let mut browser = Browser::start();
    for subject in subjects {
        let file = format!("{}.html", subject.split(['.', ' ']).next().unwrap());
        quiet(&format!("report {subject} -o {file}"));
        for width in [390, 400, 1280] {
            browser.resize(width, 900);
            browser.open(&dir.path().join(&file));
            let wide = browser.number("document.documentElement.scrollWidth");
            assert!(wide <= f64::from(width), "{subject} at {width}: {wide}");
            assert_eq!(browser.complaints(), Vec::<serde_json::Value>::new(), "{subject}");
        }
    }
}

//! The page of a table of copies: the pictures of each group side by side, or each copy beside what it is a copy of.

use super::columns::columns_of;
use super::foot::Foot;
use super::name_of;
use super::page::{Page, Place};
use super::pictures::Pictures;
use super::sheet::{Item, Look, MOST, Sheet, Shown};
use super::text::count;
use crate::error::Result;
use crate::formats::table::Columns;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Columns that a card shows.
const ON_CARDS: [&str; 2] = ["reason", "score"];

/// `images` are those of the table; `against` those they were compared with, where these are others.
pub(super) fn page<'a>(
    path: &Path,
    images: &Pictures,
    against: &Pictures,
    place: Place<'a>,
) -> Result<Page<'a>> {
    let table = Columns::read(path)?;
    let in_groups = table.has("group");
    let mut page = if in_groups { of_groups(path, &table, place)? } else { of_pairs(path, &table, place)? };
    if images.is_empty() {
        page.paragraph(
            "A table holds names, no pictures. Name the pictures that were looked through to see them here: pd report DUPS.csv \
             --images PHOTOS.",
        );
    }
    if table.rows() > MOST {
        page.paragraph(&format!("The first {} are shown; the table has all.", count(MOST)));
    }
    let mut rows: Vec<usize> = (0..table.rows().min(MOST)).collect();
    if in_groups {
        kept_first(&table, &mut rows)?;
    }
    let paths = table.text("path")?;
    let columns = columns_of(&table, &rows, paths, &["other"], &ON_CARDS)?;
    let (look, items) = match in_groups {
        true => {
            let look = Look {
                title: "groups of copies",
                tools: true,
                together: true,
                spare: Some("Tick all copies"),
                ..Look::default()
            };
            (look, grouped(&table, &rows, images)?)
        }
        false => {
            let real = if against.is_empty() { images } else { against };
            let look = Look { title: "copies", tools: true, beside: true, ..Look::default() };
            (look, beside_their_originals(&table, &rows, images, real)?)
        }
    };
    page.sheet(&Sheet { look, columns, items })?;
    page.foot(&Foot::of("dups", path).with("table", name_of(path)).facts());
    Ok(page)
}

fn of_groups<'a>(path: &Path, table: &Columns, place: Place<'a>) -> Result<Page<'a>> {
    let groups = table.text("group")?.iter().collect::<HashSet<_>>().len();
    let copies = table.text("keep")?.iter().filter(|keep| *keep != "true").count();
    let lead = format!(
        "{} pictures are copies of others: recompressed, resized, mirrored, cropped, recoloured or written over. They are in {} groups; the \
         pictures of a group stand side by side, and the marked one would be kept.",
        count(copies),
        count(groups)
    );
    let next = "What to do next: look at each group; a click shows a picture large, beside the one that would be kept. Tick what shall go, and \
                copy or save the list. If all the copies shall go: pd dups PHOTOS --move copies/ moves them away, and pd dups --undo copies/ \
                puts them back.";
    let title = format!("{}: {} copies in {} groups", name_of(path), count(copies), count(groups));
    let mut page = Page::new(&title, &[lead, next.into()], place);
    page.section("Groups of copies", "");
    Ok(page)
}

fn of_pairs<'a>(path: &Path, table: &Columns, place: Place<'a>) -> Result<Page<'a>> {
    let copies = count(table.rows());
    let lead = format!(
        "{copies} pictures are copies of pictures of another collection: recompressed, resized, mirrored, cropped, recoloured or written over. \
         Each stands beside the one it is a copy of."
    );
    let next = "What to do next: look at each pair; a click shows it large. Tick what shall go, and copy or save the list.";
    let mut page = Page::new(&format!("{}: {copies} copies", name_of(path)), &[lead, next.into()], place);
    page.section("Copies, each beside its original", "");
    Ok(page)
}

/// The first copies of a table of `pd dups --against`, each beside what it is a copy of.
pub(super) fn some_pairs(
    page: &mut Page,
    path: &Path,
    images: &Pictures,
    against: &Pictures,
    shown: usize,
) -> Result<()> {
    let table = Columns::read(path)?;
    let rows: Vec<usize> = (0..table.rows().min(shown)).collect();
    let columns = columns_of(&table, &rows, table.text("path")?, &["other"], &ON_CARDS)?;
    let items = beside_their_originals(&table, &rows, images, against)?;
    let look = Look { title: "copies", beside: true, ..Look::default() };
    page.sheet(&Sheet { look, columns, items })
}

fn beside_their_originals<'a>(
    table: &'a Columns,
    rows: &[usize],
    images: &'a Pictures,
    against: &'a Pictures,
) -> Result<Vec<Item<'a>>> {
    let (paths, others) = (table.text("path")?, table.text("other")?);
    let item = |&row: &usize| Item {
        picture: Shown { role: "copy", path: &paths[row], from: images },
        others: vec![Shown { role: "of", path: &others[row], from: against }],
        chosen: false,
    };
    Ok(rows.iter().map(item).collect())
}

/// Puts the kept picture of each group before the others; groups stay in their order.
fn kept_first(table: &Columns, rows: &mut [usize]) -> Result<()> {
    let (groups, keep) = (table.text("group")?, table.text("keep")?);
    for group in rows.chunk_by_mut(|&a, &b| groups[a] == groups[b]) {
        group.sort_by_key(|&row| keep[row] != "true");
    }
    Ok(())
}

/// A card for each picture of a group. Beside it are the one of the group that is kept, and the one it agrees with best.
fn grouped<'a>(table: &'a Columns, rows: &[usize], images: &'a Pictures) -> Result<Vec<Item<'a>>> {
    let (paths, others) = (table.text("path")?, table.text("other")?);
    let (groups, keep) = (table.text("group")?, table.text("keep")?);
    let is_kept = |row: usize| keep[row] == "true";
    let kept: HashMap<&str, &str> = (0..table.rows())
        .filter(|&row| is_kept(row))
        .map(|row| (groups[row].as_str(), paths[row].as_str()))
        .collect();
    let shown = |role, path| Shown { role, path, from: images };
    let item = |&row: &usize| {
        let (path, other) = (paths[row].as_str(), others[row].as_str());
        let of_group = kept.get(groups[row].as_str()).copied().filter(|_| !is_kept(row));
        let closest = Some(other).filter(|other| Some(*other) != of_group && *other != path);
        Item {
            picture: shown(if is_kept(row) { "keep" } else { "copy" }, path),
            others: of_group
                .map(|path| shown("keep", path))
                .into_iter()
                .chain(closest.map(|path| shown("agrees best with", path)))
                .collect(),
            chosen: is_kept(row),
        }
    };
    Ok(rows.iter().map(item).collect())
}

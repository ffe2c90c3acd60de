//! A sheet: cards with their pictures and numbers. It is data in the page, which the page's script draws, orders and filters.

use super::album::Album;
use super::columns::Column;
use super::pictures::Pictures;
use super::text::json_text;
use crate::error::Result;
use crate::progress::Progress;
use serde::Serialize;
use std::path::Path;

/// Cards of a sheet, at most: it bounds a page.
pub(super) const MOST: usize = 4_000;
/// Longer side of a picture in pixels on a sheet of few and of many cards. A card is some 180 pixels wide.
const SIDE_OF_FEW: u32 = 280;
const SIDE_OF_MANY: u32 = 180;
const FEW: usize = 400;

/// A picture of a card.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    /// What it is, in a word or two.
    pub role: &'static str,
    /// Its path among `from`.
    pub path: &'a str,
    /// The images it is one of.
    pub from: &'a Pictures,
}

/// A card: an image, and those it is compared with.
pub(super) struct Item<'a> {
    /// The image.
    pub picture: Shown<'a>,
    /// Others beside it, the most telling first.
    pub others: Vec<Shown<'a>>,
    /// Whether it is marked: the one of a group that is kept.
    pub chosen: bool,
}

/// How a sheet begins, and what it offers.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Look {
    /// Its name, for those who cannot see it.
    pub title: &'static str,
    /// Whether it can be ordered, filtered and ticked.
    pub tools: bool,
    /// Whether the cards of a group stand in a box.
    pub together: bool,
    /// Whether the others are beside from the beginning.
    pub beside: bool,
    /// What the switch says that shows the others; without it there is none.
    pub others: Option<&'static str>,
    /// What the button says that ticks all cards that are not marked; without it there is none.
    pub spare: Option<&'static str>,
    /// The column that orders it in the beginning, and whether its greatest value comes first.
    #[serde(skip)]
    pub order: Option<(&'static str, bool)>,
}

/// Cards with the columns that describe them, one value a card in each.
pub(super) struct Sheet<'a> {
    /// How it begins.
    pub look: Look,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its cards.
    pub items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Order {
    column: usize,
    down: bool,
}

#[derive(Serialize)]
struct ShownData<'a> {
    role: &'static str,
    name: &'a str,
    picture: Option<usize>,
    file: Option<String>,
}

impl<'a> ShownData<'a> {
    fn new(shown: &Shown<'a>, album: &Album, folder: &Path) -> Self {
        let Shown { role, path, from } = *shown;
        Self { role, name: path, picture: album.place(from, path), file: from.link(path, folder) }
    }
}

#[derive(Serialize)]
struct ItemData<'a> {
    picture: ShownData<'a>,
    others: Vec<ShownData<'a>>,
    chosen: bool,
}

#[derive(Serialize)]
struct SheetData<'a> {
    #[serde(flatten)]
    look: Look,
    first: Option<Order>,
    columns: &'a [Column],
    items: Vec<ItemData<'a>>,
}

impl Sheet<'_> {
    /// Its data as JSON that can stand in a page; its pictures are added to `album`. `folder` is that of the page.
    ///
    /// # Errors
    /// [`crate::error::Error::Interrupted`] on request.
    pub(super) fn data(&self, album: &mut Album, folder: &Path, progress: &dyn Progress) -> Result<String> {
        let side = if self.items.len() > FEW { SIDE_OF_MANY } else { SIDE_OF_FEW };
        let all = self.items.iter().flat_map(|item| std::iter::once(&item.picture).chain(&item.others));
        let wanted: Vec<(&Pictures, &str)> = all.map(|shown| (shown.from, shown.path)).collect();
        album.add(&wanted, side, progress)?;
        let items = self.items.iter().map(|item| ItemData {
            picture: ShownData::new(&item.picture, album, folder),
            others: item.others.iter().map(|other| ShownData::new(other, album, folder)).collect(),
            chosen: item.chosen,
        });
        let first = self.look.order.and_then(|(name, down)| {
            let column = self.columns.iter().position(|column| column.name == name)?;
            Some(Order { column, down })
        });
        json_text(&SheetData { look: self.look, first, columns: &self.columns, items: items.collect() })
    }
}

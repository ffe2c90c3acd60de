//! Histograms and curves as SVG, small enough for a phone; the page gives the colours.

use super::text::escaped;
use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 40.0;
const FONT: f64 = 12.0;
/// Bins of a histogram: more for more values.
const FEWEST_BINS: usize = 8;
const BINS: usize = 40;
/// Share of the values beyond each end of a histogram; they are counted in its last bins.
const TAIL: f64 = 0.002;
/// Points of a curve, at most.
const POINTS: usize = 400;
/// Colours of the page.
const COLORS: usize = 4;

/// Values with a name.
pub(super) struct Series<'a, T> {
    /// Its entry in the legend.
    pub name: &'a str,
    /// Its values.
    pub values: &'a [T],
}

/// A vertical line.
pub(super) struct Mark {
    /// Its position on the axis.
    pub at: f64,
    /// Its label.
    pub label: String,
}

struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// The lines behind, with their numbers.
    fn open(&self, title: &str, across: &str) -> String {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"{FONT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(title)
        );
        let bottom = HEIGHT - BOTTOM;
        for tick in ticks(self.y) {
            let at = self.y(tick);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        for tick in ticks(self.x) {
            let _ = writeln!(
                out,
                "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                self.x(tick),
                bottom + 16.0,
                short(tick)
            );
        }
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{LEFT} {bottom:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            WIDTH - RIGHT,
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 6.0,
            escaped(across)
        );
        out
    }
}

/// A number of an axis: as many digits as it needs.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// A few round numbers within a range.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    const WANTED: f64 = 5.0;
    let rough = (high - low) / WANTED;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough);
    let Some(step) = step.filter(|step| step.is_finite() && *step > 0.0) else { return Vec::new() };
    let first = (low / step).ceil();
    (0..=2 * WANTED as u32)
        .map(|i| (first + f64::from(i)) * step)
        .take_while(|tick| *tick <= high + step * 1e-9)
        .collect()
}

/// A range that is not empty.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    match high - low {
        spread if !spread.is_finite() => (0.0, 1.0),
        spread if spread <= f64::EPSILON * low.abs().max(1.0) => {
            let margin = (low.abs() * 1e-6).max(0.5);
            (low - margin, high + margin)
        }
        _ => (low, high),
    }
}

fn key(out: &mut String, names: &[&str]) {
    let mut x = LEFT;
    for (i, name) in names.iter().enumerate() {
        let _ = writeln!(
            out,
            "<g class=\"s{}\"><rect class=\"key\" x=\"{x:.1}\" y=\"5\" width=\"11\" height=\"11\"/></g><text x=\"{:.1}\" y=\"15\">{}</text>",
            i % COLORS,
            x + 16.0,
            escaped(name)
        );
        x += 30.0 + name.chars().count() as f64 * FONT * 0.6;
    }
}

/// A histogram of each series, in shares of its values; values that are not finite are left out.
pub(super) fn histogram(title: &str, across: &str, series: &[Series<f64>], marks: &[Mark]) -> String {
    let sorted: Vec<Vec<f64>> = series
        .iter()
        .map(|s| {
            let mut values: Vec<f64> = s.values.iter().copied().filter(|v| v.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            values
        })
        .collect();
    let end = |of: &dyn Fn(&Vec<f64>) -> usize, pick: fn(f64, f64) -> f64| {
        let ends = sorted.iter().filter_map(|values| values.get(of(values)).copied());
        ends.reduce(pick).unwrap_or(f64::NAN)
    };
    // As many values beyond each end, rounded down: of few values none is.
    let beyond = |values: &Vec<f64>| (TAIL * values.len() as f64) as usize;
    let x = widened((
        end(&beyond, f64::min),
        end(&|values| values.len().saturating_sub(1 + beyond(values)), f64::max),
    ));
    let fewest = sorted.iter().map(Vec::len).min().unwrap_or(0);
    let bins = (2 * fewest.isqrt()).clamp(FEWEST_BINS, BINS);
    let shares: Vec<Vec<f64>> = sorted
        .iter()
        .map(|values| {
            let mut counts = vec![0.0; bins];
            for value in values {
                let bin = (value - x.0) / (x.1 - x.0) * bins as f64;
                counts[(bin.max(0.0) as usize).min(bins - 1)] += 100.0 / values.len() as f64;
            }
            counts
        })
        .collect();
    let most = shares.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let frame = Frame { x, y: (0.0, most * 1.05) };
    let mut out = frame.open(title, across);
    for (i, counts) in shares.iter().enumerate() {
        let mut path = format!("M{:.1} {:.1}", frame.x(x.0), frame.y(0.0));
        for (bin, share) in counts.iter().enumerate() {
            let right = x.0 + (x.1 - x.0) * (bin + 1) as f64 / bins as f64;
            let _ = write!(path, "V{:.1}H{:.1}", frame.y(*share), frame.x(right));
        }
        let _ = writeln!(
            out,
            "<g class=\"s{}\"><path class=\"bar\" d=\"{path}V{:.1}Z\"/></g>",
            i % COLORS,
            frame.y(0.0)
        );
    }
    let inside = marks.iter().filter(|mark| mark.at >= x.0 && mark.at <= x.1);
    let mut names = String::new();
    for (i, mark) in inside.enumerate() {
        let (at, height) = (frame.x(mark.at), TOP - 4.0 - 12.0 * (i % 2) as f64);
        let _ = writeln!(out, "<path class=\"mark\" d=\"M{at:.1} {height:.1}V{:.1}\"/>", frame.y(0.0));
        let (x, name) = (at + 2.0, escaped(&mark.label));
        let _ = writeln!(names, "<text class=\"name\" x=\"{x:.1}\" y=\"{height:.1}\">{name}</text>");
    }
    // Above all lines, so that none crosses a name.
    out.push_str(&names);
    let names: Vec<&str> = series.iter().map(|s| s.name).collect();
    key(&mut out, &names);
    let _ = writeln!(
        out,
        "<text class=\"soft\" x=\"{:.1}\" y=\"15\" text-anchor=\"end\">% of images</text></svg>",
        WIDTH - RIGHT
    );
    out
}

/// Curves over one axis; points that are no numbers are left out.
pub(super) fn line_chart(title: &str, across: &str, series: &[Series<(f64, f64)>]) -> String {
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let values = series.iter().flat_map(|s| s.values).map(pick).filter(|v| v.is_finite());
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        widened(values.fold(start, |(low, high), v| (low.min(v), high.max(v))))
    };
    let y = range(|p| p.1);
    let margin = (y.1 - y.0) * 0.05;
    let frame = Frame { x: range(|p| p.0), y: (y.0 - margin, y.1 + margin) };
    let mut out = frame.open(title, across);
    for (i, s) in series.iter().enumerate() {
        let step = s.values.len().div_ceil(POINTS).max(1);
        let last = s.values.len().saturating_sub(1);
        let kept = s.values.iter().enumerate().filter(|(at, _)| at % step == 0 || *at == last);
        let points: Vec<String> = kept
            .filter(|(_, (x, y))| x.is_finite() && y.is_finite())
            .map(|(_, (x, y))| format!("{:.1},{:.1}", frame.x(*x), frame.y(*y)))
            .collect();
        let _ = writeln!(
            out,
            "<g class=\"l{}\"><polyline class=\"curve\" points=\"{}\"/></g>",
            i % COLORS,
            points.join(" ")
        );
    }
    let names: Vec<&str> = series.iter().map(|s| s.name).collect();
    key(&mut out, &names);
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heights of a histogram's first series, as shares of the tallest.
    fn heights(svg: &str) -> Vec<f64> {
        let path = svg.split("class=\"bar\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        let tops = path.split('V').skip(1).filter_map(|part| part.split('H').next()?.parse::<f64>().ok());
        let heights: Vec<f64> = tops.take(BINS).map(|top| HEIGHT - BOTTOM - top).collect();
        let most = heights.iter().copied().fold(0.0, f64::max);
        heights.into_iter().map(|h| h / most).collect()
    }

    #[test]
    fn bars_are_as_tall_as_the_shares_of_their_values() {
        let values = [vec![0.0; 100], vec![1.0; 300], vec![0.5; 200]].concat();
        let found = heights(&histogram("", "", &[Series { name: "a", values: &values }], &[]));
        assert_eq!(found.len(), BINS);
        for (bin, height) in found.iter().enumerate() {
            let share = match bin {
                0 => 1.0 / 3.0,
                20 => 2.0 / 3.0,
                39 => 1.0,
                _ => 0.0,
            };
            assert!((height - share).abs() < 0.01, "{bin}: {height}");
        }
    }

    #[test]
    fn what_is_no_number_breaks_no_chart() {
        for values in [&[][..], &[f64::NAN], &[1.0], &[1.0, 1.0, f64::INFINITY], &[-1e300, 1e300]] {
            let points: Vec<(f64, f64)> = values.iter().map(|v| (*v, *v)).collect();
            let mark = Mark { at: f64::NAN, label: "m".into() };
            let bars = histogram("<t>", "x", &[Series { name: "a<", values }], &[mark]);
            let lines = line_chart("<t>", "x", &[Series { name: "a<", values: &points }]);
            for svg in [bars, lines] {
                assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("a<<"), "{svg}");
            }
        }
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_end() {
        let values: Vec<(f64, f64)> = (0..100_001).map(|i| (f64::from(i), 1.0 + f64::from(i % 7))).collect();
        let svg = line_chart("", "", &[Series { name: "a", values: &values }]);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert!(points.split(' ').count() <= POINTS + 2);
        assert!(points.ends_with(|_: char| true) && points.rsplit(' ').next().unwrap().starts_with("468.0,"));
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(short(0.6000000000000001), "0.6");
        assert!(ticks((f64::NAN, 1.0)).is_empty());
    }
}

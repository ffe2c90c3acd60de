//! Precision against recall of many settings, with the frontier, like the figures of the paper.

use super::text::escaped;
use std::fmt::Write;

/// A setting in the plot.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    /// Its family, which decides on the colour.
    pub family: String,
    /// The text shown while the pointer is on it.
    pub label: String,
    /// Horizontal, 0 to 1.
    pub precision: f64,
    /// Vertical, 0 to 1.
    pub recall: f64,
    /// Draws for each kept image: the size of the dot.
    pub cost: f64,
    /// Whether the frontier goes through it.
    pub on_frontier: bool,
}

const SIZE: (f64, f64) = (760.0, 560.0);
const LEFT: f64 = 70.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 60.0;
/// Margin around the points, as a share of their spread.
const MARGIN: f64 = 0.06;
/// Distance between two ticks.
const TICKS: [f64; 5] = [0.01, 0.02, 0.05, 0.1, 0.2];
const LARGEST_TICKS: usize = 8;
/// Colours that differ for the colour-blind too (Okabe and Ito), by order of appearance.
const COLORS: [&str; 6] = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone) -> Self {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if !low.is_finite() || !high.is_finite() {
            return Self { from: 0.0, to: 1.0 };
        }
        let margin = ((high - low) * MARGIN).max(0.005);
        Self { from: low - margin, to: high + margin }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let spread = self.to - self.from;
        let step = TICKS.into_iter().find(|step| spread / step <= LARGEST_TICKS as f64).unwrap_or(0.25);
        let first = (self.from / step).ceil() as i64;
        (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= self.to).collect()
    }
}

/// An SVG of the points; those without a precision or recall are left out.
pub(crate) fn frontier_plot(title: &str, points: &[Point]) -> String {
    let points: Vec<&Point> =
        points.iter().filter(|p| p.precision.is_finite() && p.recall.is_finite()).collect();
    let (across, up) =
        (Axis::new(points.iter().map(|p| p.precision)), Axis::new(points.iter().map(|p| p.recall)));
    let x = |value: f64| LEFT + across.share(value) * (SIZE.0 - LEFT - RIGHT);
    let y = |value: f64| SIZE.1 - BOTTOM - up.share(value) * (SIZE.1 - TOP - BOTTOM);
    let mut families: Vec<&str> = Vec::new();
    for point in &points {
        if !families.contains(&point.family.as_str()) {
            families.push(&point.family);
        }
    }
    let color = |family: &str| {
        let at = families.iter().position(|f| *f == family).unwrap_or_default();
        COLORS[at % COLORS.len()]
    };
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"19\" font-size=\"15\">{}</text>\n",
        SIZE.0,
        SIZE.1,
        escaped(title),
        escaped(title)
    );
    let (right, bottom) = (SIZE.0 - RIGHT, SIZE.1 - BOTTOM);
    for tick in across.ticks() {
        let at = x(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#dddddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.2}</text>",
            bottom + 18.0
        );
    }
    for tick in up.ticks() {
        let at = y(tick);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.2}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">precision (fidelity)</text>\n\
         <text transform=\"translate(18 {:.1}) rotate(-90)\" text-anchor=\"middle\">recall (diversity)</text>",
        (LEFT + right) / 2.0,
        SIZE.1 - 16.0,
        (TOP + bottom) / 2.0
    );
    let mut frontier: Vec<&&Point> = points.iter().filter(|p| p.on_frontier).collect();
    frontier.sort_by(|a, b| a.precision.total_cmp(&b.precision));
    let line: Vec<String> =
        frontier.iter().map(|p| format!("{:.1},{:.1}", x(p.precision), y(p.recall))).collect();
    let _ = writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#888888\" stroke-width=\"2\"/>",
        line.join(" ")
    );
    for point in &points {
        let radius = 3.0 + point.cost.max(1.0).log2().min(5.0);
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"{}\" stroke=\"{}\"><title>{}</title></circle>",
            x(point.precision),
            y(point.recall),
            color(&point.family),
            if point.on_frontier { 0.9 } else { 0.3 },
            color(&point.family),
            escaped(&point.label)
        );
    }
    for (i, family) in families.iter().enumerate() {
        let at = TOP + 14.0 + 22.0 * i as f64;
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            right + 20.0,
            at,
            color(family),
            right + 34.0,
            at + 4.0,
            escaped(family)
        );
    }
    let notes = ["dot size: draws", "per kept image;", "full: on the frontier"];
    for (i, note) in notes.iter().enumerate() {
        let at = TOP + 30.0 + 22.0 * families.len() as f64 + 18.0 * i as f64;
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{at:.1}\" fill=\"#666666\">{note}</text>", right + 14.0);
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_inside_and_text_is_escaped() {
        let point = |precision: f64, recall: f64| Point {
            family: "a<b".into(),
            label: "\"x\" & y".into(),
            precision,
            recall,
            cost: 4.0,
            on_frontier: true,
        };
        let plot = frontier_plot("P & R", &[point(0.1, 0.9), point(0.5, 0.4), point(f64::NAN, 0.4)]);
        assert_eq!(plot.matches("fill-opacity").count(), 2);
        assert!(plot.contains("P &amp; R") && plot.contains("a&lt;b") && !plot.contains("a<b"));
        for part in plot.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=SIZE.0).contains(&x));
        }
        assert!(frontier_plot("", &[]).ends_with("</svg>\n"));
    }
}

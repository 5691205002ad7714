//! Plots, as SVG for pages and files, and as PNG.

mod axis;

use anyhow::{Context, anyhow};
use axis::Axis;
use plotters::backend::DrawingBackend;
use plotters::prelude::{
    BitMapBackend, ChartBuilder, DashedLineSeries, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBAColor,
    RGBColor, SVGBackend, SeriesLabelPosition, ShapeStyle,
};
use plotters::style::{Color, FontStyle, TRANSPARENT, register_font};
use std::path::Path;
use std::sync::OnceLock;

/// Pixels of a plot.
const SIZE: (u32, u32) = (880, 340);
/// Colours that the page replaces with those of its theme.
pub(super) const INK: &str = "#222426";
pub(super) const GRID: &str = "#D5D8DC";
const INK_RGB: RGBColor = RGBColor(0x22, 0x24, 0x26);
const GRID_RGB: RGBColor = RGBColor(0xD5, 0xD8, 0xDC);
/// Colours of series, to be told apart on light and dark ground.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x2F, 0x7E, 0xC7),
    RGBColor(0xDB, 0x7A, 0x1F),
    RGBColor(0x2E, 0x9B, 0x5F),
    RGBColor(0xC8, 0x4B, 0x55),
    RGBColor(0x8B, 0x67, 0xD1),
    RGBColor(0x8A, 0x8F, 0x98),
];

/// How an axis maps values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// Evenly, from 0.
    Linear,
    /// By powers of ten; values above 0.
    Log,
    /// Quantiles from 0 to below 1: each further nine takes the same room.
    Quantile,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
    /// Drawn dashed, as for something that was asked rather than measured.
    pub dashed: bool,
}

impl Series {
    /// A measured line.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        Series { name: name.into(), points: points.into_iter().collect(), dashed: false }
    }

    /// The same, dashed.
    #[must_use]
    pub fn dashed(self) -> Series {
        Series { dashed: true, ..self }
    }
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Of its files, without ending.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What runs to the right, with its unit.
    pub x: (String, Scale),
    /// What runs upwards, with its unit.
    pub y: (String, Scale),
    /// The lines.
    pub series: Vec<Series>,
}

impl Plot {
    /// A plot without lines.
    pub fn new(name: &str, title: &str, x: (&str, Scale), y: (&str, Scale)) -> Plot {
        let owned = |(label, scale): (&str, Scale)| (label.to_owned(), scale);
        Plot { name: name.to_owned(), title: title.to_owned(), x: owned(x), y: owned(y), series: Vec::new() }
    }

    /// The same with these lines.
    #[must_use]
    pub fn with(self, series: impl IntoIterator<Item = Series>) -> Plot {
        Plot { series: series.into_iter().collect(), ..self }
    }

    /// For a page: no title, no ground.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn svg(&self) -> anyhow::Result<String> {
        self.draw_svg(None)
    }

    /// For a file: with title, on white.
    ///
    /// # Errors
    /// It cannot be drawn.
    pub fn svg_file(&self) -> anyhow::Result<String> {
        self.draw_svg(Some(RGBColor(0xFF, 0xFF, 0xFF)))
    }

    /// Writes it as PNG.
    ///
    /// # Errors
    /// It cannot be drawn, or the file cannot be written.
    pub fn png(&self, path: &Path) -> anyhow::Result<()> {
        self.draw(BitMapBackend::new(path, SIZE), Some(RGBColor(0xFF, 0xFF, 0xFF)))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The place for the legend that hides least of the lines.
    fn legend(&self, x: &Axis, y: &Axis) -> SeriesLabelPosition {
        use SeriesLabelPosition::{LowerLeft, LowerRight, MiddleLeft, MiddleRight, UpperLeft, UpperRight};
        let (wide, high) = (0.3, 0.1 + 0.09 * self.series.len() as f64);
        let middle = (0.5 - high / 2.0, 0.5 + high / 2.0);
        let (top, bottom, left, right) = ((1.0 - high, 1.0), (0.0, high), (0.0, wide), (1.0 - wide, 1.0));
        // The first of equally good ones is taken.
        let places = [
            (UpperLeft, left, top),
            (UpperRight, right, top),
            (LowerRight, right, bottom),
            (LowerLeft, left, bottom),
            (MiddleRight, right, middle),
            (MiddleLeft, left, middle),
        ];
        let lines: Vec<Vec<(f64, f64)>> = self
            .series
            .iter()
            .map(|series| {
                let places = series.points.iter().map(|(at, value)| (x.share(*at), y.share(*value)));
                places.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
            })
            .collect();
        let hidden = |across: (f64, f64), along: (f64, f64)| {
            let inside = |from: (f64, f64), to: (f64, f64)| {
                const STEPS: u32 = 24;
                let way = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS));
                let at = way.map(|share| (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share));
                let within = |value: f64, (low, high): (f64, f64)| (low..=high).contains(&value);
                // By length, so that many points close together count no more than few.
                let share = at.filter(|(x, y)| within(*x, across) && within(*y, along)).count() as f64;
                share * (to.0 - from.0).hypot(to.1 - from.1).max(1e-3)
            };
            lines.iter().flat_map(|line| line.windows(2)).map(|pair| inside(pair[0], pair[1])).sum::<f64>()
        };
        let best = places
            .into_iter()
            .min_by(|(_, x, y), (_, other_x, other_y)| hidden(*x, *y).total_cmp(&hidden(*other_x, *other_y)));
        best.map_or(UpperLeft, |(position, ..)| position)
    }

    fn draw_svg(&self, ground: Option<RGBColor>) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, SIZE), ground)?;
        Ok(svg)
    }

    fn draw<B: DrawingBackend>(&self, backend: B, ground: Option<RGBColor>) -> anyhow::Result<()> {
        load_font()?;
        let wrong = |error: &dyn std::fmt::Display| anyhow!("the plot {:?} cannot be drawn: {error}", self.title);
        let area = backend.into_drawing_area();
        if let Some(ground) = ground {
            area.fill(&ground).map_err(|error| wrong(&error))?;
        }
        let label = ("sans-serif", 14).into_font().color(&INK_RGB);
        let mut builder = ChartBuilder::on(&area);
        builder.margin(10).margin_right(24).x_label_area_size(44).y_label_area_size(76);
        if ground.is_some() {
            builder.caption(&self.title, ("sans-serif", 18).into_font().color(&INK_RGB));
        }
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Axis::covering(self.x.1, points().map(|point| point.0));
        let y = Axis::covering(self.y.1, points().map(|point| point.1));
        let legend = self.legend(&x, &y);
        let mut chart = builder.build_cartesian_2d(x, y).map_err(|error| wrong(&error))?;
        chart
            .configure_mesh()
            .x_desc(&self.x.0)
            .y_desc(&self.y.0)
            .label_style(label.clone())
            .axis_desc_style(label.clone())
            .axis_style(INK_RGB)
            .bold_line_style(GRID_RGB)
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(|error| wrong(&error))?;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let style = ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: 2 };
            let points = series.points.iter().copied();
            let drawn = if series.dashed {
                chart.draw_series(DashedLineSeries::new(points, 6, 4, style))
            } else {
                chart.draw_series(LineSeries::new(points, style).point_size(if series.points.len() < 40 {
                    3
                } else {
                    0
                }))
            };
            drawn
                .map_err(|error| wrong(&error))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
        }
        if self.series.len() > 1 {
            let veil: RGBAColor = ground.map_or(TRANSPARENT, |ground| ground.mix(0.8));
            chart
                .configure_series_labels()
                .position(legend)
                .label_font(label)
                .background_style(veil)
                .border_style(TRANSPARENT)
                .draw()
                .map_err(|error| wrong(&error))?;
        }
        area.present().map_err(|error| wrong(&error))
    }
}

/// Labels are measured and drawn with a font that the program carries, whatever the machine has.
fn load_font() -> anyhow::Result<()> {
    static LOADED: OnceLock<bool> = OnceLock::new();
    let load = || register_font("sans-serif", FontStyle::Normal, notosans::REGULAR_TTF).is_ok();
    anyhow::ensure!(*LOADED.get_or_init(load), "the font for plots cannot be read");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plot() -> Plot {
        let series = [
            Series::new("one", [(0.0, 1.0), (0.5, 20.0), (0.99, 300.0), (1.0, 400.0)]),
            Series::new("two", [(0.0, 0.0), (0.9, f64::NAN)]).dashed(),
        ];
        Plot::new("p", "title", ("share", Scale::Quantile), ("latency, ms", Scale::Log)).with(series)
    }

    #[test]
    fn plots_are_drawn_with_labels_and_need_nothing_from_elsewhere() {
        let svg = plot().svg().unwrap();
        for part in ["latency, ms", "99 %", "one", "two", INK, GRID] {
            assert!(svg.contains(part), "no {part}");
        }
        assert!(!svg.contains("href") && !svg.contains("title"));
        assert!(plot().svg_file().unwrap().contains("title"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        plot().png(&path).unwrap();
        assert!(std::fs::read(path).unwrap().starts_with(b"\x89PNG"));
        assert!(plot().png(&folder.path().join("nowhere/p.png")).is_err());
    }

    #[test]
    fn a_legend_goes_where_no_line_is() {
        let of = |points: &[(f64, f64)]| {
            let all = [Series::new("one", points.to_vec()), Series::new("two", points.to_vec())];
            let plot = Plot::new("p", "t", ("x", Scale::Linear), ("y", Scale::Linear)).with(all);
            let axis = |of: fn(&(f64, f64)) -> f64| Axis::covering(Scale::Linear, points.iter().map(of));
            plot.legend(&axis(|point| point.0), &axis(|point| point.1))
        };
        assert!(matches!(of(&[(0.0, 0.0), (1.0, 1.0)]), SeriesLabelPosition::UpperLeft));
        assert!(matches!(of(&[(0.0, 1.0), (1.0, 0.0)]), SeriesLabelPosition::UpperRight));
        assert!(matches!(of(&[(0.0, 1.0), (1.0, 1.0)]), SeriesLabelPosition::LowerRight));
        assert!(matches!(of(&[]), SeriesLabelPosition::UpperLeft));
    }

    #[test]
    fn plots_of_nothing_are_drawn_too() {
        for scale in [Scale::Linear, Scale::Log, Scale::Quantile] {
            assert!(Plot::new("p", "t", ("x", scale), ("y", scale)).svg().is_ok());
        }
    }
}

//! Figures as SVG files over the number of contenders.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::RGBColor;

use crate::Point;
use crate::kind::LockKind;

/// What is drawn upwards.
pub struct Axis {
    pub label: &'static str,
    /// Smaller values are drawn as this much: a logarithm has no zero.
    pub floor: f64,
}

/// Both axes are logarithmic: the contenders double, and the kinds differ by orders of magnitude.
pub struct Figure<'a> {
    title: &'a str,
    axis: Axis,
    curves: Vec<Curve>,
}

struct Curve {
    kind: LockKind,
    points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 420);
const NAMES_WIDTH: u32 = 130;

fn colour(kind: LockKind) -> RGBColor {
    match kind {
        LockKind::Rvlf => RGBColor(0xc2, 0x41, 0x0c),
        LockKind::RvlfSynced => RGBColor(0xe3, 0x9a, 0x6f),
        LockKind::Bare => RGBColor(0x7c, 0x85, 0x91),
        LockKind::Flock => RGBColor(0x1d, 0x6f, 0xd1),
        LockKind::Filelock => RGBColor(0x3f, 0x8f, 0x3a),
        LockKind::ProperLockfile => RGBColor(0x82, 0x50, 0xc4),
    }
}

impl<'a> Figure<'a> {
    pub fn new<T>(
        title: &'a str,
        axis: Axis,
        points: &[Point<T>],
        value: fn(&T) -> f64,
    ) -> Figure<'a> {
        let curve = |kind: LockKind| {
            let points = points.iter().filter(|point| point.kind == kind);
            let at = |point: &Point<T>| (point.n as f64, value(&point.value).max(axis.floor));
            Curve {
                kind,
                points: points.map(at).collect(),
            }
        };
        let curves = LockKind::ALL.map(curve).into_iter();
        Figure {
            title,
            curves: curves.filter(|curve| !curve.points.is_empty()).collect(),
            axis,
        }
    }

    /// Draws NAME.svg in the directory that `RVLF_BENCH_FIGURES` names; nothing if it names none.
    pub fn draw(&self, name: &str) {
        let Some(directory) = std::env::var_os("RVLF_BENCH_FIGURES") else {
            return;
        };
        let path = Path::new(&directory).join(format!("{name}.svg"));
        self.draw_to(&path)
            .expect("the directory of the figures is writable");
    }

    fn draw_to(&self, path: &Path) -> Result<(), Box<dyn Error + '_>> {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (plot, names) = root.split_horizontally(SIZE.0 - NAMES_WIDTH);
        self.draw_names(&names)?;
        let (contenders, values) = self.ranges();
        let mut chart = ChartBuilder::on(&plot)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(contenders.log_scale().base(2.0), values.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("contenders")
            .y_desc(self.axis.label)
            .x_label_formatter(&|n| format!("{n:.0}"))
            .y_label_formatter(&|value| value.to_string())
            .light_line_style(TRANSPARENT)
            .draw()?;
        for Curve { kind, points } in &self.curves {
            let style = colour(*kind).stroke_width(2);
            chart.draw_series(LineSeries::new(points.clone(), style).point_size(3))?;
        }
        Ok(root.present()?)
    }

    fn draw_names(&self, area: &DrawingArea<SVGBackend, Shift>) -> Result<(), Box<dyn Error + '_>> {
        for (y, Curve { kind, .. }) in (64..).step_by(22).zip(&self.curves) {
            let line = vec![(0, y), (16, y)];
            area.draw(&PathElement::new(line, colour(*kind).stroke_width(2)))?;
            area.draw(&Text::new(kind.name(), (22, y - 6), ("sans-serif", 13)))?;
        }
        Ok(())
    }

    /// Of both axes, with some room above and below.
    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let range = |values: &mut dyn Iterator<Item = f64>, room: f64| {
            let none = f64::INFINITY..0.0;
            let both = values.fold(none, |range, value| {
                range.start.min(value)..range.end.max(value)
            });
            both.start / room..both.end * room
        };
        let contenders = range(&mut points().map(|(n, _)| *n), 1.05);
        let values = range(&mut points().map(|(_, value)| *value), 1.3);
        (contenders, values)
    }
}

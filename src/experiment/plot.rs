//! The plots, as SVG: a line for each client and direction over the size of the files, with error bars of one
//! standard deviation. The chart gets logarithms, so that the axes show whole powers of ten. Pure.

use super::statistics::Spread;
use super::summary::{Direction, Line, Summary};
use super::{Failure, SIZES, Size};
use crate::torrent::units::thousands;
use plotters::prelude::*;
use std::ops::Range;

const PIXELS: (u32, u32) = (860, 520);
/// Colours that colour-blind people can tell apart as well (Okabe and Ito 2008): two for each client.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(86, 180, 233), RGBColor(213, 94, 0), RGBColor(230, 159, 0)];

/// One line of a plot.
struct Series {
    name: String,
    colour: RGBColor,
    points: Vec<Point>,
}

/// The value for one size and its error bar, as powers of ten.
#[derive(Copy, Clone)]
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
}

/// Title, axis and legend of a plot. Both scales are logarithmic.
struct Frame {
    title: &'static str,
    unit: &'static str,
    show: fn(f64) -> String,
    legend: SeriesLabelPosition,
}

/// Throughput by size.
pub fn throughput(summaries: &[Summary]) -> Result<String, Failure> {
    let show = |kbps: f64| thousands(kbps.round() as u64);
    let legend = SeriesLabelPosition::LowerRight;
    let frame = Frame { title: "Throughput by file size", unit: "kbps", show, legend };
    draw(&frame, summaries, |direction| direction.kbps)
}

/// By how much a ratio exceeds 1, in %.
fn beyond(ratio: Spread) -> Spread {
    Spread { mean: (ratio.mean - 1.0) * 100.0, deviation: ratio.deviation * 100.0, ..ratio }
}

/// Overhead by size: bytes on the sockets in excess of the file, which is the same for all clients.
pub fn overhead(summaries: &[Summary]) -> Result<String, Failure> {
    let show = |percent: f64| format!("{} %", (percent * 1000.0).round() / 1000.0);
    let legend = SeriesLabelPosition::UpperRight;
    let unit = "bytes on the sockets beyond the file, in % of it";
    let frame = Frame { title: "Overhead by file size", unit, show, legend };
    draw(&frame, summaries, |direction| beyond(direction.overhead))
}

fn draw(frame: &Frame, summaries: &[Summary], value: fn(Direction) -> Spread) -> Result<String, Failure> {
    let mut series = series(summaries, value);
    let y = decades(&series);
    for point in series.iter_mut().flat_map(|series| &mut series.points) {
        point.low = point.low.max(y.start);
    }
    let mut svg = String::new();
    let drawn = draw_into(&mut svg, frame, y, &series);
    drawn.map_err(|why| Failure::Broken(format!("cannot draw `{}`: {why}", frame.title)))?;
    Ok(svg)
}

fn series(summaries: &[Summary], value: fn(Direction) -> Spread) -> Vec<Series> {
    let mut all = Vec::new();
    for summary in summaries {
        let colours = &COLOURS[summary.kind as usize * 2..];
        let points = |direction: fn(&Line) -> Option<Direction>| {
            let lines = summary.lines.iter();
            lines.filter_map(|line| Point::new(line.size, value(direction(line)?))).collect::<Vec<_>>()
        };
        let download = ("download", colours[0], points(|line| line.download));
        let upload = ("upload", colours[1], points(|line| line.upload));
        for (what, colour, points) in [download, upload] {
            if !points.is_empty() {
                all.push(Series { name: format!("{}, {what}", summary.kind), colour, points });
            }
        }
    }
    all
}

impl Point {
    /// `None` for a value that a logarithmic scale cannot show.
    fn new(size: Size, Spread { mean, deviation, .. }: Spread) -> Option<Point> {
        // An error bar that goes below zero ends at the axis.
        let low = if mean > deviation { (mean - deviation).log10() } else { f64::NEG_INFINITY };
        let point = Point { x: position(size), y: mean.log10(), low, high: (mean + deviation).log10() };
        (mean > 0.0).then_some(point)
    }
}

/// The range from the power of ten below all points to the one above them.
fn decades(series: &[Series]) -> Range<f64> {
    let points = || series.iter().flat_map(|series| &series.points);
    let low = points().map(|point| point.y).fold(f64::INFINITY, f64::min).floor();
    let high = points().map(|point| point.high).fold(f64::NEG_INFINITY, f64::max).ceil();
    if low.is_finite() { low..high.max(low + 1.0) } else { 0.0..1.0 }
}

fn position(size: Size) -> f64 {
    (size.bytes as f64).log10()
}

/// The label of the size at `x`, if there is one.
fn label(x: f64) -> String {
    let here = SIZES.iter().find(|size| (position(**size) - x).abs() < 1e-6);
    here.map(|size| size.label.to_owned()).unwrap_or_default()
}

fn draw_into(
    svg: &mut String,
    frame: &Frame,
    y: Range<f64>,
    series: &[Series],
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, PIXELS).into_drawing_area();
    root.fill(&WHITE)?;
    let x = position(SIZES[0]) - 0.3..position(SIZES[SIZES.len() - 1]) + 0.3;
    let mut chart = ChartBuilder::on(&root)
        .caption(frame.title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(96)
        .build_cartesian_2d(x, y.clone())?;
    chart
        .configure_mesh()
        .x_labels(SIZES.len())
        .x_label_formatter(&|x| label(*x))
        .y_labels((y.end - y.start) as usize + 1)
        .y_label_formatter(&|y| (frame.show)(10_f64.powf(*y)))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .x_desc("file size")
        .y_desc(frame.unit)
        .label_style(("sans-serif", 14))
        .draw()?;
    for Series { name, colour, points } in series {
        let line = points.iter().map(|point| (point.x, point.y));
        let legend = |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3));
        chart.draw_series(LineSeries::new(line, colour.stroke_width(2)))?.label(name).legend(legend);
        let bars = points
            .iter()
            .map(|point| ErrorBar::new_vertical(point.x, point.low, point.y, point.high, colour.filled(), 8));
        chart.draw_series(bars)?;
    }
    chart
        .configure_series_labels()
        .position(frame.legend.clone())
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    root.present()?;
    Ok(())
}

//! The chart: flows a second by format and subject, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::Report;
use crate::results::grouped;
use crate::rounds::FORMATS;
use crate::subject::Subject;

const SIZE: (u32, u32) = (900, 460);
const FONT: &str = "sans-serif";

/// The area of the bars: left, right, top and bottom.
const PLOT: (i32, i32, i32, i32) = (70, 880, 110, 410);

/// Share of a format's width that its bars fill.
const FILLED: f64 = 0.8;

const INK: RGBColor = RGBColor(31, 41, 55);
const GRID: RGBColor = RGBColor(222, 226, 232);

/// Subjects with bars, and their colours, which also differ in lightness. The scan is a line.
const BARS: [(Subject, RGBColor); 3] = [
    (Subject::Component, RGBColor(29, 78, 137)),
    (Subject::Baseline, RGBColor(242, 142, 43)),
    (Subject::Shell, RGBColor(140, 150, 160)),
];
const SCAN_COLOUR: RGBColor = RGBColor(178, 34, 34);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws the chart of `report` to `path`.
pub(super) fn draw(report: &Report, path: &Path) -> Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    draw_on(&area, report).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn draw_on(area: &Area<'_>, report: &Report) -> Drawn {
    // An opaque background, to be readable on a dark page.
    area.fill(&WHITE)?;
    let title = format!(
        "Flows per second, one answer of {} flows",
        grouped(report.rows)
    );
    text(area, &title, (PLOT.0, 20), 20, HPos::Left)?;
    let subtitle = format!(
        "{}; component on {}; median of {} rounds",
        report.machine.describe(),
        report.host,
        report.rounds
    );
    text(area, &subtitle, (PLOT.0, 46), 13, HPos::Left)?;
    draw_legend(area)?;
    let top = highest(report).max(1.0) * 1.08;
    let y = |rate: f64| PLOT.3 - (rate / top * f64::from(PLOT.3 - PLOT.2)) as i32;
    draw_grid(area, top, &y)?;
    let width = f64::from(PLOT.1 - PLOT.0) / FORMATS.len() as f64;
    for (index, format) in FORMATS.iter().enumerate() {
        let left = f64::from(PLOT.0) + width * index as f64;
        let middle = (left + width / 2.0) as i32;
        text(area, format, (middle, PLOT.3 + 18), 16, HPos::Center)?;
        draw_bars(area, report, format, left, width, &y)?;
    }
    draw_scan(area, report, &y)?;
    area.present()?;
    Ok(())
}

/// Draws one format's bars, centred in its width, with their values.
fn draw_bars(
    area: &Area<'_>,
    report: &Report,
    format: &str,
    left: f64,
    width: f64,
    y: &impl Fn(f64) -> i32,
) -> Drawn {
    let bars: Vec<_> = BARS
        .iter()
        .filter_map(|(subject, colour)| Some((rate(report, format, *subject)?, colour)))
        .collect();
    let each = width * FILLED / BARS.len() as f64;
    let start = left + (width - each * bars.len() as f64) / 2.0;
    for (index, (rate, colour)) in bars.into_iter().enumerate() {
        let x = start + each * index as f64;
        let corners = [(x as i32 + 2, y(rate)), ((x + each) as i32 - 2, PLOT.3)];
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        let number = format!("{:.2} M", rate / 1e6);
        let above = ((x + each / 2.0) as i32, y(rate) - 9);
        text(area, &number, above, 13, HPos::Center)?;
    }
    Ok(())
}

/// Draws at most eight lines, at round steps.
fn draw_grid(area: &Area<'_>, top: f64, y: &impl Fn(f64) -> i32) -> Drawn {
    let step = [1e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 5e6]
        .into_iter()
        .find(|step| top / step <= 8.0)
        .unwrap_or(1e7);
    for i in 0..=(top / step) as u32 {
        let rate = step * f64::from(i);
        let line = vec![(PLOT.0, y(rate)), (PLOT.1, y(rate))];
        area.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
        let label = format!("{} M", rate / 1e6);
        text(area, &label, (PLOT.0 - 8, y(rate)), 13, HPos::Right)?;
    }
    Ok(())
}

/// Draws the bare scan as a dashed line: it is the same for all formats.
fn draw_scan(area: &Area<'_>, report: &Report, y: &impl Fn(f64) -> i32) -> Drawn {
    let Some(rate) = rate(report, FORMATS[0], Subject::Scan) else {
        return Ok(());
    };
    for x in (PLOT.0..PLOT.1).step_by(12) {
        let dash = vec![(x, y(rate)), ((x + 7).min(PLOT.1), y(rate))];
        area.draw(&PathElement::new(dash, SCAN_COLOUR.stroke_width(2)))?;
    }
    let number = format!("{:.2} M", rate / 1e6);
    text(area, &number, (PLOT.1, y(rate) - 9), 13, HPos::Right)
}

fn draw_legend(area: &Area<'_>) -> Drawn {
    let mut x = PLOT.0;
    let bars = BARS.iter().map(|(subject, colour)| (*subject, *colour, 7));
    for (subject, colour, half) in bars.chain([(Subject::Scan, SCAN_COLOUR, 1)]) {
        // A box for bars, a stroke for the line.
        let mark = [(x, 73 - half), (x + 14, 73 + half)];
        area.draw(&Rectangle::new(mark, colour.filled()))?;
        let name = legend(subject);
        text(area, name, (x + 20, 73), 14, HPos::Left)?;
        x += 20 + name.len() as i32 * 7 + 24;
    }
    Ok(())
}

fn legend(subject: Subject) -> &'static str {
    match subject {
        Subject::Component => "this component (wasm)",
        Subject::Baseline => "native server (axum, rusqlite)",
        Subject::Scan => "bare scan, nothing written",
        other => other.name(),
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: u32, across: HPos) -> Drawn {
    let style = TextStyle::from((FONT, size).into_font())
        .color(&INK)
        .pos(Pos::new(across, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

fn rate(report: &Report, format: &str, subject: Subject) -> Option<f64> {
    report.results.median(&format!("full.{format}"), subject)
}

fn highest(report: &Report) -> f64 {
    let rates = FORMATS
        .iter()
        .flat_map(|format| Subject::READERS.map(|subject| rate(report, format, subject)));
    rates.flatten().fold(0.0, f64::max)
}

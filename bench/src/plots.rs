//! The figures as pictures: SVG, which every browser shows.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::element::ErrorBarOrientV;
use plotters::prelude::*;

use crate::error::BenchError;
use crate::report::{Bars, Picture};
use crate::stats::{Compared, Summary};

/// Of CoreFn's figures, and of the others.
const CORE: RGBColor = RGBColor(0, 114, 178);
const OTHER: RGBColor = RGBColor(213, 94, 0);
/// Of the parts of a bar.
const PARTS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(150, 200, 150),
    RGBColor(200, 200, 200),
];
const GRID: RGBColor = RGBColor(225, 225, 225);

/// How high an axis is, with its labels.
const AXIS: i32 = 40;

const FONT: &str = "sans-serif";
const TEXT: u32 = 14;
const TITLE: u32 = 17;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;
/// Draws one.
type Draw<'a> = &'a dyn Fn(&Area<'_>) -> Drawn;
/// A name, its colour, its figures, and how far they are beside their place.
type Side = (&'static str, RGBColor, fn(&Compared) -> Summary, f64);

/// Draws all there are into a folder.
///
/// # Errors
/// [`BenchError::Undrawn`].
pub fn draw(picture: &Picture<'_>, folder: &Path) -> Result<(), BenchError> {
    let all: [(&str, (u32, u32), Draw<'_>); 3] = [
        ("latency.svg", (760, 400), &|area| latency(area, picture)),
        ("growth.svg", (1080, 360), &|area| growth(area, picture)),
        ("cold.svg", (760, 420), &|area| cold(area, picture)),
    ];
    for (name, size, draw) in all {
        let path = folder.join(name);
        let area = SVGBackend::new(&path, size).into_drawing_area();
        let drawn = draw(&area).and_then(|()| Ok(area.present()?));
        drawn.map_err(|cause| BenchError::Undrawn {
            path: path.clone(),
            cause: cause.to_string(),
        })?;
    }
    Ok(())
}

/// How long requests take, by the share of them that take no longer.
fn latency(area: &Area<'_>, picture: &Picture<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let points = picture.latency;
    let last = points.len() as f64 - 1.0;
    let sides = || {
        points
            .iter()
            .flat_map(|(_, both)| [both.corefn, both.other])
    };
    let (low, high) = range(sides());
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("Warm requests, {} connections", picture.connections),
            (FONT, TITLE),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..last + 0.2, (low..high).log_scale())?;
    let label = |x: &f64| {
        let near = x.round();
        let found = points.get(near.max(0.0) as usize);
        let found = found.filter(|_| (x - near).abs() < 0.01 && *x > -0.01);
        found.map_or_else(String::new, |(percentile, _)| format!("p{percentile}"))
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style((FONT, TEXT))
        .x_labels(points.len())
        .x_label_formatter(&label)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .y_desc("µs")
        .draw()?;
    let sides: [Side; 2] = [
        ("CoreFn", CORE, |both| both.corefn, -0.03),
        ("plain proxy_pass", OTHER, |both| both.other, 0.03),
    ];
    for (name, colour, of, shift) in sides {
        let at: Vec<_> = points
            .iter()
            .enumerate()
            .map(|(at, (_, both))| (at as f64 + shift, of(both)))
            .collect();
        let line = at.iter().map(|(x, summary)| (*x, summary.median));
        let series = LineSeries::new(line, colour.stroke_width(2));
        let drawn = chart.draw_series(series)?.label(name);
        drawn.legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
        });
        chart.draw_series(at.iter().map(|(x, summary)| bar(*x, *summary, colour)))?;
    }
    let legend = chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font((FONT, TEXT))
        .draw();
    Ok(legend?)
}

/// The ratio of medians, by how much there is of something.
fn growth(area: &Area<'_>, picture: &Picture<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let title = "Median latency of a warm request, CoreFn : plain proxy_pass";
    let area = area.titled(title, (FONT, TITLE))?;
    let panels = area.split_evenly((1, picture.growth.len()));
    let ratios = picture
        .growth
        .iter()
        .flat_map(|(_, counts)| counts.values());
    let (low, high) = range(ratios.copied());
    let (low, high) = (low.min(0.8), high.max(1.25));
    for (panel, (what, counts)) in panels.iter().zip(&picture.growth) {
        let first = counts.keys().next().copied().unwrap_or(1);
        let last = counts.keys().next_back().copied().unwrap_or(10);
        let x = f64::from(first) * 0.7..f64::from(last) * 1.5;
        let mut chart = ChartBuilder::on(panel)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(48)
            .build_cartesian_2d(x.log_scale(), low..high)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .label_style((FONT, TEXT))
            .x_labels(5)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_labels(6)
            .y_label_formatter(&|y| format!("{y:.2}"))
            .x_desc(*what)
            .draw()?;
        let one = [(f64::from(first) * 0.7, 1.0), (f64::from(last) * 1.5, 1.0)];
        chart.draw_series(LineSeries::new(one, OTHER.stroke_width(1)))?;
        let at = counts
            .iter()
            .map(|(count, summary)| (f64::from(*count), *summary));
        let line = at.clone().map(|(x, summary)| (x, summary.median));
        chart.draw_series(LineSeries::new(line, CORE.stroke_width(2)))?;
        chart.draw_series(at.map(|(x, summary)| bar(x, summary, CORE)))?;
    }
    Ok(())
}

/// How long it takes to the first answer, and what of.
fn cold(area: &Area<'_>, picture: &Picture<'_>) -> Drawn {
    area.fill(&WHITE)?;
    let area = area.titled("From a request to the first answer", (FONT, TITLE))?;
    let [quick, slow] = &picture.cold;
    // (Each bar is as high as any, whichever panel it is in.)
    let (_, height) = area.dim_in_pixel();
    let share = quick.len() as f64 / (quick.len() + slow.len()) as f64;
    let axes = 2.0 * f64::from(AXIS);
    let split = (f64::from(height) - axes).mul_add(share, f64::from(AXIS));
    let (upper, lower) = area.split_vertically(split.round() as i32);
    bars(&upper, quick)?;
    bars(&lower, slow)
}

/// Bars with a scale of their own.
fn bars(area: &Area<'_>, bars: &Bars) -> Drawn {
    let count = bars.len() as f64;
    let whole = |parts: &[(String, f64)]| parts.iter().map(|part| part.1).sum::<f64>();
    let most = bars
        .iter()
        .map(|(_, parts)| whole(parts))
        .fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin_left(12)
        .margin_right(12)
        .x_label_area_size(AXIS)
        .y_label_area_size(160)
        .build_cartesian_2d(0.0..most * 1.15, 0.0..count)?;
    let name = |y: &f64| {
        let at = (count - 1.0 - (y - 0.5)).round();
        let found = bars.get(at.max(0.0) as usize);
        let found = found.filter(|_| (y.fract() - 0.5).abs() < 0.01);
        found.map_or_else(String::new, |(name, _)| name.clone())
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style((FONT, TEXT))
        .y_labels(2 * bars.len() + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("ms")
        .draw()?;
    for (at, (_, parts)) in bars.iter().enumerate() {
        let y = count - 1.0 - at as f64;
        let mut left = 0.0;
        for (part, (what, value)) in parts.iter().enumerate() {
            let colour = PARTS[part % PARTS.len()];
            let corners = [(left, y + 0.2), (left + value, y + 0.8)];
            chart.draw_series([Rectangle::new(corners, colour.filled())])?;
            if *value > most * 0.08 {
                let text = Text::new(what.clone(), (left, y + 1.02), (FONT, TEXT - 2));
                chart.draw_series([text])?;
            }
            left += value;
        }
        let text = format!("{left:.1}");
        let text = Text::new(text, (left + most * 0.01, y + 0.6), (FONT, TEXT));
        chart.draw_series([text])?;
    }
    Ok(())
}

/// A median, with the least and the most.
fn bar(
    x: f64,
    summary: Summary,
    colour: RGBColor,
) -> ErrorBar<f64, f64, ErrorBarOrientV<f64, f64>> {
    let Summary {
        median, min, max, ..
    } = summary;
    ErrorBar::new_vertical(x, min, median, max, colour.filled(), 8)
}

/// From the least to the most of all, and a bit.
fn range(summaries: impl Iterator<Item = Summary>) -> (f64, f64) {
    let (low, high) = summaries.fold((f64::INFINITY, 0.0_f64), |(low, high), summary| {
        (low.min(summary.min), high.max(summary.max))
    });
    (low * 0.9, high * 1.1)
}

#[cfg(test)]
mod tests {
    use crate::report::tests::report;

    #[test]
    fn each_is_drawn() {
        let folder = std::env::temp_dir().join(format!("corefn-plots-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        super::draw(&report().picture(), &folder).unwrap();
        for (name, says) in [
            ("latency.svg", "plain proxy_pass"),
            ("growth.svg", "functions deployed"),
            ("cold.svg", "any image"),
        ] {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(text.contains(says) && text.trim_end().ends_with("</svg>"));
            assert!(!text.contains("NaN"), "{name}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}

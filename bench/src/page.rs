//! `report.html`: the same as a page with plots, that needs nothing but itself.

use anyhow::anyhow;
use plotters::prelude::*;
use plotters::style::full_palette::GREY_400;

use crate::report::{Bound, Figure, Report, number};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:960px;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}\
    td:first-child,th:first-child{text-align:left}.bad{color:#b00020;font-weight:600}.good{color:#1b7f3b}\
    svg{max-width:100%;height:auto}small,p{color:#555}";
const SIZE: (u32, u32) = (920, 300);
const COLOURS: [RGBColor; 3] = [RGBColor(31, 119, 180), RGBColor(255, 127, 14), RGBColor(120, 120, 120)];

/// The page.
pub(crate) fn of(report: &Report) -> anyhow::Result<String> {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Figures</title><style>{STYLE}</style><h1>Figures</h1>\
         <p>{}<br>{}</p>",
        text(&report.machine),
        text(&report.settings.join(", "))
    );
    page.push_str("<table><tr><th><th>figure<th>spread<th>ceiling<th>ratio<th>bound");
    for row in &report.rows {
        page.push_str(&line(row));
    }
    page.push_str("</table>");
    page.push_str("<h2>Ratio to the ceiling</h2><p>The line across a bar is its floor.</p>");
    page.push_str(&ratios(&report.rows)?);
    page.push_str("<h2>Latency</h2><p>Milliseconds, on a logarithmic scale: p50, p99, p99.9.</p>");
    page.push_str(&latencies(&report.rows)?);
    page.push_str("<h2>Rounds</h2>");
    for row in report.rows.iter().filter(|row| row.figure.rounds.len() > 1) {
        page.push_str(&rounds(row)?);
    }
    page.push_str("<h2>Everything</h2>");
    page.push_str(&format!("<pre>{}</pre></html>", text(&report.table())));
    Ok(page)
}

fn line(row: &Figure) -> String {
    let ratio = row.ratio.as_ref().map_or_else(String::new, |ratio| format!("{:.2}", ratio.median()));
    let bound = match row.bound {
        Some(Bound::RatioAtLeast(floor)) => format!("at least {floor:.2}"),
        Some(Bound::Below(limit)) => format!("below {limit} {}", row.unit),
        None => String::new(),
    };
    let class = match row.holds() {
        Some(true) => "good",
        Some(false) => "bad",
        None => "",
    };
    let ceiling = row.ceilings.first().map_or_else(String::new, |(_, ceiling)| number(ceiling.median()));
    format!(
        "<tr><td>{}<td>{} {}<td>{} – {}<td>{ceiling}<td class={class:?}>{ratio}<td class={class:?}>{bound}",
        text(&row.name),
        number(row.figure.median()),
        row.unit,
        number(row.figure.min()),
        number(row.figure.max()),
    )
}

/// A bar for each row that has a ceiling.
fn ratios(rows: &[Figure]) -> anyhow::Result<String> {
    let bars: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.bound? {
            Bound::RatioAtLeast(floor) => Some((row.name.as_str(), row.ratio.as_ref()?.median(), floor)),
            Bound::Below(_) => None,
        })
        .collect();
    if bars.is_empty() {
        return Ok("<p>No row of this run has a ceiling.</p>".to_owned());
    }
    let most = bars.iter().fold(1.0_f64, |most, (_, ratio, _)| most.max(*ratio)) * 1.1;
    let names: Vec<_> = bars.iter().map(|(name, ..)| *name).collect();
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(210)
            .build_cartesian_2d(0.0..most, (0..names.len()).into_segmented())
            .map_err(plot)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(names.len())
            .y_label_formatter(&|place| name(&names, place))
            .draw()
            .map_err(plot)?;
        for (place, (_, ratio, floor)) in bars.iter().enumerate() {
            let (from, to) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
            let mut bar = Rectangle::new([(0.0, from.clone()), (*ratio, to.clone())], style(0).filled());
            bar.set_margin(8, 8, 0, 0);
            chart.draw_series([bar]).map_err(plot)?;
            chart
                .draw_series([PathElement::new(vec![(*floor, from), (*floor, to)], BLACK.stroke_width(2))])
                .map_err(plot)?;
        }
        Ok(())
    })
}

/// Three dots for each latency.
fn latencies(rows: &[Figure]) -> anyhow::Result<String> {
    let all: Vec<_> = rows.iter().flat_map(|row| row.latencies.iter().map(move |found| (row, found))).collect();
    if all.is_empty() {
        return Ok("<p>No row of this run has latencies.</p>".to_owned());
    }
    let names: Vec<String> = all
        .iter()
        .map(|(row, (what, _))| format!("{}: {}", row.name, what.chars().take(30).collect::<String>()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let most = all.iter().fold(10.0_f64, |most, (_, (_, latency))| most.max(latency.p999)) * 1.5;
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(380)
            .build_cartesian_2d((0.1..most).log_scale(), (0..names.len()).into_segmented())
            .map_err(plot)?;
        let formatter = |place: &SegmentValue<usize>| name(&names, place);
        chart.configure_mesh().y_labels(names.len()).y_label_formatter(&formatter).draw().map_err(plot)?;
        for (place, (_, (_, latency))) in all.iter().enumerate() {
            let middle = || SegmentValue::CenterOf(place);
            chart
                .draw_series([PathElement::new(
                    vec![(latency.p50, middle()), (latency.p999, middle())],
                    GREY_400.stroke_width(2),
                )])
                .map_err(plot)?;
            for (at, (value, size)) in [(latency.p50, 4), (latency.p99, 6), (latency.p999, 4)].into_iter().enumerate() {
                chart.draw_series([Circle::new((value, middle()), size, style(at).filled())]).map_err(plot)?;
            }
        }
        Ok(())
    })
}

/// A line for a row and for each of its ceilings.
fn rounds(row: &Figure) -> anyhow::Result<String> {
    let series = std::iter::once((row.name.as_str(), &row.figure))
        .chain(row.ceilings.iter().map(|(name, ceiling)| (*name, ceiling)))
        .collect::<Vec<_>>();
    let most = series.iter().fold(0.0_f64, |most, (_, series)| most.max(series.max())) * 1.1;
    draw(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(format!("{}, {}", row.name, row.unit), ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(80)
            .build_cartesian_2d(1..row.figure.rounds.len(), 0.0..most)
            .map_err(plot)?;
        let formatter = |value: &f64| number(*value);
        chart.configure_mesh().x_labels(row.figure.rounds.len()).y_label_formatter(&formatter).draw().map_err(plot)?;
        for (place, (name, series)) in series.iter().enumerate() {
            let points = series.rounds.iter().enumerate().map(|(round, figure)| (round + 1, *figure));
            chart
                .draw_series(LineSeries::new(points, style(place).stroke_width(2)).point_size(3))
                .map_err(plot)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style(place).stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE)
            .draw()
            .map_err(plot)
    })
}

fn name(names: &[&str], place: &SegmentValue<usize>) -> String {
    match place {
        SegmentValue::Exact(place) | SegmentValue::CenterOf(place) => {
            names.get(*place).copied().unwrap_or_default().to_owned()
        }
        SegmentValue::Last => String::new(),
    }
}

fn style(place: usize) -> RGBColor {
    COLOURS.get(place).copied().unwrap_or(BLACK)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(paint: impl FnOnce(&Area<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(plot)?;
    paint(&area)?;
    area.present().map_err(plot)?;
    drop(area);
    Ok(svg)
}

fn plot<E: std::fmt::Display>(error: E) -> anyhow::Error {
    anyhow!("a plot: {error}")
}

fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Latency;
    use crate::rounds::Series;

    fn report(rows: Vec<Figure>) -> Report {
        Report { machine: "one <machine>".into(), settings: Vec::new(), seconds: 1, rows }
    }

    #[test]
    fn a_page_has_its_plots_and_needs_nothing_else() {
        let series = |rounds: &[f64]| Series { rounds: rounds.to_vec() };
        let row = Figure {
            name: "POST".into(),
            figure: series(&[30.0, 31.0]),
            latencies: vec![("saturated".into(), Latency { p50: 1.0, p99: 20.0, p999: 300.0 })],
            ..Figure::default()
        };
        let page = of(&report(vec![row.against(vec![("bare", series(&[50.0, 52.0]))], 0.6)])).unwrap();
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.contains("one &lt;machine>") && !page.contains("<script") && !page.contains("href"));
        assert!(page.contains("class=\"bad\">0.60") || page.contains("class=\"good\">0.60"), "{page}");
    }

    #[test]
    fn rows_without_ceilings_or_latencies_have_a_page_too() {
        assert!(of(&report(vec![Figure::default()])).unwrap().contains("<table>"));
        assert!(of(&report(Vec::new())).is_ok());
    }
}

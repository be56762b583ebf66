//! The capacity model (`docs/scale.md`): what a number of devices needs of each part, computed from the bench's figures.

mod assumed;
mod costs;
mod figures;
mod load;
mod needs;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args as _;
use time::OffsetDateTime;
use time::macros::format_description;

use self::figures::Figures;
use self::load::Load;

/// The columns of docs/scale.md.
const EXAMPLES: [f64; 3] = [1e4, 1e6, 1e8];
const FIGURES: &str = "bench/figures.json";
const BEGIN: &str = "<!-- from here written by `make scale` -->\n";
const END: &str = "<!-- to here -->\n";

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    #[command(flatten)]
    load: load::Settings,
    /// A report of `make bench`, whose figures are taken instead of those in bench/figures.json, where it has them.
    #[arg(long, env = "BENCH_REPORT", value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes bench/figures.json, and the tables in docs/performance.md and docs/scale.md, again, instead of printing.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut figures = Figures::committed()?;
    if let Some(file) = &settings.report {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let report = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        let day = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"))?;
        let taken = figures.renew(report, &day).with_context(|| file.display().to_string())?;
        eprintln!("from {}: {}", file.display(), taken.join(", "));
    }
    if settings.write {
        return write(&workspace(), &figures);
    }
    let devices = settings.load.devices.map(|devices| vec![to_f64(devices)]).unwrap_or_else(|| EXAMPLES.to_vec());
    print!("{}", answer(&settings.load, &devices, &figures)?);
    Ok(())
}

/// Both tables for so many devices.
fn answer(settings: &load::Settings, devices: &[f64], figures: &Figures) -> anyhow::Result<String> {
    let loads: Vec<Load> =
        devices.iter().map(|devices| Load::of(settings, *devices, figures)).collect::<anyhow::Result<_>>()?;
    let columns: Vec<_> = loads.iter().map(|load| (load.clone(), needs::needs(load, figures))).collect();
    // Examples differ in their number only, so that they end at the same number.
    let ends: Vec<_> = loads.iter().take(1).map(|load| (load.clone(), needs::ends(load, figures))).collect();
    Ok(format!("{}\n{}", table::needs(&columns), table::ends(&ends)))
}

/// The tables of docs/scale.md: with the defaults.
fn examples(figures: &Figures) -> anyhow::Result<String> {
    let command = load::Settings::augment_args(clap::Command::new("model"));
    let defaults = command.try_get_matches_from(["model"])?;
    let settings = <load::Settings as clap::FromArgMatches>::from_arg_matches(&defaults)?;
    answer(&settings, &EXAMPLES, figures)
}

/// The files that are written from figures, with their new text.
fn renewed(folder: &Path, figures: &Figures) -> anyhow::Result<[(PathBuf, String); 3]> {
    let page = |name: &str, table: String| {
        let file = folder.join(name);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) =
            parts.with_context(|| format!("{} has no lines {} and {}", file.display(), BEGIN.trim(), END.trim()))?;
        anyhow::Ok((file, format!("{before}{BEGIN}\n{table}\n{END}{after}")))
    };
    Ok([
        (folder.join(FIGURES), figures.to_json()?),
        page("docs/performance.md", figures.table())?,
        page("docs/scale.md", examples(figures)?)?,
    ])
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn write(folder: &Path, figures: &Figures) -> anyhow::Result<()> {
    for (file, text) in renewed(folder, figures)? {
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        println!("wrote {}", file.display());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

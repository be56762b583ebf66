//! `docs/settings.md`: its table is generated from the services' `--help`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::{binaries, dir};

/// The commands that read settings, and their names in the table.
const READERS: [(&str, &[&str], &str); 4] = [
    ("api-service", &["--help"], "api"),
    ("worker-service", &["run", "--help"], "worker"),
    ("worker-service", &["setup", "--help"], "`setup`"),
    // It has to have a setting that the worker itself does not read, with the API's value.
    ("worker-service", &["erase-user", "--help"], "`erase-user`"),
];
const BEGIN: &str = "<!-- from here on written by `make settings` -->\n";

/// One setting from a `--help`.
#[derive(PartialEq)]
struct Setting {
    variable: String,
    default: String,
    text: String,
}

/// The page's path and its up-to-date text.
pub fn renewed() -> anyhow::Result<(PathBuf, String)> {
    let (file, bin) = (dir::workspace().join("docs/settings.md"), binaries()?);
    let page = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (by_hand, _) =
        page.split_once(BEGIN).with_context(|| format!("no line {} in {}", BEGIN.trim(), file.display()))?;
    let mut read = vec![];
    for (program, args, reader) in READERS {
        read.extend(parse(&help(&bin.join(program), args)?).into_iter().map(|setting| (setting, reader)));
    }
    let new = format!("{by_hand}{BEGIN}\n{}", table(read));
    Ok((file, new))
}

fn help(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    // Without the environment, because `--help` prints current values of variables.
    let output = Command::new(program).args(args).env_clear().output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{} {args:?}: {}", program.display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The settings in a `--help`: the flags with an environment variable.
fn parse(help: &str) -> Vec<Setting> {
    help.split("\n      --").skip(1).filter_map(|option| parse_option(option, help)).collect()
}

fn parse_option(option: &str, help: &str) -> Option<Setting> {
    let (mut variable, mut default, mut values, mut text) = (None, None, Vec::new(), Vec::new());
    let mut lines = option.lines();
    let flag = lines.next()?.split(' ').next()?;
    for line in lines.take_while(|line| line.is_empty() || line.starts_with("          ")).map(str::trim) {
        let told = |what: &str| line.strip_prefix(what)?.strip_suffix(']');
        if let Some(env) = told("[env: ") {
            variable = env.split('=').next();
        } else if let Some(value) = told("[default: ") {
            default = Some(format!("`{value}`"));
        } else if let Some(all) = told("[possible values: ") {
            values.extend(all.split(", ").map(|value| format!("`{value}`")));
        } else if let Some((value, meaning)) = line.strip_prefix("- ").and_then(|line| line.split_once(':')) {
            values.push(format!("`{value}` ({})", meaning.trim()));
        } else if !line.is_empty() && line != "Possible values:" {
            text.push(line);
        }
    }
    let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap_or_default();
    let is_required = usage.contains(&format!(" --{flag} "));
    let mut text = text.join(" ");
    if !values.is_empty() {
        text = format!("{text}. One of {}", values.join(", "));
    }
    Some(Setting {
        variable: variable?.to_owned(),
        default: default.unwrap_or_else(|| if is_required { "required".to_owned() } else { "not set".to_owned() }),
        text: text.replace('|', "\\|"),
    })
}

/// One row per setting, in the order of first appearance; a row names all commands that read the setting.
fn table(read: Vec<(Setting, &str)>) -> String {
    let mut rows: Vec<(Setting, Vec<&str>)> = vec![];
    for (setting, reader) in read {
        match rows.iter_mut().find(|(known, _)| *known == setting) {
            Some((_, readers)) => readers.push(reader),
            None => rows.push((setting, vec![reader])),
        }
    }
    let lines = rows.into_iter().map(|(Setting { variable, default, text }, readers)| {
        format!("| `{variable}` | {} | {default} | {text} |\n", readers.join(", "))
    });
    let head = "| variable | read by | default | |\n|---|---|---|---|\n".to_owned();
    std::iter::once(head).chain(lines).collect()
}

//! An independent implementation of the rules for device ids and for payloads: a slow parser for the grammar of
//! RFC 8259 that builds a tree, and the rules on that tree. It uses none of the API's own code.

use std::iter::Peekable;
use std::str::Chars;

/// A string: its UTF-16 units after unescaping, and its length in the source, with the quotes.
struct Text {
    units: Vec<u16>,
    length: usize,
}

enum Json {
    Object(Vec<(Text, Json)>),
    Array(Vec<Json>),
    String(Text),
    Number(String),
    /// `null`, `true` or `false`, with its length.
    Word(usize),
}

/// Whether a text may be the id of a device.
pub(crate) fn is_device(text: &str) -> bool {
    let all: Vec<char> = text.chars().collect();
    let is_dots = |segment: &[char]| !segment.is_empty() && segment.len() < 3 && segment.iter().all(|c| *c == '.');
    (1..=128).contains(&all.len())
        && all.iter().all(|c| (0x20..0x7f).contains(&u32::from(*c)))
        && all.first() != Some(&' ')
        && all.last() != Some(&' ')
        && !all.split(|c| *c == '/').any(is_dots)
}

/// Whether a text may be a payload.
pub(crate) fn keeps(text: &str) -> bool {
    let text = text.trim();
    // The payload is the first level.
    let Some(json) = value(&mut text.chars().peekable(), 64) else { return false };
    matches!(json, Json::Object(_)) && text.len() <= 262_144 && is_good(&json) && size(&json) <= 524_288
}

/// The next value; `None` if it is nested deeper than this many levels.
fn value(chars: &mut Peekable<Chars<'_>>, levels: usize) -> Option<Json> {
    blank(chars);
    Some(match *chars.peek()? {
        '{' => {
            chars.next();
            let below = levels.checked_sub(1)?;
            let mut members = Vec::new();
            while next(chars) != '}' {
                if next(chars) == ',' {
                    chars.next();
                    blank(chars);
                }
                let name = string(chars);
                blank(chars);
                assert_eq!(chars.next(), Some(':'), "not JSON");
                members.push((name, value(chars, below)?));
            }
            chars.next();
            Json::Object(members)
        }
        '[' => {
            chars.next();
            let below = levels.checked_sub(1)?;
            let mut items = Vec::new();
            while next(chars) != ']' {
                if next(chars) == ',' {
                    chars.next();
                }
                items.push(value(chars, below)?);
            }
            chars.next();
            Json::Array(items)
        }
        '"' => Json::String(string(chars)),
        '-' | '0'..='9' => Json::Number(run(chars, |c| c.is_ascii_digit() || "+-.eE".contains(c))),
        _ => Json::Word(run(chars, |c| c.is_ascii_lowercase()).len()),
    })
}

fn blank(chars: &mut Peekable<Chars<'_>>) {
    run(chars, |c| " \t\r\n".contains(c));
}

fn next(chars: &mut Peekable<Chars<'_>>) -> char {
    blank(chars);
    *chars.peek().expect("the text is JSON")
}

fn run(chars: &mut Peekable<Chars<'_>>, goes_on: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| chars.next_if(|&c| goes_on(c))).collect()
}

fn string(chars: &mut Peekable<Chars<'_>>) -> Text {
    assert_eq!(chars.next(), Some('"'), "not JSON");
    let mut text = Text { units: Vec::new(), length: 2 };
    loop {
        let c = chars.next().expect("the text is JSON");
        text.length += c.len_utf8();
        let unit = match c {
            '"' => {
                text.length -= 1;
                return text;
            }
            '\\' => {
                text.length += 1;
                match chars.next().expect("the text is JSON") {
                    'u' => {
                        text.length += 4;
                        let digits: String = chars.take(4).collect();
                        u16::from_str_radix(&digits, 16).expect("the text is JSON")
                    }
                    'b' => 8,
                    't' => 9,
                    'n' => 10,
                    'f' => 12,
                    'r' => 13,
                    itself => u16::try_from(itself).expect("the text is JSON"),
                }
            }
            c => {
                text.units.extend(c.encode_utf16(&mut [0; 2]).iter());
                continue;
            }
        };
        text.units.push(unit);
    }
}

fn is_good(json: &Json) -> bool {
    match json {
        Json::Object(members) => {
            let mut names: Vec<_> = members.iter().map(|(name, _)| &name.units).collect();
            names.sort();
            names.dedup();
            names.len() == members.len() && members.iter().all(|(name, value)| is_text(name) && is_good(value))
        }
        Json::Array(items) => items.iter().all(is_good),
        Json::String(text) => is_text(text),
        Json::Number(number) => is_number(number),
        Json::Word(_) => true,
    }
}

fn is_text(text: &Text) -> bool {
    !text.units.contains(&0) && String::from_utf16(&text.units).is_ok()
}

fn is_number(number: &str) -> bool {
    let lower = number.to_lowercase();
    let mantissa = lower.split('e').next().unwrap_or_default().replace(['-', '.'], "");
    mantissa.trim_matches('0').len() <= 64
        && exponent(number) <= 400
        && number.len() <= 512
        && number.parse::<f64>().is_ok_and(f64::is_finite)
}

fn exponent(number: &str) -> usize {
    let lower = number.to_lowercase();
    let digits = lower.split('e').nth(1).unwrap_or_default().trim_start_matches(['+', '-', '0']);
    if digits.len() > 6 { usize::MAX } else { digits.parse().unwrap_or(0) }
}

/// The largest size in PostgreSQL's output: a space after each colon and comma, and zeros for exponents.
fn size(json: &Json) -> usize {
    let commas = |count: usize| 2 * count.saturating_sub(1);
    match json {
        Json::Object(all) => {
            2 + commas(all.len()) + all.iter().map(|(name, value)| name.length + 2 + size(value)).sum::<usize>()
        }
        Json::Array(items) => 2 + commas(items.len()) + items.iter().map(size).sum::<usize>(),
        Json::String(text) => text.length,
        Json::Number(number) => number.len() + exponent(number).min(400),
        Json::Word(length) => *length,
    }
}

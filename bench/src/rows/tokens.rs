//! `POST /events` with a thousand tokens, each of one device: HS256 and ES256, against one token for all.

use std::time::Duration;

use anyhow::Context as _;
use devstack::token::{Signer, jwks};

use crate::bed::{SECRET, Site, TestBed};
use crate::load::Load;
use crate::report::Figure;
use crate::rows::take_turns;
use crate::{Scale, records};

const CONNECTIONS: u32 = 256;
/// Tokens, and devices.
const TOKENS: usize = 1_000;

pub(crate) fn measure(bed: &TestBed, scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let site = Site::new(bed, "tokens")?;
    let (es256, _) = Signer::generate("ES256", Some("bench"))?;
    let keys = bed.folder.join("tokens.jwks.json");
    std::fs::write(&keys, jwks(&[&es256])?)?;
    let api = site.api(&[("JWT_JWKS_FILE", &keys.display().to_string())])?;
    let (hs256, es256) = (thousand(&Signer::secret(SECRET))?, thousand(&es256)?);
    // A file of its own for each turn: its tokens lie beside it. The requests in a line's place have its token.
    let lines = |name| records::lines(&bed.folder, name, (0..TOKENS).map(|n| records::body(n, 100)));
    let turns = [
        (lines("tokens-hs256")?, hs256.as_str()),
        (lines("tokens-es256")?, &es256),
        (lines("tokens-one")?, &bed.token),
    ];
    let names = ["1,000 of HS256", "1,000 of ES256", "one"];
    let [hs256, es256, one] = take_turns(scale.rounds, names, |turn| {
        let (lines, tokens) = turns.get(turn).context("a file for each turn")?;
        Load::posts(&api.url, "/events", lines, tokens, CONNECTIONS).saturate(scale.turn())
    })?;
    let beside = |name: &str, figure| {
        Figure::new(name, "requests/s", figure).beside(vec![("one token of HS256 for all", one.clone())])
    };
    Ok(vec![beside("POST /events, 1,000 tokens of HS256", hs256), beside("POST /events, 1,000 tokens of ES256", es256)])
}

/// A token for each device, one a line.
fn thousand(signer: &Signer) -> anyhow::Result<String> {
    let tokens = (0..TOKENS).map(|number| {
        let device = records::device(number);
        signer.token(&format!("bench-{number}"), &["device"], &[device.as_str()], Duration::from_secs(24 * 3600))
    });
    Ok(tokens.collect::<anyhow::Result<Vec<_>>>()?.join("\n"))
}

//! Who watches: readers of campaigns and reports, an advertiser that changes budgets, the books, the committed offsets,
//! and at the end the probes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Client, count, lock};
use super::tracker::Event;
use super::{Advertiser, create_all, create_small, is_small};
use crate::gather;
use crate::history::Commit;
use crate::history::ads::{AdKind, Books, Created, Report, Seen, decimal, nanos};

/// How long a campaign is paused.
const PAUSED: Duration = Duration::from_millis(500);
/// How often a small campaign is made.
const SMALL_EVERY: Duration = Duration::from_secs(4);
/// How often the books are read.
const BOOKS_READ: Duration = Duration::from_millis(700);
const COMMITS: Duration = Duration::from_millis(200);
/// No campaign has a greater cap.
const GREATEST_CAP: usize = 3;
/// The most attempts of a probe, a second apart.
const ATTEMPTS: usize = 20;

impl Client {
    fn advertiser(&self) -> Advertiser<'_> {
        Advertiser { http: self.http.clone(), world: &self.world, history: &self.history, began: self.began }
    }

    /// Makes the campaigns, and then changes their budgets and caps until the load stops.
    pub(in crate::load) async fn advertise(self, mut random: fastrand::Rng) {
        while let Err(error) = create_all(&self.advertiser()).await {
            println!("no campaigns: {error:#}");
            if self.stopped() {
                return;
            }
        }
        let mut small = 0;
        while !self.stopped() {
            let pause = self.pause(&mut random, 300..2_000);
            self.wait(pause).await;
            if self.began.elapsed() > SMALL_EVERY * small
                && create_small(&self.advertiser(), small as usize).await.is_ok()
            {
                small += 1;
            }
            if let Some(campaign) = self.campaign(&mut random)
                && let Err(error) = self.change(campaign, &mut random).await
            {
                println!("{error:#}");
            }
            count(&self.counts.patches, 1);
        }
    }

    /// Changes a campaign's budgets, its cap, or whether it runs.
    async fn change(&self, campaign: i64, random: &mut fastrand::Rng) -> anyhow::Result<()> {
        let (what, more, cap) = (random.usize(..8), random.i64(3..=60), random.usize(2..=3));
        let Some(made) = self.made(campaign).filter(|made| !is_small(made)).map(|made| made.terms) else {
            return Ok(());
        };
        let (is_capped, has_daily) = (made.cap.is_some(), made.daily.is_some());
        let advertiser = self.advertiser();
        if what == 0 {
            advertiser.change(campaign, |_| json!({"status": "paused"})).await?;
            tokio::time::sleep(PAUSED).await;
            advertiser.change(campaign, |_| json!({"status": "active"})).await?;
            return Ok(());
        }
        if what == 1 && is_capped {
            advertiser.change(campaign, |_| json!({"freq_cap_impressions_per_day": cap})).await?;
            return Ok(());
        }
        let budgets = |total: i64, daily: i64| {
            let daily = has_daily.then(|| decimal(daily));
            json!({"total_budget": decimal(total), "daily_budget": daily})
        };
        // The least, and refused if more was spent meanwhile.
        // None is below the price of one event.
        let price = made.cost(made.pricing.billed());
        let least = |seen: &Seen| {
            let least = least_budget((seen.spent + seen.reserved).max(price));
            budgets(least, least)
        };
        if what == 2 {
            advertiser.change(campaign, least).await?;
            return Ok(());
        }
        // Enough for some events more, so that a tight one goes on for a while.
        let more = least_budget(more * made.cost(made.pricing.billed()));
        advertiser.change(campaign, |seen| budgets(seen.total + more, seen.total)).await?;
        Ok(())
    }

    /// How a campaign was made.
    fn made(&self, campaign: i64) -> Option<Created> {
        let history = lock(&self.history);
        history.ads.created.iter().find(|created| created.campaign == Some(campaign)).cloned()
    }

    /// Reads campaigns and reports.
    pub(in crate::load) async fn read_reports(self, mut random: fastrand::Rng) {
        while !self.stopped() {
            if let Some(campaign) = self.campaign(&mut random) {
                if random.usize(..8) == 0 {
                    self.advertiser().see(campaign).await;
                }
                self.read_report(campaign, &mut random).await;
            }
            tokio::time::sleep(self.pause(&mut random, 10..60)).await;
        }
    }

    async fn read_report(&self, campaign: i64, random: &mut fastrand::Rng) -> Option<()> {
        let url = format!("{}/report/campaign/{campaign}", self.url(random));
        let from = self.began.elapsed();
        let answer = self.http.get(url).bearer_auth(&self.world.token).send().await.ok()?;
        let source = answer.headers().get("cache-status").and_then(|value| value.to_str().ok());
        let bypass = source.is_some_and(|source| source.contains("fwd=bypass"));
        if answer.status().as_u16() != 200 {
            return None;
        }
        let body: Value = answer.json().await.ok()?;
        let number = |name: &str| body.get(name).and_then(Value::as_i64);
        let invalid = body.get("invalid")?.as_object()?.values().filter_map(Value::as_i64).sum();
        let report = Report {
            campaign,
            from,
            to: self.began.elapsed(),
            version: number("version")?,
            impressions: number("impressions")?,
            clicks: number("clicks")?,
            conversions: number("conversions")?,
            void: number("void")?,
            invalid,
            spend: body.get("spend").and_then(nanos)?,
            remaining: body.get("remaining").and_then(nanos)?,
            bypass,
        };
        lock(&self.history).ads.reports.push(report);
        count(&self.counts.reports, 1);
        Some(())
    }

    /// Reads the books again and again, past the services.
    pub(in crate::load) async fn watch_books(self) {
        while !self.stopped() {
            self.note_books(false).await;
            tokio::time::sleep(BOOKS_READ).await;
        }
    }

    /// Reads the books once; nothing if PostgreSQL is away.
    pub(in crate::load) async fn note_books(&self, quiet: bool) -> bool {
        let world = Arc::clone(&self.world);
        let Ok(Ok(books)) = tokio::task::spawn_blocking(move || gather::books(&world)).await else { return false };
        let at = self.began.elapsed();
        let books = books.into_iter().map(|books| Books { at, quiet, ..books });
        lock(&self.history).ads.books.extend(books);
        true
    }

    /// Records the committed offsets of the group that applies ad events.
    pub(in crate::load) async fn watch_ad_commits(self) {
        while !self.stopped() {
            let scope = self.world.scope.clone();
            let asked = tokio::task::spawn_blocking(move || {
                devstack::committed(&scope.endpoints.kafka_brokers, &scope.ads_topic, &scope.ads_group)
            });
            if let Ok(Ok(committed)) = asked.await {
                let at = self.began.elapsed();
                let offsets = committed.into_iter().map(|(partition, (offset, _))| (partition, offset)).collect();
                lock(&self.history).ads.commits.push(Commit { at, offsets });
            }
            tokio::time::sleep(COMMITS).await;
        }
    }

    /// Shows one user a campaign until it is refused: a cap has to hold, and to be reached, after all that happened.
    async fn reach_cap(&self, campaign: i64, random: &mut fastrand::Rng) {
        for n in 0..=GREATEST_CAP {
            let tried = self.try_until_certain(&Event::of_one_user(campaign, n), ATTEMPTS, random).await;
            if tried.is_none_or(|tried| !tried.is_accepted()) {
                return;
            }
        }
    }

    /// Posts one event more for each campaign, of the kind that is billed.
    pub(in crate::load) async fn probe_all(&self, mut random: fastrand::Rng) {
        let mut campaigns: Vec<_> = {
            let history = lock(&self.history);
            let created = history.ads.created.iter();
            created.filter_map(|created| Some((created.campaign?, created.terms.clone()))).collect()
        };
        campaigns.sort_by_key(|(campaign, _)| *campaign);
        campaigns.dedup_by_key(|(campaign, _)| *campaign);
        for (campaign, terms) in campaigns {
            if terms.cap.is_some() {
                self.reach_cap(campaign, &mut random).await;
            }
            // A campaign may demand an impression before a click.
            let impression = Event::probe(campaign, AdKind::Impression, None);
            self.probe(&impression, ATTEMPTS, &mut random).await;
            if terms.pricing.billed() != AdKind::Impression {
                let billed = Event::probe(campaign, terms.pricing.billed(), Some(impression.id().to_owned()));
                self.probe(&billed, ATTEMPTS, &mut random).await;
            }
        }
    }
}

/// The least budget that is not below this amount, in whole millionths.
pub fn least_budget(amount: i64) -> i64 {
    const MILLIONTH: i64 = 1_000;
    (amount + MILLIONTH - 1) / MILLIONTH * MILLIONTH
}

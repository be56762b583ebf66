//! One log line for each event of a batch, as a single event has with its request: if `ACCESS_LOG` selects the request,
//! and always for a refused event, unless it was refused as a rule.

use std::collections::BTreeMap;

use shared::kafka::ids::EventId;
use shared::runtime::config::AccessLog;
use tokio::task::coop;
use tracing::Level;

use super::answer::Item;
use crate::http::problem::Code;
use crate::http::subject::Answered;

/// Events that name neither subject nor id share one line for each code: a body of two kilobytes may hold a thousand of
/// them.
pub(super) async fn items(request_id: &str, access_log: AccessLog, items: &[Item]) {
    let all = access_log.takes(request_id);
    let is_usual = |item: &Item| item.code.is_none_or(Code::is_rule);
    if !all && items.iter().all(is_usual) {
        return;
    }
    let mut nameless: BTreeMap<&'static str, (u16, usize)> = BTreeMap::new();
    for item in items {
        // A thousand lines take milliseconds, and other tasks need this thread, too.
        coop::consume_budget().await;
        let level = match (item.status, item.code) {
            _ if !all && is_usual(item) => continue,
            (_, Some(code)) if item.about.subject.is_none() && item.about.event_id.is_none() => {
                nameless.entry(code.as_str()).or_insert((item.status, 0)).1 += 1;
                continue;
            }
            (500.., _) => Level::WARN,
            _ => Level::INFO,
        };
        let line = Answered {
            level,
            request_id,
            request: None,
            index: Some(item.index),
            status: item.status,
            code: item.code.map(Code::as_str),
            event_id: item.about.event_id.as_ref().map(EventId::as_str),
            trace_id: None,
            took: None,
            message: "answered in a batch",
        };
        line.log(item.about.subject.as_ref());
    }
    for (code, (status, items)) in nameless {
        tracing::info!(%request_id, status, %code, items, "answered in a batch");
    }
}

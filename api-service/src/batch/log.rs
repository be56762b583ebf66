//! A line for each event of a batch, as a single one has it with its request: chosen by `ACCESS_LOG` with the request,
//! and always where it was refused.

use std::collections::BTreeMap;

use shared::devices::DeviceId;
use shared::kafka::ids::EventId;
use shared::runtime::config::AccessLog;
use tokio::task::coop;

use super::answer::Item;
use crate::problem::Code;

macro_rules! line {
    ($level:ident, $request_id:expr, $item:expr) => {
        tracing::$level!(
            request_id = %$request_id,
            index = $item.index,
            status = $item.status,
            code = $item.code.map(Code::as_str).map(tracing::field::display),
            device_id = $item.about.device_id.as_ref().map(DeviceId::as_str).map(tracing::field::display),
            event_id = $item.about.event_id.as_ref().map(EventId::as_str).map(tracing::field::display),
            "answered in a batch"
        )
    };
}

/// Of those that name neither device nor event there is one line for each code: a body of two kilobytes may hold a
/// thousand of them.
pub(super) async fn items(request_id: &str, access_log: AccessLog, items: &[Item]) {
    let all = access_log.takes(request_id);
    if !all && items.iter().all(|item| item.code.is_none()) {
        return;
    }
    let mut nameless: BTreeMap<&'static str, (u16, usize)> = BTreeMap::new();
    for item in items {
        // A thousand lines take milliseconds, and others want this thread too.
        coop::consume_budget().await;
        match (item.status, item.code) {
            (_, Some(code)) if item.about.device_id.is_none() && item.about.event_id.is_none() => {
                nameless.entry(code.as_str()).or_insert((item.status, 0)).1 += 1;
            }
            (500.., _) => line!(warn, request_id, item),
            (400..500, _) => line!(info, request_id, item),
            _ if all => line!(info, request_id, item),
            _ => {}
        }
    }
    for (code, (status, items)) in nameless {
        tracing::info!(%request_id, status, %code, items, "answered in a batch");
    }
}

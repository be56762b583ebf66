//! What a registry takes, and what it refuses.

use shared::cache::Load;
use shared::kafka::schemas::EventSchema;
use shared::kafka::{Setting, StreamSpec};
use shared::store::Once;

use super::*;

/// The doc comment of the settings.
#[derive(Debug, Args)]
struct CloseConfig {
    #[arg(long)]
    account: String,
}

impl OperatorCommand for CloseConfig {
    fn run<'a>(&'a self, out: Out<'a>) -> BoxFuture<'a, anyhow::Result<()>> {
        async { Ok(write!(out, "{}", self.account)?) }.boxed()
    }
}

#[test]
fn a_command_keeps_its_description() {
    let mut registry = Registry::default();
    registry.command::<CloseConfig>(Command::new("close").about("Close it").long_about("Close it for ever"));
    let [CommandSpec { command, .. }] = &registry.commands[..] else { panic!() };
    let said = [command.get_about(), command.get_long_about()].map(|about| about.unwrap().to_string());
    assert_eq!(said, ["Close it", "Close it for ever"]);
}

fn close(registry: &mut Registry, command: Command) {
    registry.command::<CloseConfig>(command);
}

fn task(registry: &mut Registry, name: &'static str) {
    registry.task(name, |_| Ok(|_| async {}));
}

fn handler(registry: &mut Registry, name: &'static str, types: &'static [&'static str], owner: bool) {
    let setting = Setting::new("", "", "", "");
    let stream = StreamSpec {
        name: "orders",
        topic: setting,
        dead_letters: setting,
        types,
        extensions: &[],
        transactional: false,
    };
    let once = Once::Inbox { subscriber: "" };
    let start: Start = Box::new(|_, _, _| anyhow::bail!("never started"));
    let spec = HandlerSpec { name, group: setting, stream, owner, types: &[], once };
    registry.handlers.push(RegisteredHandler { spec, start });
}

#[test]
fn names_that_two_domains_use_are_refused() {
    const LOAD: Load = |_, _| async { Ok(Vec::new()) }.boxed();
    static ORDER: EventSchema = EventSchema::new("order.v1", 1, "{}");
    static PLACED: Published = Published { domain: "shop", stream: "orders", schemas: &[&ORDER] };
    static ORDERS: Kind = Kind { prefix: "order:", load: LOAD };
    static DETAILS: Kind = Kind { prefix: "order:detail:", load: LOAD };
    let said = |more: fn(&mut Registry)| {
        let mut registry = Registry::default();
        handler(&mut registry, "store", &["order.v1"], true);
        task(registry.cached(&ORDERS), "relay");
        close(&mut registry, Command::new("close").alias("end"));
        more(&mut registry);
        registry.check().map_err(|error| error.to_string())
    };
    assert_eq!(said(|all| handler(all, "count", &["order.v1"], false)), Ok(()));
    type Change = fn(&mut Registry);
    let cases: [(Change, &str); 8] = [
        (|all| handler(all, "Store", &["order.v1"], false), r#"two handlers or tasks have the name "Store""#),
        (|all| task(all, "relay"), r#"two handlers or tasks have the name "relay""#),
        (|all| task(all, "store"), r#"two handlers or tasks have the name "store""#),
        (|all| close(all, Command::new("end")), r#"two commands have the name "end""#),
        (|all| _ = all.cached(&DETAILS), r#"the prefixes "order:" and "order:detail:""#),
        (|all| handler(all, "count", &["order.v2"], false), r#"two different streams have the name "orders""#),
        (
            |all| _ = all.publishes(&PLACED).publishes(&PLACED),
            r#"two published types of events have the name "order.v1""#,
        ),
        (|all| handler(all, "count", &["order.v1"], true), "the stream orders has several owners: store, count"),
    ];
    for (more, expected) in cases {
        let refused = said(more).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn all_run_unless_some_are_named() {
    for (names, expected) in [
        (&[][..], &["settle", "relay"][..]),
        (&["relay"], &["relay"]),
        (&["Relay"], &["relay"]),
        (&["relay", "settle", "relay"], &["settle", "relay"]),
    ] {
        let mut registry = Registry::default();
        registry.task("settle", |_| Ok(|_| async {})).task("relay", |_| Ok(|_| async {}));
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        assert!(registry.only(&names).names().eq(expected.iter().copied()), "{names:?}");
    }
}

#[test]
fn one_stream_at_most_is_written_through_the_outbox() {
    let mut registry = Registry::default();
    for name in ["orders", "alarms"] {
        assert!(registry.check().is_ok());
        handler(&mut registry, name, &[], true);
        let stream = &mut registry.handlers.last_mut().unwrap().spec.stream;
        (stream.name, stream.transactional) = (name, true);
    }
    let refused = registry.check().unwrap_err().to_string();
    assert!(refused.starts_with("several streams are written through the outbox: "), "{refused}");
}

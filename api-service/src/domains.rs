//! The domains of this service, one line each.

use std::sync::Arc;

use clap::Args;
use serde_json::Value;
use shared::cache::Kind;
use shared::kafka::schemas::Published;
use shared::runtime::config::text;
use shared::runtime::unique::ensure_unique;

use crate::auth::{ClaimPaths, Declared};
use crate::backbone::{Backbone, Domain, Served};
use crate::http::openapi;
use crate::http::problem::Code;

macro_rules! domains {
    ($($name:ident: $($module:ident)::+, $config:ident;)*) => {
        /// Which domains are served, and their settings.
        #[derive(Debug, Clone, Args)]
        pub struct DomainsConfig {
            /// The domains that this instance serves, separated by commas; all if this is not set.
            #[arg(long = "api-domains", env = "API_DOMAINS", value_name = "API_DOMAINS", value_parser = text())]
            pub only: Option<String>,
            $(
                #[command(flatten)]
                pub $name: crate::$($module)::+::$config,
            )*
        }

        const DOMAINS: [Registered; [$(stringify!($name)),*].len()] = [$(
            Registered {
                domain: &crate::$($module)::+::DOMAIN,
                claims: |config| crate::$($module)::+::claims(&config.$name),
                serve: |config, backbone| crate::$($module)::+::serve(&config.$name, backbone),
            },
        )*];
    };
}

domains! {
    devices: devices, DevicesConfig;
    ads: ads, AdsConfig;
    placements: placements, PlacementsConfig;
    validation: placements::validation, ValidationConfig;
}

#[derive(Clone, Copy)]
struct Registered {
    domain: &'static Domain,
    /// The claims that bind a token to resources of this domain, and where they are.
    claims: fn(&DomainsConfig) -> Vec<(&'static str, ClaimPaths)>,
    serve: fn(&DomainsConfig, &Arc<Backbone>) -> anyhow::Result<Served>,
}

/// The domains that this instance serves: those in `API_DOMAINS`, in any case, or all.
#[derive(Clone)]
pub struct Domains(Vec<Registered>);

impl Domains {
    pub fn all() -> Self {
        Self(DOMAINS.to_vec())
    }

    pub fn of(config: &DomainsConfig) -> anyhow::Result<Self> {
        let all = Self::all();
        // All of them: another instance may serve the others.
        all.check()?;
        config.only.as_deref().map_or(Ok(all.clone()), |names| all.named(names))
    }

    /// Refuses names that two of the domains use: their own, of codes, of the keys in the cache.
    fn check(&self) -> anyhow::Result<()> {
        ensure_unique("domains", self.declared().map(|domain| domain.name))?;
        ensure_unique("error codes", self.codes().iter().map(|code| code.as_str()))?;
        Kind::ensure_apart(&self.declared().flat_map(|domain| domain.kinds).copied().collect::<Vec<_>>())
    }

    fn named(&self, names: &str) -> anyhow::Result<Self> {
        let names: Vec<_> = names.split(',').map(str::trim).collect();
        let known: Vec<_> = self.declared().map(|domain| domain.name).collect();
        for name in &names {
            let is_known = known.iter().any(|known| known.eq_ignore_ascii_case(name));
            anyhow::ensure!(is_known, "API_DOMAINS: unknown domain {name:?}; known: {}", known.join(", "));
        }
        let is_named = |domain: &Domain| names.iter().any(|name| name.eq_ignore_ascii_case(domain.name));
        Ok(Self(self.0.iter().filter(|registered| is_named(registered.domain)).copied().collect()))
    }

    pub fn declared(&self) -> impl Iterator<Item = &'static Domain> {
        self.0.iter().map(|registered| registered.domain)
    }

    pub fn serve(&self, config: &DomainsConfig, backbone: &Arc<Backbone>) -> anyhow::Result<Vec<Served>> {
        self.0.iter().map(|registered| (registered.serve)(config, backbone)).collect()
    }

    /// What they read of tokens.
    pub fn of_tokens(&self, config: &DomainsConfig) -> Declared {
        Declared {
            roles: self.declared().flat_map(|domain| domain.roles).copied().collect(),
            bindings: self.0.iter().flat_map(|registered| (registered.claims)(config)).collect(),
        }
    }

    /// Every error code, by status.
    pub fn codes(&self) -> Vec<Code> {
        let own = self.declared().flat_map(|domain| domain.codes);
        let mut all: Vec<Code> = Code::BACKBONE.iter().chain(own).copied().collect();
        all.sort_by_key(|code| code.status());
        all
    }

    /// The schemas of the events that they publish.
    pub fn published(&self) -> Vec<Published> {
        self.declared().flat_map(|domain| domain.published).map(|published| **published).collect()
    }

    pub fn document(&self) -> Value {
        openapi::document(self.parts(), &self.codes())
    }

    fn parts(&self) -> Vec<openapi::Part> {
        let backbone = [
            openapi::part(),
            openapi::schemas_part(),
            crate::backbone::openapi::part(),
            crate::ingest::openapi::part(),
            crate::cached::openapi::part(),
        ];
        let own = self.declared().flat_map(|domain| (domain.openapi)());
        own.chain(backbone).collect()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use futures_util::FutureExt as _;
    use serde_json::json;
    use shared::cache::Load;

    use super::*;

    const SOLD_OUT: Code = Code::new(StatusCode::CONFLICT, "sold_out", "Sold out");
    const LOAD: Load = |_, _| async { Ok(Vec::new()) }.boxed();
    static ORDER: Kind = Kind { prefix: "order:", load: LOAD };
    static DETAIL: Kind = Kind { prefix: "order:detail:", load: LOAD };

    const fn domain(name: &'static str, codes: &'static [Code], kinds: &'static [&'static Kind]) -> Domain {
        Domain { name, roles: &[], codes, kinds, published: &[], openapi: Vec::new, describe: || {} }
    }

    static ORDERS: Domain = domain("orders", &[SOLD_OUT], &[&ORDER]);
    static REFUNDS: Domain = domain("refunds", &[], &[]);

    fn domains(all: &[&'static Domain]) -> Domains {
        let registered = |domain| Registered { domain, claims: |_| Vec::new(), serve: |_, _| Ok(Served::default()) };
        Domains(all.iter().copied().map(registered).collect())
    }

    #[test]
    fn domains_are_chosen_by_name() {
        let two = domains(&[&ORDERS, &REFUNDS]);
        // In any case; a repeated name counts once.
        for (given, expected) in [
            ("orders", &["orders"][..]),
            ("refunds", &["refunds"]),
            (" REFUNDS, refunds", &["refunds"]),
            ("refunds,orders", &["orders", "refunds"]),
        ] {
            let named: Vec<_> = two.named(given).unwrap().declared().map(|domain| domain.name).collect();
            assert_eq!(named, expected, "{given:?}");
        }
        for wrong in ["", "orders,", "order"] {
            let refused = two.named(wrong).err().unwrap().to_string();
            let is_named = refused.starts_with("API_DOMAINS: unknown domain");
            assert!(is_named && refused.ends_with("; known: orders, refunds"), "{refused}");
        }
    }

    #[test]
    fn names_that_two_domains_use_are_refused() {
        static TWICE: Domain = domain("Orders", &[], &[]);
        static SAME_CODE: Domain = domain("refunds", &[SOLD_OUT], &[]);
        static BACKBONES_CODE: Domain = domain("refunds", &[Code::NOT_FOUND], &[]);
        static SAME_KEYS: Domain = domain("refunds", &[], &[&DETAIL]);
        Domains::all().check().unwrap();
        domains(&[&ORDERS, &REFUNDS]).check().unwrap();
        for (other, expected) in [
            (&TWICE, r#"two domains have the name "Orders""#),
            (&SAME_CODE, r#"two error codes have the name "sold_out""#),
            (&BACKBONES_CODE, r#"two error codes have the name "not_found""#),
            (&SAME_KEYS, r#"the prefixes "order:" and "order:detail:""#),
        ] {
            let refused = domains(&[&ORDERS, other]).check().unwrap_err().to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    /// Of two parts with the same name, the document would lose one.
    #[test]
    fn no_two_parts_of_the_document_have_the_same_names() {
        let parts = Domains::all().parts();
        let names = |of: fn(&openapi::Part) -> &Value| {
            parts
                .iter()
                .filter_map(|part| of(part).as_object())
                .flat_map(|all| all.keys())
                .map(String::as_str)
                .collect()
        };
        let all: [(&str, Vec<&str>); 4] = [
            ("paths", names(|part| &part.paths)),
            ("schemas", names(|part| &part.schemas)),
            ("headers", names(|part| &part.headers)),
            ("parameters", names(|part| &part.parameters)),
        ];
        for (what, names) in all {
            ensure_unique(what, names).unwrap();
        }
    }

    #[test]
    fn plain_json_comes_first_and_without_an_id_of_its_own() {
        let document = Domains::all().document();
        let text = openapi::text(&document);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
        for path in ["/events", "/events/batch"] {
            let body = &document["paths"][path]["post"]["requestBody"]["content"];
            assert!(body.as_object().unwrap().len() > 1, "there is a choice");
            // As sent, because its order matters.
            let sent = openapi::text(body);
            assert!(text.contains(&sent) && sent.starts_with(r#"{"application/json":{"#), "{sent}");
            // The page offers the first example: sending it twice has to create two events.
            let examples = body["application/json"]["examples"].as_object().unwrap();
            let first = examples.values().next().unwrap()["value"].to_string();
            assert!(first.contains("device_id") && !first.contains("event_id"), "{first}");
        }
    }

    #[test]
    fn every_code_is_in_the_document_and_no_other() {
        let document = Domains::all().document();
        let all = Domains::all().codes();
        let members = |value: &Value| value.as_object().unwrap().values().cloned().collect::<Vec<_>>();
        let operations = members(&document["paths"]).iter().flat_map(members).collect::<Vec<_>>();
        let answers = operations.iter().flat_map(|operation| members(&operation["responses"]));
        let problems = answers.map(|answer| answer["content"]["application/problem+json"]["schema"].clone());
        let codes = problems.filter_map(|schema| schema["properties"]["code"]["enum"].as_array().cloned());
        let named: Vec<_> = codes.flatten().collect();
        for code in &all {
            let is_there = named.iter().any(|name| name == code.as_str());
            // No operation has this code: it answers methods that the document does not have.
            assert_eq!(is_there, *code != Code::METHOD_NOT_ALLOWED, "{}", code.as_str());
        }
        let known: Vec<_> = all.iter().map(|code| code.as_str()).collect();
        for name in &named {
            assert!(known.contains(&name.as_str().unwrap()), "{name}");
        }
        assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(known));
    }
}

//! Where claims are, what the issuer's roles are here, and what a token must say besides.

use serde_json::{Value, json};

use super::tests::{Checker, NOW, checker, claims, token};
use super::*;
use crate::auth::List;

/// A checker that reads the roles at these places, with this map.
fn roles_at(places: &str, map: Option<&str>) -> Checker {
    checker(ClaimsConfig {
        jwt_roles_claim: places.parse().unwrap(),
        jwt_roles_map: map.map(|map| map.parse().unwrap()),
        ..ClaimsConfig::default()
    })
}

fn roles(places: &str, map: Option<&str>, changes: Value) -> Vec<String> {
    roles_at(places, map).verify(&token(&claims(changes)), NOW).unwrap().roles
}

fn said(checker: &Checker, changes: Value) -> String {
    checker.verify(&token(&claims(changes)), NOW).unwrap_err().parts().1.into_owned()
}

#[test]
fn roles_are_where_the_setting_says() {
    let keycloak = json!({
        "roles": null,
        "realm_access": {"roles": ["offline_access", "user"]},
        "resource_access": {"events": {"roles": ["device", "user"]}, "account": {"roles": ["admin"]}}
    });
    for both in ["/realm_access/roles,/resource_access/events/roles", "realm_access.roles,resource_access.events.roles"]
    {
        assert_eq!(roles(both, None, keycloak.clone()), ["user", "device"], "{both}");
    }
    assert!(roles("roles", None, keycloak).is_empty());
    let url = "https://example.com/roles";
    for place in [url, "/https:~1~1example.com~1roles"] {
        assert_eq!(roles(place, None, json!({url: ["admin"]})), ["admin"], "{place}");
    }
    assert_eq!(roles("cognito:groups", None, json!({"cognito:groups": ["user"]})), ["user"]);
    assert_eq!(roles("/all/1/roles", None, json!({"all": [7, {"roles": "user"}]})), ["user"]);
    for nothing in [json!([]), json!([{"roles": "user"}]), json!([7, null]), json!([7, {"roles": null}])] {
        assert!(roles("/all/1/roles", None, json!({"all": nothing.clone()})).is_empty(), "{nothing}");
    }
    for absent in [
        json!({}),
        json!({"a": null}),
        json!({"a": {"b": null}}),
        json!({"a": {"b": {}}}),
        json!({"a": {"b": {"c": null}}}),
        json!({"a.b.c": ["user"]}),
    ] {
        assert!(roles("a.b.c", None, absent.clone()).is_empty(), "{absent}");
    }
}

#[test]
fn a_string_of_roles_is_split_at_blanks_and_an_item_of_a_list_is_not() {
    assert_eq!(roles("scope", None, json!({"scope": " user  device\topenid"})), ["user", "device"]);
    assert!(roles("scope", None, json!({"scope": ["user device"]})).is_empty());
    assert_eq!(roles("scope", Some("user device=admin"), json!({"scope": ["user device"]})), ["admin"]);
}

#[test]
fn a_map_says_what_the_issuers_roles_are_here_and_other_roles_are_nothing() {
    let map = Some("write:events=device, Ops=user, Ops=admin, a=b=user");
    let mapped = |theirs: Value| roles("roles", map, json!({"roles": theirs}));
    assert_eq!(mapped(json!("write:events openid")), ["device"]);
    assert_eq!(mapped(json!(["Ops"])), ["user", "admin"]);
    assert_eq!(mapped(json!(["a=b", "Ops"])), ["user", "admin"]);
    assert!(mapped(json!(["admin", "ops", "a", "device"])).is_empty(), "not even one that is called as ours");
    let config = ClaimsConfig { jwt_roles_map: Some("Ops=amdin".parse().unwrap()), ..ClaimsConfig::default() };
    let declared = Declared { roles: vec!["user", "admin"], ..Declared::default() };
    let refused = Verifier::new(&config, declared).err().unwrap().to_string();
    assert_eq!(refused, r#"JWT_ROLES_MAP: unknown role "amdin" for "Ops"; known: user, admin"#);
}

#[test]
fn a_wrong_claim_is_named_as_the_setting_names_it() {
    let checker = roles_at("/realm_access/roles", None);
    let (strings, member) = ("must be a string or a list of strings", "must be a member of an object");
    for (changes, fault) in [
        (json!({"realm_access": {"roles": 7}}), strings),
        (json!({"realm_access": {"roles": [null]}}), strings),
        (json!({"realm_access": "roles"}), member),
        (json!({"realm_access": 7}), member),
        (json!({"realm_access": []}), member),
        (json!({"realm_access": [{"roles": ["user"]}]}), member),
    ] {
        assert_eq!(said(&checker, changes), format!("the token's `/realm_access/roles` {fault}"));
    }
    for no_index in ["01", "+1", "-1", "-", "1e0", "99999999999999999999"] {
        let checker = roles_at(&format!("/all/{no_index}"), None);
        let fault = format!("the token's `/all/{no_index}` {member}");
        assert_eq!(said(&checker, json!({"all": ["user", "admin"]})), fault);
    }
    let twice = r#"{"sub":"a","exp":1800000060,"realm_access":{"roles":["user"],"roles":["admin"]}}"#;
    let refused = checker.verify(&super::attacks::with_claims(twice), NOW).unwrap_err();
    assert_eq!(refused, Rejected::Claim("/realm_access/roles".into(), Wrong::Twice));
    let config = ClaimsConfig { jwt_subject_claim: "oid,sub".parse().unwrap(), ..ClaimsConfig::default() };
    assert_eq!(said(&super::tests::checker(config), json!({"sub": null})), "the token has no `oid or sub`");
}

#[test]
fn the_first_subject_that_there_is_counts() {
    let config = ClaimsConfig { jwt_subject_claim: "user.id,sub".parse().unwrap(), ..ClaimsConfig::default() };
    let checker = checker(config);
    let subject = |changes| checker.verify(&token(&claims(changes)), NOW).unwrap().subject;
    assert_eq!(subject(json!({"user": {"id": "u"}})), "u");
    assert_eq!(subject(json!({"user": {"id": null}})), "alice");
    assert_eq!(subject(json!({})), "alice");
    let fault = "the token's `user.id or sub` must be a string of 1 to 256 bytes without control characters";
    assert_eq!(said(&checker, json!({"user": {"id": ""}})), fault);
}

#[test]
fn devices_are_never_split_and_all_places_count() {
    let bindings = vec![("device_id", "device_id,/ext/devices".parse().unwrap())];
    let verifier = Verifier::new(&ClaimsConfig::default(), Declared { bindings, ..Declared::default() }).unwrap();
    let checker = Checker { verifier, ..checker(ClaimsConfig::default()) };
    let devices = |changes| {
        let caller = checker.verify(&token(&claims(changes)), NOW).unwrap();
        caller.bound_to("device_id").map(<[String]>::to_vec)
    };
    assert_eq!(devices(json!({"device_id": "press 7"})), Some(vec!["press 7".into()]));
    let both = json!({"device_id": "a", "ext": {"devices": ["b c", "d"]}});
    assert_eq!(devices(both), Some(vec!["a".into(), "b c".into(), "d".into()]));
    assert_eq!(devices(json!({"ext": {"devices": []}})), Some(vec![]), "none, which is not any");
    assert_eq!(devices(json!({"ext": {"devices": null}})), None);
    let fault = "the token's `/ext/devices` must be a string or a list of strings";
    assert_eq!(said(&checker, json!({"ext": {"devices": {"a": 1}}})), fault);
}

/// A claim of another form than the setting says must not make a token free that names devices.
#[test]
fn a_list_on_the_way_to_the_devices_binds_to_an_item_of_it_or_to_nothing() {
    let devices = |places: &str, changes| {
        let declared = Declared { bindings: vec![("device_id", places.parse().unwrap())], ..Declared::default() };
        let verifier = Verifier::new(&ClaimsConfig::default(), declared).unwrap();
        let checker = Checker { verifier, ..checker(ClaimsConfig::default()) };
        let caller = checker.verify(&token(&claims(changes)), NOW).map_err(|rejected| rejected.parts().1.into_owned());
        caller.map(|caller| caller.bound_to("device_id").map(<[String]>::to_vec))
    };
    let of_one = json!({"user": [{"devices": ["mine"]}]});
    assert_eq!(devices("/user/0/devices", of_one.clone()), Ok(Some(vec!["mine".into()])));
    let refused = Err("the token's `user.devices` must be a member of an object".to_owned());
    assert_eq!(devices("user.devices", of_one.clone()), refused);
    assert_eq!(devices("device_id,user.devices", of_one.clone()), refused);
    for (places, changes) in [
        ("/user/1/devices", of_one),
        ("/devices/0", json!({"devices": []})),
        ("/devices/0", json!({"devices": [null]})),
        ("/devices/0/id", json!({"devices": []})),
        ("device_id,/devices/0", json!({"devices": []})),
    ] {
        assert_eq!(devices(places, changes), Ok(Some(vec![])), "{places}: none, which is not any");
    }
    for absent in [json!({}), json!({"devices": null})] {
        assert_eq!(devices("/devices/0", absent), Ok(None));
    }
}

#[test]
fn an_audience_elsewhere_and_other_required_claims() {
    let checker = checker(ClaimsConfig {
        jwt_audience: Some("web,devices".parse().unwrap()),
        jwt_audience_claim: Some("client_id".parse().unwrap()),
        jwt_required_claims: Some("token_use=access,email_verified=true,org.id=7,groups=a".parse().unwrap()),
        ..ClaimsConfig::default()
    });
    let all = |changes| {
        let all = json!({
            "client_id": "web", "token_use": "access", "email_verified": true, "org": {"id": 7}, "groups": ["b", "a"]
        });
        super::tests::with(all, changes)
    };
    let good = |changes| checker.verify(&token(&claims(all(changes))), NOW).map(drop);
    assert_eq!(good(json!({})), Ok(()));
    assert_eq!(
        good(json!({"client_id": "devices", "email_verified": "true", "org": {"id": "7"}, "groups": "a"})),
        Ok(())
    );
    let audience = "the token's audience (`client_id`) must be web or devices, or contain it";
    for (changes, fault) in [
        (json!({"client_id": "other"}), audience),
        (json!({"client_id": null, "aud": "web"}), audience),
        (json!({"token_use": "id"}), "the token's `token_use` must be access"),
        (json!({"token_use": null}), "the token has no `token_use`"),
        (json!({"email_verified": false}), "the token's `email_verified` must be true"),
        (json!({"org": {}}), "the token has no `org.id`"),
        (json!({"groups": ["a", 7]}), "the token's `groups` must be a"),
        (json!({"groups": {"a": 1}}), "the token's `groups` must be a"),
    ] {
        assert_eq!(said(&checker, all(changes)), fault);
    }
}

#[test]
fn a_list_of_one_is_what_a_setting_with_one_value_gives() {
    let config = ClaimsConfig::default();
    assert_eq!(config.jwt_roles_claim, List::one("roles".parse().unwrap()));
    assert_eq!(config.jwt_subject_claim, "sub".parse().unwrap());
    assert_eq!(config.audience_claim(), "aud".parse().unwrap());
}

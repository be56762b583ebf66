//! The panel in `docs/grafana.md` finds what it plots, asked for as the plugin does, with the token in
//! `docker-compose.yml`.

use devstack::kit::event;
use devstack::token::hs256;

use crate::prelude::*;

const RECIPE: &str = include_str!("../../../docs/grafana.md");
const COMPOSE: &str = include_str!("../../../docker-compose.yml");
const SOURCES: &str = include_str!("../../../observe/compose/datasources.yml");
const DEVELOPMENT: &str = "local-dev-secret";

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// The value at a path of names with full stops between.
fn selected<'a>(value: &'a Value, path: &Value) -> &'a Value {
    path.as_str().unwrap().split('.').fold(value, |value, name| &value[name])
}

#[tokio::test]
async fn the_recipe_finds_what_it_plots() {
    let settings = [&*format!("--jwt-secret={DEVELOPMENT}"), "--jwt-allow-short-secret=true"];
    let app = TestApp::with("grafana", &settings).await;
    let admin = hs256(DEVELOPMENT, "a", &["admin"], &[], Duration::from_secs(60)).unwrap();
    for n in 0..2 {
        let event = event("device-123").payload(format!(r#"{{"temp_c":{n}.5,"status":"online"}}"#)).json();
        assert_eq!(app.submission(&admin, event).send().await.unwrap().status(), 202);
    }
    work(&app, 2).await;

    let panel: Value = serde_json::from_str(between(RECIPE, "```json\n", "```")).unwrap();
    let uid = panel["datasource"]["uid"].as_str().unwrap();
    assert!(SOURCES.contains(&format!("uid: {uid}\n    type: {}", panel["datasource"]["type"].as_str().unwrap())));
    let token = between(COMPOSE, "${GRAFANA_API_TOKEN:-", "}");
    let query = &panel["targets"][0];
    let ask = async |more: &[(&str, &str)]| -> Value {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        for param in query["url_options"]["params"].as_array().unwrap() {
            let (name, value) = (param["key"].as_str().unwrap(), param["value"].as_str().unwrap());
            let value = value.replace("${__timeFrom:date:iso}", "2020-07-13T20:19:09.254Z");
            let value = value.replace("${__timeTo:date:iso}", "2120-07-13T20:19:09.254Z");
            // One event on each page.
            pairs.append_pair(name, if name == "limit" { "1" } else { &value });
        }
        let path = format!("{}?{}", query["url"].as_str().unwrap(), pairs.extend_pairs(more).finish());
        let request =
            app.request("GET", &path).bearer_auth(token).header("accept", "application/json;q=0.9,text/plain");
        let (status, _, body) = checked(request.send().await.unwrap()).await;
        assert_eq!(status, 200, "{path}");
        serde_json::from_slice(&body).unwrap()
    };
    let first = ask(&[]).await;
    let cursor = selected(&first, &query["pagination_param_cursor_extraction_path"]).as_str().unwrap();
    let second = ask(&[(query["pagination_param_cursor_field_name"].as_str().unwrap(), cursor)]).await;
    assert_eq!(selected(&second, &query["pagination_param_cursor_extraction_path"]), &Value::Null);
    for (page, expected) in [(first, 1.5), (second, 0.5)] {
        let rows = selected(&page, &query["root_selector"]).as_array().unwrap();
        assert_eq!(rows.len(), 1);
        let cells: Vec<_> =
            query["columns"].as_array().unwrap().iter().map(|column| selected(&rows[0], &column["selector"])).collect();
        assert!(cells[0].as_str().is_some_and(|time| time.ends_with('Z')), "{cells:?}");
        assert_eq!(cells[1], expected, "{cells:?}");
    }
}

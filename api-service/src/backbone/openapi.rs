//! The health routes in the OpenAPI document.

use serde_json::{Value, json};

use super::health::{LIVE, READY};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, answers, parameters};
use crate::http::openapi::headers::constant;
use crate::http::openapi::schemas::{object, schema};
use crate::http::problem::Code;

pub fn part() -> Part {
    Part {
        tags: vec![("health", "For load balancers and orchestrators")],
        paths: json!({LIVE: {"get": live_operation()}, READY: {"get": ready_operation()}}),
        schemas: schemas(),
        ..Part::default()
    }
}

fn schemas() -> Value {
    json!({
        "Live": object(&["status"], json!({"status": {"const": "live"}})),
        "Ready": object(&["status", "dependencies"], json!({
            "status": {
                "enum": ["ready", "degraded", "unready"],
                "description": "`degraded`: only one of accepting events and reading works, or the JWKS cannot be fetched."
            },
            "dependencies": object(&["postgres", "redis"], json!({
                "kafka": {
                    "$ref": "#/components/schemas/Dependency",
                    "description": "Absent where the instance neither writes to Kafka nor reads it."
                },
                "postgres": schema("Dependency"), "redis": schema("Dependency"),
                "jwks": schema("PublishedKeys")
            }))
        })),
        "PublishedKeys": object(&["status", "age_seconds"], json!({
            "status": {"enum": ["up", "down"]},
            "age_seconds": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "How long ago the JWKS was last fetched; null: never since the start."
            }
        })),
        "Dependency": object(&["status"], json!({
            "status": {"enum": ["up", "down"]},
            "warning": {"type": "string", "description": "What an operator should check, although the dependency works."}
        }))
    })
}

fn live_operation() -> Value {
    json!({
        "operationId": "live",
        "tags": ["health"],
        "summary": "Whether the process is alive",
        "description": "Does not depend on Kafka, PostgreSQL or Redis.",
        "security": [],
        "parameters": parameters(["X-Request-Id"]),
        "responses": answers(json!({
            "200": answers::json("Alive.", "Live", json!({"status": "live"}), [("cache-control", constant("no-store"))])
        }), &[&[Code::INTERNAL]], &[])
    })
}

fn ready_operation() -> Value {
    let answer = |description: &str, status: &str, redis: &str| {
        let (up, one) = (json!({"status": "up"}), json!({"status": redis}));
        let example = json!({"status": status, "dependencies": {"kafka": one, "postgres": one, "redis": up}});
        answers::json(description, "Ready", example, [("cache-control", constant("no-store"))])
    };
    json!({
        "operationId": "ready",
        "tags": ["health"],
        "summary": "Whether the instance accepts traffic",
        "security": [],
        "parameters": parameters(["X-Request-Id"]),
        "responses": answers(json!({
            "200": answer("Ready, or degraded.", "ready", "up"),
            "503": answer("Not ready.", "unready", "down")
        }), &[&[Code::INTERNAL]], &[])
    })
}

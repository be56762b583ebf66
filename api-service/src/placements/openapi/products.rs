//! The operations on products in the OpenAPI document.

use serde_json::{Value, json};

use super::schemas::product_example;
use super::{BODY, Operation, PRODUCT_NOT_FOUND, READ, READERS, body, read, schemas, tagged};
use crate::http::openapi::Part;
use crate::http::openapi::answers::{self, TOKEN, answers, parameters, rated, rates};
use crate::http::openapi::headers::constant;
use crate::http::openapi::schemas::schema;
use crate::http::problem::Code;
use crate::placements::answers::BODY_TYPES;
use crate::placements::codes::INVALID_PRODUCT;
use crate::placements::paths::{PRODUCT, PRODUCTS};

pub(super) fn part() -> Part {
    Part {
        tags: vec![("products", "What is placed")],
        paths: json!({PRODUCTS: {"get": list()}, PRODUCT: {"get": show(), "put": put()}}),
        schemas: schemas::products(),
        parameters: json!({
            "ProductsAfter": {
                "in": "query", "name": "after",
                "description": "The `next` of the previous page: only products behind that one.",
                "schema": schemas::product_id()
            }
        }),
        ..Part::default()
    }
}

fn put() -> Value {
    let codes = [&TOKEN[..], &BODY, &READ, &[INVALID_PRODUCT, PRODUCT_NOT_FOUND]];
    let headers = || [("cache-control", constant("no-store"))].into_iter().chain(rates());
    let good = json!({
        "201": answers::json("The new product.", "Product", product_example(), headers()),
        "200": answers::json("The product.", "Product", product_example(), headers())
    });
    let examples = json!({"mug": {"value": {"name": "A mug", "active": true}}});
    Operation {
        id: "putProduct",
        tag: "products",
        summary: "Sets a product",
        description: "Roles: `admin`. The same again changes nothing. No event tells of it: a validation is of the \
            products at its own time."
            .to_owned(),
        parameters: parameters(["ProductId", "Content-Encoding", "X-Request-Id"]),
    }
    .with(Some(body(&BODY_TYPES, &schema("NewProduct"), &examples)), answers(good, &codes, &rated(&codes)))
}

fn show() -> Value {
    let codes = [&TOKEN[..], &READ, &[PRODUCT_NOT_FOUND]];
    let good = json!({
        "200": answers::json("The product.", "Product", product_example(), tagged()),
        "304": answers::empty("Not modified.", tagged())
    });
    Operation {
        id: "showProduct",
        tag: "products",
        summary: "Shows a product",
        description: READERS.to_owned(),
        parameters: parameters(["ProductId", "If-None-Match", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &rated(&codes)))
}

fn list() -> Value {
    let codes = [&TOKEN[..], &READ, &[Code::BAD_REQUEST]];
    let example = json!({"products": [product_example()], "next": null});
    let good = json!({"200": answers::json("A page, by id.", "Products", example, read())});
    Operation {
        id: "listProducts",
        tag: "products",
        summary: "Lists products",
        description: READERS.to_owned(),
        parameters: parameters(["ProductsAfter", "PageLimit", "X-Request-Id"]),
    }
    .with(None, answers(good, &codes, &rated(&codes)))
}

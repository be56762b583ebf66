//! Sets products. No event tells of them, and they belong to no boundary: a validation is of the products at its time.

use sqlx::Row as _;

use crate::placements::queries::json::product;
use crate::placements::{NewProduct, ProductId};
use crate::store::{Failure, Store, Tx, Work};

/// Nothing is written where nothing changes; then the row is read after this, in a statement of its own, which sees what
/// another transaction has just inserted.
const PUT: &str = concat!(
    "INSERT INTO products AS p (id, name, active, created_at, updated_at)
     VALUES ($1, $2, $3, statement_timestamp(), statement_timestamp())
     ON CONFLICT (id) DO UPDATE
     SET name = excluded.name, active = excluded.active, version = p.version + 1, updated_at = statement_timestamp()
     WHERE (p.name, p.active) IS DISTINCT FROM (excluded.name, excluded.active)
     RETURNING p.version = 1 AS is_new, ",
    product!(),
    " AS body"
);
const READ: &str = concat!("SELECT false AS is_new, ", product!(), " AS body FROM products AS p WHERE p.id = $1");

/// Sets a product; returns it, and whether it is new.
pub async fn put_product(store: &Store, id: &ProductId, new: &NewProduct) -> Result<(String, bool), Failure> {
    store.transact("", &Put { id, new }).await
}

struct Put<'a> {
    id: &'a ProductId,
    new: &'a NewProduct,
}

impl Work for Put<'_> {
    type Output = (String, bool);

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(String, bool), Failure> {
        let (id, NewProduct { name, active }) = (self.id.as_str(), self.new);
        let written = sqlx::query(PUT).bind(id).bind(name).bind(active).fetch_optional(&mut *tx).await?;
        let row = match written {
            Some(row) => row,
            None => sqlx::query(READ).bind(id).fetch_one(tx).await?,
        };
        Ok((row.try_get("body")?, row.try_get("is_new")?))
    }
}

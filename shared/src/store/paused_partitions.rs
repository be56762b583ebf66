//! Partitions that wait for an operator, because they had more dead letters than their budget allows.

use super::{Failure, Store, within_deadline};

impl Store {
    /// Writes down that a partition waits, and why.
    pub async fn pause(&self, group: &str, topic: &str, partition: i32, reason: &str) -> Result<(), Failure> {
        let query = sqlx::query(
            "INSERT INTO paused_partitions (consumer_group, topic, partition, reason) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        );
        let query = query.bind(group).bind(topic).bind(partition).bind(reason);
        within_deadline!(self, |session| async { Ok(query.execute(session).await.map(drop)?) })
    }

    /// Whether a partition waits.
    pub async fn is_paused(&self, group: &str, topic: &str, partition: i32) -> Result<bool, Failure> {
        let query = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM paused_partitions WHERE (consumer_group, topic, partition) = ($1, $2, $3))",
        );
        let query = query.bind(group).bind(topic).bind(partition);
        within_deadline!(self, |session| async { Ok(query.fetch_one(session).await?) })
    }

    /// Lets a group's waiting partitions go on, one or all, and tells which they were.
    pub async fn resume(&self, group: &str, partition: Option<i32>) -> Result<Vec<(String, i32)>, Failure> {
        let query = sqlx::query_as(
            "DELETE FROM paused_partitions WHERE consumer_group = $1 AND partition = coalesce($2, partition)
             RETURNING topic, partition",
        );
        let query = query.bind(group).bind(partition);
        within_deadline!(self, |session| async { Ok(query.fetch_all(session).await?) })
    }
}

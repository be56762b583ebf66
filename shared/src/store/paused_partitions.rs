//! Partitions that are paused until an operator resumes them, because they exceeded their dead-letter budget.

use super::{Failure, Store, within_deadline};

impl Store {
    /// Records that a partition is paused, and why.
    pub async fn pause(&self, group: &str, topic: &str, partition: i32, reason: &str) -> Result<(), Failure> {
        let query = sqlx::query(
            "INSERT INTO paused_partitions (consumer_group, topic, partition, reason) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        );
        let query = query.bind(group).bind(topic).bind(partition).bind(reason);
        within_deadline!(self, |session| async { Ok(query.execute(session).await.map(drop)?) })
    }

    /// Whether a partition is paused.
    pub async fn is_paused(&self, group: &str, topic: &str, partition: i32) -> Result<bool, Failure> {
        let query = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM paused_partitions WHERE (consumer_group, topic, partition) = ($1, $2, $3))",
        );
        let query = query.bind(group).bind(topic).bind(partition);
        within_deadline!(self, |session| async { Ok(query.fetch_one(session).await?) })
    }

    /// Resumes one or all paused partitions of a group, and returns them.
    pub async fn resume(&self, group: &str, partition: Option<i32>) -> Result<Vec<(String, i32)>, Failure> {
        let query = sqlx::query_as(
            "DELETE FROM paused_partitions WHERE consumer_group = $1 AND partition = coalesce($2, partition)
             RETURNING topic, partition",
        );
        let query = query.bind(group).bind(partition);
        within_deadline!(self, |session| async { Ok(query.fetch_all(session).await?) })
    }
}

//! A disk that runs out of room, and has room again.

use devstack::{Postgres, create_database, psql};

use crate::helpers::sql;

#[test]
fn a_full_disk_takes_no_row_until_it_is_cleared() {
    let postgres = Postgres::start().unwrap();
    let disk = match postgres.small_disk() {
        Ok(disk) => disk,
        // Only an administrator may mount.
        Err(error) => return eprintln!("a_full_disk_takes_no_row_until_it_is_cleared cannot run here: {error:#}"),
    };
    let database = create_database(&postgres.url(), "small").unwrap();
    sql(&postgres.url(), &format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()));
    sql(&postgres.url(), "ALTER DATABASE small SET TABLESPACE small");
    sql(&database, "CREATE TABLE t AS SELECT n, repeat('x', 500) AS text FROM generate_series(1, 1000) AS n");
    let grow = "INSERT INTO t SELECT n, repeat('y', 500) FROM generate_series(1, 1000) AS n";

    disk.fill().unwrap();
    // SQLSTATE 53100, and no other.
    let error = psql(&database, &format!("DO $$ BEGIN {grow}; EXCEPTION WHEN disk_full THEN RAISE 'full'; END $$"));
    assert!(error.unwrap_err().to_string().contains("ERROR:  full"));
    assert_eq!(sql(&database, "SELECT count(*) FROM t"), "1000", "what is there can be read");

    disk.clear().unwrap();
    sql(&database, grow);
    assert_eq!(sql(&database, "SELECT count(*) FROM t"), "2000");

    let path = disk.path().to_owned();
    drop(disk);
    assert!(!path.exists());
}
